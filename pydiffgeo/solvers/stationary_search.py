"""The search for the states of models that store nothing, of many rows at once.

See `stationary`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pydiffgeo.models.base import Entries, ProcessModel, Values
from pydiffgeo.solvers.autograd import derivatives
from pydiffgeo.solvers.jacobian import Slopes
from pydiffgeo.solvers.kernels import BELOW, FALL
from pydiffgeo.solvers.problem import take
from pydiffgeo.solvers.small_matrices import inverse, pivoted_inverse
from pydiffgeo.solvers.step_windows import TURN

HURRY = 8  # iterations of Newton's method after which a row is left for later
QUICK = 20  # and after which it is searched for in the slow way
SLOW = 150  # iterations of that way
OUTER, INNER = 60, 60  # of the search for two states, one inside the other
NEAR = 1e-6  # change, in parts of a state, at which it ends
FEW = 0.5  # part of the rows of a chunk below which only those left are gone on with
SMALL = 1000  # rows so few that it costs less to go on with all
FAR = 1e3  # how far above a root, in parts of it, its equation is looked at
LEFT = 1e-11  # residual of a row, in parts of its terms, that counts as solved
# by how much a step of the continuation changes: less up than down, or it might go to and fro
GROWTH = (0.1, 2.0)
LONGER = 1.1  # and up by no less


class Rows:
    """The search for the states of some rows, `[size, row]`.

    Attributes
    ----------
    states : Tensor, [size, row]
    solved : Tensor, [row]
    iterations : Tensor, [row]
    """

    def __init__(self, model: ProcessModel, begin: Tensor, forcing: Values, p: Values):
        self.model, self.forcing, self.parameters = model, forcing, p
        self.slopes = slopes_by_rows(model)
        each = model.spec.each_state(model.size)
        values = [(s.scale, s.lower, s.storage_scale) for s in each]
        self.scale, self.lower, self.terms = begin.new_tensor(values).T[:, :, None]
        self.below = BELOW * self.scale
        self.bounded = all(lower > -math.inf for _, lower, _ in values)
        eps = torch.finfo(begin.dtype).eps
        self.tolerance = math.sqrt(eps)  # the error is the square of the update
        self.left = max(LEFT, 64 * eps)
        self.begin, self.states = begin, begin.clone()
        self.stable = True
        self.solved = torch.zeros(begin.shape[1], dtype=torch.bool, device=begin.device)
        self.iterations = self.solved.long()

    def hurry(self) -> Tensor:
        """Search by Newton's method, and return the rows that need more of it."""
        rows = torch.arange(self.states.shape[1], device=self.states.device)
        return self._other_way_round(self._search(rows, _Newton(self), HURRY))

    def hurry_alike(self) -> None:
        """As `hurry`, with as many iterations for every row: what can be compiled into one loop."""
        way, u = _Newton(self), self.begin
        for _ in range(HURRY + 1):
            f, jacobian = self._equations(u, self.forcing, self.parameters)
            new, update = way.move(u, f, jacobian)
            close = (self._part(update, u) < self.tolerance).all(0)
            self.iterations = self.iterations + ~close
            self.solved = close & self._small(u, f) & attracts(jacobian, u)
            u = new
        self.states = u

    def solve(self) -> None:
        """Search by Newton's method, and again for the rows that are left."""
        rows = torch.arange(self.states.shape[1], device=self.states.device)
        rest = self._search(rows, _Newton(self), QUICK)
        if len(rest):
            one = self.model.size == 1
            way = (
                _Between(self.scale, self.lower, self.begin[:, rest])
                if one
                else _Continuation(self, rest)
            )
            rest = self._search(rest, way, SLOW)
        if len(rest) and self.model.size == 2:
            self.begin[:, rest] = self._one_inside_the_other(rest)
            rest = self._search(rest, _Newton(self), QUICK)
        if len(rest):  # a root that du/dt = f(u) runs away from is better than none
            self.stable = False
            self._search(rest, _Newton(self), 2 * QUICK)

    def _search(self, rows: Tensor, way: _Newton, most: int) -> Tensor:
        """Iterate on some rows; return those that are not solved.

        A row is solved when its residual is small, and what is left to the root is: that much it is
        moved on, which makes the error the square of it.
        """
        forcing, p, u = self.forcing, self.parameters, self.begin
        if len(rows) < u.shape[1]:
            forcing, p, u = take(forcing, rows), take(p, rows), u[:, rows]
        for count in range(most + 1):
            f, jacobian = self._equations(u, forcing, p)
            new, update = way.move(u, f, jacobian)
            size = self._part(update, u)
            together = 0 < len(rows) <= SMALL and most <= QUICK and count < most
            if together and not float(size.max()) < self.tolerance:
                u = new
                continue
            done = (size < self.tolerance).all(0)
            part = int(done.sum())
            if part:
                done &= self._holds(rows, u, f, jacobian)
                part = int(done.sum())
            much = part > (1 - FEW) * len(rows) and len(rows) > SMALL
            if part and (part == len(rows) or much or most > QUICK or count == most):
                at = rows[done]
                self.states[:, at], self.solved[at] = new[:, done], True
                self.iterations[at] += count
                if part == len(rows):
                    return rows[:0]
                stay = (~done).nonzero()[:, 0]
                rows, new = rows[stay], new[:, stay]
                forcing, p = take(forcing, stay), take(p, stay)
                way.keep(stay)
            u = new
        self.iterations[rows] += most
        return rows

    def _holds(self, rows: Tensor, u: Tensor, f: Tensor, jacobian: Entries) -> Tensor:
        """Return whether the equations of rows hold at their states, `[row]`."""
        holds = self._small(u, f)
        if self.stable:  # the root that du/dt = f(u) keeps to
            falls = attracts(jacobian, u)
            away = holds & ~falls
            if bool(away.any()):
                self.states[:, rows[away]] = u[:, away]
            holds &= falls
        return holds

    def _equations(self, u: Tensor, forcing: Values, p: Values) -> tuple[Tensor, Entries]:
        """What is left of the equations `[size, row]`, and their slopes."""
        rates, jacobian = self.slopes(u.movedim(0, -1), forcing, p)
        each = [r.expand(u.shape[1]) for r in rates]
        return torch.stack(each) if len(each) > 1 else each[0][None], jacobian

    def _part(self, update: Tensor, u: Tensor) -> Tensor:
        """An update in parts of the states and their scale, `[size, row]`."""
        return update.abs().div_(u.abs().add_(self.scale))

    def _small(self, u: Tensor, f: Tensor) -> Tensor:
        """Whether what is left of the equations is small, `[row]`.

        It counts in parts of the terms of an equation, which grow with the states.
        """
        grown = (u.abs() / self.scale).amax(0).clamp_min_(1.0)
        return (f.abs() <= self.left * self.terms * grown).all(0)

    def _one_inside_the_other(self, rows: Tensor) -> Tensor:
        """Return where two states are near their root: the first between bounds for each value of
        the second, which closes in on its own.

        The continuation may go to and fro between two sides of a threshold, such as that at which
        stomata open.
        """
        forcing, p, u = take(self.forcing, rows), take(self.parameters, rows), self.begin[:, rows]

        def between(k: int) -> _Between:
            return _Between(self.scale[k], self.lower[k], u[k : k + 1])

        second = between(1)
        for _ in range(OUTER):
            first = between(0)
            for _ in range(INNER):
                (f, other), entries = self.slopes(u.movedim(0, -1), forcing, p)
                new, update = first.move(u[:1], f.expand(len(rows))[None], entries)
                u = torch.cat([new, u[1:]])
                if bool((update.abs() <= NEAR * (new.abs() + self.scale[0] * NEAR)).all()):
                    break
            steep = {k: v.expand(len(rows)) for k, v in entries.items()}
            along = steep[1, 1] - steep[1, 0] * steep[0, 1] / steep[0, 0]
            new, update = second.move(u[1:], other.expand(len(rows))[None], {(0, 0): along})
            u = torch.cat([u[:1], new])
            if bool((update.abs() <= NEAR * (new.abs() + self.scale[1])).all()):
                break
        return u

    def _other_way_round(self, rest: Tensor) -> Tensor:
        """Accept roots of one state where the rate rises, if it is positive far above, too.

        Such an equation is written the other way round: demand less supply. Returns the rows
        that are left.
        """
        if self.model.size > 1 or not len(rest):
            return rest
        found = self.states[:, rest]
        far = found + FAR * (found.abs() + self.scale)
        inputs = take(self.forcing, rest), take(self.parameters, rest)
        (f,), _ = self.slopes(far.movedim(0, -1), *inputs)
        (left,), entries = self.slopes(found.movedim(0, -1), *inputs)
        holds = left.abs() <= self.left * self.terms[0] * (
            found[0].abs() / self.scale[0]
        ).clamp_min(1.0)
        turned = holds & (entries[0, 0] > 0) & (f > 0)
        self.solved[rest[turned]] = True
        return rest[~turned]


