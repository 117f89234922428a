"""Conductance of the stomata to water vapour, mol m-2 s-1.

All forms are gs = least + slope A / (Cs - base), of the net assimilation A (umol m-2 s-1) where it
is positive and the CO2 at the surface of the leaf Cs (umol mol-1). That of Buckley, Mott and
Farquhar and a measured gs have no slope. What `least`, `slope` and `base` are follows from
humidity and parameters alone, unless the leaf has an energy balance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.models.spec_files import load_constants
from pydiffgeo.models.vapour import saturation_pressure

CONSTANTS = load_constants("photosynthesis")
STOMATA_RATIO = CONSTANTS["STOMATA_RATIO"]
LEAST_VPD = CONSTANTS["LEAST_VPD"]
VPD_WIDTH = CONSTANTS["VPD_WIDTH"]
LEAST_HUMIDITY = CONSTANTS["LEAST_HUMIDITY"]
LEAST_CONDUCTANCE = CONSTANTS["LEAST_CONDUCTANCE"]
ASSIMILATION_WIDTH = CONSTANTS["ASSIMILATION_WIDTH"]
CO2_WIDTH = CONSTANTS["CO2_WIDTH"]


def dryness(vpd: Tensor) -> Tensor:
    """Vapour pressure deficit that stomata see, kPa: `LEAST_VPD` at least, by a hyperbola."""
    return LEAST_VPD + _positive(vpd - LEAST_VPD, VPD_WIDTH)[0]


def medlyn(vpd: Tensor, g1: Tensor) -> Tensor:
    """Slope 1.6 (1 + g1 / sqrt(D)).

    References
    ----------
    Medlyn et al. (2011), doi:10.1111/j.1365-2486.2010.02375.x, equation 11.
    """
    return STOMATA_RATIO * (1 + g1 * torch.rsqrt(vpd))


def ball_berry(vpd: Tensor, temperature: Tensor, p: Values) -> Tensor:
    """Slope m h, of the relative humidity h at the temperature of the leaf.

    References
    ----------
    Ball, Woodrow & Berry (1987), doi:10.1007/978-94-017-0519-6_48.
    """
    return p["ball_berry_slope"] * relative_humidity(vpd, temperature)


def relative_humidity(vpd: Tensor, temperature: Tensor) -> Tensor:
    """Humidity of the air in parts of that within the leaf; positive, by a hyperbola."""
    humidity = 1 - 1000 * vpd / saturation_pressure(temperature)
    return _positive(humidity, LEAST_HUMIDITY)[0]


def leuning(vpd: Tensor, p: Values) -> Tensor:
    """Slope a / (1 + D / D0); the base is the compensation point.

    References
    ----------
    Leuning (1995), doi:10.1111/j.1365-3040.1995.tb00370.x.
    """
    return p["leuning_slope"] / (1 + vpd / p["D0"])


def buckley_mott_farquhar(par: Tensor, vpd: Tensor, p: Values) -> Tensor:
    """Conductance Em (Q + i0) / (k + b Q + (Q + i0) D), which knows no assimilation.

    Q is the light and D the vapour pressure deficit in mmol mol-1 (about 10 per kPa).

    References
    ----------
    Buckley, Mott & Farquhar (2003), doi:10.1046/j.1365-3040.2003.01094.x, in the form of Buckley,
    Turnbull & Adams (2012), doi:10.1111/j.1365-3040.2012.02515.x.
    """
    light = par + p["i0"]
    return p["Em"] * light / (p["k"] + p["b"] * par + light * vpd)


def conductance(
    assimilation: Tensor, surface: Tensor, leaf: Values
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the conductance, and its slopes in assimilation and in CO2 at the surface.

    Parameters
    ----------
    assimilation : Tensor, [...]
        Net, umol m-2 s-1.
    surface : Tensor, [...]
        CO2 at the surface of the leaf, umol mol-1.
    leaf : mapping of str to Tensor, [...]
        least (mol m-2 s-1) and, where they are not zero, slope and base (umol mol-1).
    """
    if "slope" not in leaf:
        zero = torch.zeros_like(assimilation)
        return leaf["least"].expand_as(zero), zero, zero
    taken, root = _positive(assimilation, ASSIMILATION_WIDTH)
    there, far = _positive(surface - leaf["base"] if "base" in leaf else surface, CO2_WIDTH)
    per = leaf["slope"] / there
    opened = per * taken
    return leaf["least"] + opened, per * (taken / root), -opened / far


