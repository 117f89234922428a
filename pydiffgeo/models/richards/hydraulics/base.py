"""The contract of a soil hydraulic model: water content and conductivity by pressure head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.models.spec import ParameterSpec
from pydiffgeo.recorded import Recorded


class Curves(NamedTuple):
    """Water content and conductivity (cm/h), each with its slope in psi.

    The last entry is False if no head is above zero.
    """

    theta: Tensor
    capacity: Tensor
    K: Tensor
    dK: Tensor
    wet: bool = True


class SoilHydraulics(Recorded):
    """Retention and conductivity curves.

    A subclass names its `parameters` (as in the spec of the Richards model) and defines `curves`
    with torch operations, so that torch can differentiate it; `slopes` gives the same curves with
    their derivatives in psi, without autograd, and is what the Newton iterations call. Tensors have
    any leading shape; parameters broadcast against psi. `saturated` holds for heads at and above
    zero: theta = theta_s and K = K_s there.
    """

    name: str
    parameters: tuple[str, ...]
    own: Mapping[str, ParameterSpec] = {}
    """Specifications of parameters that the Richards model does not know already."""
    bends = False
    """Whether the retention curve bends sharply at zero head.

    An update of Newton's method then stops there before it crosses: the slope that led there says
    nothing of what is beyond.
    """
    reads: Mapping[str, tuple[str, ...]] = {}
    """Parameters that each of the formulas "retention" and "conductivity" reads, where networks may
    take their places.
    """

    def derive(self, p: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add what is the same in every iteration, such as m = 1 - 1/n."""
        return p

    def curves(self, psi: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Water content (cm3/cm3) and conductivity (cm/h) at the pressure head psi (cm)."""
        raise TypeError(f"{type(self).__name__} must define curves(psi, p).")

    def slopes(self, psi: Tensor, p: Values) -> Curves:
        """The curves and their derivatives in psi."""
        raise TypeError(f"{type(self).__name__} must define slopes(psi, p).")

    def head(self, theta: Tensor, p: Values) -> Tensor:
        """Return the pressure head (cm) at a water content: the inverse of the retention curve."""
        raise TypeError(
            f"{type(self).__name__} has no inverse retention curve; give the initial state as "
            "pressure head."
        )
