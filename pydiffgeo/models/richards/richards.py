"""Richards equation on a finite-volume grid, mixed form.

Water content is conserved, pressure head is the unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy

import torch
from torch import Tensor, nn

from pydiffgeo.errors import SpecError, lookup
from pydiffgeo.models.base import Evaluation, Linearisation, Values
from pydiffgeo.models.richards.boundaries import BOUNDARIES, Head, with_pond
from pydiffgeo.models.richards.face_means import FACE_MEANS
from pydiffgeo.models.richards.grid import Grid
from pydiffgeo.models.richards.hydraulics import (
    HYDRAULICS,
    ConvertedHydraulics,
    LearnedHydraulics,
    SoilHydraulics,
)
from pydiffgeo.models.richards.places import Places
from pydiffgeo.models.richards.root_uptake import Roots
from pydiffgeo.models.slots import filled
from pydiffgeo.models.spec_files import load_spec
from pydiffgeo.units import Units


class Richards(Places):
    """d(theta + S_s max(psi, 0))/dt = d/dz [K (d psi/dz - 1)] - uptake, depth z positive downward.

    Cell-centred finite volumes. A boundary head acts at the face, half a cell from the outermost
    centre, with the face conductivity averaged with the boundary's. At a face between two soil
    layers each soil's conductivity is averaged over both heads and the two halves act in series, so
    that head and flux are continuous there to second order.

    Parameters
    ----------
    grid : Grid
        Cells and soil layers. Its units of length and time are those of all that is given to the
        model and comes from it: forcing, parameters, heads, fluxes, storage, tolerances and steps,
        and `spec` says so.
    hydraulics : str or SoilHydraulics
        "van_genuchten", "brooks_corey", "gardner", "haverkamp", or an object with user functions,
        which are called with heads and parameters in the grid's units.
    top, bottom : str
        Boundary conditions: top "head", "flux", "atmospheric" or "surface_layer"; bottom "head",
        "flux", "free_drainage" or "seepage_face". With "surface_layer" the state begins with the
        depth of the pond, before the heads of the cells.
    roots : Roots, optional
        Root water uptake; adds the forcing `potential_transpiration`.
    face_mean : {"arithmetic", "geometric", "harmonic", "upstream"}
        Conductivity at a face.
    closures : mapping of str to NeuralClosure or torch.nn.Module, optional
        Networks `[..., input] -> [...]` or `[..., 1]` in the slots "retention" and "conductivity",
        for all layers and columns; see docs/closures.md. Parameters of `hydraulics` that nothing
        reads any more are none of the model.

    Attributes
    ----------
    spec : ModelSpec
        Parameters, forcings and fluxes of this configuration, with units and bounds.
    core : Richards
        The same model in cm and hours, which the engines solve. The functions that they call
        (`prepare`, `storage`, `rates`, `fluxes`, `evaluate`, `linearise`, `total_storage`) compute
        in cm and hours whatever the grid's units.

    Raises
    ------
    UnknownName, SpecError
        A name that is not known, or a boundary condition on the wrong side.
    ParameterError
        A network that does not fit its slot.

    References
    ----------
    Celia, M. A., Bouloutas, E. T., Zarba, R. L. (1990), doi:10.1029/WR026i007p01483.
    """

    structure = "tridiagonal"

    def __init__(
        self,
        grid: Grid,
        hydraulics: str | SoilHydraulics = "van_genuchten",
        top: str = "atmospheric",
        bottom: str = "free_drainage",
        roots: Roots | None = None,
        face_mean: str = "arithmetic",
        closures: Mapping[str, nn.Module] | None = None,
    ):
        self.units = Units(grid.unit, grid.time_unit)
        given, grid = grid, grid.computed()
        self.grid = self._column = grid
        whole, self.closures, _ = filled(load_spec("richards"), closures)
        formula = (
            lookup(HYDRAULICS, hydraulics, "soil hydraulics")()
            if isinstance(hydraulics, str)
            else hydraulics
        )
        if not self.units.computed and type(formula) not in HYDRAULICS.values():
            formula = ConvertedHydraulics(formula, self.units, whole.parameters)
        self.hydraulics = (
            LearnedHydraulics(formula, self.closures, whole.slots) if self.closures else formula
        )
        self.replaced = {
            p: next(iter(self.closures))
            for p in formula.parameters
            if p not in self.hydraulics.parameters
        }
        self.top_name, self.bottom_name, self.face_mean_name = top, bottom, face_mean
        self.top = lookup(BOUNDARIES, top, "boundary condition")(top=True)
        self.bottom = lookup(BOUNDARIES, bottom, "boundary condition")(top=False)
        if not self.top.top_allowed:
            allowed = "head, flux, atmospheric or surface_layer"
            raise SpecError(f"boundary condition {top!r} cannot be used at the top; use {allowed}.")
        if not self.bottom.bottom_allowed:
            raise SpecError(
                f"boundary condition {bottom!r} cannot be used at the bottom; use head, flux, "
                "free_drainage or seepage_face."
            )
        self.roots = None if roots is None else roots.on(given.faces)
        if self.roots is not None and self.roots.compensated:
            self.structure = "tridiagonal_rank_one"
        self.face_mean = lookup(FACE_MEANS, face_mean, "face mean")
        self.size = grid.cells + int(self.top.stores)
        soil = [*self.hydraulics.parameters, "specific_storage"]
        column = [
            *self.top.parameters,
            *self.bottom.parameters,
            *(roots.parameters if roots else ()),
        ]
        forcings = [
            *self.top.forcings,
            *self.bottom.forcings,
            *(["potential_transpiration"] if roots else []),
        ]
        stored = {f for b in BOUNDARIES.values() for f in b.fluxes}
        fluxes = [k for k in whole.fluxes if k not in stored or k in self.top.fluxes]
        self.spec = whole.select(
            parameters=[*soil, *column],
            forcings=forcings,
            states=["pond", "psi"] if self.top.stores else ["psi"],
            fluxes=fluxes,
            extra=self.hydraulics.own,
        )
        self._faces = torch.nonzero(grid.layer.diff())[:, 0]  # upper cells of the layer boundaries
        # places where the curves are evaluated: heads of the top boundary, cells, heads of the
        # bottom boundary, and the other soil's at each layer boundary; the `line` of places that
        # neighbour each other; its faces between cells
        first, last = self.top.n_heads, self.top.n_heads + grid.cells
        has_top, has_bottom = min(self.top.n_heads, 1), min(self.bottom.n_heads, 1)
        self._cells = slice(first, last)
        self._line = slice(first - has_top, last + has_bottom)
        self._all_in_line = max(self.top.n_heads, self.bottom.n_heads) < 2 and not len(self._faces)
        self._inner = slice(has_top, has_top + grid.cells - 1)
        self._heads_only = isinstance(self.top, Head) and isinstance(self.bottom, Head)
        self._edge_conductance = 2 / float(grid.thickness[0]), 2 / float(grid.thickness[-1])
        self._constants: dict[tuple[torch.dtype, torch.device], dict[str, Tensor]] = {}
        self._core: Richards | None = None
        if not self.units.computed:
            self._core = copy(self)
            self._core.units = Units()
            self.grid, self.spec = given, self.spec.in_units(self.units, self.hydraulics.own)

    @property
    def core(self) -> Richards:
        """This model in cm and hours."""
        return self._core or self

    def closure_weights(self) -> list[torch.nn.Parameter]:
        """Weights of the networks in slots, or inside user-given hydraulics."""
        h = (
            self.hydraulics.hydraulics
            if isinstance(self.hydraulics, ConvertedHydraulics)
            else self.hydraulics
        )
        inside = [w for m in vars(h).values() if isinstance(m, nn.Module) for w in m.parameters()]
        return [*super().closure_weights(), *inside]

    # ---- parameters
    # ----------------------------------------------------------------------------------------------

    def prepare(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """Spread layer parameters over the cells and derive what the iterations need."""
        g = self._geometry(next(iter(parameters.values())))
        layered = {k: v for k, v in parameters.items() if self.spec.parameters[k].per == "layer"}
        p = {k: v for k, v in parameters.items() if k not in layered}
        storage = layered.pop("specific_storage")
        p["specific_storage"] = storage[..., g["layer"]] if storage.shape[-1] > 1 else storage
        spread = {
            k: (v[..., self._soil_index(v)] if v.shape[-1] > 1 else v) for k, v in layered.items()
        }
        p |= self.hydraulics.derive(spread)
        if self.roots is not None:
            self.roots.prepare(g["faces"], p)
        return p

    def start(self, parameters: Values) -> dict[str, Tensor]:
        """A moist soil, psi = -100 cm, and no water on it."""
        return super().start(parameters) | {
            "psi": torch.tensor(-self.spec.states["psi"].scale, dtype=torch.float64)
        }

    def total_storage(self, storage: Tensor) -> Tensor:
        """Water in the column and on its surface, cm."""
        water = self._heads(storage) @ self._geometry(storage)["dz"]
        return water + storage[..., 0] if self.top.stores else water

    def bend(self, like: Tensor) -> Tensor | None:
        """Just below zero head, where the retention curve bends sharply there."""
        return self._geometry(like)["bend"] if self.hydraulics.bends else None

    # ---- equations
    # ----------------------------------------------------------------------------------------------

    def storage(self, state: Tensor, parameters: Values) -> Tensor:
        """Water content plus specific storage times positive head."""
        places = self.grid.cells + self.top.n_heads + self.bottom.n_heads + 2 * len(self._faces)
        cells = {
            k: v[..., self._cells] if v.shape[-1] == places else v for k, v in parameters.items()
        }
        psi = self._heads(state)
        water = self.hydraulics.curves(psi, cells)[0] + parameters[
            "specific_storage"
        ] * psi.clamp_min(0)
        return torch.cat([state[..., :1], water], -1) if self.top.stores else water

    def evaluate(
        self, state: Tensor, forcing: Values, parameters: Values, fluxes: bool = False
    ) -> Evaluation:
        """Storage, rates and fluxes."""
        p, g, whole = parameters, self._geometry(state), state
        if self.top.stores:
            state, p = whole[..., 1:], {**parameters, "pond": whole[..., :1]}
        heads = self._extend(state, forcing, p)
        theta, K = self.hydraulics.curves(heads, p)
        line, K_line = (
            (heads, K) if self._all_in_line else (heads[..., self._line], K[..., self._line])
        )
        gradient = (line[..., 1:] - line[..., :-1]) * g["conductance"] - 1.0
        K_face = self.face_mean(K_line[..., :-1], K_line[..., 1:], gradient)[0]
        if len(self._faces):
            K_face = K_face.index_copy(-1, g["interface"], self._interface(K, gradient, g)[0])
        q = -K_face * gradient
        if fluxes or not self._heads_only:
            top = self.top.flow(self._side(True, q, None, None, state, K, None), forcing, p)
            bottom = self.bottom.flow(self._side(False, q, None, None, state, K, None), forcing, p)
        if not self._heads_only:
            q = torch.cat([top.flux, q[..., self._inner], bottom.flux], -1)
        rates = (q[..., :-1] - q[..., 1:]) * g["inverse_dz"]
        uptake = None
        if self.roots is not None:
            uptake = self.roots.uptake(state, forcing["potential_transpiration"], p)
            rates = rates - uptake
        storage = theta[..., self._cells] + p["specific_storage"] * state.clamp_min(0)
        if self.top.stores:
            assert top.pond is not None
            rates, storage = (
                torch.cat([top.pond.rate, rates], -1),
                torch.cat([whole[..., :1], storage], -1),
            )
        if not fluxes:
            return Evaluation(storage, rates, state.new_empty(0))
        parts = {**top.parts, **bottom.parts}
        if uptake is not None:
            parts["transpiration"] = (uptake * g["dz"]).sum(-1, keepdim=True)
        zero = torch.zeros_like(top.flux)
        return Evaluation(
            storage, rates, torch.cat([parts.get(k, zero) for k in self.spec.fluxes], -1)
        )

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        """Rate of change of the water content, 1/h, and of the pond, cm/h."""
        return self.evaluate(state, forcing, parameters).rates

    def fluxes(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        """Return infiltration, runoff, evaporation, transpiration, drainage, and ponding.

        In cm/h.
        """
        return self.evaluate(state, forcing, parameters, fluxes=True).fluxes

    def linearise(self, state: Tensor, forcing: Values, parameters: Values) -> Linearisation:  # type: ignore[override]
        """Storage, capacity, rates and the Jacobian of the rates, analytically."""
        p, g, whole = parameters, self._geometry(state), state
        if self.top.stores:
            state, p = whole[..., 1:], {**parameters, "pond": whole[..., :1]}
        heads = self._extend(state, forcing, p)
        curves = self.hydraulics.slopes(heads, p)
        K, dK = curves.K, curves.dK
        parts = heads, K, dK
        line, K_line, dK_line = (
            parts if self._all_in_line else tuple(x[..., self._line] for x in parts)
        )
        gradient = (line[..., 1:] - line[..., :-1]).mul_(g["conductance"]).sub_(1.0)
        K_face, upper, lower = self.face_mean(K_line[..., :-1], K_line[..., 1:], gradient)
        slope_up, slope_low = dK_line[..., :-1] * upper, dK_line[..., 1:] * lower
        if len(self._faces):
            i = g["interface"]
            mean, up, low = self._interface(K, gradient, g, dK)
            K_face = K_face.index_copy(-1, i, mean)
            slope_up = slope_up.index_copy(-1, i, torch.as_tensor(up))
            slope_low = slope_low.index_copy(-1, i, torch.as_tensor(low))
        q = (K_face * gradient).neg_()
        # derivatives of the flux through each face in the heads above and below it
        conductance = K_face * g["conductance"]
        by_up = torch.addcmul(conductance, slope_up, gradient, value=-1)
        by_low = torch.addcmul(conductance, slope_low, gradient).neg_()
        if not self._heads_only:
            top = self.top.flow(self._side(True, q, by_low, by_up, state, K, dK), forcing, p)
            bottom = self.bottom.flow(self._side(False, q, by_up, by_low, state, K, dK), forcing, p)
            assert top.slope is not None and bottom.slope is not None
            inner = self._inner
            q = torch.cat([top.flux, q[..., inner], bottom.flux], -1)
            by_up = torch.cat([top.slope, by_up[..., inner], bottom.slope], -1)
            by_low = torch.cat([top.slope, by_low[..., inner], bottom.slope], -1)
        rates = (q[..., :-1] - q[..., 1:]).mul_(g["inverse_dz"])
        main = (by_low[..., :-1] - by_up[..., 1:]).mul_(g["inverse_dz"])
        # no cell is above the first face and none below the last: these two factors are zero
        lower_diagonal, upper_diagonal = (
            by_up[..., :-1] * g["lower_inverse_dz"],
            by_low[..., 1:] * g["upper_inverse_dz"],
        )
        compensation: tuple[Tensor, ...] = ()
        if self.roots is not None:
            stress, slope, factor, compensation = self.roots.uptake_slope(
                state, forcing["potential_transpiration"], p
            )
            rates = torch.addcmul(rates, factor, stress, value=-1)
            main = torch.addcmul(main, factor, slope, value=-1)
        theta, capacity = curves.theta[..., self._cells], curves.capacity[..., self._cells]
        if curves.wet:
            theta = theta + p["specific_storage"] * state.clamp_min(0)
            capacity = capacity + p["specific_storage"] * (
                state >= 0
            )  # at zero head the slope is that of the wet side
        jacobian = lower_diagonal, main, upper_diagonal, *compensation
        lin = Linearisation(theta, capacity, rates, jacobian, self._least_capacity(K, p))
        return (
            with_pond(lin, top.pond, whole[..., :1], g["inverse_dz"][:1])
            if self.top.stores
            else lin
        )

    # ---- helpers
    # ----------------------------------------------------------------------------------------------

    def _least_capacity(self, K: Tensor, p: Values) -> Tensor:
        """The specific storage, as far as the soil conducts as if saturated.

        In dry soil a smaller capacity is true.
        """
        if "K_s" not in p:
            return p["specific_storage"]
        K_s = p["K_s"]
        return (
            p["specific_storage"]
            * K[..., self._cells]
            / (K_s if K_s.shape[-1] == 1 else K_s[..., self._cells])
        )
