"""Checks of the site form, and of weather that must be complete."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr

from pydiffgeo.data.form import axis_of, stamp, step_of, times_of, unit_of
from pydiffgeo.data.network import DOWNSTREAM
from pydiffgeo.data.variables import VARIABLES, variable_of
from pydiffgeo.errors import DataError, UnitError, listed
from pydiffgeo.units import same_unit

WEATHER = (
    "precipitation",
    "tair_mean",
    "tair_min",
    "tair_max",
    "shortwave_down",
    "rh_mean",
    "rh_min",
    "rh_max",
)


def check_form(sites: xr.Dataset, needed: Iterable[str] = ()) -> xr.Dataset:
    """Return records unchanged if they have the site form, whatever their values.

    Parameters
    ----------
    sites : xarray.Dataset
        Records.
    needed : iterable of str
        Variables or coordinates that must be there.

    Raises
    ------
    DataError
        A dimension or a needed variable is missing, times are unordered, repeated or not regular, a
        site is listed twice, or depths do not increase.
    UnitError
        Known variables are in another unit, or have none; all are named.
    """
    axis_of(sites)
    absent = [name for name in needed if name not in sites]
    if absent:
        raise DataError(
            f"the records lack {', '.join(map(repr, absent))}; they have {listed(sites.variables)}."
        )
    ids = pd.Index(sites.site.values)
    if ids.has_duplicates:
        raise DataError(
            f"site {ids[ids.duplicated()][0]!r} occurs twice; keep one record per site."
        )
    step_of(times_of(sites))
    if "depth" in sites.dims and (np.diff(sites.depth.values) <= 0).any():
        raise DataError(
            f"depths {sites.depth.values} are not increasing; sort with .sortby('depth')."
        )
    wrong = wrong_units(sites, map(str, sites.variables))
    if wrong:
        raise UnitError(f"{'; '.join(wrong.values())}; convert them and set attrs['units'].")
    return sites


def wrong_units(sites: xr.Dataset, names: Iterable[str]) -> dict[str, str]:
    """Return what is wrong with the units of known variables, in words by name.

    None, or another one.
    """
    found = {}
    for name in names:
        if name in VARIABLES and name in sites:
            unit = unit_of(sites[name])
            # what drives a stream is a volume, as in a river
            volume = DOWNSTREAM in sites.variables or sites[name].attrs.get("role") == "forcing"
            known = variable_of(name, unit if volume else None)
            wanted = (known or VARIABLES[name]).unit
            if unit is None or not same_unit(unit, wanted):
                has = "no unit" if unit is None else f"unit {unit!r}"
                found[name] = f"{name!r} has {has}, expected {wanted!r}"
    return found


def missing_forcing(
    sites: xr.Dataset, names: Iterable[str] = WEATHER
) -> list[tuple[str, str, str]]:
    """Return (variable, site, date) of every missing value of the forcing `names`, in order."""
    found, times = [], times_of(sites)
    for name in names:
        values = sites[name].transpose("site", ...)
        for i, j in np.argwhere(np.isnan(values.values)):
            found.append((name, str(values.site.values[i]), stamp(times[j])))
    return found


def require_complete(sites: xr.Dataset, names: Iterable[str] = WEATHER) -> xr.Dataset:
    """Return records if no value of the forcing `names` is missing.

    Raises
    ------
    DataError
        Missing values, listed by variable, site and date (the first ten), with the count of all.
    """
    missing = missing_forcing(sites, names)
    if missing:
        listed = "; ".join(f"{name} at site {site} on {day}" for name, site, day in missing[:10])
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise DataError(
            f"{len(missing)} forcing values are missing: {listed}{more}. Fill them yourself, allow "
            "filling in the settings (`gaps`), or leave the site out."
        )
    return sites
