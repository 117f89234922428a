"""Own inflow: what enters between gauges."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from stream_cases import stream

from pydiffgeo.data.derive import derived
from pydiffgeo.errors import DataError


def test_discharge_less_that_above() -> None:
    sites = stream()
    found = derived(sites.drop_vars("lateral_inflow"), {"own_inflow": "discharge"})
    np.testing.assert_allclose(found.lateral_inflow, sites.lateral_inflow, atol=1e-12)
    assert found.lateral_inflow.attrs["units"] == "m3 s-1"


def test_no_less_than_zero_and_names() -> None:
    sites = stream()
    sites["discharge"] = xr.where(sites.site == "e", 0.0, sites.discharge).transpose("site", "time")
    sites["discharge"].attrs["units"] = "m3 s-1"
    assert float(derived(sites, {"own_inflow": {}}).lateral_inflow.sel(site="e").max()) == 0.0
    with pytest.raises(DataError, match="discharge"):
        derived(sites, {"own_inflow": "discharges"})
