"""Thresholds of bucket models as smooth functions of a stated width, and their slopes.

All are defined for negative stores too, where Newton's method may pass: a store below zero is
refilled.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def positive(x: Tensor, width: float) -> Tensor:
    """max(x, 0), smooth: width log(1 + exp(x / width)).

    At most 0.7 width above max(x, 0), and e^-10 width at 10 widths.
    """
    # beyond the threshold torch returns x itself: the step there, width e^-50, is lost in rounding
    return softplus(x, 1 / width, 50.0)


def step_up(x: Tensor, width: float) -> Tensor:
    """Slope of `positive`: from 0 to 1 over some widths around 0."""
    return torch.sigmoid(x * (1 / width))


def available(store: Tensor, width: float) -> Tensor:
    """Part of a demand that a store can meet.

    0 where it is empty, 1/2 at `width`, near 1 far above; odd in the store.
    """
    return store / (store.abs() + width)


def available_and_slope(store: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """As `available`, and its slope width / (|store| + width)^2."""
    inverse = (store.abs() + width).reciprocal_()
    return store * inverse, (inverse * inverse).mul_(width)


def stacked(parts: list[Tensor]) -> Tensor:
    """Values of one shape as `[..., part]`, each part contiguous in memory.

    Operations on one of them stay fast.
    """
    return torch.stack(parts).movedim(0, -1)
