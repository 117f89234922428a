"""Reaches: water is conserved, discharge is positive, gradients and engines agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from river_cases import F64, RIVERS, USUAL, channels, floods, run
from torch import Tensor

from pydiffgeo import ProcessModel, solve
from pydiffgeo.errors import ParameterError
from pydiffgeo.models.find import find_model
from pydiffgeo.models.rivers.reach import (
    LEAST_SHARE,
    SHARE_WIDTH,
    share_of_outflow,
    weighted_outflow,
)

EXACT = {"newton_tolerance": 1e-10, "max_newton": 40}
NEWTON = 0.005 * 1e-3 * 1000  # m3: newton_tolerance times the tolerance of an empty reach
STEPS = {"minute": 60.0, "hour": 3600.0, "day": 86400.0}


@pytest.fixture(params=RIVERS)
def model(request: pytest.FixtureRequest) -> ProcessModel:
    return RIVERS[request.param]()


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_water_is_conserved_and_discharge_positive(
    model: ProcessModel, engine: str, step: float
) -> None:
    """What has left, seeped away and is there yet is what entered: the sum over all steps of each
    of 24 channels, from a ditch to the Amazon, that the flood passes in seconds or in years.

    States, unlike the storage, are as exact as Newton's method.
    """
    count, steps = 12, 30
    for seed, leakance in enumerate((0.0, 1e-5)):
        parameters = channels(model, count, step, seed, leakance=leakance)
        flood = floods(count, steps, seed)
        solution = run(model, parameters, flood, step, engine=engine)
        assert not solution.failed
        out = solution.fluxes["discharge"]
        gone = (out + solution.fluxes["loss"]).sum(1) * step
        entered = (flood["inflow"] + flood["lateral_inflow"]).sum(1) * step
        torch.testing.assert_close(gone + solution.storage[:, -1], entered, rtol=1e-12, atol=0)
        assert float(solution.balance_error().max()) < 1e-12
        volume = solution.states[..., 0]
        torch.testing.assert_close(gone + volume[:, -1], entered, rtol=1e-9, atol=NEWTON)
        peak = flood["inflow"].amax(1)
        assert float((out.amin(1) / peak).min()) > -1e-12
        assert float(volume.min()) > -NEWTON
        assert bool((solution.fluxes["loss"] > 0).any()) == (leakance > 0)


def test_steady_discharge_is_the_inflow(model: ProcessModel, engine: str) -> None:
    count, step = 8, 3600.0
    parameters = channels(model, count, step, ranges=USUAL)
    constant = {
        "inflow": torch.linspace(0.1, 300.0, count, dtype=F64)[:, None].expand(-1, 200),
        "lateral_inflow": torch.full((count, 200), 0.5, dtype=F64),
    }
    solution = run(model, parameters, constant, step, engine=engine)
    torch.testing.assert_close(
        solution.fluxes["discharge"][:, -1], constant["inflow"][:, -1] + 0.5, rtol=1e-6, atol=0
    )


def test_gradcheck_of_every_input(model: ProcessModel, engine: str) -> None:
    """Channel, forcing and initial volume of reaches that a flood passes, hour by hour.

    Steps are of the size of each input; those of the first solution are taken again.
    """
    count, steps, step = 2, 3, 3600.0
    parameters = channels(model, count, step, 5, USUAL, leakance=2e-5)
    flood = floods(count, steps, 5, largest=200.0)
    flood = {k: v + 0.2 for k, v in flood.items()}
    start = run(model, parameters, flood, step).states[:, -1].clone()
    inputs = {**parameters, **flood, "start": start}
    free = [k for k in inputs if k != "step"]
    sizes = {k: inputs[k].abs() for k in free}
    frozen = run(model, parameters, flood, step, start, engine, **EXACT)
    level = {k: v.abs().max() for k, v in {**frozen.fluxes, "states": frozen.states}.items()}

    def outputs(*values: Tensor) -> Tensor:
        x = inputs | {k: v * sizes[k] for k, v in zip(free, values, strict=True)}
        given = {k: x[k] for k in parameters}, {k: x[k] for k in flood}
        s = run(model, *given, step, x["start"], engine, frozen, **EXACT)
        parts = (v / level[k] for k, v in {**s.fluxes, "states": s.states}.items())
        return torch.cat([part.flatten() for part in parts])

    leaves = [(inputs[k] / sizes[k]).requires_grad_() for k in free]
    assert torch.autograd.gradcheck(outputs, leaves, eps=1e-6, atol=1e-7, rtol=1e-6, fast_mode=True)


@pytest.mark.parametrize("step", [900.0, 86400.0], ids=["quarter", "day"])
def test_engines_agree(julia: Any, model: ProcessModel, step: float) -> None:
    """Discharge to 1e-9 of its largest, gradients of every input to 1e-8 of their norm."""
    count, steps = 12, 48
    parameters = channels(model, count, step, 1, USUAL, leakance=1e-6)
    flood = floods(count, steps, 1, largest=200.0)
    found = []
    for engine in ("torch", "julia"):
        inputs = {**parameters, **flood, "start": torch.full((count, 1), 1000.0, dtype=F64)}
        x = {k: v.clone().requires_grad_() for k, v in inputs.items()}
        given = {k: x[k] for k in parameters}, {k: x[k] for k in flood}
        s = run(model, *given, step, x["start"], engine, **EXACT)
        assert int(s.stats["rejected"].sum()) == 0, "no step is halved"
        loss = s.fluxes["discharge"].square().mean()
        out = s.fluxes["discharge"].detach()
        found.append((out, dict(zip(x, torch.autograd.grad(loss, [*x.values()]), strict=True))))
    (ours, own), (theirs, other) = found
    assert float((ours - theirs).abs().max() / ours.max()) < 1e-9
    for name, gradient in own.items():
        assert float((gradient - other[name]).norm() / gradient.norm()) < 1e-8, name


def test_share_of_outflow_is_a_hyperbola() -> None:
    """Its two forms meet; far above it is the share, far below the least one, without rounding."""
    at = torch.tensor([-1e6, -1.0, 0.0, LEAST_SHARE, 0.021, 0.5, 30.0], dtype=F64)
    at.requires_grad_()
    found = share_of_outflow(at)
    over = at.detach() - LEAST_SHARE
    root = (over**2 + SHARE_WIDTH**2).sqrt()
    torch.testing.assert_close(
        found.detach(), LEAST_SHARE + (over + root) / 2, rtol=1e-9, atol=1e-10
    )
    (slope,) = torch.autograd.grad(found.sum(), at)
    torch.testing.assert_close(slope, (1 + over / root) / 2, rtol=1e-9, atol=1e-9)
    assert found[0] > LEAST_SHARE and found[0] - LEAST_SHARE < 1e-11
    near = share_of_outflow(LEAST_SHARE + torch.tensor([-1e-9, 1e-9], dtype=F64))
    assert float(near.diff()) == pytest.approx(1e-9, rel=1e-5)


def test_the_limited_discharge_is_of_second_order() -> None:
    """Q = normal - push + O(push^2), and positive however steep the front is."""
    normal, share = torch.tensor(10.0, dtype=F64), torch.tensor(0.6, dtype=F64)
    steepness = 4.0 * 0.5 ** torch.arange(1, 6, dtype=F64)
    push = (1 / share - 1) * steepness
    away = weighted_outflow(normal, normal + steepness, share) - (normal - push)
    orders = torch.log2(away[:-1] / away[1:])
    assert bool((orders > 1.85).all()) and float(orders[-1]) == pytest.approx(2, abs=0.02)
    steep = weighted_outflow(normal, torch.tensor([1e2, 1e4, 1e8], dtype=F64), share)
    assert bool((steep > 0).all()) and bool(steep.diff().lt(0).all())
    falling = weighted_outflow(normal, normal - steepness, share)
    torch.testing.assert_close(falling, normal + push, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "wrong", "bad"),
    [
        (
            "muskingum_cunge",
            {"leakance": -1e-6},
            "'leakance' is -1e-06 at column 0; it must not be negative",
        ),
        ("muskingum_cunge", {"side_slope": -0.5}, "'side_slope' is -0.5"),
        ("muskingum", {"step": -1.0}, "'step' is -1"),
        ("muskingum", {"X": 1.1}, "'X' is above 1"),
    ],
)
def test_parameters_that_are_no_river_are_refused(
    name: str, wrong: dict[str, float], bad: str
) -> None:
    """A bed that gives water would be silent, as would the root of banks that hang over."""
    forcing = {"inflow": 1.0, "lateral_inflow": 0.0}
    with pytest.raises(ParameterError, match=bad):
        solve(find_model(name), forcing, wrong, 1.0, [0.0, 60.0], engine="torch")
