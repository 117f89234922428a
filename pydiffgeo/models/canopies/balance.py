"""Energy and water of a canopy: what leaves, soil and air gain and lose, and how that changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pydiffgeo.models.base import Entries, Values
from pydiffgeo.models.canopies.air import CONSTANTS
from pydiffgeo.models.vapour import saturation_and_slope, saturation_pressure
from pydiffgeo.units import ZERO_CELSIUS

STEFAN, HEAT_CAPACITY = CONSTANTS["STEFAN"], CONSTANTS["HEAT_CAPACITY"]
CLASSES = ("sun", "shade")


class Terms(NamedTuple):
    """Fluxes of heat and vapour of leaves and soil, and radiation, W m-2 of ground."""

    heat: dict[str, Tensor]
    evaporation: dict[str, Tensor]
    net: dict[str, Tensor]
    black: dict[str, Tensor]
    ground: Tensor
    leaving: Tensor  # latent heat of the vapour that leaves the canopy

    def rates(self, supply: Tensor, f: Values) -> list[Tensor]:
        """Return gains less losses in the order of the states."""
        left = {k: self.net[k] - self.heat[k] - self.evaporation[k] for k in (*CLASSES, "soil")}
        energy = [left[k] / f[f"area_{k}"] for k in CLASSES]
        vapour = self.evaporation["sun"] + self.evaporation["shade"] + self.evaporation["soil"]
        return [*supply.unbind(-1), *energy, left["soil"] - self.ground, vapour - self.leaving]


def terms(state: Tensor, transpiration: Tensor, f: Values, p: Values) -> Terms:
    """Return the fluxes at a state, from the transpiration of leaves, mol m-2 s-1, `[..., class]`.

    The forcing comes with the drivers of `TwoBigLeaf`.
    """
    warm_sun, warm_shade, surface, vapour = state[..., 2:].unbind(-1)
    soil, above, air = f["soil_heat"], f["aerodynamic"], f["air_temperature"]
    sun, shade = 2 * f["boundary_sun"], 2 * f["boundary_shade"]  # both sides of leaves
    # the air of the canopy is warmer than that above by what it takes from all
    taken = sun * (warm_sun - air) + shade * (warm_shade - air) + soil * (surface - air)
    between = air + taken / (sun + shade + soil + above)
    heat = {
        "sun": HEAT_CAPACITY * sun * (warm_sun - between),
        "shade": HEAT_CAPACITY * shade * (warm_shade - between),
        "soil": HEAT_CAPACITY * soil * (surface - between),
    }
    latent = f["vaporisation"]
    evaporation = {
        k: latent * f[f"area_{k}"] * x
        for k, x in zip(CLASSES, transpiration.unbind(-1), strict=True)
    }
    gap = saturation_pressure(surface) - vapour
    evaporation["soil"] = latent * f["soil_vapour"] * gap / f["pressure"]
    leaving = latent * above * (vapour - f["vapour_pressure"]) / f["pressure"]

    warm = {"sun": warm_sun, "shade": warm_shade, "soil": surface}
    black = {k: STEFAN * (v + ZERO_CELSIUS).square().square() for k, v in warm.items()}
    sky = f["longwave_down"]
    net = {
        k: f[f"short_{k}"]
        + f[f"long_{k}_sky"] * (sky - black[k])
        + f[f"long_{k}_soil"] * (black["soil"] - black[k])
        for k in CLASSES
    }
    net["soil"] = (
        f["short_soil"]
        + f["long_sky_soil"] * (sky - black["soil"])
        + f["long_sun_soil"] * (black["sun"] - black["soil"])
        + f["long_shade_soil"] * (black["shade"] - black["soil"])
    )
    ground = p["soil_heat_conductance"] * (surface - f["soil_temperature"])
    return Terms(heat, evaporation, net, black, ground, leaving)


def entries(
    state: Tensor,
    by_supply: Sequence[Tensor],
    by_vapour: Sequence[Tensor],
    f: Values,
    p: Values,
) -> Entries:
    """Jacobian of the rates, from that of supply and transpiration of each class in CO2, leaf
    temperature and vapour pressure.
    """
    soil, latent = 4, f["vaporisation"]
    warm = {k: state[..., 2 + k] + ZERO_CELSIUS for k in range(3)}
    emits = {k: 4 * STEFAN * v * v * v for k, v in warm.items()}  # sun, shade, soil
    moves = {0: 2 * f["boundary_sun"], 1: 2 * f["boundary_shade"], 2: f["soil_heat"]}
    whole = moves[0] + moves[1] + moves[2] + f["aerodynamic"]
    per_area = {0: 1 / f["area_sun"], 1: 1 / f["area_shade"], 2: torch.ones_like(whole)}
    exchange = {0: f["long_sun_soil"], 1: f["long_shade_soil"]}
    to_sky = {0: f["long_sun_sky"], 1: f["long_shade_sky"], 2: f["long_sky_soil"]}
    out: Entries = {}
    for i in range(3):  # heat through the air of the canopy
        for j in range(3):
            shared = HEAT_CAPACITY * moves[i] * moves[j] / whole
            if i == j:
                shared = shared - HEAT_CAPACITY * moves[i] - to_sky[i] * emits[i]
            out[2 + i, 2 + j] = shared * per_area[i]
    out[5, 5] = torch.zeros_like(whole)
    for k in range(2):
        water = latent * f[f"area_{CLASSES[k]}"]
        by = [x[..., k] for x in by_supply]
        of = [water * x[..., k] for x in by_vapour]
        out |= {(k, k): by[0], (k, 2 + k): by[1], (k, 5): by[2]}
        long = exchange[k]
        out[2 + k, 2 + k] = out[2 + k, 2 + k] - (long * emits[k] + of[1]) * per_area[k]
        out[2 + k, soil] = out[2 + k, soil] + long * emits[2] * per_area[k]
        out[soil, 2 + k] = out[soil, 2 + k] + long * emits[k]
        out[soil, soil] = out[soil, soil] - long * emits[2]
        out |= {(2 + k, k): -of[0] * per_area[k], (2 + k, 5): -of[2] * per_area[k]}
        out |= {(5, k): of[0], (5, 2 + k): of[1]}
        out[5, 5] = out[5, 5] + of[2]
    moist = latent * f["soil_vapour"] / f["pressure"]
    steeper = saturation_and_slope(state[..., 4])[1]
    out[soil, soil] = out[soil, soil] - p["soil_heat_conductance"] - moist * steeper
    out |= {(soil, 5): moist, (5, soil): moist * steeper}
    out[5, 5] = out[5, 5] - moist - latent * f["aerodynamic"] / f["pressure"]
    return {place: values.expand(state.shape[:-1]) for place, values in out.items()}
