"""Responses to temperature against their published forms and numbers."""

from __future__ import annotations

import pytest
import torch
from leaf_cases import at

from pydiffgeo.models.leaves.temperature import (
    arrhenius,
    distance,
    doubling,
    limited_c4,
    peaked,
    respiration_c4,
)

F64 = torch.float64


def test_factors_are_one_at_25_degrees() -> None:
    t = at(25.0)
    for factor in (
        arrhenius(distance(t), at(65330.0)),
        peaked(distance(t), at(65330.0), at(149250.0), at(485.0)),
    ):
        assert float(factor) == pytest.approx(1.0, abs=1e-14)
    assert float(doubling(t)) == 1.0
    # 1 / ((1 + e^-2) (1 + e^-4.5)) and 1 / (1 + e^-39)
    assert float(limited_c4(t)) == pytest.approx(0.8711, abs=1e-4)
    assert float(respiration_c4(t)) == pytest.approx(1.0, abs=1e-12)


def test_bernacchi_in_its_own_form() -> None:
    """exp(c - dHa / (R T)) of table 1 of Bernacchi et al. (2001), within its rounding."""
    t = at(10.0, 25.0, 40.0)
    for c, energy, at_25 in ((38.05, 79.43, 404.9), (20.30, 36.38, 278.4), (19.02, 37.83, 42.75)):
        own = torch.exp(c - energy / (0.008314 * (t + 273.15)))
        ours = at_25 * arrhenius(distance(t), at(1000 * energy))
        torch.testing.assert_close(ours, own, rtol=0.01, atol=0)


def test_optimum_of_a_peaked_response() -> None:
    """T_opt = Hd / (S - R ln(Ha / (Hd - Ha))), Medlyn et al. (2002), equation 19."""
    ha, hd, s = 65330.0, 149250.0, 485.0
    best = hd / (s - 8.3144598 * torch.log(at(ha / (hd - ha)))) - 273.15
    t = best.clone().requires_grad_()
    (slope,) = torch.autograd.grad(peaked(distance(t), at(ha), at(hd), at(s)), t)
    assert abs(float(slope)) < 1e-10 and 30 < float(best) < 40
