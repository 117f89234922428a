"""Flux towers: a folder with a file of half-hours for each, SITE_halfhourly.csv."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pydiffgeo.data.layouts.regular_times import step_between
from pydiffgeo.data.layouts.series import has_numbers
from pydiffgeo.data.layouts.source import (
    Column,
    Request,
    Source,
    column,
    first_readable,
    names_of,
    wanted_sites,
)
from pydiffgeo.data.layouts.suffixes import factor_of, name_of, parted, unit_for
from pydiffgeo.data.layouts.tables_of_sites import given_attributes
from pydiffgeo.data.layouts.text import line_of, numbers_of, parse_stamps, read_csv
from pydiffgeo.data.variables import OBSERVED, VARIABLES, convert, unit_changes
from pydiffgeo.errors import DataError, listed, nearest

log = logging.getLogger("pydiffgeo")

ENDING = "_halfhourly"
TIME = "time_end"
# series that drive a model here, though other layouts observe them
DRIVERS = ("soil_moisture", "soil_temperature")
# what sensors show below zero in the dark and in saturated air, down to which it counts as zero
NEAR_ZERO = {"par": -20.0, "shortwave_down": -1.0, "vapour_pressure_deficit": -0.5}


def recognises(path: Path) -> bool:
    """Return whether the path is a file SITE_halfhourly.csv or a folder with some."""
    if path.is_dir():
        return any(path.glob(f"*{ENDING}.csv"))
    return path.name.endswith(f"{ENDING}.csv")


def open_source(
    path: Path, request: Request, attributes: Mapping[str, Mapping[str, Any]] | None = None
) -> Source:
    """Return files of half-hours as a source, one for each tower, which is named by it.

    Times are the ends of their half-hours; they stay as the files write them, often local standard
    time, unless `zone` tells what they are. Soil moisture and soil temperature count as drivers,
    latent heat, sensible heat and the exchange of carbon as observed. Light, short waves and vapour
    pressure deficit that are a little below zero count as zero, and it is said how many.

    Parameters
    ----------
    path : Path
        The folder, or one file.
    request : Request
        What the caller of `open_sites` asks for.
    attributes : mapping of str to mapping, optional
        Attributes by site, which the files do not have: {"US-Me2": {"pft": "evergreen needleleaf",
        "lat": 44.45}}.

    Raises
    ------
    DataError
        A file that cannot be read, has no times or irregular ones, or a word in place of a number;
        file, column and line are named.
    UnitError
        Known variables have no unit, or one that does not convert.
    """
    files = [path] if path.is_file() else sorted(path.glob(f"*{ENDING}.csv"))
    places = {file.stem.removesuffix(ENDING): file for file in files}
    sites = wanted_sites(list(places), request.sites, path)

    @cache
    def frame_of(site: str) -> pd.DataFrame:
        file = places[site]
        frame = read_csv(file, f"the series of site {site}", (TIME,))
        if TIME not in frame:
            raise DataError(
                f"{file} has no column {TIME!r}{nearest(TIME, list(map(str, frame)))} It has "
                f"{listed(frame.columns)}."
            )
        request.seen.update(frame.columns, (parted(str(name))[0] for name in frame))
        return frame

    readable = [first_readable([site], frame_of)[1] for site in sites]
    natives = list(
        dict.fromkeys(
            str(n) for frame in readable for n in frame if n != TIME and has_numbers(frame[n][:100])
        )
    )
    names = names_of(
        natives, Request(names={n: name_of(n, request.names) for n in natives}), files[0]
    )
    units = {n: unit_for(n, names[n], request) for n in natives}
    factors = unit_changes(names, units, files[0].name)

    def read(site: str, wanted: Collection[str]) -> pd.DataFrame:
        file, frame = places[site], frame_of(site)
        what = f"the series of site {site} ({file.name})"

        def line(row: int) -> int:
            return line_of(file, row, 1)

        times = request.index(parse_stamps(frame[TIME], what, line, zone=request.zone), what, line)
        chosen = [n for n in natives if names[n] in wanted]
        for name in (n for n in chosen if n not in frame and names[n] in VARIABLES):
            log.info("site %s has no %s (%s).", site, names[name], file.name)
        there = [n for n in chosen if n in frame]
        seen = [n for n in there if names[n] in OBSERVED]
        values = numbers_of(frame[there], times, f"site {site}", file, line, seen)
        found = {
            names[n]: _not_negative(
                names[n], convert(values[n].to_numpy(float) * factor_of(n), *factors[n]), site
            )
            for n in there
        }
        found |= {names[n]: np.full(len(times), np.nan) for n in chosen if n not in frame}
        return pd.DataFrame(found, index=times)

    def span(site: str) -> tuple[pd.Timestamp, pd.Timestamp]:
        times = read(site, ()).index
        return times[0], times[-1]

    _, times = first_readable(sites, lambda site: pd.DatetimeIndex(read(site, ()).index))
    columns = {names[n]: _column(names[n], units[n]) for n in natives}
    table = given_attributes(attributes, places)
    attrs = {"title": f"flux towers of {path.name}"}
    return Source(sites, columns, read, span, table, {}, attrs, step_between(times))


def _column(name: str, unit: str | None) -> Column:
    made = column(name, unit)
    return Column({**made.attributes, "role": "forcing"}) if name in DRIVERS else made


def _not_negative(name: str, values: np.ndarray, site: str) -> np.ndarray:
    """Return values with those a little below zero at zero."""
    low = NEAR_ZERO.get(name)
    if low is None:
        return values
    near = (values < 0) & (values >= low)
    if near.any():
        log.info("%s of site %s is below zero at %d times: zero.", name, site, int(near.sum()))
    return np.where(near, 0.0, values)
