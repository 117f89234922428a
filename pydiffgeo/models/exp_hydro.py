"""EXP-HYDRO: snow and one store whose outflow is exponential in its deficit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from pydiffgeo.models.base import Entries, Evaluation, Values, not_negative
from pydiffgeo.models.buckets import TYPICAL_RUNOFF, Buckets
from pydiffgeo.models.slots import Formula
from pydiffgeo.models.smooth import (
    at_most_one,
    available,
    available_and_slope,
    left_of,
    positive,
    positive_and_slope,
    stacked,
    step_up,
)
from pydiffgeo.models.spec_files import load_constants

CONSTANTS = load_constants("exp_hydro")
PHASE_WIDTH = CONSTANTS["PHASE_WIDTH"]
STORE_WIDTH = CONSTANTS["STORE_WIDTH"]
LIMIT_WIDTH = CONSTANTS["LIMIT_WIDTH"]
SPILL = CONSTANTS["SPILL"]
WARM = CONSTANTS["WARM"]
MELTING = CONSTANTS["MELTING"]
GUARD = CONSTANTS["GUARD"]


def _filling(water: Tensor, p: Values) -> Tensor:
    return water / p["S_max"]


class ExpHydro(Buckets):
    """Two stores in mm, rates in mm d-1, six parameters; temperature in degC; see docs/hbv.md.

    The published thresholds are smooth here, over the widths among `spec.constants`.

    Sources: Patil & Stieglitz (2014), doi:10.1002/hyp.9993; Hoege et al. (2022),
    doi:10.5194/hess-26-5085-2022.

    Parameters
    ----------
    closures : mapping of str to NeuralClosure or torch.nn.Module, optional
        Networks `[..., input] -> [...]` or `[..., 1]` in the slots "rain", "melt",
        "evapotranspiration", "base_flow" and "spill"; see docs/closures.md. The parameter of a
        formula that is replaced (f) is no longer one of the model. Hoege et al. (2022) replace
        evapotranspiration and discharge (the last three) in their M50, and all five in their M100.

    Raises
    ------
    UnknownName, ParameterError
        A slot that the model does not have, or a network that does not fit it.
    """

    formulas: ClassVar[Mapping[str, Formula]] = {
        "rain": lambda p, warmth: step_up(WARM * warmth, PHASE_WIDTH),
        "melt": lambda p, warmth: positive(WARM * warmth, PHASE_WIDTH) / MELTING,
        "evapotranspiration": lambda p, filling: at_most_one(filling, LIMIT_WIDTH)[0],
        "base_flow": lambda p, filling: torch.exp(
            -p["f"] * positive(p["S_max"] * (1 - filling), STORE_WIDTH)
        ),
        "spill": lambda p, filling: (
            positive(p["S_max"] * (filling - 1), STORE_WIDTH)
            / (p["S_max"] * filling.abs() + STORE_WIDTH)
        ),
    }
    arguments = {
        "rain": ("temperature", lambda temperature, p: (temperature - p["T_min"]) / WARM),
        "melt": ("temperature", lambda temperature, p: (temperature - p["T_max"]) / WARM),
        "evapotranspiration": ("water", _filling),
        "base_flow": ("water", _filling),
        "spill": ("water", _filling),
    }

    def __init__(self, closures: Mapping[str, nn.Module] | None = None) -> None:
        super().__init__("exp_hydro", closures)
        if not self.closures:
            self.ahead = self._ahead

    def start(self, parameters: Values) -> dict[str, Tensor]:
        """Return no snow, and a store that gives the typical runoff.

        The store is at least a fifth full; half full where a closure gives the base flow.
        """
        p = self.with_defaults(parameters)
        full, snow = p["S_max"], torch.zeros(())
        if "f" not in p:
            return {"snow": snow, "water": 0.5 * full}
        deficit = torch.log(p["Q_max"] / TYPICAL_RUNOFF) / p["f"].clamp(min=1e-3)
        return {"snow": snow, "water": torch.maximum(full - deficit, 0.2 * full)}

    def drivers(self, forcing: Values, parameters: Values) -> dict[str, Tensor]:
        """Snowfall, rain and potential melting, mm d-1.

        What weather and parameters alone decide.
        """
        p, precipitation, temperature = parameters, forcing["precipitation"], forcing["temperature"]
        if "rain" in self.closures:
            rain = precipitation * self.share("rain", p, temperature)
        else:
            rain = precipitation * step_up(temperature - p["T_min"], PHASE_WIDTH)
        if "melt" in self.closures:
            melt = p["D_f"] * MELTING * self.share("melt", p, temperature)
        else:
            melt = p["D_f"] * positive(temperature - p["T_max"], PHASE_WIDTH)
        return {"rain": rain, "snowfall": precipitation - rain, "melt": melt}

    def evaluate(
        self, state: Tensor, forcing: Values, parameters: Values, fluxes: bool = False
    ) -> Evaluation:
        """Storage, rates and fluxes."""
        snow, water = state.unbind(-1)
        f, p = self.inputs(forcing, parameters)
        melt = f["melt"] * available(snow, STORE_WIDTH)
        evapotranspiration = f["potential_evapotranspiration"] * self._evapotranspiration(water, p)
        base, spill = self._base_flow(water, p), self._spill(water, p)
        discharge = base + spill
        rates = stacked([f["snowfall"] - melt, f["rain"] + melt - evapotranspiration - discharge])
        out = state.new_empty(0)
        if fluxes:
            out = stacked(
                [f["precipitation"].expand_as(base), evapotranspiration, discharge, base, spill]
            )
        return Evaluation(state, rates, out)

    def slopes(
        self, state: Tensor, forcing: Values, parameters: Values
    ) -> tuple[list[Tensor], Entries]:
        """Rates of the stores, and those entries of their Jacobian that are not zero everywhere."""
        snow, water = state.unbind(-1)
        f, p = self.inputs(forcing, parameters)
        in_snow, on_snow = available_and_slope(snow, STORE_WIDTH)
        melt, on_snow = f["melt"] * in_snow, f["melt"] * on_snow
        if "evapotranspiration" in self.closures:
            guard = available_and_slope(water, GUARD)
            part, slope = self.share_and_slope(
                "evapotranspiration", p, water / p["S_max"], 1 / p["S_max"], guard
            )
        else:
            part, slope = at_most_one(water / p["S_max"], LIMIT_WIDTH)
            slope = slope / p["S_max"]
        evapotranspiration, drying = (
            f["potential_evapotranspiration"] * part,
            f["potential_evapotranspiration"] * slope,
        )
        over = water - p["S_max"]
        in_store, on_store = available_and_slope(water, STORE_WIDTH)
        if "base_flow" in self.closures:
            base, growth = self.share_and_slope("base_flow", p, water / p["S_max"], 1 / p["S_max"])
            base, growth = p["Q_max"] * base, p["Q_max"] * growth
        else:
            deficit, by_deficit = positive_and_slope(-over, STORE_WIDTH)
            base = p["Q_max"] * torch.exp(-p["f"] * deficit)
            growth = (p["f"] * base).mul_(by_deficit)
        if "spill" in self.closures:
            spill, by_water = self.share_and_slope("spill", p, water / p["S_max"], 1 / p["S_max"])
            discharge, emptying = SPILL * spill * water, (by_water * water).add_(spill).mul_(SPILL)
            discharge.addcmul_(base, in_store)
            emptying.addcmul_(base, on_store).addcmul_(growth, in_store)
        else:
            excess, by_excess = positive_and_slope(over, STORE_WIDTH)
            outflow = torch.add(base, excess, alpha=SPILL)
            growth = growth.add_(by_excess, alpha=SPILL)
            discharge, emptying = outflow * in_store, outflow * on_store + growth * in_store
        rates = [f["snowfall"] - melt, f["rain"] + melt - evapotranspiration - discharge]
        return rates, {(0, 0): -on_snow, (1, 0): on_snow, (1, 1): -(drying + emptying)}

    def _ahead(
        self, states: Sequence[Tensor], f: Values, p: Values, step: float | Tensor, iterations: int,
    ) -> list[Tensor]:  # fmt: skip
        """Snow at the end of an implicit step, and the water near it, by iterations of Newton."""
        snow, water = states
        fallen, spill = snow + step * f["snowfall"], SPILL * step
        snow = left_of(fallen, step * f["melt"], STORE_WIDTH)
        total = water + (fallen - snow) + step * f["rain"]
        full, most, potential = (
            p["S_max"],
            step * p["Q_max"],
            step * f["potential_evapotranspiration"],
        )
        water = torch.minimum(total, (total + spill * full) / (1 + spill))
        for _ in range(iterations):
            part, drying = at_most_one(water / full, LIMIT_WIDTH)
            deficit, by_deficit = positive_and_slope(full - water, STORE_WIDTH)
            excess, by_excess = positive_and_slope(water - full, STORE_WIDTH)
            inside, on_inside = available_and_slope(water, STORE_WIDTH)
            base = most * torch.exp(-p["f"] * deficit)
            outflow = base + spill * excess
            rest = (total - water).addcmul_(outflow, inside, value=-1)
            rest.addcmul_(potential, part, value=-1)
            growth = (p["f"] * base).mul_(by_deficit).add_(spill * by_excess)
            loss = torch.addcmul(outflow * on_inside, growth, inside)
            loss.addcmul_(potential / full, drying).add_(1.0)
            water = torch.maximum(water + rest / loss, 0.1 * water)
        return [snow, water]

    def _evapotranspiration(self, water: Tensor, p: Values) -> Tensor:
        """Evapotranspiration in parts of its potential."""
        if "evapotranspiration" in self.closures:
            return self.share("evapotranspiration", p, water, guard=available(water, GUARD))
        return at_most_one(water / p["S_max"], LIMIT_WIDTH)[0]

    def _base_flow(self, water: Tensor, p: Values) -> Tensor:
        """Base flow, mm d-1."""
        if "base_flow" in self.closures:
            share = self.share("base_flow", p, water)
        else:
            share = torch.exp(-p["f"] * positive(p["S_max"] - water, STORE_WIDTH))
        return p["Q_max"] * share * available(water, STORE_WIDTH)

    def _spill(self, water: Tensor, p: Values) -> Tensor:
        """Spill, mm d-1."""
        if "spill" in self.closures:
            return SPILL * self.share("spill", p, water) * water
        return SPILL * positive(water - p["S_max"], STORE_WIDTH) * available(water, STORE_WIDTH)

    def check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Raise ParameterError where a parameter that may be zero is negative."""
        not_negative(self.spec, parameters, ("f",))
