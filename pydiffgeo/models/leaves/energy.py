"""The energy balance of a leaf: what it absorbs leaves as long waves, vapour and heat."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.models.leaves.stomata import CONSTANTS
from pydiffgeo.models.vapour import saturation_pressure
from pydiffgeo.units import ZERO_CELSIUS

EMISSIVITY = CONSTANTS["EMISSIVITY"]
STEFAN_BOLTZMANN = CONSTANTS["STEFAN_BOLTZMANN"]
HEAT_CAPACITY = CONSTANTS["HEAT_CAPACITY"]
HEAT_RATIO = CONSTANTS["HEAT_RATIO"]
MOLAR_MASS = 0.018015  # kg mol-1, of water


class Heat(NamedTuple):
    """Fluxes of energy of a leaf, W m-2."""

    net_radiation: Tensor
    latent: Tensor
    sensible: Tensor


def deficit(temperature: Tensor, vapour_pressure: Tensor) -> Tensor:
    """Vapour pressure deficit of the air to the leaf, kPa, from degC and Pa; negative in dew."""
    return 0.001 * (saturation_pressure(temperature) - vapour_pressure)


def transpiration(stomata: Tensor, vpd: Tensor, f: Values) -> Tensor:
    """Water vapour that a leaf loses through stomata and boundary layer, mol m-2 s-1."""
    boundary = f["boundary_layer_conductance"]
    return stomata * boundary / (stomata + boundary) * vpd * 1000 / f["pressure"]


def by_conductance(stomata: Tensor, vpd: Tensor, f: Values) -> Tensor:
    """Slope of `transpiration` in the conductance of the stomata."""
    boundary = f["boundary_layer_conductance"]
    share = boundary / (stomata + boundary)
    return share * share * vpd * 1000 / f["pressure"]


def latent_heat(temperature: Tensor) -> Tensor:
    """Heat of vaporisation, J mol-1.

    References
    ----------
    Allen et al. (1998), FAO Irrigation and Drainage Paper 56, annex 3.
    """
    return MOLAR_MASS * (2.501e6 - 2361 * temperature)


def heat(temperature: Tensor, vapour: Tensor, f: Values) -> Heat:
    """Return what a leaf of two sides gains by radiation, and loses by vapour and heat.

    Each follows from states and weather by itself: net radiation is the sum of the others only
    where the temperature is right.

    Parameters
    ----------
    temperature : Tensor, [...]
        Of the leaf, degC.
    vapour : Tensor, [...]
        Transpiration, mol m-2 s-1.
    f : mapping of str to Tensor, [...]
        shortwave and longwave (W m-2), air_temperature (degC), boundary_layer_conductance
        (mol m-2 s-1), of one side.

    References
    ----------
    Campbell & Norman (1998), An Introduction to Environmental Biophysics, chapter 14.
    """
    kelvin = temperature + ZERO_CELSIUS
    emitted = STEFAN_BOLTZMANN * kelvin**4
    net = f["shortwave"] + 2 * EMISSIVITY * (f["longwave"] - emitted)
    conductance = 2 * f["boundary_layer_conductance"] / HEAT_RATIO
    sensible = HEAT_CAPACITY * conductance * (temperature - f["air_temperature"])
    return Heat(net, latent_heat(temperature) * vapour, sensible)