class _Newton:
    """Updates by Newton's method, none of which goes more than `FALL` of the way to a bound.

    None turns back by more than the part `TURN` of the one before: across a threshold Newton's
    method may go to and fro.
    """

    def __init__(self, rows: Rows):
        self.rows = rows
        self.moved: Tensor | None = None

    def move(self, u: Tensor, f: Tensor, jacobian: Entries) -> tuple[Tensor, Tensor]:
        """Return new states, and the update of Newton's method."""
        update = solved(jacobian, f).neg_()
        moved = self.limited(u, update)
        if self.moved is not None:
            back = self.moved.mul_(-TURN)
            moved = torch.where(moved * back > back * back, back, moved)
        self.moved = moved
        return u + moved, update

    def limited(self, u: Tensor, update: Tensor) -> Tensor:
        """Return how far an update is gone; with states without a bound at most twice as far."""
        lower, scale = self.rows.lower, self.rows.scale
        step = torch.nan_to_num(update, 0.0, 0.0, 0.0)
        if not self.rows.bounded:
            most = torch.where(lower > -math.inf, math.inf, u.abs() + scale)
            step = step.clamp(-most, most)
        fall = (u - lower).abs_().mul_(-FALL).sub_(self.rows.below)
        return torch.maximum(step, fall)

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the rows."""
        if self.moved is not None:
            self.moved = self.moved[:, rows]


class _Between(_Newton):
    """One state: Newton's method between bounds.

    f(u) > 0 says that the root is above u. An update that leaves the bounds is replaced by the
    middle; where no upper bound is known yet, by a state twice as far.
    """

    def __init__(self, scale: Tensor, lower: Tensor, begin: Tensor):
        self.low = torch.full_like(begin, float(lower))
        self.high = torch.full_like(begin, math.inf)
        self.last = begin
        self.far = scale.expand_as(begin).clone()

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

    def __init__(self, rows: Rows, which: Tensor):
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
        growth = self.norm / norm
        growth = torch.where(growth > 1, growth.sqrt().clamp_min(LONGER), growth).clamp(*GROWTH)
        growth = torch.where(torch.isinf(self.norm), 1.0, growth)
        self.step = torch.where(good, self.step * growth, 0.2 * self.step)
        self.norm = torch.where(good, norm, self.norm)
        self.kept, self.from_f, self.from_jacobian = u, f, jacobian
        rate = rows.terms / rows.scale / self.step
        matrix = dict(jacobian)
        for i in range(len(u)):
            own = matrix.get((i, i))
            matrix[i, i] = -rate[i] if own is None else own - rate[i]
        update = solved(matrix, f).neg_()
        return u + self.limited(u, update), update

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the rows."""
        self.step, self.norm = self.step[rows], self.norm[rows]
        self.kept, self.from_f = self.kept[:, rows], self.from_f[:, rows]
        self.from_jacobian = {k: v[rows] for k, v in self.from_jacobian.items()}


