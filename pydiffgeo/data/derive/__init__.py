"""Series and attributes computed from records.

A new one is a function and an entry in `DERIVED`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import xarray as xr
import yaml

from pydiffgeo.data.derive.channel import add_width
from pydiffgeo.data.derive.classes import add_class_values, add_classes, class_name, class_numbers
from pydiffgeo.data.derive.filled import add_filled
from pydiffgeo.data.derive.means import add_means, mean_names
from pydiffgeo.data.derive.memory import add_memory, memory_names
from pydiffgeo.data.derive.nearest import add_nearest, nearest_names
from pydiffgeo.data.derive.own_area import add_own_area
from pydiffgeo.data.derive.own_inflow import LATERAL, add_own_inflow
from pydiffgeo.data.derive.pet import add_pet, pet_places, pet_sources
from pydiffgeo.data.derive.relative_discharge import add_relative_discharge
from pydiffgeo.data.derive.season import add_season, add_time_of_day, day_names, season_names
from pydiffgeo.data.derive.sky import SKY, add_sky
from pydiffgeo.data.derive.snow import add_rain_and_melt
from pydiffgeo.data.derive.soil import CLAPP_HORNBERGER, add_clapp_hornberger
from pydiffgeo.data.derive.summary import (
    CLIMATE,
    QUANTILES,
    add_climate,
    add_first_profile,
    add_moisture,
)
from pydiffgeo.data.derive.sun import add_sun
from pydiffgeo.data.derive.sunlight import add_sunlight
from pydiffgeo.data.form import Day, series_names, unit_of
from pydiffgeo.data.variables import VARIABLES
from pydiffgeo.errors import DataError, SettingsError, listed, lookup, nearest
from pydiffgeo.units import conversion

DERIVED: dict[str, Callable[..., xr.Dataset]] = {
    "potential_evapotranspiration": add_pet,
    "rain_and_melt": add_rain_and_melt,
    "climate": add_climate,
    "moisture": add_moisture,
    "first_profile": add_first_profile,
    "filled": add_filled,
    "nearest": add_nearest,
    "width": add_width,
    "own_area": add_own_area,
    "own_inflow": add_own_inflow,
    "sun": add_sun,
    "sky": add_sky,
    "season": add_season,
    "time_of_day": add_time_of_day,
    "relative_discharge": add_relative_discharge,
    "memory": add_memory,
    "sunlight": add_sunlight,
    "means": add_means,
    "classes": add_classes,
    "class_values": add_class_values,
    "clapp_hornberger": add_clapp_hornberger,
}

CLIMATE_NAMES = tuple(f"climate_{name}" for name in CLIMATE)
PET = {"potential_evapotranspiration": "oudin"}  # gives tair_mean, too
SUN = ("sun_elevation", "diffuse_share", "longwave_down")


def derived(
    sites: xr.Dataset, wanted: Mapping[str, Any], start: Day = None, end: Day = None
) -> xr.Dataset:
    """Return records with what is computed from them, one after the other.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form.
    wanted : mapping of str to str or mapping
        By name of `DERIVED`: its first argument, or its arguments by name; None for its defaults.
    start, end : str or date, optional
        First and last day of what is summarised, where it is not told: those of training, so that
        nothing is known of others.

    Raises
    ------
    UnknownName
        No such name.
    SettingsError
        An argument that there is not.
    DataError
        What it needs is missing.
    """
    changed = _in_other_units(sites) if wanted else {}
    given_series = {name: sites[name] for name in changed}
    sites = sites.assign(changed)
    for name, given in wanted.items():
        function = lookup(DERIVED, name, "derived variable")
        known = [key for key in inspect.signature(function).parameters if key != "sites"]
        options = (
            {} if given is None else given if isinstance(given, Mapping) else {known[0]: given}
        )
        for key in options:
            if key not in known:
                raise SettingsError(
                    f"derive.{name} has no argument {key!r}{nearest(key, known)} It takes "
                    f"{', '.join(known)}."
                )
        period = {"start": start, "end": end}
        told = {k: v for k, v in period.items() if k in known and v is not None}
        sites = function(sites, **(told | dict(options)))
    return sites.assign(given_series)


def _in_other_units(sites: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return forcing that is in other units than those of `VARIABLES`, in these."""
    found = {}
    for name in series_names(sites):
        unit, known = unit_of(sites[name]), VARIABLES.get(name)
        if unit is None or known is None or (change := conversion(unit, known.unit)) is None:
            continue
        if change != (1.0, 0.0):
            values = sites[name] * change[0] + change[1]
            found[name] = values.assign_attrs({**sites[name].attrs, "units": known.unit})
    return found


