"""Tensors as Julia sees them: the address of their memory and the strides of column, time and layer."""

from __future__ import annotations

import torch
from torch import Tensor


def field(x: Tensor) -> tuple[int, int, int, int]:
    """Address, and strides of column, time and layer, of `[column or 1, (time,) width]`; zero where one value is shared."""
    shape, strides = x.shape, x.stride()
    time = strides[1] if x.ndim == 3 and shape[1] > 1 else 0
    return x.data_ptr(), strides[0] if shape[0] > 1 else 0, time, strides[-1] if shape[-1] > 1 else 0


def gradient_like(x: Tensor, columns: int) -> Tensor:
    """Zeros for the gradient of every column, also of what all columns share: no two threads add to one number."""
    return torch.zeros(columns, *x.shape[1:], dtype=x.dtype)


def shared(gradient: Tensor, x: Tensor) -> Tensor:
    """Sum over the columns where they share one value."""
    return gradient.sum(0, keepdim=True) if x.shape[0] == 1 and gradient.shape[0] > 1 else gradient
