"""Boundary conditions of a soil column.

The flux through the outer face and its derivative in the head of the cell next to it.

Fluxes are positive downward. A boundary with `heads` at its face has their conductivities, and the
Darcy flux from the innermost of them, evaluated by the Richards model together with the cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pydiffgeo.models.base import Linearisation, Values
from pydiffgeo.models.richards.face_means import Mean
from pydiffgeo.models.spec_files import load_constants

CONSTANTS = load_constants("richards")
SMOOTH = CONSTANTS["SMOOTH"]
SUPPLY_WIDTH = CONSTANTS["SUPPLY_WIDTH"]
POND_RELEASE = CONSTANTS["POND_RELEASE"]
TINY_FLUX = CONSTANTS["TINY_FLUX"]


class Side:
    """What a boundary sees of its side of the column; each part is cut out when it is asked for.

    Parameters
    ----------
    q, slopes, outer : Tensor, [..., face]
        Darcy fluxes through the faces, that of the boundary's innermost head included, and their
        derivatives in psi of the cell at the boundary and in the boundary's head (None where no
        derivative is wanted).
    psi : Tensor, [..., cell]
    K, dK : Tensor, [..., place]
        Conductivity and its slope at all places of the Richards model.
    cell : int
        Place of the outermost cell.
    heads : slice
        Places of the boundary's heads.
    """

    def __init__(
        self, top: bool, q: Tensor, slopes: Tensor | None, outer: Tensor | None, psi: Tensor,
        K: Tensor, dK: Tensor | None,
        cell: int, heads: slice, conductance: float, mean: Callable[[Tensor, Tensor, Tensor], Mean],
    ):  # fmt: skip
        self._end = slice(0, 1) if top else slice(-1, None)
        self._q, self._slopes, self._outer, self._psi, self._K, self._dK, self._heads = (
            q,
            slopes,
            outer,
            psi,
            K,
            dK,
            heads,
        )
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
    def outer_slope(self) -> Tensor | None:
        """Derivative of `flux` in the boundary's innermost head."""
        return None if self._outer is None else self._outer[..., self._end]

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


class Pond(NamedTuple):
    """Rate of change of a pond, and the derivatives that Newton's method needs.

    In the pond and in psi of the cell; and of the flux through the face in the pond.
    """

    rate: Tensor
    by_pond: Tensor | None = None
    by_psi: Tensor | None = None
    flux_by_pond: Tensor | None = None


class Flow(NamedTuple):
    """Flux through a boundary face (positive downward), its slope in psi, reported parts."""

    flux: Tensor
    slope: Tensor | None
    parts: Mapping[str, Tensor]
    pond: Pond | None = None


class Boundary:
    """Base of boundary conditions.

    Says which forcings and parameters it needs, which fluxes it adds, how many heads it has, and
    where it may be used.

    One that `stores` water has the depth of a pond as the first state, which its functions find as
    `p["pond"]`.
    """

    forcings: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    fluxes: tuple[str, ...] = ()
    stores = False
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
        raise TypeError(f"{type(self).__name__} must define flow(side, forcing, p).")


class Head(Boundary):
    """Given pressure head at the face (Dirichlet), half a cell from the outermost cell centre."""

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
    """Unit gradient of total head at the bottom.

    The flux is the conductivity of the lowest cell.
    """

    top_allowed = False

    def flow(self, side: Side, forcing: Values, p: Values) -> Flow:
        K = side.K
        return Flow(K, side.dK, {"drainage": K})


