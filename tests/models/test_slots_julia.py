"""Networks in slots on both engines: what they give, discharge and gradients agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hbv_cases import F64, initial_state, random_parameters, weather
from slot_cases import KINDS, closure, inputs, learned, run
from torch import nn

from pydiffgeo import HBV, ProcessModel, Solver
from pydiffgeo.bridge.models import evaluate, missing
from pydiffgeo.errors import ParameterError


@pytest.fixture(params=["hbv", "exp_hydro"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["rising", "beside"])
def model(request: pytest.FixtureRequest, name: str) -> ProcessModel:
    # sharper networks beside formulas make some steps be halved, where the engines differ
    return learned(
        name, seed=2, spread=0.5 if request.param == "beside" else 1.0, **KINDS[request.param]
    )


def test_rates(julia: Any, model: ProcessModel) -> None:
    """Shares of every slot, as rates and fluxes show them, in wet, dry and overdrawn stores."""
    rows = 500
    p = {k: v[:, None] for k, v in random_parameters(model, rows).items()}
    f = {k: v.T.contiguous() for k, v in weather(1, rows).items()}
    state = torch.rand(rows, model.size, dtype=F64) * 4 * initial_state(model) - 2
    with torch.no_grad():
        ours, theirs = model.evaluate(state, f, p, fluxes=True), evaluate(julia, model, state, f, p)
    for part, a, b in zip(("storage", "rates", "fluxes"), ours, theirs, strict=True):
        torch.testing.assert_close(
            b, a.contiguous(), rtol=1e-12, atol=1e-12, msg=lambda m, n=part: f"{n}: {m}"
        )


def test_discharge_and_gradient(julia: Any, model: ProcessModel) -> None:
    """Eleven columns: eight side by side and three of the next group."""
    found = []
    for engine in ("torch", "julia"):
        x = {k: v.requires_grad_() for k, v in inputs(model, 11, 60).items()}
        s = run(model, x, engine)
        loss = s.fluxes["discharge"].square().mean() + s.states.square().mean() * 1e-3
        leaves = [*model.closure_weights(), *x.values()]
        found.append((s.fluxes["discharge"].detach(), s.stats, torch.autograd.grad(loss, leaves)))
    (q, stats, ours), (other, _, theirs) = found
    assert int(stats["rejected"].sum()) == 0  # the very same steps
    assert float(((q - other).abs() / q.abs().clamp_min(1e-3)).max()) < 1e-6
    for a, b in zip(ours, theirs, strict=True):
        assert float(a.norm()) > 0
        # beside a formula that gives nothing, as the spill of a store that is never full, gradients
        # are rounding
        assert float((a - b).norm()) < 1e-5 * max(float(a.norm()), 1e-6)


def test_weights_against_central_differences(julia: Any, model: ProcessModel) -> None:
    """Along the gradient's own direction and a random one."""
    x = inputs(model, 3, 20)
    solver = Solver("implicit_euler", step=1.0, newton_tolerance=1e-11, max_newton=40)
    weights = model.closure_weights()

    def loss() -> torch.Tensor:
        s = run(model, x, "julia", solver)
        return s.fluxes["discharge"].square().mean() + s.states.square().mean() * 1e-3

    grads = torch.autograd.grad(loss(), weights)
    norm = torch.cat(grads).norm()
    for directions in ([g / norm for g in grads], [torch.randn_like(g) / 10 for g in grads]):
        exact = float(sum((g * d).sum() for g, d in zip(grads, directions, strict=True)))
        ends = []
        with torch.no_grad():
            for h in (1e-4, -2e-4, 1e-4):
                for w, d in zip(weights, directions, strict=True):
                    w.add_(d, alpha=h)
                ends.append(float(loss()))
        difference = (ends[0] - ends[1]) / 2e-4
        assert difference == pytest.approx(exact, rel=1e-5)


def test_a_torch_module_is_for_torch_only(julia: Any) -> None:
    model = HBV(closures={"recharge": nn.Sequential(nn.Linear(1, 1), nn.Sigmoid())})
    assert "torch module Sequential in the slot 'recharge'" in missing(model)
    with pytest.raises(ParameterError, match='use engine="torch", or a NeuralClosure'):
        run(model, inputs(model, 2, 3), "julia")
    assert missing(HBV(closures={"recharge": closure()})) == ""
