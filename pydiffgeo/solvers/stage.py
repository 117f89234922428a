"""One implicit stage of a step: where its search begins, and its solution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pydiffgeo.models.base import Evaluation, Values
from pydiffgeo.solvers.algebraic import only
from pydiffgeo.solvers.carry import Carry
from pydiffgeo.solvers.kernels import Kernels
from pydiffgeo.solvers.newton import Stage, newton
from pydiffgeo.solvers.options import Solver
from pydiffgeo.solvers.problem import take
from pydiffgeo.solvers.tolerances import Tolerances

# parts of a state and its typical magnitude: smaller changes from step to step say nothing in
# float32
STILL = 1e-3


@dataclass
class ToSolve:
    """What a stage is to solve, `[row, ...]`.

    See `newton`; and which rows must leave no residual.
    """

    guess: Tensor
    target: Tensor
    step: Tensor
    scale: Tensor
    reach: Tensor
    tolerance: Tensor
    exact: Tensor | None
    contraction: Tensor
    forcing: Values
    parameters: Values

    def select(self, rows: Tensor, stage: Stage) -> ToSolve:
        """Some of the rows, starting from where `stage` left them."""
        return ToSolve(
            stage.state[rows], self.target[rows], self.step[rows], self.scale[rows],
            self.reach[rows], self.tolerance[rows],
            None if self.exact is None else self.exact[rows], stage.contraction[rows],
            take(self.forcing, rows), take(self.parameters, rows),
        )  # fmt: skip


class StageSolver:
    """Solves stages of a model.

    Parameters
    ----------
    kernels : Kernels
    options : Solver
    small : Tolerances
    stored : Tensor or None, [size]
        Which values of a column store something; None where all do.
    """

    def __init__(
        self, kernels: Kernels, options: Solver, small: Tolerances, stored: Tensor | None
    ) -> None:
        self.kernels, self.options, self.small, self.stored = kernels, options, small, stored

    def solve(self, x: ToSolve) -> tuple[Stage, Evaluation]:
        """Solve a stage, and again where storage and state disagree.

        By more than the Newton tolerance allows.

        What Newton leaves unresolved stays in the carried storage. It must remain small against the
        capacity, or the next step starts from a storage that no state near by has; rows in `exact`,
        whose state is an output, leave nothing.
        """
        stage, e = self._newton(x)
        rough = self._rough(x, stage, e, self.small.rounding) & stage.converged
        for last in (False, False, True):
            if not bool(rough.any()):
                break
            rows = rough[:, 0].nonzero()[:, 0]
            y = x.select(rows, stage)
            again, part = self._newton(y)
            # what is left after three attempts may be the rounding of large rates
            still = (
                self._rough(y, again, part, self.small.rounding * (10 if last else 1))
                & again.converged
            )
            rough = rough.index_copy(0, rows, still)
            stage = stage._replace(
                state=stage.state.index_copy(0, rows, again.state),
                converged=stage.converged.index_copy(0, rows, again.converged),
                iterations=stage.iterations.index_add(0, rows, again.iterations),
                capacity=stage.capacity.index_copy(0, rows, again.capacity),
                contraction=stage.contraction.index_copy(0, rows, again.contraction),
            )
            e = Evaluation(
                *(whole.index_copy(0, rows, x) for whole, x in zip(e, part, strict=True))
            )
        return stage._replace(converged=stage.converged & ~rough), e

    def _newton(self, x: ToSolve) -> tuple[Stage, Evaluation]:
        """Solve a stage, and evaluate the model there."""
        o = self.options
        stage = newton(
            self.kernels, x.guess, x.target, x.step, x.scale, x.reach, x.contraction, x.forcing,
            x.parameters,
            o.newton_tolerance, o.max_newton, self.small.newton_rounding,
        )  # fmt: skip
        if self.kernels.model.bend(stage.state) is not None:  # where the last update may have ended
            there = self.kernels.linearise(stage.state, x.forcing, x.parameters)
            stage = stage._replace(capacity=there.capacity.expand_as(stage.state))
        return stage, self.kernels.evaluate(stage.state, x.forcing, x.parameters, fluxes=True)

    def _rough(self, x: ToSolve, stage: Stage, e: Evaluation, rounding: float | Tensor) -> Tensor:
        """Return the rows whose storage misses its target by more than the Newton tolerance."""
        left = torch.addcmul(x.target - e.storage, x.step, e.rates).abs_()
        if self.stored is not None:  # an equation holds, or does not, however short the step is
            left = torch.where(self.stored, left, e.rates.abs())
        # an error norm that is just met may come from one state alone
        allowed = self.options.newton_tolerance * left.shape[-1] ** 0.5
        excess = torch.addcmul(left, stage.capacity, x.tolerance, value=-allowed)
        if x.exact is not None:
            excess = torch.where(x.exact, left, excess)
        return (excess > rounding).any(-1, keepdim=True)


def first_guess(
    i: int,
    times: tuple[float, ...],
    c: Carry,
    h: Tensor,
    states: list[Tensor],
    reach: Tensor,
    stored: Tensor | None,
) -> Tensor:
    """Return the first guess of stage `i`, on the parabola through the three latest states.

    On the line through two where the stage is far from them: there a parabola overshoots, and
    the matrix at the guess filters the error estimate.
    """
    before = c.step_before
    if i == 1:
        if len(times) == 2:
            base, d = c.psi, (c.psi - c.psi_before) * (h * times[1] / before)
        else:
            late = before * (1 - times[1])
            base, d = (
                c.psi,
                _parabola(c.psi, (-late, c.psi_between), (-before, c.psi_before), h * times[1]),
            )
    elif times[i] == times[i - 1]:
        return states[-1]
    else:
        base, at = states[-1], h * times[i - 1]
        ahead = h * times[i] - at
        if times[i] > 1.5 * times[i - 1]:
            d = (base - c.psi) * (ahead / at)
        else:
            d = _parabola(base, (-at, c.psi), (-at - before, c.psi_before), ahead)
    if base.dtype == torch.float32:  # changes so small are rounding, and no trend
        d = torch.where((c.psi - c.psi_before).abs() * reach < STILL, 0.0, d)
    d = only(stored, d)  # what stores nothing jumps with the forcing
    return base + d / (1 + (d * reach).abs())


def _parabola(
    base: Tensor, a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], t: Tensor
) -> Tensor:
    """Return the change from `base`, at time 0, to time t on a parabola.

    Through `base` and the (time, state) pairs a and b.
    """
    (ta, ua), (tb, ub) = a, b
    change = (ua - base).mul_(t * (t - tb) / (ta * (ta - tb)))
    return change.addcmul_(ub - base, t * (t - ta) / (tb * (tb - ta)))
