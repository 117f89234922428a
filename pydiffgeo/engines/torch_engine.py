"""The embedded engine: pure PyTorch, CPU or GPU, with the discrete adjoint."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pydiffgeo.engines.base import Result, constant_after_failure
from pydiffgeo.errors import ParameterError
from pydiffgeo.solvers.adjoint import Adjoint
from pydiffgeo.solvers.autograd import differentiable
from pydiffgeo.solvers.carry import Carry, Outcome, start
from pydiffgeo.solvers.integrate import integrate
from pydiffgeo.solvers.kernels import Kernels, kernels
from pydiffgeo.solvers.options import METHODS, Solver
from pydiffgeo.solvers.ordered import Ordered, order_by_name
from pydiffgeo.solvers.problem import Problem
from pydiffgeo.solvers.record import step_table
from pydiffgeo.solvers.sciml import SCIML_METHODS
from pydiffgeo.solvers.stationary import solve_stationary
from pydiffgeo.solvers.step_windows import in_windows
from pydiffgeo.solvers.step_windows_adjoint import solve_windows

# state values of a chunk: its tensors of 0.2 MB share the second-level cache
CACHED_VALUES = 25_600


def solve_torch(problem: Problem, options: Solver, replay: Tensor | None = None) -> Result:
    """Solve all columns in chunks; see `pydiffgeo.engines.base.Engine`."""
    if options.method in SCIML_METHODS:
        raise ParameterError(
            f'{options.method} is a method of SciML: it needs engine="julia"; torch has '
            f"{', '.join(METHODS)}."
        )
    model = problem.model
    prepared = model.prepare({**problem.static, **problem.varying})
    groups = {n: {k: v for k, v in prepared.items() if v.ndim == n} for n in (2, 3)}
    problem = replace(problem, static=groups[2], varying=groups[3])
    order = None if options.compile else order_by_name(model)
    if order is None:
        return _solve(problem, options, replay)
    ordered = Ordered(model, order)
    problem = replace(problem, model=ordered, initial=problem.initial[:, order])
    result = _solve(problem, options, replay)
    states, storage = (x[..., ordered.back] for x in (result.states, result.storage))
    return replace(result, states=states, storage=storage)


def _solve(problem: Problem, options: Solver, replay: Tensor | None) -> Result:
    if problem.model.spec.stationary:
        return _stationary(problem, options)
    if in_windows(problem, options, replay):
        return _by_windows(problem, options)
    return _by_steps(problem, options, replay)


def _chunk(problem: Problem, options: Solver) -> int:
    """Columns whose steps are taken together."""
    columns, size = problem.initial.shape
    return options.chunk or (columns if problem.initial.is_cuda else max(1, CACHED_VALUES // size))


def _stationary(problem: Problem, options: Solver) -> Result:
    """Every interval of every column by itself, whatever the method of integration."""
    (states, storage, fluxes), run = solve_stationary(problem, options)
    columns, intervals = states.shape[:2]
    accepted = torch.full((columns,), intervals)
    stats = {
        "accepted": accepted,
        "rejected": torch.zeros_like(accepted),
        "newton_iterations": run.iterations,
        "recorded_bytes": torch.tensor(run.states.nbytes),
    }
    steps = problem.lengths.expand(columns, -1)
    return Result(states, storage, fluxes.unbind(-1), run.failed, stats, [steps])


def _by_windows(problem: Problem, options: Solver) -> Result:
    """Many steps at once; columns for which that fails step by step, where a step can be halved."""
    (states, storage, fluxes), run = solve_windows(problem, options)
    columns = len(states)
    steps = run.nodes.steps.expand(columns, -1)
    accepted = torch.full((columns,), steps.shape[1])
    stats = {
        "accepted": accepted,
        "rejected": torch.zeros_like(accepted),
        "newton_iterations": run.sweeps,
    }
    stats["recorded_bytes"] = torch.tensor(sum(w.states.nbytes for w in run.windows))
    failed: dict[int, tuple[int, str]] = {}
    if run.stuck:
        rows = torch.tensor(sorted(run.stuck), device=states.device)
        again = _by_steps(_slice(problem, rows), options)
        states = states.index_copy(0, rows, again.states)
        fluxes = fluxes.index_copy(0, rows, torch.stack(list(again.fluxes), -1))
        storage = storage.index_copy(0, rows, again.storage)
        failed = {int(rows[c]): reason for c, reason in again.failed.items()}
        for name in ("accepted", "rejected", "newton_iterations"):
            stats[name] = stats[name].index_copy(0, rows.cpu(), again.stats[name].cpu())
        tables = again.steps
        width = max(steps.shape[1], *(t.shape[1] for t in tables))
        steps, *tables = (
            torch.nn.functional.pad(t, (0, width - t.shape[1])) for t in (steps, *tables)
        )
        steps = steps.index_copy(0, rows, torch.cat(tables))
    return Result(
        states,
        storage,
        fluxes.unbind(-1),
        failed,
        stats,
        list(steps.split(_chunk(problem, options))),
    )


def _by_steps(problem: Problem, options: Solver, replay: Tensor | None = None) -> Result:
    """Step after step, each column with its own."""
    columns, chunk = problem.initial.shape[0], _chunk(problem, options)
    operations = kernels(problem.model, options.compile)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    runs: list[_Run] = []
    failed: dict[int, tuple[int, str]] = {}
    for first in range(0, columns, chunk):
        rows = slice(first, min(first + chunk, columns))
        part = _slice(problem, rows)
        run = _Run(part, operations, options, None if replay is None else replay[rows])
        parts.append(differentiable(run))
        runs.append(run)
        failed.update({first + c: reason for c, reason in run.outcome.failed.items()})
    stats = {k: torch.cat([r.outcome.stats[k] for r in runs]) for k in runs[0].outcome.stats}
    stats["recorded_bytes"] = torch.tensor(sum(r.bytes for r in runs))
    states, storage, fluxes = (
        torch.cat(x) if len(x) > 1 else x[0] for x in zip(*parts, strict=True)
    )
    return Result(states, storage, fluxes.unbind(-1), failed, stats, [r.steps for r in runs])


@dataclass
class _Run:
    """One chunk between its forward and its backward pass."""

    problem: Problem
    kernels: Kernels
    options: Solver
    replay: Tensor | None
    outcome: Outcome = None  # type: ignore[assignment]
    steps: Tensor = None  # type: ignore[assignment]
    bytes: int = 0
    stretches: list[tuple[Carry, int]] = field(default_factory=list)

    def forward(self, record: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return states, storage and fluxes.

        Keeps the whole record, or with checkpoints the states at the start of each stretch.
        """
        T = len(self.problem.lengths)
        keep = self.options.checkpoints and record and T > 3
        length = math.ceil(math.sqrt(T)) if keep else T
        carry = start(self.problem, self.options)
        at_start = carry.storage
        outcome: Outcome | None = None
        for first in range(0, T, length):
            until = min(first + length, T)
            self.stretches.append((carry, until))
            carry, part = integrate(
                self.problem,
                self.kernels,
                self.options,
                carry,
                until,
                record and not keep,
                self.replay,
            )
            outcome = part if outcome is None else _join(outcome, part, first, until)
        assert outcome is not None
        self.outcome = outcome
        self.steps = step_table(outcome.taken, self.problem.lengths, self.problem.initial.shape[0])
        self.bytes = (
            sum(sum(t.nbytes for t in vars(c).values()) for c, _ in self.stretches)
            if keep
            else outcome.record.bytes()
        )
        results = outcome.states, torch.cat([at_start[:, None], outcome.storage], 1), outcome.fluxes
        outcome.states = outcome.storage = outcome.fluxes = torch.empty(
            0
        )  # a graph that holds its own results is never freed
        return results

    def backward(self, grads: tuple[Tensor, ...], needs: dict[str, set[str]]) -> Adjoint:
        """Cotangents of every input."""
        wanted = constant_after_failure(grads, len(self.problem.lengths), self.outcome.failed)
        states, storage, fluxes = (g.contiguous() for g in wanted)
        adjoint = Adjoint(self.problem, self.kernels, self.options, states, storage, fluxes, needs)
        if len(self.stretches) == 1:
            adjoint.sweep(self.outcome.record)
        else:
            for carry, until in reversed(self.stretches):
                _, part = integrate(
                    self.problem, self.kernels, self.options, carry, until, True, self.replay
                )
                adjoint.sweep(part.record)
        adjoint.finish()
        return adjoint


def _slice(problem: Problem, rows: slice | Tensor) -> Problem:
    def cut(values: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v if v.shape[0] == 1 else v[rows] for k, v in values.items()}

    return replace(
        problem,
        initial=problem.initial[rows],
        static=cut(problem.static),
        varying=cut(problem.varying),
        forcing=cut(problem.forcing),
    )


def _join(first: Outcome, second: Outcome, begin: int, until: int) -> Outcome:
    for name in ("states", "storage", "fluxes"):
        getattr(first, name)[:, begin:until] = getattr(second, name)[:, begin:until]
    first.failed.update(second.failed)
    for k, v in second.stats.items():
        first.stats[k] += v
    first.record.entries += second.record.entries
    first.taken += second.taken
    return first
