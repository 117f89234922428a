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
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pydiffgeo.models.base import Entries, ProcessModel, Values
from pydiffgeo.solvers.autograd import GROUPS, derivatives, differentiable
from pydiffgeo.solvers.kernels import BELOW, FALL
from pydiffgeo.solvers.options import Solver
from pydiffgeo.solvers.problem import Problem
from pydiffgeo.solvers.small_matrices import inverse, pivoted_inverse
from pydiffgeo.solvers.step_windows import keep_freed_memory, slopes_of

VALUES = 16_384  # state values of a chunk: large enough to hide overheads, small enough for caches
QUICK = 12  # iterations of Newton's method after which a row is searched for in the slow way
SLOW = 150  # iterations of that way
FEW = 0.5  # part of the rows of a chunk below which only those left are gone on with
LEFT = 1e-11  # residual of a row, in parts of its terms, that counts as solved
# by how much a step of the continuation changes at once: less up than down, or it might go to and fro
GROWTH = (0.1, 2.0)
Block = tuple[slice, slice]
"""Columns and intervals of a chunk."""


def solve_stationary(
    problem: Problem, options: Solver
) -> tuple[tuple[Tensor, Tensor, Tensor], Run]:
    """Return states, storage and fluxes `[column, interval, ...]`, and the run with its counts.

    NaN for rows that were not solved. The storage is zero.
    """
    run = Run(problem, options.chunk)
    return differentiable(run), run


@dataclass
class Run:
    """One solve between its forward and its backward pass.

    Attributes
    ----------
    chunk : int, optional
        Rows that are solved together.
    states : Tensor, [column, interval, size]
    iterations : Tensor, [column]
        Iterations of Newton's method of all intervals.
    failed : dict of int to (int, str)
        Columns with a row that was not solved: the first such interval, and the reason.
    """

    problem: Problem
    chunk: int | None = None
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
        for block in self._blocks():
            forcing, p = _inputs(_values(problem, block), _shape(problem, block))
            forcing = {**forcing, **model.drivers(forcing, p)}
            rows = _Rows(model, self._guess(block, forcing, p), forcing, p)
            rows.solve()
            e = model.evaluate(rows.states.movedim(0, -1), forcing, p, fluxes=True)
            lost = ~rows.solved
            found = torch.where(lost, math.nan, rows.states)
            states[block] = found.T.unflatten(0, states[block].shape[:2])
            flux = e.fluxes.expand(len(lost), -1)
            if bool(lost.any()):
                flux = torch.where(lost[:, None], math.nan, flux)
            fluxes[block] = flux.unflatten(0, states[block].shape[:2])
            iterations[block] = rows.iterations.unflatten(0, states[block].shape[:2])
        self._report(states)
        self.states, self.iterations = states.detach(), iterations.sum(1).cpu()
        return states, states.new_zeros(columns, intervals + 1, size), fluxes

    def backward(self, grads: tuple[Tensor, ...], needs: dict[str, set[str]]) -> Gradient:
        """Cotangents of every input."""
        gradient = Gradient(self.problem, needs)
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

    def _guess(self, block: Block, forcing: Values, p: Values) -> Tensor:
        """Where the search begins, `[size, row]`, above the lower bounds."""
        model, shape = self.problem.model, _shape(self.problem, block)
        begin = self.problem.initial[block[0], None].expand(*shape, -1).flatten(0, 1)
        if model.guess is not None:
            guess = model.guess(forcing, p).expand_as(begin)
            begin = torch.where(torch.isfinite(guess), guess, begin)
        return begin.T.contiguous()

    def _report(self, states: Tensor) -> None:
        lost = ~torch.isfinite(states).all(-1)
        for column in lost.any(1).nonzero()[:, 0].tolist():
            intervals = lost[column].nonzero()[:, 0].tolist()
            more = f" (nor in {len(intervals) - 1} others)" if len(intervals) > 1 else ""
            self.failed[column] = intervals[0], f"no solution of its equations was found{more}"


