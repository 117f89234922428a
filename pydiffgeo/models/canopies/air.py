"""Air above and between the leaves of a canopy: conductances, heat and vapour.

Conductances in mol m-2 s-1, temperatures in degC, pressures in Pa.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pydiffgeo.models.canopies.radiation import mean_exp
from pydiffgeo.models.leaves.temperature import GAS
from pydiffgeo.models.spec_files import load_constants
from pydiffgeo.units import ZERO_CELSIUS

CONSTANTS = load_constants("two_big_leaf")
LEAST_FRICTION, LEAST_WIND = CONSTANTS["LEAST_FRICTION"], CONSTANTS["LEAST_WIND"]
KARMAN, DISPLACEMENT = CONSTANTS["KARMAN"], CONSTANTS["DISPLACEMENT"]
ROUGHNESS, WIND_DECAY = CONSTANTS["ROUGHNESS"], CONSTANTS["WIND_DECAY"]
LEAF_BOUNDARY = CONSTANTS["LEAF_BOUNDARY"]
VAPORISATION, VAPORISATION_SLOPE = CONSTANTS["VAPORISATION"], CONSTANTS["VAPORISATION_SLOPE"]


def molar_density(pressure: Tensor, temperature: Tensor) -> Tensor:
    """Return moles of air in a volume, mol m-3."""
    return pressure / (GAS * (temperature + ZERO_CELSIUS))


def vaporisation(temperature: Tensor) -> Tensor:
    """Return the latent heat of water, J mol-1."""
    return VAPORISATION - VAPORISATION_SLOPE * temperature


def friction_by_log_law(wind: Tensor, canopy_height: Tensor, height: Tensor) -> Tensor:
    """Return the friction velocity, m s-1, from the wind speed at a height above a canopy.

    Of a neutral surface layer (Campbell & Norman 1998, eq. 5.1 to 5.3); NaN below the top of the
    canopy, where the law does not hold.
    """
    above = (height - DISPLACEMENT * canopy_height) / (ROUGHNESS * canopy_height)
    return torch.where(height > canopy_height, KARMAN * wind / torch.log(above), torch.nan)


def moving(friction: Tensor) -> Tensor:
    """Return the friction velocity, m s-1, kept above that of calm air by a hyperbola."""
    return torch.sqrt(friction * friction + LEAST_FRICTION**2)


def aerodynamic(friction: Tensor, wind: Tensor, density: Tensor) -> Tensor:
    """Return the conductance between the air of the canopy and that above, friction^2 / wind.

    Both measured, it needs no correction for stability.
    """
    return density * friction * friction / torch.sqrt(wind * wind + LEAST_WIND**2)


def leaf_boundary(
    friction: Tensor, width: Tensor, area: Tensor, K_beam: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the boundary layer conductance of heat of one side of all sunlit leaves, and of all
    leaves, per area of ground.

    It goes with the root of wind over width. The wind falls from the top of the canopy, where it
    follows the logarithm of height, by an exponential (Wang & Leuning 1998, appendix).
    """
    top = friction * (math.log((1 - DISPLACEMENT) / ROUGHNESS) / KARMAN)
    at_top = LEAF_BOUNDARY * torch.sqrt(top / width)
    decline = 0.5 * WIND_DECAY
    sun = area * mean_exp(K_beam * area + decline)
    every = area * mean_exp(torch.full_like(area, decline))
    return at_top * sun, at_top * every


def soil_boundary(
    friction: Tensor, area: Tensor, dense: Tensor, bare: Tensor, density: Tensor
) -> Tensor:
    """Return the conductance between the soil and the air of the canopy.

    In parts of the friction velocity, from that of bare soil to that below dense leaves (Zeng et
    al. 2005, doi:10.1175/JCLI3375.1, eq. 4).
    """
    open_ = torch.exp(-area)
    return density * friction * (bare * open_ + dense * (1 - open_))


def soil_resistance(moisture: Tensor, saturated: Tensor, dry: Tensor, slope: Tensor) -> Tensor:
    """Return the resistance of soil to its evaporation, s m-1 (Sellers et al. 1992, eq. 19)."""
    return torch.exp(dry - slope * (moisture / saturated).clamp(max=1.0))
