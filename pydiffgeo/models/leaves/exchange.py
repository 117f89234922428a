"""Exchange of CO2 between the chloroplasts and the air, at a CO2 that is looked for."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.models.leaves.biochemistry import c3, c4
from pydiffgeo.models.leaves.configuration import Form
from pydiffgeo.models.leaves.stomata import (
    CONSTANTS,
    STOMATA_RATIO,
    conductance,
    conductance_at_surface,
)

BOUNDARY_RATIO = CONSTANTS["BOUNDARY_RATIO"]


class Exchange(NamedTuple):
    """A leaf at some CO2, `[...]` each.

    `left` is what is left of the equation, umol mol-1: CO2 that diffusion would bring about less
    that assumed. `slope` is its slope in the CO2 assumed, `opening` that of the conductance.
    """

    net: Tensor
    gross: Tensor
    stomata: Tensor
    inside: Tensor
    left: Tensor
    slope: Tensor
    opening: Tensor


def assimilation(co2: Tensor, leaf: Values, form: Form) -> tuple[Tensor, Tensor]:
    """Gross assimilation by the pathway of a leaf, and its slope in CO2."""
    if form.pathway == "both":
        one, other = c3(co2, leaf, form.c3), c4(co2, leaf, form.c4)
        gross, slope = (torch.where(leaf["is_c4"], b, a) for a, b in zip(one, other, strict=True))
        return gross, slope
    return c3(co2, leaf, form.c3) if form.has_c3 else c4(co2, leaf, form.c4)


def exchange(co2: Tensor, leaf: Values, form: Form) -> Exchange:
    """Return the exchange of a leaf at a CO2 of its chloroplasts.

    Assimilation follows from the CO2; it draws down the CO2 at the surface, which opens the
    stomata; through them the CO2 between the cells follows. The right CO2 is that which comes back.

    Parameters
    ----------
    co2 : Tensor, [...]
        At the chloroplasts, umol mol-1; between the cells where the mesophyll has no resistance.
    leaf : mapping of str to Tensor, [...]
        What `traits.at_temperature` and `traits.stomata_at` give, and the forcing co2 and
        boundary_layer_conductance, or intercellular_co2.
    form : Form
    """
    gross, rise = assimilation(co2, leaf, form)
    net = gross - leaf["R"]
    inside, inside_rise = (
        (co2 + net / leaf["gm"], 1 + rise / leaf["gm"]) if form.mesophyll else (co2, 1.0)
    )
    if form.stomata == "measured_ci":
        left = leaf["intercellular_co2"] - inside
        return Exchange(net, gross, net, inside, left, -inside_rise * torch.ones_like(left), rise)
    surface, by_net = leaf["co2"].expand_as(net), torch.zeros_like(net)
    if form.co2_at == "air":
        by_net = -BOUNDARY_RATIO / leaf["boundary_layer_conductance"]
        surface = surface + by_net * net
    find = conductance_at_surface if form.humidity_at == "surface" else conductance
    gs, by_rate, by_surface = find(net, surface, leaf)
    resistance = STOMATA_RATIO / gs
    drawn = resistance * net
    left = surface - drawn - inside
    opening = rise * (by_rate + by_surface * by_net)
    slope = rise * (by_net - resistance) + drawn / gs * opening - inside_rise
    return Exchange(net, gross, gs, inside, left, slope, opening)
