"""Air of a canopy: conductances against formulas of books, and what they must do."""

from __future__ import annotations

import pytest
import torch
from leaf_cases import at

from pydiffgeo.models.canopies.air import (
    aerodynamic,
    friction_by_log_law,
    leaf_boundary,
    molar_density,
    moving,
    soil_boundary,
    soil_resistance,
    vaporisation,
)

F64 = torch.float64


def test_air_and_water() -> None:
    """Campbell & Norman (1998), tables A1 and A2: 41.4 mol m-3 at 20 degC and 101 kPa, 44.1 kJ
    mol-1.
    """
    assert float(molar_density(at(101000.0), at(20.0))) == pytest.approx(41.4, abs=0.1)
    assert float(vaporisation(at(20.0))) == pytest.approx(44140, rel=0.003)


def test_wind_and_its_conductance() -> None:
    """A logarithm of height over grass, and momentum and heat alike."""
    friction = friction_by_log_law(at(3.0), at(0.12), at(2.0))
    assert float(friction) == pytest.approx(0.4 * 3 / 5.075, rel=1e-3)  # log(1.9196 / 0.012)
    assert bool(torch.isnan(friction_by_log_law(at(3.0), at(20.0), at(10.0))))
    per = aerodynamic(friction, at(3.0), at(1.0))  # m s-1; FAO-56 has 1 / (208 / u) for its heights
    assert float(per) == pytest.approx(3 / 208, rel=0.4)
    assert float(moving(at(0.0))) == 0.05
    assert float(moving(at(0.6))) == pytest.approx(0.602, abs=1e-3)


def test_boundary_of_leaves() -> None:
    """0.189 sqrt(u / d) at the top of a thin canopy, less in a deep one; shade less than sun."""
    thin, K = at(1e-6), at(0.5)
    top = 0.4 * 2.9849  # wind at the top where the friction velocity is 0.4
    sun, every = leaf_boundary(at(0.4), at(0.05), thin, K)
    mean = (1 - torch.exp(at(-1.25))) / 1.25  # of the decline with depth
    expected = 0.189 * (top / 0.05) ** 0.5 * 1e-6 * float(mean)
    assert float(every) == pytest.approx(expected, rel=1e-3)
    assert float(sun) == pytest.approx(expected, rel=1e-3)
    sun, every = leaf_boundary(at(0.4), at(0.05), at(5.0), K)
    lit = (1 - torch.exp(at(-2.5))) / 0.5
    assert float(sun / lit) > float((every - sun) / (5 - lit)) > 0


def test_soil() -> None:
    """Of bare soil and below leaves; dry soil resists more, wet soil no more than at saturation."""
    bare = soil_boundary(at(0.3), at(0.0), at(0.004), at(0.12), at(40.0))
    dense = soil_boundary(at(0.3), at(50.0), at(0.004), at(0.12), at(40.0))
    assert float(bare) == pytest.approx(40 * 0.3 * 0.12) and float(dense) == pytest.approx(0.048)
    resistance = soil_resistance(at(0.0, 0.2, 0.45, 0.6), at(0.45), at(8.206), at(4.255))
    assert bool((resistance.diff()[:2] < 0).all()) and float(resistance.diff()[2]) == 0
    assert float(resistance[2]) == pytest.approx(51.99, rel=0.01)  # Sellers et al. (1992)
