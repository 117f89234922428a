"""Boundary conditions of a soil column: the flux through the outer face and its derivative in the head of the cell next to it.

Fluxes are positive downward. A boundary with `heads` at its face has their conductivities, and the Darcy flux from the
innermost of them, evaluated by the Richards model together with the cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.models.face_means import Mean

SMOOTH = 0.05  # width of the switch between demand and capacity, as a fraction of the demand
TINY = 1e-24  # keeps the slope of a square root finite where both its terms vanish


class Side:
    """What a boundary sees of its side of the column; each part is cut out when it is asked for.

    Parameters
    ----------
    q, slopes : Tensor, [..., face]
        Darcy fluxes through the faces, that of the boundary's innermost head included, and their derivatives in psi of the
        cell at the boundary (None where no derivative is wanted).
    psi : Tensor, [..., cell]
    K, dK : Tensor, [..., place]
        Conductivity and its slope at all places of the Richards model.
    cell : int
        Place of the outermost cell.
    heads : slice
        Places of the boundary's heads.
    """

    def __init__(
        self, top: bool, q: Tensor, slopes: Tensor | None, psi: Tensor, K: Tensor, dK: Tensor | None, cell: int, heads: slice,
        conductance: float, mean: Callable[[Tensor, Tensor, Tensor], Mean],
    ):  # fmt: skip
        self._end = slice(0, 1) if top else slice(-1, None)
        self._q, self._slopes, self._psi, self._K, self._dK, self._heads = q, slopes, psi, K, dK, heads
        self._cell = slice(cell, cell + 1)
        self.conductance, self.mean = conductance, mean

    @property
    def flux(self) -> Tensor:
        """Darcy flux between the boundary's innermost head and the cell."""
        return self._q[..., self._end]

    @property
    def slope(self) -> Tensor | None:
        """Derivative of `flux` in psi of the cell."""
        return None if self._slopes is None else self._slopes[..., self._end]

    @property
    def psi(self) -> Tensor:
        """Head of the outermost cell."""
        return self._psi[..., self._end]

    @property
    def K(self) -> Tensor:
        """Conductivity of the outermost cell."""
        return self._K[..., self._cell]

    @property
    def dK(self) -> Tensor | None:
        """Slope of the conductivity of the outermost cell."""
        return None if self._dK is None else self._dK[..., self._cell]

    @property
    def K_face(self) -> Tensor:
        """Conductivities at the boundary's heads."""
        return self._K[..., self._heads]


class Flow(NamedTuple):
    """Flux through the face (positive downward), its derivative in psi of the cell, and the reported parts."""

    flux: Tensor
    slope: Tensor | None
    parts: Mapping[str, Tensor]


class Boundary:
    """Base: names of the forcings and parameters it needs, number of its heads, and where it may be used."""

    forcings: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    n_heads = 0
    top_allowed = True
    bottom_allowed = True

    def __init__(self, top: bool):
        self.top = top

    def heads(self, forcing: Values, p: Values) -> Sequence[Tensor | float]:
        """Heads at the face (cm), from the outside inwards."""
        return []

    def flow(self, side: Side, forcing: Values, p: Values) -> Flow:
        """Flux through the face."""
        raise TypeError(f"{type(self).__name__} must define flow(side, forcing, p)")


class Head(Boundary):
    """Given pressure head at the face (Dirichlet), half a cell from the centre of the outermost cell."""

    n_heads = 1

    def __init__(self, top: bool):
        super().__init__(top)
        self.name = "top_head" if top else "bottom_head"
        self.part = "infiltration" if top else "drainage"
        self.forcings = (self.name,)

    def heads(self, forcing: Values, p: Values) -> Sequence[Tensor | float]:
        return [forcing[self.name]]

    def flow(self, side: Side, forcing: Values, p: Values) -> Flow:
        flux = side.flux
        return Flow(flux, side.slope, {self.part: flux})


