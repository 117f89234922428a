"""Step-size control, one step per column."""

from __future__ import annotations

import torch
from torch import Tensor

SAFETY = 0.9
SHRINK = 0.2  # a step is never cut to less than this fraction for its error,
GROW = 5.0  # nor lengthened by more than this factor
NEWTON_CUT = 0.25  # cut where Newton did not converge
# iterations of Newton, at most, after which a column is asked how far it came since it was asked
# before
PATIENCE = 4000
# answers of no progress in a row that make a failure: after a jump the steps are short for one or
# two
ASKS = 3
SHARE = 0.5  # part of `max_steps` that the rest of one interval may take at that pace,
LEAST = 50_000  # but no fewer attempts than this: a small `max_steps` ends the solve soon by itself

SHORT = "no step above {shortest:.1e} {unit} meets the tolerances"
REPLAYED = "a step of the replayed solution fails here; replay one of nearer inputs"
MANY = "{max_steps} steps were not enough; raise max_steps or loosen rtol"
STALLED = (
    "no progress: at the pace of the last {patience} steps the rest of this interval alone would "
    "take more than half of max_steps = {max_steps}. Probably no state gives the flux that is "
    "asked for (a drying flux of a dry soil), a rate has an infinite slope, or float32 is too "
    "coarse; look at the forcing of this interval, take dtype=torch.float64, or raise max_steps "
    "to wait longer"
)
"""Why a column failed, for all engines."""


def patience(max_newton: int) -> int:
    """Attempted steps between two looks at whether a column makes progress."""
    return max(100, PATIENCE // max_newton)


def stalled(
    elapsed: Tensor, reached: Tensor, length: Tensor, attempts: int, max_steps: int
) -> Tensor:
    """Return the rows that moved too little, from `reached` to `elapsed`, for so many attempts.

    All are `[row, 1]`.
    """
    return (elapsed - reached) * max(SHARE * max_steps, LEAST) < attempts * (length - reached)


def next_step(
    step: Tensor,
    error: Tensor,
    error_before: Tensor,
    accepted: Tensor,
    converged: Tensor,
    order: int,
) -> Tensor:
    """Proportional-integral control (Hairer & Wanner 1996, eq. IV.8.2), all tensors `[row, 1]`.

    Parameters
    ----------
    error, error_before : Tensor
        Error of this step and of the last accepted one, in units of the tolerance.
    order : int
        Power of the step with which the error falls.
    """
    if bool(accepted.all()):
        return step * (SAFETY * error ** (-0.7 / order) * error_before ** (0.4 / order)).clamp_(
            SHRINK, GROW
        )
    up = (SAFETY * error ** (-0.7 / order) * error_before ** (0.4 / order)).clamp(SHRINK, GROW)
    down = (SAFETY * error ** (-1 / order)).clamp(SHRINK, SAFETY)
    down = torch.where(converged, down, torch.full_like(down, NEWTON_CUT))
    return step * torch.where(accepted, up, down)
