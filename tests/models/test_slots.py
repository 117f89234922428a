"""Networks in the slots of the bucket models.

Slopes, gradients, the balance, and what is refused.
"""

from __future__ import annotations

import pytest
import torch
from hbv_cases import F64, initial_state, random_parameters, weather
from slot_cases import DAILY, KINDS, SLOTS, closure, inputs, learned, run
from torch import Tensor, nn

from pydiffgeo import (
    HBV,
    MODELS,
    ExpHydro,
    JuliaClosure,
    NeuralClosure,
    ProcessModel,
    Solution,
    load_spec,
    solve,
)
from pydiffgeo.errors import ParameterError, UnknownName
from pydiffgeo.solvers.jacobian import coloured, from_slopes


class Curve(nn.Module):
    """A module of torch as a user may write it: float32, [..., 1] -> [..., 1]."""

    def __init__(self, end: nn.Module | None = None) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1), end or nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@pytest.mark.parametrize("kind", ["formulas", *KINDS, "module"])
@pytest.mark.parametrize("name", ["hbv", "exp_hydro"])
def test_slopes(name: str, kind: str) -> None:
    """Slopes against forward-mode differentiation, in wet, dry and overdrawn stores.

    One balance for all rates.
    """
    if kind in KINDS:
        model = learned(name, **KINDS[kind])
    else:
        closures = {k: Curve().double() for k in load_spec(name).slots} if kind == "module" else {}
        model = MODELS[name](closures=closures)  # type: ignore[call-arg]
    rows = 500
    p = {k: v[:, None] for k, v in random_parameters(model, rows).items()}
    f = {k: v.T for k, v in weather(1, rows).items()}
    state = torch.rand(rows, model.size, dtype=F64) * 4 * initial_state(model) - 2
    own, other = from_slopes(model, state, f, p), coloured(model, state, f, p)
    torch.testing.assert_close(own.rates, other.rates, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(own.jacobian[0], other.jacobian[0], rtol=1e-9, atol=1e-11)
    e = model.evaluate(state, f, p, fluxes=True)
    signs = torch.tensor([s.balance for s in model.spec.fluxes.values()], dtype=F64)
    torch.testing.assert_close((e.fluxes * signs).sum(-1), e.rates.sum(-1), rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("kind", ["replaced", "rising beside"])
@pytest.mark.parametrize(("name", "slot"), SLOTS)
def test_gradcheck_of_weights_and_inputs(name: str, slot: str, kind: str) -> None:
    model = learned(name, slot, hidden=(3,), seed=5, **KINDS[kind])
    x = inputs(model, 1, 3, seed=1)
    x["precipitation"] += 1.0  # differences reach below
    weights = next(iter(model.closures.values())).weights
    leaves = [weights, *(v.requires_grad_() for v in x.values())]

    def out(_: Tensor, *values: Tensor) -> Tensor:  # the weights are moved where they lie
        s = run(model, dict(zip(x, values, strict=True)), "torch")
        return torch.cat([s.states.flatten(), *(q.flatten() for q in s.fluxes.values())])

    assert isinstance(weights, nn.Parameter)
    assert torch.autograd.gradcheck(out, leaves, eps=1e-6, atol=1e-6, rtol=1e-5)


def by_the_textbook(model: ProcessModel, x: dict[str, Tensor]) -> Tensor:
    """States of implicit Euler by a loop over days.

    Newton's method, whose last iteration autograd sees.
    """
    p = {k: x[k][:, None] for k in model.spec.parameters}
    u, out = x["state"], []
    for day in range(x["precipitation"].shape[1]):
        f = {k: x[k][:, day : day + 1] for k in model.spec.forcings}
        before, v = u, u.detach()
        for _ in range(60):
            with torch.no_grad():
                matrix = torch.eye(model.size, dtype=F64) - coloured(model, v, f, p).jacobian[0]
                d = torch.linalg.solve(matrix, before - v + model.rates(v, f, p))
                v = torch.maximum(v + d, 0.1 * v)
            if float(d.abs().max()) < 1e-12:
                break
        u = v + torch.linalg.solve(matrix, before - v + model.rates(v, f, p))
        out.append(u)
    return torch.stack(out, 1)


@pytest.mark.parametrize("kind", ["replaced", "beside"])
@pytest.mark.parametrize("name", ["hbv", "exp_hydro"])
def test_gradient_of_an_explicit_loop(name: str, kind: str, engine: str) -> None:
    model = learned(name, seed=2, **KINDS[kind])
    x = {k: v.requires_grad_() for k, v in inputs(model, 2, 6).items()}
    weights = model.closure_weights()
    assert len(weights) == len(model.spec.slots)
    found = []
    for states in (run(model, x, engine).states, by_the_textbook(model, x)):
        pattern = torch.linspace(0.5, 1.5, states.numel(), dtype=F64).view(states.shape)
        found.append(
            (states, torch.autograd.grad((pattern * states).mean(), [*weights, *x.values()]))
        )
    (ours, our_gradient), (theirs, their_gradient) = found
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)
    for a, b in zip(our_gradient, their_gradient, strict=True):
        assert float((a - b).norm()) <= 1e-6 * float(b.norm()) + 1e-12


def cloudburst_and_drought(
    model: ProcessModel, basins: int, days: int, seed: int
) -> dict[str, Tensor]:
    """Weather with two days of cloudburst, a thaw, and a drought to the end."""
    x = inputs(model, basins, days, seed)
    x["precipitation"][:, 4:6], x["precipitation"][:, 9:] = 150.0, 0.0
    x["temperature"][:, 6:8], x["potential_evapotranspiration"][:, 9:] = 30.0, 15.0
    return x


def conserved(s: Solution) -> bool:
    """Whether the balance closes, and no store or flux is negative, to rounding."""
    # a store at -1e-13 mm, rounding of zero, times the steepest slope of a flux there: 15 mm d-1
    # over the guard's 0.1 mm
    fluxes = min(float(q.detach().min()) for q in s.fluxes.values()) > -1e-10
    return (
        float(s.balance_error().max()) < 1e-9 and float(s.states.detach().min()) > -1e-12 and fluxes
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["hbv", "exp_hydro"])
def test_balance_and_stores_with_any_weights(name: str, kind: str, engine: str) -> None:
    """100 random networks of each kind create no water and empty no store below zero."""
    # torch is slow where steps must be halved
    spread = 0.5 if "beside" in kind and engine == "torch" else 1.5
    # Julia compiles a model for each network: one model there, whose weights are changed
    model = learned(name, seed=0, spread=spread, **KINDS[kind])
    for seed in range(100):
        other = learned(name, seed=100 * seed, spread=spread, **KINDS[kind])
        with torch.no_grad():
            for mine, theirs in zip(model.closure_weights(), other.closure_weights(), strict=True):
                mine.copy_(theirs)
            s = run(model, cloudburst_and_drought(model, 2, 16, seed), engine)
        assert conserved(s), seed


@pytest.mark.parametrize("kind", ["replaced", "rising beside"])
@pytest.mark.parametrize("name", ["hbv", "exp_hydro"])
def test_balance_and_range_while_training(name: str, kind: str, engine: str) -> None:
    """After each of 20 steps of Adam that are far too long."""
    model = learned(name, seed=7, spread=0.5, **KINDS[kind])
    x = cloudburst_and_drought(model, 3, 20, seed=7)
    optimiser = torch.optim.Adam(model.closure_weights(), lr=0.3)
    at = torch.linspace(-3.0, 3.0, 50, dtype=F64)
    start = torch.cat([w.detach().clone() for w in model.closure_weights()])
    for _ in range(20):
        s = run(model, x, engine)
        assert conserved(s)
        for slot, c in model.closures.items():
            y = c(at, formula=model.formula(slot)(at.abs())) if c.residual else c(at)  # type: ignore[attr-defined]
            assert float(y.detach().min()) >= 0 and float(y.detach().max()) <= 1
        optimiser.zero_grad()
        (s.fluxes["discharge"] - 1.0).square().mean().backward()
        optimiser.step()
    assert conserved(run(model, x, engine))
    assert (
        float((torch.cat([w.detach() for w in model.closure_weights()]) - start).abs().max()) > 1.0
    )


def test_shares_keep_their_range_and_rise() -> None:
    x = torch.linspace(-3.0, 3.0, 200, dtype=F64)
    falling = 0
    for seed in range(100):
        free, rising = (
            closure(seed, spread=5.0),
            closure(seed, (8, 8), spread=5.0, monotone_in=(0,)),
        )
        for c in (free, rising):
            y = c(x)
            assert float(y.min()) >= 0 and float(y.max()) <= 1
        assert bool((rising(x).diff() >= 0).all())
        falling += bool((free(x).diff() < 0).any())
        beside = closure(seed, spread=5.0, monotone_in=(0,), residual=True)
        y = beside(x, formula=torch.sigmoid(2 * x))
        assert bool((y.diff() >= 0).all()) and float(y.min()) >= 0 and float(y.max()) <= 1
        assert (
            float(beside(x, formula=torch.zeros_like(x)).abs().max()) == 0
        )  # nothing stays nothing
        with torch.no_grad():
            beside.weights.mul_(1000.0)
        assert bool(beside(x, formula=torch.zeros_like(x)).isfinite().all())
        # rising in one of two inputs only
        two = NeuralClosure(2, (6, 5), seed=seed, monotone_in=(1,))
        with torch.no_grad():
            two.weights.add_(
                torch.randn(
                    len(two.weights), dtype=F64, generator=torch.Generator().manual_seed(seed)
                )
            )
        a = torch.linspace(-2, 2, 20, dtype=F64)
        grid = two(torch.stack(torch.meshgrid(a, a, indexing="ij"), -1))
        assert bool((grid.diff(dim=1) > 0).all())
        falling += bool((grid.diff(dim=0) < 0).any())
    assert falling > 50  # others are free to fall


@pytest.mark.parametrize("name", ["hbv", "exp_hydro"])
def test_a_residual_begins_as_the_formula(name: str, engine: str) -> None:
    closures = {
        k: NeuralClosure(1, (8,), output_range=(0.0, 1.0), residual=True)
        for k in load_spec(name).slots
    }
    model, plain = MODELS[name](closures=closures), MODELS[name]()  # type: ignore[call-arg]
    assert list(model.spec.parameters) == list(plain.spec.parameters)
    x = inputs(plain, 5, 150)
    ours, theirs = (run(m, x, engine).fluxes["discharge"] for m in (model, plain))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "slot"), SLOTS)
