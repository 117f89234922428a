"""Widths follow the regional relation from areas in any unit, or from their logarithm."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from pydiffgeo.data import derived
from pydiffgeo.errors import DataError, UnitError

AREAS = np.array([1.0, 100.0, 8657.0])  # km2


def sites(**variables: object) -> xr.Dataset:
    return xr.Dataset(variables, {"site": list("abc"), "time": range(2)})


def test_widths_of_the_united_states() -> None:
    found = derived(sites(uparea=("site", AREAS, {"units": "km2"})), {"width": None})
    # Bieger et al. (2015): 2.70 m at 1 km2, and ten times the area is 10^0.352 as wide
    np.testing.assert_allclose(found.width, [2.70, 2.70 * 100**0.352, 2.70 * 8657**0.352])
    assert found.width.attrs["units"] == "m"


def test_units_and_logarithms() -> None:
    hectares = sites(
        land=("site", 100 * AREAS, {"units": "ha"}), log10_land=("site", np.log10(AREAS))
    )
    for name in ("land", "log10_land"):
        found = derived(hectares, {"width": {"area": name, "coefficient": 2.0, "exponent": 0.5}})
        np.testing.assert_allclose(found.width, 2.0 * np.sqrt(AREAS))


def test_what_is_no_area() -> None:
    with pytest.raises(DataError, match=r"no attribute 'uparea'.*log10_uparea"):
        derived(sites(log10_uparea=("site", AREAS)), {"width": None})
    with pytest.raises(DataError, match="site b is not positive"):
        derived(sites(uparea=("site", [1.0, 0.0, 2.0])), {"width": None})
    with pytest.raises(UnitError, match="'degC', which is no area"):
        derived(sites(uparea=("site", AREAS, {"units": "degC"})), {"width": None})
