"""Maps between unbounded numbers, in which networks work, and parameters inside physical bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pydiffgeo.errors import ParameterError
from pydiffgeo.models.spec import ParameterSpec


@dataclass(frozen=True)
class Bounds:
    """Open interval of a parameter, and the scale on which it is sampled.

    ``linear``: p = lower + (upper - lower) s(x); ``log``: ln p = ln lower + (ln upper - ln lower)
    s(x), with the logistic function s, so that x = 0 is the arithmetic or the geometric middle of
    the interval.

    Attributes
    ----------
    lower, upper : float
        In the parameter's unit.
    transform : {"linear", "log"}
        "log" for parameters that span decades; it needs lower > 0.

    ParameterError: lower >= upper, a bound is not finite, or "log" with lower <= 0.
    """

    lower: float
    upper: float
    transform: Literal["linear", "log"] = "linear"

    def __post_init__(self) -> None:
        if not -math.inf < self.lower < self.upper < math.inf:
            ends = f"[{self.lower}, {self.upper}]"
            raise ParameterError(f"{ends} is not an interval; give finite lower < upper.")
        if self.transform not in ("linear", "log"):
            raise ParameterError(f"unknown transform {self.transform!r}; known: 'linear', 'log'.")
        if self.transform == "log" and self.lower <= 0:
            raise ParameterError(f"'log' needs lower > 0, got {self.lower}; use 'linear'.")

    @classmethod
    def of(cls, spec: ParameterSpec) -> Bounds:
        """Return the bounds of a parameter of a model specification."""
        return cls(spec.lower, spec.upper, "log" if spec.transform == "log" else "linear")

    @property
    def _scale(self) -> tuple[float, float]:
        if self.transform == "log":
            return math.log(self.lower), math.log(self.upper)
        return self.lower, self.upper

    def at(self, share: float) -> float:
        """Return the number at a share of the interval, between 0 and 1 on its scale."""
        low, high = self._scale
        value = low + share * (high - low)
        return math.exp(value) if self.transform == "log" else value

    def to_physical(self, x: Tensor) -> Tensor:
        """Map unbounded `x` (any shape) into the bounds."""
        low, high = self._scale
        value = low + (high - low) * torch.sigmoid(x)
        # exp(log(upper)) can exceed upper in the last digit
        return torch.exp(value).clamp(self.lower, self.upper) if self.transform == "log" else value

    def from_physical(self, value: Tensor) -> Tensor:
        """Map parameters (any shape) to unbounded numbers.

        ParameterError for one not strictly inside the bounds.
        """
        inside = (value > self.lower) & (value < self.upper)
        if not inside.all():
            bad = value[~inside].flatten()[0].item()
            ends = f"({self.lower:g}, {self.upper:g})"
            raise ParameterError(f"value {bad:g} is not strictly inside {ends}; move it inside.")
        low, high = self._scale
        position = torch.log(value) if self.transform == "log" else value
        return torch.log(position - low) - torch.log(high - position)