class _Rows:
    """The search for the states of some rows, `[size, row]`.

    Attributes
    ----------
    states : Tensor, [size, row]
    solved : Tensor, [row]
    iterations : Tensor, [row]
    """

    def __init__(self, model: ProcessModel, begin: Tensor, forcing: Values, p: Values):
        self.model, self.forcing, self.parameters = model, forcing, p
        self.slopes = slopes_of(model)
        each = model.spec.each_state(model.size)
        values = [(s.scale, s.lower, s.storage_scale) for s in each]
        self.scale, self.lower, self.terms = begin.new_tensor(values).T[:, :, None]
        eps = torch.finfo(begin.dtype).eps
        self.tolerance = math.sqrt(eps)  # the error is the square of the last update
        self.left = max(LEFT, 64 * eps)
        self.begin, self.states = begin, begin.clone()
        self.stable = True
        self.solved = torch.zeros(begin.shape[1], dtype=torch.bool, device=begin.device)
        self.iterations = self.solved.long()

    def solve(self) -> None:
        """Search by Newton's method, and again for the rows that are left."""
        rows = torch.arange(self.states.shape[1], device=self.states.device)
        rest = self._search(rows, _Newton(self), QUICK)
        if len(rest):
            way = _Between(self, rest) if self.model.size == 1 else _Continuation(self, rest)
            rest = self._search(rest, way, SLOW)
        if len(rest):  # a root that du/dt = f(u) runs away from is better than none
            self.stable = False
            self._search(rest, _Newton(self), 2 * QUICK)

    def _search(self, rows: Tensor, way: _Newton, most: int) -> Tensor:
        """Iterate on some rows; return those that are not solved.

        A row is solved when its last update is small, and its residual is.
        """
        forcing, p = _take(self.forcing, rows), _take(self.parameters, rows)
        u = self.begin[:, rows]
        small = torch.zeros_like(rows, dtype=torch.bool)
        for count in range(most + 1):
            rates, jacobian = self.slopes(u.movedim(0, -1), forcing, p)
            f = torch.stack([r.expand(u.shape[1]) for r in rates])
            done = small & self._holds(u, f, jacobian)
            part = int(done.sum())
            if part and (part > (1 - FEW) * len(rows) or most > QUICK or count == most):
                at = rows[done]
                self.states[:, at], self.solved[at] = u[:, done], True
                self.iterations[at] += count
                stay = (~done).nonzero()[:, 0]
                rows, u, f = rows[stay], u[:, stay], f[:, stay]
                forcing, p = _take(forcing, stay), _take(p, stay)
                jacobian = {k: v.expand(len(done))[stay] for k, v in jacobian.items()}
                way.keep(stay)
            if not len(rows):
                return rows
            u, update = way.move(u, f, jacobian)
            size = update.abs().div_(u.abs() + self.scale)
            small = (size < self.tolerance).all(0)
        self.iterations[rows] += most
        return rows

    def _holds(self, u: Tensor, f: Tensor, jacobian: Entries) -> Tensor:
        """Return whether the equations of rows hold at their states, `[row]`.

        The residual counts in parts of the terms of an equation, which grow with the states.
        """
        grown = (u.abs() / self.scale).amax(0).clamp_min_(1.0)
        holds = (f.abs() <= self.left * self.terms * grown).all(0)
        if len(u) == 1 and self.stable:  # the root that du/dt = f(u) keeps to
            holds &= jacobian[0, 0].expand(u.shape[1]) < 0
        return holds


class _Newton:
    """Updates by Newton's method, none of which goes more than `FALL` of the way to a bound."""

    def __init__(self, rows: _Rows):
        self.rows = rows

    def move(self, u: Tensor, f: Tensor, jacobian: Entries) -> tuple[Tensor, Tensor]:
        """Return new states, and the update of Newton's method."""
        update = _solved(jacobian, f).neg_()
        return self.limited(u, update), update

    def limited(self, u: Tensor, update: Tensor) -> Tensor:
        """Return new states after an update; of those without a bound at most twice as far."""
        lower, scale = self.rows.lower, self.rows.scale
        most = torch.where(lower > -math.inf, math.inf, u.abs() + scale)
        step = torch.where(torch.isfinite(update), update, 0.0).clamp(-most, most)
        return torch.maximum(u + step, u - ((u - lower).abs() * FALL + BELOW * scale))

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the rows."""


class _Between(_Newton):
    """One state: Newton's method between bounds.

    f(u) > 0 says that the root is above u. An update that leaves the bounds is replaced by the
    middle; where no upper bound is known yet, by a state twice as far.
    """

    def __init__(self, rows: _Rows, which: Tensor):
        super().__init__(rows)
        begin = rows.begin[:, which]
        self.low = torch.full_like(begin, float(rows.lower))
        self.high = torch.full_like(begin, math.inf)
        self.last = begin
        self.far = rows.scale.expand_as(begin).clone()

    def move(self, u: Tensor, f: Tensor, jacobian: Entries) -> tuple[Tensor, Tensor]:
        """Return new states, and how far they are from the old ones."""
        below = torch.where(torch.isfinite(f), f > 0, u < self.last)
        self.low = torch.where(below, torch.maximum(self.low, u), self.low)
        self.high = torch.where(below, self.high, torch.minimum(self.high, u))
        update = -f / jacobian[0, 0].expand_as(f)
        new = u + update
        wide = self.high - self.low
        inside = (new >= self.low) & (new <= self.high) & (update.abs() < 0.7 * wide)
        middle = 0.5 * (self.low + self.high)
        middle = torch.where(torch.isinf(self.high), u + self.far, middle)
        middle = torch.where(torch.isinf(self.low), u - self.far, middle)
        self.far = torch.where(inside, self.far, 2 * self.far)
        new = torch.where(inside, new, middle)
        self.last = u
        return new, new - u

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the rows."""
        self.low, self.high, self.last, self.far = (
            x[:, rows] for x in (self.low, self.high, self.last, self.far)
        )


