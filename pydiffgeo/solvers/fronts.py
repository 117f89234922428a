"""One store in each of many columns that flow into each other: a front over levels and steps.

A column whose water comes from l levels above it takes step t when the headwaters take step t + l:
what flows into it is known then, and columns of all levels are solved side by side. A river of 649
levels and 112 steps takes 760 such fronts, not 72,688 solves of a level and a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.solvers.autograd import GROUPS, derivatives
from pydiffgeo.solvers.kernels import BELOW, FALL
from pydiffgeo.solvers.problem import Problem

FREE = 4  # iterations of Newton's method without bounds
MOST = 200  # with bounds
SMALLEST = 1e-15  # distance of two bounds, in parts of the state
BLOCK = 16_000  # values differentiated together: some hundred such arrays share the cache


class NotSolved(Exception):
    """Newton's method did not end in some column."""


@dataclass
class Found:
    """Cotangents of all inputs."""

    initial: Tensor
    grads: dict[str, dict[str, Tensor]]
    weights: list[Tensor] = field(default_factory=list)


class Fronts:
    """Reaches and steps in the order in which they are solved.

    Columns are sorted by level. Front d has step d - level of all columns that have it, which lie
    side by side; one front after another fills the packed order.

    Attributes
    ----------
    column, step : Tensor, [column x step]
        Of each place of the packed order.
    at : list of slice
        Places of each front.
    columns : list of slice
        Columns of each front, in the order by level.
    source, target : list of Tensor
        Places of what flows into a front, and which column of the front it reaches.
    """

    def __init__(self, order: Sequence[Tensor], below: Tensor, steps: int):
        rows = torch.cat(list(order))
        count, depth = len(rows), len(order)
        sizes = torch.tensor([len(x) for x in order])
        level = torch.repeat_interleave(torch.arange(depth), sizes)
        first = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        front = torch.arange(depth + steps - 1)
        low, high = first[(front - steps + 1).clamp_min(0)], first[(front + 1).clamp_max(depth)]
        begin = torch.cat([low.new_zeros(1), (high - low).cumsum(0)])
        of_front = torch.repeat_interleave(front, high - low)
        sorted_column = torch.arange(count * steps) - begin[of_front] + low[of_front]
        self.column = rows[sorted_column]
        self.step = of_front - level[sorted_column]
        self.at = [
            slice(*pair) for pair in zip(begin[:-1].tolist(), begin[1:].tolist(), strict=True)
        ]
        self.columns = [slice(*pair) for pair in zip(low.tolist(), high.tolist(), strict=True)]
        self.rows = rows
        # what flows between columns, sorted by the lower one
        place = torch.empty_like(rows)
        place[rows] = torch.arange(count)
        down = below[rows]
        upper = torch.nonzero(down >= 0)[:, 0]
        lower = place[down[upper]]
        by_lower = lower.argsort(stable=True)
        upper, lower = upper[by_lower], lower[by_lower]
        gap, shift = level[lower] - level[upper], begin[:-1] - low
        edges = torch.searchsorted(lower, torch.stack([low, high])).tolist()
        self.source, self.target = [], []
        for d, (a, b) in enumerate(zip(*edges, strict=True)):
            self.source.append(shift[d - gap[a:b]] + upper[a:b])
            self.target.append(lower[a:b] - int(low[d]))


