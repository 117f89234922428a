"""Thresholds of bucket models as smooth functions of a stated width, and their slopes.

No exponential is evaluated. `positive`, `step_up` and `at_most_one` are polynomials between two
ends and exact beyond them: far from a threshold nothing is left of it. All are defined for negative
stores too, where Newton's method may pass: a store below zero is refilled.
"""

from __future__ import annotations

import torch
from torch import Tensor

REACH = 3.0  # widths beyond which a threshold is sharp


def _between(x: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """x no farther from 0 than 3 widths, and how far it has come between those, from 0 to 1."""
    reach = REACH * width
    cut = x.clamp(-reach, reach)
    return cut, (cut / (2 * reach)).add_(0.5)


def positive(x: Tensor, width: float) -> Tensor:
    """max(x, 0), smooth: exact beyond 3 widths, 0.5625 widths above it at 0.

    The integral of `step_up`: with s = (x / (3 width) + 1) / 2 between 0 and 1,
    3 width s^3 (2 - s). Its first two derivatives are continuous.
    """
    return positive_and_slope(x, width)[0]


def step_up(x: Tensor, width: float) -> Tensor:
    """Slope of `positive`: s^2 (3 - 2 s) from 0 to 1, with the slope 1 / (4 width) at 0."""
    _, s = _between(x, width)
    return s * s * (3 - 2 * s)


def positive_and_slope(x: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """As `positive`, and its slope as `step_up`."""
    cut, s = _between(x, width)
    square = s * s
    # of what was cut: one comparison says on which side of the end a number lies, so that rounding
    # there counts its slope neither twice nor never. At the end itself the slope is that of s
    beyond = torch.relu(x - cut)
    value = torch.addcmul(beyond, square * s, 2 - s, value=REACH * width)
    return value, square * (3 - 2 * s)


def with_tail(x: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """max(x, 0) as a hyperbola, (x + sqrt(x^2 + width^2)) / 2, half a width at 0; and its slope.

    For thresholds that may lie beyond all that happens: its slope falls with the square of the
    distance, and is never zero.
    """
    root = torch.addcmul(x.new_tensor(width * width), x, x).sqrt()
    # the sum of both would cancel far below the threshold
    value = torch.where(x < 0, (0.5 * width * width) / (root + x.abs()), 0.5 * (x + root))
    return value, value / root


def at_most_one(x: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """min(x, 1), smooth: x below 1 - 3 widths, 1 above 1 + 3 widths; and its slope."""
    over, slope = positive_and_slope(x - 1, width)
    return x - over, 1 - slope


def available(store: Tensor, width: float) -> Tensor:
    """Part of a demand that a store can meet.

    0 where it is empty, 1/2 at `width`, near 1 far above; odd in the store.
    """
    return store / (store.abs() + width)


def available_and_slope(store: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """As `available`, and its slope width / (|store| + width)^2."""
    inverse = (store.abs() + width).reciprocal_()
    return store * inverse, (inverse * inverse).mul_(width)


def left_of(total: Tensor, loss: Tensor, width: float) -> Tensor:
    """Store that is left of a total after a loss of what it can meet.

    S + loss S / (S + width) = total.
    """
    half = (total - loss - width) * 0.5
    return half + torch.addcmul(total.clamp_min(0) * width, half, half).sqrt_()


def stacked(parts: list[Tensor]) -> Tensor:
    """Values of one shape as `[..., part]`, each part contiguous in memory.

    Operations on one of them stay fast.
    """
    return torch.stack(parts).movedim(0, -1)
