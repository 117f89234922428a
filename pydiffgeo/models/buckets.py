"""Common parts of models with a few stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pydiffgeo.models.base import ProcessModel, Values
from pydiffgeo.models.slots import Formula, filled, formula_of, share, share_and_slope
from pydiffgeo.models.spec_files import load_spec

# mm d-1: about the median of the CAMELS basins' slow runoff; only where stores start depends on it
TYPICAL_RUNOFF = 0.5


class Buckets(ProcessModel):
    """A few stores whose storage is the state itself.

    A subclass defines `evaluate`, `slopes` and, if it has any, `drivers`.

    `formulas` has the formula of each slot as a function of the parameters and the slot's input;
    `arguments` what that input is made of: the name of a state or of a forcing, and a function of
    it and of the parameters. `without` names parameters of options that are not taken.
    """

    structure = "dense"
    formulas: ClassVar[Mapping[str, Formula]] = {}
    arguments: ClassVar[Mapping[str, tuple[str, Callable[[Tensor, Values], Tensor]]]] = {}

    def __init__(
        self, name: str, closures: Mapping[str, nn.Module] | None, without: Iterable[str] = ()
    ) -> None:
        whole = load_spec(name)
        used = {k: v for k, v in whole.parameters.items() if k not in without}
        self.spec, self.closures, self.replaced = filled(replace(whole, parameters=used), closures)
        self.size = len(self.spec.states)

    def formula(
        self, slot: str, parameters: Mapping[str, float] | None = None
    ) -> Callable[..., Tensor]:
        """Return the formula of a slot as a function of its inputs, `[...]` each.

        See `pydiffgeo.fit_closure`.

        Parameters
        ----------
        parameters : mapping of str to float, optional
            Parameters in their units; those not given take the default of the specification.
        """
        return formula_of(self.spec.name, self.formulas, slot, parameters)

    def with_defaults(self, parameters: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return all parameters of the specification as tensors, with defaults."""
        all_ = {k: parameters.get(k, s.default) for k, s in self.spec.parameters.items()}
        return {
            k: v if isinstance(v, Tensor) else torch.as_tensor(v, dtype=torch.float64)
            for k, v in all_.items()
        }

    def slot_inputs(self, slot: str, series: Values, parameters: Values) -> tuple[Tensor, ...]:
        """Inputs of a slot, `[...]` each, from states and forcing by name, and parameters."""
        name, argument = self.arguments[slot]
        return (argument(series[name], parameters),)

    def share(
        self, slot: str, parameters: Values, value: Tensor, guard: Tensor | None = None
    ) -> Tensor:
        """Return the output of the closure in a filled slot; see `slots.share`."""
        x = self.arguments[slot][1](value, parameters)
        return share(
            self.spec.slots[slot], self.closures[slot], self.formulas[slot], (x,), parameters, guard
        )

    def share_and_slope(
        self,
        slot: str,
        parameters: Values,
        x: Tensor,
        by_store: Tensor,
        guard: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the output of the closure in a slot at the input `x`, and its slope in the store.

        `by_store` is the slope of `x` in the store.
        """
        y, by_input, by_guard = share_and_slope(
            self.spec.slots[slot], self.closures[slot], self.formulas[slot], x, parameters, guard
        )
        return y, torch.addcmul(by_guard, by_input, by_store)

    def inputs(
        self, forcing: Values, parameters: Values
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Forcing with its drivers, and parameters, as `evaluate` and `slopes` take them.

        `[...]`.
        """
        if any(k not in self.spec.forcings for k in forcing):  # the solver has computed the drivers
            f = {k: v[..., 0] for k, v in forcing.items()}
        else:
            f = {k: v[..., 0] for k, v in {**forcing, **self.drivers(forcing, parameters)}.items()}
        return f, {k: v[..., 0] for k, v in parameters.items()}

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        """Rates of change of the stores."""
        return self.evaluate(state, forcing, parameters).rates

    def fluxes(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        """The fluxes of the specification."""
        return self.evaluate(state, forcing, parameters, fluxes=True).fluxes
