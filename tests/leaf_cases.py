"""Leaves and their weather, drawn, for tests of photosynthesis."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pydiffgeo import Photosynthesis
from pydiffgeo.models.vapour import saturation_pressure

F64 = torch.float64
FORMS: dict[str, dict[str, Any]] = {
    "medlyn": {},
    "c4": {"pathway": "c4"},
    "both": {"pathway": "both", "product_limit": True},
    "ball_berry": {"stomata": "ball_berry"},
    "leuning": {"stomata": "leuning", "ratios": False},
    "leuning of C4 leaves": {"stomata": "leuning", "pathway": "c4"},
    "buckley_mott_farquhar": {"stomata": "buckley_mott_farquhar"},
    "measured": {"stomata": "measured", "mesophyll": True},
    "measured_ci": {"stomata": "measured_ci", "product_limit": True, "smoothing": "clm5"},
    "mesophyll": {"mesophyll": True, "smoothing": 0.99},
    "fates": {
        "pathway": "both",
        "co2_at": "surface",
        "humidity_at": "surface",
        "kinetics": "mole_fraction",
    },
    "ball_berry at the surface": {"stomata": "ball_berry", "humidity_at": "surface"},
    "leuning at the surface": {
        "stomata": "leuning", "humidity_at": "surface", "pathway": "both",
    },
    "energy_balance": {"energy_balance": True},
    "energy_balance of all": {
        "energy_balance": True, "pathway": "both", "mesophyll": True, "product_limit": True,
        "stomata": "ball_berry",
    },
    "energy_balance, measured": {"energy_balance": True, "stomata": "measured"},
}  # fmt: skip


def at(*values: float) -> Tensor:
    """Some numbers."""
    return torch.tensor(values, dtype=F64)


def leaves(model: Photosynthesis, count: int, seed: int = 0) -> tuple[dict[str, Tensor], ...]:
    """Weather `[leaf, 1]` from darkness to full sun and frost to heat, and parameters `[leaf]`."""
    g = torch.Generator().manual_seed(seed)

    def between(low: float, high: float, log: bool = False) -> Tensor:
        x = torch.rand(count, 1, generator=g, dtype=F64)
        return low * (high / low) ** x if log else low + (high - low) * x

    dark, air = between(0.0, 1.0) < 0.1, between(-5.0, 45.0)
    weather = {
        "par": torch.where(dark, 0.0, between(0.0, 2500.0)),
        "leaf_temperature": between(-5.0, 50.0),
        "vapour_pressure_deficit": between(0.01, 8.0, log=True),
        "co2": between(20.0, 2000.0, log=True),
        "pressure": between(6e4, 1.04e5),
        "boundary_layer_conductance": between(0.05, 10.0, log=True),
        "soil_water_stress": between(0.0, 1.0),
        "stomatal_conductance": between(0.01, 2.0, log=True),
        "intercellular_co2": between(10.0, 2000.0),
        "air_temperature": air,
        "vapour_pressure": between(0.1, 1.0) * saturation_pressure(air),
        "shortwave": torch.where(dark, 0.0, between(0.0, 600.0)),
        "longwave": between(200.0, 450.0),
    }
    given = {}
    for name, p in model.spec.parameters.items():
        if p.learn:
            given[name] = between(p.lower, p.upper)[:, 0]
        elif name == "c4":
            given[name] = between(0.0, 1.0)[:, 0].round()
    return {k: v for k, v in weather.items() if k in model.spec.forcings}, given


def residual(
    model: Photosynthesis, states: Tensor, weather: dict[str, Tensor], given: dict[str, Tensor]
) -> Tensor:
    """What is left of the equations at some states `[leaf, state]`."""
    p = {
        k: given[k][:, None] if k in given else torch.tensor([[s.default]], dtype=F64)
        for k, s in model.spec.parameters.items()
    }
    return model.rates(states, weather, p)
