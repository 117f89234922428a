"""Attributes of the nearest site of other records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hybrid_cases import basins

from pydiffgeo.data import derived, write_sites
from pydiffgeo.errors import DataError


def placed(count: int, lat: list[float], lon: list[float]):
    found = basins(count, 20)
    return found.assign_coords(lat=("site", lat), lon=("site", lon))


def test_sites_get_what_they_lack_from_the_nearest(tmp_path: Path) -> None:
    """Across the date line, too; what a site has stays."""
    soil = placed(3, [0.0, 10.0, 0.0], [0.0, 0.0, -179.0]).assign(
        Sand=("site", [1.0, 2.0, 3.0]), Clay=("site", [10.0, 20.0, 30.0])
    )
    write_sites(soil, tmp_path / "soil.nc")
    sites = placed(4, [1.0, 9.0, 0.0, 5.1], [1.0, 1.0, 179.0, 0.0])
    sites = sites.assign(Sand=("site", [np.nan, 7.0, np.nan, np.nan]))
    wanted = {"nearest": {"attributes": ["Sand", "Clay"], "of": tmp_path / "soil.nc"}}
    found = derived(sites, wanted)
    assert found.Sand.values.tolist() == [1.0, 7.0, 3.0, 2.0]
    assert found.Clay.values.tolist() == [10.0, 20.0, 30.0, 20.0]


def test_nothing_is_opened_where_nothing_is_missing() -> None:
    sites = placed(2, [0.0, 1.0], [0.0, 1.0]).assign(Sand=("site", [1.0, 2.0]))
    wanted = {"nearest": {"attributes": "Sand", "of": "there_is_no_such_file.nc"}}
    assert derived(sites, wanted).Sand.values.tolist() == [1.0, 2.0]


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    soil = placed(2, [0.0, 1.0], [0.0, 1.0]).assign(Sand=("site", [1.0, 2.0]))
    write_sites(soil, tmp_path / "soil.nc")
    sites = placed(2, [0.0, 1.0], [0.0, 1.0])
    wanted = {"nearest": {"attributes": "Sond", "of": tmp_path / "soil.nc"}}
    with pytest.raises(DataError, match="no attribute 'Sond' in .*did you mean 'Sand'"):
        derived(sites, wanted)
    wanted["nearest"]["attributes"] = "Sand"
    with pytest.raises(DataError, match="the records have sites without 'lat'"):
        derived(sites.drop_vars("lat"), wanted)
