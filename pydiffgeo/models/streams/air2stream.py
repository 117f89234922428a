"""air2stream: temperature of a stream from that of the air and the discharge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from pydiffgeo.errors import ParameterError, lookup
from pydiffgeo.models.base import Entries, Evaluation, Values, not_negative
from pydiffgeo.models.slots import Formula
from pydiffgeo.models.smooth import stacked
from pydiffgeo.models.spec_files import load_constants
from pydiffgeo.models.streams.stream import Stream

CONSTANTS = load_constants("air2stream")
FREEZING = CONSTANTS["FREEZING"]
LEAST_DISCHARGE = CONSTANTS["LEAST_DISCHARGE"]
VERSIONS: dict[int, tuple[str, ...]] = {
    3: ("a4", "a5", "a6", "a7", "a8"),
    4: ("a5", "a6", "a7", "a8"),
    5: ("a4", "a5", "a8"),
    7: ("a4",),
    8: (),
}
"""Number of parameters, and those that the version does not have."""


def _log_discharge(theta: Tensor, p: Values) -> Tensor:
    return torch.log(theta.clamp_min(LEAST_DISCHARGE))


def _angle(year_fraction: Tensor) -> Tensor:
    return 2 * math.pi * year_fraction


def _season(p: Values, sine: Tensor, cosine: Tensor) -> Tensor:
    """a6 cos(2 pi (t - a7)), from sine and cosine of 2 pi t."""
    angle = _angle(p["a7"])
    return p["a6"] * (cosine * torch.cos(angle) + sine * torch.sin(angle))


LOG_DISCHARGE = ("relative_discharge", _log_discharge)
SINE = ("year_fraction", lambda t, p: torch.sin(_angle(t)))
COSINE = ("year_fraction", lambda t, p: torch.cos(_angle(t)))


class Air2Stream(Stream):
    """Temperature of a stream (degC, d) from air temperature and discharge; see docs/streams.md.

    dT/dt = theta^(-a4) [a1 + a2 Ta - a3 T + theta (a5 + a6 cos(2 pi (t - a7)) - a8 T)], where theta
    is the discharge in parts of its mean. The versions of 3, 4 and 5 parameters have no theta in
    the brackets. T does not fall below 0 degC: the water freezes. A day's temperature is the mean
    over it, "water_temperature". The parameter `shift`, 0 unless a network gives it, is added to
    the temperature to which all of it tends.

    Sources: Toffolon & Piccolroaz (2015), doi:10.1088/1748-9326/10/11/114011; Piccolroaz et al.
    (2016), doi:10.1002/hyp.10913.

    Parameters
    ----------
    version : {8, 7, 5, 4, 3}
        Number of parameters.
    closures : mapping of str to NeuralClosure or torch.nn.Module, optional
        Networks in the slots "depth" and "inflow" of version 8; see docs/closures.md.

    Raises
    ------
    UnknownName, ParameterError
        A version or a slot that there is not, a network that does not fit its slot, or one in a
        version that has no such slot.
    """

    formulas: ClassVar[Mapping[str, Formula]] = {
        "depth": lambda p, log_discharge: torch.exp(-p["a4"] * log_discharge),
        "inflow": lambda p, log_discharge, sine, cosine: (
            p["a5"] + _season(p, sine, cosine) + 0 * log_discharge
        ),
    }
    arguments = {
        "depth": (LOG_DISCHARGE,),
        "inflow": (LOG_DISCHARGE, SINE, COSINE),
    }

    def __init__(self, version: int = 8, closures: Mapping[str, nn.Module] | None = None) -> None:
        if closures and version != 8:
            raise ParameterError(
                f"Air2Stream(version={version}) has no slots; leave the closures out, or take "
                "version=8."
            )
        without = lookup({str(k): v for k, v in VERSIONS.items()}, str(version), "version")
        super().__init__("air2stream", closures, without)
        self.version = version

    def start(self, parameters: Values) -> dict[str, Tensor]:
        """Return the temperature to which air of 10 degC and mean discharge lead."""
        p = self.with_defaults(parameters)
        heat, loss = p["a1"] + 10 * p["a2"], p["a3"]
        if self.version >= 7:
            heat, loss = heat + p.get("a5", torch.zeros(())), loss + p["a8"]
        return {"stream_temperature": (heat / loss.clamp_min(0.1)).clamp(0.0, 25.0)}

    def drivers(self, forcing: Values, parameters: Values) -> dict[str, Tensor]:
        """Heat that air and inflow bring to water of 0 degC (degC d-1), and loss per degree (d-1).

        What forcing and parameters alone decide.
        """
        f, p = forcing, parameters
        theta = f["relative_discharge"].clamp_min(LEAST_DISCHARGE)
        none = torch.zeros_like(p["a1"] * theta)  # of each column and interval
        air, air_loss = p["a1"] + p["a2"] * f["temperature"] + none, p["a3"] + none
        heat = {"air": air, "air_loss": air_loss, "inflow": none, "inflow_loss": none}
        if self.version == 5:
            heat |= {"inflow": self._yearly(f, p) + none}
        elif self.version > 3:
            per_depth = none + 1 if self.version == 7 else self.in_slot("depth", f, p)
            heat |= {"air": per_depth * air, "air_loss": per_depth * air_loss}
            if self.version >= 7:
                flow = per_depth * theta
                inflow = flow * self.in_slot("inflow", f, p)
                heat |= {"inflow": inflow, "inflow_loss": flow * p["a8"]}
        for name in ("air", "inflow"):
            heat[name] = heat[name] + heat[f"{name}_loss"] * p["shift"]
        return heat

    def _yearly(self, forcing: Values, p: Values) -> Tensor:
        """The course of the year of version 5, degC d-1."""
        angle = _angle(forcing["year_fraction"])
        return _season(p, torch.sin(angle), torch.cos(angle))

    def evaluate(
        self, state: Tensor, forcing: Values, parameters: Values, fluxes: bool = False
    ) -> Evaluation:
        """Storage, rates and fluxes."""
        temperature = state[..., 0]
        f, _ = self.inputs(forcing, parameters)
        air = f["air"] - f["air_loss"] * temperature
        inflow = f["inflow"] - f["inflow_loss"] * temperature
        freezing = FREEZING * (-temperature).clamp_min(0.0)
        rates = stacked([air + inflow + freezing])
        out = state.new_empty(0)
        if fluxes:
            out = stacked([air, inflow.expand_as(air), freezing.expand_as(air),
                           temperature.clamp_min(0.0).expand_as(air)])  # fmt: skip
        return Evaluation(state, rates, out)

    def slopes(
        self, state: Tensor, forcing: Values, parameters: Values
    ) -> tuple[list[Tensor], Entries]:
        """Rate of the temperature, and its slope."""
        temperature = state[..., 0]
        f, _ = self.inputs(forcing, parameters)
        loss = f["air_loss"] + f["inflow_loss"]
        frozen = FREEZING * (temperature < 0).to(temperature.dtype)
        rate = f["air"] + f["inflow"] - (loss + frozen) * temperature
        return [rate], {(0, 0): -(loss + frozen).expand_as(rate)}

    def check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Raise ParameterError where water would warm the more, the warmer it is."""
        not_negative(self.spec, parameters, ("a3", "a8"))