def test_formula_of_a_slot(name: str, slot: str) -> None:
    """A network that is exactly the formula changes nothing but what the guard of an empty store
    does.
    """
    plain = MODELS[name]()
    formula = plain.formula(slot)  # type: ignore[attr-defined]

    class Exact(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return formula(x[..., 0]).clamp(0.0, 1.0)

    model = MODELS[name](closures={slot: Exact()})  # type: ignore[call-arg]
    rows = 200
    p = {k: torch.full((1, 1), s.default, dtype=F64) for k, s in plain.spec.parameters.items()}
    # the melting of a network ends at 21 degC
    f = {k: v.T.clamp_max(20.0) for k, v in weather(1, rows).items()}
    full = torch.tensor(
        {"hbv": [200.0, 20.0, 240.0, 100.0, 100.0], "exp_hydro": [200.0, 600.0]}[name], dtype=F64
    )
    state = 20 + torch.rand(rows, model.size, dtype=F64) * (full - 20)
    a, b = (m.evaluate(state, f, p, fluxes=True) for m in (model, plain))
    guarded = slot == "percolation" or (name, slot) == ("exp_hydro", "evapotranspiration")
    assert float((a.rates - b.rates).abs().max()) < (0.02 if guarded else 1e-9)


def test_any_module_of_torch() -> None:
    """In another precision than the solver's, and frozen or not.

    Shared by two slots it is counted once.
    """
    module = Curve()
    model = HBV(closures={"recharge": module, "evapotranspiration": module})
    x = inputs(model, 3, 40)
    s = run(model, x, "torch")
    assert len(model.closure_weights()) == len(list(module.parameters()))
    s.fluxes["discharge"].sum().backward()
    assert all(w.grad is not None and bool((w.grad != 0).any()) for w in module.parameters())
    assert float(s.balance_error().max()) < 1e-9
    module.requires_grad_(False)
    x["FC"].requires_grad_()
    (gradient,) = torch.autograd.grad(run(model, x, "torch").fluxes["discharge"].sum(), x["FC"])
    assert bool((gradient != 0).all())


@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.5), nn.AlphaDropout(0.1), nn.BatchNorm1d(4), nn.RReLU()]
)
def test_networks_in_training_mode_are_refused(layer: nn.Module) -> None:
    """Those with layers that draw numbers or mix columns; others may train."""
    network = nn.Sequential(nn.Linear(1, 4), layer, nn.Linear(4, 1), nn.Sigmoid()).double()
    model = HBV(closures={"recharge": network})
    x = inputs(model, 2, 3)
    with pytest.raises(
        ParameterError,
        match=rf"'recharge' has {type(layer).__name__} in training mode.*module\.eval\(\)",
    ):
        run(model, x, "torch")
    if not isinstance(layer, nn.BatchNorm1d):  # which takes two dimensions
        network.eval()
        assert torch.equal(run(model, x, "torch").states, run(model, x, "torch").states)
    network.train()
    network[1] = nn.Dropout(0.0)
    run(model, x, "torch")


