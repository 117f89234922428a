"""Exponential means of the past."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pydiffgeo.data import derived
from pydiffgeo.errors import DataError, SettingsError


def records(values: list[float], freq: str = "D") -> xr.Dataset:
    times = pd.date_range("2003-01-01", periods=len(values), freq=freq)
    told = {"units": "degC"}
    return xr.Dataset(
        {"tair_mean": (("site", "time"), np.array([values]), told)}, {"site": ["a"], "time": times}
    )


def test_a_step_is_forgotten_exponentially() -> None:
    sites = derived(
        records([0.0] * 40 + [1.0] + [0.0] * 40), {"memory": {"series": {"tair_mean": [5]}}}
    )
    mean = sites.tair_mean_5d.values[0]
    kept = np.exp(-1 / 5)
    np.testing.assert_allclose(mean[40:], (1 - kept) * kept ** np.arange(41), atol=1e-12)
    assert sites.tair_mean_5d.attrs["units"] == "degC"


def test_gaps_and_the_beginning() -> None:
    """Of what is before the record its first month is the best guess; a gap changes nothing."""
    sites = derived(records([2.0, 4.0, np.nan, 3.0]), {"memory": {"series": {"tair_mean": [1e9]}}})
    np.testing.assert_allclose(sites["tair_mean_1e+09d"].values[0], 3.0)
    gap = derived(records([np.nan, 2.0, np.nan]), {"memory": {"series": {"tair_mean": [2]}}})
    np.testing.assert_allclose(gap.tair_mean_2d.values[0], [np.nan, 2.0, 2.0])


def test_hours_are_parts_of_days() -> None:
    days = records([0.0] * 30 + [1.0] * 5)
    hours = records([0.0] * 720 + [1.0] * 120, "h")
    wanted = {"memory": {"series": {"tair_mean": [3]}}}
    a, b = (derived(x, wanted).tair_mean_3d.values[0] for x in (days, hours))
    np.testing.assert_allclose(a[-1], b[-1], rtol=1e-12)


def test_refused() -> None:
    with pytest.raises(DataError, match="'tair_meen'.*did you mean 'tair_mean'"):
        derived(records([1.0]), {"memory": {"series": {"tair_meen": [3]}}})
    with pytest.raises(DataError, match="positive"):
        derived(records([1.0]), {"memory": {"series": {"tair_mean": [0]}}})
    with pytest.raises(SettingsError, match="no argument 'tair_mean'"):
        derived(records([1.0]), {"memory": {"tair_mean": [3]}})
