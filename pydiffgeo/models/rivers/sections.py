"""Cross-sections of channels: what follows from the area that the water fills."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.models.spec_files import load_constants

TINY = load_constants("kinematic_wave")["LEAST_AREA"]  # m2


class CrossSection(NamedTuple):
    """Depth and top width, m, wetted perimeter, m, and its slope in the area, m-1; `[...]`."""

    depth: Tensor
    width: Tensor
    perimeter: Tensor
    perimeter_slope: Tensor


def trapezoid(area: Tensor, p: Values) -> CrossSection:
    """Return a trapezoid of bottom width `width` and banks of `side_slope` (horizontal per
    vertical); a rectangle where that is 0.
    """
    bottom, side = p["width"], p["side_slope"]
    top = torch.sqrt(bottom * bottom + 4 * side * area)
    depth = 2 * area / (bottom + top)
    banks = 2 * torch.sqrt(1 + side * side)
    return CrossSection(depth, top, bottom + banks * depth, banks / top)


def trapezoid_slopes(section: CrossSection, p: Values) -> tuple[Tensor, Tensor]:
    """Return the slopes in the area (m-1, m-3) of the top width and of `perimeter_slope`."""
    widening = 2 * p["side_slope"] / section.width
    return widening, -section.perimeter_slope * widening / section.width


def power_law(area: Tensor, p: Values) -> CrossSection:
    """Return a section whose top width is p depth^q: rectangle (q = 0) to triangle (q = 1).

    Its perimeter is that of the trapezoid with the same top width and slope of the banks at the
    surface. Sources: Leopold & Maddock (1953), USGS Professional Paper 252, doi:10.3133/pp252;
    Bindas et al. (2024), doi:10.1029/2023WR035337.
    """
    scale, power = p["p"], p["q"]
    depth = torch.exp(torch.log((1 + power) * area / scale) / (1 + power))
    top = (1 + power) * area / depth
    bank = torch.sqrt(4 * depth * depth + (power * top) ** 2)
    perimeter = top * (1 - power) + bank
    # by depth, whose slope in the area is 1 / top
    by_depth = power * (1 - power) * top / depth + (4 * depth + power**3 * top**2 / depth) / bank
    return CrossSection(depth, top, perimeter, by_depth / top)


def power_law_slopes(section: CrossSection, p: Values) -> tuple[Tensor, Tensor]:
    """Return the slopes in the area (m-1, m-3) of the top width and of `perimeter_slope`."""
    power, depth, top = p["q"], section.depth, section.width
    steep = top / depth
    # of the banks, and their first and second derivative in the depth
    bank = torch.sqrt(4 * depth * depth + (power * top) ** 2)
    first = depth * (4 + power**3 * steep * steep) / bank
    second = (4 + power**3 * (2 * power - 1) * steep * steep - first * first) / bank
    by_depth = second - power * (1 - power) ** 2 * steep / depth
    widening = power / depth
    return widening, (by_depth / top - section.perimeter_slope * widening) / top


class Shape(NamedTuple):
    """A kind of section: functions that give it and its slopes, and the parameters they read."""

    section: Callable[[Tensor, Values], CrossSection]
    slopes: Callable[[CrossSection, Values], tuple[Tensor, Tensor]]
    parameters: tuple[str, ...]


SECTIONS = {
    "trapezoid": Shape(trapezoid, trapezoid_slopes, ("width", "side_slope")),
    "power_law": Shape(power_law, power_law_slopes, ("p", "q")),
}
"""Sections by name."""
