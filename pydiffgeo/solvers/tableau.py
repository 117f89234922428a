"""Butcher tableaux of singly diagonally implicit, stiffly accurate Runge-Kutta methods."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Tableau:
    """Coefficients of a singly diagonally implicit Runge-Kutta method.

    Stage 0 is the known state at the start of the step; stages 1..s are implicit with the same
    diagonal.

    Attributes
    ----------
    A : tuple of tuple of float
        Rows of the stages 0..s; row 0 is zero. The last row holds the weights of the solution.
    b_hat : tuple of float
        Weights of the embedded solution.
    order : int
        Order of the solution.
    error_order : int
        Power of the step size with which the embedded error falls.
    source : str
        Where the coefficients come from.
    """

    name: str
    A: tuple[tuple[float, ...], ...]
    b_hat: tuple[float, ...]
    order: int
    error_order: int
    source: str

    @property
    def stages(self) -> int:
        """Number of implicit stages."""
        return len(self.A) - 1

    @property
    def gamma(self) -> float:
        """The diagonal."""
        return self.A[-1][-1]

    @property
    def b(self) -> tuple[float, ...]:
        """Weights of the solution."""
        return self.A[-1]

    @cached_property
    def c(self) -> tuple[float, ...]:
        """Times of the stages as fractions of the step."""
        return tuple(sum(row) for row in self.A)

    @cached_property
    def explicit(self) -> bool:
        """Whether the rates at the start of the step enter the solution."""
        return any(row[0] != 0 for row in self.A[1:])

    @cached_property
    def error_weights(self) -> tuple[float, ...]:
        """Weights of the rates in the embedded error."""
        return tuple(x - y for x, y in zip(self.b, self.b_hat, strict=True))
