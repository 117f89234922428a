"""Muskingum routing: a linear reach."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from pydiffgeo.errors import ParameterError
from pydiffgeo.models.base import Values
from pydiffgeo.models.rivers.reach import (
    Reach,
    share_of_outflow,
    weighted_and_slope,
    weighted_outflow,
)


class Muskingum(Reach):
    """Muskingum's reach: volume = K (X inflow + (1 - X) discharge).

    Solved by implicit Euler with the parameter `step` equal to its step it is the classical scheme
    (Cunge 1969, doi:10.1080/00221686909500264, eq. 6) for volumes: the spreading that the step
    brings is taken from X. See `pydiffgeo.MuskingumCunge` for K and X from the channel.

    Source: McCarthy (1938); Chow, Maidment & Mays (1988), Applied Hydrology, section 8.4.

    Parameters
    ----------
    positive : bool
        Keep the discharge positive in front of a steep wave, where the linear formula turns
        negative; see `weighted_outflow`. False: the linear formula everywhere.
    """

    def __init__(self, positive: bool = True) -> None:
        super().__init__("muskingum")
        self.positive = positive
        if not positive:  # what leaves the reach above may be negative, too
            inflow = replace(self.spec.forcings["inflow"], lower=-math.inf)
            self.spec = replace(self.spec, forcings={**self.spec.forcings, "inflow": inflow})

    def check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Raise ParameterError as `Reach` does, and for an X that is no weight."""
        super().check_parameters(parameters)
        if bool((parameters["X"].detach() > 1).any()):
            raise ParameterError("parameter 'X' is above 1; the weight of the inflow is 0 to 0.5.")

    def outflow(self, volume: Tensor, inflow: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Return discharge at the lower end, and loss to the bed (m3 s-1), `[...]`."""
        normal = volume / p["K"]
        share = share_of_outflow(1 - p["X"] - p["step"] / (2 * p["K"]))
        loss = p["leakance"] * volume
        if self.positive:
            return weighted_outflow(normal, inflow, share), loss
        return normal - (1 / share - 1) * (inflow - normal), loss

    def outflow_and_slope(
        self, volume: Tensor, inflow: Tensor, p: Values
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return discharge and loss (m3 s-1), and the slope of their sum in the volume (s-1)."""
        normal, growth = volume / p["K"], 1 / p["K"]
        share = share_of_outflow(1 - p["X"] - p["step"] / (2 * p["K"]))
        loss = p["leakance"] * volume
        if self.positive:
            discharge, slope = weighted_and_slope(normal, growth, inflow, share)
            return discharge, loss, slope + p["leakance"]
        discharge = normal - (1 / share - 1) * (inflow - normal)
        return discharge, loss, (growth / share + p["leakance"]).expand_as(discharge)
