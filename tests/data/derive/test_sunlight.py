"""Light of a clear sky, by the height of the sun."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pydiffgeo.data import derived
from pydiffgeo.errors import DataError


def records(lat: float, lon: float) -> xr.Dataset:
    times = pd.date_range("2012-03-20 00:30", periods=48, freq="30min")
    told = {"units": "degC"}
    sites = xr.Dataset(
        {"water_temperature": (("site", "time"), np.zeros((1, 48)), told)},
        {"site": ["a"], "time": times},
    )
    return sites.assign(lat=("site", [lat]), lon=("site", [lon]))


def test_equinox_at_the_equator() -> None:
    """The sun is in the zenith at noon, below the horizon for half a day; local times differ."""
    light = derived(records(0.0, 0.0), {"sunlight": {}}).light.values[0]
    assert light.max() == pytest.approx(2326.0, rel=2e-3)
    assert light[:11].max() == 0 and light[-11:].max() == 0
    west = derived(records(0.0, -90.0), {"sunlight": {"ahead_of_utc": -6}}).light.values[0]
    np.testing.assert_allclose(west, light, atol=15.0)


def test_a_site_without_a_place() -> None:
    with pytest.raises(DataError, match="no 'lat': a; sunlight needs it"):
        derived(records(np.nan, 0.0), {"sunlight": {}})
