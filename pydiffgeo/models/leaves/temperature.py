"""How rates of a leaf respond to its temperature.

Temperatures in degC, energies in J mol-1, entropies in J mol-1 K-1; the factors are 1 at 25 degC.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo.units import ZERO_CELSIUS

GAS = 8.3144598  # J mol-1 K-1
STANDARD = ZERO_CELSIUS + 25.0  # K
Q10 = 2.0  # of C4 leaves


def distance(temperature: Tensor) -> Tensor:
    """(1 - T25 / T) / (R T25), mol J-1: how far a temperature is from 25 degC."""
    return (1 / STANDARD - 1 / (temperature + ZERO_CELSIUS)) / GAS


def arrhenius(far: Tensor, activation: Tensor) -> Tensor:
    """Exponential response at a `distance`, as a factor of the rate at 25 degC."""
    return torch.exp(activation * far)


def peaked(far: Tensor, activation: Tensor, deactivation: Tensor, entropy: Tensor) -> Tensor:
    """Response that falls again above an optimum, as a factor of the rate at 25 degC.

    Of the `distance` of a temperature.

    References
    ----------
    Johnson, Eyring & Williams (1942); Medlyn et al. (2002), doi:10.1046/j.1365-3040.2002.00891.x,
    equation 17.
    """
    lost = torch.exp((entropy - deactivation / STANDARD) / GAS)  # at 25 degC
    return arrhenius(far, activation) * (1 + lost) / (1 + lost * arrhenius(far, deactivation))


def doubling(temperature: Tensor) -> Tensor:
    """Response of C4 leaves, which doubles in 10 degC.

    References
    ----------
    Collatz, Ribas-Carbo & Berry (1992), doi:10.1071/PP9920519.
    """
    return torch.exp((temperature - 25.0) * 0.06931471805599453)  # log(2) / 10


def limited_c4(temperature: Tensor) -> Tensor:
    """Response of V_cmax of C4 leaves: `doubling`, and less in cold and heat.

    As in FATES, the factor at 25 degC is a little below 1.
    """
    cold = 1 + torch.exp(0.2 * (15.0 - temperature))
    hot = 1 + torch.exp(0.3 * (temperature - 40.0))
    return doubling(temperature) / (cold * hot)


def respiration_c4(temperature: Tensor) -> Tensor:
    """Response of the day respiration of C4 leaves: `doubling`, and less near 55 degC."""
    return doubling(temperature) / (1 + torch.exp(1.3 * (temperature - 55.0)))
