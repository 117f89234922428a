"""The land between gauges: weather times area adds up to that of whole basins."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from river_files import river

from pydiffgeo.data import derived
from pydiffgeo.errors import DataError, UnitError

OWN = np.array([10.0, 20.0, 5.0, 8.0, 12.0])  # km2
ABOVE = np.array([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 0], [1] * 5])


def nested(rain: np.ndarray) -> xr.Dataset:
    """The river of five sites with means of rain over whole basins."""
    whole = ABOVE @ OWN
    means = ABOVE @ (rain * OWN[:, None]) / whole[:, None]
    return river().assign(
        precipitation=(("site", "time"), means, {"units": "mm d-1"}),
        area=("site", 100 * whole, {"units": "ha"}),
    )


def test_the_land_between_sites_has_its_own_weather() -> None:
    rain = np.random.default_rng(0).gamma(0.5, 4.0, (5, 40))
    found = derived(nested(rain), {"own_area": {"series": ["precipitation"]}})
    np.testing.assert_allclose(found.precipitation, rain, atol=1e-12)
    np.testing.assert_allclose(found.own_area, OWN)
    assert found.own_area.attrs["units"] == "km2"


def test_roundings_count_as_zero_and_it_is_said(caplog) -> None:
    rain = np.random.default_rng(1).gamma(0.5, 4.0, (5, 40))
    rain[4, :20] = 0.0
    sites = nested(rain)
    sites["precipitation"] = sites.precipitation.round(3)
    found = derived(sites, {"own_area": "precipitation"}).precipitation
    assert float(found.min()) == 0.0 and "counts as zero" in caplog.text
    np.testing.assert_allclose(found, rain, atol=0.01)


def test_what_is_no_mean_over_whole_basins() -> None:
    rain = np.random.default_rng(2).gamma(0.5, 4.0, (5, 40))
    own = nested(rain).assign(precipitation=(("site", "time"), rain))  # of each site alone already
    with pytest.raises(DataError, match="no mean over whole basins"):
        derived(own, {"own_area": {"series": ["precipitation"]}})
    own.precipitation[:, 3] = np.nan  # a missing day hides nothing
    with pytest.raises(DataError, match="no mean over whole basins"):
        derived(own, {"own_area": {"series": ["precipitation"]}})
    small = nested(rain)
    small["area"] = small.area.where(small.site != "c", 1000.0)
    with pytest.raises(DataError, match="site c is no larger"):
        derived(small, {"own_area": {"series": ["precipitation"]}})
    with pytest.raises(DataError, match="no 'rain'"):
        derived(small, {"own_area": {"series": ["rain"]}})
    small.area.attrs["units"] = "K"
    with pytest.raises(UnitError, match="no area"):
        derived(small, {"own_area": {"series": ["precipitation"]}})
