"""Reaches with random channels, and floods that run into them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pydiffgeo import (
    KinematicWave,
    LevelPool,
    Muskingum,
    MuskingumCunge,
    ProcessModel,
    Solution,
    Solver,
    solve,
)
from pydiffgeo.models.rivers.kinematic_wave import Channel

F64 = torch.float64
RIVERS: dict[str, Callable[[], ProcessModel]] = {
    "muskingum": Muskingum,
    "muskingum_cunge": MuskingumCunge,
    "muskingum_cunge power_law": lambda: MuskingumCunge("power_law"),
    "kinematic_wave": KinematicWave,
    "kinematic_wave power_law": lambda: KinematicWave("power_law"),
    "level_pool": LevelPool,
}
"""Every model of a reach with each of its cross-sections, and pools."""

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
    "lake_area": (10.0, 1e9),
    "shape": (0.0, 3.0),
    "crest": (0.0, 100.0),
    "weir_width": (0.1, 1000.0),
    "weir_coefficient": (0.3, 0.8),
    "orifice_area": (1e-3, 100.0),
    "orifice_height": (0.0, 10.0),
    "orifice_coefficient": (0.3, 1.0),
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
    "lake_area": (1e3, 1e4),
    "shape": (0.2, 2.0),
    "crest": (1.0, 3.0),
    "weir_width": (5.0, 50.0),
    "orifice_area": (0.1, 5.0),
    "orifice_height": (0.0, 0.5),
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


# A small wave on a steady flow, in a channel of 40 km that spreads it
BASE = {"flow": 200.0, "whole": 40e3, "size": 1e-3, "middle": 21600.0, "width": 3600.0}
CHANNEL = {"n": 0.03, "slope": 4e-3, "width": 100.0, "side_slope": 0.0}


def pulse(time: Tensor) -> Tensor:
    """Shape of the wave that enters; 1 at its peak."""
    return torch.exp(-0.5 * ((time - BASE["middle"]) / BASE["width"]) ** 2)


def channel_of(model: Channel) -> tuple[float, float]:
    """Celerity, m s-1, and diffusion Q / (2 B S), m2 s-1, of the steady flow."""
    p = {k: torch.tensor(v, dtype=F64) for k, v in (CHANNEL | {"length": 1.0}).items()}
    low, high = 1e-3, 1e5
    for _ in range(200):  # the area of that flow, by bisection
        area = 0.5 * (low + high)
        _, section, velocity, relative = model.channel(torch.tensor(area, dtype=F64), p)
        low, high = (area, high) if area * float(velocity) < BASE["flow"] else (low, area)
    diffusion = BASE["flow"] / (2 * float(section.width) * CHANNEL["slope"])
    return float(relative * velocity), diffusion


def along(
    model: Channel, count: int, step: float, known_step: float | None = None
) -> tuple[Tensor, Tensor]:
    """The wave at the end of so many reaches, in parts of its size at the beginning, and times.

    Half the difference of a wave up and one down, which has no part of the second order.
    """
    steps = int(72000 / step)
    time = (torch.arange(steps, dtype=F64) + 1) * step
    sign = torch.tensor([[1.0], [-1.0]], dtype=F64)
    flow = BASE["flow"] * (1 + sign * BASE["size"] * pulse(time))
    parameters = {k: torch.tensor([v], dtype=F64) for k, v in CHANNEL.items()}
    length = BASE["whole"] / count
    parameters["length"] = torch.tensor([length], dtype=F64)
    if "step" in model.spec.parameters:
        x = step if known_step is None else known_step
        parameters["step"] = torch.tensor([x], dtype=F64)
    still = torch.full((2, 1), BASE["flow"], dtype=F64).expand(-1, 400)
    start = run(model, parameters, {"inflow": still, "lateral_inflow": still * 0}, step).states
    for _ in range(count):
        given = {"inflow": flow, "lateral_inflow": torch.zeros_like(flow)}
        flow = run(model, parameters, given, step, start[:, -1]).fluxes["discharge"]
    return (flow[0] - flow[1]) / (2 * BASE["size"] * BASE["flow"]), time


def hayami(time: Tensor, distance: float, celerity: float, diffusion: float) -> Tensor:
    """The wave `pulse` at a distance: its convolution with the response to an impulse.

    Source: Hayami (1951), On the propagation of flood waves, Bull. Disaster Prev. Res. Inst. Kyoto
    Univ. 1; Moussa (1996), doi:10.1002/(SICI)1099-1085(199609)10:9<1209::AID-HYP380>3.0.CO;2-2.
    """
    fine = 5.0
    t = (torch.arange(int(float(time.max()) / fine), dtype=F64) + 0.5) * fine
    kernel = distance / (2 * (math.pi * diffusion * t**3).sqrt())
    kernel = kernel * torch.exp(-((distance - celerity * t) ** 2) / (4 * diffusion * t)) * fine
    return torch.stack([(kernel * pulse(at - t)).sum() for at in time])


def orders(errors: list[float]) -> list[float]:
    """Powers of two by which each error is smaller than the one before."""
    return [math.log2(a / b) for a, b in zip(errors[:-1], errors[1:], strict=True)]
