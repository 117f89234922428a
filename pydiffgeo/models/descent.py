"""Gradient descent on all data at once, for searches that need no batches and no checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from tqdm import tqdm

FINAL = 0.03  # share of the learning rates at the end
LARGEST = 1.0  # norm of the gradient


def descend(
    loss: Callable[[], Tensor],
    rates: Mapping[float, Iterable[nn.Parameter]],
    steps: int,
    label: str | None = None,
) -> None:
    """Minimise a loss by Adam, whose rates fall along a cosine to 0.03 of their start.

    Gradients are clipped to norm 1.

    Parameters
    ----------
    loss : callable
        Evaluates what is to be small, a tensor of one number.
    rates : mapping of float to iterable of nn.Parameter
        Parameters by the learning rate at which they begin.
    steps : int
        Evaluations.
    label : str, optional
        Of the progress bar; none without it.
    """
    groups = {rate: list(given) for rate, given in rates.items()}
    optimiser = torch.optim.Adam([{"params": p, "lr": rate} for rate, p in groups.items() if p])
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda k: FINAL + (1 - FINAL) * 0.5 * (1 + math.cos(math.pi * k / steps))
    )
    for _ in (
        bar := tqdm(range(steps), desc=label, leave=False, mininterval=1, disable=label is None)
    ):
        value = loss()
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([p for group in groups.values() for p in group], LARGEST)
        optimiser.step()
        schedule.step()
        bar.set_postfix_str(f"loss {float(value.detach()):.3g}", refresh=False)
