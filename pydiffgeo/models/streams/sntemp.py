"""SNTEMP's steady solution of the daily mean temperature of a reach.

The temperature moves from that of the inlet towards an equilibrium, along the reach, by an exchange
of first and second order that is linearised at the inlet.

Sources: Theurer, Voos & Miller (1984), Instream water temperature model, FWS/OBS-84/15; Sanders et
al. (2017), doi:10.3133/tm6D4; Markstrom (2012), doi:10.3133/ofr20121116. Compared with
`PRMSStreamTemp` of pywatershed 3.0, whose constants these are.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pydiffgeo.units import ZERO_CELSIUS

EMISSION = 5.40e-8  # W m-2 K-4: of the surface of the water
LEAVES = 5.24e-8  # W m-2 K-4: of the plants beside it
BED = 1.65  # W m-2 K-1: conduction of the streambed per depth of a metre
HEAT = 4182.0e3  # J m-3 K-1: of water
WEIGHT = 9805.0  # N m-3: of water
LATENT, LATENT_SLOPE = 2495.0e6, 2.36e6  # J m-3, J m-3 K-1: of evaporation
LEAST = 1e-6  # below which PRMS takes a number for zero
MOST_HUMID = 0.99  # relative humidity at which Bowen's ratio would be infinite: 1
ITERATIONS = 12  # of Newton's method; it converges in four


class Surroundings(NamedTuple):
    """What a reach exchanges heat with, `[...]` each.

    Attributes
    ----------
    shortwave : Tensor
        Global radiation, W m-2.
    humidity : Tensor
        Relative humidity, 1.
    cloud_cover : Tensor
        1.
    evaporation : Tensor
        m s-1.
    shade, leaf_shade : Tensor
        Share of the sky that is hidden, and that plants hide, 1.
    bed_temperature : Tensor
        Of the groundwater, degC.
    width, slope : Tensor
        Of the surface, m; of the bed, 1.
    elevation : Tensor
        m.
    albedo : float
        Of the surface.
    """

    shortwave: Tensor
    humidity: Tensor
    cloud_cover: Tensor
    evaporation: Tensor
    shade: Tensor
    leaf_shade: Tensor
    bed_temperature: Tensor
    width: Tensor
    slope: Tensor
    elevation: Tensor
    albedo: float = 0.1


class Exchange(NamedTuple):
    """Equilibrium temperature (degC), and exchange of first (W m-2 K-1) and second order (W m-2
    K-2).
    """

    equilibrium: Tensor
    first: Tensor
    second: Tensor


class Balance(NamedTuple):
    """Heat into a reach, W m-2: a T^4 + b T - c T^2 - d is what it loses at the temperature T."""

    b: Tensor
    c: Tensor
    d: Tensor

    def loss(self, temperature: Tensor) -> Tensor:
        """Return what the water loses, W m-2."""
        return (
            EMISSION * (temperature + ZERO_CELSIUS) ** 4
            + self.b * temperature
            - self.c * temperature**2
            - self.d
        )

    def slope(self, temperature: Tensor) -> Tensor:
        """Return its slope in the temperature, W m-2 K-1."""
        return 4 * EMISSION * (temperature + ZERO_CELSIUS) ** 3 + self.b - 2 * self.c * temperature


def balance(air: Tensor, discharge: Tensor, x: Surroundings) -> Balance:
    """Return the balance of heat of a reach.

    Parameters
    ----------
    air : Tensor, [...]
        Temperature of the air, degC.
    discharge : Tensor, [...]
        m3 s-1.
    x : Surroundings
        What the reach exchanges heat with.
    """
    fourth = (air + ZERO_CELSIUS) ** 4
    saturation = 6.108 * torch.exp(17.26939 * air / (air + 237.3))  # hPa
    pressure = 1013.0 - 0.1055 * x.elevation
    dry = 1 - x.humidity.clamp(max=MOST_HUMID)
    bowen = 0.00061 * pressure / (saturation * dry)
    open_sky = 1 - x.shade
    sky = (3.354939e-8 + 2.74995e-9 * torch.sqrt(x.humidity * saturation)) * open_sky
    sky = sky * (1 + 0.17 * x.cloud_cover**2) * fourth
    friction = WEIGHT * discharge.clamp(min=LEAST) / x.width * x.slope
    sun = open_sky * x.shortwave * (1 - x.albedo)
    leaves = LEAVES * x.leaf_shade * fourth
    evaporation = x.evaporation
    heat = bowen * evaporation * (LATENT + LATENT_SLOPE * air)
    gain = LATENT * evaporation * (bowen * air - 1) + BED * x.bed_temperature
    return Balance(
        b=heat + BED - LATENT_SLOPE * evaporation,
        c=bowen * LATENT_SLOPE * evaporation,
        d=sky + leaves + friction + sun + gain,
    )


def exchange(inlet: Tensor, heat: Balance) -> Exchange:
    """Return the equilibrium of a balance, and how fast water of the inlet comes to it.

    Newton's method leaves the graph but for its last two steps, which have the right first and
    second derivatives: each step makes an order more than twice as high exact.
    """
    with torch.no_grad():
        found = inlet.detach()
        for _ in range(ITERATIONS):
            found = found - heat.loss(found) / heat.slope(found)
    for _ in range(2):
        found = found - heat.loss(found) / heat.slope(found)
    first = heat.slope(found)
    over = inlet - found
    there = over.abs() >= LEAST
    safe = torch.where(there, over, 1.0)
    second = torch.where(there, (over * first - heat.loss(inlet)) / safe**2, 0.0)
    return Exchange(found, first, second)


def reach_temperature(
    inlet: Tensor,
    above: Tensor,
    lateral: Tensor,
    lateral_temperature: Tensor,
    x: Exchange,
    width: Tensor,
    length: Tensor,
) -> Tensor:
    """Return the temperature of the water that leaves a reach, degC, at least 0.

    Parameters
    ----------
    inlet : Tensor, [...]
        Temperature at the upper end, degC.
    above, lateral : Tensor, [...]
        Discharge from above, and what enters along the reach, m3 s-1.
    lateral_temperature : Tensor, [...]
        degC.
    x : Exchange
        Of the reach.
    width, length : Tensor, [...]
        m.
    """
    area = width * length
    coupling = x.first * area / HEAT  # m3 s-1
    flows, enters = above > LEAST, lateral > LEAST
    ran, entered = torch.where(flows, above, 1.0), torch.where(enters, lateral, 1.0)
    together = torch.where(enters, lateral, 0.0) + coupling
    mixed = (lateral * lateral_temperature + coupling * x.equilibrium) / together
    target = torch.where(flows & enters, mixed, x.equilibrium)
    # the share of the difference at the inlet that is left at the outlet
    thin = torch.exp(-together / entered * torch.log1p(entered / ran))
    alone = torch.exp(-coupling / torch.where(flows, ran, entered))
    left = torch.where(flows & enters, thin, alone)
    over = target - inlet
    bent = 1 + x.second / x.first * over * (1 - left)
    small = bent.abs() < LEAST
    bent = torch.where(small, torch.where(bent < 0, -LEAST, LEAST), bent)
    return (target - over * left / bent).clamp(min=0.0)
