"""Kinematic wave: a channel that discharges at the normal flow of the water in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from pydiffgeo.errors import ParameterError, lookup
from pydiffgeo.models.base import Values, not_negative
from pydiffgeo.models.rivers.reach import Reach
from pydiffgeo.models.rivers.sections import SECTIONS, TINY, CrossSection


class Channel(Reach):
    """A reach with a cross-section and Manning's formula; a subclass names its specification."""

    name: ClassVar[str]

    def __init__(self, section: str = "trapezoid") -> None:
        self.section_name = section
        self.shape = lookup(SECTIONS, section, "cross-section")
        others = {k for shape in SECTIONS.values() for k in shape.parameters}
        others -= set(self.shape.parameters)
        super().__init__(self.name, without=others)

    def channel(self, volume: Tensor, p: Values) -> tuple[Tensor, CrossSection, Tensor, Tensor]:
        """Return filled area (m2), section, velocity (m s-1) at normal flow, and celerity in parts
        of that velocity: Q = A v and dQ/dA = e v.

        Source: Manning's formula; Chow, Maidment & Mays (1988), eq. 5.6.1 and 9.3.
        """
        area = volume / p["length"]
        size = area.abs() + TINY
        section = self.shape.section(size, p)
        radius = size / section.perimeter
        velocity = torch.sqrt(p["slope"]) / p["n"] * torch.exp(torch.log(radius) * (2 / 3))
        relative = 5 / 3 - (2 / 3) * radius * section.perimeter_slope
        return area, section, velocity, relative

    def loss(self, section: CrossSection, area: Tensor, p: Values) -> Tensor:
        """Return what seeps into the bed (m3 s-1): leakance times depth of the water, over the
        top width and the length; odd in the area, so that a volume below zero is refilled.
        """
        return p["leakance"] * p["length"] * section.width * section.depth * torch.sign(area)

    def growth(
        self, volume: Tensor, p: Values, curved: bool = True
    ) -> tuple[tuple[Tensor, CrossSection, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Return `channel`, and slopes in the filled area: of the logarithm of the velocity, of the
        logarithms of `relative` and of the top width, m-2, and of the loss in the volume, s-1.

        Without `curved` that of `relative`, which costs most, is 0.
        """
        area, section, velocity, relative = found = self.channel(volume, p)
        size = area.abs() + TINY
        radius = size / section.perimeter
        widening, curve = self.shape.slopes(section, p)
        steeper = (2 / 3) * (1 - radius * section.perimeter_slope) / size
        bending = torch.zeros_like(size)
        if curved:
            by_radius = section.perimeter_slope * (1.5 * steeper) * radius
            bending = (by_radius + radius * curve).mul_(-2 / 3).div_(relative)
        seeping = p["leakance"] * (1 + section.depth * widening)
        return found, (steeper, bending, widening / section.width, seeping)

    def check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Raise ParameterError as `Reach` does, and for banks that hang over, or a power above 2,
        where no section of this kind is known.
        """
        super().check_parameters(parameters)
        not_negative(self.spec, parameters, ("side_slope", "q"))
        values = parameters.get("q")
        if values is not None and bool((values.detach() > 2).any()):
            raise ParameterError("parameter 'q' is above 2; widths grow with depth^0 to depth^2.")


class KinematicWave(Channel):
    """A reach as a nonlinear reservoir: it discharges at the normal flow of its volume.

    Reaches in a row are the kinematic wave, upwind in space; they spread a wave as a diffusion of
    half the celerity times the length of a reach. `MuskingumCunge` spreads it as the channel does.

    Source: Lighthill & Whitham (1955), doi:10.1098/rspa.1955.0088; Chow, Maidment & Mays (1988),
    section 9.3.

    Parameters
    ----------
    section : {"trapezoid", "power_law"}
        Cross-section: parameters `width` and `side_slope`, or `p` and `q` of top width = p depth^q.

    Raises
    ------
    UnknownName
        No such section.
    """

    name = "kinematic_wave"

    def outflow(self, volume: Tensor, inflow: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Return discharge at the lower end, and loss to the bed (m3 s-1), `[...]`."""
        area, section, velocity, _ = self.channel(volume, p)
        return area * velocity, self.loss(section, area, p)

    def outflow_and_slope(
        self, volume: Tensor, inflow: Tensor, p: Values
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return discharge and loss (m3 s-1), and the slope of their sum in the volume (s-1)."""
        (area, section, velocity, _), (steeper, _, _, seeping) = self.growth(volume, p, False)
        discharge = area * velocity
        slope = (1 + area.abs() * steeper).mul_(velocity).div_(p["length"]).add_(seeping)
        return discharge, self.loss(section, area, p), slope