class Wave:
    """A river between its forward and its backward pass."""

    def __init__(
        self,
        problem: Problem,
        order: Sequence[Tensor],
        below: Tensor,
        outflow: int,
        inflow: str,
    ):
        self.problem = problem
        self.outflow, self.above = outflow, inflow
        self.fronts = Fronts(order, below.cpu(), len(problem.lengths))
        self.iterations = self.bytes = 0

    def packed(self, values: Tensor, at: slice) -> Tensor:
        """Return values `[column or 1, step, width]` at places of the packed order."""
        step = self.fronts.step[at]
        return values[0, step] if len(values) == 1 else values[self.fronts.column[at], step]

    def inputs(self, at: slice) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Forcing (inflow without that from above) and parameters at places of the packed order."""
        p, column = self.problem, self.fronts.column[at]
        static = {k: v if len(v) == 1 else v[column] for k, v in p.static.items()}
        return (
            {k: self.packed(v, at) for k, v in p.forcing.items()},
            {**static, **{k: self.packed(v, at) for k, v in p.varying.items()}},
        )

    @torch.no_grad()
    def forward(self, record: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return states, storage and fluxes `[column, step, ...]`."""
        p, plan, model = self.problem, self.fronts, self.problem.model
        columns, steps = len(plan.rows), len(p.lengths)
        total = columns * steps
        self.state, self.inflow = p.initial.new_empty(2, total, 1).unbind()
        discharge = p.initial.new_empty(total, 1)
        fluxes = p.initial.new_empty(columns, steps, len(model.spec.fluxes))
        change = p.initial.new_empty(columns, steps, 1)
        now, h = p.initial[plan.rows], p.lengths[plan.step][:, None]
        static = {k: v if len(v) == 1 else v[plan.rows] for k, v in p.static.items()}
        everywhere = slice(0, total)
        given, varying = (
            {k: self.packed(v, everywhere) for k, v in values.items()}
            for values in (p.forcing, p.varying)
        )
        for at, own, source, target in zip(
            plan.at, plan.columns, plan.source, plan.target, strict=True
        ):
            inflow = self.inflow[at].copy_(given[self.above][at])
            inflow.index_add_(0, target, discharge[source])
            forcing = {**{k: v[at] for k, v in given.items()}, self.above: inflow}
            parameters = {k: v if len(v) == 1 else v[own] for k, v in static.items()}
            parameters |= {k: v[at] for k, v in varying.items()}
            u = self.newton(now[own], forcing, parameters, h[at])
            e = model.evaluate(u, forcing, parameters, fluxes=True)
            now[own] = self.state[at] = u
            discharge[at] = e.fluxes[:, self.outflow : self.outflow + 1]
            fluxes[plan.column[at], plan.step[at]] = e.fluxes
            change[plan.column[at], plan.step[at]] = e.rates * h[at]
        states = torch.empty_like(change)
        states[plan.column, plan.step] = self.state
        storage = torch.cat([p.initial[:, None], p.initial[:, None] + change.cumsum_(1)], 1)
        self.bytes = self.state.nbytes + self.inflow.nbytes
        if not record:
            del self.state, self.inflow
        return states, storage, fluxes

    def newton(self, start: Tensor, forcing: Values, parameters: Values, h: Tensor) -> Tensor:
        """Return the states at the end of a step.

        A column that is solved stays as it is while others go on: its state is a function of what
        it begins with, to the last bit, whatever else is in the front.
        """
        (state,) = self.problem.model.spec.states.values()
        tolerance = math.sqrt(torch.finfo(start.dtype).eps)  # the error is its square
        u, done = start.clone(), torch.zeros_like(start, dtype=torch.bool)
        for _ in range(FREE):
            update, _, slope = self.update(u, start, forcing, parameters, h)
            falls = (u - state.lower).abs_().mul_(-FALL).sub_(BELOW * state.scale)
            torch.maximum(update, falls, out=update).masked_fill_(done, 0.0)
            done = update.abs() < tolerance * (u.abs() + state.scale)
            u = u + update
            if bool(done.all()):
                return u
        open_ = ~done[:, 0]

        def cut(values: Values) -> dict[str, Tensor]:
            return {k: v if len(v) == 1 else v[open_] for k, v in values.items()}

        u[open_] = self.bracketed(u[open_], start[open_], cut(forcing), cut(parameters), h[open_])
        return u

    def bracketed(
        self, u: Tensor, start: Tensor, forcing: Values, parameters: Values, h: Tensor
    ) -> Tensor:
        """Return the same where Newton's method alone goes astray: across a threshold, or where a
        store gives less the more it holds. What is left of the equation changes its sign between
        two bounds, and an update that leaves them, or is not half of the last, halves the distance.
        """
        (state,) = self.problem.model.spec.states.values()
        tolerance = math.sqrt(torch.finfo(start.dtype).eps)
        empty = torch.full_like(u, state.lower)
        fills = self.update(empty, start, forcing, parameters, h)[1] > 0
        low, high = torch.where(fills, empty, -math.inf), torch.full_like(u, math.inf)
        u, move = torch.where(u > low, u, start.abs() + state.scale), high
        done = torch.zeros_like(fills)
        for _ in range(MOST):
            update, left, slope = self.update(u, start, forcing, parameters, h)
            rises = left > 0
            low, high = torch.where(rises, u, low), torch.where(rises, high, u)
            # one bound alone: away from it, farther each time
            away = u.abs() + state.scale
            away = torch.where(rises, away, -FALL * away)
            away = torch.where((low > -math.inf) & (high < math.inf), 0.5 * (low + high) - u, away)
            sound = (u + update > low) & (u + update < high) & (update.abs() < 0.5 * move)
            size = u.abs() + state.scale
            small = (update.abs() < tolerance * size) & (slope > 0)
            update = torch.where(small | (sound & (slope > 0)), update, away)
            u, move = u + update.masked_fill(done, 0.0), update.abs()
            done = done | small | (move < SMALLEST * size)
            if bool(done.all()):
                return u
        raise NotSolved

    def update(
        self, u: Tensor, start: Tensor, forcing: Values, parameters: Values, h: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Newton's update, what is left of the equation, and its slope."""
        self.iterations += 1
        (rate,), entries = self.problem.model.slopes(u, forcing, parameters)
        slope = torch.addcmul(torch.ones_like(h), h, entries[0, 0][:, None], value=-1)
        left = torch.addcmul(start - u, rate[:, None], h)
        return left / slope, left, slope

    def backward(self, grads: tuple[Tensor, ...], needs: dict[str, set[str]]) -> Found:
        """Cotangents of every input."""
        p, plan = self.problem, self.fronts
        on_states, on_storage, on_fluxes = grads
        # the storage at the end of a step is the state there
        on_state = (on_states + on_storage[:, 1:])[plan.column, plan.step][:, 0]
        on_flux = on_fluxes[plan.column, plan.step]
        by_state, by_inflow = self.local(on_flux)
        h = p.lengths[plan.step]
        on_state += by_state[1]
        on_inflow = by_inflow[1]
        after = torch.zeros(len(plan.rows), dtype=h.dtype, device=h.device)
        known = torch.zeros_like(h)  # cotangents of discharge from below
        multipliers = torch.empty_like(h)
        slope = (1 - h * by_state[2]).reciprocal_()
        for at, own, source, target in zip(
            *(reversed(x) for x in (plan.at, plan.columns, plan.source, plan.target)), strict=True
        ):
            below = known[at]
            weight = (after[own] + on_state[at]).addcmul_(below, by_state[0][at]).mul_(slope[at])
            after[own] = multipliers[at] = weight
            if len(source):
                onto = on_inflow[at].addcmul(below, by_inflow[0][at])
                onto.addcmul_(weight * h[at], by_inflow[2][at])
                known[source] = onto[target]
        on_flux[:, self.outflow] += known
        found = Found(
            torch.zeros_like(p.initial),
            {g: {k: torch.zeros_like(getattr(p, g)[k]) for k in needs[g]} for g in GROUPS},
        )
        found.initial[plan.rows] = after[:, None]
        found.initial += on_storage[:, 0]
        if any(needs.values()):
            self.inputs_from(found, needs, multipliers * h, on_flux)
        return found

    def local(self, on_flux: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Slopes in state and inflow: of discharge, of weighted fluxes together, and of rates."""
        by: tuple[list[Tensor], list[Tensor]] = (
            [torch.zeros_like(on_flux[:, 0]) for _ in range(3)],
            [torch.zeros_like(on_flux[:, 0]) for _ in range(3)],
        )
        for at in self.blocks():
            forcing, parameters = self.inputs(at)
            u, inflow = (x[at].detach().requires_grad_() for x in (self.state, self.inflow))
            with torch.enable_grad():
                forcing[self.above] = inflow
                e = self.problem.model.evaluate(u, forcing, parameters, fluxes=True)
                totals = (
                    e.fluxes[:, self.outflow].sum(),
                    (e.fluxes * on_flux[at]).sum(),
                    e.rates.sum(),
                )
                for k, total in enumerate(totals):
                    found = derivatives(total, [u, inflow], retain_graph=k < 2)
                    for into, x in zip(by, found, strict=True):
                        if x is not None:
                            into[k][at] = x[:, 0]
        return by

    def inputs_from(
        self, found: Found, needs: dict[str, set[str]], on_rates: Tensor, on_flux: Tensor
    ) -> None:
        """Add the cotangents of parameters and forcing."""
        p, plan = self.problem, self.fronts
        for at in self.blocks():
            forcing, parameters = self.inputs(at)
            column, step = plan.column[at], plan.step[at]
            forcing[self.above] = self.inflow[at]
            leaves = {}
            for group, names in needs.items():
                for k in names:
                    values = forcing if group == "forcing" else parameters
                    x = values[k].expand(len(column), -1).detach().requires_grad_()
                    leaves[group, k] = values[k] = x
            with torch.enable_grad():
                e = p.model.evaluate(self.state[at], forcing, parameters, fluxes=True)
                total = (e.rates[:, 0] * on_rates[at]).sum() + (e.fluxes * on_flux[at]).sum()
            for (group, k), g in zip(
                leaves, derivatives(total, list(leaves.values())), strict=True
            ):
                if g is None:
                    continue
                into = found.grads[group][k]
                rows = column if len(into) > 1 else torch.zeros_like(column)
                if group == "static":
                    into.index_add_(0, rows, g)
                else:
                    into.index_put_((rows, step), g, accumulate=True)

    def blocks(self) -> list[slice]:
        """The packed order in pieces that fill the cache."""
        total = len(self.fronts.step)
        return [slice(i, min(i + BLOCK, total)) for i in range(0, total, BLOCK)]
