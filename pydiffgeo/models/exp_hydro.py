"""EXP-HYDRO: snow and one store whose outflow is exponential in its deficit."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pydiffgeo.models.base import Entries, Evaluation, Values
from pydiffgeo.models.buckets import TYPICAL_RUNOFF, Buckets, not_negative
from pydiffgeo.models.smooth import available, available_and_slope, positive, stacked, step_up
from pydiffgeo.models.spec import load_spec

PHASE_WIDTH = 0.5  # degC: of the thresholds between rain and snow, freezing and melting
STORE_WIDTH = 1.0  # mm: of the thresholds at an empty and at a full store
SPILL = 1.0  # d-1: rate at which the store spills what it cannot hold


class ExpHydro(Buckets):
    """Two stores in mm, rates in mm d-1, six parameters; temperature in degC; see docs/hbv.md.

    The published thresholds are smooth here, over the widths that this module states.

    Sources: Patil & Stieglitz (2014), doi:10.1002/hyp.9993; Hoege et al. (2022), doi:10.5194/hess-26-5085-2022.
    """

    def __init__(self) -> None:
        self.spec = load_spec("exp_hydro")
        self.size = len(self.spec.states)

    def start(self, parameters: Values) -> dict[str, Tensor]:
        """A store that gives the typical runoff, at least a fifth full; no snow."""
        deficit = torch.log(parameters["Q_max"] / TYPICAL_RUNOFF) / parameters["f"].clamp(min=1e-3)
        return {"water": torch.maximum(parameters["S_max"] - deficit, 0.2 * parameters["S_max"])}

    def drivers(self, forcing: Values, parameters: Values) -> dict[str, Tensor]:
        """Snowfall, rain and potential melting, mm d-1: what weather and parameters alone decide."""
        precipitation, temperature = forcing["precipitation"], forcing["temperature"]
        rain = precipitation * step_up(temperature - parameters["T_min"], PHASE_WIDTH)
        return {
            "rain": rain,
            "snowfall": precipitation - rain,
            "melt": parameters["D_f"] * positive(temperature - parameters["T_max"], PHASE_WIDTH),
        }

    def evaluate(self, state: Tensor, forcing: Values, parameters: Values, fluxes: bool = False) -> Evaluation:
        """Storage, rates and fluxes."""
        snow, water = state.unbind(-1)
        f, p = self.inputs(forcing, parameters)
        melt = f["melt"] * available(snow, STORE_WIDTH)
        evapotranspiration = f["potential_evapotranspiration"] * _limited(water / p["S_max"])[0]
        over, in_store = water - p["S_max"], available(water, STORE_WIDTH)
        base = p["Q_max"] * torch.exp(-p["f"] * positive(-over, STORE_WIDTH)) * in_store
        spill = SPILL * positive(over, STORE_WIDTH) * in_store
        discharge = base + spill
        rates = stacked([f["snowfall"] - melt, f["rain"] + melt - evapotranspiration - discharge])
        out = state.new_empty(0)
        if fluxes:
            out = stacked([f["precipitation"].expand_as(base), evapotranspiration, discharge, base, spill])
        return Evaluation(state, rates, out)

    def slopes(self, state: Tensor, forcing: Values, parameters: Values) -> tuple[list[Tensor], Entries]:
        """Rates of the stores, and those entries of their Jacobian that are not zero everywhere."""
        snow, water = state.unbind(-1)
        f, p = self.inputs(forcing, parameters)
        in_snow, on_snow = available_and_slope(snow, STORE_WIDTH)
        melt, on_snow = f["melt"] * in_snow, f["melt"] * on_snow
        part, slope = _limited(water / p["S_max"])
        evapotranspiration = f["potential_evapotranspiration"] * part
        over = water - p["S_max"]
        in_store, on_store = available_and_slope(water, STORE_WIDTH)
        base = p["Q_max"] * torch.exp(-p["f"] * positive(-over, STORE_WIDTH))
        spill = SPILL * positive(over, STORE_WIDTH)
        outflow = base + spill
        growth = (p["f"] * base).mul_(step_up(-over, STORE_WIDTH)).add_(step_up(over, STORE_WIDTH), alpha=SPILL)
        drying = f["potential_evapotranspiration"] / p["S_max"] * slope
        rates = [f["snowfall"] - melt, f["rain"] + melt - evapotranspiration - outflow * in_store]
        return rates, {(0, 0): -on_snow, (1, 0): on_snow, (1, 1): -(drying + outflow * on_store + growth * in_store)}

    def check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Raise ParameterError where a parameter that may be zero is negative."""
        not_negative(self.spec, parameters, ("f",))


def _limited(x: Tensor) -> tuple[Tensor, Tensor]:
    """min(x, 1), smooth: x (1 + x^8)^(-1/8), 8 % below 1 at x = 1; and its slope."""
    fourth = (x * x).square()
    inverse = (1 + fourth * fourth).reciprocal()
    root = inverse.sqrt().sqrt().sqrt()
    return x * root, inverse * root
