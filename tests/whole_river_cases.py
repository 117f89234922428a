"""A river of 60 reaches, in one call and level by level."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pydiffgeo import MuskingumCunge, Solver, solve
from pydiffgeo.data.network import levels
from pydiffgeo.engines.whole_rivers import River, delayed
from pydiffgeo.solution import Solution
from pydiffgeo.solving import solve_river

F64 = torch.float64
REACHES, DAYS, PARTS = 60, 20, 8
STEP = 86400.0 / PARTS
MODEL = MuskingumCunge()


def tree() -> Tensor:
    """Return the reach below each: a random river of two outlets and long stretches."""
    g = torch.Generator().manual_seed(3)
    below = [
        min(i + 1 + int(torch.randint(0, 6, (), generator=g)), REACHES) for i in range(REACHES)
    ]
    below[20] = REACHES
    return torch.tensor([-1 if k == REACHES else k for k in below])


def inputs() -> dict[str, Tensor]:
    """Return lateral inflow and inflow from elsewhere, parameters, initial volume and delay, which
    carry gradients.
    """
    g = torch.Generator().manual_seed(4)
    rain = torch.relu(torch.randn(REACHES, DAYS, generator=g, dtype=F64)) * 5
    draw = {
        "lateral_inflow": rain,
        "n": 0.03 + 0.05 * torch.rand(REACHES, generator=g, dtype=F64),
        "length": 10 ** (3 + torch.rand(REACHES, generator=g, dtype=F64)),
        "width": 5 + 40 * torch.rand(REACHES, DAYS, generator=g, dtype=F64),
        "volume": 1e4 * torch.rand(REACHES, generator=g, dtype=F64),
        "delay": 15 * torch.rand(REACHES, generator=g, dtype=F64),
        "inflow": 3 * torch.rand(REACHES, DAYS, generator=g, dtype=F64),
    }
    return {k: v.requires_grad_() for k, v in draw.items()}


def together(
    x: dict[str, Tensor], below: Tensor, engine: str, delay: bool, **options: Any
) -> Solution | None:
    """Solve in one call."""
    return solve_river(*problem(x, below, engine, delay, **options))


def problem(
    x: dict[str, Tensor], below: Tensor, engine: str, delay: bool, **options: Any
) -> tuple[Any, ...]:
    """Return what `solve_river` takes."""
    order = [torch.from_numpy(level) for level in levels(below.numpy())]
    river = River(below, order, PARTS, "discharge", "inflow", "lateral_inflow" if delay else None,
                  x["delay"] if delay else None)  # fmt: skip
    forcing = {k: x[k] for k in ("inflow", "lateral_inflow")}
    times, start = torch.arange(DAYS + 1) * 86400.0, {"volume": x["volume"]}
    solver = Solver("implicit_euler", **({"step": STEP} | options))
    return MODEL, forcing, given(x), start, times, solver, engine, river


def given(x: dict[str, Tensor]) -> dict[str, Any]:
    """Return the parameters."""
    return {k: x[k] for k in ("n", "length", "width")} | {"step": STEP, "slope": 1e-3}


def by_levels(x: dict[str, Tensor], below: Tensor, engine: str, delay: bool) -> dict[str, Tensor]:
    """Return daily discharge, volume and storage, one level after the other."""
    fine = {k: x[k].repeat_interleave(PARTS, 1) for k in ("lateral_inflow", "inflow", "width")}
    if delay:
        fine["lateral_inflow"] = delayed(fine["lateral_inflow"], x["delay"])
    flow = torch.zeros(REACHES, DAYS * PARTS, dtype=F64)
    volume, storage = torch.zeros(2, REACHES, DAYS, dtype=F64)
    times = torch.arange(DAYS * PARTS + 1) * STEP
    for level in levels(below.numpy()):
        rows = torch.as_tensor(level)
        inflow = torch.zeros(REACHES + 1, DAYS * PARTS, dtype=F64).index_add(
            0, below % (REACHES + 1), flow
        )[rows]
        inflow = inflow + fine["inflow"][rows]
        own = {k: v if isinstance(v, float) else v[rows] for k, v in given(x).items()}
        forcing = {"inflow": inflow, "lateral_inflow": fine["lateral_inflow"][rows]}
        own["width"] = fine["width"][rows]
        solver, start = Solver("implicit_euler", step=STEP), {"volume": x["volume"][rows]}
        s = solve(MODEL, forcing, own, start, times, solver, engine)
        flow = flow.index_copy(0, rows, s.fluxes["discharge"])
        ends = slice(PARTS - 1, None, PARTS)
        volume = volume.index_copy(0, rows, s.states[:, ends, 0])
        storage = storage.index_copy(0, rows, s.storage[:, 1:][:, ends])
    return {"discharge": flow.unflatten(1, (DAYS, PARTS)).mean(2), "volume": volume,
            "storage": storage}  # fmt: skip


def results(s: Solution) -> dict[str, Tensor]:
    """Return the same of a solution."""
    return {"discharge": s.fluxes["discharge"], "volume": s.states[..., 0],
            "storage": s.storage[:, 1:]}  # fmt: skip


def gradients(found: dict[str, Tensor], x: dict[str, Tensor]) -> list[Tensor]:
    """Return the slopes of a weighted sum of the results in all inputs."""
    g = torch.Generator().manual_seed(5)
    weights = {k: torch.randn(REACHES, DAYS, generator=g, dtype=F64) for k in found}
    total = sum((found[k] * w / found[k].detach().abs().max()).sum() for k, w in weights.items())
    assert isinstance(total, Tensor)
    slopes = torch.autograd.grad(total, list(x.values()), allow_unused=True)
    return [
        torch.zeros_like(v) if s is None else s for s, v in zip(slopes, x.values(), strict=True)
    ]


def chain(reaches: int, days: int) -> object:
    """Return what the engine makes of short reaches in a row, by the quarter of an hour."""
    below = torch.arange(1, reaches + 1)
    below[-1] = -1
    river = River(below, list(torch.arange(reaches)[:, None]), 4, "discharge", "inflow")
    lateral = torch.zeros(reaches, days, dtype=F64)
    lateral[0] = 0.1
    given = {"length": 34.0, "slope": 8.8e-4, "n": 0.05, "width": 2.9, "side_slope": 1.7}
    return solve_river(
        MODEL, {"inflow": 0.0, "lateral_inflow": lateral}, given | {"step": 900.0},
        {"volume": 1000.0}, torch.arange(days + 1) * 3600.0,
        Solver("implicit_euler", step=900.0), "torch", river,
    )  # fmt: skip
