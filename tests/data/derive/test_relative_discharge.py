"""Discharge in parts of its mean: of the days trained on, or of a number that is given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pydiffgeo.data import derived
from pydiffgeo.errors import DataError


def records() -> xr.Dataset:
    values = np.array([[1.0, 3.0, np.nan, 8.0], [0.0, 2.0, 4.0, 4.0]])
    told = {"units": "m3 s-1", "role": "forcing"}
    return xr.Dataset(
        {"discharge": (("site", "time"), values, told)},
        {"site": ["a", "b"], "time": pd.date_range("2003-01-01", periods=4)},
    )


def test_mean_of_a_period() -> None:
    sites = derived(records(), {"relative_discharge": {}}, "2003-01-01", "2003-01-03")
    np.testing.assert_allclose(sites.relative_discharge, [[0.5, 1.5, np.nan, 4], [0, 1, 2, 2]])
    np.testing.assert_allclose(sites.log_discharge[1], np.log([1e-3, 1, 2, 2]))
    assert sites.relative_discharge.attrs["units"] == "1"


def test_mean_that_is_given() -> None:
    sites = derived(records(), {"relative_discharge": {"mean": {"b": 4.0}}})
    np.testing.assert_allclose(sites.relative_discharge, [[0.25, 0.75, np.nan, 2], [0, 0.5, 1, 1]])


def test_another_unit_than_that_of_the_mean_is_told(caplog: pytest.LogCaptureFixture) -> None:
    litres = records() * 1000
    derived(records(), {"relative_discharge": {"mean": {"a": 1.0, "b": 4.0}}})
    assert not caplog.records
    derived(litres, {"relative_discharge": {"mean": {"a": 1.0}}})
    assert "site a is 4e+03 times the mean that is given" in caplog.text
    assert "site b" not in caplog.text


def test_refused() -> None:
    with pytest.raises(DataError, match="no series 'discharge'"):
        derived(records().rename(discharge="flow"), {"relative_discharge": {}})
    with pytest.raises(DataError, match="no mean above zero of b"):
        derived(records(), {"relative_discharge": {}}, "2003-01-01", "2003-01-01")
