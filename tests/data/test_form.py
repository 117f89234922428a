"""Names, times and periods of the site form."""

from __future__ import annotations

import pandas as pd
import pytest
import site_files
import xarray as xr

from pydiffgeo.data.form import (
    attribute_names,
    axis_of,
    is_observed,
    observed_names,
    parse_moment,
    positions,
    series_names,
    stamp,
    step_of,
)
from pydiffgeo.errors import DataError

DAYS = pd.date_range("2000-01-01", periods=10)
HOURS = pd.date_range("2000-01-01 01:00", periods=72, freq="h")


def test_names_are_sorted_by_what_they_are() -> None:
    sites = site_files.records(sites=2, days=3)
    assert series_names(sites) == ("precipitation", "tair_min", "tair_max")
    assert observed_names(sites) == ("discharge",)
    assert attribute_names(sites) == ("area", "aridity")
    sites.tair_min.attrs["role"], sites.discharge.attrs["role"] = "observed", "forcing"
    assert observed_names(sites) == ("tair_min",) and "discharge" in series_names(sites)
    deep = xr.DataArray([[[1.0]]], dims=("site", "time", "cell"), name="x")
    assert is_observed(deep)
    assert axis_of(xr.Dataset({"a": (("site", "point"), [[1.0]])})) == "point"
    with pytest.raises(DataError, match="have station, time; .*.rename does"):
        axis_of(xr.Dataset({"a": (("station", "time"), [[1.0]])}))
    with pytest.raises(DataError, match=r"an xarray.Dataset, got str; `pydiffgeo.open_sites"):
        axis_of("sites.nc")  # type: ignore[arg-type]


def test_a_date_is_a_whole_day() -> None:
    assert positions(DAYS, "2000-01-03", "2000-01-05") == (2, 5)
    assert positions(DAYS, None, None) == (0, 10)
    # the hours of a day end at 01:00 ... 24:00: none is of two days, none of no day
    assert positions(HOURS, "2000-01-02", "2000-01-02") == (24, 48)
    assert positions(HOURS, "2000-01-01", "2000-01-01") == (0, 24)
    assert positions(HOURS, "2000-01-03", None) == positions(HOURS, "2000-01-03", "2000-01-03")
    assert positions(HOURS, "2000-01-02 00:00", "2000-01-02 00:00") == (23, 24)
    halves = pd.date_range("2000-01-01 00:30", periods=72, freq="h")  # 23:30 to 00:30 is no day's
    assert positions(halves, "2000-01-02", "2000-01-02") == (25, 48)
    assert positions(HOURS[:-1], "2000-01-03", "2000-01-03") == (48, 71)
    with pytest.raises(DataError, match="2000-01-04, is not in the record, .* to 2000-01-04;"):
        positions(HOURS, "2000-01-02", "2000-01-04")  # of which there is no hour
    assert positions(HOURS, "2000-01-02 06:00", "2000-01-02T08:00Z") == (29, 32)
    assert positions(HOURS, "2000-01-02T06:00+02:00", None) == (27, 72)
    assert positions(DAYS, "2000-01-01T00:00Z", "20000105") == (0, 5)
    assert positions(pd.RangeIndex(4), None, None) == (0, 4)
    for start, end in (("1999-12-31", None), (None, "2000-01-11"), ("2000-01-05", "2000-01-04")):
        with pytest.raises(DataError, match="is not in the record, 2000-01-01 to 2000-01-10"):
            positions(DAYS, start, end)
    with pytest.raises(DataError, match="shorter than a step"):
        positions(DAYS, "2000-01-02 01:00", "2000-01-02 02:00")


def test_steps_are_regular() -> None:
    assert step_of(DAYS) == pd.Timedelta(days=1) == step_of(DAYS[:1])
    assert step_of(HOURS) == pd.Timedelta(hours=1) and not step_of(pd.RangeIndex(3))
    with pytest.raises(DataError, match="2000-01-01 02:00 occurs twice"):
        step_of(HOURS[[0, 1, 1, 2]])
    with pytest.raises(DataError, match="unordered: 2000-01-01 03:00"):
        step_of(HOURS[[0, 1, 3, 2, 4]])


def test_times_in_words() -> None:
    assert stamp(DAYS[0]) == "2000-01-01" and stamp(HOURS[0]) == "2000-01-01 01:00"
    assert stamp(3) == "point 3" and stamp(pd.Timestamp("2000-01-01 00:00:05")).endswith("00:00:05")
    assert parse_moment(None, "start") is pd.NaT
    with pytest.raises(DataError, match="end='soon' is no date"):
        parse_moment("soon", "end")
