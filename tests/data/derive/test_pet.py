"""Potential evapotranspiration against values worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from pydiffgeo.data import (
    PET_METHODS,
    add_pet,
    open_sites,
    potential_evapotranspiration,
    synthetic_weather,
)
from pydiffgeo.errors import DataError, UnknownName


def one_day() -> xr.Dataset:
    """A day of Brussels in July, from FAO-56, example 18 (wind 2.078 m/s and 100 m height left
    out).
    """
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
        {name: (("site", "time"), [[value]]) for name, value in values.items()},
        {
            "site": ["Uccle"],
            "time": np.array(["2015-07-06"], "datetime64[ns]"),
            "lat": ("site", [50.8]),
        },
    )


def test_priestley_taylor_by_hand():
    # FAO-56 example 18: net radiation 13.28 MJ m-2 d-1 and slope 0.122 kPa/K at 16.9 degC. By hand,
    # at 100 m: gamma = 0.000665 * 100.1 = 0.0666 kPa/K, latent heat 2.501 - 0.002361 * 16.9 = 2.461
    # MJ/kg, 1.26 * 0.122 / (0.122 + 0.0666) * 13.28 / 2.461 = 4.40 mm/d.
    pet = potential_evapotranspiration(one_day(), elevation=100.0)
    assert float(pet[0, 0]) == pytest.approx(4.40, abs=0.04)


def test_penman_monteith_with_the_default_wind():
    # FAO-56 example 18 gives 3.88 mm/d with 2.078 m/s; with 2 m/s the two wind terms change it by
    # less than 0.02.
    pet = potential_evapotranspiration(one_day(), "penman_monteith", elevation=100.0)
    assert float(pet[0, 0]) == pytest.approx(3.88, abs=0.04)


def test_turc_and_hargreaves_by_hand():
    # Turc: 0.013 * 16.9 / 31.9 * (23.88 * 22.07 + 50) = 3.97. Hargreaves: 0.0023 * 41.09 / 2.45 *
    # (16.9 + 17.8) * sqrt(9.2) = 4.06 (Ra = 41.09 in example 18).
    assert float(potential_evapotranspiration(one_day(), "turc")[0, 0]) == pytest.approx(
        3.97, abs=0.02
    )
    assert float(potential_evapotranspiration(one_day(), "hargreaves")[0, 0]) == pytest.approx(
        4.06, abs=0.06
    )


@pytest.mark.parametrize("method", PET_METHODS)
def test_every_method_is_positive_and_seasonal(method):
    pet = potential_evapotranspiration(synthetic_weather(seed=2, sites=2), method)
    assert pet.attrs["units"] == "mm d-1" and float(pet.min()) >= 0
    assert float(pet[:, 182:213].mean()) > 2 * float(pet[:, :31].mean())


@pytest.mark.parametrize("method", PET_METHODS)
def test_elevation_counts_where_the_method_says_so(method):
    weather = synthetic_weather(seed=2, sites=2)
    low, high = (
        potential_evapotranspiration(weather, method, elevation) for elevation in (0.0, 2000.0)
    )
    assert bool((low != high).any()) == PET_METHODS[method].by_elevation


@pytest.mark.parametrize("method", PET_METHODS)
def test_an_unknown_elevation_is_named_where_it_counts(method):
    sites = (
        synthetic_weather(seed=2, sites=3)
        .rename(site="site")
        .drop_vars("elevation", errors="ignore")
    )
    known, unknown = (
        sites.assign_coords(elevation=("site", [1500.0, h, 0.0])) for h in (300.0, np.nan)
    )
    found = add_pet(known, method).potential_evapotranspiration
    if not PET_METHODS[method].by_elevation:
        for records in (sites, unknown):
            np.testing.assert_array_equal(
                add_pet(records, method).potential_evapotranspiration, found
            )
        return
    sites = sites.rename(site="site")
    heights = sites.lat * 0.0 + [1500.0, 300.0, 0.0]
    np.testing.assert_array_equal(found, potential_evapotranspiration(sites, method, heights))
    second = str(sites.site.values[1])
    with pytest.raises(
        DataError, match=f"1 sites have no 'elevation': {second}; {method} needs it: add it"
    ):
        add_pet(unknown, method)
    with pytest.raises(DataError, match="3 sites have no 'elevation'"):
        add_pet(sites, method)


def test_bad_input_is_named():
    day = one_day()
    with pytest.raises(UnknownName, match="did you mean 'turc'"):
        potential_evapotranspiration(day, "turk")
    day.rh_min[0, 0] = np.nan
    with pytest.raises(DataError, match="rh_min at site Uccle on 2015-07-06"):
        potential_evapotranspiration(day)


def with_vapour_pressure(weather: xr.Dataset) -> xr.Dataset:
    """The same humidity as vapour pressure (FAO-56, eq. 17), Pa, and none as relative humidity."""
    saturated = {
        name: 610.8 * np.exp(17.27 * weather[name] / (weather[name] + 237.3))
        for name in ("tair_min", "tair_max")
    }
    pressure = (
        saturated["tair_min"] * weather.rh_max / 200 + saturated["tair_max"] * weather.rh_min / 200
    )
    return weather.assign(vapour_pressure=pressure).drop_vars(["rh_min", "rh_max", "rh_mean"])


def test_penman_monteith_from_the_vapour_pressure_of_fao56_example_17():
    # Bangkok, April: 34.8 and 25.6 degC, ea = 2.85 kPa, 2 m/s, Rs = 22.65 MJ m-2 d-1, 13.73 N, 2 m.
    # FAO-56: slope 0.246 and gamma 0.0674 kPa/K, Rn = 14.33, es = 4.42 kPa, ETo = 5.72 mm/d with a
    # soil heat flux of 0.14; without it (a day): [0.408 * 0.246 * 14.33 + 0.0674 * 900 / 303.2 * 2
    # * (4.42 - 2.85)] / (0.246 + 0.0674 * 1.68) = 5.75 mm/d.
    values = {
        "tair_mean": 30.2,
        "tair_min": 25.6,
        "tair_max": 34.8,
        "shortwave_down": 22.65,
        "vapour_pressure": 2850.0,
    }
    day = xr.Dataset(
        {name: (("site", "time"), [[value]]) for name, value in values.items()},
        {
            "site": ["Bangkok"],
            "time": np.array(["2015-04-15"], "datetime64[ns]"),
            "lat": ("site", [13.73]),
            "elevation": ("site", [2.0]),
        },
    )
    found = add_pet(day, "penman_monteith").potential_evapotranspiration
    assert float(found[0, 0]) == pytest.approx(5.75, abs=0.02)
    # 1.26 * 0.246 / (0.246 + 0.0674) * 14.33 / (2.501 - 0.002361 * 30.2) = 5.83 mm/d
    assert float(
        add_pet(day, "priestley_taylor").potential_evapotranspiration[0, 0]
    ) == pytest.approx(5.83, abs=0.02)
    without = add_pet(day.drop_vars("tair_mean"), "penman_monteith").potential_evapotranspiration
    assert float(without[0, 0]) == float(found[0, 0])
    saturated, above = (
        add_pet(day.assign(vapour_pressure=0 * day.vapour_pressure + pascal), "penman_monteith")
        for pascal in (4421.0, 9000.0)
    )
    # more than saturated counts as saturated
    np.testing.assert_allclose(
        above.potential_evapotranspiration, saturated.potential_evapotranspiration, rtol=1e-3
    )


@pytest.mark.parametrize("method", ["penman_monteith", "priestley_taylor"])
def test_vapour_pressure_gives_what_the_same_relative_humidity_gives(method):
    weather = synthetic_weather(seed=2, sites=2)
    found = potential_evapotranspiration(with_vapour_pressure(weather), method, 300.0)
    np.testing.assert_allclose(
        found, potential_evapotranspiration(weather, method, 300.0), rtol=1e-9
    )
    both = weather.assign(vapour_pressure=with_vapour_pressure(weather).vapour_pressure * 0.5)
    np.testing.assert_array_equal(
        potential_evapotranspiration(both, method, 300.0),
        potential_evapotranspiration(weather, method, 300.0),
    )
    bare = weather.drop_vars(["rh_min", "rh_max"])
    with pytest.raises(
        DataError,
        match=rf"{method}. needs 'rh_max' .or vapour_pressure for humidity., .*have: turc, harg",
    ):
        potential_evapotranspiration(bare, method)


def test_a_real_basin_follows_the_equations_of_fao56(shared_data):
    """Daymet in CAMELS-US: radiation is a mean over daylight, humidity a vapour pressure.

    Equation numbers of FAO-56.
    """
    records = open_sites(
        shared_data("camels_us_sample"), sites=["01547700"], start="2001-01-01", end="2001-12-31"
    )
    day = {
        name: records[name].values[0]
        for name in ("tair_min", "tair_max", "vapour_pressure", "shortwave_down")
    }
    low, high, ea, rs = (
        day["tair_min"],
        day["tair_max"],
        day["vapour_pressure"] / 1000,
        day["shortwave_down"],
    )
    mean, height, phi = (
        0.5 * (low + high),
        float(records.elevation[0]),
        np.deg2rad(float(records.lat[0])),
    )

    def saturated(t):
        return 0.6108 * np.exp(17.27 * t / (t + 237.3))  # 11

    es = 0.5 * (saturated(low) + saturated(high))  # 12
    slope = 4098 * saturated(mean) / (mean + 237.3) ** 2  # 13
    gamma = 0.665e-3 * 101.3 * ((293 - 0.0065 * height) / 293) ** 5.26  # 7, 8
    j = records.time.dt.dayofyear.values
    tilt = 0.409 * np.sin(2 * np.pi * j / 365 - 1.39)  # 24
    sunset = np.arccos(-np.tan(phi) * np.tan(tilt))  # 25
    near = 1 + 0.033 * np.cos(2 * np.pi * j / 365)  # 23
    ra = (
        37.586
        * near
        * (sunset * np.sin(phi) * np.sin(tilt) + np.cos(phi) * np.cos(tilt) * np.sin(sunset))
    )  # 21
    clear = np.clip(rs / ((0.75 + 2e-5 * height) * ra), 0.3, 1)  # 37
    emitted = 4.903e-9 * ((high + 273.16) ** 4 + (low + 273.16) ** 4) / 2
    net = 0.77 * rs - emitted * (0.34 - 0.14 * np.sqrt(ea)) * (1.35 * clear - 0.35)  # 38, 39, 40
    wet = 0.408 * slope * net + gamma * 900 / (mean + 273) * 2 * (es - ea)
    expected = {
        "penman_monteith": wet / (slope + gamma * 1.68),  # 6
        "priestley_taylor": 1.26 * slope / (slope + gamma) * net / (2.501 - 2.361e-3 * mean),
    }
    for method, values in expected.items():
        found = add_pet(records, method).potential_evapotranspiration
        np.testing.assert_allclose(found[0], np.maximum(values, 0), rtol=5e-3, atol=0.02)
        assert (
            0.8 < float(found.mean() / records.pet_mean[0]) < 1.15
        )  # CAMELS: Priestley-Taylor, calibrated, 1989 to 2009
