"""Jacobian of the rates: by hand where a model has it, or by forward-mode differentiation."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

from pydiffgeo.models.base import Entries, Linearisation, ProcessModel, Values
from pydiffgeo.models.smooth import stacked

Linearise = Callable[[Tensor, Values, Values], Linearisation]
Slopes = Callable[[Tensor, Values, Values], tuple[list[Tensor], Entries]]


def linearisation(model: ProcessModel) -> Linearise:
    """The model's own `linearise`, or one from its `slopes`, or one by `coloured`."""
    own = cast("Linearise | None", model.linearise)
    if own is not None:
        return own
    if model.slopes is not None and type(model).storage is ProcessModel.storage:
        return lambda u, f, p: from_slopes(model, u, f, p)
    return lambda u, f, p: coloured(model, u, f, p)


def from_slopes(
    model: ProcessModel, state: Tensor, forcing: Values, parameters: Values
) -> Linearisation:
    """Linearise a model that stores its states, with its `slopes` as a full matrix."""
    rates, entries = model.slopes(state, forcing, parameters)
    jacobian = state.new_zeros(*state.shape, model.size)
    for (row, column), values in entries.items():
        jacobian[..., row, column] = values
    return Linearisation(state, torch.ones_like(state), stacked(rates), (jacobian,))


def coloured(
    model: ProcessModel, state: Tensor, forcing: Values, parameters: Values
) -> Linearisation:
    """Linearise a model by as many tangents as its structure has colours.

    Two states share a colour where no rate depends on both: 3 tangents for a tridiagonal Jacobian,
    lower + upper + 1 for a banded one, one per state for a dense one. Capacity comes from the same
    pass, since the storage is elementwise.
    """
    n = model.size
    below, above = {"dense": (n - 1, n - 1), "tridiagonal": (1, 1), "banded": model.bandwidth}[
        model.structure
    ]
    colours = min(n, below + above + 1)
    index = torch.arange(n, device=state.device)
    seed = (index % colours == torch.arange(colours, device=state.device)[:, None]).to(state.dtype)
    seed = seed.view(colours, *[1] * (state.ndim - 1), n).expand(colours, *state.shape)
    # torch switches forward mode off inside an autograd function; nothing here requires grad, so no
    # graph is built
    with torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True), forward_ad.dual_level():
        dual = forward_ad.make_dual(state.detach().expand_as(seed).contiguous(), seed.contiguous())
        out = model.evaluate(dual, forcing, parameters)
        # what does not depend on the state has another shape
        storage, d_storage = forward_ad.unpack_dual(out.storage.expand_as(seed))
        rates, d_rates = forward_ad.unpack_dual(out.rates.expand_as(seed))
        zero = torch.zeros_like(seed)
        d_storage = zero if d_storage is None else d_storage
        d_rates = zero if d_rates is None else d_rates
    at = (index % colours).expand(state.shape)[None]
    capacity = d_storage.gather(0, at)[0]
    if model.structure == "dense":
        jacobian: tuple[Tensor, ...] = (d_rates.movedim(0, -1),)
    else:
        jacobian = tuple(
            _diagonal(d_rates, index + offset, colours) for offset in range(-below, above + 1)
        )
    return Linearisation(storage[0].detach(), capacity, rates[0].detach(), jacobian)


def _diagonal(tangents: Tensor, column: Tensor, colours: int) -> Tensor:
    """Derivative of rate i in state column[i], zero where there is no such state."""
    n = tangents.shape[-1]
    at = (column % colours).expand(tangents.shape[1:])[None]
    inside = (column >= 0) & (column < n)
    return tangents.gather(0, at)[0] * inside


def slopes_of(model: ProcessModel) -> Slopes:
    """The model's own `slopes`, or those by forward-mode differentiation of its rates."""
    if model.slopes is not None:
        return model.slopes
    places = [(i, j) for i in range(model.size) for j in range(model.size)]

    def by_differentiation(
        state: Tensor, forcing: Values, parameters: Values
    ) -> tuple[list[Tensor], Entries]:
        lin = coloured(model, state, forcing, parameters)
        rates = lin.rates.expand_as(state)
        return list(rates.unbind(-1)), {(i, j): lin.jacobian[0][..., i, j] for i, j in places}

    return by_differentiation
