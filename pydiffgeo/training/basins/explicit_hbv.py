"""HBV as published differentiable codes solve it: one process after another, day by day, with autograd through the loop.

A baseline: its gradient is exact for what it computes, and what it computes is a sequence of explicit updates whose order
matters (Clark & Kavetski 2010, doi:10.1029/2009WR008894).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pydiffgeo.parameters import Bounds

DRY = 1e-5  # mm: soil water below which its powers are no longer evaluated


class ExplicitHBV:
    """Five stores, mm; processes in the order snow, soil, response (Seibert & Vis 2012, doi:10.5194/hess-16-3315-2012).

    Parameters and bounds are those of differentiable HBV: Feng et al. (2022), doi:10.1029/2022WR032404.

    Attributes
    ----------
    bounds, default, forcing : dict
        See `processes.Process`.
    """

    def __init__(self) -> None:
        self.bounds = {
            "BETA": Bounds(1.0, 6.0), "FC": Bounds(50.0, 1000.0), "K0": Bounds(0.05, 0.9), "K1": Bounds(0.01, 0.5),
            "K2": Bounds(0.001, 0.2), "LP": Bounds(0.2, 1.0), "PERC": Bounds(0.0, 10.0), "UZL": Bounds(0.0, 100.0),
            "TT": Bounds(-2.5, 2.5), "CFMAX": Bounds(0.5, 10.0), "CFR": Bounds(0.0, 0.1), "CWH": Bounds(0.0, 0.2),
            "BETAET": Bounds(0.3, 5.0),
        }  # fmt: skip
        self.default: dict[str, float] = {}
        self.forcing = {"precipitation": "precipitation", "temperature": "tair_mean",
                        "potential_evapotranspiration": "potential_evapotranspiration"}  # fmt: skip

    def simulate(self, forcing: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return discharge, evapotranspiration, mm d-1, and the stores, mm, [column, time].

        Parameters
        ----------
        forcing : mapping of str to Tensor, [column, time]
            precipitation, potential_evapotranspiration (mm d-1), temperature (degC).
        parameters : mapping of str to Tensor, [column] or [column, time]
            Rates per day, amounts in mm.
        """
        rain, warmth, demand = (forcing[n] for n in ("precipitation", "temperature", "potential_evapotranspiration"))
        p = {name: v[:, None] if v.ndim == 1 else v for name, v in parameters.items()}
        cold = (warmth < p["TT"]).to(rain.dtype)
        days = torch.stack([rain * (1 - cold), rain * cold, (p["CFMAX"] * (warmth - p["TT"])).clamp(min=0),
                            (p["CFR"] * p["CFMAX"] * (p["TT"] - warmth)).clamp(min=0), demand]).unbind(2)  # fmt: skip
        daily = [{n: v[:, 0] if v.shape[1] == 1 else v[:, t] for n, v in p.items()} for t in range(rain.shape[1])]
        stores = [torch.zeros_like(rain[:, 0]) for _ in range(5)]
        fluxes, states = [], []
        for day, at in zip(days, daily, strict=True):
            stores, out = _day(stores, day, at)
            fluxes.append(out)
            states.append(torch.stack(stores, 1))
        discharge, evapotranspiration = torch.stack(fluxes, 2)
        names = ("snow", "melt_water", "soil", "upper", "lower")
        series = dict(zip(names, torch.stack(states, 1).unbind(2), strict=True))
        return {"discharge": discharge, "evapotranspiration": evapotranspiration} | series


def _day(stores: list[Tensor], day: Tensor, p: Mapping[str, Tensor]) -> tuple[list[Tensor], Tensor]:
    """Return the stores at the end of a day, and its discharge and evapotranspiration [2, column]."""
    snow, liquid, soil, upper, lower = stores
    rain, snowfall, can_melt, can_freeze, demand = day.unbind(0)
    snow = snow + snowfall
    melt = torch.minimum(can_melt, snow)
    snow, liquid = snow - melt, liquid + melt
    frozen = torch.minimum(can_freeze, liquid)
    snow, liquid = snow + frozen, liquid - frozen
    released = (liquid - p["CWH"] * snow).clamp(min=0)
    liquid, water = liquid - released, rain + released

    recharge = water * (soil.clamp(min=DRY) / p["FC"]).clamp(max=1) ** p["BETA"]
    soil = soil + water - recharge
    excess = (soil - p["FC"]).clamp(min=0)
    soil = soil - excess
    share = (soil.clamp(min=DRY) / (p["LP"] * p["FC"])).clamp(max=1) ** p["BETAET"]
    evapotranspiration = torch.minimum(demand * share, soil)
    soil = soil - evapotranspiration

    upper = upper + recharge + excess
    percolation = torch.minimum(p["PERC"], upper)
    upper = upper - percolation
    quick = p["K0"] * (upper - p["UZL"]).clamp(min=0)
    upper = upper - quick
    interflow = p["K1"] * upper
    lower = lower + percolation
    base = p["K2"] * lower
    return [snow, liquid, soil, upper - interflow, lower - base], torch.stack([quick + interflow + base, evapotranspiration])
