"""Statistics of a record over given days, as attributes that networks may read."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data.form import Day, axis_of, positions, times_of
from pydiffgeo.errors import DataError, listed, nearest

CLIMATE = (
    "rain",
    "pet",
    "dryness",
    "wet_days",
    "rain_per_wet_day",
    "temperature",
    "temperature_swing",
    "day_range",
    "radiation",
    "humidity",
)
QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
WET = 1.0  # mm d-1


def add_climate(sites: xr.Dataset, start: Day = None, end: Day = None) -> xr.Dataset:
    """Return records with the attributes of `CLIMATE`, means over given days.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form; statistics whose series it does not have are left out.
    start, end : str or date, optional
        First and last day; all by default.

    Raises
    ------
    DataError
        The records do not cover the days, or have none of the series.

    Notes
    -----
    Rain is ``rain_and_melt`` where there is one, else precipitation; a wet day has more than 1 mm.
    Dryness is the logarithm of mean potential evapotranspiration over mean rain; the swing of
    temperature is its standard deviation.
    """
    days = _days(sites, start, end)
    rain_name = "rain_and_melt" if "rain_and_melt" in sites else "precipitation"
    names = {
        "rain": rain_name,
        "pet": "potential_evapotranspiration",
        "temperature": "tair_mean",
        "low": "tair_min",
        "high": "tair_max",
        "radiation": "shortwave_down",
        "humidity": "rh_mean",
    }
    weather = {key: _values(sites, name, days) for key, name in names.items() if name in sites}
    mean = {key: _known(np.nanmean, values) for key, values in weather.items()}
    found: dict[str, tuple[NDArray, str]] = {}
    for key, unit in (
        ("rain", "mm d-1"),
        ("pet", "mm d-1"),
        ("temperature", "degC"),
        ("radiation", "MJ m-2 d-1"),
        ("humidity", "percent"),
    ):
        if key in mean:
            found[key] = mean[key], unit
    if "rain" in weather:
        rain = weather["rain"]
        wet = rain > WET
        found["wet_days"] = wet.sum(1) / np.maximum(np.isfinite(rain).sum(1), 1), "1"
        amount = np.where(wet, rain, 0.0).sum(1) / np.maximum(wet.sum(1), 1)
        found["rain_per_wet_day"] = amount, "mm d-1"
        if "pet" in mean:
            found["dryness"] = np.log((mean["pet"] + 0.01) / (mean["rain"] + 0.01)), "1"
    if "temperature" in weather:
        found["temperature_swing"] = _known(np.nanstd, weather["temperature"], ddof=1), "degC"
    if {"low", "high"} <= weather.keys():
        found["day_range"] = _known(np.nanmean, weather["high"] - weather["low"]), "degC"
    if not found:
        raise DataError(
            "the records have no series that a climate is computed from "
            f"({', '.join(names.values())}); add one."
        )
    ordered = {name: found[name] for name in CLIMATE if name in found}
    return sites.assign(
        {
            f"climate_{name}": (
                "site",
                values,
                {"units": unit, "long_name": f"record mean: {name}"},
            )
            for name, (values, unit) in ordered.items()
        }
    )


def add_moisture(
    sites: xr.Dataset, name: str = "soil_moisture", start: Day = None, end: Day = None
) -> xr.Dataset:
    """Return records with quantiles of an observed series over given days.

    ``soil_moisture_q05`` ... [site, depth].

    Parameters
    ----------
    sites : xarray.Dataset
        Site form.
    name : str
        An observed series, [site, time] or [site, time, depth].
    start, end : str or date, optional
        First and last day; all by default.

    Raises
    ------
    DataError
        No such series, the records do not cover the days, or a site and depth has no observation on
        them.
    """
    values, dims, attrs = _observed(sites, name, _days(sites, start, end))
    empty = np.isnan(values).all(1).reshape(len(values), -1).any(1)
    if empty.any():
        which = [str(site) for site in sites.site.values[empty]]
        raise DataError(
            f"{len(which)} sites have no observation of {name} on the days that are summarised: "
            f"{listed(which, 10)}; leave them out."
        )
    return sites.assign(
        {
            f"{name}_{key}": (dims, np.nanquantile(values, level, axis=1), attrs)
            for key, level in QUANTILES.items()
        }
    )


def add_first_profile(
    sites: xr.Dataset, name: str = "soil_moisture", start: Day = None, end: Day = None
) -> xr.Dataset:
    """Return records with the first observed value of a series, of each depth on its own.

    ``soil_moisture_first``.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form.
    name : str
        An observed series, [site, time] or [site, time, depth].
    start, end : str or date, optional
        First and last day; all by default.

    Raises
    ------
    DataError
        No such series, or the records do not cover the days. A site and depth without observation
        has NaN.
    """
    values, dims, attrs = _observed(sites, name, _days(sites, start, end))
    first = np.isfinite(values).argmax(1)
    taken = np.take_along_axis(values, np.expand_dims(first, 1), 1)[:, 0]
    return sites.assign({f"{name}_first": (dims, taken, attrs)})


def _days(sites: xr.Dataset, start: Day, end: Day) -> slice:
    return slice(*positions(times_of(sites), start, end, "the period that is summarised"))


def _known(statistic: Callable[..., NDArray], values: NDArray, **options: int) -> NDArray:
    """Return a statistic over time of what is known, NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "Mean of empty slice"
        return statistic(values, 1, **options)


def _values(sites: xr.Dataset, name: str, days: slice) -> NDArray:
    axis = axis_of(sites)
    return sites[name].isel({axis: days}).transpose("site", axis, ...).values.astype(float)


def _observed(
    sites: xr.Dataset, name: str, days: slice
) -> tuple[NDArray, tuple[str, ...], dict[str, str]]:
    """Return values [site, time, ...], the dimensions without time, and the unit."""
    axis = axis_of(sites)
    if name not in sites or axis not in sites[name].dims:
        raise DataError(
            f"no series {name!r} in the records{nearest(name, map(str, sites.data_vars))}"
        )
    dims = ("site", *(str(d) for d in sites[name].dims if d not in ("site", axis)))
    unit = sites[name].attrs.get("units")
    return _values(sites, name, days), dims, {} if unit is None else {"units": str(unit)}
