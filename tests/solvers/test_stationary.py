"""Models that store nothing: every interval of every column is a problem of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pydiffgeo import METHODS, NeuralClosure, ProcessModel, Solver, check_model, load_spec, solve
from pydiffgeo.errors import DerivativeError, ModelError, ParameterError, SolveFailed
from pydiffgeo.models.base import Values

F64 = torch.float64
STATE = """
[states.{name}]
unit = "{unit}"
scale = 20.0
lower = {lower}
storage = "none"
storage_unit = "1"
storage_scale = 20.0
"""
HEAD = 'name = "pond"\ntitle = "Pond"\ntime_unit = "d"\n'
STORE = """
[states.tank]
unit = "mm"
scale = 10.0
storage = "tank"
storage_unit = "mm"
storage_scale = 10.0
"""
REST = """
[parameters.V]
unit = "1"
lower = 10.0
upper = 90.0
default = 40.0
minimum = 0.0

[parameters.K]
unit = "1"
lower = 10.0
upper = 90.0
default = 30.0
minimum = 0.0

[forcings.supply]
unit = "1"
lower = 0.0
upper = 100.0

[fluxes.uptake]
unit = "1"
balance = 0
"""


class Uptake(ProcessModel):
    """Concentration at which diffusion brings what is taken up: the root of a quadratic."""

    size = 1

    def __init__(self, folder: Path, store: bool = False, closures: Any = None) -> None:
        text = HEAD + STATE.format(name="c", unit="1", lower="0.0") + (STORE if store else "")
        path = folder / f"uptake{store}.toml"
        path.write_text(text + REST)
        self.spec, self.store = load_spec(path), store
        self.size = 2 if store else 1
        self.net = closures

    def uptake(self, c: Tensor, p: Values) -> Tensor:
        if self.net is not None:
            return p["V"] * self.net(c / 20)
        return p["V"] * c / (p["K"] + c)

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        c = state[..., :1]
        left = forcing["supply"] - c - self.uptake(c, parameters)
        return torch.cat([left, -0.1 * state[..., 1:]], -1) if self.store else left

    def fluxes(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        return self.uptake(state[..., :1], parameters)


class Pair(ProcessModel):
    """Two states whose equations depend on each other, one of them without a lower bound."""

    size = 2

    def __init__(self, folder: Path) -> None:
        text = HEAD + STATE.format(name="c", unit="1", lower="0.0")
        text += STATE.format(name="warmth", unit="degC", lower="-inf")
        (folder / "pair.toml").write_text(text + REST)
        self.spec = load_spec(folder / "pair.toml")

    def uptake(self, state: Tensor, p: Values) -> Tensor:
        c, warmth = state[..., :1], state[..., 1:]
        return p["V"] * torch.exp(0.05 * warmth) * c / (p["K"] + c)

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        c, warmth, taken = state[..., :1], state[..., 1:], self.uptake(state, parameters)
        return torch.cat([forcing["supply"] - c - taken, 0.2 * taken - warmth], -1)

    def fluxes(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        return self.uptake(state, parameters)


def drawn(columns: int, intervals: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    g = torch.Generator().manual_seed(3)
    supply = 100 * torch.rand(columns, intervals, generator=g, dtype=F64)
    V, K = (10 + 80 * torch.rand(columns, generator=g, dtype=F64) for _ in range(2))
    return {"supply": supply}, {"V": V, "K": K}


def root(forcing: Values, p: Values) -> Tensor:
    b = p["K"][:, None] + p["V"][:, None] - forcing["supply"]
    return (-b + (b * b + 4 * p["K"][:, None] * forcing["supply"]).sqrt()) / 2


SOLVERS = {
    **{f"{m}, adaptive": Solver(m) for m in METHODS},
    **{f"{m}, steps": Solver(m, step=0.3) for m in METHODS},
    "checkpoints": Solver("kvaerno3", checkpoints=True),
    "chunks of 7": Solver("implicit_euler", step=1.0, chunk=7),
    "chunks of 3": Solver("implicit_euler", step=1.0, chunk=3),
}


def test_a_model_is_stationary_where_no_state_stores(tmp_path: Path) -> None:
    assert Uptake(tmp_path).spec.stationary and Pair(tmp_path).spec.stationary
    assert not Uptake(tmp_path, store=True).spec.stationary
    assert "slopes" not in check_model(Uptake(tmp_path))


@pytest.mark.parametrize("name", SOLVERS)
def test_the_root_and_its_derivatives_by_every_method(name: str, tmp_path: Path) -> None:
    forcing, p = drawn(5, 4)
    leaves = [x.requires_grad_() for x in (*forcing.values(), *p.values())]
    solution = solve(Uptake(tmp_path), forcing, p, 1.0, range(5), SOLVERS[name], "torch")
    true = root(forcing, p)
    torch.testing.assert_close(solution.states[..., 0], true, rtol=1e-12, atol=1e-12)
    assert not solution.storage.any() and (solution.stats["accepted"] == 4).all()

    def total(c: Tensor) -> Tensor:
        taken = p["V"][:, None] * c / (p["K"][:, None] + c)
        return (c * torch.linspace(1, 2, 20, dtype=F64).view(5, 4)).sum() + taken.square().sum()

    found = torch.autograd.grad(
        (solution.states[..., 0] * torch.linspace(1, 2, 20, dtype=F64).view(5, 4)).sum()
        + solution.fluxes["uptake"].square().sum(),
        leaves,
    )
    for one, other in zip(found, torch.autograd.grad(total(true), leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_as_algebraic_states_beside_a_store(tmp_path: Path) -> None:
    """The way of models that store something, which steps through time, gives the same."""
    forcing, p = drawn(6, 5)
    p["V"].requires_grad_()
    solver = Solver("implicit_euler", step=1.0, newton_tolerance=1e-10, max_newton=40)
    alone = solve(Uptake(tmp_path), forcing, p, 1.0, range(6), solver, "torch")
    beside = solve(Uptake(tmp_path, store=True), forcing, p, [1.0, 5.0], range(6), solver, "torch")
    torch.testing.assert_close(alone.states[..., 0], beside.states[..., 0], rtol=1e-12, atol=0)
    one, other = (
        torch.autograd.grad(s.fluxes["uptake"].square().sum(), p["V"])[0] for s in (alone, beside)
    )
    torch.testing.assert_close(one, other, rtol=1e-11, atol=0)


def test_gradients_of_two_states_and_parameters_in_time(tmp_path: Path) -> None:
    forcing, p = drawn(3, 2)
    given = {"V": p["V"][:, None] * torch.tensor([1.0, 1.1], dtype=F64), "K": p["K"]}
    leaves = [x.requires_grad_() for x in (*forcing.values(), *given.values())]

    def outputs(supply: Tensor, V: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
        s = solve(
            Pair(tmp_path), {"supply": supply}, {"V": V, "K": K}, [1.0, 0.0], range(3),
            Solver("implicit_euler", step=1.0), "torch",
        )  # fmt: skip
        return s.states, s.fluxes["uptake"]

    assert torch.autograd.gradcheck(outputs, leaves, rtol=1e-6)
    shared = {"V": torch.tensor(40.0, dtype=F64), "K": torch.tensor(30.0, dtype=F64)}
    scalars = [x.requires_grad_() for x in shared.values()]
    assert torch.autograd.gradcheck(
        lambda V, K: outputs(forcing["supply"].detach(), V, K), scalars, rtol=1e-6
    )


def test_weights_of_a_network_in_the_equations(tmp_path: Path) -> None:
    net = NeuralClosure(1, (4,), output_range=(0.0, 1.0), monotone_in=(0,))
    model, (forcing, p) = Uptake(tmp_path, closures=net), drawn(4, 2)
    wanted = torch.tensor([1.0, 2.0], dtype=F64)

    def total() -> Tensor:
        s = solve(model, forcing, p, 1.0, range(3), Solver("sdirk2", step=1.0), "torch")
        return (s.states[..., 0] * wanted).sum() + s.fluxes["uptake"].square().sum()

    (found,) = torch.autograd.grad(total(), net.weights)
    step = torch.randn(len(net.weights), generator=torch.Generator().manual_seed(1), dtype=F64)
    values = []
    for sign in (1e-6, -1e-6):
        with torch.no_grad():
            net.weights.add_(sign * step)
            values.append(float(total()))
            net.weights.sub_(sign * step)
    assert float(found @ step) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6)


def test_second_derivatives_are_refused(tmp_path: Path) -> None:
    forcing, p = drawn(2, 2)
    V = p["V"].requires_grad_()
    s = solve(Uptake(tmp_path), forcing, p, 1.0, range(3), "kvaerno3", "torch")
    (grad,) = torch.autograd.grad(s.states.sum(), V, create_graph=True)
    with pytest.raises(DerivativeError):
        torch.autograd.grad(grad.sum(), V)


class Cliff(Uptake):
    """An equation without a solution where the supply is above 90; flat and steep elsewhere."""

    def uptake(self, c: Tensor, p: Values) -> Tensor:
        return p["V"] * torch.tanh(50 * (c - 20)) + 1e-6 * c

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        flat = 50 * torch.tanh(0.2 * (forcing["supply"] - 50)) - self.uptake(state, parameters)
        return torch.where(forcing["supply"] > 90, 1.0 + state.square(), flat)


def test_what_newton_does_not_solve_is_enclosed(tmp_path: Path) -> None:
    """Full steps of Newton's method leave this function for infinity."""
    forcing, _ = drawn(40, 5)
    forcing["supply"] = forcing["supply"].clamp(max=90.0)
    s = solve(Cliff(tmp_path), forcing, {"V": 60.0}, 70.0, range(6), "kvaerno3", "torch")
    wanted = 20 + torch.atanh(50 * torch.tanh(0.2 * (forcing["supply"] - 50)) / 60) / 50
    torch.testing.assert_close(s.states[..., 0], wanted, rtol=1e-6, atol=0)


