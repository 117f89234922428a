"""A model that stores nothing on both engines: states, fluxes and gradients agree."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pydiffgeo import NeuralClosure, ProcessModel, solve

F64 = torch.float64
Inputs = tuple[dict[str, Tensor], dict[str, Tensor]]


class Draw:
    """Numbers between bounds, always the same."""

    def __init__(self, seed: int = 3) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=self.generator, dtype=F64)


def stomata_network(residual: bool) -> dict[str, NeuralClosure]:
    bounds: dict[str, Any] = {"output_range": (1.6, 60.0), "monotone_in": (0,)}
    return {"stomata": NeuralClosure(1, (4,), seed=1, residual=residual, **bounds)}


def parameters_of_leaves(
    model: ProcessModel, draw: Draw, columns: int, intervals: int
) -> dict[str, Tensor]:
    """Parameters anywhere within their bounds; V_cmax25 changes in time."""
    found = {}
    for k, s in model.spec.parameters.items():
        low, high = s.lower, s.upper
        if k.endswith(("activation", "entropy")):
            low, high = 0.98 * s.default, 1.02 * s.default
        found[k] = draw(low, high, columns, *((intervals,) if k == "V_cmax25" else ()))
        if k == "c4":
            found[k] = found[k].round()
    return found


def solved(model: ProcessModel, inputs: Inputs, begin: Any, engine: str) -> Inputs:
    """States and fluxes, and the gradient of a sum of them in every input."""
    forcing, parameters = inputs
    x = {k: v.detach().requires_grad_() for k, v in {**forcing, **parameters}.items()}
    intervals = next(iter(forcing.values())).shape[1]
    solution = solve(
        model, {k: x[k] for k in forcing}, {k: x[k] for k in parameters}, begin,
        range(intervals + 1), engine=engine,
    )  # fmt: skip
    assert not solution.failed
    values = {"state": solution.states, **solution.fluxes}
    generator = torch.Generator().manual_seed(7)
    weights = [torch.randn(v.shape, generator=generator, dtype=F64) for v in values.values()]
    loss = sum((w * v).sum() for w, v in zip(weights, values.values(), strict=True))
    leaves = {**x, **{k: c.weights for k, c in model.closures.items()}}
    found = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)  # type: ignore[arg-type]
    return {k: v.detach() for k, v in values.items()}, dict(zip(leaves, found, strict=True))


def engines_apart(model: ProcessModel, inputs: Inputs, begin: Any) -> list[str]:
    """Values that differ by more than 1e-10 of the largest, and gradients by more than 1e-8."""
    (ours, slopes), (theirs, other) = (solved(model, inputs, begin, e) for e in ("torch", "julia"))
    apart = []
    for what, one, two, rtol, part in (
        ("value", ours, theirs, 1e-10, 1e-10),
        ("gradient", slopes, other, 1e-8, 1e-9),
    ):
        for k, value in one.items():
            error, allowed = (two[k] - value).abs(), rtol * value.abs() + part * value.abs().max()
            if not bool((error <= allowed).all()):  # NaN is apart, too
                apart.append(f"{what} of {k}: off by {float(error.max())}")
    return apart
