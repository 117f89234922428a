"""Boundary conditions of a soil column: the flux through the outer face and its derivative in the head of the cell next to it.

Fluxes are positive downward. A boundary reads `heads`, a list of heads at the face whose conductivity it wants; the
Richards model evaluates them together with the cells, with the soil of the outermost cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.models.face_means import Mean

SMOOTH = 0.05  # width of the switch between demand and capacity, as a fraction of the demand
TINY = 1e-24  # keeps the slope of a square root finite where both its terms vanish


class Side(NamedTuple):
    """What a boundary sees: head and conductivity of the outermost cell, conductivities at its own heads.

    `slope` is dK/dpsi of the cell (None where no derivative is wanted), `conductance` one over the distance (1/cm) from
    the cell centre to the face, `mean` the face mean.
    """

    psi: Tensor
    K: Tensor
    slope: Tensor | None
    K_face: list[Tensor]
    conductance: float
    mean: object


class Flow(NamedTuple):
    """Flux through the face (positive downward), its derivative in psi of the cell, and the reported parts."""

    flux: Tensor
    slope: Tensor | None
    parts: Mapping[str, Tensor]


class Boundary:
    """Base: names of the forcings and parameters it needs, and whether it lies at the top."""

    forcings: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    n_heads = 0
    top_allowed = True
    bottom_allowed = True

    def __init__(self, top: bool):
        self.top = top

    def heads(self, forcing: Values, p: Values) -> Sequence[Tensor | float]:
        """Heads at the face (cm), `n_heads` of them, whose conductivity `flow` needs."""
        return []

    def flow(self, side: Side, forcing: Values, p: Values) -> Flow:
        """Flux through the face."""
        raise TypeError(f"{type(self).__name__} must define flow(side, forcing, p)")

    def _darcy(self, side: Side, head: Tensor | float, K_face: Tensor) -> tuple[Tensor, Tensor | None]:
        """Darcy flux between a head at the face and the cell, and its derivative in psi of the cell."""
        up, low = (head, side.psi) if self.top else (side.psi, head)
        gradient = (low - up) * side.conductance - 1
        K_up, K_low = (K_face, side.K) if self.top else (side.K, K_face)
        mean: Mean = side.mean(K_up, K_low, gradient)  # type: ignore[operator]
        K = mean[0]
        flux = -K * gradient
        if side.slope is None:
            return flux, None
        weight = mean[2] if self.top else mean[1]
        sign = 1.0 if self.top else -1.0
        return flux, -(side.slope * weight) * gradient - K * (sign * side.conductance)


class Head(Boundary):
    """Given pressure head at the face (Dirichlet), half a cell from the centre of the outermost cell."""

    n_heads = 1

    def __init__(self, top: bool):
        super().__init__(top)
        self.name = "top_head" if top else "bottom_head"
        self.forcings = (self.name,)

    def heads(self, forcing: Values, p: Values) -> Sequence[Tensor | float]:
        return [forcing[self.name]]

    def flow(self, side: Side, forcing: Values, p: Values) -> Flow:
        flux, slope = self._darcy(side, forcing[self.name], side.K_face[0])
        return Flow(flux, slope, {"infiltration" if self.top else "drainage": flux})


class Flux(Boundary):
    """Given flux through the face (Neumann), positive downward."""

    def __init__(self, top: bool):
        super().__init__(top)
        self.name = "top_flux" if top else "bottom_flux"
        self.forcings = (self.name,)

    def flow(self, side: Side, forcing: Values, p: Values) -> Flow:
        flux = forcing[self.name].expand_as(side.psi)
        slope = None if side.slope is None else torch.zeros_like(side.psi)
        return Flow(flux, slope, {"infiltration" if self.top else "drainage": flux})


class FreeDrainage(Boundary):
    """Unit gradient of total head at the bottom: the flux is the conductivity of the lowest cell."""

    top_allowed = False

    def flow(self, side: Side, forcing: Values, p: Values) -> Flow:
        return Flow(side.K, side.slope, {"drainage": side.K})


class SeepageFace(Boundary):
    """Water leaves at zero head, and none enters: outflow is the positive part of the Darcy flux to a face at psi = 0.

    The positive part is smoothed as (q + sqrt(q^2 + (1e-3 K_s)^2)) / 2.
    """

    n_heads = 1
    top_allowed = False

    def heads(self, forcing: Values, p: Values) -> Sequence[Tensor | float]:
        return [0.0]

    def flow(self, side: Side, forcing: Values, p: Values) -> Flow:
        q, slope = self._darcy(side, 0.0, side.K_face[0])
        root = torch.sqrt(q * q + (1e-3 * side.K_face[0]) ** 2)
        flux = 0.5 * (q + root)
        return Flow(flux, None if slope is None else slope * flux / root, {"drainage": flux})


class Atmospheric(Boundary):
    """Rain and potential evaporation, each limited by what the soil can take or give.

    Infiltration is the smaller of rain and the Darcy flux from a surface at `ponding_height`; the rest runs off.
    Evaporation is the smaller of its potential and the Darcy flux to a surface at `minimum_surface_head`, and never
    negative. Both minima are smooth: min(a, b) = (a + b - sqrt((a - b)^2 + (0.05 a)^2)) / 2 with a the demand, which
    lies at most 2.5 % of the demand below the sharp one, and is zero where the demand is zero.
    """

    forcings = ("rain", "potential_evaporation")
    parameters = ("ponding_height", "minimum_surface_head")
    n_heads = 2
    bottom_allowed = False

    def heads(self, forcing: Values, p: Values) -> Sequence[Tensor | float]:
        return [p["ponding_height"], p["minimum_surface_head"]]

    def flow(self, side: Side, forcing: Values, p: Values) -> Flow:
        rain, demand = forcing["rain"], forcing["potential_evaporation"]
        capacity, capacity_slope = self._darcy(side, p["ponding_height"], side.K_face[0])
        infiltration, in_slope = _smooth_min(rain, capacity)
        supply, supply_slope = self._darcy(side, p["minimum_surface_head"], side.K_face[1])
        width = 1e-3 * demand
        root = torch.sqrt(supply * supply + width * width + TINY)
        upward = 0.5 * (root - supply)  # smooth positive part of the upward flux
        evaporation, out_slope = _smooth_min(demand, upward)
        flux = infiltration - evaporation
        slope = None
        if capacity_slope is not None and supply_slope is not None:
            slope = in_slope * capacity_slope + out_slope * (upward / root) * supply_slope
        parts = {"infiltration": infiltration, "runoff": rain - infiltration, "evaporation": evaporation}
        return Flow(flux, slope, parts)


def _smooth_min(demand: Tensor, capacity: Tensor) -> tuple[Tensor, Tensor]:
    """Smooth minimum and its derivative in the capacity."""
    gap = demand - capacity
    width = SMOOTH * demand
    root = torch.sqrt(gap * gap + width * width + TINY)
    return 0.5 * (demand + capacity - root), 0.5 * (1 + gap / root)


BOUNDARIES: dict[str, type[Boundary]] = {
    "head": Head,
    "flux": Flux,
    "free_drainage": FreeDrainage,
    "seepage_face": SeepageFace,
    "atmospheric": Atmospheric,
}
