"""A place that no site on earth has is no place: radiation is not computed from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import site_files
import xarray as xr

from pydiffgeo.data import check_sites
from pydiffgeo.data.derive import derived
from pydiffgeo.errors import DataError

DERIVE: dict[str, dict[str, Any]] = {
    "oudin": {"potential_evapotranspiration": "oudin"},
    "hamon": {"potential_evapotranspiration": "hamon"},
    "sky": {"sky": {}},
    "sunlight": {"sunlight": {}},
}


def sites_at(latitude: float) -> xr.Dataset:
    sites = site_files.records(3, 60).assign_coords(lon=("site", [1.0, 2.0, 3.0]))
    sites = sites.assign(tair_mean=(sites.tair_min + sites.tair_max).assign_attrs(units="degC") / 2)
    sites.tair_mean.attrs["units"] = "degC"
    sites.lat.values[1] = latitude
    return sites


@pytest.mark.parametrize("latitude", [95.0, -999.0, 1e20, np.inf])
@pytest.mark.parametrize("what", DERIVE)
def test_an_impossible_latitude_is_named(what: str, latitude: float) -> None:
    with pytest.raises(DataError, match=r"1 sites have a 'lat' outside of \[-90, 90\]: b0001 \("):
        derived(sites_at(latitude), DERIVE[what])


@pytest.mark.parametrize("what", DERIVE)
def test_a_missing_latitude_is_named(what: str) -> None:
    with pytest.raises(DataError, match="1 sites have no 'lat': b0001"):
        derived(sites_at(np.nan), DERIVE[what])


def test_the_check_looks_at_places_too() -> None:
    (problem,) = check_sites(sites_at(-999.0)).problems
    assert problem.kind == "impossible value" and problem.site == "b0001"
    assert "attribute lat is -999, outside [-90, 90] in site b0001" in problem.message
