"""Two big leaves: a canopy in sun and shade over a soil surface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pydiffgeo.errors import ParameterError, lookup
from pydiffgeo.models.base import (
    Entries,
    Evaluation,
    ProcessModel,
    Values,
    not_above_one,
    not_negative,
)
from pydiffgeo.models.canopies.air import (
    CONSTANTS,
    aerodynamic,
    friction_by_log_law,
    leaf_boundary,
    molar_density,
    moving,
    soil_boundary,
    soil_resistance,
    vaporisation,
)
from pydiffgeo.models.canopies.balance import CLASSES, Terms, entries, terms
from pydiffgeo.models.canopies.radiation import (
    absorbed,
    diffuse_par_share,
    extinction,
    long_wave_exchange,
    sunlit_area,
)
from pydiffgeo.models.leaves.photosynthesis import Photosynthesis
from pydiffgeo.models.smooth import stacked
from pydiffgeo.models.spec_files import load_spec
from pydiffgeo.models.vapour import saturation_pressure

LEAST_SINE, LEAST_AREA = CONSTANTS["LEAST_SINE"], CONSTANTS["LEAST_AREA"]
K_DIFFUSE = CONSTANTS["K_DIFFUSE"]
PAR_SHARE, PAR_ENERGY = CONSTANTS["PAR_SHARE"], CONSTANTS["PAR_ENERGY"]
VAPOUR_FACTOR = CONSTANTS["VAPOUR_FACTOR"]
REFERENCE_SOIL = CONSTANTS["REFERENCE_SOIL"]
FRICTION = {
    "measured": ("vegetation_height", "measurement_height"),
    "log_law": ("friction_velocity",),
}
"""Where the friction velocity comes from, and what is not read then."""
LIGHT = {"measured": (), "shortwave": ("par",)}
"""Where photosynthetically active radiation comes from, and what is not read then."""
CAPACITIES = ("V_cmax25", "J_max25", "TPU25", "R_d25")
"""Parameters of a leaf that decline with the leaf area above."""


class TwoBigLeaf(ProcessModel):
    """A canopy of sunlit and shaded leaves over a soil surface; see docs/canopies.md.

    Each class of leaves is a leaf of `Photosynthesis` with an energy balance of its own, in the
    light, the long wave radiation and the wind that it gets between top and ground. Heat and vapour
    of leaves and soil meet in the air of the canopy, and leave it together. The soil has a surface
    temperature, evaporates against a resistance, and exchanges heat with the depth where its
    temperature is measured. Nothing is stored, neither heat nor CO2: net radiation is latent,
    sensible and ground heat; net ecosystem exchange is respiration less gross production.

    Left out are storage of heat in stems and in the air, snow, water on leaves, and the CO2 that
    the air of the canopy has more or less than that above.

    Sources: de Pury & Farquhar (1997), doi:10.1111/j.1365-3040.1997.00094.x; Wang & Leuning (1998),
    doi:10.1016/S0168-1923(98)00061-6; Campbell & Norman (1998), doi:10.1007/978-1-4612-1626-1.

    Parameters
    ----------
    friction : {"measured", "log_law"}
        Whether the friction velocity is a forcing, or follows from wind and height of the canopy:
        there is no solution where the height of the wind is not above the canopy.
    light : {"measured", "shortwave"}
        Whether photosynthetically active radiation is a forcing, or a fixed part of global
        radiation.
    closures : mapping of str to NeuralClosure or torch.nn.Module, optional
        Networks in the slots of the leaf, one for both classes.
    pathway, stomata, ratios
        Of `Photosynthesis`; not the stomata that are measured of a leaf.

    Raises
    ------
    UnknownName, ParameterError
        An option that there is not, or a network that does not fit its slot.
    """

    def __init__(
        self,
        friction: str = "measured",
        light: str = "measured",
        closures: Mapping[str, nn.Module] | None = None,
        pathway: str = "c3",
        stomata: str = "medlyn",
        ratios: bool = True,
    ) -> None:
        unread = {
            *lookup(FRICTION, friction, "friction of two_big_leaf"),
            *lookup(LIGHT, light, "light of two_big_leaf"),
        }
        if stomata.startswith("measured"):
            raise ParameterError(
                f"stomata={stomata!r} needs what is measured of a leaf, and a canopy has two; take "
                "another form."
            )
        self.friction, self.light, own = friction, light, load_spec("two_big_leaf")
        self.leaf = Photosynthesis(pathway, stomata, ratios=ratios, closures=closures or {})
        # in the order of the slots; the leaf's parameters before those of the canopy
        self.closures, self.replaced = self.leaf.closures, self.leaf.replaced
        absorptance = load_spec("photosynthesis").parameters["absorptance"]  # C4 leaves lack it
        parameters = {
            **self.leaf.spec.parameters, absorptance.name: absorptance, **own.parameters
        }  # fmt: skip
        self.spec = replace(
            own,
            parameters={k: v for k, v in parameters.items() if k not in unread},
            forcings={k: v for k, v in own.forcings.items() if k not in unread},
            slots=self.leaf.spec.slots,
        )
        self.size = len(self.spec.states)

    def start(self, parameters: Values) -> dict[str, Tensor]:
        """Return a guess for air of 20 degC; `guess` has a better one of each interval."""
        values = (280.0, 280.0, 20.0, 20.0, 20.0, 1000.0)
        named = zip(self.spec.states, values, strict=True)
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in named}

    def formula(self, slot: str, parameters: Mapping[str, float] | None = None) -> Any:
        """Return the formula of a slot of the leaf; see `pydiffgeo.fit_closure`."""
        return self.leaf.formula(slot, parameters)

    def check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Raise ParameterError for parameters that nature does not have."""
        self.leaf.check_parameters(
            {k: v for k, v in parameters.items() if k in self.leaf.spec.parameters}
        )
        albedos = "soil_albedo_par", "soil_albedo_nir"
        not_negative(
            self.spec, parameters, ("R_15", "K_nitrogen", "soil_resistance_slope", *albedos)
        )
        not_above_one(self.spec, parameters, ("leaf_absorptivity_nir", "clumping", *albedos))

    def guess(self, forcing: Values, parameters: Values) -> Tensor:
        """Return leaves and soil as warm as the air, as moist as the air above, Ci of 0.7 CO2."""
        air, co2 = forcing["air_temperature"][..., 0], 0.7 * forcing["co2"][..., 0]
        vapour = forcing["vapour_pressure"][..., 0]
        return stacked(list(torch.broadcast_tensors(co2, co2, air, air, air, vapour)))

    def drivers(self, forcing: Values, parameters: Values) -> dict[str, Tensor]:
        """Return what forcing and parameters alone decide: radiation, areas, conductances."""
        f, p = ({k: v[..., 0] for k, v in x.items()} for x in (forcing, parameters))
        area = f["leaf_area_index"].clamp_min(LEAST_AREA)
        black = p["clumping"] * extinction(f["sun_elevation"], p["leaf_angle"], LEAST_SINE)
        diffuse = p["clumping"] * torch.full_like(black, K_DIFFUSE)
        sunlit = sunlit_area(area, black)
        areas = {"sun": sunlit, "shade": area - sunlit}
        out = {f"area_{k}": v for k, v in areas.items()}

        total = f["shortwave_down"]
        of_par = PAR_SHARE * diffuse_par_share(f["diffuse_share"])
        of_nir = f["diffuse_share"] - of_par
        layers = area, black, diffuse
        par = absorbed(PAR_SHARE - of_par, of_par, *layers, p["absorptance"], p["soil_albedo_par"])
        nir = absorbed(
            1 - PAR_SHARE - of_nir, of_nir, *layers, p["leaf_absorptivity_nir"],
            p["soil_albedo_nir"],
        )  # fmt: skip
        for name in ("sun", "shade", "soil", "reflected"):
            out[f"short_{name}"] = total * (getattr(par, name) + getattr(nir, name))
        photons = PAR_ENERGY * total if self.light == "shortwave" else f["par"] / PAR_SHARE
        for name, own in areas.items():  # as if it were incident: the leaf absorbs its part of it
            out[f"light_{name}"] = photons * getattr(par, name) / (own * p["absorptance"])
        exchange = long_wave_exchange(area, black, diffuse)
        out |= {f"long_{name}": value for name, value in exchange._asdict().items()}

        decline = p["K_nitrogen"]
        capacity = sunlit_area(area, black, decline)
        out["capacity_sun"] = capacity / sunlit
        out["capacity_shade"] = (sunlit_area(area, decline) - capacity) / areas["shade"]

        density = molar_density(f["pressure"], f["air_temperature"])
        if self.friction == "measured":
            friction = moving(f["friction_velocity"])
        else:
            height = f["vegetation_height"]
            friction = moving(friction_by_log_law(f["wind_speed"], height, p["measurement_height"]))
        of_sun, every = leaf_boundary(friction, p["leaf_width"], area, black)
        out["boundary_sun"], out["boundary_shade"] = of_sun, every - of_sun
        out["aerodynamic"] = aerodynamic(friction, f["wind_speed"], density)
        soil = soil_boundary(friction, area, p["soil_exchange"], p["bare_soil_exchange"], density)
        resistance = soil_resistance(
            f["soil_moisture"], p["saturated_water_content"], p["soil_resistance_dry"],
            p["soil_resistance_slope"],
        )  # fmt: skip
        out["soil_heat"], out["soil_vapour"] = soil, 1 / (1 / soil + resistance / density)
        out["vaporisation"] = vaporisation(f["air_temperature"])
        warmer = (f["soil_temperature"] - REFERENCE_SOIL) / 10
        out["soil_respiration"] = p["R_15"] * torch.exp(warmer * torch.log(p["Q10"]))
        return {k: v[..., None] for k, v in out.items()}

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        """Supply less demand of CO2, and gains less losses of energy and vapour."""
        return self.evaluate(state, forcing, parameters).rates

    def fluxes(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        """The fluxes of the specification."""
        return self.evaluate(state, forcing, parameters, fluxes=True).fluxes

    def evaluate(
        self, state: Tensor, forcing: Values, parameters: Values, fluxes: bool = False
    ) -> Evaluation:
        """Rates and fluxes; there is no storage, in whose place the state stands."""
        forcing = self._with_drivers(forcing, parameters)
        f, p = ({k: v[..., 0] for k, v in x.items()} for x in (forcing, parameters))
        leaves = self._leaves(*_of_leaves(state), forcing, parameters)
        t = terms(state, leaves["transpiration"], f, p)
        out = state.new_empty(0)
        if fluxes:
            out = stacked([x.expand_as(t.ground) for x in self._fluxes(leaves, t, f)])
        return Evaluation(state, stacked(t.rates(leaves["supply"], f)), out)

    def slopes(
        self, state: Tensor, forcing: Values, parameters: Values
    ) -> tuple[list[Tensor], Entries]:
        """Rates, and those entries of their Jacobian that are not zero everywhere.

        Those of the leaves by reverse differentiation: each depends on its own CO2 and temperature
        and on the vapour of the air. All outside of any graph.
        """
        forcing = self._with_drivers(forcing, parameters)
        f, p = ({k: v[..., 0].detach() for k, v in x.items()} for x in (forcing, parameters))
        forcing, parameters = ({k: v.detach() for k, v in x.items()} for x in (forcing, parameters))
        with torch.enable_grad():
            of = ci, warm, vapour = [x.detach().requires_grad_() for x in _of_leaves(state)]
            leaves = self._leaves(ci, warm, vapour, forcing, parameters)
            supply, transpiration = leaves["supply"], leaves["transpiration"]
            by_supply = torch.autograd.grad(supply.sum(), of, retain_graph=True)
            by_vapour = torch.autograd.grad(transpiration.sum(), of, allow_unused=True)
        none = torch.zeros_like(ci)
        by_vapour = tuple(none if x is None else x for x in by_vapour)
        with torch.no_grad():
            t = terms(state.detach(), transpiration.detach(), f, p)
            return t.rates(supply.detach(), f), entries(state.detach(), by_supply, by_vapour, f, p)

    def _with_drivers(self, forcing: Values, parameters: Values) -> Values:
        """Return the forcing with its drivers, which a solver may have computed."""
        if any(k not in self.spec.forcings for k in forcing):
            return forcing
        return {**forcing, **self.drivers(forcing, parameters)}

    def _fluxes(self, leaves: Values, t: Terms, f: Values) -> list[Tensor]:
        """Return the fluxes in the order of the specification."""

        def of_ground(name: str) -> tuple[Tensor, Tensor]:
            sun, shade = leaves[name].unbind(-1)
            return f["area_sun"] * sun, f["area_shade"] * shade

        sun, shade = of_ground("assimilation")
        gross, own = (of_ground(k) for k in ("gross_assimilation", "day_respiration"))
        conductances = leaves["stomatal_conductance"].unbind(-1)
        soil, e, h = f["soil_respiration"], t.evaporation, t.heat
        found = {
            "latent_heat": e["sun"] + e["shade"] + e["soil"],
            "sensible_heat": h["sun"] + h["shade"] + h["soil"],
            "net_radiation": f["shortwave_down"]
            - f["short_reflected"]
            + f["longwave_down"]
            - f["long_sun_sky"] * t.black["sun"]
            - f["long_shade_sky"] * t.black["shade"]
            - f["long_sky_soil"] * t.black["soil"],
            "ground_heat_flux": t.ground,
            "net_ecosystem_exchange": soil - sun - shade,
            "gross_primary_production": gross[0] + gross[1],
            "ecosystem_respiration": soil + own[0] + own[1],
            "assimilation_sun": sun,
            "assimilation_shade": shade,
            "transpiration_sun": e["sun"],
            "transpiration_shade": e["shade"],
            "soil_evaporation": e["soil"],
            "stomatal_conductance_sun": conductances[0],
            "stomatal_conductance_shade": conductances[1],
            "leaf_area_sun": f["area_sun"],
            "reflected_shortwave": f["short_reflected"],
        }
        return [found[k] for k in self.spec.fluxes]

    def _leaves(
        self, ci: Tensor, temperature: Tensor, vapour: Tensor, forcing: Values, parameters: Values
    ) -> dict[str, Tensor]:
        """Return supply less demand of CO2, and the fluxes, of a mean leaf of each class.

        All `[..., class]`, as Ci, temperature and the vapour pressure around the leaf are.
        """

        def of_classes(name: str) -> Tensor:
            return torch.stack([forcing[f"{name}_{k}"] for k in CLASSES], -2)

        boundary = of_classes("boundary") / of_classes("area")
        given = {
            "par": of_classes("light"),
            "leaf_temperature": temperature[..., None],
            "vapour_pressure_deficit": (saturation_pressure(temperature) - vapour)[..., None]
            / 1000,
            "boundary_layer_conductance": VAPOUR_FACTOR * boundary,
        }
        read, of_leaf = self.leaf.spec.forcings, self.leaf.spec.parameters
        given |= {k: v[..., None, :] for k, v in forcing.items() if k in read and k not in given}
        own = {k: v[..., None, :] for k, v in parameters.items() if k in of_leaf}
        capacity = of_classes("capacity")
        own |= {k: v * capacity for k, v in own.items() if k in CAPACITIES}
        given = {k: v for k, v in given.items() if k in read}
        e = self.leaf.evaluate(ci[..., None], given, own, fluxes=True)
        fluxes = dict(zip(self.leaf.spec.fluxes, e.fluxes.unbind(-1), strict=True))
        return fluxes | {"supply": e.rates[..., 0]}


def _of_leaves(state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return CO2, temperature and vapour pressure around the leaves, `[..., class]`."""
    return state[..., :2], state[..., 2:4], state[..., 5:].expand(*state.shape[:-1], 2)
