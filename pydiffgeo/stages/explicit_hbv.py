"""HBV as published codes solve it: an explicit daily loop, and autograd through the loop."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pydiffgeo.data.batch import Batch
from pydiffgeo.models.hbv import HBV
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.stages.base import Known, Named, Range, Series, Stage, converted, with_bounds
from pydiffgeo.stages.process import SERIES

FLUXES = ("evapotranspiration", "quick_flow", "interflow", "base_flow", "discharge")
DRY = 1e-5  # mm: soil water below which its powers are no longer evaluated


def explicit_hbv(
    forcing: Mapping[str, Tensor], parameters: Mapping[str, Tensor], initial_state: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """HBV with hard thresholds, its processes one after another within a day.

    Each is limited to the water that there is.

    Takes the forcings [batch, day] of the model "hbv", its 13 parameters [batch] or [batch, day]
    and its states [5] or [batch, 5]; returns the states at the end of each day, [batch, day, 5],
    and fluxes [batch, day], mm d-1. Source: Feng et al. (2022), doi:10.1029/2022WR032404, after
    Seibert & Vis (2012), doi:10.5194/hess-16-3315-2012.
    """
    batch, days = forcing["precipitation"].shape
    days_of = {k: v.unbind(1) for k, v in parameters.items() if v.ndim == 2}
    p = {k: v for k, v in parameters.items() if v.ndim < 2}
    snow, melt_water, soil, upper, lower = initial_state.expand(batch, 5).unbind(-1)
    names = ("precipitation", "temperature", "potential_evapotranspiration")
    weather = (forcing[name].unbind(1) for name in names)
    states: list[Tensor] = []
    fluxes: list[Tensor] = []
    for day, (precipitation, temperature, potential) in enumerate(zip(*weather, strict=True)):
        p |= {k: v[day] for k, v in days_of.items()}
        above = temperature - p["TT"]
        rain = precipitation * (above >= 0)
        snow = snow + (precipitation - rain)
        melt = torch.minimum(p["CFMAX"] * above.clamp(min=0), snow)
        snow, melt_water = snow - melt, melt_water + melt
        refreezing = torch.minimum(p["CFR"] * p["CFMAX"] * (-above).clamp(min=0), melt_water)
        snow, melt_water = snow + refreezing, melt_water - refreezing
        released = (melt_water - p["CWH"] * snow).clamp(min=0)
        melt_water = melt_water - released
        infiltration = rain + released
        recharge = infiltration * ((soil.clamp(min=DRY) / p["FC"]) ** p["BETA"]).clamp(0, 1)
        soil = soil + infiltration - recharge
        excess = (soil - p["FC"]).clamp(min=0)
        soil = soil - excess
        share = ((soil.clamp(min=DRY) / (p["LP"] * p["FC"])) ** p["BETAET"]).clamp(0, 1)
        evapotranspiration = torch.minimum(potential * share, soil)
        soil = soil - evapotranspiration
        upper = upper + recharge + excess
        percolation = torch.minimum(p["PERC"], upper)
        upper = upper - percolation
        quick = p["K0"] * (upper - p["UZL"]).clamp(min=0)
        upper = upper - quick
        interflow = p["K1"] * upper
        upper = upper - interflow
        lower = lower + percolation
        base = p["K2"] * lower
        lower = lower - base
        states.append(torch.stack([snow, melt_water, soil, upper, lower], -1))
        flows = [quick, interflow, base]
        fluxes.append(torch.stack([evapotranspiration, *flows, quick + interflow + base], -1))
    return torch.stack(states, 1), dict(zip(FLUXES, torch.stack(fluxes, 1).unbind(-1), strict=True))


class ExplicitHBV(Stage):
    """HBV as published differentiable codes solve it: `explicit_hbv`, from empty stores.

    A baseline for days.

    Parameters
    ----------
    bounds : mapping of str to (float, float), optional
        Bounds that replace those of the model "hbv".
    """

    def __init__(self, bounds: Mapping[str, Range] | None = None):
        super().__init__()
        self.spec = spec = HBV().spec
        known = {name: Bounds.of(p) for name, p in spec.parameters.items()}
        self.learns = with_bounds(known, bounds)
        self.names = {k: SERIES.get(k, k) for k in spec.forcings}
        self.reads = tuple(self.names.values())
        self.gives = ("inflow", *FLUXES, *spec.states)

    def bind(self, known: Known) -> dict[str, str]:
        """Check the units of the forcing."""
        forcings = self.spec.forcings
        self.factors = {
            k: known.factor(name, forcings[k].unit, self.who) for k, name in self.names.items()
        }
        return {k: "mm" if k in self.spec.states else "mm d-1" for k in self.gives}

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return fluxes, mm d-1, and stores, mm, [batch, time]."""
        own = {name: parameters[name] for name in self.learns}
        forcing = {k: converted(series[name], self.factors[k]) for k, name in self.names.items()}
        rain = forcing["precipitation"]
        empty = torch.zeros(len(self.spec.states), dtype=rain.dtype, device=rain.device)
        states, fluxes = explicit_hbv(forcing, own, empty)
        stores = dict(zip(self.spec.states, states.unbind(-1), strict=True))
        return {"inflow": rain} | fluxes | stores
