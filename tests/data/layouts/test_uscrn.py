"""The file of the US Climate Reference Network, with its known faults."""

from __future__ import annotations

import pytest

from pydiffgeo.data import (
    GapRules,
    fill_forcing,
    open_sites,
    require_complete,
)
from pydiffgeo.errors import DataError


def test_uscrn_file_loads_and_its_known_faults_are_found(shared_data):
    path = shared_data("soil_moisture/uscrn_2020_daily_profiles.nc")
    records = open_sites(path)
    assert dict(records.sizes) == {"site": 15, "time": 366, "depth": 5}
    assert records.soil_moisture.dims == ("site", "time", "depth") and "NOAA" in records.source
    assert records.depth.values.tolist() == [0.05, 0.1, 0.2, 0.5, 1.0]
    with pytest.raises(DataError, match="precipitation at site 03047 on 2020-02-19"):
        require_complete(records)
    filled, fills = fill_forcing(records, GapRules())
    require_complete(filled)
    dead = [f for f in fills if f.method.startswith("temperature range")]
    assert {f.site for f in dead} == {"03728"} and 115 < sum(f.days for f in dead) < 130
    with pytest.raises(DataError, match="no site '0304'"):
        open_sites(path, sites=["0304"])
