"""Of several states of a leaf with an energy balance, that with the stomata widest open.

Where warmth shuts the stomata of a leaf and shut stomata warm it, a leaf may keep to more than one
temperature. The one that is meant is that of the largest conductance: a leaf whose stomata were
wide open comes to it. For a given conductance the energy balance alone has one temperature, and a
temperature has one conductance; from g without end, these two lead by turns to the widest:
conductances fall to the largest that keeps itself, as long as stomata shut in the warmth.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.models.leaves.energy import (
    EMISSIVITY,
    HEAT_CAPACITY,
    HEAT_RATIO,
    STEFAN_BOLTZMANN,
    heat,
    latent_heat,
)
from pydiffgeo.models.vapour import saturation_and_slope
from pydiffgeo.units import ZERO_CELSIUS

TURNS = 200  # of conductance and temperature
ALIKE = 1e-3  # K, between temperatures that are one
LOOKS = 4  # turns before a leaf whose turns lead to the state found is left there
PART = 1 / 3  # of the way to it, at most, that a turn goes on by
STEEPEST = 0.6  # of the change in a turn by that in the turn before
SETTLED = 1e-6  # K, between two turns
STEPS = 20  # of Newton's method for a temperature

Conductance = Callable[[Tensor, Tensor | None, Tensor], tuple[Tensor, Tensor]]
"""CO2 and conductance `[leaf]` of some leaves (by index) at temperatures; from a CO2 if any."""


def widest(found: Tensor, f: Values, conductance: Conductance) -> tuple[Tensor, Tensor]:
    """Return temperature and CO2 of the widest state, `[leaf]`; NaN where that is the one found.

    Parameters
    ----------
    found : Tensor, [leaf]
        Temperature of a stable state, degC.
    f : mapping of str to Tensor, [leaf]
        shortwave, longwave, air_temperature, vapour_pressure, pressure and
        boundary_layer_conductance.
    conductance : callable
    """
    temperature, co2 = torch.full_like(found, torch.nan), torch.full_like(found, torch.nan)
    rows, inside = torch.arange(len(found), device=found.device), None
    before = after = torch.full_like(found, torch.nan)
    t = at_conductance(f["boundary_layer_conductance"], found, f)
    for turn in range(TURNS):
        inside, stomata = conductance(rows, inside, t)
        boundary = f["boundary_layer_conductance"]
        new = at_conductance(stomata * boundary / (stomata + boundary), t, f)
        away = found - t
        reached = (found - new) * torch.sign(away) <= ALIKE
        settled = ~reached & ((new - t).abs() < SETTLED)
        at = rows[settled]
        temperature[at], co2[at] = new[settled], inside[settled]
        on = ~settled & (away.abs() > ALIKE) & torch.isfinite(new)
        stay = (on & ~reached if turn >= LOOKS else on).nonzero()[:, 0]
        if not len(stay):
            break
        # by a line through two turns: back as far as it says, on by half of that, but not too far
        slope = ((new - after) / (t - before)).clamp_max(STEEPEST).nan_to_num(0.0)
        step = (new - t) * (1 + torch.where(slope > 0, 0.5, 1.0) * slope / (1 - slope))
        step = torch.sign(away) * torch.minimum(step * torch.sign(away), PART * away.abs())
        before, after, t = t[stay], new[stay], (t + step)[stay]
        rows, found, inside = rows[stay], found[stay], inside[stay]
        f = {k: v[stay] for k, v in f.items()}
    return temperature, co2


def at_conductance(conductance: Tensor, begin: Tensor, f: Values) -> Tensor:
    """Return the temperature at which the energy of a leaf closes, degC.

    Parameters
    ----------
    conductance : Tensor, [leaf]
        Of stomata and boundary layer together, to water vapour, mol m-2 s-1.
    begin : Tensor, [leaf]
        Where the search begins, degC.
    f : mapping of str to Tensor, [leaf]
    """
    t, per_pascal = begin, conductance / f["pressure"]
    warmed = 2 * HEAT_CAPACITY / HEAT_RATIO * f["boundary_layer_conductance"]
    for _ in range(STEPS):
        vapour, by_warmth = saturation_and_slope(t)
        drying = per_pascal * (vapour - f["vapour_pressure"])
        e = heat(t, drying, f)
        emitted = 8 * EMISSIVITY * STEFAN_BOLTZMANN * (t + ZERO_CELSIUS) ** 3
        dried = latent_heat(t) * per_pascal * by_warmth
        step = (e.net_radiation - e.latent - e.sensible) / (emitted + warmed + dried)
        t = t + step
        if float(step.abs().max()) < SETTLED:
            break
    return t
