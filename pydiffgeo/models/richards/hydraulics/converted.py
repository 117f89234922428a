"""A user's curves in the user's units, for a model that computes in cm and hours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.models.richards.hydraulics.base import Curves, SoilHydraulics
from pydiffgeo.models.spec import ParameterSpec
from pydiffgeo.units import Units


class ConvertedHydraulics(SoilHydraulics):
    """Curves in a user's units, as functions of heads in cm.

    Parameters
    ----------
    hydraulics : SoilHydraulics
        Written in `units`.
    units : Units
    specs : mapping of str to ParameterSpec
        Of the parameters that the Richards model knows, in cm and hours. Own parameters are passed
        on as they are.
    """

    name = "converted"

    def __init__(
        self, hydraulics: SoilHydraulics, units: Units, specs: Mapping[str, ParameterSpec]
    ):
        self.hydraulics, self.bends = hydraulics, hydraulics.bends
        self.parameters, self.own, self.reads = (
            hydraulics.parameters,
            hydraulics.own,
            hydraulics.reads,
        )
        self._factors = {
            k: units.factor(specs[k].unit)
            for k in self.parameters
            if k not in self.own and k in specs
        }
        self._head, self._K = units.factor("cm"), units.factor("cm h-1")

    def derive(self, p: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the curves need, from parameters in cm and hours."""
        return self.hydraulics.derive({k: v / self._factors.get(k, 1.0) for k, v in p.items()})

    def curves(self, psi: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Water content and conductivity (cm/h) at the head psi (cm)."""
        theta, K = self.hydraulics.curves(psi / self._head, p)
        return theta, K * self._K

    def slopes(self, psi: Tensor, p: Values) -> Curves:
        """The curves and their derivatives in psi."""
        c = self.hydraulics.slopes(psi / self._head, p)
        return Curves(
            c.theta, c.capacity / self._head, c.K * self._K, c.dK * (self._K / self._head), c.wet
        )

    def head(self, theta: Tensor, p: Values) -> Tensor:
        """Pressure head (cm) at a water content."""
        return (
            self.hydraulics.head(theta, {k: v / self._factors.get(k, 1.0) for k, v in p.items()})
            * self._head
        )
