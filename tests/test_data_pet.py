"""Potential evapotranspiration against values worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from pydiffgeo.data import PET_METHODS, add_pet, potential_evapotranspiration, synthetic_weather
from pydiffgeo.errors import DataError, UnknownName


def one_day() -> xr.Dataset:
    """A day of Brussels in July, from FAO-56, example 18 (wind 2.078 m/s and 100 m height left out)."""
    values = {
        "precipitation": 0.0,
        "tair_mean": 16.9,
        "tair_min": 12.3,
        "tair_max": 21.5,
        "shortwave_down": 22.07,
        "rh_mean": 73.5,
        "rh_min": 63.0,
        "rh_max": 84.0,
    }
    return xr.Dataset(
        {name: (("station", "time"), [[value]]) for name, value in values.items()},
        {
            "station": ["Uccle"],
            "time": np.array(["2015-07-06"], "datetime64[ns]"),
            "lat": ("station", [50.8]),
        },
    )


def test_priestley_taylor_by_hand():
    # FAO-56 example 18: net radiation 13.28 MJ m-2 d-1 and slope 0.122 kPa/K at 16.9 degC. By hand, at 100 m:
    # gamma = 0.000665 * 100.1 = 0.0666 kPa/K, latent heat 2.501 - 0.002361 * 16.9 = 2.461 MJ/kg,
    # 1.26 * 0.122 / (0.122 + 0.0666) * 13.28 / 2.461 = 4.40 mm/d.
    pet = potential_evapotranspiration(one_day(), elevation=100.0)
    assert float(pet[0, 0]) == pytest.approx(4.40, abs=0.04)


def test_penman_monteith_with_the_default_wind():
    # FAO-56 example 18 gives 3.88 mm/d with 2.078 m/s; with 2 m/s the two wind terms change it by less than
    # 0.02.
    pet = potential_evapotranspiration(one_day(), "penman_monteith", elevation=100.0)
    assert float(pet[0, 0]) == pytest.approx(3.88, abs=0.04)


def test_turc_and_hargreaves_by_hand():
    # Turc: 0.013 * 16.9 / 31.9 * (23.88 * 22.07 + 50) = 3.97. Hargreaves: 0.0023 * 41.09 / 2.45 * (16.9 +
    # 17.8) * sqrt(9.2) = 4.06 (Ra = 41.09 in example 18).
    assert float(potential_evapotranspiration(one_day(), "turc")[0, 0]) == pytest.approx(3.97, abs=0.02)
    assert float(potential_evapotranspiration(one_day(), "hargreaves")[0, 0]) == pytest.approx(4.06, abs=0.06)


@pytest.mark.parametrize("method", PET_METHODS)
def test_every_method_is_positive_and_seasonal(method):
    pet = potential_evapotranspiration(synthetic_weather(seed=2, stations=2), method)
    assert pet.attrs["units"] == "mm day-1" and float(pet.min()) >= 0
    assert float(pet[:, 182:213].mean()) > 2 * float(pet[:, :31].mean())


@pytest.mark.parametrize("method", PET_METHODS)
def test_elevation_counts_where_the_method_says_so(method):
    weather = synthetic_weather(seed=2, stations=2)
    low, high = (potential_evapotranspiration(weather, method, elevation) for elevation in (0.0, 2000.0))
    assert bool((low != high).any()) == PET_METHODS[method].by_elevation


@pytest.mark.parametrize("method", PET_METHODS)
def test_an_unknown_elevation_is_named_where_it_counts(method):
    basins = synthetic_weather(seed=2, stations=3).rename(station="basin").drop_vars("elevation", errors="ignore")
    known, unknown = (basins.assign_coords(elevation=("basin", [1500.0, h, 0.0])) for h in (300.0, np.nan))
    found = add_pet(known, method).potential_evapotranspiration
    if not PET_METHODS[method].by_elevation:
        for records in (basins, unknown):
            np.testing.assert_array_equal(add_pet(records, method).potential_evapotranspiration, found)
        return
    stations = basins.rename(basin="station")
    heights = stations.lat * 0.0 + [1500.0, 300.0, 0.0]
    np.testing.assert_array_equal(found, potential_evapotranspiration(stations, method, heights))
    second = str(basins.basin.values[1])
    with pytest.raises(DataError, match=f"1 basins have no elevation, which {method} needs: {second}; add it"):
        add_pet(unknown, method)
    with pytest.raises(DataError, match="3 basins have no elevation"):
        add_pet(basins, method)


def test_bad_input_is_named():
    day = one_day()
    with pytest.raises(UnknownName, match="did you mean 'turc'"):
        potential_evapotranspiration(day, "turk")
    day.rh_min[0, 0] = np.nan
    with pytest.raises(DataError, match="rh_min at station Uccle on 2015-07-06"):
        potential_evapotranspiration(day)
