"""What a series was before: exponential means of its past, for networks without a memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data.form import axis_of, dates_of, step_of
from pydiffgeo.errors import DataError, nearest

BEGIN = 30.0  # days whose mean stands for the past of a record


def memory_names(series: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """Return the series that `add_memory` gives, and what each is made of."""
    return {f"{name}_{days:g}d": name for name, several in series.items() for days in several}


def add_memory(sites: xr.Dataset, series: Mapping[str, Sequence[float]]) -> xr.Dataset:
    """Return records with exponential means of series over their past, as ``tair_mean_10d``.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form, with dates.
    series : mapping of str to sequence of float
        Times in days, by series: {"tair_mean": [3, 10, 30]}. A value of so many days before counts
        1/e of that of the step itself.

    Raises
    ------
    DataError
        No such series, no dates, or a time that is not positive.

    Notes
    -----
    Before its first value a series is taken for the mean of its first 30 days; where it is missing
    the mean stays as it was.
    """
    axis = axis_of(sites)
    step = step_of(dates_of(sites, "memory")) / pd.Timedelta(days=1)
    found = {}
    for name, several in series.items():
        if name not in sites or set(sites[name].dims) != {"site", axis}:
            known = [str(k) for k, v in sites.data_vars.items() if set(v.dims) == {"site", axis}]
            raise DataError(f"memory: no series {name!r} in the records{nearest(name, known)}")
        values = sites[name].transpose("site", axis).values.astype(float)
        for days in several:
            if not days > 0:
                raise DataError(f"memory: {days:g} days of {name!r}; give a positive number.")
            means = exponential_mean(values, float(np.exp(-step / days)), int(BEGIN / step))
            told = {
                **sites[name].attrs,
                "long_name": f"{name}, exponential mean over {days:g} d",
                "role": "forcing",
            }
            found[f"{name}_{days:g}d"] = (("site", axis), means, told)
    return sites.assign(found)


def exponential_mean(values: NDArray, kept: float, begin: int) -> NDArray:
    """Return means [site, time] of which a step keeps the share `kept` of the one before.

    NaN until the first value of a site, whose first `begin` values give the mean before it.
    """
    out = np.full_like(values, np.nan)
    for row, series in zip(out, values, strict=True):
        known = np.isfinite(series)
        if not known.any():
            continue
        first = int(known.argmax())
        mean = float(np.nanmean(series[first : first + max(begin, 1)]))
        for k in range(first, len(series)):
            if known[k]:
                mean += (1 - kept) * (series[k] - mean)
            row[k] = mean
    return out
