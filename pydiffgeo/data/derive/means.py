"""Means of series as attributes: the conditions in which a leaf was measured, say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from pydiffgeo.data.form import Day, axis_of, positions, times_of, unit_of
from pydiffgeo.errors import DataError, nearest


def mean_names(of: str | Sequence[str]) -> list[str]:
    """Return the attributes that `add_means` gives."""
    return [f"{name}_mean" for name in ([of] if isinstance(of, str) else of)]


def add_means(
    sites: xr.Dataset, of: str | Sequence[str], start: Day = None, end: Day = None
) -> xr.Dataset:
    """Return records with the means of some series over their steps or points as attributes.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form.
    of : str or sequence of str
        Series that are not observed: ``leaf_temperature`` gives ``leaf_temperature_mean``.
    start, end : str or date, optional
        First and last day; all by default.

    Raises
    ------
    DataError
        No such series, or a site without any of its values.
    """
    axis, names = axis_of(sites), [of] if isinstance(of, str) else list(of)
    span = slice(*positions(times_of(sites), start, end))
    found = {}
    for name, given in zip(mean_names(names), names, strict=True):
        known = [str(n) for n, v in sites.data_vars.items() if axis in v.dims]
        if given not in known:
            raise DataError(f"means: no series {given!r} in the records{nearest(given, known)}")
        values = sites[given].isel({axis: span}).transpose("site", axis).values.astype(float)
        there = np.isfinite(values)
        if not there.any(1).all():
            site = sites.site.values[int((~there.any(1)).argmax())]
            raise DataError(f"means: site {site} has no {given!r}; leave it out.")
        mean = np.where(there, values, 0.0).sum(1) / there.sum(1)
        attrs = {"units": unit_of(sites[given]) or "1", "long_name": f"mean of {given}"}
        found[name] = ("site", mean, attrs)
    return sites.assign(found)
