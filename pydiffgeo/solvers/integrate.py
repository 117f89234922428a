"""The forward solve: all columns of a chunk together, each with steps of its own.

Storage is carried, not recomputed from the state: it changes by exactly the step times the weighted
rates of the stages, so that storage and fluxes balance to rounding whatever Newton leaves
unresolved.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.solvers.algebraic import only, storing
from pydiffgeo.solvers.carry import Carry, Outcome
from pydiffgeo.solvers.control import (
    ASKS,
    MANY,
    REPLAYED,
    SHORT,
    STALLED,
    next_step,
    patience,
    stalled,
)
from pydiffgeo.solvers.kernels import Consistent, Kernels
from pydiffgeo.solvers.newton import UNSEEN, newton
from pydiffgeo.solvers.options import Solver
from pydiffgeo.solvers.problem import Problem, take
from pydiffgeo.solvers.record import Entry
from pydiffgeo.solvers.stage import StageSolver, ToSolve, first_guess
from pydiffgeo.solvers.tolerances import Tolerances

ROUND = 1e-9  # parts of an interval that count as rounding of its end
MOST_SEARCHES = 100  # iterations of Newton for the algebraic states at the start of an interval


@torch.no_grad()
def integrate(
    problem: Problem,
    kernels: Kernels,
    options: Solver,
    carry: Carry,
    until: int,
    record: bool,
    replay: Tensor | None = None,
) -> tuple[Carry, Outcome]:
    """Take all columns from where they are to the end of interval `until` - 1.

    Parameters
    ----------
    carry : Carry
        From `start`, or from an earlier call.
    record : bool
        Keep what the gradient needs.
    replay : Tensor, [column, step], optional
        Steps to take instead of choosing them.

    Returns
    -------
    Carry
        The columns that got there, in any order.
    Outcome
        Results of the intervals between.
    """
    return _Integration(problem, kernels, options, until, record, replay).run(carry)


class _Integration:
    def __init__(
        self,
        problem: Problem,
        kernels: Kernels,
        options: Solver,
        until: int,
        record: bool,
        replay: Tensor | None,
    ):
        self.problem, self.kernels, self.options, self.until, self.record, self.replay = (
            problem, kernels, options, until, record, replay,
        )  # fmt: skip
        model, u = problem.model, problem.initial
        self.model = model
        self.small = Tolerances.of(model, options, u)
        self.stored = storing(model, u)
        self.stage = StageSolver(kernels, options, self.small, self.stored)
        rows, T, size = u.shape[0], len(problem.lengths), u.shape[1]
        nan = float("nan")
        self.out = Outcome(
            u.new_full((rows, T, size), nan),
            u.new_full((rows, T, size), nan),
            u.new_full((rows, T, model.spec.flux_values(size)), nan),
        )
        for name in ("accepted", "rejected", "newton_iterations"):
            self.out.stats[name] = torch.zeros(rows, dtype=torch.long, device=u.device)
        self.shortest, self.patience = 1e-12 * problem.lengths.min(), patience(options.max_newton)

    def run(self, c: Carry) -> tuple[Carry, Outcome]:
        """Step until all columns have arrived or failed."""
        c = replace(c)
        arrived: list[Carry] = []
        static, inputs = self.problem.static_at(c.column), None
        while len(c.column):
            if inputs is None:
                forcing = self.problem.forcing_at(c.column, c.interval)
                inputs = forcing, {**static, **self.problem.varying_at(c.column, c.interval)}
                length = self.problem.lengths[c.interval][:, None]
            if bool(c.starts.any()):
                self._rates_at_start(c, *inputs)
            c, landed = self._attempt(c, length, *inputs)
            if landed:
                inputs = None
            gone = (c.interval >= self.until) | self._failures(c, length)
            if bool(gone.any()):
                arrived.append(c.select((c.interval >= self.until).nonzero()[:, 0]))
                c = c.select((~gone).nonzero()[:, 0])
                static, inputs = self.problem.static_at(c.column), None
        joined = (
            Carry(**{k: torch.cat([getattr(a, k) for a in arrived]) for k in vars(c)})
            if arrived
            else c
        )
        return joined, self.out

    def _rates_at_start(self, c: Carry, forcing: Values, p: Values) -> None:
        """Rates at the first state of an interval, under its own forcing."""
        rows, column, interval, psi = None, c.column, c.interval, c.psi
        if not bool(c.starts.all()):
            rows = c.starts.nonzero()[:, 0]
            column, interval, psi = column[rows], interval[rows], psi[rows]
            forcing, p = take(forcing, rows), take(p, rows)
        psi, found = self._consistent(psi, forcing, p)
        e = self.kernels.evaluate(psi, forcing, p, fluxes=True)
        rates = only(self.stored, e.rates.expand_as(psi))
        if found is not None:  # without a state at the start no step can be taken
            rates = torch.where(found, rates, float("nan"))
            c.psi = psi if rows is None else c.psi.index_copy(0, rows, psi)
        c.rates = rates if rows is None else c.rates.index_copy(0, rows, rates)
        c.fluxes = e.fluxes if rows is None else c.fluxes.index_copy(0, rows, e.fluxes)
        if self.record and self.options.tableau.explicit:
            self.out.record.entries.append(Entry(column, interval, [psi]))
        c.starts = torch.zeros_like(c.starts)

    def _consistent(self, psi: Tensor, forcing: Values, p: Values) -> tuple[Tensor, Tensor | None]:
        """Return states whose algebraic equations hold, and the rows where one was found.

        As given, and None, where there are no such equations or no method reads rates there.
        """
        o = self.options
        if self.stored is None or (o.step is not None and not o.tableau.explicit):
            return psi, None
        reach = 1 / (self.small.typical + psi.abs())
        scale = 1 / psi.abs().mul(o.rtol).add(self.small.atol)
        unseen = torch.full_like(psi[:, :1], UNSEEN)
        tolerance = 1e-9 if psi.dtype == torch.float64 else o.newton_tolerance
        stage = newton(
            Consistent(self.model), psi, psi, unseen, scale, reach, unseen, forcing, p,
            tolerance, MOST_SEARCHES, self.small.newton_rounding,
        )  # fmt: skip
        explicit = o.tableau.explicit
        return stage.state, stage.converged if explicit else torch.ones_like(stage.converged)

    def _attempt(self, c: Carry, length: Tensor, forcing: Values, p: Values) -> tuple[Carry, bool]:
        """Take one step of every row, and keep it where its error allows.

        Also returns whether any row reached the end of its interval.
        """
        o, tableau = self.options, self.options.tableau
        A, times, s = tableau.A, tableau.c, tableau.stages
        rest = length - c.elapsed
        if self.replay is not None:
            signed = self.replay[c.column, c.taken][:, None]
            h = signed.abs()
            c = c.without_trend(signed < 0)
        else:
            # land on the end of the interval; two equal steps rather than a long and a tiny one
            h = torch.where(
                c.step >= rest * (1 - ROUND),
                rest,
                torch.minimum(c.step, 0.5 * rest) if o.step is None else c.step,
            )
        lands = h >= rest * (1 - ROUND)
        landing = lands if bool(lands.any()) else None
        reach = 1 / (self.small.typical + c.psi.abs())
        tolerance = c.psi.abs().mul_(o.rtol).add_(self.small.atol)
        scale = 1 / tolerance
        rates, fluxes = [c.rates], [c.fluxes]
        states: list[Tensor] = []
        converged = torch.ones_like(h, dtype=torch.bool)
        contraction = c.contraction
        for i in range(1, s + 1):
            target = c.storage
            for j in range(i):
                if A[i][j] != 0:
                    target = torch.addcmul(target, h * A[i][j], rates[j])
            guess = first_guess(i, times, c, h, states, reach, self.stored)
            exact = landing if i == s else None
            step = h * tableau.gamma
            stage, e = self.stage.solve(
                ToSolve(
                    guess, target, step, scale, reach, tolerance, exact, contraction, forcing, p
                )
            )
            contraction = stage.contraction
            self.out.stats["newton_iterations"].index_add_(0, c.column, stage.iterations[:, 0])
            converged = converged & stage.converged
            states.append(stage.state)
            rates.append(only(self.stored, e.rates))
            fluxes.append(e.fluxes)
            if not bool(converged.any()):
                break
        if len(states) < s:  # no row converged
            error, accepted = torch.full_like(h, 2.0), torch.zeros_like(converged)
        elif o.step is not None or self.replay is not None:
            error, accepted = torch.ones_like(h), converged
        else:
            error = self._error(c, h, rates, states[-1], stage.matrix, stage.capacity, scale)
            converged = converged & torch.isfinite(error)
            accepted = converged & (error <= 1)
        if o.shared_step:
            error, accepted = error.max().expand_as(error), accepted.all().expand_as(accepted)
        c.contraction = torch.where(converged, contraction, UNSEEN)
        return self._advance(c, h, rest, length, error, accepted, converged, states, rates, fluxes)

    def _error(
        self,
        c: Carry,
        h: Tensor,
        rates: list[Tensor],
        psi: Tensor,
        matrix: tuple[Tensor, ...],
        capacity: Tensor,
        scale: Tensor,
    ) -> Tensor:
        """Embedded error filtered by the matrix of the last stage.

        The larger of its norms in state and in storage.
        """
        o = self.options
        defect = torch.zeros_like(psi)
        for w, r in zip(o.tableau.error_weights, rates, strict=True):
            if w != 0:
                defect = torch.add(defect, r, alpha=w)
        defect = defect * h
        e = self.kernels.linear.solve(matrix, defect)
        if not bool(
            torch.isfinite(e.sum())
        ):  # leave out the rows that spoil the chained solve; they stay NaN
            finite = torch.stack([x.flatten(1).isfinite().all(-1) for x in (*matrix, defect)]).all(
                0
            )
            rows = finite.nonzero()[:, 0]
            e = torch.full_like(defect, float("nan"))
            if len(rows):
                e[rows] = self.kernels.linear.solve(tuple(x[rows] for x in matrix), defect[rows])
        by_storage = (capacity * e).div_(c.storage.abs().mul_(o.rtol).add_(self.small.storage_atol))
        by_state = only(self.stored, e * scale)
        n = e.shape[-1] ** -0.5
        if self.stored is not None:
            n = max(1, int(self.stored.sum())) ** -0.5
        norm = torch.linalg.vector_norm
        error = (
            torch.maximum(
                norm(by_storage, dim=-1, keepdim=True), norm(by_state, dim=-1, keepdim=True)
            )
            * n
        )
        return error.clamp_min(1e-10)

    def _advance(
        self, c: Carry, h: Tensor, rest: Tensor, length: Tensor, error: Tensor, accepted: Tensor,
        converged: Tensor,
        states: list[Tensor], rates: list[Tensor], fluxes: list[Tensor],
    ) -> tuple[Carry, bool]:  # fmt: skip
        """Accept or reject; write what reached the end of an interval."""
        o, b = self.options, self.options.tableau.b
        c.attempts = c.attempts + 1
        if o.step is None:
            grown = next_step(h, error, c.error_before, accepted, converged, o.tableau.error_order)
            # a step cut short by the end of its interval says nothing against the longer one wished
            # before
            c.step = torch.where(accepted & (h < c.step), torch.maximum(grown, c.step), grown)
        else:
            c.step = torch.where(accepted, torch.full_like(h, o.step), h * 0.5)
        alone = c.step_before == UNSEEN  # no trend helped the first guess
        if self.replay is not None:  # a step that fails without a trend, too, would fail for ever
            c.step = torch.where(~accepted & alone, 0.0, h)
        if not bool(accepted.any()):
            self.out.stats["rejected"].index_add_(0, c.column, torch.ones_like(c.column))
            c.psi_before, c.psi_between, c.step_before = c.psi, c.psi, torch.full_like(h, UNSEEN)
            return c, False
        ok = accepted[:, 0]
        landed = ok & (h >= rest * (1 - ROUND))[:, 0]
        self.out.stats["accepted"].index_add_(0, c.column, ok.long())
        self.out.stats["rejected"].index_add_(0, c.column, (~ok).long())
        everyone = bool(ok.all())
        rows = slice(None) if everyone else ok.nonzero()[:, 0]
        self.out.taken.append((c.column[rows], torch.where(alone, -h, h)[rows]))
        if self.record:
            kept = states if everyone else [u[rows] for u in states]
            self.out.record.entries.append(
                Entry(c.column[rows], c.interval[rows], kept, h[rows], landed[rows])
            )
        storage, total = c.storage, c.total
        for w, r, q in zip(b, rates, fluxes, strict=True):
            if w != 0:
                part = h * w
                storage, total = torch.addcmul(storage, part, r), torch.addcmul(total, part, q)

        def keep(new: Tensor, old: Tensor) -> Tensor:
            return new if everyone else torch.where(accepted, new, old)

        c.psi_before, c.psi_between = c.psi, keep(states[0], c.psi)
        c.psi, c.storage = keep(states[-1], c.psi), keep(storage, c.storage)
        c.rates, c.fluxes = keep(rates[-1], c.rates), keep(fluxes[-1], c.fluxes)
        c.total, c.elapsed = keep(total, c.total), keep(c.elapsed + h, c.elapsed)
        c.step_before, c.error_before = (
            keep(h, torch.full_like(h, UNSEEN)),
            keep(error.clamp_min(1e-4), c.error_before),
        )
        c.taken = c.taken + ok
        if not bool(landed.any()):
            return c, False
        rows = landed.nonzero()[:, 0]
        column, interval = c.column[rows], c.interval[rows]
        self.out.states[column, interval] = c.psi[rows]
        self.out.storage[column, interval] = c.storage[rows]
        self.out.fluxes[column, interval] = c.total[rows] / length[rows]
        c.total, c.elapsed = c.total.index_fill(0, rows, 0.0), c.elapsed.index_fill(0, rows, 0.0)
        c.interval, c.starts = c.interval + landed, landed
        return c, True

    def _failures(self, c: Carry, length: Tensor) -> Tensor:
        """Rows that cannot go on; their reasons are written down."""
        short = (c.step < self.shortest)[:, 0]
        long = c.attempts >= self.options.max_steps
        failed = short | long
        due = c.attempts % self.patience == 0
        if self.replay is None and bool(due.any()):
            slow = stalled(c.elapsed, c.reached, length, self.patience, self.options.max_steps)[
                :, 0
            ]
            c.slow = torch.where(
                due, torch.where(slow & (c.asked == c.interval), c.slow + 1, 0), c.slow
            )
            failed = failed | (c.slow >= ASKS)
            c.asked = torch.where(due, c.interval, c.asked)
            c.reached = torch.where(due[:, None], c.elapsed, c.reached)
        failed = failed & (c.interval < self.until)
        if bool(failed.any()):
            known = {
                "shortest": float(self.shortest),
                "unit": self.model.spec.time_unit,
                "max_steps": self.options.max_steps,
                "patience": self.patience,
            }
            for r in failed.nonzero()[:, 0].tolist():
                shortest = SHORT if self.replay is None else REPLAYED
                reason = shortest if bool(short[r]) else MANY if bool(long[r]) else STALLED
                self.out.failed[int(c.column[r])] = int(c.interval[r]), reason.format(**known)
        return failed
