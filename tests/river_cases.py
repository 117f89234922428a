"""Reaches with random channels, and floods that run into them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pydiffgeo import (
    KinematicWave,
    Muskingum,
    MuskingumCunge,
    ProcessModel,
    Solution,
    Solver,
    solve,
)

F64 = torch.float64
RIVERS: dict[str, Callable[[], ProcessModel]] = {
    "muskingum": Muskingum,
    "muskingum_cunge": MuskingumCunge,
    "muskingum_cunge power_law": lambda: MuskingumCunge("power_law"),
    "kinematic_wave": KinematicWave,
    "kinematic_wave power_law": lambda: KinematicWave("power_law"),
}
"""Every model of a reach with each of its cross-sections."""

WIDE = {  # wider than the bounds of the specification: from a ditch to the Amazon
    "n": (0.005, 1.0),
    "slope": (1e-5, 0.1),
    "length": (100.0, 5e4),
    "width": (0.5, 500.0),
    "p": (0.5, 500.0),
    "K": (60.0, 864000.0),
    "side_slope": (0.0, 5.0),
    "q": (0.0, 1.0),
    "X": (0.0, 0.5),
}
USUAL = WIDE | {
    "n": (0.02, 0.1),
    "slope": (1e-4, 1e-2),
    "length": (1e3, 1e4),
    "width": (5.0, 50.0),
    "p": (5.0, 50.0),
    "K": (3600.0, 36000.0),
    "q": (0.1, 0.9),
    "X": (0.05, 0.45),
}


def channels(
    model: ProcessModel,
    count: int,
    step: float,
    seed: int = 0,
    ranges: dict[str, tuple[float, float]] = WIDE,
    leakance: float = 0.0,
) -> dict[str, Tensor]:
    """Parameters `[reach]` of a model, lengths and roughness evenly by their logarithm."""
    g = torch.Generator().manual_seed(seed)
    found = {}
    for name in model.spec.parameters:
        if name in ranges:
            low, high = ranges[name]
            x = torch.rand(count, generator=g, dtype=F64)
            found[name] = low * (high / low) ** x if low > 0 else low + (high - low) * x
    found["leakance"] = torch.full((count,), leakance, dtype=F64)
    if "step" in model.spec.parameters:
        found["step"] = torch.full((count,), step, dtype=F64)
    return found


def floods(count: int, steps: int, seed: int = 0, largest: float = 1000.0) -> dict[str, Tensor]:
    """A flood `[reach, step]`, m3 s-1, of any size, a burst of one step, and showers."""
    g = torch.Generator().manual_seed(seed)
    peak = 0.01 * (largest / 0.01) ** torch.rand(count, 1, generator=g, dtype=F64)
    time = torch.arange(steps, dtype=F64) / steps
    inflow = peak * torch.exp(-0.5 * ((time - 0.3) / 0.08) ** 2)
    inflow[:, int(0.7 * steps)] += peak[:, 0]
    wet = torch.rand(count, steps, generator=g, dtype=F64) < 0.2
    showers = 0.1 * peak * torch.rand(count, steps, generator=g, dtype=F64)
    return {"inflow": inflow, "lateral_inflow": torch.where(wet, showers, 0.0)}


def run(
    model: ProcessModel,
    parameters: dict[str, Tensor],
    forcing: dict[str, Tensor],
    step: float,
    start: Tensor | float = 0.0,
    engine: str = "torch",
    replay: Solution | None = None,
    **options: object,
) -> Solution:
    """Solve by implicit Euler with one step in each interval."""
    count, steps = forcing["inflow"].shape
    state = start if isinstance(start, Tensor) else torch.full((count, 1), start, dtype=F64)
    solver = Solver("implicit_euler", step=step, **options)  # type: ignore[arg-type]
    times = torch.arange(steps + 1, dtype=F64) * step
    return solve(model, forcing, parameters, state, times, solver, engine, replay)