class SeepageFace(Boundary):
    """Water leaves at zero head, and none enters.

    Outflow is the positive part of the Darcy flux to a face at psi = 0.

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

    Infiltration is the smaller of rain and the Darcy flux from a surface at `ponding_height`; the
    rest runs off, none is stored on the surface. Evaporation is the smaller of its potential and
    the Darcy flux to a surface at `minimum_surface_head`, and never negative. Both minima are
    smooth: min(a, b) = (a + b - sqrt((a - b)^2 + (0.05 a)^2)) / 2 with a the demand, which lies at
    most 2.5 % of the demand below the sharp one, and is zero where the demand is zero.
    """

    forcings = ("rain", "potential_evaporation")
    parameters: tuple[str, ...] = ("ponding_height", "minimum_surface_head")
    n_heads = 2
    bottom_allowed = False

    def heads(self, forcing: Values, p: Values) -> Sequence[Tensor | float]:
        return [p["minimum_surface_head"], p["ponding_height"]]

    def flow(self, side: Side, forcing: Values, p: Values) -> Flow:
        rain, demand = forcing["rain"], forcing["potential_evaporation"]
        infiltration, in_slope = _smooth_min(rain, side.flux)
        evaporation, out_slope = self._from_soil(side, demand, p)
        slope = None
        if out_slope is not None and side.slope is not None:
            slope = in_slope * side.slope - out_slope
        parts = {
            "infiltration": infiltration,
            "runoff": rain - infiltration,
            "evaporation": evaporation,
        }
        return Flow(infiltration - evaporation, slope, parts)

    @staticmethod
    def _from_soil(side: Side, demand: Tensor, p: Values) -> tuple[Tensor, Tensor | None]:
        """Evaporation that the soil yields, and its derivative in psi of the cell."""
        # Darcy flux between a surface at the minimum head and the first cell, upward positive
        gradient = (side.psi - p["minimum_surface_head"]) * side.conductance - 1.0
        K, _, weight = side.mean(side.K_face[..., :1], side.K, gradient)
        supply = K * gradient
        root = torch.sqrt(supply * supply + (SUPPLY_WIDTH * demand) ** 2 + TINY_FLUX)
        upward = 0.5 * (supply + root)  # smooth positive part
        evaporation, by_upward = _smooth_min(demand, upward)
        dK = side.dK
        if dK is None:
            return evaporation, None
        supply_slope = dK * weight * gradient + K * side.conductance
        return evaporation, by_upward * (upward / root) * supply_slope


class SurfaceLayer(Atmospheric):
    """Rain and potential evaporation on a surface that stores water up to `ponding_height`.

    What is more runs off.

    The depth of the pond W is the first state. Where there is a pond, the surface has the head W,
    the Darcy flux from there infiltrates, and the pond evaporates at the potential rate. Where
    there is none, infiltration and evaporation are those of `Atmospheric` with a surface at zero
    head, and rain that does not infiltrate begins a pond. Up to the depth `pond_film` the two are
    blended, with the share s = x (2 - x), x = W / pond_film; a full pond begins to overflow
    likewise, when `pond_film` is left to its top. What a pond has above `ponding_height` (at the
    start, or since it fell) runs off at the rate of 60 per hour, whether it rains or not. It is the
    "atmospheric boundary condition with surface layer" of HYDRUS-1D (manual of version 4.17,
    section 2.7), where ponding_height is hCritS.
    """

    parameters: tuple[str, ...] = ("ponding_height", "minimum_surface_head", "pond_film")
    fluxes = ("ponding",)
    stores = True

    def heads(self, forcing: Values, p: Values) -> Sequence[Tensor | float]:
        return [p["minimum_surface_head"], p["pond"].clamp_min(0)]

    def flow(self, side: Side, forcing: Values, p: Values) -> Flow:
        rain, demand, pond, film = (
            forcing["rain"],
            forcing["potential_evaporation"],
            p["pond"],
            p["pond_film"],
        )
        capacity = side.flux
        dry, by_capacity = _smooth_min(rain, capacity)
        soil, soil_slope = self._from_soil(side, demand, p)
        wet, wet_slope = _share(pond, film)
        room, room_slope = _share(p["ponding_height"] - pond, film)
        infiltration = dry + (capacity - dry) * wet
        from_pond, from_soil = demand * wet, soil * (1 - wet)
        surplus = rain - infiltration - from_pond - from_soil
        excess, excess_slope = _excess(pond - p["ponding_height"], film)
        runoff = surplus.clamp_min(0) * (1 - room) + POND_RELEASE * excess
        flux = infiltration - from_soil
        parts = {
            "infiltration": infiltration,
            "runoff": runoff,
            "evaporation": from_pond + from_soil,
            "ponding": rain - runoff - infiltration,
        }
        rate = parts["ponding"] - from_pond
        if side.slope is None or side.outer_slope is None or soil_slope is None:
            return Flow(flux, None, parts, Pond(rate))
        in_capacity = by_capacity + (1 - by_capacity) * wet
        in_psi, in_pond = (
            in_capacity * side.slope,
            in_capacity * side.outer_slope * (pond >= 0) + (capacity - dry) * wet_slope,
        )
        soil_psi, soil_pond = soil_slope * (1 - wet), -soil * wet_slope
        over = (surplus > 0) * (1 - room)
        runoff_psi = -over * (in_psi + soil_psi)
        runoff_pond = surplus.clamp_min(0) * room_slope - over * (
            in_pond + demand * wet_slope + soil_pond
        )
        runoff_pond = runoff_pond + POND_RELEASE * excess_slope
        by_pond = -runoff_pond - in_pond - demand * wet_slope
        return Flow(
            flux,
            in_psi - soil_psi,
            parts,
            Pond(rate, by_pond, -runoff_psi - in_psi, in_pond - soil_pond),
        )