def sources_of(
    sites: xr.Dataset, wanted: Mapping[str, Any], readers: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the series of the files that some series come from, and coordinates they need.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form, before anything is derived.
    wanted : mapping of str to str or mapping
        What is to be derived, as `derived` takes it.
    readers : mapping of str to str
        Series that somebody reads, and who.

    Raises
    ------
    DataError
        A series that neither the records nor what is derived has.
    """
    found: dict[str, None] = {}
    places: tuple[str, ...] = ()
    given = wanted.get("potential_evapotranspiration")
    method = given.get("method", "oudin") if isinstance(given, Mapping) else given or "oudin"
    made = made_series(wanted)
    queue = list(readers)
    while queue:
        name = queue.pop(0)
        if name in sites:
            found[name] = None
        elif name in made:
            queue += made[name]
            places = ("lat", "lon") if name == "light" else places
        elif name == "potential_evapotranspiration" and name in wanted:
            queue += pet_sources(sites, method)
            places = pet_places(method)
        elif name == "rain_and_melt" and name in wanted:
            queue += ["precipitation", "tair_mean"]
        elif name in SUN and "sun" in wanted:
            queue += ["shortwave_down"]
            air = "air_temperature" if "air_temperature" in sites else "tair_mean"
            queue += [air, "vapour_pressure"] if name == "longwave_down" else []
            places = ("lat", "lon")
        elif name == "tair_mean" and "potential_evapotranspiration" in wanted:
            queue += ["tair_min", "tair_max"]
        else:
            known = [*series_names(sites), *wanted]
            line = settings_line(sites, wanted, name)
            remedy = line or " Add it to them, or rename one of theirs."
            who = f", which {readers[name]} reads" if name in readers else ""
            raise DataError(
                f"no series {name!r}{who}, in the records{'.' if line else nearest(name, known)} "
                f"They have {listed(known)}.{remedy}",
                ("data", "derive"),
            )
    return tuple(found), tuple(name for name in places if name in sites.coords)


def made_series(wanted: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the series that some of what is derived gives, and what each reads."""
    found: dict[str, list[str]] = {}
    for key, names in (("season", season_names), ("time_of_day", day_names)):
        if key in wanted:
            given = wanted[key] or {}
            waves = given.get("harmonics", 1) if isinstance(given, Mapping) else int(given)
            found |= {name: [] for name in names(waves)}
    if "sunlight" in wanted:
        found |= {"light": []}
    if "relative_discharge" in wanted:
        given = wanted["relative_discharge"] or {}
        source = given.get("discharge", "discharge")
        found |= {"relative_discharge": [source], "log_discharge": [source]}
    if "sky" in wanted:
        found |= dict.fromkeys(SKY, ["tair_mean", "precipitation"])
    if "own_inflow" in wanted:
        given = wanted["own_inflow"] or {}
        flow = given.get("discharge", "discharge") if isinstance(given, Mapping) else str(given)
        found[LATERAL] = [flow]
    if "memory" in wanted:
        given = wanted["memory"]
        found |= {k: [v] for k, v in memory_names(given["series"]).items()}
    return found


def series_of(wanted: Mapping[str, Any]) -> list[str]:
    """Return the series that what is derived may give: one of its own name, or several."""
    return [*wanted, *(SUN if "sun" in wanted else ()), *made_series(wanted)]


def attributes_of(wanted: Mapping[str, Any]) -> list[str]:
    """Return the attributes that what is derived may give."""
    found = [*CLIMATE_NAMES] if "climate" in wanted else []
    found += ["width"] if "width" in wanted else []
    found += ["own_area"] if "own_area" in wanted else []
    found += CLAPP_HORNBERGER if "clapp_hornberger" in wanted else ()
    classes = wanted.get("classes")
    if isinstance(classes, Mapping):
        found += [class_name(str(classes.get("of")), v) for v in classes.get("values") or ()]
    if means := wanted.get("means"):
        found += mean_names(means.get("of", ()) if isinstance(means, Mapping) else means)
    if isinstance(near := wanted.get("nearest"), Mapping):
        found += nearest_names(near.get("attributes") or ())
    if isinstance(numbers := wanted.get("class_values"), Mapping):
        found += class_numbers(numbers.get("table") or {})
    for kind, endings in (("moisture", tuple(QUANTILES)), ("first_profile", ("first",))):
        if kind in wanted:
            given = wanted[kind] or {}
            name = given.get("name", "soil_moisture") if isinstance(given, Mapping) else given
            found += [f"{name}_{ending}" for ending in endings]
    return found


def derivation(sites: xr.Dataset, name: str) -> dict[str, Any]:
    """Return what `derived` takes to compute a series or attribute from records; {} for none."""
    there = set(map(str, sites.variables))
    warm = bool({"tair_mean"} & there or {"tair_min", "tair_max"} <= there)
    base, _, last = name.rpartition("_")
    if name in ("potential_evapotranspiration", "tair_mean") and warm:
        return PET
    if name == "rain_and_melt" and warm and "precipitation" in there:
        return {**({} if "tair_mean" in there else PET), name: {}}
    if name in CLIMATE_NAMES:
        return {"climate": {}}
    if name in SUN and {"shortwave_down", "vapour_pressure"} <= there:
        return {"sun": {}}
    if base in there and last in QUANTILES:
        return {"moisture": base}
    return {"first_profile": base} if base in there and last == "first" else {}


def settings_line(sites: xr.Dataset, wanted: Mapping[str, Any], name: str) -> str:
    """Return a sentence with the line of settings that lets a name be computed; "" for none.

    `wanted` is what is derived already, which stays in the line.
    """
    more = {key: value for key, value in derivation(sites, name).items() if key not in wanted}
    if not more:
        return ""
    line = yaml.safe_dump({**wanted, **more}, default_flow_style=True, sort_keys=False, width=1000)
    return f" It can be computed: write `derive: {line.strip()}` below `data:`."
