"""A river as engines see it: columns that flow into each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class ByLevels(Exception):
    """The columns cannot be solved side by side, or one of them failed."""


@dataclass(frozen=True)
class River:
    """How the columns of a problem flow into each other.

    Attributes
    ----------
    below : Tensor of int64, [column]
        The column below each, -1 for none.
    order : sequence of Tensor of int64, [column of the level]
        Columns level by level; what flows into a level comes from those before it.
    parts : int
        Steps into which each interval is cut; what flows from column to column holds for a step.
    outflow, inflow : str
        Flux that becomes the forcing of the column below. What the problem gives for that flows in
        besides, from columns elsewhere.
    delayed : str, optional
        Forcing that arrives later.
    delay : Tensor, [column], optional
        By so many steps.
    """

    below: Tensor
    order: Sequence[Tensor]
    parts: int
    outflow: str
    inflow: str
    delayed: str | None = None
    delay: Tensor | None = None


def delayed(series: Tensor, steps: Tensor) -> Tensor:
    """Return a series [batch, time] that arrives some steps [batch] later, in parts of a step.

    Means over steps stay means; before the first step the first value is taken. The gradient in the
    delay is that of the series between two steps.
    """
    steps = steps.to(series)[:, None]
    whole = steps.detach().floor()
    part = steps - whole
    at = torch.arange(series.shape[1], device=series.device)[None] - whole.long()
    last = series.shape[1] - 1
    early, late = (series.gather(1, (at - k).clamp(0, last)) for k in (0, 1))
    return (1 - part) * early + part * late
