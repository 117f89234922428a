"""Step-size control, one step per column."""

from __future__ import annotations

import torch
from torch import Tensor

SAFETY = 0.9
SHRINK = 0.2  # a step is never cut to less than this fraction for its error,
GROW = 5.0  # nor lengthened by more than this factor
NEWTON_CUT = 0.25  # cut where Newton did not converge


def next_step(step: Tensor, error: Tensor, error_before: Tensor, accepted: Tensor, converged: Tensor, order: int) -> Tensor:
    """Proportional-integral control (Hairer & Wanner 1996, eq. IV.8.2), all tensors `[row, 1]`.

    Parameters
    ----------
    error, error_before : Tensor
        Error of this step and of the last accepted one, in units of the tolerance.
    order : int
        Power of the step with which the error falls.
    """
    if bool(accepted.all()):
        return step * (SAFETY * error ** (-0.7 / order) * error_before ** (0.4 / order)).clamp_(SHRINK, GROW)
    up = (SAFETY * error ** (-0.7 / order) * error_before ** (0.4 / order)).clamp(SHRINK, GROW)
    down = (SAFETY * error ** (-1 / order)).clamp(SHRINK, SAFETY)
    down = torch.where(converged, down, torch.full_like(down, NEWTON_CUT))
    return step * torch.where(accepted, up, down)
