"""Potential evapotranspiration from daily weather, by pyet (doi:10.5194/gmd-17-7083-2024)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyet
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.data.checks import require_complete
from pydiffgeo.data.derive.site_places import places_of
from pydiffgeo.data.form import DAY, step_of, times_of
from pydiffgeo.data.lazy import BLOCK, Rows, is_lazy, lazy_variable
from pydiffgeo.data.variables import VARIABLES
from pydiffgeo.errors import DataError, lookup


def _priestley_taylor(day: Any, latitude: Any, elevation: Any) -> Any:
    net = pyet.calc_rad_net(
        day.tair_mean, rs=day.shortwave_down, lat=latitude, elevation=elevation, **_humidity(day)
    )
    return pyet.priestley_taylor(day.tair_mean, rn=net, elevation=elevation)


def _penman_monteith(day: Any, latitude: Any, elevation: Any) -> Any:
    # FAO-56 (p. 63) recommends 2 m/s, the average of 2000 weather sites, where wind is not
    # measured.
    wind = day.tair_mean * 0.0 + 2.0
    return pyet.pm_fao56(
        day.tair_mean,
        wind,
        rs=day.shortwave_down,
        elevation=elevation,
        lat=latitude,
        **_humidity(day),
    )


def _humidity(day: Any) -> dict[str, Any]:
    """Return the temperatures and the humidity.

    Relative, or as vapour pressure (Pa), which is at most that of saturation.
    """
    found = {"tmax": day.tair_max, "tmin": day.tair_min}
    if "vapour_pressure" not in day:
        return found | {"rhmax": day.rh_max, "rhmin": day.rh_min}
    return found | {
        "ea": np.minimum(
            day.vapour_pressure / 1000.0, pyet.calc_es(tmax=day.tair_max, tmin=day.tair_min)
        )
    }


def _turc(day: Any, latitude: Any, elevation: Any) -> Any:
    return pyet.turc(day.tair_mean, day.shortwave_down, day.rh_mean)


def _hargreaves(day: Any, latitude: Any, elevation: Any) -> Any:
    # Daymet has some days with a minimum above the maximum: no range, where pyet would give NaN
    return pyet.hargreaves(
        day.tair_mean, np.maximum(day.tair_max, day.tair_min), day.tair_min, latitude
    )


def _oudin(day: Any, latitude: Any, elevation: Any) -> Any:
    return pyet.oudin(day.tair_mean, latitude)


def _hamon(day: Any, latitude: Any, elevation: Any) -> Any:
    return pyet.hamon(day.tair_mean, latitude)


class PetMethod(NamedTuple):
    """A method: what computes it, from weather by name, latitude (radians) and elevation (m).

    What it needs of the three.

    `needs` names the weather, `by_elevation` says whether the elevation enters, `or_needs` the
    weather that will do as well.
    """

    compute: Callable[[Any, Any, Any], Any]
    needs: tuple[str, ...]
    by_elevation: bool = False
    or_needs: tuple[str, ...] | None = None

    def weather(self, available: Collection[str]) -> tuple[str, ...]:
        """Return the weather that it takes of what is available.

        `needs` where that is all there, or nothing is enough.
        """
        other = self.or_needs
        return (
            other
            if other and set(other) <= set(available) and not set(self.needs) <= set(available)
            else self.needs
        )


_RADIATION = ("tair_mean", "tair_max", "tair_min", "shortwave_down")
_HUMID = ((*_RADIATION, "rh_max", "rh_min"), True, (*_RADIATION, "vapour_pressure"))
PET_METHODS: dict[str, PetMethod] = {
    "priestley_taylor": PetMethod(_priestley_taylor, *_HUMID),
    "penman_monteith": PetMethod(_penman_monteith, *_HUMID),
    "turc": PetMethod(_turc, ("tair_mean", "shortwave_down", "rh_mean")),
    "hargreaves": PetMethod(_hargreaves, ("tair_mean", "tair_max", "tair_min")),
    "oudin": PetMethod(_oudin, ("tair_mean",)),
    "hamon": PetMethod(_hamon, ("tair_mean",)),
}


def potential_evapotranspiration(
    records: xr.Dataset, method: str = "priestley_taylor", elevation: float | xr.DataArray = 0.0
) -> xr.DataArray:
    """Return daily potential evapotranspiration of each site or site.

    The default is Priestley and Taylor (1972, doi:10.1175/1520-0493(1972)100<0081:OTAOSH>2.3.CO;2)
    with the net radiation of Allen et al. (1998, FAO-56, eq. 38-40): it uses every measured
    quantity (radiation, temperature, humidity) and none that is not measured, where FAO-56
    Penman-Monteith needs a wind speed (``penman_monteith`` takes the 2 m/s that FAO-56 recommends),
    and Hargreaves and Oudin leave radiation and humidity unused. Without advection it is low in dry
    country: a crop coefficient is to be learned or set with it. For sites, where humidity is mostly
    missing, see `add_pet`.

    Parameters
    ----------
    records : xarray.Dataset
        Site form (see `pydiffgeo.data.checks`) or site form (`pydiffgeo.data.variables`), without
        gaps in what the method needs.
    method : str
        A name of `PET_METHODS`.
    elevation : float or DataArray of dimension site or site
        Metres above sea level; it changes the psychrometric constant and clear-sky radiation (about
        5 % of the result per 1000 m). Sea level where unknown.

    Returns
    -------
    xarray.DataArray
        Dimensions site or site, and time; mm d-1, not negative.

    Raises
    ------
    UnknownName
        No such method.
    DataError
        Forcing is missing, or the result is not finite; site or site and date are named.
    """
    site, available = "site", set(map(str, records.data_vars))
    needs = lookup(PET_METHODS, method, "potential evapotranspiration method").weather(available)
    _require_known(records, available, method, site)
    require_complete(records, needs)
    heights = (xr.zeros_like(records.lat, dtype=float) + elevation).values
    parts = [
        _compute(
            records.isel({site: slice(i, i + BLOCK)}), method, needs, heights[i : i + BLOCK], site
        )
        for i in range(0, records.sizes[site], BLOCK)
    ]
    values = np.concatenate(parts)
    if not np.isfinite(values).all():
        i, j = np.argwhere(~np.isfinite(values))[0]
        raise DataError(
            f"potential evapotranspiration ({method}) of {site} {records[site].values[i]} is not "
            f"finite on {str(records.time.values[j])[:10]}; check its latitude and weather."
        )
    return xr.DataArray(
        values,
        coords={site: records[site], "time": records.time},
        dims=(site, "time"),
        name="potential_evapotranspiration",
        attrs={**VARIABLES["potential_evapotranspiration"].attributes(), "method": method},
    )


def add_pet(sites: xr.Dataset, method: str = "oudin", elevation: float | None = None) -> xr.Dataset:
    """Return records with ``potential_evapotranspiration``.

    The default is Oudin et al. (2005, doi:10.1016/j.jhydrol.2004.08.026), made for rainfall-runoff
    models: of 27 formulas none gave better discharge, and it needs mean temperature and latitude.
    Where the records have no daily mean, it is the mean of the daily minimum and maximum. Where the
    records are lazy, so is the result: computed block by block when it is read.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form, daily, with the coordinate ``lat``.
    method : str
        A name of `PET_METHODS`: oudin, hamon and hargreaves need temperature alone;
        priestley_taylor and penman_monteith also radiation, elevation, and humidity: relative, or
        the vapour pressure that CAMELS-US has. The method of Penman and Monteith takes a wind of 2
        m/s, as FAO-56 recommends where none is measured.
    elevation : float, optional
        Metres above sea level, of all sites; by default the coordinate ``elevation``.

    Returns
    -------
    xarray.Dataset
        With ``potential_evapotranspiration`` (mm d-1), NaN where the weather is missing, and
        ``tair_mean``.

    Raises
    ------
    UnknownName
        No such method.
    DataError
        The records are not daily; a variable or a latitude is missing, or an elevation that the
        method needs, or the daily range is zero throughout where the method lives on it; the sites
        are named.
    """
    records, available = sites, _available(sites)
    needs = lookup(PET_METHODS, method, "potential evapotranspiration method").weather(available)
    if (step := step_of(times_of(sites))) != DAY:
        raise DataError(
            f"potential evapotranspiration ({method}) is computed from daily records, these have "
            f"steps of {step}; give it as a series, or resample to days."
        )
    _require_known(records, available, method, "site")
    heights = _heights(records, method, elevation)
    known = {name: records[name] for name in {*needs, "tair_min", "tair_max"} if name in records}

    def read(rows: Rows) -> NDArray:
        part = xr.Dataset({name: values.isel(site=rows) for name, values in known.items()}).load()
        if "tair_mean" not in part:
            part["tair_mean"] = 0.5 * (part.tair_min + part.tair_max)
        if method == "hargreaves":
            _refuse_flat(part)
        return _compute(part, method, needs, heights[rows], "site")

    def mean(rows: Rows) -> NDArray:
        return 0.5 * (
            records.tair_min.isel(site=rows).values + records.tair_max.isel(site=rows).values
        )

    shape = {dim: records.sizes[dim] for dim in ("site", "time")}
    derived = {"potential_evapotranspiration": read} | (
        {} if "tair_mean" in records else {"tair_mean": mean}
    )
    added = {}
    for name, rows_of in derived.items():
        values = lazy_variable(rows_of, shape)
        if not any(is_lazy(records[given]) for given in known):
            values = values.load()
        values.attrs.update(VARIABLES[name].attributes())
        added[name] = values
    added["potential_evapotranspiration"].attrs["method"] = method
    return records.assign(added)


def pet_sources(records: xr.Dataset, method: str) -> tuple[str, ...]:
    """Return the series of `records` that `add_pet` reads; what they lack it says itself."""
    needs = lookup(PET_METHODS, method, "potential evapotranspiration method").weather(
        _available(records)
    )
    means = () if "tair_mean" in records else ("tair_min", "tair_max")
    return tuple(name for name in dict.fromkeys((*needs, *means)) if name in records)


def _available(records: xr.Dataset) -> set[str]:
    """Return the series of records and those that follow from them."""
    found = set(map(str, records.data_vars))
    return found | {"tair_mean"} if {"tair_min", "tair_max"} <= found else found


def pet_places(method: str | None) -> tuple[str, ...]:
    """Return the coordinates that a method needs of each site; none without a method."""
    return (
        ()
        if method is None
        else ("lat", "elevation")
        if PET_METHODS[method].by_elevation
        else ("lat",)
    )


def _require_known(records: xr.Dataset, available: set[str], method: str, site: str) -> None:
    one = PET_METHODS[method]
    for name in one.weather(available):
        if name not in available:
            usable = [
                other
                for other, known in PET_METHODS.items()
                if available.issuperset(known.weather(available))
            ]
            other = (
                f" (or {', '.join(sorted(set(one.or_needs) - set(one.needs)))} for humidity)"
                if one.or_needs
                else ""
            )
            raise DataError(
                f"potential evapotranspiration ({method}) needs {name!r}{other}, which the records "
                f"do not have; with what they have: {', '.join(usable) or 'none'}."
            )
    places_of(records, ("lat",), "radiation geometry")


def _heights(records: xr.Dataset, method: str, given: float | None) -> NDArray:
    """Return the elevation of each site, m; zeros for a method that does not look at it."""
    if given is not None or not PET_METHODS[method].by_elevation:
        return np.full(records.sizes["site"], given or 0.0)
    return places_of(records, ("elevation",), method)[0]


def _refuse_flat(part: xr.Dataset) -> None:
    flat = (part.tair_max > part.tair_min).any("time").values
    if not flat.all():
        site = part.site.values[~flat][0]
        raise DataError(
            f"tair_min equals tair_max on every day in site {site} (NLDAS in CAMELS-US), so that "
            "hargreaves gives zero; take oudin or hamon, or another forcing product."
        )


def _compute(
    records: xr.Dataset, method: str, needs: Sequence[str], elevation: NDArray, site: str
) -> NDArray:
    """Return [site, time]. The sites go through pyet as cells of a grid, which is far faster."""
    weather = {}
    for name in needs:
        values = records[name].transpose("time", site).values.astype(float)
        if name.startswith("rh_"):
            values = values.clip(max=100.0)
        coords = {"time": pd.DatetimeIndex(records.time.values)}
        weather[name] = xr.DataArray(values[:, :, None], dims=("time", "y", "x"), coords=coords)
    latitude, height = (
        xr.DataArray(numbers[:, None], dims=("y", "x"))
        for numbers in (np.deg2rad(records.lat.values), np.asarray(elevation))
    )
    found = PET_METHODS[method].compute(xr.Dataset(weather), latitude, height)
    array = np.asarray(found.transpose("time", "y", "x").values)[:, :, 0].T
    missing = np.logical_or.reduce(
        [np.isnan(values.values[:, :, 0].T) for values in weather.values()]
    )
    return np.where(
        missing, np.nan, np.maximum(array, 0.0)
    )  # pyet turns a missing temperature into zero
