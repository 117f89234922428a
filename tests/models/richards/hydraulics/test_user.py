"""Curves of a user: functions and networks."""

from __future__ import annotations

import pytest
import torch
from hydraulics_cases import PARAMETERS, autograd_slopes, heads, parameters
from torch import Tensor

from pydiffgeo.errors import ParameterError
from pydiffgeo.models.richards.hydraulics import (
    UserHydraulics,
    VanGenuchten,
)

F64 = torch.float64


def test_user_functions_reproduce_a_family_and_work_without_grad() -> None:
    reference = VanGenuchten()
    model = UserHydraulics(
        lambda psi, p: reference.curves(psi, reference.derive(dict(p)))[0],
        lambda psi, p: reference.curves(psi, reference.derive(dict(p)))[1],
        parameters=[*PARAMETERS["van_genuchten"]],
        head_fn=reference.head,
    )
    raw, psi = parameters("van_genuchten"), heads()[heads() > -1e4]
    expected = reference.slopes(psi, reference.derive(raw))
    for guard in (torch.no_grad(), torch.enable_grad()):
        with guard:
            got = model.slopes(psi, model.derive(raw))
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-18)
    theta = reference.curves(psi[psi < -1], reference.derive(raw))[0]
    torch.testing.assert_close(model.head(theta, raw), reference.head(theta, raw))


class MonotoneCurve(torch.nn.Module):
    """A network that never decreases with psi: positive weights inside and outside of tanh."""

    def __init__(self, low: float, high: float):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.randn(3, 6, dtype=F64))
        self.low, self.high = low, high

    def forward(self, psi: Tensor, p: dict[str, Tensor]) -> Tensor:
        slope, shift, share = self.weights
        x = torch.asinh(psi).unsqueeze(-1)
        mix = (torch.softmax(share, 0) * torch.sigmoid(torch.exp(slope) * (x + shift))).sum(-1)
        return self.low + (self.high - self.low) * mix


def test_user_modules_carry_gradients_to_their_weights() -> None:
    torch.manual_seed(0)
    theta, K = MonotoneCurve(0.05, 0.45), MonotoneCurve(1e-4, 2.0)
    model = UserHydraulics(theta, K)
    assert {id(w) for w in model.modules.parameters()} == {id(theta.weights), id(K.weights)}
    psi = heads(50)
    slopes = model.slopes(psi, {})
    capacity, dK = autograd_slopes(model, psi, {})
    torch.testing.assert_close(slopes.capacity.expand(4, -1), capacity, rtol=1e-10, atol=1e-18)
    torch.testing.assert_close(slopes.dK.expand(4, -1), dK, rtol=1e-10, atol=1e-18)
    assert (slopes.capacity >= 0).all() and (slopes.dK >= 0).all()
    values = model.curves(psi, {})
    grads = torch.autograd.grad(values[0].sum() + values[1].sum(), list(model.modules.parameters()))
    assert all(torch.isfinite(g).all() and g.abs().max() > 0 for g in grads)


def test_user_functions_of_the_wrong_shape_are_named() -> None:
    layer = torch.nn.Linear(1, 3, dtype=F64)
    model = UserHydraulics(
        lambda psi, p: psi * 0, lambda psi, p: layer(psi.unsqueeze(-1)), modules=[layer]
    )
    assert len(list(model.modules.parameters())) == 2
    with pytest.raises(ParameterError, match=r"K_fn of UserHydraulics returned shape \(5, 3\)"):
        model.slopes(torch.zeros(5, dtype=F64), {})


def test_a_family_without_inverse_says_what_to_do() -> None:
    with pytest.raises(TypeError, match="initial state as pressure head"):
        UserHydraulics(lambda psi, p: psi, lambda psi, p: psi).head(torch.zeros(2), {})
