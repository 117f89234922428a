"""Networks in the place of water retention and conductivity.

Slopes, gradients, bounds, balance, and both engines.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from richards_cases import F64, Small, gradcheck
from slot_cases import KINDS
from torch import Tensor, nn

from pydiffgeo import (
    Grid,
    NeuralClosure,
    Richards,
    Solver,
    fit_closure,
    fit_slots,
    solve,
    usda_soil,
)
from pydiffgeo.bridge.models import evaluate
from pydiffgeo.errors import ParameterError
from pydiffgeo.models.richards.hydraulics import LearnedHydraulics, UserHydraulics

RANGES = {"retention": (0.0, 1.0), "conductivity": (0.0, 12.0)}
RISING = {k: v for k, v in KINDS.items() if "rising" in k}
FILLED = [("retention",), ("conductivity",), ("retention", "conductivity")]
SCALE = {"theta_r", "theta_s", "K_s"}
FIXED = Solver("implicit_euler", step=3.0)
LOAM = {"theta_r": 0.078, "theta_s": 0.43, "K_s": 1.04}


def closures(
    *slots: str, seed: int = 0, spread: float = 1.0, hidden: tuple[int, ...] = (4,), **options: Any
) -> dict[str, NeuralClosure]:
    """Networks whose weights are random, also those that begin at zero."""
    out = {}
    for i, slot in enumerate(slots):
        out[slot] = NeuralClosure(
            1, hidden, output_range=RANGES[slot], seed=seed + i, **{"monotone_in": (0,), **options}
        )
        disturb(out[slot], 100 * seed + i, spread)
    return out


def disturb(c: NeuralClosure, seed: int, spread: float) -> None:
    with torch.no_grad():
        c.weights.add_(
            spread
            * torch.randn(len(c.weights), dtype=F64, generator=torch.Generator().manual_seed(seed))
        )


@cache
def fitted(slot: str, units: int) -> Tensor:
    """Weights with which a network is the curve of a loam, roughly."""
    c = NeuralClosure(1, (units,), output_range=RANGES[slot], monotone_in=(0,))
    x = torch.linspace(0.3, 4.3, 60, dtype=F64)
    fit_closure(c, Richards(Grid.uniform(10.0, 5)).formula(slot), x, iterations=150)
    return c.weights.detach()


def soils(
    *slots: str, seed: int = 0, spread: float = 0.3, kind: str = "rising", units: int = 3
) -> dict[str, NeuralClosure]:
    """Networks near the curves of a loam: soils of some texture.

    Others are no soils, and have steps that no method solves.
    """
    out = {}
    for i, slot in enumerate(slots):
        out[slot] = NeuralClosure(1, (units,), output_range=RANGES[slot], **RISING[kind])
        if not out[slot].residual:
            out[slot].load_state_dict({"weights": fitted(slot, units)})
        disturb(out[slot], 100 * seed + i, spread)
    return out


def small(
    method: str, kind: str, slots: tuple[str, ...] = ("retention", "conductivity"), **options: Any
) -> Small:
    return Small(method, closures=soils(*slots, kind=kind), **options)


def heads(count: int = 400) -> Tensor:
    """From ponded to air-dry, both sides of zero and zero itself."""
    dry = -torch.logspace(-3, 6, count - 20, dtype=F64)
    return torch.cat([torch.linspace(0, 50, 20, dtype=F64), dry])


@pytest.mark.parametrize("kind", RISING)
@pytest.mark.parametrize("family", ["van_genuchten", "brooks_corey", "gardner", "haverkamp"])
@pytest.mark.parametrize("slots", FILLED)
def test_capacity_and_slope_of_K_are_those_of_the_curves(
    slots: tuple[str, ...], family: str, kind: str
) -> None:
    model = Richards(Grid.uniform(10.0, 5), family, closures=closures(*slots, **RISING[kind]))
    assert isinstance(model.hydraulics, LearnedHydraulics)
    whole = Richards(Grid.uniform(10.0, 5), family).spec.parameters
    p = model.hydraulics.derive(
        {k: torch.tensor(whole[k].default, dtype=F64) for k in model.hydraulics.parameters}
    )
    psi = heads().requires_grad_()
    theta, K = model.hydraulics.curves(psi, p)
    found = model.hydraulics.slopes(psi.detach(), p)
    for value, own, own_slope in ((theta, found.theta, found.capacity), (K, found.K, found.dK)):
        torch.testing.assert_close(own, value.detach(), rtol=1e-14, atol=1e-15)
        (slope,) = torch.autograd.grad(value.sum(), psi)
        torch.testing.assert_close(own_slope, slope, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("kind", RISING)
@pytest.mark.parametrize("slots", FILLED)
def test_parameters_are_those_that_something_reads(slots: tuple[str, ...], kind: str) -> None:
    networks = closures(*slots, **RISING[kind])
    for family in ("van_genuchten", "haverkamp"):
        formula = Richards(Grid.uniform(10.0, 5), family).hydraulics
        own = Richards(Grid.uniform(10.0, 5), family, closures=networks).hydraulics.parameters
        kept = [k for k in formula.reads if k not in slots or "beside" in kind]
        assert set(own) == {p for k in kept for p in formula.reads[k]} | SCALE


def test_curves_of_100_random_networks() -> None:
    """Water content between its bounds and never falling, K positive and never rising with suction.

    Saturated is saturated.
    """
    p = {
        k: torch.tensor(v, dtype=F64)
        for k, v in {**LOAM, "alpha": 0.036, "n": 1.56, "pore_connectivity": 0.5}.items()
    }
    psi = heads()
    for seed in range(100):
        kind = [*RISING][seed % 2]
        random = closures(*RANGES, seed=seed, spread=4.0, hidden=(8, 8), **RISING[kind])
        h = Richards(Grid.uniform(10.0, 5), closures=random).hydraulics
        theta, capacity, K, dK, _ = h.slopes(psi, h.derive({k: p[k] for k in h.parameters}))
        assert float(theta.min()) >= 0.078 - 1e-15 and float(theta.max()) <= 0.43 + 1e-15
        assert float(K.min()) > 0 and float(K.max()) <= 1.04 + 1e-15
        # rounding where a formula is beyond the range of the network beside it, and K falls no more
        assert bool((capacity >= -1e-15).all()) and bool((dK >= -1e-13 * K).all())
        wet = psi >= 0
        torch.testing.assert_close(theta[wet], torch.full_like(psi[wet], 0.43), rtol=1e-15, atol=0)
        torch.testing.assert_close(K[wet], torch.full_like(psi[wet], 1.04), rtol=1e-15, atol=0)


def loam(model: Richards) -> dict[str, float]:
    """What the model has of a loam's parameters."""
    return {k: v for k, v in usda_soil("loam").items() if k in model.spec.parameters}


