"""Root water uptake after Feddes et al. (1978), with a profile of root density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pydiffgeo.errors import lookup
from pydiffgeo.models.base import Values


def _uniform(z: Tensor, depth: Tensor) -> Tensor:
    return torch.minimum(z / depth, torch.ones_like(z))


def _linear(z: Tensor, depth: Tensor) -> Tensor:
    s = torch.minimum(z / depth, torch.ones_like(z))
    return s * (2 - s)


def _exponential(z: Tensor, depth: Tensor) -> Tensor:
    return 1 - torch.exp(-3 * z / depth)


PROFILES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "uniform": _uniform,
    "linear": _linear,
    "exponential": _exponential,
}
"""Cumulative share of roots above the depth z, given the parameter `root_depth`."""


@dataclass(frozen=True)
class Roots:
    """Root water uptake: potential transpiration x root density x stress of Feddes.

    Parameters
    ----------
    profile : {"exponential", "uniform", "linear"}
        Root density with depth: exponential with 95 % of the roots above `root_depth` (the rest below it), or constant or
        linearly decreasing down to `root_depth`. It is scaled so that the column holds all roots.

    The stress factor rises linearly from 0 at `feddes_1` to 1 at `feddes_2`, and falls from 1 at `feddes_3` to 0 at
    `feddes_4` (heads in cm). Source: Feddes, R. A., Kowalik, P. J., Zaradny, H. (1978), Simulation of field water use and
    crop yield.
    """

    profile: str = "exponential"

    parameters = ("root_depth", "feddes_1", "feddes_2", "feddes_3", "feddes_4")

    def __post_init__(self) -> None:
        lookup(PROFILES, self.profile, "root profile")

    def density(self, faces: Tensor, depth: Tensor) -> Tensor:
        """Share of the roots per cm in each cell `[..., cell]`, from the faces (cm) and the root depth `[..., 1]` (cm)."""
        share = PROFILES[self.profile](faces, depth).diff(dim=-1)
        return share / (share.sum(-1, keepdim=True) * faces.diff())

    def stress(self, psi: Tensor, p: Values) -> Tensor:
        """Stress factor between 0 (no uptake) and 1."""
        wet = (p["feddes_1"] - psi) * p["feddes_wet"]
        dry = (psi - p["feddes_4"]) * p["feddes_dry"]
        return torch.minimum(wet, dry).clamp(0, 1)

    def stress_slope(self, psi: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Stress factor and its derivative in psi (1/cm)."""
        wet = (p["feddes_1"] - psi) * p["feddes_wet"]
        dry = (psi - p["feddes_4"]) * p["feddes_dry"]
        stress = torch.minimum(wet, dry)
        slope = torch.where(wet < dry, -p["feddes_wet"], p["feddes_dry"])
        inside = (stress > 0) & (stress < 1)
        return stress.clamp(0, 1), torch.where(inside, slope, torch.zeros_like(slope))
