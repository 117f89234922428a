"""Snow waits for warmth and keeps its water."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from pydiffgeo.data import (
    degree_day,
    derived,
    synthetic_weather,
)


@pytest.fixture
def records() -> xr.Dataset:
    weather = synthetic_weather(seed=1, sites=3)
    moisture = np.full((3, weather.sizes["time"], 2), 0.25)
    weather["soil_moisture"] = (("site", "time", "depth"), moisture, {"units": "m3 m-3"})
    return weather.assign_coords(depth=[0.05, 0.5])


def test_snow_waits_for_warmth_and_keeps_its_water(records):
    rain = records.precipitation[:1, :4].copy(data=[[4.0, 2.0, 1.0, 0.0]])
    cold = records.tair_mean[:1, :4].copy(data=[[-3.0, 1.0, 0.5, 5.0]])
    np.testing.assert_allclose(degree_day(rain, cold), [[0.0, 2.0 + 3.0, 1.0 + 1.0, 0.0]])


def test_a_day_without_weather_is_missing_alone(records):
    for name in ("precipitation", "tair_mean"):
        gap = records.copy(deep=True)
        gap[name][0, 3] = np.nan
        melt = derived(gap, {"rain_and_melt": {}}).rain_and_melt.values
        assert np.flatnonzero(np.isnan(melt[0])).tolist() == [3]