class Flux(Boundary):
    """Given flux through the face (Neumann), positive downward."""

    def __init__(self, top: bool):
        super().__init__(top)
        self.name = "top_flux" if top else "bottom_flux"
        self.part = "infiltration" if top else "drainage"
        self.forcings = (self.name,)

    def flow(self, side: Side, forcing: Values, p: Values) -> Flow:
        flux = forcing[self.name].expand_as(side.psi)
        return Flow(flux, torch.zeros_like(flux), {self.part: flux})


class FreeDrainage(Boundary):
    """Unit gradient of total head at the bottom: the flux is the conductivity of the lowest cell."""

    top_allowed = False

    def flow(self, side: Side, forcing: Values, p: Values) -> Flow:
        K = side.K
        return Flow(K, side.dK, {"drainage": K})


class SeepageFace(Boundary):
    """Water leaves at zero head, and none enters: outflow is the positive part of the Darcy flux to a face at psi = 0.

    The positive part is smoothed as (q + sqrt(q^2 + (1e-3 K_s)^2)) / 2.
    """

    n_heads = 1
    top_allowed = False

    def heads(self, forcing: Values, p: Values) -> Sequence[Tensor | float]:
        return [0.0]

    def flow(self, side: Side, forcing: Values, p: Values) -> Flow:
        q, slope = side.flux, side.slope
        root = torch.sqrt(q * q + (1e-3 * side.K_face) ** 2)
        flux = 0.5 * (q + root)
        return Flow(flux, None if slope is None else slope * flux / root, {"drainage": flux})


class Atmospheric(Boundary):
    """Rain and potential evaporation, each limited by what the soil can take or give.

    Infiltration is the smaller of rain and the Darcy flux from a surface at `ponding_height`; the rest runs off, none is
    stored on the surface. Evaporation is the smaller of its potential and the Darcy flux to a surface at
    `minimum_surface_head`, and never negative. Both minima are smooth: min(a, b) = (a + b - sqrt((a - b)^2 + (0.05 a)^2))
    / 2 with a the demand, which lies at most 2.5 % of the demand below the sharp one, and is zero where the demand is zero.
    """

    forcings = ("rain", "potential_evaporation")
    parameters = ("ponding_height", "minimum_surface_head")
    n_heads = 2
    bottom_allowed = False

    def heads(self, forcing: Values, p: Values) -> Sequence[Tensor | float]:
        return [p["minimum_surface_head"], p["ponding_height"]]

    def flow(self, side: Side, forcing: Values, p: Values) -> Flow:
        rain, demand = forcing["rain"], forcing["potential_evaporation"]
        infiltration, in_slope = _smooth_min(rain, side.flux)
        # Darcy flux between a surface at the minimum head and the first cell, upward positive
        gradient = (side.psi - p["minimum_surface_head"]) * side.conductance - 1.0
        K, _, weight = side.mean(side.K_face[..., :1], side.K, gradient)
        supply = K * gradient
        root = torch.sqrt(supply * supply + (1e-3 * demand) ** 2 + TINY)
        upward = 0.5 * (supply + root)  # smooth positive part
        evaporation, out_slope = _smooth_min(demand, upward)
        slope = None
        dK, in_flux_slope = side.dK, side.slope
        if dK is not None and in_flux_slope is not None:
            supply_slope = dK * weight * gradient + K * side.conductance
            slope = in_slope * in_flux_slope - out_slope * (upward / root) * supply_slope
        parts = {"infiltration": infiltration, "runoff": rain - infiltration, "evaporation": evaporation}
        return Flow(infiltration - evaporation, slope, parts)


def _smooth_min(demand: Tensor, capacity: Tensor) -> tuple[Tensor, Tensor]:
    """Smooth minimum and its derivative in the capacity."""
    gap = demand - capacity
    width = SMOOTH * demand
    root = torch.sqrt(gap * gap + width * width + TINY)
    return 0.5 * (demand + capacity - root), 0.5 * (1.0 + gap / root)


BOUNDARIES: dict[str, type[Boundary]] = {
    "head": Head,
    "flux": Flux,
    "free_drainage": FreeDrainage,
    "seepage_face": SeepageFace,
    "atmospheric": Atmospheric,
}
