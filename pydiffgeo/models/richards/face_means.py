"""Conductivity at a face from those of its two sides, with its derivatives in both."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Mean = tuple[Tensor, Tensor | float, Tensor | float]
"""Mean conductivity and its derivatives in the upper and in the lower conductivity."""


def arithmetic(upper: Tensor, lower: Tensor, gradient: Tensor) -> Mean:
    """(K1 + K2) / 2: second order in space, and lets a wetting front enter dry soil."""
    return (upper + lower) * 0.5, 0.5, 0.5


def geometric(upper: Tensor, lower: Tensor, gradient: Tensor) -> Mean:
    """sqrt(K1 K2)."""
    mean = torch.sqrt(upper * lower)
    return mean, 0.5 * mean / upper, 0.5 * mean / lower


def harmonic(upper: Tensor, lower: Tensor, gradient: Tensor) -> Mean:
    """2 K1 K2 / (K1 + K2): the exact mean of two resistances in series.

    It blocks a front that enters very dry soil.
    """
    r = 2 / (upper + lower)
    return upper * lower * r, 0.5 * (lower * r) ** 2, 0.5 * (upper * r) ** 2


def upstream(upper: Tensor, lower: Tensor, gradient: Tensor) -> Mean:
    """Conductivity of the side the water comes from: first order in space, monotone."""
    down = (gradient < 0).to(upper.dtype)  # the flux is -K gradient
    return torch.where(gradient < 0, upper, lower), down, 1 - down


FACE_MEANS: dict[str, Callable[[Tensor, Tensor, Tensor], Mean]] = {
    "arithmetic": arithmetic,
    "geometric": geometric,
    "harmonic": harmonic,
    "upstream": upstream,
}