def test_a_row_that_has_no_solution_is_told_and_harms_no_other(tmp_path: Path) -> None:
    supply = torch.full((3, 4), 60.0, dtype=F64)
    supply[1, 2] = supply[1, 3] = 95.0
    V = torch.full((3,), 60.0, dtype=F64, requires_grad=True)
    model = Cliff(tmp_path)
    with pytest.raises(SolveFailed, match=r"column 1 in the interval that ends at 3: no solution"):
        solve(model, {"supply": supply}, {"V": V}, 20.0, range(5), "kvaerno3", "torch")
    s = solve(
        model, {"supply": supply}, {"V": V}, 20.0, range(5),
        Solver("kvaerno3", on_failure="report"), "torch",
    )  # fmt: skip
    assert list(s.failed) == [1] and "nor in 1 other" in s.failed[1]
    lost = torch.isnan(s.states[..., 0])
    assert lost.nonzero().tolist() == [[1, 2], [1, 3]]
    assert torch.equal(torch.isnan(s.fluxes["uptake"]), lost)
    s.states.nansum().backward()
    assert bool(torch.isfinite(V.grad).all()) and float(V.grad[1]) == pytest.approx(
        0.5 * float(V.grad[0])
    )


def test_a_guess_of_the_model_is_where_the_search_begins(tmp_path: Path) -> None:
    class Guessing(Uptake):
        def guess(self, forcing: Values, parameters: Values) -> Tensor:  # type: ignore[override]
            return forcing["supply"] / 3 + 0 * parameters["V"]

    class Short(Uptake):
        def guess(self, forcing: Values, parameters: Values) -> Tensor:  # type: ignore[override]
            return forcing["supply"][..., 0]

    forcing, p = drawn(20, 3)
    with pytest.raises(ModelError, match=r"Short.guess returns a tensor of shape \[4\]"):
        solve(Short(tmp_path), forcing, p, 1.0, range(4), "kvaerno3", "torch")
    plain, guessed = (
        solve(kind(tmp_path), forcing, p, 1e4, range(4), "kvaerno3", "torch")
        for kind in (Uptake, Guessing)
    )
    torch.testing.assert_close(plain.states, guessed.states, rtol=1e-12, atol=0)
    iterations = [int(s.stats["newton_iterations"].sum()) for s in (plain, guessed)]
    assert iterations[1] < iterations[0]


