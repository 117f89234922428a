"""Only what is asked for is filled, and all of it is reported."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from pydiffgeo.data import (
    GapRules,
    fill_forcing,
    synthetic_weather,
)
from pydiffgeo.errors import DataError


@pytest.fixture
def records() -> xr.Dataset:
    weather = synthetic_weather(seed=1, sites=3)
    moisture = np.full((3, weather.sizes["time"], 2), 0.25)
    weather["soil_moisture"] = (("site", "time", "depth"), moisture, {"units": "m3 m-3"})
    return weather.assign_coords(depth=[0.05, 0.5])


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
