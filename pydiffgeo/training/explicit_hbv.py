"""The baseline that published differentiable HBV codes are: an explicit daily loop, and autograd through the loop."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

DRY = 1e-5  # mm: soil water below which its powers are no longer evaluated


def explicit_hbv(
    forcing: Mapping[str, Tensor], parameters: Mapping[str, Tensor], initial_state: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """HBV with hard thresholds, its processes one after another within a day, each limited to the water that there is.

    Parameters
    ----------
    forcing : dict of Tensor, [batch, day]
        precipitation and potential_evapotranspiration, mm d-1; temperature, degC.
    parameters : dict of Tensor, [batch] or [batch, day]
        The 13 parameters of the model "hbv", in its units.
    initial_state : Tensor, [5] or [batch, 5]
        Snow, melt water, soil, upper and lower zone, mm.

    Returns
    -------
    states : Tensor, [batch, day, 5]
        At the end of each day.
    fluxes : dict of Tensor, [batch, day]
        evapotranspiration, quick_flow, interflow, base_flow, discharge, mm d-1.

    Source: Feng et al. (2022), doi:10.1029/2022WR032404, after Seibert & Vis (2012), doi:10.5194/hess-16-3315-2012.
    """
    batch, days = forcing["precipitation"].shape
    days_of = {k: v.unbind(1) for k, v in parameters.items() if v.ndim == 2}
    p = {k: v for k, v in parameters.items() if v.ndim < 2}
    snow, melt_water, soil, upper, lower = initial_state.expand(batch, 5).unbind(-1)
    weather = (
        forcing[k].unbind(1)
        for k in ("precipitation", "temperature", "potential_evapotranspiration")
    )
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
        fluxes.append(
            torch.stack([evapotranspiration, quick, interflow, base, quick + interflow + base], -1)
        )
    names = ("evapotranspiration", "quick_flow", "interflow", "base_flow", "discharge")
    return torch.stack(states, 1), dict(zip(names, torch.stack(fluxes, 1).unbind(-1), strict=True))
