"""The operations on a model that are repeated in every iteration, eager or compiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pydiffgeo.models.base import Evaluation, Linearisation, ProcessModel, Values
from pydiffgeo.solvers.algebraic import held, only, storing
from pydiffgeo.solvers.jacobian import linearisation, slopes_of
from pydiffgeo.solvers.linear import Matrix, structure
from pydiffgeo.solvers.small_matrices import inverse

FALL = 0.9  # part of what is in a store by which an update of Newton may lower it,
# and part of its typical magnitude by which it may besides, so that it can pass zero if it must
BELOW = 1e-3

KEPT = "_compiled_kernels"  # name under which a model keeps its own


def lowest(u: Tensor, lower: Tensor, typical: Tensor) -> Tensor:
    """The lowest state that one update of Newton may lead to.

    Minus infinity where there is no lower bound.
    """
    return u - (FALL * (u - lower).abs() + BELOW * typical)


class Kernels:
    """Rates, Jacobian and Newton's system of a model.

    Attributes
    ----------
    evaluate, linearise : as in ProcessModel
        States that store nothing have no storage and no capacity, whatever the model says.
    slopes : those of the model, or by differentiation where it has none of its own
    inverse : as in `small_matrices`
    linear : linear algebra of the model's structure
    model : ProcessModel
    """

    def __init__(self, model: ProcessModel, compile: bool = False):
        self.model = model
        states = [*model.spec.states.values()]  # one serves for all cells
        states = states if len(states) == 1 else model.spec.each_state(model.size)
        self.states = [(s.lower, s.scale) for s in states]
        self.stores = [s.lower > -math.inf for s in states]
        self.linear = structure(model.structure, model.bandwidth)
        self.evaluate = model.evaluate
        self.linearise = linearisation(model)
        self.slopes, self.inverse = slopes_of(model), inverse
        self.compiled = compile
        if model.spec.algebraic:
            self.evaluate, self.linearise = self._evaluate, self._linearise
        if compile:
            wrap: Callable[..., Any] = torch.compile
            self.evaluate = wrap(self.evaluate, dynamic=True)
            self.system = wrap(self.system, dynamic=True)  # type: ignore[method-assign]
            self.linearise = wrap(self.linearise, dynamic=True)
            self.update = wrap(self.update, dynamic=True)  # type: ignore[method-assign]
            self.inverse = wrap(inverse, dynamic=True)
            if model.slopes is not None:
                self.slopes = wrap(model.slopes, dynamic=True)

    def _evaluate(
        self, state: Tensor, forcing: Values, parameters: Values, fluxes: bool = False
    ) -> Evaluation:
        e = self.model.evaluate(state, forcing, parameters, fluxes=fluxes)
        return e._replace(storage=only(storing(self.model, state), e.storage))

    def _linearise(self, state: Tensor, forcing: Values, parameters: Values) -> Linearisation:
        lin = linearisation(self.model)(state, forcing, parameters)
        stored = storing(self.model, state)
        return lin._replace(storage=only(stored, lin.storage), capacity=only(stored, lin.capacity))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()  # who copies or pickles a model compiles anew

    def system(
        self,
        u: Tensor,
        target: Tensor,
        step: Tensor,
        forcing: Values,
        parameters: Values,
        unseen: Tensor | None = None,
    ) -> tuple[Matrix, Tensor, Tensor]:
        """Return matrix C - step J, right-hand side and capacity C of each row.

        The right-hand side is target - m(u) + step f(u).

        `unseen` `[row, 1]` are the rows whose capacity is at least the model's least one.
        """
        lin = self.linearise(u, forcing, parameters)
        capacity = lin.capacity
        if unseen is not None and lin.least_capacity is not None:
            capacity = torch.where(unseen, torch.maximum(capacity, lin.least_capacity), capacity)
            capacity = only(storing(self.model, u), capacity)
        matrix = self.linear.assemble(capacity, lin.jacobian, step)
        return matrix, torch.addcmul(target - lin.storage, step, lin.rates), capacity

    def update(self, u: Tensor, d: Tensor, scale: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state after a limited update, and its size in tolerances `[row, 1]`.

        Updates are d / (1 + |d| reach); those of a state with a lower bound are limited by that
        alone.
        """
        size = torch.linalg.vector_norm(d * scale, dim=-1, keepdim=True) * d.shape[-1] ** -0.5
        if not any(self.stores):
            return self._stopped(u, u + d / (d * reach).abs_().add_(1.0)), size
        lower, typical = u.new_tensor(self.states).unbind(-1)
        stored = torch.maximum(u + d, lowest(u, lower, typical))
        if all(self.stores):
            return stored, size
        free = self._stopped(u, u + d / (d * reach).abs_().add_(1.0))
        return torch.where(lower > -math.inf, stored, free), size

    def _stopped(self, u: Tensor, after: Tensor) -> Tensor:
        """States after an update; those that would cross a bend of the storage stop there."""
        bend = self.model.bend(u)
        return after if bend is None else torch.where((u - bend) * (after - bend) < 0, bend, after)


class Consistent(Kernels):
    """Newton's system of the algebraic equations alone: what is stored stays as it is."""

    def system(
        self,
        u: Tensor,
        target: Tensor,
        step: Tensor,
        forcing: Values,
        parameters: Values,
        unseen: Tensor | None = None,
    ) -> tuple[Matrix, Tensor, Tensor]:
        """Return matrix, right-hand side and capacity; target and step are not read."""
        lin, stored = self.linearise(u, forcing, parameters), storing(self.model, u)
        assert stored is not None
        right = torch.where(stored, 0.0, lin.rates.expand_as(u))
        return held(self.linear, lin.jacobian, stored, u), right, lin.capacity


def kept_by(model: ProcessModel, name: str, make: Callable[[], Any]) -> Any:
    """Return what a model keeps under a name, which lives as long as it does.

    It is made where there is none, or that of the model that this one is a copy of.
    """
    found = vars(model).get(name)
    if found is None or found.model is not model:
        found = vars(model)[name] = make()
    return found


def kernels(model: ProcessModel, compile: bool) -> Kernels:
    """Kernels of a model, which keeps compiled ones."""
    if not compile:
        return Kernels(model)
    found: Kernels = kept_by(model, KEPT, lambda: Kernels(model, compile=True))
    return found
