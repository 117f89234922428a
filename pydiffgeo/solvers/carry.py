"""State of columns between the steps of a solve, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pydiffgeo.solvers.algebraic import only, storing
from pydiffgeo.solvers.newton import UNSEEN
from pydiffgeo.solvers.options import Solver
from pydiffgeo.solvers.problem import Problem
from pydiffgeo.solvers.record import Record


@dataclass
class Carry:
    """Everything that a column takes from one step to the next, `[row, ...]`.

    `asked` and `reached` are the interval and the time in it where the column was last asked
    whether it makes progress, and `slow` how often in a row it made none.
    """

    column: Tensor
    interval: Tensor
    psi: Tensor
    storage: Tensor
    rates: Tensor
    fluxes: Tensor
    total: Tensor
    elapsed: Tensor
    step: Tensor
    step_before: Tensor
    psi_before: Tensor
    psi_between: Tensor
    error_before: Tensor
    contraction: Tensor
    starts: Tensor
    attempts: Tensor
    taken: Tensor
    asked: Tensor
    slow: Tensor
    reached: Tensor

    def select(self, keep: Tensor) -> Carry:
        """Some of the rows."""
        return Carry(**{k: v[keep] for k, v in vars(self).items()})

    def without_trend(self, rows: Tensor) -> Carry:
        """Some rows as after a rejected step, where the steps before say nothing."""
        return replace(
            self,
            psi_before=torch.where(rows, self.psi, self.psi_before),
            psi_between=torch.where(rows, self.psi, self.psi_between),
            step_before=torch.where(rows, UNSEEN, self.step_before),
            contraction=torch.where(rows, UNSEEN, self.contraction),
        )


@dataclass
class Outcome:
    """States `[column, interval, size]`, storages, mean fluxes, failures, counts, record, steps."""

    states: Tensor
    storage: Tensor
    fluxes: Tensor
    failed: dict[int, tuple[int, str]] = field(default_factory=dict)
    stats: dict[str, Tensor] = field(default_factory=dict)
    record: Record = field(default_factory=Record)
    taken: list[tuple[Tensor, Tensor]] = field(default_factory=list)


def start(problem: Problem, options: Solver) -> Carry:
    """State of all columns at the first time."""
    u = problem.initial
    rows, dtype, device = u.shape[0], u.dtype, u.device
    p = {**problem.static, **{k: v[:, 0] for k, v in problem.varying.items()}}
    first = options.step or options.initial_step or 1e-5 * float(problem.lengths[0])

    def column(value: float) -> Tensor:
        return torch.full((rows, 1), value, dtype=dtype, device=device)

    def counter() -> Tensor:
        return torch.zeros(rows, dtype=torch.long, device=device)

    n_fluxes = problem.model.spec.flux_values(problem.model.size)
    return Carry(
        column=torch.arange(rows, device=device),
        interval=counter(),
        psi=u,
        storage=only(storing(problem.model, u), problem.model.storage(u, p).expand_as(u)),
        rates=torch.zeros_like(u),
        fluxes=u.new_zeros(rows, n_fluxes),
        total=u.new_zeros(rows, n_fluxes),
        elapsed=column(0.0),
        step=column(first),
        step_before=column(UNSEEN),
        psi_before=u,
        psi_between=u,
        error_before=column(1.0),
        contraction=column(UNSEEN),
        starts=torch.ones(rows, dtype=torch.bool, device=device),
        attempts=counter(),
        taken=counter(),
        asked=counter(),
        slow=counter(),
        reached=column(0.0),
    )
