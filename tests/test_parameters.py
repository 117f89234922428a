"""Bounded transforms are invertible and differentiable; networks start at the default and stay in bounds."""

from __future__ import annotations

import pytest
import torch

from pydiffgeo.errors import DataError, ParameterError
from pydiffgeo.parameters import Bounds, ParameterNetwork

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
    with pytest.raises(ParameterError, match="not an interval"):
        Bounds(1.0, 1.0)
    with pytest.raises(ParameterError, match="lower > 0"):
        Bounds(0.0, 1.0, "log")
    with pytest.raises(ParameterError, match="0.7 is not strictly inside"):
        BOUNDS["theta_s"].from_physical(torch.tensor([0.3, 0.7]))


def test_network_starts_at_default_and_stays_inside():
    default = {"theta_s": 0.43, "K_s": 1.04}
    network = ParameterNetwork(4, BOUNDS, default, hidden=(8,), seed=3)
    inputs = torch.randn(5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    out = network(inputs)
    for name, value in default.items():
        assert out[name].shape == (5, 3)
        torch.testing.assert_close(
            out[name], torch.full((5, 3), value, dtype=torch.float64), rtol=5e-3, atol=0
        )
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(1e3)
    for name, value in network(inputs).items():
        assert ((value >= BOUNDS[name].lower) & (value <= BOUNDS[name].upper)).all()


def test_network_seed_and_global_random_state():
    before = torch.random.get_rng_state()
    a, b, c = (
        ParameterNetwork(2, BOUNDS, {"theta_s": 0.4, "K_s": 1.0}, seed=s).layers[0].weight
        for s in (1, 1, 2)
    )
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(before, torch.random.get_rng_state())


def test_gradient_reaches_every_weight():
    network = ParameterNetwork(2, BOUNDS, {"theta_s": 0.4, "K_s": 1.0}, hidden=(4,))
    sum(v.sum() for v in network(torch.ones(3, 2, dtype=torch.float64)).values()).backward()
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in network.parameters())


def test_network_errors_name_the_input():
    with pytest.raises(ParameterError, match="no default for parameter 'K_s'"):
        ParameterNetwork(2, BOUNDS, {"theta_s": 0.4})
    with pytest.raises(ParameterError, match="unknown parameter 'Ks'.*did you mean 'K_s'"):
        ParameterNetwork(2, BOUNDS, {"theta_s": 0.4, "K_s": 1.0, "Ks": 1.0})
    network = ParameterNetwork(2, BOUNDS, {"theta_s": 0.4, "K_s": 1.0})
    with pytest.raises(DataError, match=r"index \(0, 1\) is nan"):
        network(torch.tensor([[0.0, float("nan")]], dtype=torch.float64))
