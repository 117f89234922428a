"""Retention and conductivity given by the user: torch functions or modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pydiffgeo.errors import ParameterError
from pydiffgeo.models.base import Values
from pydiffgeo.models.richards.hydraulics.base import Curves, SoilHydraulics
from pydiffgeo.models.spec import ParameterSpec

Function = Callable[[Tensor, Values], Tensor]


class UserHydraulics(SoilHydraulics):
    """Curves from any two torch functions; slopes come from automatic differentiation.

    Both functions are called as f(psi, p), with psi of any shape and p the named parameters, which
    broadcast against psi, and return a tensor of that shape. Each value may depend on the head of
    its own place only. Theta and K must not decrease with psi, and K must stay positive. Gradients
    reach all modules.

    Parameters
    ----------
    theta_fn, K_fn : callable or torch.nn.Module
        Water content (1) and conductivity at psi, in the units of the grid: cm/h and cm, unless it
        has others.
    parameters : sequence of str or ParameterSpec
        Names that the Richards model knows ("theta_s", "K_s", ...), or specifications of new
        parameters.
    head_fn : callable, optional
        Inverse of `theta_fn`: pressure head at (theta, p). Only `Richards.head` needs it.
    modules : sequence of torch.nn.Module
        Networks that the functions call; those which are modules themselves need not be repeated.
    bends : bool
        Whether theta has a sharp bend at zero head, as Gardner's exponential, where full columns
        that drain are not solved otherwise.
    """

    name = "user"

    def __init__(
        self,
        theta_fn: Function,
        K_fn: Function,
        parameters: Sequence[str | ParameterSpec] = (),
        head_fn: Function | None = None,
        modules: Sequence[torch.nn.Module] = (),
        bends: bool = False,
    ):
        self.bends = bends
        self.parameters = tuple(p if isinstance(p, str) else p.name for p in parameters)
        self.own = {p.name: p for p in parameters if isinstance(p, ParameterSpec)}
        self.functions = (theta_fn, K_fn)
        self.head_fn = head_fn
        given = [*modules, *(f for f in self.functions if isinstance(f, torch.nn.Module))]
        self.modules = torch.nn.ModuleList(dict.fromkeys(given))  # each module once

    def curves(self, psi: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Water content and conductivity."""
        theta, K = (f(psi, p) for f in self.functions)
        for what, value in (("theta_fn", theta), ("K_fn", K)):
            if value.shape != psi.shape and value.shape != self._shape(psi, p):
                raise ParameterError(
                    f"{what} of UserHydraulics returned shape {tuple(value.shape)} for psi of "
                    f"shape {tuple(psi.shape)}; return one value per head: a network of one input "
                    "needs psi.unsqueeze(-1) and .squeeze(-1)."
                )
        return theta, K

    def slopes(self, psi: Tensor, p: Values) -> Curves:
        """The curves and their derivatives in psi."""
        # each value depends on its own head only, so one tangent of ones gives every slope
        values, derivatives = torch.func.jvp(
            lambda x: self.curves(x, p), (psi,), (torch.ones_like(psi),)
        )[:2]
        return Curves(values[0], derivatives[0], values[1], derivatives[1])

    def head(self, theta: Tensor, p: Values) -> Tensor:
        """Inverse of the retention curve, where `head_fn` was given."""
        return super().head(theta, p) if self.head_fn is None else self.head_fn(theta, p)

    def _shape(self, psi: Tensor, p: Values) -> torch.Size:
        return torch.broadcast_shapes(psi.shape, *(p[k].shape for k in self.parameters))
