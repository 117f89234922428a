"""Bounded transforms are invertible and differentiable."""

from __future__ import annotations

import pytest
import torch

from pydiffgeo.errors import ParameterError
from pydiffgeo.networks import Bounds

BOUNDS = {"theta_s": Bounds(0.2, 0.7), "K_s": Bounds(1e-3, 1e2, "log")}


@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS)
def test_round_trip_and_gradient(bounds):
    x = torch.linspace(-6, 6, 13, dtype=torch.float64, requires_grad=True)
    value = bounds.to_physical(x)
    assert ((value > bounds.lower) & (value < bounds.upper)).all() and (value.diff() > 0).all()
    torch.testing.assert_close(bounds.from_physical(value), x, rtol=1e-9, atol=1e-9)
    assert torch.autograd.gradcheck(bounds.to_physical, x)
    assert torch.autograd.gradcheck(bounds.from_physical, value.detach().requires_grad_(), eps=1e-8)


def test_middle_of_the_interval():
    zero = torch.zeros((), dtype=torch.float64)
    assert BOUNDS["theta_s"].to_physical(zero).item() == pytest.approx(0.45)
    assert BOUNDS["K_s"].to_physical(zero).item() == pytest.approx(10**-0.5)


def test_bad_bounds_and_values_are_named():
    with pytest.raises(ParameterError, match="is not an interval"):
        Bounds(1.0, 1.0)
    with pytest.raises(ParameterError, match="lower > 0"):
        Bounds(0.0, 1.0, "log")
    with pytest.raises(ParameterError, match="0.7 is not strictly inside"):
        BOUNDS["theta_s"].from_physical(torch.tensor([0.3, 0.7]))
