"""Means of series as attributes."""

from __future__ import annotations

import numpy as np
import pytest
import site_files
import xarray as xr

from pydiffgeo.data.derive import attributes_of, derived
from pydiffgeo.errors import DataError


def points() -> xr.Dataset:
    values = np.array([[1.0, 2.0, 3.0], [4.0, 6.0, np.nan]])
    return xr.Dataset({"par": (("site", "point"), values, {"units": "umol m-2 s-1"})},
                      {"site": ["a", "b"]})  # fmt: skip


def test_means_are_of_what_is_there() -> None:
    wanted = {"means": {"of": ["par"]}}
    found = derived(points(), wanted)
    assert found.par_mean.values.tolist() == [2.0, 5.0] and found.par_mean.units == "umol m-2 s-1"
    assert attributes_of(wanted) == attributes_of({"means": "par"}) == ["par_mean"]


def test_means_in_time_are_those_of_the_days_told() -> None:
    sites = site_files.records(sites=2, days=50)
    found = derived(sites, {"means": "precipitation"}, "1999-10-01", "1999-10-10")
    expected = sites.precipitation[:, :10].mean("time")
    np.testing.assert_allclose(found.precipitation_mean, expected)


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="no series 'parr' in the records; did you mean 'par'"):
        derived(points(), {"means": "parr"})
    sites = points()
    sites["par"][1] = np.nan
    with pytest.raises(DataError, match="site b has no 'par'"):
        derived(sites, {"means": "par"})
