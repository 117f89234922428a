"""Times of every kind: right lengths, or an error that says what to give."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import cftime
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from pydiffgeo import Grid, Richards, solve, usda_soil
from pydiffgeo.errors import DataError, UnitError
from pydiffgeo.inputs import read_times
from pydiffgeo.times import intervals, parse_times

HOURS = pd.date_range("2021-03-27 20:00", periods=9, freq="h")
BERLIN = HOURS.tz_localize("UTC").tz_convert(
    "Europe/Berlin"
)  # across the change to summer time: 2 o'clock is missing


def counted(numbers: Any, units: str, **attributes: str) -> xr.DataArray:
    return xr.DataArray(numbers, dims="time", attrs={"units": units, **attributes})


@pytest.mark.parametrize(
    "times",
    [
        counted(np.arange(9) / 24, "days since 2000-01-01"),
        counted(np.arange(9) * 3600, "seconds since 1970-01-01 00:00:00"),
        HOURS,
        pd.Series(HOURS),
        xr.DataArray(HOURS, dims="time"),
        HOURS.to_numpy().astype("M8[m]"),
        HOURS - HOURS[0],
        (HOURS - HOURS[0]).to_numpy().astype("m8[m]"),
        pd.Series(HOURS - HOURS[0]),
        list(HOURS),
        BERLIN,
        pd.Series(BERLIN),
        list(BERLIN),
        [t.to_pydatetime() for t in HOURS],
        [t.to_pydatetime() for t in BERLIN],
        [t.isoformat() for t in HOURS],
        [t.isoformat() for t in BERLIN],
        [f"{t:%Y%m%dT%H}Z" for t in HOURS],
        [timedelta(hours=i) for i in range(9)],
        [cftime.DatetimeGregorian(*t.timetuple()[:6]) for t in HOURS],
        torch.arange(9),
        np.arange(9, dtype=np.uint8),
        np.arange(9.0) + 1e7,
    ],
)
def test_hours_are_hours(times: Any) -> None:
    assert intervals(parse_times(times), "h").tolist() == [1.0] * 8


@pytest.mark.parametrize(
    ("times", "days"),
    [
        (np.array(["1700-01-01", "2000-01-01", "2300-01-01"], "M8[D]"), [109572, 109573]),
        (["0001-01-01", "2600-01-01"], [949265]),
        (np.array(["2000", "2600"], "M8[Y]"), [219146]),
        (np.array(["1700-01-01", "2200-01-01"], "M8[ns]"), [182621]),
        (np.array(["1700-01-01", "1700-01-02", "2200-01-01"], "M8[ns]"), [1, 182620]),
        (["1999-12", "2000-03"], [91]),
        ([date(2000, 2, 28), date(2000, 3, 1)], [2]),
        (
            [
                datetime(2000, 1, 1, tzinfo=UTC),
                datetime(2000, 1, 1, 12, tzinfo=timezone(timedelta(hours=-12))),
            ],
            [1],
        ),
    ],
)
def test_dates_however_far_apart(times: Any, days: list[int]) -> None:
    assert intervals(parse_times(times), "d").tolist() == days
    assert intervals(parse_times(times), "min").tolist() == [1440.0 * d for d in days]


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([20000131, 20000201], ["times are dates written as integers", "20000131", "%Y%m%d"]),
        (np.array([2000013100, 2000013101]), ["dates written as integers", "%Y%m%d%H"]),
        ([20000131.0, 20000201.0], ["dates written as integers"]),
        ([200011, 200012, 200101], ["dates written as integers", '"%Y%m"']),
        ([2000365, 2000366, 2001001], ["dates written as integers", '"%Y%j"']),
        (HOURS.asi8, ["since 1970"]),
        ([cftime.DatetimeNoLeap(2000, 1, 1)] * 2, ["times[0]", "noleap", "(cftime.date2num)."]),
        (counted([0.0, 1.0], "days since 2000-01-01", calendar="noleap"), ["noleap"]),
        (counted([0.0, 1.0], "days since the flood"), ["'days since the flood'", "give the dates"]),
        (counted([0.0, np.nan], "days since 2000-01-01"), ["times[1] is not a date"]),
        ([cftime.DatetimeGregorian(1500, 1, 1)] * 2, ["before 1582-10-15"]),
        (["2000-01-01", "1.2.2000"], ["times[1] is '1.2.2000'", "ISO 8601"]),
        (["2000-01-01", "2000-13-01"], ["times[1] is '2000-13-01'"]),
        ([date(2000, 1, 1), None], ["times[1] is None"]),
        ([pd.Timestamp("2000"), pd.NaT], ["times[1] is not a date"]),
        (
            [datetime(2000, 1, 1), datetime(2000, 1, 2, tzinfo=UTC)],
            ["with and without a time zone"],
        ),
        ([date(2000, 1, 1), timedelta(1)], ["dates and durations"]),
        (np.ma.masked_array([0.0, 1.0, 2.0], [0, 1, 0]), ["times[1] is masked"]),
        (np.array([1, 2], "m8[M]"), ["length is not known"]),
        (pd.period_range("2000-01", periods=2, freq="M"), ["Period", ".to_timestamp()"]),
        ([True, False], ["bool"]),
        ([[0.0, 1.0], [2.0]], ["no array of times"]),
        ([[0.0, 1.0], [2.0, 3.0]], ["one-dimensional", "(2, 2)"]),
    ],
)
def test_what_is_no_time_is_named(times: Any, words: list[str]) -> None:
    with pytest.raises(DataError) as error:
        parse_times(times)
    assert all(word in str(error.value) for word in [*words, "."]), str(error.value)
    assert str(error.value).endswith(".") and not str(error.value).endswith("..")


def test_numbers_that_are_no_dates_pass() -> None:
    for numbers in (
        [20000100, 20000200],
        [17520000, 17520024],
        [1.7e9, 1.7e9 + 3600],
        [200001, 200002],
        [2000001, 2000002],
    ):
        assert parse_times(numbers).tolist() == numbers


@pytest.mark.parametrize("unit", ["s", "min", "h", "d"])
def test_numbers_of_another_unit(unit: str) -> None:
    days = np.arange("2000-02-28", "2000-03-03", dtype="M8[D]")
    for kind in ("s", "ms"):
        count = days.astype(f"M8[{kind}]").astype(np.int64)
        if (unit, kind) == ("s", "s"):
            assert read_times(count, unit)[0].tolist() == [86400.0] * 3
            continue
        for numbers in (count, count.astype(float), torch.tensor(count), list(map(int, count))):
            with pytest.raises(
                DataError, match=r"times begin with 9.5.*since 1970: give the dates.*\.$"
            ):
                read_times(numbers, unit)
    assert read_times(np.arange(9.0) + 1e7, unit)[0].tolist() == [1.0] * 8
    same = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days"}
    for name, text in same.items():
        if name == unit:
            assert read_times(counted([0.0, 1.0], text), unit)[0].tolist() == [1.0]
        else:
            with pytest.raises(
                UnitError, match=f"times has units '{text}', the model needs '{unit}'"
            ):
                read_times(counted([0.0, 1.0], text), unit)


def test_dates_of_forcing_are_decoded_too() -> None:
    def run(rain: Any, times: Any) -> torch.Tensor:
        forcing = {"rain": rain, "potential_evaporation": 0.0}
        return solve(
            Richards(Grid.uniform(30.0, 5)),
            forcing,
            usda_soil("loam"),
            -100.0,
            times,
            engine="torch",
        ).states

    raw = counted(np.arange(4) / 24, "days since 2021-03-27 20:00")
    rain = xr.DataArray([0.1, 0.0, 0.2], dims="time", coords={"time": raw[1:]})
    wanted = run([0.1, 0.0, 0.2], range(4))
    for times in (raw, HOURS[:4], range(4)):
        assert torch.equal(run(rain, times), wanted)
    with pytest.raises(
        DataError, match="'rain' is dated by the starts of the intervals .2021-03-27T21:00"
    ):
        run(rain, HOURS[1:5])


def test_solve_takes_durations_as_durations() -> None:
    model = Richards(Grid.uniform(30.0, 5))
    forcing = {"rain": 0.05, "potential_evaporation": 0.0}
    runs = [
        solve(model, forcing, usda_soil("loam"), -100.0, t, engine="torch")
        for t in (HOURS, HOURS - HOURS[0], range(9))
    ]
    for run in runs[1:]:
        assert torch.equal(run.fluxes["infiltration"], runs[0].fluxes["infiltration"])
        assert torch.equal(run.states, runs[0].states)
    assert (runs[0].times == HOURS[1:]).all() and (runs[1].times == (HOURS - HOURS[0])[1:]).all()
    assert runs[2].times.tolist() == list(range(1, 9))
