"""Newton's method for the stages of all columns at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.solvers.kernels import Kernels
from pydiffgeo.solvers.linear import Matrix
from pydiffgeo.solvers.problem import take

UNSEEN = 1e30  # contraction of a row that has none yet: its first iteration decides nothing


class Stage(NamedTuple):
    """What Newton's method returns, `[row, ...]`.

    Attributes
    ----------
    converged, iterations : Tensor, [row, 1]
    matrix : the matrix of the first iteration
    capacity : the capacity of each row's last iteration
    contraction : Tensor, [row, 1]
        Size of an update over the square of the one before, as last seen.
    """

    state: Tensor
    converged: Tensor
    iterations: Tensor
    matrix: Matrix
    capacity: Tensor
    contraction: Tensor


def newton(
    kernels: Kernels,
    guess: Tensor,
    target: Tensor,
    step: Tensor,
    scale: Tensor,
    reach: Tensor,
    contraction: Tensor,
    forcing: Values,
    parameters: Values,
    tolerance: float,
    max_iterations: int,
    rounding: float | Tensor | None = None,
) -> Stage:
    """Solve m(u) - step f(u) = target for each row.

    Parameters
    ----------
    guess, target : Tensor, [row, size]
        First guess of the state, and the storage to reach.
    step : Tensor, [row, 1]
        Step size times the diagonal of the method.
    scale : Tensor, [row, size]
        One over the error tolerance of each state.
    reach : Tensor, [row, size]
        One over the longest update of each state: an update d is shortened to d / (1 + |d| reach),
        a change of second order in d, which leaves the convergence quadratic.
    contraction : Tensor, [row, 1]
        Newton converges quadratically: after an update of size s, in units of the error tolerance,
        the next one is about contraction s^2. The factor hardly changes from stage to stage, so
        that the last one seen serves for the first iteration; `UNSEEN` where none was seen.
    tolerance : float
        A row has converged when the update that would follow is expected to be below it, in units
        of the error tolerance.
    rounding : float or Tensor, [size], optional
        What rounding leaves of a storage: a row has converged, too, when no more than that was left
        to solve for.
    """
    rows = guess.shape[0]
    u = guess
    iterations = torch.zeros(rows, 1, dtype=torch.long, device=u.device)
    converged = torch.zeros(rows, 1, dtype=torch.bool, device=u.device)
    active: Tensor | None = None  # rows still iterated, None for all
    result, factors = u, contraction
    before: Tensor | None = None
    first: Matrix = ()
    # active rows that converged earlier: they stay as they are, whatever the others need
    done: Tensor | None = None
    fresh = contraction >= UNSEEN
    unseen = fresh if bool(fresh.any()) else None
    count = 0
    while count < max_iterations:
        matrix, right, capacity = kernels.system(
            u, target, step, forcing, parameters, unseen if count == 0 else None
        )
        if not first:
            first, capacities = matrix, capacity
        else:
            # each row keeps the capacity of its own last iteration, so that no row depends on the
            # others
            if done is not None:
                capacity = torch.where(
                    done, capacities if active is None else capacities[active], capacity
                )
            capacities = capacity if active is None else capacities.index_copy(0, active, capacity)
        previous = u
        u, size = kernels.update(u, kernels.linear.solve(matrix, right), scale, reach)
        if done is not None:
            u = torch.where(done, previous, u)
        if before is not None:
            contraction = size / before.square()
            if done is not None:
                contraction = torch.where(
                    done, factors if active is None else factors[active], contraction
                )
            factors = contraction if active is None else factors.index_copy(0, active, contraction)
        # no less than the update itself is expected of a row that does not contract
        ok = ((contraction * size).clamp_max_(1.0).mul_(size) < tolerance) & (size < 1)
        if rounding is not None:
            ok = ok | ((right.abs() <= rounding).all(-1, keepdim=True) & torch.isfinite(size))
        if done is not None:
            ok = ok | done
        unfinished = not bool(ok.all())
        if unfinished and not bool(torch.isfinite(size).all()):
            # one system that is not finite spoils the chained solve: drop its rows and take this
            # iteration again
            finite = torch.isfinite(right).all(-1) & torch.stack(
                [x.flatten(1).isfinite().all(-1) for x in matrix]
            ).all(0)
            if bool(finite.all()):  # singular systems, or results beyond the range of numbers
                finite = torch.isfinite(size)[:, 0]
            keep = finite.nonzero()[:, 0]
            if active is None:
                active, result = torch.arange(rows, device=u.device), guess.clone()
            if not len(keep):
                return Stage(result, converged, iterations, first, capacities, factors)
            u = previous
        else:
            count += 1
            if active is None:
                iterations += 1 if done is None else ~done
            else:
                iterations[active] += 1 if done is None else (~done).long()
            left = int((~ok).sum()) if unfinished else 0
            done, before = ok, size
            if not left:
                break
            if 2 * left > len(ok):
                continue
            if active is None:
                active, result = torch.arange(rows, device=u.device), u.clone()
            finished = ok[:, 0].nonzero()[:, 0]
            result[active[finished]], converged[active[finished]] = u[finished], True
            keep = (~ok[:, 0]).nonzero()[:, 0]
        active, u = active[keep], u[keep]
        before = None if before is None else before[keep]
        done = None if done is None else done[keep]
        target, step, scale, reach, contraction = (
            x[keep] for x in (target, step, scale, reach, contraction)
        )
        unseen = None if unseen is None else unseen[keep]
        forcing, parameters = take(forcing, keep), take(parameters, keep)
    assert done is not None
    if active is None:
        return Stage(u, done, iterations, first, capacities, factors)
    result[active], converged[active] = u, done
    return Stage(result, converged, iterations, first, capacities, factors)
