"""Stages that begin some steps into a window, so that what stands before them can look back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from pydiffgeo.data.batch import Batch
from pydiffgeo.errors import DataError, SettingsError
from pydiffgeo.stages.base import Named, Series


def checked(steps: int, who: str) -> int:
    """Return a number of steps; SettingsError where it is none."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise SettingsError(f"{who}: start_after={steps!r} must be a whole number, 0 or more.")
    return steps


def later(
    steps: int, who: str, read: Named, parameters: Named, layers: Collection[str], batch: Batch
) -> tuple[Series, dict[str, Tensor], Batch]:
    """Return series [batch, time], parameters and a batch without their first steps.

    `layers` are the parameters [batch, layer], which stay. DataError: no step is left.
    """
    length = batch.length
    if steps >= length:
        raise DataError(
            f"{who} starts after {steps} steps of a window, which has {length}: give more steps "
            "before those that are wanted, or a smaller start_after."
        )
    series = Series({k: v[:, steps:] for k, v in read.items()})
    own = {
        k: v[:, steps:] if v.ndim == 2 and v.shape[1] == length and k not in layers else v
        for k, v in parameters.items()
    }
    rest = replace(
        batch, series=series, observed={}, spread={}, start=batch.start + steps,
        warm_up=max(0, batch.warm_up - steps),
    )  # fmt: skip
    return series, own, rest


def behind(steps: int, found: Mapping[str, Tensor]) -> Series:
    """Return series with so many steps before them on which nothing is known: NaN."""
    failed: dict[int, str] = getattr(found, "failed", {})
    if not steps:
        return Series(found, failed)
    gaps = {k: v.new_full((len(v), steps, *v.shape[2:]), torch.nan) for k, v in found.items()}
    return Series({k: torch.cat([gaps[k], v], 1) for k, v in found.items()}, failed)