def test_what_does_not_fit_is_refused() -> None:
    share = {"output_range": (0.0, 1.0)}
    with pytest.raises(
        UnknownName,
        match=r"slot of hbv 'rechrge'; did you mean 'recharge'.*Known: evapotranspiration, percol",
    ):
        HBV(closures={"rechrge": NeuralClosure(1, **share)})
    with pytest.raises(
        ParameterError, match=r"'recharge' has the inputs wetness, got a network of 2"
    ):
        HBV(closures={"recharge": NeuralClosure(2, **share)})
    with pytest.raises(ParameterError, match=r"output_range within \(0, 1\), got None"):
        HBV(closures={"recharge": NeuralClosure(1)})
    with pytest.raises(ParameterError, match=r"output_range within \(0, 1\), got \(0.0, 2.0\)"):
        ExpHydro(closures={"melt": NeuralClosure(1, output_range=(0.0, 2.0))})
    with pytest.raises(
        ParameterError,
        match="JuliaClosure is for a model from a Julia file; in the slot 'recharge'",
    ):
        HBV(closures={"recharge": JuliaClosure()})
    with pytest.raises(
        ParameterError, match="takes a NeuralClosure or a torch.nn.Module, got builtin"
    ):
        HBV(closures={"recharge": torch.sigmoid})  # type: ignore[dict-item]
    model = HBV(closures={"recharge": NeuralClosure(1, **share)})
    x = inputs(model, 2, 3)
    with pytest.raises(
        ParameterError,
        match="'BETA' belongs to the formula that the closure in the slot 'recharge' replaces",
    ):
        solve(
            model,
            {k: x[k] for k in model.spec.forcings},
            {"BETA": 2.0},
            x["state"],
            range(4),
            DAILY,
            "torch",
        )
    with pytest.raises(ParameterError, match=r"'recharge' gave .*, outside of 0 to 1"):
        run(HBV(closures={"recharge": Curve(nn.Hardtanh(3.0, 4.0))}), x, "torch")
    with pytest.raises(ParameterError, match=r"must turn inputs \[..., input\] into"):
        run(HBV(closures={"recharge": nn.Linear(1, 3)}), x, "torch")
    with pytest.raises(ParameterError, match="needs an activation that rises"):
        NeuralClosure(1, activation="swish", monotone_in=(0,))
    with pytest.raises(ParameterError, match="the numbers 0 to 0"):
        NeuralClosure(1, monotone_in=(1,))
    with pytest.raises(ParameterError, match="needs the range"):
        NeuralClosure(1, residual=True)
    with pytest.raises(ParameterError, match="stands beside a formula"):
        NeuralClosure(1, residual=True, **share)(torch.zeros(3))
