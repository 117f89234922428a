"""Models that store nothing: all intervals of all columns are rows of one batch.

What such a model is in an interval follows from forcing and parameters of that interval alone. A
row is solved by Newton's method with shortened steps. A row that does not converge is solved again:
with one state between two bounds that close in on the root, with more states by pseudo-transient
continuation (Kelley & Keyes 1998, doi:10.1137/S0036142996304796), which follows du/dt = f(u) with
ever longer steps of implicit Euler. Both lead to a root that is stable under du/dt = f(u), which is
the sign that the equations must have to be found from afar.

The gradient is that of the implicit function theorem: one transposed small solve for each row, and
one vector-Jacobian product. No iteration is taped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from pydiffgeo.models.base import ProcessModel
from pydiffgeo.solvers.autograd import GROUPS, derivatives, differentiable
from pydiffgeo.solvers.options import Solver
from pydiffgeo.solvers.problem import Problem, take
from pydiffgeo.solvers.stationary_chunk import (
    Compiled,
    Found,
    Inputs,
    compiled,
    found_by,
    hurry,
    preferred,
    searched,
)
from pydiffgeo.solvers.stationary_search import slopes_by_rows, solved
from pydiffgeo.solvers.step_windows import keep_freed_memory

VALUES = 16_384  # state values of a chunk: large enough to hide overheads, small enough for caches
Block = tuple[slice, slice]
"""Columns and intervals of a chunk."""


def solve_stationary(
    problem: Problem, options: Solver
) -> tuple[tuple[Tensor, Tensor, Tensor], Run]:
    """Return states, storage and fluxes `[column, interval, ...]`, and the run with its counts.

    NaN for rows that were not solved. The storage is zero.
    """
    run = Run(problem, options.chunk, compiled(problem.model) if options.compile else None)
    return differentiable(run), run


@dataclass
class Run:
    """One solve between its forward and its backward pass.

    Attributes
    ----------
    chunk : int, optional
        Rows that are solved together.
    compiled : Compiled, optional
    states : Tensor, [column, interval, size]
    iterations : Tensor, [column]
        Iterations of Newton's method of all intervals.
    failed : dict of int to (int, str)
        Columns with a row that was not solved: the first such interval, and the reason.
    """

    problem: Problem
    chunk: int | None = None
    compiled: Compiled | None = None
    states: Tensor = field(default_factory=lambda: torch.empty(0))
    iterations: Tensor = field(default_factory=lambda: torch.empty(0))
    failed: dict[int, tuple[int, str]] = field(default_factory=dict)

    @torch.no_grad()
    def forward(self, record: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Solve all rows, chunk by chunk."""
        keep_freed_memory()
        problem, model = self.problem, self.problem.model
        columns, intervals, size = len(problem.initial), len(problem.lengths), model.size
        states = problem.initial.new_empty(columns, intervals, size)
        fluxes = problem.initial.new_empty(columns, intervals, model.spec.flux_values(size))
        iterations = torch.zeros(columns, intervals, dtype=torch.long, device=states.device)
        results = tuple(x.flatten(0, 1) for x in (states, fluxes, iterations))  # views
        count = torch.arange(columns * intervals, device=states.device)
        later, doubtful = _Later(), _Later()
        count = count.view(columns, intervals)
        first = partial(hurry, model) if self.compiled is None else self.compiled.hurry
        for block in self._blocks():
            shape, at = _shape(problem, block), count[block].flatten()
            inputs = _inputs(_values(problem, block), shape)
            begin = problem.initial[block[0], None].expand(*shape, -1).flatten(0, 1)
            found = first(begin, *inputs)
            later.add(begin, inputs, _write(found, at, results), at)
            _leave_doubtful(doubtful, found, inputs, at)
        if later.at:  # the hard rows of all chunks together: few rows cost as much as many
            begin, inputs, at = later.joined()
            rows = searched(model, begin, *inputs)
            rows.solve()
            found = found_by(rows)
            _write(found, at, results)
            _leave_doubtful(doubtful, found, inputs, at)
            self._report(states)
        if doubtful.at:
            begin, inputs, at = doubtful.joined()
            found, which = preferred(model, begin, *inputs)
            _write(found, at[which], results)
        self.states, self.iterations = states.detach(), iterations.sum(1).cpu()
        return states, states.new_zeros(columns, intervals + 1, size), fluxes

    def backward(self, grads: tuple[Tensor, ...], needs: dict[str, set[str]]) -> Gradient:
        """Cotangents of every input."""
        gradient = Gradient(self.problem, needs, self.compiled)
        for block in self._blocks():
            gradient.add(block, self.states[block], grads[0][block], grads[2][block])
        return gradient

    def _blocks(self) -> Iterator[Block]:
        """Columns and intervals of each chunk."""
        problem = self.problem
        columns, intervals = len(problem.initial), len(problem.lengths)
        rows = self.chunk or max(1, VALUES // problem.model.size)
        wide, long = max(1, rows // intervals), min(rows, intervals)
        for first in range(0, columns, wide):
            for begin in range(0, intervals, long):
                yield slice(first, first + wide), slice(begin, begin + long)

    def _report(self, states: Tensor) -> None:
        lost = ~torch.isfinite(states).all(-1)
        for column in lost.any(1).nonzero()[:, 0].tolist():
            intervals = lost[column].nonzero()[:, 0].tolist()
            more = f" (nor in {len(intervals) - 1} others)" if len(intervals) > 1 else ""
            self.failed[column] = intervals[0], f"no solution of its equations was found{more}"


class _Later:
    """Rows that are left for later: where they belong, and what they are solved from."""

    def __init__(self) -> None:
        self.at: list[Tensor] = []
        self.begin: list[Tensor] = []
        self.inputs: list[Inputs] = []

    def add(self, begin: Tensor, inputs: Inputs, which: Tensor, at: Tensor) -> None:
        """Leave some rows of a chunk for later; `at` is where its rows belong."""
        if not len(which):
            return
        self.at.append(at[which])
        self.begin.append(begin[which])
        forcing, p = (
            {k: v.expand(len(at), -1)[which] for k, v in values.items()} for values in inputs
        )
        self.inputs.append((forcing, p))

    def joined(self) -> tuple[Tensor, Inputs, Tensor]:
        """Return all of them: where they begin, inputs, and where they belong."""
        forcing, p = (
            {k: torch.cat([values[k] for values in parts]) for k in parts[0]}
            for parts in zip(*self.inputs, strict=True)
        )
        return torch.cat(self.begin), (forcing, p), torch.cat(self.at)


def _leave_doubtful(doubtful: _Later, found: Found, inputs: Inputs, at: Tensor) -> None:
    """Leave the solved rows for later beside whose root there may be another that is meant."""
    if found.doubtful is not None:
        which = (found.doubtful & found.solved).nonzero()[:, 0]
        doubtful.add(found.states, inputs, which, at)


def _write(found: Found, at: Tensor, results: tuple[Tensor, ...]) -> Tensor:
    """Write what was found where it belongs; NaN for rows not solved, which are returned."""
    states, fluxes, iterations = results
    state, flux, lost = found.states, found.fluxes, (~found.solved).nonzero()[:, 0]
    if len(lost):
        state, flux = (x.index_fill(0, lost, math.nan) for x in (state, flux))
    states.index_copy_(0, at, state)
    fluxes.index_copy_(0, at, flux)
    iterations.index_add_(0, at, found.iterations)
    return lost


class Gradient:
    """Cotangents of all inputs, added up over chunks."""

    def __init__(
        self, problem: Problem, needs: dict[str, set[str]], compiled: Compiled | None = None
    ):
        self.problem, self.needs, self.compiled = problem, needs, compiled
        self.grads = {
            g: {k: torch.zeros_like(getattr(problem, g)[k]) for k in needs[g]} for g in GROUPS
        }
        self.weights = [torch.zeros_like(w) for w in problem.model.closure_weights()]
        self.initial = torch.zeros_like(problem.initial)

    def add(self, block: Block, states: Tensor, on_states: Tensor, on_fluxes: Tensor) -> None:
        """Add the cotangents of a chunk; rows without any, and those not solved, take no part."""
        model, shape = self.problem.model, _shape(self.problem, block)
        states, on_states, on_fluxes = (x.flatten(0, 1) for x in (states, on_states, on_fluxes))
        lost = ~torch.isfinite(states).all(1)
        used = ((on_states != 0).any(1) | (on_fluxes != 0).any(1)) & ~lost
        if not bool(used.any()):
            return
        which = None if bool(used.all()) else used.nonzero()[:, 0]
        if which is not None:
            states, on_states, on_fluxes = (x[which] for x in (states, on_states, on_fluxes))
        values = _values(self.problem, block)
        with torch.enable_grad():
            leaves = {}
            for group in GROUPS:
                for name in self.needs[group]:
                    leaves[group, name] = values[group][name].detach().requires_grad_()
                    values[group][name] = leaves[group, name]
            inputs = _inputs(values, shape)
            if which is not None:
                inputs = take(inputs[0], which), take(inputs[1], which)
        targets = [*leaves.values(), *model.closure_weights()]
        given = inputs, states, on_states, on_fluxes, targets
        if self.compiled and leaves and not self.weights:
            found = _compiled(self.compiled, *given)
        else:
            found = _taped(model, *given)
        columns, intervals = block
        for (group, name), g in zip(leaves, found, strict=False):
            if g is None:
                continue
            into = self.grads[group][name]
            into = into if into.shape[0] == 1 else into[columns]
            if group == "static":
                into += g
            else:
                into[:, intervals] += g
        for into, g in zip(self.weights, found[len(leaves) :], strict=True):
            if g is not None:
                into += g


def _taped(
    model: ProcessModel, inputs: Inputs, states: Tensor, on_states: Tensor, on_fluxes: Tensor,
    targets: list[Tensor],
) -> Sequence[Tensor | None]:  # fmt: skip
    """Cotangents of targets, from which the inputs of the rows were made."""
    forcing, p = inputs
    with torch.enable_grad():
        forcing = {**forcing, **model.drivers(forcing, p)}
        u = states.T.contiguous().requires_grad_()
        e = model.evaluate(u.movedim(0, -1), forcing, p, fluxes=True)
        weighted = (e.fluxes * on_fluxes).sum()
        (direct,) = derivatives(weighted, [u], retain_graph=True)
    right = on_states.T if direct is None else on_states.T + direct
    with torch.no_grad():
        jacobian = slopes_by_rows(model)(
            states.T.contiguous().movedim(0, -1),
            {k: v.detach() for k, v in forcing.items()},
            {k: v.detach() for k, v in p.items()},
        )[1]
        multipliers = -solved(jacobian, right, transposed=True)
    with torch.enable_grad():
        total = weighted + (e.rates.expand_as(states) * multipliers.T).sum()
        return derivatives(total, targets)


def _compiled(
    compiled: Compiled, inputs: Inputs, states: Tensor, on_states: Tensor, on_fluxes: Tensor,
    targets: list[Tensor],
) -> Sequence[Tensor | None]:  # fmt: skip
    """As `_taped`."""

    def those(wanted: bool) -> Inputs:
        forcing, p = (
            {k: v for k, v in values.items() if v.requires_grad is wanted} for values in inputs
        )
        return forcing, p

    wanted = those(True)
    with torch.no_grad():
        found = compiled.pull(wanted, those(False), states, on_states, on_fluxes)
    made, on_made = (
        [values[i][k] for i in range(2) for k in wanted[i]] for values in (wanted, found)
    )
    return torch.autograd.grad(made, targets, on_made, allow_unused=True)


def _shape(problem: Problem, block: Block) -> tuple[int, int]:
    """Number of columns and intervals of a chunk."""
    sizes = len(problem.initial), len(problem.lengths)
    columns, intervals = (
        len(range(*part.indices(size))) for part, size in zip(block, sizes, strict=True)
    )
    return columns, intervals


def _values(problem: Problem, block: Block) -> dict[str, dict[str, Tensor]]:
    """Inputs of a chunk by group, `[column or 1, (interval,) width]`."""
    columns, intervals = block
    out = {}
    if _shape(problem, block) == (len(problem.initial), len(problem.lengths)):
        return {group: dict(getattr(problem, group)) for group in GROUPS}  # in a single chunk
    for group in GROUPS:
        rows = {k: v if len(v) == 1 else v[columns] for k, v in getattr(problem, group).items()}
        out[group] = rows if group == "static" else {k: v[:, intervals] for k, v in rows.items()}
    return out


def _inputs(
    values: dict[str, dict[str, Tensor]], shape: tuple[int, int]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Forcing and parameters of the rows of a chunk, `[row or 1, width]`."""

    def rows(x: Tensor) -> Tensor:
        if x.shape[:-1].numel() == 1:  # the same for all
            return x if x.ndim == 2 else x.reshape(1, -1)
        whole = x[:, None] if x.ndim == 2 else x
        return whole.expand(*shape, -1).reshape(shape[0] * shape[1], -1)

    forcing, static, varying = (
        {k: rows(v) for k, v in values[g].items()} for g in ("forcing", "static", "varying")
    )
    return forcing, {**static, **varying}
