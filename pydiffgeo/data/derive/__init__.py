"""What is computed from records: series and attributes that no file has. A new one is a function and an entry in `DERIVED`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import xarray as xr

from pydiffgeo.data.derive.pet import add_pet
from pydiffgeo.data.derive.snow import add_rain_and_melt
from pydiffgeo.data.derive.summary import add_climate, add_first_profile, add_moisture
from pydiffgeo.data.form import Day
from pydiffgeo.errors import SettingsError, lookup, nearest

DERIVED: dict[str, Callable[..., xr.Dataset]] = {
    "potential_evapotranspiration": add_pet,
    "rain_and_melt": add_rain_and_melt,
    "climate": add_climate,
    "moisture": add_moisture,
    "first_profile": add_first_profile,
}


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
        First and last day of what is summarised, where it is not told: those of training, so that nothing is known of others.

    Raises
    ------
    UnknownName
        No such name.
    SettingsError
        An argument that there is not.
    DataError
        What it needs is missing.
    """
    for name, given in wanted.items():
        function = lookup(DERIVED, name, "derived variable")
        known = [key for key in inspect.signature(function).parameters if key != "sites"]
        options = (
            {} if given is None else given if isinstance(given, Mapping) else {known[0]: given}
        )
        for key in options:
            if key not in known:
                raise SettingsError(
                    f"derive.{name} has no argument {key!r}{nearest(key, known)} It takes {', '.join(known)}."
                )
        period = {"start": start, "end": end}
        told = {k: v for k, v in period.items() if k in known and v is not None}
        sites = function(sites, **(told | dict(options)))
    return sites