def solved(jacobian: Entries, right: Tensor, transposed: bool = False) -> Tensor:
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


def attracts(jacobian: Entries, u: Tensor) -> Tensor:
    """Return where du/dt = f(u) keeps to a root u `[size, row]`, `[row]`.

    Told of one and two states; with more of them every root counts.
    """
    zero = torch.zeros_like(u[0])
    if len(u) == 1:
        return jacobian[0, 0] + zero < 0
    if len(u) > 2:
        return zero == 0
    a, b, c, d = (jacobian.get(at, zero) for at in ((0, 0), (0, 1), (1, 0), (1, 1)))
    return (a + d + zero < 0) & (a * d - b * c + zero > 0)


def slopes_by_rows(model: ProcessModel) -> Slopes:
    """The model's own `slopes`, or those by a backward pass for each of its equations.

    Forward mode of torch takes longer, where the equations have many operations.
    """
    if model.slopes is not None:
        own: Slopes = model.slopes
        return own

    def by_differentiation(
        state: Tensor, forcing: Values, parameters: Values
    ) -> tuple[list[Tensor], Entries]:
        with torch.enable_grad():
            u = state.detach().requires_grad_()
            rates = model.evaluate(u, forcing, parameters).rates.expand_as(u).unbind(-1)
            jacobian = {}
            for i, rate in enumerate(rates):
                (row,) = derivatives(rate.sum(), [u], retain_graph=True)
                if row is None:
                    row = torch.zeros_like(u)
                jacobian.update({(i, j): x for j, x in enumerate(row.unbind(-1))})
        return [rate.detach() for rate in rates], jacobian

    return by_differentiation
