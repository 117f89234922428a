"""Records of a run from several files: further products of its sites, and more sites."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from pydiffgeo.data import (
    append_sites,
    fill_forcing,
    filled_lines,
    find_data,
    join_sites,
    open_sites,
)
from pydiffgeo.data.form import axis_of, series_names, times_of
from pydiffgeo.errors import DataError, SettingsError, nearest
from pydiffgeo.experiment.data_schema import DataSettings
from pydiffgeo.experiment.signatures import make

log = logging.getLogger("pydiffgeo")

SOURCE = "source"  # attribute: which of the files a site comes from
FIRST = "data"  # and its value at the sites of `path`
OF_FILES = ("layout", "product", "names", "units", "zone", "stamps", "options")


def with_joined(records: xr.Dataset, data: DataSettings, search: Sequence[str]) -> xr.Dataset:
    """Return records with the further products, but for those that they have already."""
    found = {}
    for ending, told in data.join.items():
        if any(str(name).endswith(f"_{ending}") for name in records.data_vars):
            continue
        found[ending] = open_sites(**_given(told, ("data", "join", ending), search))
    return join_sites(records, **found)


def with_appended(records: xr.Dataset, data: DataSettings, search: Sequence[str]) -> xr.Dataset:
    """Return records with the sites of other files after theirs, each with its attribute source.

    Gaps are filled file by file, as the settings say, since a site is missing at the times of the
    others.
    """
    if not data.append:
        return records
    several = [_marked(records, FIRST, data)]
    for name, told in data.append.items():
        place = ("data", "append", name)
        if name == FIRST:
            raise SettingsError(f"{FIRST!r} names the sites of data.path; take another.", place)
        given = _given(told, place, search, "shift")
        years = given.pop("shift", 0)
        if not isinstance(years, int):
            raise SettingsError(
                f"shift is {years!r}; give a whole number of years.", (*place, "shift")
            )
        several.append(_marked(shifted(open_sites(**given), years), name, data))
    return append_sites(*several)


def all_names(data: DataSettings) -> dict[str, str]:
    """Return the names of the package by names in the files, of all files."""
    found: dict[str, str] = {}
    for told in data.append.values():
        found |= dict(told.get("names") or {}) if isinstance(told, Mapping) else {}
    return found | data.names


def shifted(records: xr.Dataset, years: int) -> xr.Dataset:
    """Return records whose dates are some years later, without 29 February where there is none."""
    if not years:
        return records
    if axis_of(records) == "point":
        raise DataError("shift: the records have no dates; leave it out.")
    times = times_of(records)
    moved = times + pd.DateOffset(years=years)
    there = moved.day == times.day
    return records.isel(time=there).assign_coords(time=moved[there])


def _given(told: Any, place: tuple[str, ...], search: Sequence[str], *more: str) -> dict[str, Any]:
    """Return the arguments of `open_sites` for one more file, and `more` keys."""
    given: dict[str, Any] = {"path": told} if isinstance(told, Path) else dict(told)
    known = ("path", *OF_FILES, *more)
    if "path" not in given:
        raise SettingsError("path is missing: name a file or folder.", place)
    for key in given:
        if key not in known:
            close = nearest(key, known)
            raise SettingsError(f"no key {key!r}{close} Known: {', '.join(known)}.", place)
    return {**given, "path": find_data(given["path"], search)}


def _marked(records: xr.Dataset, name: str, data: DataSettings) -> xr.Dataset:
    """Return records with the attribute source, and gaps filled as the settings say."""
    if SOURCE in records.variables:
        told = f"append: the records of {name} have a variable {SOURCE!r} already; rename it."
        raise DataError(told, ("data", "append"))
    gaps: Any = make(data.gaps)
    if gaps is not None:
        days = times_of(records)
        series = [n for n in series_names(records) if n not in data.observed]
        records, fills = fill_forcing(records, gaps, (days[0], days[-1]), series)
        for line in filled_lines(fills):
            log.info("%s, filled: %s", name, line)
    return records.assign({SOURCE: ("site", [name] * records.sizes["site"])})
