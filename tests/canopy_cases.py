"""Canopies drawn at random: night and day, dense and thin, dry and wet, calm and windy."""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo import Solution, Solver, TwoBigLeaf, solve
from pydiffgeo.models.vapour import saturation_pressure

F64 = torch.float64


def weather(rows: int, seed: int = 0) -> dict[str, Tensor]:
    """Forcing, `[row, 1]`."""
    g = torch.Generator().manual_seed(seed)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(rows, 1, generator=g, dtype=F64)

    elevation, air = between(-40, 85), between(-15, 42)
    shortwave = 1361 * torch.sin(torch.deg2rad(elevation)).clamp_min(0) * between(0.02, 0.85)
    saturated = saturation_pressure(air)
    return {
        "shortwave_down": shortwave,
        "par": shortwave * between(1.6, 2.3),
        "diffuse_share": between(0.1, 1),
        "sun_elevation": elevation,
        "longwave_down": 5.67e-8 * (air + 273.15) ** 4 * between(0.6, 1),
        "air_temperature": air,
        "vapour_pressure": (saturated * between(0.05, 1.02)).clamp_min(2.0),
        "co2": between(250, 900),
        "pressure": between(6e4, 1.03e5),
        "wind_speed": torch.exp(between(-3, 2.7)),
        "friction_velocity": torch.exp(between(-5, 0.6)),
        "leaf_area_index": torch.exp(between(-4, 2.2)),
        "soil_temperature": air + between(-8, 8),
        "soil_moisture": between(0, 0.6),
        "soil_water_stress": between(0, 1),
    }


def noon(**changes: float) -> dict[str, float]:
    """A clear summer noon over a meadow."""
    return {
        "shortwave_down": 850.0, "par": 1750.0, "diffuse_share": 0.2, "sun_elevation": 65.0,
        "longwave_down": 340.0, "air_temperature": 24.0, "vapour_pressure": 1500.0, "co2": 410.0,
        "pressure": 101000.0, "wind_speed": 3.0, "friction_velocity": 0.35, "leaf_area_index": 3.0,
        "soil_temperature": 19.0, "soil_moisture": 0.25, "soil_water_stress": 1.0,
    } | changes  # fmt: skip


def solved(model: TwoBigLeaf, forcing: dict, **parameters: float) -> Solution:
    """The canopy in one interval of each column."""
    columns = max((len(v) for v in forcing.values() if isinstance(v, Tensor)), default=1)
    begin = {k: v.expand(columns) for k, v in model.start({}).items()}
    return solve(model, forcing, parameters, begin, range(2), Solver("implicit_euler", step=1.0))


def flux(solution: Solution, name: str) -> float:
    """The only value of a flux."""
    return float(solution.fluxes[name])
