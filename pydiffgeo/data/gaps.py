"""Explicit filling of missing forcing.

Only what is asked for is filled, and all of it is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from pyet import extraterrestrial_r

from pydiffgeo.data.checks import WEATHER
from pydiffgeo.data.lazy import in_memory
from pydiffgeo.data.problems import runs
from pydiffgeo.errors import DataError, SettingsError


@dataclass(frozen=True)
class GapRules:
    """Which gaps of the forcing may be filled, and how.

    Parameters
    ----------
    max_days : int
        Longest gap (days) of temperature, humidity or radiation that is interpolated linearly, 0 to
        30.
    precipitation : {"error", "zero"}
        What a missing precipitation day becomes: an error, or no precipitation.
    dead_radiation : {"error", "temperature"}
        What days of a dead radiation sensor become: an error, or radiation from the daily
        temperature range (FAO-56, eq. 50) with the coefficient fitted to the site's good days.

    Raises
    ------
    SettingsError
        Another value.
    """

    max_days: int = 3
    precipitation: Literal["error", "zero"] = "zero"
    dead_radiation: Literal["error", "temperature"] = "temperature"

    def __post_init__(self) -> None:
        if not 0 <= self.max_days <= 30:
            raise SettingsError(f"gaps.max_days is {self.max_days}; give 0 to 30 days.")
        for name, known in (
            ("precipitation", ("error", "zero")),
            ("dead_radiation", ("error", "temperature")),
        ):
            if getattr(self, name) not in known:
                raise SettingsError(
                    f"gaps.{name} is {getattr(self, name)!r}, neither {known[0]!r} nor "
                    f"{known[1]!r}."
                )


@dataclass(frozen=True)
class Fill:
    """One run of days that was filled."""

    site: str
    variable: str
    start: str
    end: str
    days: int
    method: str


def filled_lines(fills: Sequence[Fill]) -> list[str]:
    """Return one line per site and run of days that says what was filled there and how."""
    places: dict[tuple[str, str, str, int], dict[str, list[str]]] = {}
    for fill in fills:
        methods = places.setdefault((fill.site, fill.start, fill.end, fill.days), {})
        methods.setdefault(fill.method, []).append(fill.variable)
    lines = []
    for (site, start, end, days), methods in places.items():
        when = start if days == 1 else f"{start} to {end} ({days} days)"
        what = "; ".join(f"{', '.join(names)} ({method})" for method, names in methods.items())
        lines.append(f"{site}, {when}: {what}")
    return sorted(lines)


# A sensor that shows less than this share of extraterrestrial radiation on most days of a month's
# half is dead: the darkest single days of a healthy record reach 0.01, but never for eight days of
# fifteen.
DEAD_SHARE = 0.05
DEAD_WINDOW = 15


def fill_forcing(
    records: xr.Dataset,
    gaps: GapRules,
    period: tuple[pd.Timestamp, pd.Timestamp] | None = None,
    names: Iterable[str] = WEATHER,
) -> tuple[xr.Dataset, list[Fill]]:
    """Return the records with forcing filled as `gaps` allows, and the list of what was filled.

    Days of a dead radiation sensor (15-day running median below 5 % of extraterrestrial radiation)
    count as missing. Soil moisture is never filled.

    Parameters
    ----------
    records : xarray.Dataset
        Site form (see `pydiffgeo.data.checks`).
    gaps : GapRules
        What may be filled.
    period : tuple of Timestamp, optional
        First and last day that are needed: gaps outside of them stay, and are no error. All days by
        default.

    Raises
    ------
    DataError
        A gap that `gaps` does not allow to fill; site, variable and dates are named.

    Notes
    -----
    Radiation from temperature: Allen et al. (1998), FAO Irrigation and Drainage Paper 56, eq. 50:
    Rs = k sqrt(Tmax - Tmin) Ra.
    """
    filled = in_memory(records).copy(deep=True)
    fills: list[Fill] = []
    days = pd.DatetimeIndex(filled.time.values)
    first, last = period or (days[0], days[-1])
    needed = np.asarray((days >= first) & (days <= last))
    wanted, known = set(names), set(map(str, records.variables))
    # radiation comes after the temperatures, which its estimate needs
    for variable in (name for name in WEATHER if name in wanted & known):
        for i, site in enumerate(records.site.values):
            series = filled[variable].isel(site=i).to_series()
            if variable == "shortwave_down" and {"tair_min", "tair_max", "lat"} <= known:
                series, replaced = _revive_radiation(
                    series, filled.isel(site=i), str(site), gaps, needed
                )
                fills += replaced
            for start, end in runs(series.isna()):
                if needed[start : end + 1].any():
                    fills.append(_fill_run(series, start, end, str(site), variable, gaps))
            filled[variable].loc[{"site": site}] = series.to_numpy()
    if {"tair_mean", "tair_min", "tair_max"} <= set(filled.data_vars):
        low, high = filled.tair_min, filled.tair_max
        filled["tair_mean"] = filled.tair_mean.clip(low, high, keep_attrs=True)
    return filled, fills


def dead_radiation(radiation: pd.Series, latitude: float) -> pd.Series:
    """Return True on the days on which the radiation sensor is dead.

    Parameters
    ----------
    radiation : pandas.Series
        Daily global radiation, MJ m-2 d-1, on a daily index.
    latitude : float
        Degrees north.
    """
    share = radiation / _extraterrestrial(radiation.index, latitude)
    median = share.rolling(DEAD_WINDOW, center=True, min_periods=DEAD_WINDOW // 2 + 1).median()
    return (median < DEAD_SHARE) & (share < 2 * DEAD_SHARE)


def _extraterrestrial(days: pd.Index, latitude: float) -> pd.Series:
    """Return extraterrestrial radiation, MJ m-2 d-1 (Allen et al. 1998, eq. 21)."""
    return pd.Series(
        np.asarray(extraterrestrial_r(pd.DatetimeIndex(days), float(np.deg2rad(latitude)))).ravel(),
        days,
    )


def _revive_radiation(
    radiation: pd.Series, record: xr.Dataset, site: str, gaps: GapRules, needed: NDArray
) -> tuple[pd.Series, list[Fill]]:
    dead = dead_radiation(radiation, float(record.lat))
    if not (dead & needed).any():
        return radiation, []
    spans = runs(dead)
    if gaps.dead_radiation == "error":
        start, end = radiation.index[spans[0][0]], radiation.index[spans[-1][1]]
        raise DataError(
            f"shortwave_down of site {site} is below {DEAD_SHARE:.0%} of extraterrestrial "
            f"radiation on {int(dead.sum())} days from {start:%Y-%m-%d} to {end:%Y-%m-%d}: a dead "
            "sensor. Set gaps.dead_radiation to 'temperature' to estimate it, or leave the site "
            "out."
        )
    spread = np.sqrt((record.tair_max - record.tair_min).clip(0.0).to_series())
    estimate = spread * _extraterrestrial(radiation.index, float(record.lat))
    good = ~dead & radiation.notna() & estimate.notna()
    if good.sum() < 30:
        raise DataError(
            f"site {site} has only {int(good.sum())} good days of radiation, 30 are needed to fit "
            "its estimate from temperature; leave the site out."
        )
    coefficient = float((radiation[good] * estimate[good]).sum() / (estimate[good] ** 2).sum())
    method = f"temperature range, k = {coefficient:.3f}"
    index = radiation.index
    fills = [
        Fill(
            site,
            "shortwave_down",
            f"{index[a]:%Y-%m-%d}",
            f"{index[b]:%Y-%m-%d}",
            b - a + 1,
            method,
        )
        for a, b in spans
    ]
    return radiation.where(~dead, coefficient * estimate), fills


def _fill_run(
    series: pd.Series, start: int, end: int, site: str, variable: str, gaps: GapRules
) -> Fill:
    """Fill positions start..end of `series` in place."""
    days = end - start + 1
    first, last = f"{series.index[start]:%Y-%m-%d}", f"{series.index[end]:%Y-%m-%d}"
    where = f"{variable} of site {site} is missing from {first} to {last} ({days} days)"
    if variable == "precipitation":
        if gaps.precipitation == "error":
            raise DataError(f"{where}; set gaps.precipitation to 'zero', or leave the site out.")
        series.iloc[start : end + 1] = 0.0
        return Fill(site, variable, first, last, days, "zero")
    if days > gaps.max_days:
        raise DataError(
            f"{where}, longer than gaps.max_days = {gaps.max_days}; raise it, or leave the site "
            "out."
        )
    if start == 0 or end == len(series) - 1:
        raise DataError(
            f"{where}, at the edge of the record where it cannot be interpolated; shorten the "
            "record."
        )
    before, after = series.iloc[start - 1], series.iloc[end + 1]
    series.iloc[start : end + 1] = np.linspace(before, after, days + 2)[1:-1]
    return Fill(site, variable, first, last, days, "linear")