class _Continuation(_Newton):
    """Several states: steps of implicit Euler along du/dt = f(u), longer as the residual falls."""

    def __init__(self, rows: _Rows, which: Tensor):
        super().__init__(rows)
        begin = rows.begin[:, which]
        self.step = torch.full_like(begin[0], 0.1)
        self.norm = torch.full_like(begin[0], math.inf)
        self.kept, self.from_f = begin, torch.zeros_like(begin)
        self.from_jacobian: Entries = {}

    def move(self, u: Tensor, f: Tensor, jacobian: Entries) -> tuple[Tensor, Tensor]:
        """Return new states, and the updates."""
        rows = self.rows
        norm = (f / rows.terms).square().sum(0).sqrt()
        good = torch.isfinite(norm)
        jacobian = {k: v.expand_as(norm) for k, v in jacobian.items()}
        if self.from_jacobian:  # a step that went astray is taken again, and shorter
            u = torch.where(good, u, self.kept)
            f = torch.where(good, f, self.from_f)
            jacobian = {k: torch.where(good, v, self.from_jacobian[k]) for k, v in jacobian.items()}
        growth = (self.norm / norm).clamp(*GROWTH)
        growth = torch.where(torch.isinf(self.norm), 1.0, growth)
        self.step = torch.where(good, self.step * growth, 0.2 * self.step)
        self.norm = torch.where(good, norm, self.norm)
        self.kept, self.from_f, self.from_jacobian = u, f, jacobian
        rate = rows.terms / rows.scale / self.step
        matrix = dict(jacobian)
        for i in range(len(u)):
            own = matrix.get((i, i))
            matrix[i, i] = -rate[i] if own is None else own - rate[i]
        update = _solved(matrix, f).neg_()
        return self.limited(u, update), update

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the rows."""
        self.step, self.norm = self.step[rows], self.norm[rows]
        self.kept, self.from_f = self.kept[:, rows], self.from_f[:, rows]
        self.from_jacobian = {k: v[rows] for k, v in self.from_jacobian.items()}


def _solved(jacobian: Entries, right: Tensor, transposed: bool = False) -> Tensor:
    """Solve the small systems of rows, `[size, row]`; not finite where they are singular."""
    size, rows = right.shape
    if size == 1:
        return right / jacobian[0, 0].expand(rows)
    matrix = {
        ((j, i) if transposed else (i, j)): v.expand(rows).reshape(1, rows).clone()
        for (i, j), v in jacobian.items()
    }
    if transposed:  # once for each row: with pivots, for every digit
        inverses = pivoted_inverse(matrix, size)[0]
    else:
        for i in range(size):
            matrix.setdefault((i, i), torch.zeros_like(right[:1]))
        whole = {k: v.clone() for k, v in matrix.items()}
        inverses = inverse(matrix, size)[0]
        if not bool(torch.isfinite(inverses).all()):
            inverses = torch.where(
                torch.isfinite(inverses), inverses, pivoted_inverse(whole, size)[0]
            )
    return (inverses * right).sum(1)


class Gradient:
    """Cotangents of all inputs, added up over chunks."""

    def __init__(self, problem: Problem, needs: dict[str, set[str]]):
        self.problem, self.needs = problem, needs
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
            forcing, p = _inputs(values, shape)
            if which is not None:
                forcing, p = _take(forcing, which), _take(p, which)
            forcing = {**forcing, **model.drivers(forcing, p)}
            u = states.T.contiguous().requires_grad_()
            e = model.evaluate(u.movedim(0, -1), forcing, p, fluxes=True)
            weighted = (e.fluxes * on_fluxes).sum()
            (direct,) = derivatives(weighted, [u], retain_graph=True)
        right = on_states.T if direct is None else on_states.T + direct
        with torch.no_grad():
            jacobian = slopes_of(model)(
                states.T.contiguous().movedim(0, -1),
                {k: v.detach() for k, v in forcing.items()},
                {k: v.detach() for k, v in p.items()},
            )[1]
            multipliers = -_solved(jacobian, right, transposed=True)
        targets = [*leaves.values(), *model.closure_weights()]
        with torch.enable_grad():
            total = weighted + (e.rates.expand_as(states) * multipliers.T).sum()
            found = derivatives(total, targets)
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
            return x.reshape(1, -1)
        whole = x[:, None] if x.ndim == 2 else x
        return whole.expand(*shape, -1).reshape(shape[0] * shape[1], -1)

    forcing, static, varying = (
        {k: rows(v) for k, v in values[g].items()} for g in ("forcing", "static", "varying")
    )
    return forcing, {**static, **varying}


def _take(values: Values, rows: Tensor) -> dict[str, Tensor]:
    return {k: v if len(v) == 1 else v[rows] for k, v in values.items()}
