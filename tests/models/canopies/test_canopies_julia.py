"""Canopies on both engines: states, fluxes and gradients agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from canopy_cases import weather
from torch import Tensor

from pydiffgeo import NeuralClosure, Solver, TwoBigLeaf, solve
from pydiffgeo.errors import ParameterError

F64 = torch.float64
COLUMNS, INTERVALS = 7, 3


def network(residual: bool) -> dict[str, NeuralClosure]:
    bounds = {"output_range": (1.6, 60.0), "monotone_in": (0,)}
    return {"stomata": NeuralClosure(1, (4,), seed=1, residual=residual, **bounds)}  # type: ignore[arg-type]


FORMS: dict[str, Callable[[], TwoBigLeaf]] = {
    "c3": TwoBigLeaf,
    "two pathways, leuning, wind by the law of the wall": lambda: TwoBigLeaf(
        "log_law", pathway="both", stomata="leuning"
    ),
    "c4, ball and berry, light of global radiation": lambda: TwoBigLeaf(
        light="shortwave", pathway="c4", stomata="ball_berry"
    ),
    "buckley, mott and farquhar, capacities by themselves": lambda: TwoBigLeaf(
        stomata="buckley_mott_farquhar", ratios=False
    ),
    "network": lambda: TwoBigLeaf(closures=network(residual=False)),
    "network beside the formula, two pathways": lambda: TwoBigLeaf(
        closures=network(residual=True), pathway="both"
    ),
}


def inputs(model: TwoBigLeaf) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Forcing, and parameters of which one changes in time."""
    generator = torch.Generator().manual_seed(3)

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=F64)

    drawn = weather(COLUMNS * INTERVALS, seed=5) | {
        "vegetation_height": between(0.5, 4.0, COLUMNS * INTERVALS)
    }
    forcing = {k: drawn[k].reshape(COLUMNS, INTERVALS) for k in model.spec.forcings}
    parameters = {}
    for k, s in model.spec.parameters.items():
        low, high = s.lower, s.upper
        if k.endswith(("activation", "entropy")):
            low, high = 0.98 * s.default, 1.02 * s.default
        parameters[k] = between(low, high, COLUMNS)
        if k == "c4":
            parameters[k] = parameters[k].round()
        if k == "V_cmax25":
            parameters[k] = between(low, high, COLUMNS, INTERVALS)
        if k == "measurement_height":
            parameters[k] = between(5.0, 40.0, COLUMNS)
    return forcing, parameters


def solved(model: TwoBigLeaf, engine: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """States and fluxes, and the gradient of a sum of them in every input."""
    forcing, parameters = inputs(model)
    x = {k: v.requires_grad_() for k, v in {**forcing, **parameters}.items()}
    solution = solve(
        model, {k: x[k] for k in forcing}, {k: x[k] for k in parameters}, model.start({}),
        range(INTERVALS + 1), Solver("implicit_euler", step=1.0), engine,
    )  # fmt: skip
    assert not solution.failed
    values = {"state": solution.states, **solution.fluxes}
    generator = torch.Generator().manual_seed(7)
    weights = [torch.randn(v.shape, generator=generator, dtype=F64) for v in values.values()]
    loss = sum((w * v).sum() for w, v in zip(weights, values.values(), strict=True))
    leaves = {**x, **{k: c.weights for k, c in model.closures.items()}}  # type: ignore[dict-item]
    found = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return {k: v.detach() for k, v in values.items()}, dict(zip(leaves, found, strict=True))


@pytest.mark.parametrize("name", FORMS)
def test_engines_agree(julia: Any, name: str) -> None:
    model = FORMS[name]()
    (ours, slopes), (theirs, other_slopes) = (solved(model, e) for e in ("torch", "julia"))
    for k, one in ours.items():
        torch.testing.assert_close(
            theirs[k], one, rtol=1e-10, atol=1e-10 * float(one.abs().max()), msg=k
        )
    for k, one in slopes.items():
        torch.testing.assert_close(
            other_slopes[k], one, rtol=1e-8, atol=1e-9 * float(one.abs().max()), msg=k
        )


def test_a_module_of_torch_is_refused(julia: Any) -> None:
    class Own(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 1.6 + 5 * x[..., 0]

    model = TwoBigLeaf(closures={"stomata": Own()})
    with pytest.raises(ParameterError, match="torch module Own"):
        solve(model, *inputs(model), model.start({}), range(INTERVALS + 1), engine="julia")
