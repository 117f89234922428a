"""The two engines agree: rates, trajectories and gradients, at random states, soils and weather."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from richards_cases import F64, NEW_MEXICO, SMALL_TIMES, Small, new_mexico
from torch import Tensor

from pydiffgeo import Grid, Richards, Roots, Solution, Solver, solve
from pydiffgeo.bridge.models import evaluate
from pydiffgeo.models.base import Evaluation

STATES = 1000
HYDRAULICS = ("van_genuchten", "van_genuchten_vogel", "brooks_corey", "gardner", "haverkamp")
BOUNDARIES = (
    ("atmospheric", "free_drainage"),
    ("head", "seepage_face"),
    ("flux", "head"),
    ("atmospheric", "flux"),
)


def _random(shape: tuple[int, ...], low: float, high: float, log: bool = False) -> Tensor:
    x = torch.rand(shape, dtype=F64)
    return low * (high / low) ** x if log else low + (high - low) * x


def random_soil(model: Richards, columns: int) -> dict[str, Tensor]:
    """Parameters within the bounds of the spec that describe soils."""
    narrow = {
        "n": (1.1, 5.0),
        "theta_r": (0.0, 0.1),
        "theta_s": (0.3, 0.6),
        "K_s": (1e-2, 1e2),
        "alpha": (5e-3, 0.2),
        "A_theta": (1e3, 1e7),
        "A_K": (1e3, 1e7),
        "beta": (1.5, 5.0),
        "gamma": (2.0, 6.0),
        "ponding_height": (0.1, 5.0),
        "psi_b": (2.0, 60.0),
        "pore_index": (0.1, 1.5),
        "specific_storage": (1e-6, 1e-3),
        "pore_connectivity": (-1.0, 2.0),
    }
    width = {"layer": model.grid.n_layers, "column": 1}
    return {
        k: _random(
            (columns, width[s.per]), *narrow.get(k, (s.lower, s.upper)), s.transform == "log"
        )
        for k, s in model.spec.parameters.items()
    }


def random_weather(model: Richards, columns: int) -> dict[str, Tensor]:
    ranges = {
        "rain": (0.0, 3.0),
        "potential_evaporation": (0.0, 0.1),
        "potential_transpiration": (0.0, 0.1),
        "top_head": (-1000.0, 5.0),
        "bottom_head": (-1000.0, 5.0),
        "top_flux": (-0.05, 1.0),
        "bottom_flux": (-0.05, 0.5),
    }
    return {k: _random((columns, 1), *ranges[k]) for k in model.spec.forcings}


def torch_evaluation(
    model: Richards, psi: Tensor, forcing: dict[str, Tensor], parameters: dict[str, Tensor]
) -> Evaluation:
    return model.evaluate(psi, forcing, model.prepare(parameters), fluxes=True)


@pytest.mark.parametrize("face_mean", ["arithmetic", "geometric", "harmonic", "upstream"])
@pytest.mark.parametrize(("top", "bottom"), BOUNDARIES)
@pytest.mark.parametrize("hydraulics", HYDRAULICS)
def test_rates(julia: Any, hydraulics: str, top: str, bottom: str, face_mean: str) -> None:
    grid = Grid.graded(80.0, 20, top=1.0, layers=[0.0, 12.0, 40.0])
    model = Richards(grid, hydraulics, top, bottom, Roots("exponential"), face_mean)
    forcing, soil = random_weather(model, STATES), random_soil(model, STATES)
    # from ponded to -1e4 cm; Gardner's exponential underflows long before
    dry = 1e3 if hydraulics == "gardner" else 1e4
    psi = 2.0 - _random((STATES, 20), 1.0, dry, log=True)
    ours, theirs = (
        f(model, psi, forcing, soil) for f in (torch_evaluation, lambda *x: evaluate(julia, *x))
    )
    # fluxes come as differences, of heads and of minima: what is rounded is a part of the largest
    # Darcy flux of a column
    flow = largest_flow(model, psi, forcing, soil)
    scales = (torch.ones_like(flow), flow / model.grid.thickness.min(), flow)
    for name, a, b, scale in zip(Evaluation._fields, ours, theirs, scales, strict=True):
        assert float(((a - b).abs() / scale).max()) < 1e-12, name


def largest_flow(
    model: Richards, psi: Tensor, forcing: dict[str, Tensor], soil: dict[str, Tensor]
) -> Tensor:
    """Largest conductivity x (gradient of head + 1) of the faces of each column, those of the
    boundaries included.
    """
    prepared = model.prepare(soil)
    heads = model._extend(psi, forcing, prepared)
    K = model.hydraulics.curves(heads, prepared)[1][:, model._line]
    gradient = heads[:, model._line].diff().abs() * model._geometry(psi)["conductance"] + 1
    return (torch.maximum(K[:, 1:], K[:, :-1]) * gradient).amax(-1, keepdim=True)


@pytest.mark.parametrize("hydraulics", HYDRAULICS)
def test_trajectories_and_gradients(julia: Any, hydraulics: str) -> None:
    case = Small("kvaerno3", roots=Roots(), hydraulics=hydraulics)
    case.solver = Solver("kvaerno3", rtol=1e-7, newton_tolerance=1e-6, max_newton=20)
    soil = random_soil(case.model, 2) | case.parameters
    soil = {
        k: v.reshape(2, -1) if case.model.spec.parameters[k].per == "layer" else v.reshape(2)
        for k, v in soil.items()
    }
    inputs = {"initial": case.initial, **soil, **case.forcing}
    frozen: Solution | None = None
    results = []
    # each engine with steps of its own, then Julia with the steps of torch
    for engine in ("torch", "julia", "julia"):
        x = {k: v.clone().requires_grad_() for k, v in inputs.items()}
        solution = solve(
            case.model,
            {k: x[k] for k in case.forcing},
            {k: x[k] for k in soil},
            x["initial"],
            SMALL_TIMES,
            case.solver,
            engine,
            replay=frozen if len(results) == 2 else None,
        )
        frozen = solution if frozen is None else frozen
        parts = [solution.states / 100, solution.storage, *solution.fluxes.values()]
        loss = sum(
            (p * torch.linspace(0.5, 1.5, p.numel(), dtype=F64).view(p.shape)).sum() for p in parts
        )
        grads = torch.autograd.grad(loss, list(x.values()))
        results.append(([p.detach() for p in parts], dict(zip(x, grads, strict=True))))
    (ours, our_gradient), *others = results
    for theirs, _ in others:
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(b, a, rtol=1e-6, atol=1e-6 * float(a.abs().max()))
    # a gradient converges more slowly than the states, most slowly at kinks: of the curves, and of
    # the uptake of roots
    own = 1e-3 if hydraulics in ("brooks_corey", "haverkamp") else 1e-5
    for name, a in our_gradient.items():
        for (_, theirs), allowed in zip(others, (own, 1e-7), strict=True):
            assert float((a - theirs[name]).norm()) <= allowed * float(a.norm()) + 1e-14, (
                name,
                allowed,
            )


@pytest.mark.parametrize("rtol", [1e-3, 1e-5])
def test_gradient_of_new_mexico(julia: Any, rtol: float) -> None:
    grads = []
    for engine in ("torch", "julia"):
        logs = torch.tensor(list(NEW_MEXICO.values()), dtype=F64).log().requires_grad_()
        _, solution = new_mexico(
            100,
            dict(zip(NEW_MEXICO, logs.exp().unbind(), strict=True)),
            solver=Solver(rtol=rtol),
            engine=engine,
        )
        grads.append(torch.autograd.grad((solution.states / 100).square().mean(), logs)[0])
    # two solves within the tolerance
    assert float((grads[0] - grads[1]).norm() / grads[0].norm()) < rtol
