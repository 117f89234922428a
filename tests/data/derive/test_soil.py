"""How soils hold water: the numbers of Cosby et al. (1984), and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from pydiffgeo.data.derive import derived
from pydiffgeo.errors import DataError, UnitError


def soils(sand: list[float], clay: list[float], unit: str | None = None) -> xr.Dataset:
    attrs = {} if unit is None else {"units": unit}
    sites = xr.Dataset(
        {"sand_frac": ("site", sand, attrs), "clay_frac": ("site", clay, attrs)},
        {"site": [f"s{k}" for k in range(len(sand))]},
    )
    return sites.assign(rain=(("site", "point"), np.ones((len(sand), 2))))


def test_sandy_and_clayey_soils() -> None:
    """Close to sand and clay of Clapp and Hornberger (1978): b of 4.05 and 11.4."""
    found = derived(soils([92.0, 22.0], [3.0, 58.0]), {"clapp_hornberger": {}})
    np.testing.assert_allclose(found.clapp_hornberger_b, [3.387, 12.132])
    expected = [-10 * 10**0.6748, -10 * 10**1.5918]
    np.testing.assert_allclose(found.saturated_potential, expected)
    assert found.saturated_potential.attrs["units"] == "mm"
    share = derived(soils([0.92, 0.22], [0.03, 0.58], "1"), {"clapp_hornberger": {}})
    np.testing.assert_allclose(share.clapp_hornberger_b, found.clapp_hornberger_b)


@pytest.mark.parametrize(
    ("sites", "given", "text"),
    [
        (soils([50.0], [20.0]), "sand", "no attribute 'sand' in the records; did you mean"),
        (soils([50.0, 70.0], [20.0, 40.0]), None, "sand and clay of site s1 are more than 100 %"),
        (soils([50.0, -1.0], [20.0, 40.0]), None, "'sand_frac' of site s1 is -1 percent"),
        (soils([0.5], [0.2]), None, "are at most 0.7 percent together; if they are shares"),
    ],
)
def test_what_is_refused(sites: xr.Dataset, given: str | None, text: str) -> None:
    with pytest.raises(DataError, match=text):
        derived(sites, {"clapp_hornberger": given})
    with pytest.raises(UnitError, match="'sand_frac' is given in 'mm'"):
        derived(soils([50.0], [20.0], "mm"), {"clapp_hornberger": {}})
