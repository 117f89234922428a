"""Record of the forward solve, from which the gradient is computed."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Entry:
    """Accepted steps, or evaluations of the rates at the start of an interval, of some columns.

    Attributes
    ----------
    column, interval : Tensor, [row]
        Which column of the chunk, in which forcing interval.
    states : list of Tensor, [row, size]
        States of the implicit stages of a step; for a start, the one state at which the rates were
        evaluated.
    step : Tensor, [row, 1], or None
        Step size; None for a start.
    landed : Tensor, [row], or None
        Whether the step ends its interval; None for a start.
    """

    column: Tensor
    interval: Tensor
    states: list[Tensor]
    step: Tensor | None = None
    landed: Tensor | None = None


@dataclass
class Record:
    """Entries in the order of the forward solve."""

    entries: list[Entry] = field(default_factory=list)

    def bytes(self) -> int:
        """Memory of the recorded tensors, each counted once."""
        tensors = [
            t
            for e in self.entries
            for t in (*e.states, e.column, e.interval, e.step, e.landed)
            if t is not None
        ]
        return sum({t.data_ptr(): t.nbytes for t in tensors}.values())


def step_table(taken: list[tuple[Tensor, Tensor]], lengths: Tensor, columns: int) -> Tensor:
    """Return the accepted steps of each column, `[column, step]`, padded with zeros.

    From pairs (columns, steps) in order.

    The lengths of the intervals say in which precision and on which device.
    """
    if not taken:
        return lengths.new_zeros(columns, 0)
    column, step = torch.cat([c for c, _ in taken]), torch.cat([s[:, 0] for _, s in taken])
    order = torch.argsort(column, stable=True)
    counts = torch.bincount(column, minlength=columns)
    out = step.new_zeros(columns, int(counts.max()))
    within = (
        torch.arange(len(column), device=column.device) - (counts.cumsum(0) - counts)[column[order]]
    )
    out[column[order], within] = step[order]
    return out
