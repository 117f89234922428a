"""Julia functions of arrays as autograd functions of torch."""

from __future__ import annotations

import struct
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pydiffgeo.bridge.runtime import STOPPED, interruptible, start
from pydiffgeo.errors import ParameterError
from pydiffgeo.second_derivatives import first_derivatives, refuse_transforms


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
            raise ParameterError(
                f"a Julia function takes tensors [..., n] of float64 or float32, got {given}."
            )
        refuse_transforms("a Julia function")
        y: Tensor = _Apply.apply(self, x)
        return y

    def call(self, x: Tensor, y: Tensor, gradient: Tensor | None = None) -> None:
        """Fill y [row, m] from x [row, n]; or, given weights y, the gradient [row, n]."""
        with interruptible() as ask:
            addresses = x.data_ptr(), y.data_ptr(), 0 if gradient is None else gradient.data_ptr()
            call = struct.pack("7q", len(x), x.shape[1], y.shape[1], ask, *addresses)
            if self.julia.call("function_call", self.number, _bits(x), call) == STOPPED:
                raise KeyboardInterrupt


def _rows(x: Tensor) -> Tensor:
    """The vectors of a batch `[row, n]`."""
    return x.detach().reshape(-1, x.shape[-1]).contiguous()


def _bits(x: Tensor) -> int:
    return 64 if x.dtype == torch.float64 else 32


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, f: JuliaFunction, x: Tensor) -> Tensor:
        rows = _rows(x)
        size = (
            f.julia.call("function_size", f.number, _bits(x), rows.data_ptr(), rows.shape[1])
            if len(rows)
            else 0
        )
        y = rows.new_empty(len(rows), max(size, 1))
        if len(rows):
            f.call(rows, y)
        ctx.f = f
        ctx.save_for_backward(x)
        return y.view(*x.shape[:-1], *([size] if size else []))

    @staticmethod
    def backward(ctx: Any, weights: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        f = ctx.f

        def pull(cotangents: Sequence[Tensor | None]) -> list[Tensor]:
            rows, (w,) = _rows(x), cotangents
            gradient = torch.zeros_like(rows)
            if len(rows) and w is not None:
                f.call(rows, w.reshape(len(rows), -1).contiguous(), gradient)
            return [gradient.view(x.shape)]

        return None, *first_derivatives("a Julia function", pull, [weights], [x], [True])
