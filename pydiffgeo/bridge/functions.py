"""Julia functions of arrays as autograd functions of torch."""

from __future__ import annotations

import struct
import weakref
from typing import Any

import torch
from torch import Tensor

from pydiffgeo.bridge.runtime import STOPPED, interruptible, start
from pydiffgeo.errors import ParameterError
from pydiffgeo.second_derivatives import first_derivatives


class JuliaFunction:
    """See `pydiffgeo.julia.function`."""

    def __init__(self, f: Any, backend: str):
        self.julia = start()
        if isinstance(f, str):
            self.number = self.julia.call("function_open", f.encode(), backend.encode())
        else:
            self.number = int(self.julia.main.pydiffgeo_package.keep_function(f, backend))
        weakref.finalize(self, self.julia.forget, "function_close", self.number).atexit = False

    def __call__(self, x: Tensor) -> Tensor:
        if x.dtype not in (torch.float64, torch.float32) or x.ndim == 0:
            given = f"{x.dtype} {list(x.shape)}"
            raise ParameterError(f"a Julia function takes tensors [..., n] of float64 or float32, got {given}")
        y: Tensor = _Apply.apply(self, x)
        return y

    def call(self, x: Tensor, y: Tensor, gradient: Tensor | None = None) -> None:
        """Fill y [row, m] from x [row, n]; or, given weights y, the gradient [row, n]."""
        with interruptible() as ask:
            addresses = x.data_ptr(), y.data_ptr(), 0 if gradient is None else gradient.data_ptr()
            call = struct.pack("7q", len(x), x.shape[1], y.shape[1], ask, *addresses)
            if self.julia.call("function_call", self.number, _bits(x), call) == STOPPED:
                raise KeyboardInterrupt


def _bits(x: Tensor) -> int:
    return 64 if x.dtype == torch.float64 else 32


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, f: JuliaFunction, x: Tensor) -> Tensor:
        rows = x.detach().reshape(-1, x.shape[-1]).contiguous()
        size = f.julia.call("function_size", f.number, _bits(x), rows.data_ptr(), rows.shape[1]) if len(rows) else 0
        y = rows.new_empty(len(rows), max(size, 1))
        if len(rows):
            f.call(rows, y)
        ctx.f, ctx.shape = f, x.shape
        ctx.save_for_backward(rows)
        return y.view(*x.shape[:-1], *([size] if size else []))

    @staticmethod
    def backward(ctx: Any, weights: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        (rows,) = ctx.saved_tensors
        gradient = torch.zeros_like(rows)
        if len(rows):
            ctx.f.call(rows, weights.detach().reshape(len(rows), -1).contiguous(), gradient)
        return None, *first_derivatives([gradient.view(ctx.shape)])
