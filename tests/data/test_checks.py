"""Site records: the checks name what is wrong, and nothing is filled silently."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from pydiffgeo.data import (
    check_form,
    check_sites,
    missing_forcing,
    require_complete,
    synthetic_weather,
)
from pydiffgeo.data.checks import WEATHER
from pydiffgeo.data.variables import find_impossible
from pydiffgeo.errors import DataError, UnitError


@pytest.fixture
def records() -> xr.Dataset:
    weather = synthetic_weather(seed=1, sites=3)
    moisture = np.full((3, weather.sizes["time"], 2), 0.25)
    weather["soil_moisture"] = (("site", "time", "depth"), moisture, {"units": "m3 m-3"})
    return weather.assign_coords(depth=[0.05, 0.5])


def test_good_records_pass_unchanged(records):
    assert check_form(records) is records
    assert require_complete(records) is records


def test_repeated_date_is_named(records):
    twice = records.isel(time=[0, 1, 1, 2])
    with pytest.raises(DataError, match="2020-01-02 occurs twice"):
        check_form(twice)


def test_unordered_dates_are_named(records):
    with pytest.raises(DataError, match="unordered: 2020-01-02"):
        check_form(records.isel(time=[0, 2, 1, 3]))


def test_missing_day_is_named(records):
    with pytest.raises(DataError, match="not regular: 2020-01-02 .* 2020-01-04"):
        check_form(records.isel(time=[0, 1, 3]))


def test_repeated_station_is_named(records):
    with pytest.raises(DataError, match="'S02' occurs twice"):
        check_form(records.isel(site=[0, 1, 1]))


@pytest.mark.parametrize("unit", ["inch day-1", None])
def test_wrong_or_absent_unit_is_named(records, unit):
    records.precipitation.attrs["units"] = unit
    with pytest.raises(UnitError, match="'precipitation' has .*expected 'mm d-1'"):
        check_form(records)


def test_impossible_value_is_named_with_station_and_date(records):
    records.soil_moisture[1, 5, 1] = 25.0
    words = "soil_moisture is 25 m3 m-3, outside .0, 1. in level 2 of 2 in site S02 on 2020-01-06"
    with pytest.raises(DataError, match=words):
        check_sites(records).require()


def test_missing_variable_is_named(records):
    with pytest.raises(DataError, match="lack 'rh_mean'; they have"):
        check_form(records.drop_vars("rh_mean"), WEATHER)


def test_missing_forcing_is_listed_by_station_and_date(records):
    records.tair_mean[2, 10] = np.nan
    assert missing_forcing(records) == [("tair_mean", "S03", "2020-01-11")]
    with pytest.raises(DataError, match="tair_mean at site S03 on 2020-01-11"):
        require_complete(records)


def test_names_that_begin_alike_have_limits_of_their_own():
    """1200 kPa is a deficit in Pa, though a vapour pressure may be 1200 Pa."""
    assert find_impossible("vapour_pressure_deficit", np.array([1.2, 1200.0])).tolist() == [0, 1]
    assert not find_impossible("vapour_pressure_era5", np.array([1200.0])).any()
