"""The time of the year of days and hours."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pydiffgeo.data import derived
from pydiffgeo.errors import DataError


def records(times: pd.DatetimeIndex) -> xr.Dataset:
    zeros = np.zeros((2, len(times)))
    return xr.Dataset(
        {"tair_mean": (("site", "time"), zeros, {"units": "degC"})},
        {"site": ["a", "b"], "time": times},
    )


def test_days_of_common_and_leap_years() -> None:
    sites = derived(records(pd.date_range("2003-01-01", "2004-12-31")), {"season": {}})
    part = sites.year_fraction
    assert float(part.sel(time="2003-01-01")[0]) == pytest.approx(1 / 365)
    assert float(part.sel(time="2003-12-31")[1]) == 1.0
    assert float(part.sel(time="2004-12-31")[0]) == 1.0
    assert float(part.sel(time="2004-02-29")[0]) == pytest.approx(60 / 366)
    np.testing.assert_allclose(sites.season_sine**2 + sites.season_cosine**2, 1.0)


def test_hours_end_at_their_time() -> None:
    times = pd.date_range("2003-01-01 01:00", "2003-01-02 00:00", freq="h")
    part = derived(records(times), {"season": {"harmonics": 2}})
    np.testing.assert_allclose(part.year_fraction[0], np.arange(1, 25) / 24 / 365)
    assert "season_cosine_2" in part
    last = pd.date_range("2003-12-31 23:00", "2004-01-01 01:00", freq="h")
    fractions = derived(records(last), {"season": None}).year_fraction.values[0]
    np.testing.assert_allclose(fractions, [1 - 1 / 8760, 1.0, 1 / 8784])


def test_time_of_day() -> None:
    times = pd.date_range("2003-01-01 06:00", periods=48, freq="h")
    day = derived(records(times), {"time_of_day": {}})
    assert day.day_fraction.values[0, :2].tolist() == [0.25, 7 / 24]
    assert float(day.day_sine[1, 0]) == 1.0
    np.testing.assert_allclose(day.day_cosine[0, :24], day.day_cosine[0, 24:], atol=1e-12)
    days = derived(records(pd.date_range("2003-01-01", periods=3)), {"time_of_day": {}})
    assert np.ptp(days.day_cosine.values) == 0


def test_points_have_no_season() -> None:
    points = records(pd.date_range("2003-01-01", periods=3)).drop_vars("time")
    with pytest.raises(DataError, match="season needs dates"):
        derived(points.rename(time="point"), {"season": {}})
