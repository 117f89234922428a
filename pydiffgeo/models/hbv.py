"""HBV: snow, melt water, soil, upper and lower zone of a basin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from pydiffgeo.models.base import Entries, Evaluation, Values, not_negative
from pydiffgeo.models.buckets import TYPICAL_RUNOFF, Buckets
from pydiffgeo.models.slots import Formula
from pydiffgeo.models.smooth import (
    available,
    available_and_slope,
    left_of,
    positive,
    positive_and_slope,
    stacked,
    step_up,
    with_tail,
)
from pydiffgeo.models.spec_files import load_constants

CONSTANTS = load_constants("hbv")
PHASE_WIDTH = CONSTANTS["PHASE_WIDTH"]
STORE_WIDTH = CONSTANTS["STORE_WIDTH"]
SNOW_WIDTH = CONSTANTS["SNOW_WIDTH"]
LIMIT_WIDTH = CONSTANTS["LIMIT_WIDTH"]
RELEASE = CONSTANTS["RELEASE"]
FILLING = CONSTANTS["FILLING"]
GUARD = CONSTANTS["GUARD"]
DRIEST = CONSTANTS["DRIEST"]


class HBV(Buckets):
    """HBV: five stores in mm, rates in mm d-1, 13 parameters; see docs/hbv.md.

    Parameters and bounds are those usual in differentiable HBV.

    Thresholds are smooth, over the widths among `spec.constants`, so that every rate can be
    differentiated. Where the published model takes its processes one after another within a day,
    this one has them all at once, as a system of differential equations (Clark & Kavetski 2010,
    doi:10.1029/2009WR008894). Temperature in degC.

    Sources: Bergstrom (1976), SMHI Reports RHO 7; Seibert & Vis (2012),
    doi:10.5194/hess-16-3315-2012; Feng et al. (2022), doi:10.1029/2022WR032404.

    Parameters
    ----------
    closures : mapping of str to NeuralClosure or torch.nn.Module, optional
        Networks `[..., input] -> [...]` or `[..., 1]` in the slots "recharge", "evapotranspiration"
        and "percolation"; see docs/closures.md. The parameter of a formula that is replaced (BETA,
        BETAET) is no longer one of the model.
    melt_threshold : bool
        Melting and refreezing have a threshold temperature of their own, the parameter TTM (as DTTM
        in HBV-96: Lindstrom et al. 1997, doi:10.1016/S0022-1694(97)00041-3); else TT is theirs too.

    Raises
    ------
    UnknownName, ParameterError
        A slot that the model does not have, or a network that does not fit it.
    """

    formulas: ClassVar[Mapping[str, Formula]] = {
        "recharge": lambda p, wetness: torch.exp(
            p["BETA"] * wetness.clamp_min(DRIEST / p["FC"]).log()
        ),
        "evapotranspiration": lambda p, wetness: torch.exp(
            -p["BETAET"]
            * positive(-wetness.clamp_min(DRIEST / (p["FC"] * p["LP"])).log(), LIMIT_WIDTH)
        ),
        "percolation": lambda p, filling: available(_unfilled(filling), STORE_WIDTH),
    }
    arguments = {
        "recharge": ("soil", lambda soil, p: soil / p["FC"]),
        "evapotranspiration": ("soil", lambda soil, p: soil / p["FC"] / p["LP"]),
        "percolation": ("upper", lambda upper, p: available(upper, FILLING)),
    }

    def __init__(
        self, closures: Mapping[str, nn.Module] | None = None, melt_threshold: bool = False
    ) -> None:
        super().__init__("hbv", closures, without=() if melt_threshold else ("TTM",))
        self.melt_threshold = melt_threshold
        if not self.closures:
            self.ahead = self._ahead

    def start(self, parameters: Values) -> dict[str, Tensor]:
        """Soil half full, and a lower zone that gives back what percolates; no snow."""
        p = self.with_defaults(parameters)
        stores = {"soil": 0.5 * p["FC"], "lower": p["PERC"].clamp(max=TYPICAL_RUNOFF) / p["K2"]}
        return {
            "snow": torch.zeros(()),
            "melt_water": torch.zeros(()),
            "upper": torch.zeros(()),
        } | stores

    def drivers(self, forcing: Values, parameters: Values) -> dict[str, Tensor]:
        """Rain, snowfall, and potential melting and refreezing, mm d-1.

        What weather and parameters alone decide.
        """
        precipitation = forcing["precipitation"]
        above = forcing["temperature"] - parameters["TT"]
        rain = precipitation * step_up(above, PHASE_WIDTH)
        if self.melt_threshold:
            above = forcing["temperature"] - parameters["TTM"]
        warmth = positive(above, PHASE_WIDTH)
        return {
            "rain": rain,
            "snowfall": precipitation - rain,
            "melt": parameters["CFMAX"] * warmth,
            "refreezing": parameters["CFR"] * parameters["CFMAX"] * (warmth - above),
        }

    def evaluate(
        self, state: Tensor, forcing: Values, parameters: Values, fluxes: bool = False
    ) -> Evaluation:
        """Storage, rates and fluxes."""
        snow, melt_water, soil, upper, lower = state.unbind(-1)
        f, p = self.inputs(forcing, parameters)
        melt = f["melt"] * available(snow, STORE_WIDTH)
        refreezing = f["refreezing"] * available(melt_water, STORE_WIDTH)
        excess = positive(melt_water - p["CWH"] * snow, SNOW_WIDTH)
        released = RELEASE * excess * available(melt_water, STORE_WIDTH)
        infiltration = f["rain"] + released
        recharge = infiltration * self._recharge(soil, p)
        recharge = recharge + RELEASE * positive(soil - p["FC"], STORE_WIDTH) * (soil / p["FC"])
        share = self._evapotranspiration(soil, p)
        evapotranspiration = (
            f["potential_evapotranspiration"] * share * available(soil, STORE_WIDTH)
        )
        in_upper = available(upper, STORE_WIDTH)
        percolation = p["PERC"] * (
            self._percolation(upper, p) if "percolation" in self.closures else in_upper
        )
        quick = p["K0"] * with_tail(upper - p["UZL"], STORE_WIDTH)[0] * in_upper
        interflow = p["K1"] * upper
        base = p["K2"] * lower
        rates = [
            f["snowfall"] - melt + refreezing,
            melt - refreezing - released,
            infiltration - recharge - evapotranspiration,
            recharge - percolation - quick - interflow,
            percolation - base,
        ]
        out = state.new_empty(0)
        if fluxes:
            inflow = f["precipitation"].expand_as(base)
            out = stacked(
                [inflow, evapotranspiration, quick + interflow + base, quick, interflow, base]
            )
        return Evaluation(state, stacked(rates), out)

    def slopes(
        self, state: Tensor, forcing: Values, parameters: Values
    ) -> tuple[list[Tensor], Entries]:
        """Rates of the stores, and those entries of their Jacobian that are not zero everywhere."""
        snow, melt_water, soil, upper, lower = state.unbind(-1)
        f, p = self.inputs(forcing, parameters)
        in_snow, on_snow = available_and_slope(snow, STORE_WIDTH)
        in_melt, on_melt = available_and_slope(melt_water, STORE_WIDTH)
        change = torch.addcmul(f["snowfall"], f["refreezing"], in_melt).addcmul_(
            f["melt"], in_snow, value=-1
        )
        on_snow, refreezing_slope = on_snow.mul_(f["melt"]), f["refreezing"] * on_melt
        above = torch.addcmul(melt_water, p["CWH"], snow, value=-1)
        excess, by_excess = positive_and_slope(above, SNOW_WIDTH)
        released = (excess * in_melt).mul_(RELEASE)
        by_excess.mul_(in_melt).mul_(RELEASE)
        released_snow = -p["CWH"] * by_excess
        released_melt = by_excess.addcmul_(excess, on_melt, value=RELEASE)
        infiltration = f["rain"] + released

        wetness = soil / p["FC"]
        moist = soil.clamp_min(DRIEST)
        log_wetness, per_soil = (moist / p["FC"]).log_(), (soil > DRIEST) / moist
        if "recharge" in self.closures:
            fraction, by_soil = self.share_and_slope("recharge", p, wetness, 1 / p["FC"])
        else:
            fraction = torch.exp(p["BETA"] * log_wetness)
            by_soil = (fraction * per_soil).mul_(p["BETA"])
        spill, by_over = positive_and_slope(soil - p["FC"], STORE_WIDTH)
        recharge = (infiltration * fraction).addcmul_(spill, wetness, value=RELEASE)
        drainage = infiltration * by_soil
        drainage.addcmul_(by_over, wetness, value=RELEASE).addcmul_(
            spill, 1 / p["FC"], value=RELEASE
        )
        in_soil, on_soil = available_and_slope(soil, STORE_WIDTH)
        if "evapotranspiration" in self.closures:
            share, by_soil = self.share_and_slope(
                "evapotranspiration", p, wetness / p["LP"], 1 / (p["FC"] * p["LP"])
            )
            potential = share * f["potential_evapotranspiration"]
            drying = (by_soil * f["potential_evapotranspiration"]).mul_(in_soil)
        else:
            deficit, sharpness = positive_and_slope(p["LP"].log() - log_wetness, LIMIT_WIDTH)
            potential = torch.exp(-p["BETAET"] * deficit).mul_(f["potential_evapotranspiration"])
            drying = (potential * in_soil * per_soil).mul_(sharpness).mul_(p["BETAET"])
        evapotranspiration = potential * in_soil
        drying.addcmul_(potential, on_soil)

        in_upper, on_upper = available_and_slope(upper, STORE_WIDTH)
        quick, by_above = with_tail(upper - p["UZL"], STORE_WIDTH)
        quick.mul_(p["K0"])
        emptying = torch.addcmul(p["K1"], quick, on_upper).addcmul_(
            by_above.mul_(p["K0"]), in_upper
        )
        passing, by_upper = in_upper, on_upper
        if "percolation" in self.closures:
            filling, guard = (available_and_slope(upper, width) for width in (FILLING, GUARD))
            passing, by_upper = self.share_and_slope("percolation", p, *filling, guard=guard)
        percolation, percolation_slope = p["PERC"] * passing, p["PERC"] * by_upper
        melt_change = f["snowfall"] - change - released
        rates = [
            change,
            melt_change,
            infiltration - recharge - evapotranspiration,
            (recharge - percolation)
            .addcmul_(quick, in_upper, value=-1)
            .addcmul_(p["K1"], upper, value=-1),
            torch.addcmul(percolation, p["K2"], lower, value=-1),
        ]
        kept = 1 - fraction
        entries: Entries = {
            (0, 0): -on_snow,
            (0, 1): refreezing_slope,
            (1, 0): on_snow - released_snow,
            (1, 1): -refreezing_slope - released_melt,
            (2, 0): released_snow * kept,
            (2, 1): released_melt * kept,
            (2, 2): -(drainage + drying),
            (3, 0): released_snow * fraction,
            (3, 1): released_melt * fraction,
            (3, 2): drainage,
            (3, 3): -(emptying + percolation_slope),
            (4, 3): percolation_slope,
            (4, 4): -p["K2"].expand_as(lower),
        }
        return rates, entries

    def _ahead(
        self, states: Sequence[Tensor], f: Values, p: Values, step: float | Tensor, iterations: int,
    ) -> list[Tensor]:  # fmt: skip
        """Stores near those at the end of an implicit step: one after another, from the snow down.

        Each takes what the one above gives; its own equation is solved by a few iterations of
        Newton's method, which cost a fraction of one for all stores together.
        """
        snow, melt_water, soil, upper, lower = states
        release = RELEASE * step
        snow, melt_water, water = self._snow_ahead(snow, melt_water, f, p, step, iterations - 1)
        infiltration = water - snow - melt_water + step * f["rain"]

        before, potential = soil, step * f["potential_evapotranspiration"]
        per, log_limit = 1 / p["FC"], p["LP"].log()
        recharge = infiltration
        for _ in range(iterations):
            moist = soil.clamp_min(DRIEST)
            per_soil, log_wetness = moist.reciprocal(), (moist * per).log_()
            inside, on_inside = available_and_slope(soil, STORE_WIDTH)
            passed = infiltration * torch.exp(p["BETA"] * log_wetness)
            dryness, sharpness = positive_and_slope(log_limit - log_wetness, LIMIT_WIDTH)
            drying = potential * torch.exp(-p["BETAET"] * dryness)
            spill, by_spill = positive_and_slope(soil - p["FC"], STORE_WIDTH)
            recharge = torch.addcmul(passed, spill * release, soil * per)
            slope = (by_spill * soil).add_(spill).mul_(per * release)
            slope.addcmul_(passed * p["BETA"], per_soil)
            rest = before - soil + infiltration - recharge - drying * inside
            loss = (drying * inside * sharpness).mul_(p["BETAET"] * per_soil)
            loss.addcmul_(drying, on_inside).add_(slope).add_(1.0)
            after = torch.maximum(soil + rest / loss, 0.1 * soil)
            recharge = recharge.addcmul_(slope, after - soil)
            soil = after

        total, slow = upper + recharge, 1 + step * p["K1"]
        quick, percolation = step * p["K0"], step * p["PERC"]
        upper = left_of(total / slow, percolation / slow, STORE_WIDTH)
        upper = torch.minimum(upper, (upper * slow + quick * p["UZL"]) / (slow + quick))
        for _ in range(iterations - 1):
            inside, on_inside = available_and_slope(upper, STORE_WIDTH)
            brim, on_brim = with_tail(upper - p["UZL"], STORE_WIDTH)
            demand = torch.addcmul(percolation, quick, brim)
            rest = torch.addcmul(total, slow, upper, value=-1).addcmul_(demand, inside, value=-1)
            loss = torch.addcmul(slow, demand, on_inside).addcmul_(quick * on_brim, inside)
            upper = torch.maximum(upper + rest / loss, 0.1 * upper)
        lower = (lower + percolation * available(upper, STORE_WIDTH)) / (1 + step * p["K2"])
        return [snow, melt_water, soil, upper, lower]

    def _snow_ahead(
        self,
        snow: Tensor,
        melt_water: Tensor,
        f: Values,
        p: Values,
        step: float | Tensor,
        iterations: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Snow and melt water near those at the end of a step, and the water that both share."""
        release, melt, freezing = RELEASE * step, step * f["melt"], step * f["refreezing"]
        fallen, melted = snow + step * f["snowfall"], melt_water
        unfrozen = left_of(melt_water, freezing, STORE_WIDTH)
        snow = left_of(fallen + melted - unfrozen, melt, STORE_WIDTH)
        water = fallen + melted - snow
        held = p["CWH"] * snow
        melt_water = torch.minimum(water, (water + release * held) / (1 + release))
        for _ in range(iterations):  # of two equations: what melts, and what is released
            in_snow, on_snow = available_and_slope(snow, STORE_WIDTH)
            in_melt, on_melt = available_and_slope(melt_water, STORE_WIDTH)
            excess, by_excess = positive_and_slope(melt_water - p["CWH"] * snow, SNOW_WIDTH)
            change = (melt * in_snow).addcmul_(freezing, in_melt, value=-1)
            by_snow, by_melt = melt * on_snow, -freezing * on_melt
            by_excess = by_excess * in_melt
            snow_rest = fallen - snow - change
            melt_rest = melted - melt_water + change - release * excess * in_melt
            a, b = 1 + by_snow, by_melt
            c = -by_snow - release * p["CWH"] * by_excess
            d = 1 - by_melt + release * (by_excess + excess * on_melt)
            per = (a * d).addcmul_(b, c, value=-1).reciprocal_()
            snow_move = (d * snow_rest).addcmul_(b, melt_rest, value=-1).mul_(per)
            melt_move = (a * melt_rest).addcmul_(c, snow_rest, value=-1).mul_(per)
            snow = torch.maximum(snow + snow_move, 0.1 * snow)
            melt_water = torch.maximum(melt_water + melt_move, 0.1 * melt_water)
        return snow, melt_water, fallen + melted

    def _recharge(self, soil: Tensor, p: Values) -> Tensor:
        """Share of the infiltration that passes the soil."""
        if "recharge" in self.closures:
            return self.share("recharge", p, soil)
        return torch.exp(p["BETA"] * (soil.clamp_min(DRIEST) / p["FC"]).log())

    def _evapotranspiration(self, soil: Tensor, p: Values) -> Tensor:
        """Evapotranspiration in parts of its potential, where the soil is not empty."""
        if "evapotranspiration" in self.closures:
            return self.share("evapotranspiration", p, soil)
        log_wetness = (soil.clamp_min(DRIEST) / p["FC"]).log()
        return torch.exp(-p["BETAET"] * positive(p["LP"].log() - log_wetness, LIMIT_WIDTH))

    def _percolation(self, upper: Tensor, p: Values) -> Tensor:
        """Percolation in parts of PERC, by a closure."""
        return self.share("percolation", p, upper, guard=available(upper, GUARD))

    def check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Raise ParameterError where a parameter that may be zero is negative."""
        not_negative(self.spec, parameters, ("PERC", "UZL", "CFR", "CWH"))


def _unfilled(filling: Tensor) -> Tensor:
    """Store in mm from upper / (abs(upper) + FILLING)."""
    return FILLING * filling / (1 - filling.abs())
