"""Site records: the checks name what is wrong, and nothing is filled silently."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from pydiffgeo.data import (
    GapRules,
    check_form,
    check_sites,
    degree_day,
    fill_forcing,
    missing_forcing,
    open_sites,
    require_complete,
    synthetic_weather,
)
from pydiffgeo.data.checks import WEATHER
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


def test_short_gap_is_interpolated_and_reported(records):
    before, after = float(records.tair_min[0, 9]), float(records.tair_min[0, 12])
    records.tair_min[0, 10:12] = np.nan
    filled, fills = fill_forcing(records, GapRules())
    assert [(f.site, f.variable, f.start, f.days, f.method) for f in fills] == [
        ("S01", "tair_min", "2020-01-11", 2, "linear")
    ]
    np.testing.assert_allclose(
        filled.tair_min[0, 10:12], [(2 * before + after) / 3, (before + 2 * after) / 3]
    )
    assert np.isnan(records.tair_min[0, 10])  # the input is left alone


def test_long_gap_is_refused(records):
    records.rh_min[1, 20:26] = np.nan
    with pytest.raises(DataError, match="rh_min of site S02 .*2020-01-21 to 2020-01-26"):
        fill_forcing(records, GapRules(max_days=3))


def test_missing_rain_is_zero_or_an_error_as_asked(records):
    records.precipitation[0, 3] = np.nan
    filled, fills = fill_forcing(records, GapRules(precipitation="zero"))
    assert float(filled.precipitation[0, 3]) == 0.0 and fills[0].method == "zero"
    with pytest.raises(DataError, match="precipitation of site S01 is missing from 2020-01-04"):
        fill_forcing(records, GapRules(precipitation="error"))


def test_dead_radiation_sensor_is_found_and_estimated(records):
    true = records.shortwave_down[1, 240:].copy()
    records.shortwave_down[1, 240:] = 0.0
    with pytest.raises(DataError, match="site S02 .* dead sensor"):
        fill_forcing(records, GapRules(dead_radiation="error"))
    filled, fills = fill_forcing(records, GapRules())
    assert sum(f.days for f in fills) == len(true) and fills[0].start == "2020-08-28"
    estimate = filled.shortwave_down[1, 240:]
    assert abs(float(estimate.mean() / true.mean()) - 1) < 0.15
    assert float(xr.corr(estimate, true)) > 0.7


def test_dark_single_days_are_believed(records):
    records.shortwave_down[0, [5, 9, 11]] = 0.1
    assert fill_forcing(records, GapRules())[1] == []


def test_snow_waits_for_warmth_and_keeps_its_water(records):
    rain = records.precipitation[:1, :4].copy(data=[[4.0, 2.0, 1.0, 0.0]])
    cold = records.tair_mean[:1, :4].copy(data=[[-3.0, 1.0, 0.5, 5.0]])
    np.testing.assert_allclose(degree_day(rain, cold), [[0.0, 2.0 + 3.0, 1.0 + 1.0, 0.0]])


def test_uscrn_file_loads_and_its_known_faults_are_found(shared_data):
    path = shared_data("soil_moisture/uscrn_2020_daily_profiles.nc")
    records = open_sites(path)
    assert dict(records.sizes) == {"site": 15, "time": 366, "depth": 5}
    assert records.soil_moisture.dims == ("site", "time", "depth") and "NOAA" in records.source
    assert records.depth.values.tolist() == [0.05, 0.1, 0.2, 0.5, 1.0]
    with pytest.raises(DataError, match="precipitation at site 03047 on 2020-02-19"):
        require_complete(records)
    filled, fills = fill_forcing(records, GapRules())
    require_complete(filled)
    dead = [f for f in fills if f.method.startswith("temperature range")]
    assert {f.site for f in dead} == {"03728"} and 115 < sum(f.days for f in dead) < 130
    with pytest.raises(DataError, match="no site '0304'"):
        open_sites(path, sites=["0304"])
