"""Sky: radiation of FAO-56's examples, clouds of wet days, and what the records have already."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pydiffgeo.data.derive import derived
from pydiffgeo.errors import DataError


def sites_of(lat: float, day: str) -> xr.Dataset:
    dims = ("site", "time")
    return xr.Dataset(
        {
            "tair_mean": (dims, np.array([[20.0, 20.0]]), {"units": "degC"}),
            "precipitation": (dims, np.array([[0.0, 5.0]]), {"units": "mm d-1"}),
        },
        {"site": ["a"], "time": pd.date_range(day, periods=2), "lat": ("site", [lat])},
    )


def test_radiation_of_fao_56() -> None:
    """Example 8: 32.2 MJ m-2 d-1 above the air on 3 September at 20 degrees south."""
    found = derived(sites_of(-20.0, "2001-09-03"), {"sky": {"fair": 0.0, "overcast": 1.0}})
    assert float(found.shortwave_down[0, 0]) == pytest.approx(0.75 * 32.2, rel=2e-3)
    wet = float(found.shortwave_down[0, 1] / found.shortwave_down[0, 0])
    assert wet == pytest.approx(0.35, rel=1e-2) and float(found.cloud_cover[0, 1]) == 1.0
    # Example 3: 2.338 kPa at 20 degC
    assert float(found.vapour_pressure[0, 0]) == pytest.approx(0.7 * 2338, rel=1e-3)


def test_measured_series_stay_and_lacking_ones_are_named() -> None:
    sites = sites_of(40.0, "2001-06-01")
    sites["shortwave_down"] = sites.tair_mean * 0 + 7.0
    assert float(derived(sites, {"sky": {}}).shortwave_down[0, 0]) == 7.0
    with pytest.raises(DataError, match="precipitation"):
        derived(sites.drop_vars("precipitation"), {"sky": {}})
