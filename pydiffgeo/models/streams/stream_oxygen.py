"""Dissolved oxygen of a stream: photosynthesis, respiration, exchange with the air."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from pydiffgeo.errors import ParameterError
from pydiffgeo.models.base import Entries, Evaluation, Values, not_negative
from pydiffgeo.models.slots import Formula
from pydiffgeo.models.smooth import stacked
from pydiffgeo.models.spec_files import load_constants
from pydiffgeo.models.streams.stream import Stream
from pydiffgeo.units import ZERO_CELSIUS

CONSTANTS = load_constants("stream_oxygen")
WARM = CONSTANTS["WARM"]
STANDARD = CONSTANTS["STANDARD"]  # hPa
LEAST_DEPTH = CONSTANTS["LEAST_DEPTH"]
LACK = CONSTANTS["LACK"]


def oxygen_saturation(temperature: Tensor, pressure: Tensor | float = STANDARD) -> Tensor:
    """Return the oxygen that fresh water holds in balance with humid air.

    Parameters
    ----------
    temperature : Tensor
        Of the water, 0 to 40 degC.
    pressure : Tensor or float
        Of the air, hPa.

    Returns
    -------
    Tensor
        mg L-1.

    References
    ----------
    Benson & Krause (1984), doi:10.4319/lo.1984.29.3.0620, eqs. 24, 32 and 33, with the numbers for
    mg L-1 of APHA, Standard Methods, 4500-O, and USGS Office of Water Quality memorandum 2011.03.
    """
    warm = 1 / (temperature + ZERO_CELSIUS)
    terms = (-139.34411, 1.575701e5, -6.642308e7, 1.243800e10, -8.621949e11)
    at_one = torch.exp(_polynomial(terms, warm))
    vapour = torch.exp(_polynomial((11.8571, -3840.70, -216961.0), warm))  # atm
    second = _polynomial((9.75e-4, -1.426e-5, 6.436e-8), temperature)
    p = pressure / STANDARD
    return at_one * (p - vapour) * (1 - second * p) / ((1 - vapour) * (1 - second))


def schmidt_oxygen(temperature: Tensor) -> Tensor:
    """Return the Schmidt number of oxygen in fresh water at a temperature, 0 to 30 degC.

    Source: Raymond et al. (2012), doi:10.1215/21573689-1597669, table 1.
    """
    return _polynomial((1568.0, -86.04, 2.142, -0.0216), temperature)


def air_pressure(altitude: Tensor | float) -> Tensor:
    """Return the pressure of the standard atmosphere (hPa) at an altitude (m).

    Source: ICAO (1993), Manual of the ICAO standard atmosphere, doc. 7488.
    """
    below = 1 - 2.25577e-5 * torch.as_tensor(altitude, dtype=torch.float64)
    return STANDARD * below**5.25588


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    value = torch.full_like(x, coefficients[-1])
    for a in reversed(coefficients[:-1]):
        value = a + value * x
    return value


def _enough(oxygen: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the respiration that the oxygen is enough for, and its slope."""
    there = oxygen.clamp_min(0.0) / LACK
    cubed = there * there * there
    per = 1 / (cubed * there + 1)
    return cubed * there * per, 4 / LACK * cubed * per * per


class StreamOxygen(Stream):
    """Dissolved oxygen of a stream (mg L-1, d); see docs/streams.md.

    dO/dt = GPP light / (z mean_light) theta_GPP^(T - 20) + ER / z theta_ER^(T - 20)
    + K600 (Sc / 600)^(-1/2) (saturation - O), with depth z and Schmidt number Sc. ER is negative;
    it ends where the oxygen does, as O^4 / (O^4 + (0.2 mg L-1)^4).

    Sources: Odum (1956), doi:10.4319/lo.1956.1.2.0102; Appling et al. (2018),
    doi:10.1002/2017JG004140; saturation: `oxygen_saturation`; Sc: `schmidt_oxygen`.

    Parameters
    ----------
    closures : mapping of str to NeuralClosure or torch.nn.Module, optional
        Networks in the slots "gpp" and "gas_exchange"; see docs/closures.md.

    Raises
    ------
    UnknownName, ParameterError
        A slot that the model does not have, or a network that does not fit it.
    """

    formulas: ClassVar[Mapping[str, Formula]] = {
        "gpp": lambda p, light, warmth: light * p["theta_GPP"] ** (WARM * (warmth - 1)),
        "gas_exchange": lambda p, log_depth: torch.ones_like(log_depth),
    }
    arguments = {
        "gpp": (
            ("light", lambda light, p: light / p["mean_light"]),
            ("water_temperature", lambda x, p: x / WARM),
        ),
        "gas_exchange": (
            ("water_depth", lambda z, p: torch.log(z.clamp_min(LEAST_DEPTH))),
        ),
    }  # fmt: skip

    def __init__(self, closures: Mapping[str, nn.Module] | None = None) -> None:
        super().__init__("stream_oxygen", closures)

    def start(self, parameters: Values) -> dict[str, Tensor]:
        """Return the saturation at 15 degC and one atmosphere."""
        return {"oxygen": oxygen_saturation(torch.tensor(15.0, dtype=torch.float64))}

    def drivers(self, forcing: Values, parameters: Values) -> dict[str, Tensor]:
        """Production and respiration (mg L-1 d-1), rate of gas exchange (d-1), saturation (mg L-1).

        What forcing and parameters alone decide.
        """
        f, p, temperature = forcing, parameters, forcing["water_temperature"]
        depth = f["water_depth"].clamp_min(LEAST_DEPTH)
        respired = p["ER"] * p["theta_ER"] ** (temperature - WARM) / depth
        none = torch.zeros_like(respired)
        slower = torch.sqrt(600 / schmidt_oxygen(temperature))
        return {
            "production": p["GPP"] * self.in_slot("gpp", f, p) / depth + none,
            "respired": respired,
            "exchange": p["K600"] * slower * self.in_slot("gas_exchange", f, p) + none,
            "saturated": oxygen_saturation(temperature, f["pressure"]) + none,
        }

    def evaluate(
        self, state: Tensor, forcing: Values, parameters: Values, fluxes: bool = False
    ) -> Evaluation:
        """Storage, rates and fluxes."""
        oxygen = state[..., 0]
        f, _ = self.inputs(forcing, parameters)
        reaeration = f["exchange"] * (f["saturated"] - oxygen)
        respired = f["respired"] * _enough(oxygen)[0]
        rates = stacked([f["production"] + respired + reaeration])
        out = state.new_empty(0)
        if fluxes:
            parts = (f["production"], -respired, reaeration, oxygen, f["saturated"])
            out = stacked([x.expand_as(reaeration) for x in parts])
        return Evaluation(state, rates, out)

    def slopes(
        self, state: Tensor, forcing: Values, parameters: Values
    ) -> tuple[list[Tensor], Entries]:
        """Rate of the oxygen, and its slope."""
        f, _ = self.inputs(forcing, parameters)
        oxygen = state[..., 0]
        share, slope = _enough(oxygen)
        rate = f["production"] + f["respired"] * share + f["exchange"] * (f["saturated"] - oxygen)
        return [rate], {(0, 0): f["respired"] * slope - f["exchange"]}

    def check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Raise ParameterError for a production below zero, and a respiration above it."""
        not_negative(self.spec, parameters, ("GPP",))
        respired = parameters["ER"].detach() if "ER" in parameters else torch.zeros(1)
        if bool((respired > 0).any()):
            raise ParameterError(
                f"parameter 'ER' is {float(respired.max()):g}; respiration takes oxygen: give it "
                "below 0 (g m-2 d-1)."
            )
