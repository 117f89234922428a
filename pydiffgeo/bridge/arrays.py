"""Tensors as Julia sees them: addresses, and strides of column, time and layer.

The address of their memory and the strides of column, time and layer.
"""

from __future__ import annotations

import math
import weakref

import numpy as np
import torch
from torch import Tensor


def field(x: Tensor) -> tuple[int, int, int, int]:
    """Address, and strides of column, time and layer, of `[column or 1, (time,) width]`.

    A stride is zero where one value is shared.
    """
    shape, strides = x.shape, x.stride()
    time = strides[1] if x.ndim == 3 and shape[1] > 1 else 0
    return (
        x.data_ptr(),
        strides[0] if shape[0] > 1 else 0,
        time,
        strides[-1] if shape[-1] > 1 else 0,
    )


def gradient_like(x: Tensor, columns: int) -> Tensor:
    """Zeros for the gradient of every column, also of what all columns share.

    No two threads add to one number.
    """
    return torch.zeros(columns, *x.shape[1:], dtype=x.dtype)


def shared(gradient: Tensor, x: Tensor) -> Tensor:
    """Sum over the columns where they share one value."""
    return gradient.sum(0, keepdim=True) if x.shape[0] == 1 and gradient.shape[0] > 1 else gradient


REUSED_FROM = 1 << 20  # bytes: less than that the C library hands out again by itself
KEPT_FREE = 1 << 30  # bytes, as much as Julia keeps for its record
# by size; a tensor may die at any moment and in any thread, so each access is one step of Python
_free: dict[int, list[np.ndarray]] = {}


def results(*shape: int, dtype: torch.dtype) -> Tensor:
    """A tensor of any values, in memory of earlier ones that nobody holds any more.

    The system takes a page fault per 4 KiB.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < REUSED_FROM:
        return torch.empty(shape, dtype=dtype)
    try:
        memory = _free[size].pop()
    except LookupError:
        memory = np.empty(size, np.uint8)
    lease = memory[:]  # what torch holds: memory is free again when it dies
    weakref.finalize(lease, _give_back, memory).atexit = False
    return torch.from_numpy(lease).view(dtype).view(shape)


def _give_back(memory: np.ndarray) -> None:
    kept = sum(size * len(same) for size, same in list(_free.items()))
    if kept + memory.nbytes > KEPT_FREE:
        _free.clear()
    if memory.nbytes <= KEPT_FREE:
        _free.setdefault(memory.nbytes, []).append(memory)
