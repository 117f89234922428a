"""Level pools: how they drain has closed forms; near steady flow they are linear reservoirs."""

from __future__ import annotations

import math

import pytest
import torch
from river_cases import F64, orders
from torch import Tensor

from pydiffgeo import LevelPool, Solver, solve
from pydiffgeo.errors import ParameterError
from pydiffgeo.models.rivers.level_pool import BED, SILL, depth_of, head

AREA, CREST, ORIFICE, WIDTH = 2e5, 6.0, 3.0, 25.0
ROOT = math.sqrt(2 * 9.81)
CALM = {"lake_area": AREA, "crest": CREST, "orifice_area": 0.0, "weir_width": 0.0}
FINE = Solver("kvaerno3", rtol=1e-9, max_steps=100_000)


def drained(given: dict[str, float], depth: float, times: Tensor, solver: Solver = FINE) -> Tensor:
    """Depths to which a pool without inflow falls from a depth."""
    parameters = CALM | given
    p = {k: torch.tensor([v], dtype=F64) for k, v in parameters.items()} | {
        "shape": torch.tensor([given.get("shape", 0.0)], dtype=F64)
    }
    more = 1 + float(p["shape"])
    filled = (1 + depth / BED) ** more - 1
    volume = AREA * (1 + CREST / BED) ** (1 - more) * BED * filled / more
    none = {"inflow": 0.0, "lateral_inflow": 0.0}
    found = solve(LevelPool(), none, parameters, volume, times, solver, "torch")
    return depth_of(found.states[0, :, 0], p)[0]


def test_an_orifice_drains_a_pool_of_vertical_walls() -> None:
    """Root of depth falls linearly; implicit Euler is of first order to that."""
    times = torch.linspace(0, 40_000, 9, dtype=F64)
    speed = 0.6 * ORIFICE * ROOT / (2 * AREA)
    true = (math.sqrt(5.0) - speed * times[1:]) ** 2
    assert 0.3 < float(true[-1]) < 3.0
    found = drained({"orifice_area": ORIFICE}, 5.0, times)
    torch.testing.assert_close(found, true, rtol=1e-6, atol=0)
    errors = []
    for step in (2500.0, 1250.0, 625.0):
        own = drained({"orifice_area": ORIFICE}, 5.0, times, Solver("implicit_euler", step=step))
        errors.append(float((own - true).abs().max()))
    assert orders(errors)[-1] == pytest.approx(1.0, abs=0.05)


def test_an_orifice_drains_a_valley() -> None:
    """Surface AREA (h + d) / (crest + d): 2/3 h^(3/2) + 2 d h^(1/2) falls linearly."""
    times = torch.linspace(0, 25_000, 9, dtype=F64)
    found = drained({"orifice_area": ORIFICE, "shape": 1.0}, 5.0, times)
    speed = 0.6 * ORIFICE * ROOT * (CREST + BED) / AREA

    def left(depth: Tensor) -> Tensor:
        return (2 / 3) * depth**1.5 + 2 * BED * depth**0.5

    true = left(torch.tensor(5.0, dtype=F64)) - speed * times[1:]
    assert 0.3 < float(found[-1]) < 3.0
    torch.testing.assert_close(left(found), true, rtol=1e-6, atol=0)


def test_a_weir_drains_a_pool_down_to_its_crest() -> None:
    """One over the root of the head rises linearly."""
    times = torch.linspace(0, 10_000, 9, dtype=F64)
    found = drained({"weir_width": WIDTH}, CREST + 4.0, times) - CREST
    speed = (2 / 3) * 0.6 * WIDTH * ROOT / (2 * AREA)
    true = (0.5 + speed * times[1:]) ** -2
    assert 0.3 < float(true[-1]) < 1.0
    torch.testing.assert_close(found, true, rtol=1e-5, atol=0)


def test_near_steady_flow_a_pool_is_a_linear_reservoir() -> None:
    """A little more inflow reaches the outlet as 1 - exp(-t / K), K = dV/dQ."""
    parameters = CALM | {"orifice_area": ORIFICE, "weir_width": WIDTH}
    p = {k: torch.tensor([v], dtype=F64) for k, v in parameters.items()}
    given = {
        k: torch.tensor([q.default], dtype=F64) for k, q in LevelPool().spec.parameters.items()
    }
    volume = torch.tensor([AREA * (CREST + 0.5)], dtype=F64)
    flow, _, slope = LevelPool().outflow_and_slope(volume, volume, given | p)
    K, part, steps = 1 / float(slope), 1e-6, 40
    times = torch.arange(steps + 1, dtype=F64) * K / 10
    inflow = (flow * (1 + part)).expand(1, steps)
    forcing = {"inflow": inflow, "lateral_inflow": torch.zeros_like(inflow)}
    found = solve(LevelPool(), forcing, parameters, volume[:, None], times, FINE, "torch")
    more = (found.states[0, :, 0] - volume) / (part * float(flow) * K)
    torch.testing.assert_close(more, 1 - torch.exp(-times[1:] / K), rtol=1e-4, atol=0)


def test_a_sill_holds_back_what_lies_below_it() -> None:
    """Exactly, but for 3 cm around it; no water leaves an empty pool, wherever the sill is."""
    sill = torch.tensor([0.0, 0.01, 0.03, 2.0], dtype=F64)[:, None]
    depth = torch.linspace(0, 5, 501, dtype=F64)
    found, slope = head(depth, sill)
    above, under = depth > sill + 3 * SILL, depth < sill - 3 * SILL
    exact = (sill == 0) | (sill >= 3 * SILL)  # others hold back a little less
    torch.testing.assert_close(
        found[exact & above], (depth - sill)[exact & above], rtol=1e-12, atol=1e-15
    )
    assert bool((found[under] == 0).all()) and bool((found[:, 0] == 0).all())
    assert bool((found >= 0).all()) and bool((slope >= 0).all()) and bool((slope <= 1).all())
    torch.testing.assert_close(head(-depth, sill)[0], -found, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [0.0, 0.7, 1.0, 3.0])
def test_the_surface_is_the_slope_of_the_volume(shape: float) -> None:
    """It is `lake_area` where the pool is filled to the crest, the volume it begins with."""
    p = {"lake_area": AREA, "crest": CREST, "shape": shape}
    given = {k: torch.tensor(v, dtype=F64) for k, v in p.items()}
    full = LevelPool().start(given)["volume"]
    volume = (full * torch.logspace(-9, 1, 30, dtype=F64)).requires_grad_()
    depth, surface, widening = depth_of(volume, given)
    (slope,) = torch.autograd.grad(depth.sum(), volume, retain_graph=True)
    torch.testing.assert_close(slope, 1 / surface.detach(), rtol=1e-10, atol=0)
    (own,) = torch.autograd.grad(surface.sum(), volume)
    torch.testing.assert_close(own, (widening / surface).detach(), rtol=1e-8, atol=1e-14)
    found = depth_of(full, given)
    assert float(found[0]) == pytest.approx(CREST) and float(found[1]) == pytest.approx(AREA)
    assert float(depth_of(torch.zeros((), dtype=F64), given)[0]) == 0.0


@pytest.mark.parametrize("name", ["weir_width", "orifice_area", "crest", "shape", "leakance"])
def test_outlets_that_take_water_in_are_refused(name: str) -> None:
    with pytest.raises(ParameterError, match=f"'{name}' is -1 at column 0"):
        solve(LevelPool(), {"inflow": 1.0, "lateral_inflow": 0.0}, {name: -1.0}, 1.0, [0.0, 60.0],
              engine="torch")  # fmt: skip
