"""Gradients that cannot be differentiated again say so, instead of passing for constants."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def first_derivatives(gradients: Iterable[Tensor | None]) -> list[Tensor | None]:
    """The gradients that a `backward` returns; with create_graph=True, differentiating them again raises RuntimeError.

    torch's own `once_differentiable` does so only where the cotangents require grad: the gradient of a plain sum would silently
    count as a constant.
    """
    if not torch.is_grad_enabled():
        return list(gradients)
    return [None if g is None else _First.apply(g.detach().requires_grad_()) for g in gradients]


class _First(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:  # type: ignore[override]
        raise RuntimeError("solves have no second derivatives: do not differentiate their gradients again (no double backward)")
