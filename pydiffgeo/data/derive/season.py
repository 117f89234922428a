"""The time of the year as series, for models and networks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data.form import DAY, dates_of, step_of


def season_names(harmonics: int = 1) -> list[str]:
    """Return the series that `add_season` gives."""
    waves = [("" if k == 1 else f"_{k}") for k in range(1, harmonics + 1)]
    return ["year_fraction", *(f"season_{w}{k}" for k in waves for w in ("sine", "cosine"))]


def day_names(harmonics: int = 1) -> list[str]:
    """Return the series that `add_time_of_day` gives."""
    return [
        name.replace("season", "day").replace("year", "day") for name in season_names(harmonics)
    ]


def add_time_of_day(sites: xr.Dataset, harmonics: int = 1) -> xr.Dataset:
    """Return records with ``day_fraction``, ``day_sine`` and ``day_cosine``, as `add_season`.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form; of records in days the series are constant.
    harmonics : int
        Number of waves in a day.

    Raises
    ------
    DataError
        The records have no dates.
    """
    times = dates_of(sites, "time_of_day")
    return _with_waves(sites, ((times - times.normalize()) / DAY).to_numpy(), day_names(harmonics))


def add_season(sites: xr.Dataset, harmonics: int = 1) -> xr.Dataset:
    """Return records with ``year_fraction``, ``season_sine`` and ``season_cosine``.

    The fraction of the year that has passed at the end of a step, and sine and cosine of 2 pi times
    it; of twice that and so on with more harmonics, as ``season_sine_2``.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form, with dates.
    harmonics : int
        Number of waves in a year.

    Raises
    ------
    DataError
        The records have no dates.
    """
    times = dates_of(sites, "season")
    days = times + DAY if step_of(times) >= DAY else times  # a day bears its own date
    # the year that a step lies in: its last moment is not that of the next
    year = (days - pd.Timedelta(1, "us")).year
    first, after = (pd.to_datetime(year + k, format="%Y") for k in (0, 1))
    passed = ((days - first) / (after - first)).to_numpy()
    return _with_waves(sites, passed, season_names(harmonics))


def _with_waves(sites: xr.Dataset, passed: NDArray, names: list[str]) -> xr.Dataset:
    """Return records with a fraction [time], and sine and cosine of 2 pi k times it, as named."""
    shape = (sites.sizes["site"], 1)
    found = {names[0]: passed}
    for k in range(1, len(names) // 2 + 1):
        sine, cosine = names[2 * k - 1 : 2 * k + 1]
        found |= {sine: np.sin(2 * np.pi * k * passed), cosine: np.cos(2 * np.pi * k * passed)}
    return sites.assign(
        {
            name: (("site", "time"), np.tile(values, shape), {"units": "1", "long_name": name})
            for name, values in found.items()
        }
    )
