"""Weather of towers: days keep their sums, nights are dark, and steps end where they should."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pydiffgeo.data import synthetic_weather
from pydiffgeo.data.derive import derived
from pydiffgeo.data.weather import tower_weather
from pydiffgeo.errors import DataError


def test_tower_weather_keeps_its_days() -> None:
    daily = synthetic_weather(1, 3, "2020-05-01", "2020-05-20")
    daily["vapour_pressure"] = daily.tair_mean * 0 + 1.2
    daily["vapour_pressure"].attrs["units"] = "kPa"
    half_hours = tower_weather(daily, 0.5)
    assert half_hours.sizes["time"] == 20 * 48
    times = pd.DatetimeIndex(half_hours.time.values)
    assert times[0] == pd.Timestamp("2020-05-01T00:30") and times[-1] == pd.Timestamp("2020-05-21")
    for name, own in (("shortwave_down", "shortwave_down"), ("air_temperature", "tair_mean")):
        mean = half_hours[name].values.reshape(3, 20, 48).mean(-1)
        np.testing.assert_allclose(mean, daily[own], rtol=1e-9)
    seen = derived(half_hours, {"sun": -8})
    assert (half_hours.shortwave_down.values[seen.sun_elevation.values < 0] == 0).all()
    noon = half_hours.shortwave_down.mean(("site", "time"), skipna=True)
    assert float(half_hours.shortwave_down.isel(time=slice(24, 26)).mean()) > 2 * float(noon)
    with pytest.raises(DataError, match="do not divide a day"):
        tower_weather(daily, 0.7)
