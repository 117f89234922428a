"""A model whose states are solved in the order of their names, whatever that of its specification.

Sums over states and the elimination of a matrix round by their order. Models of one's own are
solved in one order, so that moving a table of their specification changes no digit of the results.
The models of this package keep theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pydiffgeo.models.base import Evaluation, Linearisation, ProcessModel, Values
from pydiffgeo.solvers.jacobian import linearisation


def order_by_name(model: ProcessModel) -> list[int] | None:
    """Return the places of the states in the order of their names; None where they stay."""
    names = list(model.spec.states)
    own = not type(model).__module__.startswith("pydiffgeo.")
    if not own or model.structure != "dense" or len(names) != model.size:
        return None
    order = sorted(range(len(names)), key=names.__getitem__)
    return None if order == sorted(order) else order


class Ordered(ProcessModel):
    """A dense model with its states in another order.

    Parameters
    ----------
    order : list of int
        For each place the state of `model` that stands there.
    """

    def __init__(self, model: ProcessModel, order: list[int]):
        names = list(model.spec.states)
        states = {names[i]: model.spec.states[names[i]] for i in order}
        self.model, self.order = model, order
        self.spec, self.size = replace(model.spec, states=states), model.size
        self.closures = model.closures
        for name in ("slopes", "guess", "ahead"):
            if getattr(model, name) is not None:
                setattr(self, name, getattr(self, f"_{name}"))
        self.linearise = self._linearise  # type: ignore[assignment]
        self.back = [order.index(i) for i in range(self.size)]

    def networks(self) -> dict[str, torch.nn.Module]:
        """Those of the model."""
        return self.model.networks()

    def given(self, state: Tensor) -> Tensor:
        """Return a state in the order of the model."""
        return state[..., self.back]

    def moved(self, x: Tensor, like: Tensor) -> Tensor:
        """Return values of the model in this order."""
        return x.expand_as(like)[..., self.order]

    def storage(self, state: Tensor, parameters: Values) -> Tensor:
        """Conserved storage."""
        u = self.given(state)
        return self.moved(self.model.storage(u, parameters), u)

    def evaluate(
        self, state: Tensor, forcing: Values, parameters: Values, fluxes: bool = False
    ) -> Evaluation:
        """Storage, rates and fluxes."""
        u = self.given(state)
        e = self.model.evaluate(u, forcing, parameters, fluxes=fluxes)
        return Evaluation(self.moved(e.storage, u), self.moved(e.rates, u), e.fluxes)

    def drivers(self, forcing: Values, parameters: Values) -> dict[str, Tensor]:
        """Those of the model."""
        return self.model.drivers(forcing, parameters)

    def _linearise(self, state: Tensor, forcing: Values, parameters: Values) -> Linearisation:
        u = self.given(state)
        lin = linearisation(self.model)(u, forcing, parameters)
        full = lin.jacobian[0].expand(*u.shape, self.size)
        storage, capacity, rates = (
            self.moved(x, u) for x in (lin.storage, lin.capacity, lin.rates)
        )
        jacobian = (full[..., self.order, :][..., self.order],)
        least = None if lin.least_capacity is None else self.moved(lin.least_capacity, u)
        return Linearisation(storage, capacity, rates, jacobian, least)

    def _slopes(self, state: Tensor, forcing: Values, parameters: Values) -> object:
        rates, entries = self.model.slopes(self.given(state), forcing, parameters)
        back = self.back
        return [rates[i] for i in self.order], {
            (back[i], back[j]): x for (i, j), x in entries.items()
        }

    def _guess(self, forcing: Values, parameters: Values) -> Tensor:
        found: Tensor = self.model.guess(forcing, parameters)
        return found[..., self.order]

    def _ahead(
        self,
        states: Sequence[Tensor],
        forcing: Values,
        parameters: Values,
        step: float | Tensor,
        iterations: int,
    ) -> list[Tensor]:
        own = [states[i] for i in self.back]
        found = self.model.ahead(own, forcing, parameters, step, iterations)
        return [found[i] for i in self.order]
