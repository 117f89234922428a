"""The sun where almanacs have it, the sky where formulas are known, and errors."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pydiffgeo.data.derive import derivation, derived, series_of, sources_of
from pydiffgeo.data.derive.sun import STEFAN, add_sun, diffuse_share, sun_elevation
from pydiffgeo.errors import DataError, DataWarning

pytestmark = pytest.mark.filterwarnings("ignore:.*sun is below the horizon")


def records(shortwave: float = 500.0) -> xr.Dataset:
    """Two days in half-hours."""
    times = pd.date_range("2019-06-20T00:30", periods=96, freq="30min")
    shape = (("site", "time"), np.ones((2, 96)))
    return xr.Dataset(
        {
            "shortwave_down": (shape[0], shortwave * shape[1], {"units": "W m-2"}),
            "tair_mean": (shape[0], 20.0 * shape[1], {"units": "degC"}),
            "vapour_pressure": (shape[0], 1200.0 * shape[1], {"units": "Pa"}),
        },
        {
            "site": ["a", "b"], "time": times, "lat": ("site", [40.0, -30.0]),
            "lon": ("site", [0.0, -120.0]),
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("time", "lat", "lon", "expected"),
    [  # solstices and an equinox at solar noon, less the equation of time; midnight sun; night
        ("2019-06-21T12:01:52", 40.0, 0.0, 73.43),
        ("2019-12-22T11:58:20", 40.0, 0.0, 26.57),
        ("2020-03-20T12:07:30", 0.0, 0.0, 89.9),
        ("2019-06-21T20:01:52", 40.0, -120.0, 73.43),
        ("2019-06-22T00:00:00", 70.0, 0.0, 3.43),
        ("2019-06-22T00:00:00", 40.0, 0.0, -26.56),
        # NREL SPA, Reda & Andreas (2004), doi:10.1016/j.solener.2003.12.003, example: 39.89 deg
        ("2003-10-17T19:30:30", 39.742476, -105.1786, 39.87),
    ],
)
def test_sun_elevation(time: str, lat: float, lon: float, expected: float) -> None:
    found = sun_elevation(pd.DatetimeIndex([time]), np.array([lat]), np.array([lon]))
    assert found[0, 0] == pytest.approx(expected, abs=0.2)


def test_diffuse_share() -> None:
    clearness = np.linspace(0, 1.2, 400)
    found = diffuse_share(clearness)
    assert found[0] == 1 and found[-1] == 0.165 and ((found >= 0) & (found <= 1)).all()
    assert np.abs(np.diff(found)).max() < 0.02  # no jumps


def test_the_middle_of_each_step_in_units_of_the_records() -> None:
    found = derived(records(), {"sun": None})
    step = found.sel(site="a", time="2019-06-20T12:00")
    middle = pd.DatetimeIndex(["2019-06-20T11:45"])
    assert float(step.sun_elevation) == sun_elevation(middle, np.array([40.0]), np.zeros(1))[0, 0]
    height = np.sin(np.deg2rad(float(step.sun_elevation)))
    season = 2 * np.pi * 171 / 365.25
    expected = diffuse_share(np.array(500 / (1361 * (1 + 0.0334 * np.cos(season)) * height)))
    assert float(step.diffuse_share) == pytest.approx(float(expected), rel=1e-6)
    assert found.shortwave_down.attrs["units"] == "W m-2"
    night = found.diffuse_share.values[found.sun_elevation.values < 0]
    assert len(night) and (night == 1).all()


def test_long_wave_of_a_clear_and_of_an_overcast_sky() -> None:
    air = STEFAN * 293.15**4
    clear = 1.24 * (12.0 / 293.15) ** (1 / 7) * air
    bright, dark = (derived(records(s), {"sun": None}).longwave_down for s in (1500.0, 0.0))
    np.testing.assert_allclose(bright, clear, rtol=1e-9)
    np.testing.assert_allclose(dark, air, rtol=1e-9)


def test_measured_long_wave_stays() -> None:
    measured = (("site", "time"), np.full((2, 96), 333.0), {"units": "W m-2"})
    found = add_sun(records().assign(longwave_down=measured).drop_vars("vapour_pressure"))
    assert (found.longwave_down == 333).all()


def test_times_ahead_of_utc() -> None:
    given = records()
    local = given.assign_coords(time=given.time - np.timedelta64(8, "h"))
    found, same = derived(given, {"sun": None}), derived(local, {"sun": -8})
    np.testing.assert_allclose(same.sun_elevation, found.sun_elevation, rtol=0, atol=1e-9)


def test_sites_may_have_hours_of_their_own_and_light_by_night_is_said() -> None:
    given = records(0.0).assign(ahead=("site", [2.0, -8.0]))
    found = add_sun(given, "ahead")
    for site, hours in (("a", 2.0), ("b", -8.0)):
        alone = add_sun(given.sel(site=[site]), hours)
        np.testing.assert_array_equal(found.sun_elevation.sel(site=site), alone.sun_elevation[0])
    with pytest.raises(DataError, match="2 sites have no 'zone': a, b"):
        add_sun(given, "zone")
    day = 800 * np.sin(np.deg2rad(found.sun_elevation.clip(min=0)))
    lit = given.assign(shortwave_down=day.assign_attrs(units="W m-2") / 0.0864 * 0.0864)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        add_sun(lit, "ahead")
    with pytest.warns(
        DataWarning, match="site a comes while the sun is below the horizon.*3 hours"
    ):
        add_sun(lit.isel(site=[0]), 3.0)  # an hour off


def test_missing_radiation_is_missing() -> None:
    given = records()
    given.shortwave_down[0, 30] = np.nan
    found = add_sun(given)
    assert np.isnan(found.diffuse_share[0, 30]) and np.isfinite(found.diffuse_share[1]).all()


def test_settings_find_what_it_gives_and_reads() -> None:
    wanted = {"sun": {"ahead_of_utc": -8}}
    assert {"sun_elevation", "diffuse_share", "longwave_down"} <= set(series_of(wanted))
    series, places = sources_of(records(), wanted, {"longwave_down": "a canopy"})
    assert set(series) == {"shortwave_down", "tair_mean", "vapour_pressure"}
    assert places == ("lat", "lon") and derivation(records(), "diffuse_share") == {"sun": {}}


def test_errors() -> None:
    given = records()
    with pytest.raises(DataError, match="the series 'vapour_pressure'"):
        add_sun(given.drop_vars("vapour_pressure"))
    with pytest.raises(DataError, match="2 sites have no 'lon': a, b"):
        add_sun(given.drop_vars("lon"))
    with pytest.raises(DataError, match="shorter than a day"):
        add_sun(given.isel(time=slice(None, None, 48)))
