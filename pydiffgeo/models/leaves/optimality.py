"""CO2 inside a leaf where carboxylation and transpiration together cost least."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pydiffgeo.errors import DataError, lookup
from pydiffgeo.models.leaves.configuration import Form
from pydiffgeo.models.leaves.stomata import STOMATA_RATIO
from pydiffgeo.models.leaves.temperature import STANDARD, distance
from pydiffgeo.models.leaves.traits import compensation_point, michaelis
from pydiffgeo.models.spec_files import load_spec
from pydiffgeo.units import ZERO_CELSIUS

COST_RATIO = 146.0  # of maintaining carboxylation and transpiration at 25 degC
READ = (
    "K_c25", "K_o25", "Gamma_star25", "K_c_activation", "K_o_activation", "Gamma_star_activation",
)  # fmt: skip


def optimal_chi(
    temperature: Tensor,
    vpd: Tensor,
    co2: Tensor,
    pressure: Tensor,
    cost_ratio: float = COST_RATIO,
    parameters: Mapping[str, float] | None = None,
) -> Tensor:
    """Ratio of the CO2 inside a C3 leaf to that of the air, by least cost (the P-model).

    chi = G / ca + (1 - G / ca) xi / (xi + sqrt(D)), xi = sqrt(cost_ratio (K + G) / (1.6 eta)), of
    the compensation point G, the Michaelis constant K, the deficit D, and the viscosity eta of
    water in parts of that at 25 degC.

    Parameters
    ----------
    temperature : Tensor, [...]
        degC.
    vpd : Tensor, [...]
        Vapour pressure deficit, kPa.
    co2 : Tensor, [...]
        Of the air, umol mol-1.
    pressure : Tensor, [...]
        Of the air, Pa.
    cost_ratio : float
        Cost of carboxylation in parts of that of transpiration, at 25 degC.
    parameters : mapping of str to float, optional
        Constants of Rubisco in the units of `Photosynthesis`, instead of its defaults.

    Returns
    -------
    Tensor, [...]

    Raises
    ------
    UnknownName
        A parameter that is no constant of Rubisco.
    DataError
        Weather beyond what `Photosynthesis` takes, such as a pressure in kPa.

    References
    ----------
    Prentice et al. (2014), doi:10.1111/ele.12211; Stocker et al. (2020),
    doi:10.5194/gmd-13-1545-2020. Viscosity as in IAPWS SR6-08.
    """
    spec, weather = load_spec("photosynthesis").parameters, load_spec("photosynthesis").forcings
    read = {
        "leaf_temperature": temperature, "vapour_pressure_deficit": vpd, "co2": co2,
        "pressure": pressure,
    }  # fmt: skip
    for name, values in read.items():
        low, high, unit = weather[name].lower, weather[name].upper, weather[name].unit
        beyond = ~((values >= low) & (values <= high))
        if bool(beyond.any()):
            raise DataError(
                f"{name} is {float(values[beyond][0]):g} {unit}; allowed: {low:g} to {high:g}, no "
                "gaps; correct it, or leave it out."
            )
    constants = {k: spec[k].default for k in READ}
    for name, value in (parameters or {}).items():
        lookup(constants, name, "constant of Rubisco")
        constants[name] = value
    p = {k: torch.as_tensor(v, dtype=temperature.dtype) for k, v in constants.items()}
    air, form = {"pressure": pressure}, Form()
    far = distance(temperature)
    point = compensation_point(far, air, p, form)
    half = michaelis(far, air, p, form)
    viscosity = _viscosity(temperature + ZERO_CELSIUS) / _viscosity(torch.tensor(STANDARD))
    # umol mol-1 to Pa, in which the deficit is, too
    xi = torch.sqrt(cost_ratio * (half + point) * 1e-6 * pressure / (STOMATA_RATIO * viscosity))
    share = point / co2
    return share + (1 - share) * xi / (xi + torch.sqrt(1000 * vpd))


def _viscosity(kelvin: Tensor) -> Tensor:
    """Viscosity of water at 0.1 MPa, 1e-6 Pa s."""
    x = kelvin / 300
    return 280.68 * x**-1.9 + 511.45 * x**-7.7 + 61.131 * x**-19.6 + 0.45903 * x**-40.0