def test_methods_of_sciml_are_refused(tmp_path: Path) -> None:
    forcing, p = drawn(2, 2)
    with pytest.raises(ParameterError, match="FBDF"):
        solver = Solver("FBDF", sensitivity="GaussAdjoint")
        solve(Uptake(tmp_path), forcing, p, 1.0, range(3), solver, "torch")


def test_float32(tmp_path: Path) -> None:
    forcing, p = drawn(50, 4)
    solver = Solver("implicit_euler", step=1.0, dtype=torch.float32)
    s = solve(Uptake(tmp_path), forcing, p, 1.0, range(5), solver, "torch")
    assert not s.failed
    torch.testing.assert_close(s.states[..., 0].double(), root(forcing, p), rtol=3e-6, atol=1e-5)


class Reversed(Uptake):
    """Demand less supply: du/dt = f(u) would run away from the root."""

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        return -super().rates(state, forcing, parameters)


def test_an_equation_the_other_way_round_is_solved_too(tmp_path: Path) -> None:
    forcing, p = drawn(20, 3)
    s = solve(Reversed(tmp_path), forcing, p, 1.0, range(4), "kvaerno3", "torch")
    torch.testing.assert_close(s.states[..., 0], root(forcing, p), rtol=1e-12, atol=1e-12)