def with_pond(
    lin: Linearisation, pond: Pond | None, depth: Tensor, inverse_dz: Tensor
) -> Linearisation:
    """Return the linearisation of a pond `[..., 1]` and the cells below it."""
    assert (
        pond is not None
        and pond.by_pond is not None
        and pond.by_psi is not None
        and pond.flux_by_pond is not None
    )
    assert lin.least_capacity is not None
    lower, main, upper, *dense = lin.jacobian
    none = torch.zeros_like(depth)
    return Linearisation(
        torch.cat([depth, lin.storage], -1),
        torch.cat([torch.ones_like(depth), lin.capacity], -1),
        torch.cat([pond.rate, lin.rates], -1),
        (
            torch.cat([none, pond.flux_by_pond * inverse_dz, lower[..., 1:]], -1),
            torch.cat([pond.by_pond, main], -1),
            torch.cat([pond.by_psi, upper], -1),
            *(torch.cat([none, x], -1) for x in dense),
        ),
        torch.cat([none, lin.least_capacity.expand_as(lin.capacity)], -1),
    )


def _share(depth: Tensor, film: Tensor) -> tuple[Tensor, Tensor]:
    """x (2 - x) of x = depth / film, 1 above the film and 2 x below zero, where Newton may pass;
    and its slope in the depth.
    """
    x = depth / film
    inside = x.clamp(0, 1)
    slope = 2 * (1 - inside) / film
    return inside * (2 - inside) + 2 * (x - x.clamp_min(0)), slope


def _excess(depth: Tensor, film: Tensor) -> tuple[Tensor, Tensor]:
    """max(depth, 0), smooth within one film above zero, where it is depth^2 / (2 film); and its
    slope in the depth.
    """
    slope = (depth / film).clamp(0, 1)
    return slope * (depth.clamp_min(0) - 0.5 * film * slope), slope


def _smooth_min(demand: Tensor, capacity: Tensor) -> tuple[Tensor, Tensor]:
    """Smooth minimum and its derivative in the capacity."""
    gap = demand - capacity
    width = SMOOTH * demand
    root = torch.sqrt(gap * gap + width * width + TINY_FLUX)
    return 0.5 * (demand + capacity - root), 0.5 * (1.0 + gap / root)


BOUNDARIES: dict[str, type[Boundary]] = {
    "head": Head,
    "flux": Flux,
    "free_drainage": FreeDrainage,
    "seepage_face": SeepageFace,
    "atmospheric": Atmospheric,
    "surface_layer": SurfaceLayer,
}
