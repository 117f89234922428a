"""Stations of streams: one table with temperatures, discharge or oxygen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pydiffgeo.data.layouts.regular_times import step_between
from pydiffgeo.data.layouts.source import (
    Column,
    Request,
    Source,
    column,
    first_readable,
    wanted_sites,
)
from pydiffgeo.data.layouts.tables_of_sites import given_attributes
from pydiffgeo.data.layouts.text import line_of, numbers_of, parse_stamps, read_csv
from pydiffgeo.data.variables import convert, unit_changes
from pydiffgeo.errors import DataError, listed, nearest

PART = "part"  # column that says what a row is for


@dataclass(frozen=True)
class Form:
    """A table: its columns of the site (none: the file is one), of the time, and of series.

    `columns` has name and unit of the site form by column, `optional` are columns that may lack;
    `observed` are the series that are compared: the others drive a model.
    """

    title: str
    site: tuple[str, ...]
    time: tuple[str, ...]
    columns: Mapping[str, tuple[str, str]]
    observed: tuple[str, ...]
    optional: tuple[str, ...] = ()
    bridged: int = 0  # steps of a gap that is bridged by a line where a series drives a model
    stamps: Callable[[pd.DataFrame], pd.Series] = lambda frame: frame.iloc[:, 0]


def _american(frame: pd.DataFrame) -> pd.Series:
    """Return month/day/year and a time of day as ISO 8601 text."""
    whole = pd.to_datetime(
        frame.iloc[:, 0] + " " + frame.iloc[:, 1], format="%m/%d/%Y %H:%M:%S", errors="coerce"
    )
    text: pd.Series = whole.dt.strftime("%Y-%m-%d %H:%M:%S")
    return text


OXYGEN = {
    "DO_obs": ("dissolved_oxygen", "mg L-1"),
    "DO_sat": ("told_saturation", "mg L-1"),
    "depth": ("water_depth", "m"),
    "temp_water": ("water_temperature", "degC"),
    "light": ("light", "umol m-2 s-1"),
    "discharge": ("discharge", "m3 s-1"),
}
FORMS: dict[str, Form] = {
    "air2stream": Form(
        "days of air temperature, water temperature and discharge",
        ("station",),
        ("date",),
        {
            "air_temp_degC": ("tair_mean", "degC"),
            "water_temp_degC": ("water_temperature", "degC"),
            "discharge_m3s": ("discharge", "m3 s-1"),
        },
        ("water_temperature",),
        ("water_temp_degC",),
    ),
    "segments": Form(
        "days of segments of the National Hydrologic Model, as river-dl has them",
        ("seg_id_nat",),
        ("date",),
        {
            "water_temp_obs_degC": ("water_temperature", "degC"),
            "air_temp_degC": ("tair_mean", "degC"),
            "precip_mm_day": ("precipitation", "mm d-1"),
            "discharge_prms_m3_s": ("discharge", "m3 s-1"),
            "discharge_obs_m3_s": ("gauged_discharge", "m3 s-1"),
            "water_temp_sntemp_degC": ("sntemp_temperature", "degC"),
        },
        ("water_temperature", "gauged_discharge"),
        ("water_temp_obs_degC", "discharge_obs_m3_s", "water_temp_sntemp_degC"),
    ),
    "clearwater": Form(
        "days of water temperature at sites of a network, in part filled by their authors",
        ("site_id",),
        ("date",),
        {"water_temp_degC": ("water_temperature", "degC"), "imputed": ("imputed", "1")},
        ("water_temperature",),
    ),
    "hjandrews": Form(
        "days of water temperature, as the H.J. Andrews Forest has them",
        ("site",),
        ("date",),
        {
            "water_temp_mean_degC": ("water_temperature", "degC"),
            "water_temp_max_degC": ("water_temperature_max", "degC"),
            "water_temp_min_degC": ("water_temperature_min", "degC"),
        },
        ("water_temperature", "water_temperature_max", "water_temperature_min"),
    ),
    "metabolism": Form(
        "oxygen, temperature, depth and light, as streamMetabolizer has them",
        (),
        ("solar_time",),
        OXYGEN,
        ("dissolved_oxygen",),
        ("DO_obs", "DO_sat", "discharge"),
    ),
    "sondes": Form(
        "oxygen and temperature of sondes",
        ("station", "sonde"),
        ("date", "time"),
        {"temp": ("water_temperature", "degC"), "oxy": ("dissolved_oxygen", "mg L-1")},
        ("dissolved_oxygen",),
        ("oxy",),
        12,
        _american,
    ),
}
"""Tables that are known by their columns."""


def recognises(path: Path) -> bool:
    """Return whether the path is a table of one of `FORMS`."""
    return path.is_file() and path.suffix == ".csv" and _form_of(path) is not None


def _form_of(path: Path) -> Form | None:
    with open(path, encoding="utf-8", errors="replace") as file:
        names = {name.strip().strip('"') for name in file.readline().split(",")}
    for form in FORMS.values():
        needed = {*form.site, *form.time, *form.columns} - {*form.optional}
        if needed <= names:
            return form
    return None


def open_source(
    path: Path,
    request: Request,
    part: str | None = None,
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
) -> Source:
    """Return the stations of a table as a source.

    A table of days has the columns station, date, air_temp_degC, water_temp_degC, discharge_m3s; a
    table of oxygen solar_time, DO_obs, depth, temp_water, light, and the name of its file is the
    site; one of sondes station, sonde, date, time, temp, oxy, where STATION_SONDE is a site, and
    temperatures that lack for up to 12 steps are taken from a line. The
    attribute "station" is the site, so that settings can select one also in other tables. Times
    stay as they are, those of oxygen local; they are the ends of their steps.

    Parameters
    ----------
    path : Path
        The table.
    request : Request
        What the caller of `open_sites` asks for.
    part : str, optional
        Rows to keep, by the column "part", such as "calibration"; all by default.
    attributes : mapping of str to mapping, optional
        Attributes by site, which the tables do not have: {"low_TOWN": {"lat": 41.3}}. Their units
        are those of `open_sites(units=...)`.

    Raises
    ------
    DataError
        Another table, a part or a site that it does not have, a word in place of a number, times
        that are not regular; file and line are named.
    """
    form = _form_of(path)
    if form is None:
        told = "; ".join(", ".join((*f.site, *f.time, *f.columns)) for f in FORMS.values())
        raise DataError(f"{path} is no table of a stream that is known; its columns are: {told}.")
    text = (*form.site, *form.time)
    table = read_csv(path, f"the stations in {path.name}", (*text, PART))
    request.seen.update(map(str, table))
    if part is not None:
        known = sorted(set(table[PART].dropna())) if PART in table else []
        if part not in known:
            raise DataError(
                f"{path} has no rows of the part {part!r}{nearest(part, known)} It has "
                f"{listed(known)}.",
                ("data", "options", "part"),
            )
        table = table[table[PART] == part]
    names = [path.stem] * len(table)
    if form.site:
        lacking = table[list(form.site)].isna().any(axis=1)
        if lacking.any():
            line = line_of(path, int(table.index[int(lacking.to_numpy().argmax())]), 1)
            raise DataError(f"{path} has no {form.site[0]} in line {line}; write it.")
        names = ["_".join(map(str.strip, row)) for row in table[list(form.site)].to_numpy(str)]
    rows = {str(site): part_of for site, part_of in table.groupby(names, sort=False)}
    sites = wanted_sites(list(rows), request.sites, path)
    natives = [name for name in form.columns if name in table]
    given = {n: request.names.get(n, form.columns[n][0]) for n in natives}
    units = {n: request.units.get(n, request.units.get(given[n], form.columns[n][1]))
             for n in natives}  # fmt: skip
    factors = unit_changes(given, units, path.name, river=True)

    @cache
    def frame_of(site: str) -> pd.DataFrame:
        own, what = rows[site], f"the series of site {site} ({path.name})"
        lines = own.index.to_numpy()

        def line(row: int) -> int:
            return line_of(path, int(lines[row]), 1)

        stamps = form.stamps(own[list(form.time)].reset_index(drop=True))
        parsed = parse_stamps(stamps, what, line, zone=request.zone)
        times = request.index(_once(parsed), what, line)
        seen = [n for n in natives if given[n] in form.observed]
        values = own[natives].reset_index(drop=True)
        values = values[~parsed.duplicated()].reset_index(drop=True)
        numbers = numbers_of(values, times, f"site {site}", path, line, seen)
        found = {given[n]: convert(numbers[n].to_numpy(float), *factors[n]) for n in natives}
        for name in (n for n in found if n not in form.observed):
            found[name] = _bridged(found[name], form.bridged)
        return pd.DataFrame(found, index=times)

    def read(site: str, wanted: Collection[str]) -> pd.DataFrame:
        frame = frame_of(site)
        return frame[[name for name in frame if name in wanted]]

    def span(site: str) -> tuple[pd.Timestamp, pd.Timestamp]:
        times = frame_of(site).index
        return times[0], times[-1]

    _, times = first_readable(sites, lambda site: pd.DatetimeIndex(frame_of(site).index))
    columns = {
        given[n]: Column({
            **column(given[n], units[n]).attributes,
            "role": "observed" if form.columns[n][0] in form.observed else "forcing",
        })
        for n in natives
    }  # fmt: skip
    known_of = given_attributes(attributes, rows)
    # by which settings select one: the name of a site is no attribute
    known_of = known_of.reindex(list(rows)).assign(station=list(rows))
    attribute_units = {n: request.units[n] for n in map(str, known_of) if n in request.units}
    attrs = {"title": f"streams of {path.name}"}
    return Source(sites, columns, read, span, known_of, attribute_units, attrs, step_between(times))


def _bridged(values: NDArray, most: int) -> NDArray:
    """Return a series without its gaps of at most so many steps."""
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return values
    missing = np.flatnonzero(~np.isfinite(values))
    after = np.searchsorted(known, missing)
    inside = (after > 0) & (after < len(known))
    missing, after = missing[inside], after[inside]
    short = missing[known[after] - known[after - 1] - 1 <= most]
    filled = values.copy()
    filled[short] = np.interp(short, known, values[known])
    return filled


def _once(times: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Return times without those that stand there a second time, as sondes write at noon."""
    return times[~times.duplicated()]
