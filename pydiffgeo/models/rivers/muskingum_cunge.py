"""Muskingum-Cunge routing: a reach that spreads a wave as its channel does."""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.models.rivers.kinematic_wave import Channel
from pydiffgeo.models.rivers.reach import (
    share_and_slope,
    share_of_outflow,
    weighted_and_slope,
    weighted_outflow,
)


class MuskingumCunge(Channel):
    """Muskingum's reach with travel time and X from its channel, at the flow of the moment.

    The volume is that of normal flow at the weighted discharge X inflow + (1 - X) discharge. X =
    1/2 - D / (c L) + c step / (2 L), with celerity c of the section, diffusion D = Q / (2 B slope)
    of the wave (top width B), length L: the reaches spread a wave as the channel does, less what
    the step of implicit Euler spreads it. The volume changes by the balance alone: water is
    conserved for any parameters. The discharge is positive; see `weighted_outflow`.

    Sources: Cunge (1969), doi:10.1080/00221686909500264; Ponce & Yevjevich (1978), J. Hydraul. Div.
    104(12):1663; the form in volumes as in Todini (2007), doi:10.5194/hess-11-1645-2007, whose
    corrections it does not need.

    Parameters
    ----------
    section : {"trapezoid", "power_law"}
        Cross-section: parameters `width` and `side_slope`, or `p` and `q` of top width = p depth^q.

    Raises
    ------
    UnknownName
        No such section.
    """

    name = "muskingum_cunge"

    def outflow(self, volume: Tensor, inflow: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Return discharge at the lower end, and loss to the bed (m3 s-1), `[...]`."""
        area, section, velocity, relative = self.channel(volume, p)
        # D / (c L) and c step / (2 L), in which the celerity is `relative` times the velocity
        spread = area.abs() / (2 * section.width * p["slope"] * p["length"] * relative)
        within = velocity * relative * p["step"] / (2 * p["length"])
        share = share_of_outflow(0.5 + spread - within)
        discharge = weighted_outflow(area * velocity, inflow, share)
        return discharge, self.loss(section, area, p)

    def outflow_and_slope(
        self, volume: Tensor, inflow: Tensor, p: Values
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return discharge and loss (m3 s-1), and the slope of their sum in the volume (s-1)."""
        (area, section, velocity, relative), slopes = self.growth(volume, p)
        steeper, bending, widening, seeping = slopes
        per = (2 * section.width * p["slope"] * p["length"] * relative).reciprocal_()
        spread = area.abs() * per
        within = velocity * relative * (p["step"] / (2 * p["length"]))
        share, slope = share_and_slope(0.5 + spread - within)
        slope = slope * (per - spread * (widening + bending) - within * (steeper + bending))
        length, sign = p["length"], torch.sign(area)
        normal = area * velocity
        growth = (1 + area.abs() * steeper).mul_(velocity).div_(length)
        discharge, slope = weighted_and_slope(
            normal, growth, inflow, share, (slope * sign).div_(length)
        )
        return discharge, self.loss(section, area, p), slope.add_(seeping)
