"""The explicit daily loop of HBV as a process model of basins: a baseline, of which the updates depend on their order."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pydiffgeo.models.hbv import HBV
from pydiffgeo.parameters import Bounds
from pydiffgeo.training.explicit_hbv import explicit_hbv


class ExplicitHBV:
    """`explicit_hbv` with the parameters and bounds of the model "hbv", from empty stores; see `processes.Process`."""

    def __init__(self) -> None:
        spec = HBV().spec
        self.states = tuple(spec.states)
        self.bounds = {name: Bounds.of(p) for name, p in spec.parameters.items()}
        self.default: dict[str, float] = {}
        self.forcing = {"precipitation": "precipitation", "temperature": "tair_mean",
                        "potential_evapotranspiration": "potential_evapotranspiration"}  # fmt: skip

    def simulate(
        self, forcing: Mapping[str, Tensor], parameters: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return fluxes, mm d-1, and stores, mm, [column, time]."""
        empty = torch.zeros(
            len(self.states),
            dtype=forcing["precipitation"].dtype,
            device=forcing["precipitation"].device,
        )
        states, fluxes = explicit_hbv(forcing, parameters, empty)
        return (
            {"inflow": forcing["precipitation"]}
            | fluxes
            | dict(zip(self.states, states.unbind(-1), strict=True))
        )