def conductance_at_surface(
    assimilation: Tensor, surface: Tensor, leaf: Values
) -> tuple[Tensor, Tensor, Tensor]:
    """As `conductance`, with the humidity at the surface of the leaf.

    The deficit there is less by gb / (gs + gb), so that the conductance is the larger root of a
    quadratic equation.
    """
    by_form = _medlyn_at_surface if "g1" in leaf else _slope_at_surface
    return by_form(assimilation, surface, leaf)


def _slope_at_surface(
    assimilation: Tensor, surface: Tensor, leaf: Values
) -> tuple[Tensor, Tensor, Tensor]:
    """By the forms of Ball and Berry, whose `slope` h falls with the deficit, and Leuning.

    With t the opening in air that takes up no vapour: gs = least + t (1 - (1 - h) gb / (gs + gb)),
    h the humidity of the air, or gs = least + t / (1 + (e - 1) gb / (gs + gb)), e = 1 + D / D0 the
    `excess` of the air.
    """
    taken, root = _positive(assimilation, ASSIMILATION_WIDTH)
    there, far = _positive(surface - leaf["base"] if "base" in leaf else surface, CO2_WIDTH)
    per, gb, least = leaf["slope"] / there, leaf["boundary_layer_conductance"], leaf["least"]
    t, one = per * taken, torch.ones_like(gb)
    humidity, excess = leaf.get("humidity", one), leaf.get("excess", one)
    half, c = 0.5 * (least + t - gb * excess), gb * (least * excess + t * humidity)
    between = torch.sqrt(half * half + c)
    far_from_zero = half.abs() + between
    gs = torch.where(half > 0, far_from_zero, c / far_from_zero)
    by_t = (gs + gb * humidity) / (2 * between)
    return gs, by_t * per * (taken / root), -by_t * t / far


def _medlyn_at_surface(
    assimilation: Tensor, surface: Tensor, leaf: Values
) -> tuple[Tensor, Tensor, Tensor]:
    """By Medlyn's form.

    The deficit there is D gb / (gs + gb), so that the conductance is the larger root of a quadratic
    equation (as in FATES); `leaf` has least, g1, dryness (kPa) and
    boundary_layer_conductance (mol m-2 s-1).
    """
    taken, root = _positive(assimilation, ASSIMILATION_WIDTH)
    there, far = _positive(surface, CO2_WIDTH)
    per = STOMATA_RATIO / there
    t = per * taken
    least, g1, gb = leaf["least"], leaf["g1"], leaf["boundary_layer_conductance"]
    squared = g1 * g1 / leaf["dryness"]
    z = squared * t / gb  # and t z is that of the quadratic equation
    inner = torch.sqrt(squared * (1 + (least + t + 0.25 * t * z) / gb))
    gs = least + t + t * (0.5 * z + inner)
    by_inner = squared * (1 + 0.5 * z) / (2 * gb * inner)
    by_t = 1 + z + inner + t * by_inner
    return gs, by_t * per * (taken / root), -by_t * t / far


def _positive(x: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """max(x, 0) by a hyperbola, and its root sqrt(x^2 + width^2); far below not by a difference.

    The slope is the first divided by the second.
    """
    root = torch.sqrt(x * x + width**2)
    far_below = 0.5 * width**2 / (root - x.clamp(max=0.0))
    return torch.where(x >= 0, 0.5 * (x + root), far_below), root
