"""Operations on the rows of a chunk of a model that stores nothing, eager or compiled.

A small batch costs as much as its operations: some 1,000 of torch, each of them microseconds. All
of a chunk compiled into one loop is a few calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pydiffgeo.models.base import ProcessModel, Values
from pydiffgeo.solvers.kernels import kept_by
from pydiffgeo.solvers.problem import take
from pydiffgeo.solvers.stationary_search import Rows

KEPT = "_compiled_chunk"  # name under which a model keeps its own
Inputs = tuple[dict[str, Tensor], dict[str, Tensor]]
"""Forcing and parameters of rows, `[row or 1, width]`."""


class Found(NamedTuple):
    """What a search has come to.

    `states` and `fluxes` are `[row, ...]`, `solved`, `iterations` and `doubtful` `[row]`. The last
    are the rows beside whose state there may be another that is meant; None: no row.
    """

    states: Tensor
    fluxes: Tensor
    solved: Tensor
    iterations: Tensor
    doubtful: Tensor | None


def searched(model: ProcessModel, begin: Tensor, forcing: Values, p: Values) -> Rows:
    """Return the search for the states of rows, from the guess of the model or `[row, size]`."""
    forcing = {**forcing, **model.drivers(forcing, p)}
    if model.guess is not None:
        guess = model.guess(forcing, p).expand_as(begin)
        begin = torch.where(torch.isfinite(guess), guess, begin)
    return Rows(model, begin.T.contiguous(), forcing, p)


def hurry(model: ProcessModel, begin: Tensor, forcing: Values, p: Values) -> Found:
    """Search by a few iterations of Newton's method."""
    rows = searched(model, begin, forcing, p)
    rows.hurry()
    return found_by(rows)


def found_by(rows: Rows) -> Found:
    """States and fluxes that a search has come to."""
    model, states = rows.model, rows.states.movedim(0, -1)
    e = model.evaluate(states, rows.forcing, rows.parameters, fluxes=True)
    fluxes, doubtful = e.fluxes.expand(len(states), -1), None
    if model.doubtful is not None:
        doubtful = model.doubtful(states, fluxes, rows.forcing, rows.parameters)
    return Found(states, fluxes, rows.solved, rows.iterations, doubtful)


def preferred(
    model: ProcessModel, states: Tensor, forcing: Values, p: Values
) -> tuple[Found, Tensor]:
    """Return roots that are meant in place of some `[row, size]`, and which rows have one."""
    forcing = {**forcing, **model.drivers(forcing, p)}

    def search(model: ProcessModel, guess: Tensor, forcing: Values, p: Values) -> Tensor:
        inner = Rows(model, guess.T.contiguous(), forcing, p)
        inner.solve()
        return torch.where(inner.solved, inner.states, math.nan).T

    begin = model.preferred(states, forcing, p, search).T
    which = torch.isfinite(begin).all(0).nonzero()[:, 0]
    others = Rows(model, begin[:, which].contiguous(), take(forcing, which), take(p, which))
    others.solve()
    others.states = torch.where(others.solved, others.states, states.T[:, which])
    others.solved[:] = True
    return found_by(others), which


class Compiled:
    """`hurry`, and the way back, as one loop each.

    They are given copies: views are compiled for anew with every shape of what they look at.
    """

    def __init__(self, model: ProcessModel):
        self.model = model
        wrap: Callable[..., Any] = torch.compile
        self._hurry = wrap(self._hurry, dynamic=True)  # type: ignore[method-assign]
        self._pull = wrap(self._pull, dynamic=True)  # type: ignore[method-assign]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()  # who copies or pickles a model compiles anew

    def hurry(self, begin: Tensor, forcing: Values, p: Values) -> Found:
        """As `hurry`, with as many iterations for every row."""
        found: Found = self._hurry(begin.clone(), _copied(forcing), _copied(p))
        return found

    def _hurry(self, begin: Tensor, forcing: Values, p: Values) -> Found:
        rows = searched(self.model, begin, forcing, p)
        rows.hurry_alike()
        return found_by(rows)

    def pull(
        self, wanted: Inputs, others: Inputs, states: Tensor, on_states: Tensor, on_fluxes: Tensor
    ) -> Inputs:
        """Return the cotangents of the inputs that are wanted.

        Parameters
        ----------
        wanted, others : pair of dict of Tensor
        states, on_states, on_fluxes : Tensor, [row, ...]
            The states, and the cotangents of states and fluxes.
        """
        found: Inputs = self._pull(
            (_copied(wanted[0]), _copied(wanted[1])), (_copied(others[0]), _copied(others[1])),
            states.clone(), on_states.clone(), on_fluxes.clone(),
        )  # fmt: skip
        return found

    def _pull(
        self, wanted: Inputs, others: Inputs, states: Tensor, on_states: Tensor, on_fluxes: Tensor
    ) -> Inputs:
        model = self.model

        def outputs(forcing: Values, p: Values, u: Tensor) -> tuple[Tensor, Tensor]:
            forcing, p = {**others[0], **forcing}, {**others[1], **p}
            forcing = {**forcing, **model.drivers(forcing, p)}
            e = model.evaluate(u, forcing, p, fluxes=True)
            return e.fluxes.expand_as(on_fluxes), e.rates.expand_as(u)

        back = torch.func.vjp(outputs, *wanted, states)[1]
        right = on_states + back((on_fluxes, torch.zeros_like(states)))[2]
        forcing, p = ({**x, **y} for x, y in zip(others, wanted, strict=True))
        (slope,) = model.slopes(states, {**forcing, **model.drivers(forcing, p)}, p)[1].values()
        on_forcing, on_p, _ = back((on_fluxes, -right / slope.expand(len(states))[:, None]))
        return on_forcing, on_p


def _copied(values: Values) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in values.items()}


def compiled(model: ProcessModel) -> Compiled | None:
    """What is compiled of a model of one state, which the model keeps; None for others."""
    if model.size > 1 or model.slopes is None:
        return None
    found: Compiled = kept_by(model, KEPT, lambda: Compiled(model))
    return found
