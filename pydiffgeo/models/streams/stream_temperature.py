"""Heat of the water in a reach: what it exchanges with sky, air and bed, and what runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from pydiffgeo.errors import ParameterError, lookup
from pydiffgeo.models.base import Entries, Evaluation, Values, not_above_one, not_negative
from pydiffgeo.models.buckets import Buckets
from pydiffgeo.models.slots import Formula
from pydiffgeo.models.smooth import stacked
from pydiffgeo.models.spec_files import load_constants
from pydiffgeo.models.vapour import saturation_and_slope
from pydiffgeo.units import ZERO_CELSIUS

C = load_constants("stream_temperature")
EXCHANGES = {"wind": ("evaporation",), "evaporation": ("wind_speed",)}
"""Ways to exchange heat with the air, and forcing that is not read."""
WIND = ("still_wind", "moving_wind")  # parameters of the exchange by wind


class StreamTemperature(Buckets):
    """Water and heat of a well mixed reach; heat is carried down the river.

    d volume / dt = total inflow - discharge - loss
    d heat / dt = heat from above + lateral inflow x its temperature + surface x (short wave + long
    wave - emission + latent + sensible + bed) + friction - (discharge + loss) heat / volume

    The flows are those of a routing model, such as `MuskingumCunge`, which the reach begins with as
    much water as. The temperature is heat / volume, at least 0: what freezes gives its heat of
    melting off, is carried on as ice, and keeps the rest from cooling in parts of the water that
    it is. The heat balance is the sum of all terms, each computed by itself.

    Long wave radiation of the sky as Theurer et al. (1984), FWS/OBS-84/15; latent and sensible heat
    by a wind function (Hannah et al. 2008, doi:10.1002/rra.1048), or by a given evaporation and
    Bowen's ratio (Bowen 1926, doi:10.1103/PhysRev.27.779); see Caissie (2006),
    doi:10.1111/j.1365-2427.2006.01597.x.

    Parameters
    ----------
    exchange : {"wind", "evaporation"}
        Latent and sensible heat from the forcing wind_speed, or from evaporation.
    closures : mapping of str to NeuralClosure or torch.nn.Module, optional
        Networks in the slots "shade", "wind" and "groundwater"; see docs/closures.md.

    Raises
    ------
    UnknownName, ParameterError
        No such exchange or slot, or a network that does not fit it.
    """

    carries = ("heat_outflow", "heat_inflow")
    formulas: ClassVar[Mapping[str, Formula]] = {
        "shade": lambda p, season: (
            0.5 * (p["bare_shade"] * (1 + season) + p["shade"] * (1 - season))
        ),
        "wind": lambda p, wind: p["still_wind"] + p["moving_wind"] * C["WINDY"] * wind,
        "groundwater": lambda p, memory: memory + p["ground_warming"] / C["WARM"],
    }
    arguments = {
        "shade": ("season", lambda season, p: season),
        "wind": ("wind_speed", lambda wind, p: wind / C["WINDY"]),
        "groundwater": ("groundwater_temperature", lambda memory, p: memory / C["WARM"]),
    }

    def __init__(
        self, exchange: str = "wind", closures: Mapping[str, nn.Module] | None = None
    ) -> None:
        absent = lookup(EXCHANGES, exchange, "exchange with the air")
        self.exchange = exchange
        if exchange != "wind" and "wind" in (closures or {}):
            raise ParameterError(
                f"the exchange by {exchange} has no wind function: leave the closure 'wind' out, "
                "or take exchange='wind'."
            )
        super().__init__("stream_temperature", closures, () if exchange == "wind" else WIND)
        forcings = {k: v for k, v in self.spec.forcings.items() if k not in absent}
        self.spec = replace(self.spec, forcings=forcings)

    def start(self, parameters: Values) -> dict[str, Tensor]:
        """Return the volume that rivers begin with, at 10 degC."""
        return {k: torch.tensor(v, dtype=torch.float64) for k, v in START.items()}

    def total_storage(self, storage: Tensor) -> Tensor:
        """Return what the balance of the specification is of: the heat."""
        return storage[..., 1]

    def slot(self, name: str, value: Tensor, p: Values) -> Tensor:
        """Return what a slot gives, by its network or its formula."""
        if name in self.closures:
            return self.share(name, p, value)
        return self.formulas[name](p, self.arguments[name][1](value, p))

    def drivers(self, forcing: Values, parameters: Values) -> dict[str, Tensor]:
        """Return what weather and flows alone decide.

        Heat without its reach, W m-2: `sun`, `sky`; the exchange with the air: `by_vapour`
        (W m-2 Pa-1) and `by_air` (W m-2 K-1), or `evaporating` (W m-2) in place of the former;
        `ground` (degC); `surface`, which makes m3 degC s-1 of W m-2; `lateral_heat` and `rubbing`,
        m3 degC s-1.
        """
        f, p = forcing, parameters
        shade = self.slot("shade", f["season"], p)
        air, vapour = f["temperature"], f["vapour_pressure"]
        black = C["EMISSIVITY"] * C["STEFAN"] * (air + ZERO_CELSIUS) ** 4
        clear = C["SKY"] + C["SKY_VAPOUR"] * torch.sqrt(0.01 * vapour + 1e-8)
        sky = clear * (1 + C["CLOUDS"] * f["cloud_cover"] ** 2)
        discharge = f["discharge"].clamp(min=0.0)  # rounding may leave it below
        width = p["width"] * (discharge + C["LEAST_DISCHARGE"]) ** p["widening"]
        ground = self.slot("groundwater", f["groundwater_temperature"], p) * C["WARM"]
        soil = f["soil_water_temperature"]
        # water that enters is none that froze
        lateral = (soil + p["ground_share"] * (ground - soil)).clamp(min=0.0)
        found = {
            "sun": (1 - C["ALBEDO"]) * (1 - shade) * f["shortwave_down"],
            "sky": black * ((1 - shade) * sky + shade * C["EMISSIVITY"]),
            "ground": ground.clamp(min=0.0),
            "surface": p["length"] * width / C["CAPACITY"],
            "lateral_heat": f["lateral_inflow"] * lateral,
            "rubbing": (C["DENSITY"] * C["GRAVITY"] / C["CAPACITY"])
            * (discharge * p["slope"] * p["length"]),
        }
        if self.exchange == "wind":
            by_vapour = self.slot("wind", f["wind_speed"], p)
            return found | {"by_vapour": by_vapour, "by_air": C["GAMMA"] * by_vapour}
        full = saturation_and_slope(air)[0]
        deficit = torch.maximum(full - vapour, C["LEAST_DEFICIT"] * full)
        evaporating = C["DENSITY"] * C["LATENT"] * f["evaporation"]
        by_air = C["GAMMA"] * evaporating / deficit
        return found | {"evaporating": evaporating + 0 * by_air, "by_air": by_air}

    def evaluate(
        self, state: Tensor, forcing: Values, parameters: Values, fluxes: bool = False
    ) -> Evaluation:
        """Storage, rates and fluxes."""
        volume, heat = state.unbind(-1)
        f, p = self.inputs(forcing, parameters)
        per, _ = self.dilution(volume)
        enthalpy = heat * per
        water = above_freezing(enthalpy)[0]
        emission = C["EMISSIVITY"] * C["STEFAN"] * (water + ZERO_CELSIUS) ** 4
        if self.exchange == "wind":
            latent = f["by_vapour"] * (f["vapour_pressure"] - saturation_and_slope(water)[0])
        else:
            latent = -f["evaporating"] + 0 * water
        sensible = f["by_air"] * (f["temperature"] - water)
        bed = p["bed_exchange"] * (f["ground"] - water)
        net = f["sun"] + f["sky"] - emission + latent + sensible + bed
        frozen = (enthalpy * (-1 / C["ICE"])).clamp(0.0, 1.0)
        kept = frozen * (-net).clamp(min=0.0)
        came = f["heat_inflow"] + f["lateral_heat"]
        leaving = f["discharge"] * enthalpy
        lost = f["loss"] * enthalpy
        flow = f["total_inflow"] - f["discharge"] - f["loss"]
        rate = came + f["rubbing"] + f["surface"] * (net + kept) - leaving - lost
        rates = stacked([flow + 0 * rate, rate])
        if not fluxes:
            return Evaluation(state, rates, state.new_empty(0))
        parts = [f["sun"], f["sky"], emission, latent, sensible, bed]
        through = [f["surface"] * x for x in parts]
        all_ = [came, *through, f["rubbing"], f["surface"] * kept, leaving, lost, water, frozen]
        return Evaluation(state, rates, stacked([x.expand_as(rate) for x in all_]))

    def slopes(
        self, state: Tensor, forcing: Values, parameters: Values
    ) -> tuple[list[Tensor], Entries]:
        """Rates of volume and heat, and the slopes of the latter."""
        volume, heat = state.unbind(-1)
        f, p = self.inputs(forcing, parameters)
        per, by_volume = self.dilution(volume)
        enthalpy = heat * per
        water, rise = above_freezing(enthalpy)
        kelvin = water + ZERO_CELSIUS
        cube = C["EMISSIVITY"] * C["STEFAN"] * kelvin**3
        if self.exchange == "wind":
            full, steep = saturation_and_slope(water)
            latent = f["by_vapour"] * (f["vapour_pressure"] - full)
            cooling = f["by_vapour"] * steep
        else:
            latent, cooling = -f["evaporating"], torch.zeros_like(water)
        given = p["bed_exchange"] * (f["ground"] - water) + f["by_air"] * (f["temperature"] - water)
        net = f["sun"] + f["sky"] - cube * kelvin + latent + given
        cooling = rise * (4 * cube + cooling + f["by_air"] + p["bed_exchange"])
        frozen = (enthalpy * (-1 / C["ICE"])).clamp(0.0, 1.0)
        losing, freezing = (net < 0).to(net), ((frozen > 0) & (frozen < 1)).to(net)
        kept = frozen * losing * -net
        slope = -cooling + losing * (frozen * cooling + freezing * net / C["ICE"])
        leaving = f["discharge"] + f["loss"]
        came = f["heat_inflow"] + f["lateral_heat"] + f["rubbing"]
        rate = came + f["surface"] * (net + kept) - leaving * enthalpy
        flow = f["total_inflow"] - leaving + 0 * rate
        by_enthalpy = f["surface"] * slope - leaving
        return [flow, rate], {(1, 0): by_enthalpy * heat * by_volume, (1, 1): by_enthalpy * per}

    def dilution(self, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Return one over the volume, m-3, and its slope; that of a dry reach is constant."""
        wet = volume > C["LEAST_VOLUME"]
        per = volume.clamp(min=C["LEAST_VOLUME"]).reciprocal()
        return per, torch.where(wet, -per * per, 0.0)

    def check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Raise ParameterError for what is negative, and for shades above 1."""
        shades = ("shade", "bare_shade")
        not_negative(
            self.spec, parameters, ("bed_exchange", "widening", "ground_share", *shades, *WIND)
        )
        not_above_one(self.spec, parameters, shades)


START = {"volume": 1000.0, "heat": 10000.0}  # as `rivers.reach.FIRST`; m3 degC


def above_freezing(enthalpy: Tensor) -> tuple[Tensor, Tensor]:
    """Return the temperature of water with this heat per volume, degC, and its slope.

    It is the larger of the enthalpy and 0 but for a parabola over some hundredths of a degree.
    """
    width = C["FREEZING"]
    near = enthalpy.clamp(-width, width) + width
    return torch.where(enthalpy > width, enthalpy, near * near / (4 * width)), near / (2 * width)
