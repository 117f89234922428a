"""What models of the water in streams share: one state, whose rate is linear in it but for ice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.models.buckets import Buckets
from pydiffgeo.models.slots import share

Argument = tuple[str, Callable[[Tensor, Values], Tensor]]


class Stream(Buckets):
    """A stretch of water whose slots read nothing but forcing.

    `arguments` has for each slot its inputs: the name of a forcing each, and a function of it and
    of the parameters.
    """

    arguments: ClassVar[Mapping[str, tuple[Argument, ...]]] = {}  # type: ignore[assignment]

    def slot_inputs(self, slot: str, series: Values, parameters: Values) -> tuple[Tensor, ...]:
        """Inputs of a slot, `[...]` each, from forcing by name and parameters, all `[...]`."""
        return tuple(f(series[name], parameters) for name, f in self.arguments[slot])

    def in_slot(self, slot: str, forcing: Values, parameters: Values) -> Tensor:
        """Return what stands in a slot, `[...]`: its network, or else its formula."""
        inputs = self.slot_inputs(slot, forcing, parameters)
        formula = self.formulas[slot]
        if slot not in self.closures:
            return formula(parameters, *inputs)
        return share(self.spec.slots[slot], self.closures[slot], formula, inputs, parameters, None)
