"""Slopes of functions of one number, element by element."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def along(
    f: Callable[[Tensor], tuple[Sequence[Tensor], Sequence[Tensor]]], x: Tensor
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Return values and slopes of some functions of a number, and further values; without a graph.

    Parameters
    ----------
    f : callable
        Returns what slopes are wanted of, and the further values, `[...]` each.
    x : Tensor, [...]
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        values, others = f(x)
        values = [y.expand_as(x) for y in values]
        # backwards: forward mode of torch takes the time of ten evaluations
        slopes = [torch.autograd.grad(y.sum(), x, retain_graph=True)[0] for y in values]
    return [y.detach() for y in values], slopes, [y.detach() for y in others]
