"""All reaches of a river in one solve of the torch engine."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pydiffgeo.engines.base import Result
from pydiffgeo.engines.whole_rivers import River, delayed
from pydiffgeo.models.base import ProcessModel
from pydiffgeo.solvers.autograd import differentiable
from pydiffgeo.solvers.fronts import NotSolved, Wave
from pydiffgeo.solvers.options import Solver
from pydiffgeo.solvers.problem import Problem

ROUND = 1e-9  # parts of a step that count as rounding of its end
# ms, measured: a front; a level that is solved by windows of steps, and each step of it
FRONT, LEVEL, NODE = 4.5, 15.0, 0.02


def solve_river(problem: Problem, options: Solver, river: River) -> Result | None:
    """Solve all columns from the headwaters down.

    Fluxes are means over the intervals of the problem, states those at their ends; both carry
    gradients to every input and to the delay. None where columns are better solved level by level:
    few levels and many steps, steps that are not those of implicit Euler on the intervals, a model
    of several states or with networks, or a column that fails.
    """
    model = problem.model
    whole = _whole_steps(problem, options, river)
    if problem.initial.is_cuda or not (whole and _one_store(model)):
        return None
    fine = _on_steps(problem, river)
    steps = len(fine.lengths)
    depth = len(river.order)
    if FRONT * (depth + steps) > depth * (LEVEL + NODE * steps):
        return None
    outflow = list(model.spec.fluxes).index(river.outflow)
    wave = Wave(fine, river.order, river.below, outflow, river.inflow)
    try:
        states, storage, fluxes = differentiable(wave)
    except NotSolved:
        return None
    parts = (-1, river.parts)
    states = states.unflatten(1, parts)[:, :, -1]
    storage = torch.cat([storage[:, :1], storage[:, 1:].unflatten(1, parts)[:, :, -1]], 1)
    means = fluxes.unflatten(1, parts).mean(2)
    columns = len(states)
    counts = torch.full((columns,), steps)
    stats = {
        "accepted": counts,
        "rejected": torch.zeros_like(counts),
        "newton_iterations": torch.full((columns,), wave.iterations),
        "recorded_bytes": torch.tensor(wave.bytes),
    }
    return Result(states, storage, means.unbind(-1), {}, stats)


def _one_store(model: ProcessModel) -> bool:
    """Whether the equations are those of one store, with nothing beside `slopes` and fluxes."""
    base, own = ProcessModel, type(model)
    return (
        model.size == 1 and model.slopes is not None and not model.spec.stationary
        and own.prepare is base.prepare and own.drivers is base.drivers
        and own.storage is base.storage and not model.networks()
        and not any(s.algebraic for s in model.spec.each_state(1))
    )  # fmt: skip


def _whole_steps(problem: Problem, options: Solver, river: River) -> bool:
    """Whether each interval of the solve is one step of implicit Euler."""
    lengths = problem.lengths / river.parts
    return (
        options.method == "implicit_euler" and options.step is not None
        and bool((lengths <= options.step * (1 + ROUND)).all())
        and len(lengths) * river.parts < options.max_steps
        and not (options.compile or options.checkpoints or options.shared_step)
    )  # fmt: skip


def _on_steps(problem: Problem, river: River) -> Problem:
    """Return the problem with an interval for each step."""
    parts = river.parts

    def fine(values: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v.repeat_interleave(parts, 1) for k, v in values.items()}

    forcing = fine(problem.forcing)
    if river.delayed is not None and river.delay is not None:
        series = forcing[river.delayed][..., 0].expand(len(river.below), -1)
        forcing[river.delayed] = delayed(series, river.delay)[..., None]
    lengths = (problem.lengths / parts).repeat_interleave(parts)
    return replace(problem, forcing=forcing, varying=fine(problem.varying), lengths=lengths)
