"""Synthetic weather and random parameters for bucket models."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pydiffgeo import ProcessModel

F64 = torch.float64
# mm: an initial state of each model
FULL = {"hbv": [20.0, 1.0, 150.0, 10.0, 30.0], "exp_hydro": [20.0, 300.0]}


def weather(basins: int, days: int, seed: int = 0) -> dict[str, Tensor]:
    """Daily weather `[basin, day]` with seasons, wet and dry days, warm and cold basins."""
    g = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g, dtype=F64)

    season = torch.cos(2 * math.pi * (torch.arange(days, dtype=F64) - 20) / 365)
    amount = (
        -12 * torch.log(uniform(basins, days).clamp_min(1e-12)) * (uniform(basins, days) < 0.35)
    )
    noise = 3 * torch.randn(basins, days, generator=g, dtype=F64)
    return {
        "precipitation": amount,
        "temperature": 7 - 11 * season + 6 * uniform(basins, 1) + noise,
        "potential_evapotranspiration": (2.2 - 2 * season)
        .expand(basins, days)
        .clamp_min(0.1)
        .clone(),
    }


def random_parameters(model: ProcessModel, basins: int, seed: int = 0) -> dict[str, Tensor]:
    """Parameters `[basin]` anywhere within the bounds of the specification."""
    g = torch.Generator().manual_seed(seed)
    return {
        k: s.lower + (s.upper - s.lower) * torch.rand(basins, generator=g, dtype=F64)
        for k, s in model.spec.parameters.items()
    }


def initial_state(model: ProcessModel) -> Tensor:
    """A state of some snow, moist soil and groundwater."""
    return torch.tensor(FULL[model.spec.name], dtype=F64)
