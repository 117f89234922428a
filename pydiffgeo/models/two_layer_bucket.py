"""Soil as two buckets: the few centimetres that a satellite sees, and the root zone below."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pydiffgeo.errors import ParameterError
from pydiffgeo.models.base import Entries, Evaluation, Values, not_above_one, not_negative
from pydiffgeo.models.buckets import Buckets
from pydiffgeo.models.smooth import (
    at_most_one,
    available,
    available_and_slope,
    positive,
    stacked,
    step_up,
)
from pydiffgeo.models.spec_files import load_constants

CONSTANTS = load_constants("two_layer_bucket")
PHASE_WIDTH = CONSTANTS["PHASE_WIDTH"]
STORE_WIDTH = CONSTANTS["STORE_WIDTH"]
LIMIT_WIDTH = CONSTANTS["LIMIT_WIDTH"]
SPILL = CONSTANTS["SPILL"]
DRIEST = CONSTANTS["DRIEST"]


class TwoLayerBucket(Buckets):
    """Snow, surface layer and root zone: three stores in mm, rates in mm d-1, temperature in degC.

    The fluxes "surface_soil_moisture" and "root_zone_soil_moisture" are the volumetric water
    contents of the layers; both hold water above a residual one, which never moves. Gravity drains
    a layer with K s^(2 b + 3); water goes to the drier layer in proportion to the difference of
    saturations; evaporation and transpiration fall below their potential where the saturation is
    below a threshold, in proportion to it. Thresholds are smooth, over the widths among
    `spec.constants`. See docs/two_teachers.md.

    Sources: Clapp & Hornberger (1978), doi:10.1029/WR014i004p00601, conductivity; Laio et al.
    (2001), doi:10.1016/S0309-1708(01)00005-7, evaporation and transpiration; Seibert & Vis (2012),
    doi:10.5194/hess-16-3315-2012, snow and runoff.
    """

    def __init__(self) -> None:
        super().__init__("two_layer_bucket", None)

    def start(self, parameters: Values) -> dict[str, Tensor]:
        """Return no snow, and both layers at the parameter initial_saturation."""
        p = self.with_defaults(parameters)
        water = p["initial_saturation"] * (p["theta_s"] - p["theta_r"])
        return {
            "snow": torch.zeros(()),
            "surface": water * p["surface_depth"],
            "root_zone": water * p["root_depth"],
        }

    def drivers(self, forcing: Values, parameters: Values) -> dict[str, Tensor]:
        """Rain, snowfall and potential melting, mm d-1.

        What weather and parameters alone decide.
        """
        above = forcing["temperature"] - parameters["TT"]
        rain = forcing["precipitation"] * step_up(above, PHASE_WIDTH)
        return {
            "rain": rain,
            "snowfall": forcing["precipitation"] - rain,
            "melt": parameters["CFMAX"] * positive(above, PHASE_WIDTH),
        }

    def evaluate(
        self, state: Tensor, forcing: Values, parameters: Values, fluxes: bool = False
    ) -> Evaluation:
        """Storage, rates and fluxes."""
        snow, surface, root_zone = state.unbind(-1)
        f, p = self.inputs(forcing, parameters)
        upper, lower = _capacities(p)
        s1, s2 = surface / upper, root_zone / lower
        (wet1, _), (wet2, _) = at_most_one(s1, LIMIT_WIDTH), at_most_one(s2, LIMIT_WIDTH)
        gravity = 2 * p["b"] + 3
        melt = f["melt"] * available(snow, STORE_WIDTH)
        water = f["rain"] + melt
        infiltration = water * (1 - _power(wet2, p["BETA"]))
        percolation = p["K_s"] * _power(wet1, gravity)
        percolation = percolation + SPILL * positive(surface - upper, STORE_WIDTH) * s1
        rise = p["exchange"] * (wet2 - wet1)
        evaporation = (
            f["potential_evaporation"] * at_most_one(s1 / p["s_evaporation"], LIMIT_WIDTH)[0]
        )
        from_surface = p["root_share"] * at_most_one(s1 / p["s_star"], LIMIT_WIDTH)[0]
        from_below = (1 - p["root_share"]) * at_most_one(s2 / p["s_star"], LIMIT_WIDTH)[0]
        from_surface = f["potential_transpiration"] * from_surface
        from_below = f["potential_transpiration"] * from_below
        drainage = p["K_d"] * _power(wet2, gravity)
        spill = SPILL * positive(root_zone - lower, STORE_WIDTH) * s2
        rates = [
            f["snowfall"] - melt,
            infiltration - percolation + rise - evaporation - from_surface,
            percolation - rise - from_below - drainage - spill,
        ]
        out = state.new_empty(0)
        if fluxes:
            parts = [
                f["precipitation"],
                evaporation,
                from_surface + from_below,
                water - infiltration + spill,
                drainage,
                percolation,
                rise,
                p["theta_r"] + surface / p["surface_depth"],
                p["theta_r"] + root_zone / p["root_depth"],
            ]
            out = stacked(list(torch.broadcast_tensors(*parts)))
        return Evaluation(state, stacked(list(torch.broadcast_tensors(*rates))), out)

    def slopes(
        self, state: Tensor, forcing: Values, parameters: Values
    ) -> tuple[list[Tensor], Entries]:
        """Rates of the stores, and those entries of their Jacobian that are not zero everywhere."""
        snow, surface, root_zone = state.unbind(-1)
        f, p = self.inputs(forcing, parameters)
        upper, lower = _capacities(p)
        s1, s2 = surface / upper, root_zone / lower
        (wet1, by1), (wet2, by2) = at_most_one(s1, LIMIT_WIDTH), at_most_one(s2, LIMIT_WIDTH)
        gravity = 2 * p["b"] + 3
        in_snow, on_snow = available_and_slope(snow, STORE_WIDTH)
        melt, on_snow = f["melt"] * in_snow, f["melt"] * on_snow
        water = f["rain"] + melt
        share, by_share = _power_and_slope(wet2, p["BETA"])
        infiltration, less = water * (1 - share), water * by_share * by2 / lower
        falling, by_falling = _power_and_slope(wet1, gravity)
        over = positive(surface - upper, STORE_WIDTH)
        percolation = p["K_s"] * falling + SPILL * over * s1
        draining = p["K_s"] * by_falling * by1 / upper
        draining = draining + SPILL * (step_up(surface - upper, STORE_WIDTH) * s1 + over / upper)
        rise, up, down = p["exchange"] * (wet2 - wet1), by2 / lower, by1 / upper
        up, down = p["exchange"] * up, p["exchange"] * down
        part, slope = at_most_one(s1 / p["s_evaporation"], LIMIT_WIDTH)
        evaporation = f["potential_evaporation"] * part
        drying = f["potential_evaporation"] * slope / (p["s_evaporation"] * upper)
        demand = f["potential_transpiration"] * p["root_share"]
        part, slope = at_most_one(s1 / p["s_star"], LIMIT_WIDTH)
        from_surface, drying = demand * part, drying + demand * slope / (p["s_star"] * upper)
        demand = f["potential_transpiration"] - demand
        part, slope = at_most_one(s2 / p["s_star"], LIMIT_WIDTH)
        from_below, emptying = demand * part, demand * slope / (p["s_star"] * lower)
        falling, by_falling = _power_and_slope(wet2, gravity)
        over = positive(root_zone - lower, STORE_WIDTH)
        leaving = p["K_d"] * falling + SPILL * over * s2
        emptying = emptying + p["K_d"] * by_falling * by2 / lower
        emptying = emptying + SPILL * (step_up(root_zone - lower, STORE_WIDTH) * s2 + over / lower)
        rates = [
            f["snowfall"] - melt,
            infiltration - percolation + rise - evaporation - from_surface,
            percolation - rise - from_below - leaving,
        ]
        return rates, {
            (0, 0): -on_snow,
            (1, 0): on_snow * (1 - share),
            (1, 1): -(draining + down + drying),
            (1, 2): up - less,
            (2, 1): draining + down,
            (2, 2): -(up + emptying),
        }

    def check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Raise ParameterError for water contents in the wrong order, and shares above 1."""
        not_negative(self.spec, parameters, ("theta_r",))
        not_above_one(self.spec, parameters, ("theta_s", "root_share"))
        given = {k: parameters[k].detach() for k in ("theta_r", "theta_s") if k in parameters}
        low, high = (given.get(k, self.spec.parameters[k].default) for k in ("theta_r", "theta_s"))
        if bool(torch.as_tensor(low >= high).any()):
            raise ParameterError(
                "parameter 'theta_s', the water content at saturation, must be above 'theta_r'; "
                "give other bounds."
            )


def _capacities(p: Values) -> tuple[Tensor, Tensor]:
    """Water that both layers hold above the residual one, mm."""
    room = p["theta_s"] - p["theta_r"]
    return room * p["surface_depth"], room * p["root_depth"]


def _power(wetness: Tensor, exponent: Tensor) -> Tensor:
    return torch.exp(exponent * wetness.clamp_min(DRIEST).log())


def _power_and_slope(wetness: Tensor, exponent: Tensor) -> tuple[Tensor, Tensor]:
    """A power of a saturation, and its slope."""
    moist = wetness.clamp_min(DRIEST)
    value = torch.exp(exponent * moist.log())
    return value, exponent * value * (wetness > DRIEST) / moist
