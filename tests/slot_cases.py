"""Bucket models with networks in their slots."""

from __future__ import annotations

from typing import Any

import torch
from hbv_cases import F64, initial_state, random_parameters, weather
from torch import Tensor

from pydiffgeo import MODELS, NeuralClosure, ProcessModel, Solution, Solver, load_spec, solve

SLOTS = [(name, slot) for name in ("hbv", "exp_hydro") for slot in load_spec(name).slots]
KINDS: dict[str, dict[str, Any]] = {
    "replaced": {},
    "rising": {"monotone_in": (0,)},
    "beside": {"residual": True},
    "rising beside": {"monotone_in": (0,), "residual": True},
}
DAILY = Solver("implicit_euler", step=1.0, newton_tolerance=1e-9)


def closure(
    seed: int = 0, hidden: tuple[int, ...] = (8,), spread: float = 1.0, **options: Any
) -> NeuralClosure:
    """A network of one input whose weights are random, also those that begin at zero."""
    out = NeuralClosure(1, hidden, output_range=(0.0, 1.0), seed=seed, **options)
    noise = torch.randn(len(out.weights), dtype=F64, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        out.weights.add_(spread * noise)
    return out


def learned(name: str, *slots: str, seed: int = 0, **options: Any) -> ProcessModel:
    """A model with networks in these slots, or in all of them."""
    slots = slots or tuple(load_spec(name).slots)
    closures = {k: closure(seed + i, **options) for i, k in enumerate(slots)}
    return MODELS[name](closures=closures)  # type: ignore[call-arg]


def inputs(model: ProcessModel, basins: int, days: int, seed: int = 0) -> dict[str, Tensor]:
    """Forcing, parameters and the state at the start."""
    start = initial_state(model).expand(basins, -1).clone()
    return {**weather(basins, days, seed), **random_parameters(model, basins, seed), "state": start}


def run(model: ProcessModel, x: dict[str, Tensor], engine: str, solver: Solver = DAILY) -> Solution:
    days = x["precipitation"].shape[1]
    forcing, parameters = (
        {k: x[k] for k in model.spec.forcings},
        {k: x[k] for k in model.spec.parameters},
    )
    return solve(model, forcing, parameters, x["state"], range(days + 1), solver, engine)
