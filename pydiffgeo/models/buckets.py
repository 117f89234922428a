"""What models with a few stores share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from pydiffgeo.errors import ParameterError
from pydiffgeo.models.base import Linearisation, ProcessModel, Values
from pydiffgeo.models.smooth import stacked
from pydiffgeo.models.spec import ModelSpec

TYPICAL_RUNOFF = 0.5  # mm d-1: about the median of the CAMELS basins' slow runoff; only where stores start depends on it


class Buckets(ProcessModel):
    """A few stores whose storage is the state itself: a subclass defines `evaluate`, `slopes` and, if it has any, `drivers`."""

    structure = "dense"

    def inputs(self, forcing: Values, parameters: Values) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Forcing with its drivers, and parameters, as `evaluate` and `slopes` take them: `[...]`."""
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

    def linearise(self, state: Tensor, forcing: Values, parameters: Values) -> Linearisation:  # type: ignore[override]
        """Rates and their Jacobian as a full matrix."""
        rates, entries = self.slopes(state, forcing, parameters)
        jacobian = state.new_zeros(*state.shape, self.size)
        for (row, column), values in entries.items():
            jacobian[..., row, column] = values
        return Linearisation(state, torch.ones_like(state), stacked(rates), (jacobian,))


def not_negative(spec: ModelSpec, parameters: Mapping[str, Tensor], names: Iterable[str]) -> None:
    """Raise ParameterError where one of the named parameters, `[column or 1, ...]`, is negative."""
    for name in names:
        values = parameters[name].detach()
        if bool((values < 0).any()):
            at = (values < 0).nonzero()[0].tolist()
            raise ParameterError(
                f"parameter {name!r} is {float(values[tuple(at)]):g} at column {at[0]}; it must not be negative "
                f"({spec.parameters[name].unit})"
            )