def storm(model: Richards, **options: Any) -> Any:
    """A cloudburst, drying, rain, for 18 hours."""
    forcing = {"rain": [[4.0, 0.0, 0.5]], "potential_evaporation": [[0.0, 0.05, 0.0]]}
    p = {k: torch.tensor([[v]], dtype=F64) for k, v in loam(model).items()}
    initial = torch.linspace(-300, -100, model.size, dtype=F64)[None]
    weather = {k: torch.tensor(v, dtype=F64) for k, v in forcing.items()}
    return solve(model, weather, p, initial, [0.0, 6.0, 12.0, 18.0], **options)


def test_water_is_kept_while_networks_are_trained(engine: str) -> None:
    """From another soil towards a loam.

    After each step of Adam the water balance closes and the water stays in its pores.
    """
    grid = Grid.uniform(50.0, 5)
    wanted = storm(Richards(grid), solver=FIXED).storage
    model = Richards(grid, closures=soils(*RANGES, seed=1))
    optimiser = torch.optim.Adam(model.closure_weights(), lr=0.05)
    losses = []
    for _ in range(10):
        s = storm(model, solver=FIXED)
        assert float(s.balance_error().max()) < 1e-9
        theta = model.water_content(s.states, loam(model)).detach()
        assert float(theta.min()) >= 0.078 and float(theta.max()) <= 0.43
        loss = (s.storage - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("kind", RISING)
def test_water_is_kept_with_random_weights(engine: str, kind: str) -> None:
    """50 networks of each of two kinds."""
    worst = 0.0
    for seed in range(50):
        model = Richards(Grid.uniform(50.0, 5), closures=soils(*RANGES, seed=seed, kind=kind))
        with torch.no_grad():
            s = storm(model, solver=FIXED)
        assert not s.failed
        worst = max(worst, float(s.balance_error().max()))
    assert worst < 1e-9


@pytest.mark.parametrize("kind", RISING)
@pytest.mark.parametrize("slots", FILLED)
def test_gradcheck_of_weights_and_inputs(engine: str, slots: tuple[str, ...], kind: str) -> None:
    """Two soils, two steps, heads at both ends.

    All states and fluxes in weights, parameters, forcing and the initial state.
    """
    model = Richards(
        Grid.from_faces([0.0, 2.0, 5.0, 9.0, 14.0], layers=[0.0, 5.0]),
        top="head",
        bottom="head",
        closures=soils(*slots, kind=kind, units=2),
    )
    x = {
        "top_head": [[-20.0]],
        "bottom_head": [[-60.0]],
        "theta_r": [[0.06, 0.08]],
        "theta_s": [[0.41, 0.43]],
        "K_s": [[2.0, 1.0]],
        "initial": [[-80.0, -90.0, -70.0, -65.0]],
    }
    x |= {k: [[v, v]] for k, v in loam(model).items() if k not in x}
    leaves = {k: torch.tensor(v, dtype=F64, requires_grad=True) for k, v in x.items()}
    weights = model.closure_weights()
    assert len(weights) == len(slots)
    solver = Solver("sdirk2", step=0.5, newton_tolerance=1e-10, max_newton=30)

    def out(*values: Tensor) -> Tensor:  # the weights are moved where they lie
        v = dict(zip(leaves, values[len(weights) :], strict=True))
        forcing = {k: v[k] for k in model.spec.forcings}
        s = solve(
            model,
            forcing,
            {k: v[k] for k in model.spec.parameters if k in v},
            v["initial"],
            [0.0, 1.0],
            solver,
        )
        return torch.cat(
            [s.states.flatten(), s.storage.flatten(), *(q.flatten() for q in s.fluxes.values())]
        )

    assert gradcheck(out, [*weights, *leaves.values()])


@pytest.mark.parametrize("kind", RISING)
@pytest.mark.parametrize("slots", FILLED)
def test_engines_agree(julia: Any, slots: tuple[str, ...], kind: str) -> None:
    found = []
    for engine in ("torch", "julia"):
        case = small("kvaerno3", kind, slots, bottom="head")
        case.frozen = found[0][2] if found else case.run(engine="torch")
        s = case.run(engine=engine, replay=case.frozen)
        leaves = case.model.closure_weights()
        loss = s.states.square().sum() + s.fluxes["drainage"].sum()
        found.append((s.states.detach(), torch.autograd.grad(loss, leaves), case.frozen))
    (a, ours, _), (b, theirs, _) = found
    assert float((a - b).abs().max() / a.abs().max()) < 1e-6
    for x, y in zip(ours, theirs, strict=True):
        assert float((x - y).norm()) < 1e-6 * float(x.norm())


@pytest.mark.parametrize("kind", RISING)
@pytest.mark.parametrize("family", ["van_genuchten", "brooks_corey", "gardner", "haverkamp"])
def test_rates_of_the_engines(julia: Any, family: str, kind: str) -> None:
    rows, size = 200, 9
    model = Richards(
        Grid.uniform(20.0, size), family, closures=closures("conductivity", **RISING[kind])
    )
    whole = {
        k: torch.full((rows, 1), s.default, dtype=F64) for k, s in model.spec.parameters.items()
    }
    forcing = {k: torch.zeros(rows, 1, dtype=F64) + 0.1 for k in model.spec.forcings}
    state = -torch.pow(10.0, 5 * torch.rand(rows, size, dtype=F64) - 1)
    state[::7] = -state[::7] * 1e-4
    with torch.no_grad():
        ours = model.evaluate(state, forcing, model.prepare(dict(whole)), fluxes=True)
        theirs = evaluate(julia, model, state, forcing, whole)
    scale = ours.rates.abs().amax(-1, keepdim=True)  # rates are differences of fluxes
    assert float(((ours.rates - theirs.rates).abs() / scale).max()) < 1e-11
    torch.testing.assert_close(theirs.storage, ours.storage.contiguous(), rtol=1e-12, atol=1e-14)


def test_methods_of_sciml_are_refused(julia: Any) -> None:
    with pytest.raises(
        ParameterError,
        match="know nothing of networks in the equations; choose one of implicit_euler",
    ):
        model = Richards(Grid.uniform(50.0, 5), closures=soils("retention"))
        storm(model, solver=Solver("FBDF", sensitivity="GaussAdjoint"), engine="julia")


class Exact(nn.Module):
    """The formula itself as a module."""

    def __init__(self, model: Richards, slot: str) -> None:
        super().__init__()
        self.of = model.formula(slot, loam(model))

    def forward(self, x: Tensor) -> Tensor:
        return self.of(x[..., 0].clamp_min(1e-12))


def test_a_network_that_is_the_formula_changes_nothing() -> None:
    plain = Richards(Grid.uniform(50.0, 20))
    filled = Richards(Grid.uniform(50.0, 20), closures={k: Exact(plain, k) for k in RANGES})
    solver = Solver("kvaerno3", rtol=1e-4)
    a, b = (storm(m, solver=solver, engine="torch") for m in (plain, filled))
    # a storm wets the surface, where the exact factor of the entry is a quotient of two that vanish
    torch.testing.assert_close(b.states, a.states, rtol=1e-5, atol=1e-4)


def test_pretraining_begins_from_physics() -> None:
    """Sixteen units learn both curves of a loam; a storm wets the soil alike."""
    plain = Richards(Grid.uniform(50.0, 20))
    networks = {
        k: NeuralClosure(1, (16,), output_range=RANGES[k], monotone_in=(0,), seed=i)
        for i, k in enumerate(RANGES)
    }
    filled = Richards(Grid.uniform(50.0, 20), closures=networks)
    fits = fit_slots(filled, iterations=300)
    assert fits["retention"].largest < 5e-3 and fits["conductivity"].largest < 0.05  # decades
    a, b = (storm(m, solver=Solver("kvaerno3"), engine="torch") for m in (plain, filled))
    away = (
        plain.water_content(a.states, loam(plain)) - filled.water_content(b.states, loam(filled))
    ).detach()
    # largest at the wetting front, a part of a cell of 2.5 cm away
    assert float(away.abs().max()) < 0.01 and float(away.square().mean().sqrt()) < 0.003


def test_head_inverts_a_learned_retention_and_carries_gradients() -> None:
    model = Richards(Grid.uniform(10.0, 6), closures=closures("retention", spread=0.5))
    p = {k: torch.tensor(v, dtype=F64) for k, v in LOAM.items()}
    psi = -torch.logspace(0, 3, 6, dtype=F64)[None]
    theta = model.water_content(psi, p).detach()
    torch.testing.assert_close(model.head(theta, p), psi, rtol=1e-8, atol=0)
    weights = model.closure_weights()
    assert torch.autograd.gradcheck(
        lambda t, *_: model.head(t, p), [theta.requires_grad_(), *weights], eps=1e-7, rtol=1e-4
    )
    with pytest.raises(ParameterError, match="no head has the water content 0.5 at"):
        model.head(torch.full((1, 6), 0.5, dtype=F64), p)


def test_what_does_not_fit_is_refused() -> None:
    grid = Grid.uniform(10.0, 5)
    with pytest.raises(
        ParameterError, match=r"must rise with the dryness.*'retention' monotone_in=\(0,\)"
    ):
        Richards(grid, closures={"retention": NeuralClosure(1, output_range=(0.0, 1.0))})
    with pytest.raises(ParameterError, match=r"output_range within \(0, 20\), got \(0.0, 30.0\)"):
        Richards(
            grid,
            closures={"conductivity": NeuralClosure(1, output_range=(0.0, 30.0), monotone_in=(0,))},
        )
    own = UserHydraulics(lambda psi, p: psi, lambda psi, p: psi)
    with pytest.raises(ParameterError, match="built-in soil hydraulics, not in UserHydraulics"):
        Richards(grid, own, closures=closures("retention"))
    model = Richards(grid, closures=closures(*RANGES))
    with pytest.raises(
        ParameterError,
        match="'alpha' belongs to the formula that the closure in the slot 'retention'",
    ):
        solve(
            model,
            {"rain": 0.0, "potential_evaporation": 0.0},
            {**LOAM, "alpha": 0.03},
            -100.0,
            [0.0, 1.0],
        )

    class Falling(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(-x)

    with pytest.raises(ParameterError, match="'retention' falls with the dryness at a head of"):
        storm(Richards(grid, closures={"retention": Falling()}), engine="torch")
