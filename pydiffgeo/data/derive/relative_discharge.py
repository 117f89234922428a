"""Discharge in parts of its mean, which tells a stream's depth and how much flows into it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import xarray as xr

from pydiffgeo.data.form import Day, axis_of, positions, times_of
from pydiffgeo.errors import DataError, listed

LEAST = 1e-3  # below it the logarithm does not fall
UNLIKELY = 30.0  # times a given mean that the mean of a record is only in another unit

log = logging.getLogger("pydiffgeo")


def add_relative_discharge(
    sites: xr.Dataset,
    mean: Mapping[str, float] | None = None,
    discharge: str = "discharge",
    start: Day = None,
    end: Day = None,
) -> xr.Dataset:
    """Return records with ``relative_discharge`` and its logarithm, ``log_discharge``.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form.
    mean : mapping of str to float, optional
        Mean discharge by site, in the unit of the series: that of the days trained on, for records
        of other days. By default the mean from `start` to `end`.
    discharge : str
        Series.
    start, end : str or date, optional
        First and last day of the mean; all by default.

    Raises
    ------
    DataError
        No such series; a site whose mean is not there or not above zero.
    """
    axis = axis_of(sites)
    if discharge not in sites or set(sites[discharge].dims) != {"site", axis}:
        raise DataError(f"relative_discharge: the records have no series {discharge!r}; add it.")
    values = sites[discharge].transpose("site", axis).values.astype(float)
    ids = sites.site.values.astype(str)
    days = slice(*positions(times_of(sites), start, end, "the period of the mean discharge"))
    seen = np.isfinite(values[:, days])
    own = np.where(seen, values[:, days], 0.0).sum(1) / np.maximum(seen.sum(1), 1)
    means = np.array([float((mean or {}).get(site, own[k])) for k, site in enumerate(ids)])
    if not (means > 0).all():
        raise DataError(
            f"relative_discharge: no mean above zero of {listed(ids[~(means > 0)], 5)}; give it by "
            "mean: {SITE: NUMBER}."
        )
    relative = values / means[:, None]
    for site, ratio in zip(ids, own / means, strict=True):
        if not 1 / UNLIKELY < ratio < UNLIKELY and ratio > 0:
            log.warning(
                "relative_discharge: the mean discharge of site %s is %.3g times the mean that is "
                "given: look whether both have the same unit.",
                site,
                ratio,
            )
    found = {
        "relative_discharge": (relative, "discharge in parts of its mean"),
        "log_discharge": (np.log(np.maximum(relative, LEAST)), "logarithm of relative discharge"),
    }
    return sites.assign(
        {
            name: (("site", axis), series, {"units": "1", "long_name": text, "role": "forcing"})
            for name, (series, text) in found.items()
        }
    )
