"""The recurrence of an LSTM on CPU, with its gradient written out.

Twice as fast as torch's own on long windows.

What the time goes into is memory: torch's LSTM records every operation of every day and takes fresh
pages for each. Here the matrices of all days are a work space that the next step uses again, the
tanh is twice a logistic function less one (torch's tanh takes six times as long), and the gradients
of the weights are one product over all days.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pydiffgeo.errors import ParameterError
from pydiffgeo.second_derivatives import first_derivatives, refuse_transforms

WHO = "the LSTM"
WorkSpace = tuple[Tensor, Tensor, Tensor, Tensor]
_free: defaultdict[tuple, list[WorkSpace]] = defaultdict(list)


def hidden_states(series: Tensor, base: Tensor, weight: Tensor, first: int = 0) -> Tensor:
    """Return the hidden states of an LSTM with a forget gate.

    Hochreiter & Schmidhuber (1997), doi:10.1162/neco.1997.9.8.1735.

    `series` is [time, batch, feature]; `base` [batch, 4 hidden] is what does not change in time of
    the gates, in torch's order: input, forget, cell, output; `weight` is [hidden + feature, 4
    hidden]; gradients flow through the days from `first` on. The states [time, batch, hidden] are
    part of the work space: use them before the backward pass, and do not keep them.
    DerivativeError: inside torch.func or forward mode, and when gradients are differentiated again.
    """
    refuse_transforms(WHO)
    states: Tensor = _Recurrence.apply(series, base, weight, first)  # type: ignore[no-untyped-call]
    return states


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, series: Tensor, base: Tensor, weight: Tensor, first: int) -> Tensor:
        days, batch, features = series.shape
        hidden = base.shape[1] // 4
        key = (days, batch, features, hidden, series.dtype)
        space = _free[key].pop() if _free[key] else _new(series, hidden)
        joined, gates, cells, squashed = space
        joined[:days, :, hidden:] = series
        joined[0, :, :hidden], cells[0] = 0.0, 0.0
        scale = torch.ones_like(base[0])
        scale[2 * hidden : 3 * hidden] = 2.0
        base, weight_scaled = base * scale, weight * scale
        states = joined[..., :hidden]
        for row, gate, cell, new_cell, tanh, new_state in zip(
            joined[:days].unbind(0),
            gates.unbind(0),
            cells[:-1].unbind(0),
            cells[1:].unbind(0),
            squashed.unbind(0),
            states[1:].unbind(0),
            strict=True,
        ):
            torch.addmm(base, row, weight_scaled, out=gate).sigmoid_()
            i, f, g, o = gate.chunk(4, 1)
            g.mul_(2).sub_(1)
            torch.mul(f, cell, out=new_cell).addcmul_(i, g)
            torch.mul(new_cell, 2, out=tanh).sigmoid_().mul_(2).sub_(1)
            torch.mul(o, tanh, out=new_state)
        ctx.key, ctx.first, ctx.space = key, first, space
        ctx.save_for_backward(series, base, weight)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        inputs, wanted = ctx.saved_tensors, ctx.needs_input_grad[:3]

        def pull(given: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
            (cotangent,) = given
            assert cotangent is not None
            return _gradients(ctx, cotangent, inputs[2])

        return *first_derivatives(WHO, pull, cotangents, inputs, wanted), None


def _gradients(ctx: Any, cotangent: Tensor, weight: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
    """Return those of series, base and weights; the work space is free after it."""
    if ctx.space is None:
        raise ParameterError("an LSTM keeps work space for one backward pass only; run it again.")
    joined, gates, cells, squashed = ctx.space
    hidden, first = cells.shape[2], ctx.first
    back = weight[:hidden].t().contiguous()
    dh, dc, spare = (torch.zeros_like(cells[0]) for _ in range(3))
    slope = torch.empty_like(gates[0])
    slope_g = slope[:, 2 * hidden : 3 * hidden]
    for t in range(len(gates) - 1, first - 1, -1):
        gate, tanh = gates[t], squashed[t]
        i, f, g, o = gate.chunk(4, 1)
        torch.mul(gate, gate, out=slope)
        torch.sub(gate, slope, out=slope)  # logistic: s (1 - s)
        torch.mul(g, g, out=slope_g).neg_().add_(1)  # tanh: 1 - g^2
        dh.add_(cotangent[t])
        dc.add_(torch.mul(dh, o, out=spare)).addcmul_(spare.mul_(tanh), tanh, value=-1)
        torch.mul(dh, tanh, out=o)  # the gates give way to their cotangents
        torch.mul(dc, f, out=spare)
        torch.mul(dc, cells[t], out=f)
        torch.mul(dc, g, out=dh)
        torch.mul(dc, i, out=g)
        i.copy_(dh)
        dc, spare = spare, dc
        gate.mul_(slope)
        torch.mm(gate, back, out=dh)
    used = gates[first:]
    d_weight = joined[first : len(gates)].flatten(0, 1).t() @ used.flatten(0, 1)
    d_series = None
    if ctx.needs_input_grad[0]:
        d_series = torch.zeros_like(joined[: len(gates), :, hidden:])
        d_series[first:] = used @ weight[hidden:].t()
    d_base = used.sum(0)
    _free[ctx.key].append(ctx.space)
    ctx.space = None
    return d_series, d_base, d_weight


def _new(series: Tensor, hidden: int) -> WorkSpace:
    """Return room for [state, forcing], gates, cells and their tanh."""
    days, batch, features = series.shape
    _free.clear()  # of another shape: memory holds one batch, not one of each shape
    joined = series.new_empty(days + 1, batch, hidden + features)
    gates, squashed = (
        series.new_empty(days, batch, 4 * hidden),
        series.new_empty(days, batch, hidden),
    )
    return joined, gates, series.new_empty(days + 1, batch, hidden), squashed
