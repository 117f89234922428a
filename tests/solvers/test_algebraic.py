"""States that store nothing: 0 = f(u), solved with the others by every method of both engines."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pydiffgeo import ProcessModel, Solution, Solver, check_model, load_spec, solve
from pydiffgeo.bridge.runtime import unavailable
from pydiffgeo.errors import ParameterError
from pydiffgeo.models.base import Values

F64 = torch.float64
FOLDER = Path(__file__).parents[2] / "julia_src" / "test" / "models"
ENGINES = [
    "torch",
    pytest.param("julia", marks=pytest.mark.skipif(bool(unavailable()), reason="no Julia")),
]
EXACT = {"newton_tolerance": 1e-10, "max_newton": 40}
METHODS = {
    "implicit_euler, windows": {"method": "implicit_euler", "step": 1.0},
    "sdirk2, windows": {"method": "sdirk2", "step": 0.5},
    "implicit_euler, steps": {"method": "implicit_euler", "rtol": 1e-2},
    "sdirk2, steps": {"method": "sdirk2"},
    "trbdf2": {"method": "trbdf2"},
    "trbdf2, fixed": {"method": "trbdf2", "step": 0.5},
    "kvaerno3, checkpoints": {"method": "kvaerno3", "checkpoints": True},
}
DAYS = 3


class Leaf(ProcessModel):
    """A leaf over a store of water: diffusion into the leaf is what assimilation takes."""

    size = 2
    julia_file = str(FOLDER / "leaf.jl")

    def __init__(self) -> None:
        self.spec = load_spec(FOLDER / "leaf.toml")

    def _parts(self, u: Tensor, f: Values, p: Values) -> list[Tensor]:
        ci, water = u[..., :1], u[..., 1:]
        conductance = p["g"] * water / (water + p["half"])
        assimilation = p["V"] * ci / (p["K"] + ci)
        transpiration = f["dryness"] * conductance * (1 + self.spec.constants["OPENING"].value * ci)
        return [ci, water, conductance, assimilation, transpiration, p["k"] * water]

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        ci, _, conductance, assimilation, transpiration, drainage = self._parts(
            state, forcing, parameters
        )
        equation = conductance * (forcing["co2"] - ci) - assimilation
        return torch.cat([equation, forcing["rain"] - transpiration - drainage], -1)

    def fluxes(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        ci, _, _, assimilation, transpiration, drainage = self._parts(state, forcing, parameters)
        return torch.cat([forcing["rain"].expand_as(ci), transpiration, drainage, assimilation], -1)


LEAF = Leaf()  # one, which Julia compiles once


def inputs(columns: int = 3) -> dict[str, Tensor]:
    """Weather that jumps from day to day, parameters and a start, by name."""
    generator = torch.Generator().manual_seed(2)

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=F64)

    return {
        "rain": between(0, 6, columns, DAYS), "co2": between(25, 60, columns, DAYS),
        "dryness": between(0.2, 2, columns, DAYS), "V": between(20, 60, columns),
        "K": between(20, 50, columns), "g": between(0.5, 2, columns),
        "half": between(5, 15, columns), "k": between(0.05, 0.3, columns),
        "start": torch.stack([between(5, 60, columns), between(2, 20, columns)], -1),
    }  # fmt: skip


def run(x: dict[str, Tensor], options: dict[str, Any], engine: str, **more: Any) -> Solution:
    model = LEAF
    forcing, parameters = (
        {k: x[k] for k in names} for names in (model.spec.forcings, model.spec.parameters)
    )
    return solve(
        model, forcing, parameters, x["start"], range(DAYS + 1), Solver(**options), engine, **more
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", METHODS)
def test_equation_holds_and_water_is_conserved(name: str, engine: str) -> None:
    x = inputs()
    solution = run(x, METHODS[name], engine)
    model = LEAF
    left = [
        model.rates(
            solution.states[:, k],
            {n: x[n][:, k, None] for n in model.spec.forcings},
            {n: x[n][:, None] for n in model.spec.parameters},
        )[:, 0]
        for k in range(DAYS)
    ]
    assert torch.stack(left).abs().max() < 1e-10
    assert solution.balance_error().max() < 1e-10
    # the storage is that of the water alone
    assert torch.allclose(solution.storage[:, 0], x["start"][:, 1])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", METHODS)
def test_gradient_of_every_input(name: str, engine: str) -> None:
    """Against differences of the same steps; the start of what stores nothing is only a guess."""
    options = METHODS[name] | EXACT
    x = {k: v.requires_grad_() for k, v in inputs().items()}
    first = run(x, options, engine)
    generator = torch.Generator().manual_seed(5)
    weights = [torch.rand(3, DAYS, generator=generator, dtype=F64) for _ in range(7)]

    def loss(solution: Solution) -> Tensor:
        parts = [*solution.fluxes.values(), *solution.states.unbind(-1), solution.storage[:, 1:]]
        return (
            sum((w * q).sum() for w, q in zip(weights, parts, strict=True))
            + solution.storage[:, 0].sum()
        )

    found = dict(zip(x, torch.autograd.grad(loss(first), list(x.values())), strict=True))
    assert not found["start"][:, 0].any()
    fixed = {} if "step" in options else {"replay": first}
    spec = LEAF.spec
    for names in ([*spec.forcings], [*spec.parameters], ["start"]):
        d = {
            k: torch.randn(x[k].shape, generator=generator, dtype=F64) * x[k].detach() * 1e-5
            for k in names
        }
        with torch.no_grad():
            up, down = (
                loss(run(x | {k: x[k] + s * d[k] for k in names}, options, engine, **fixed))
                for s in (1, -1)
            )
        along = float(sum((found[k] * d[k]).sum() for k in names))
        assert math.isclose(along, float(up - down) / 2, rel_tol=1e-5, abs_tol=1e-12), names


@pytest.mark.skipif(bool(unavailable()), reason="no Julia")
@pytest.mark.parametrize("name", METHODS)
def test_engines_agree(name: str) -> None:
    options = METHODS[name] | EXACT | ({} if "step" in METHODS[name] else {"rtol": 1e-6})
    x = {k: v.requires_grad_() for k, v in inputs(11).items()}
    ours = run(x, options, "torch")
    theirs = run(x, options, "julia", **({} if "step" in options else {"replay": ours}))
    torch.testing.assert_close(theirs.states, ours.states, rtol=1e-10, atol=1e-10)
    grads = [
        torch.autograd.grad(
            s.states.square().sum() + s.fluxes["assimilation"].sum(), list(x.values())
        )
        for s in (ours, theirs)
    ]
    for name_, one, other in zip(x, *grads, strict=True):
        torch.testing.assert_close(
            other, one, rtol=1e-9, atol=1e-9 * float(one.abs().max()), msg=name_
        )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", ["implicit_euler", "sdirk2", "trbdf2", "kvaerno3"])
def test_order_of_convergence(method: str, engine: str) -> None:
    """The weather jumps, and with it what stores nothing: rates at the start of an interval are
    those of its own weather, or the order is lost.
    """
    x = inputs()
    exact = run(x, {"method": "kvaerno3", "rtol": 1e-8, "newton_tolerance": 1e-4}, engine).states[
        :, -1
    ]
    errors = [
        float(
            (run(x, {"method": method, "step": h} | EXACT, engine).states[:, -1] - exact)
            .abs()
            .max()
        )
        for h in (0.25, 0.125)
    ]
    order = {"implicit_euler": 1, "sdirk2": 2, "trbdf2": 2, "kvaerno3": 3}[method]
    assert math.log2(errors[0] / errors[1]) > order - 0.3


def test_start_is_a_guess() -> None:
    """Whatever the guess, the solution is the same."""
    x = inputs()
    other = {**x, "start": x["start"] * torch.tensor([3.0, 1.0])}
    for options in METHODS.values():
        one, two = (run(y, options | EXACT, "torch").states for y in (x, other))
        torch.testing.assert_close(
            one, two, rtol=1e-3 if "step" not in options else 1e-9, atol=1e-9
        )


class Steady(ProcessModel):
    """A leaf alone: nothing is stored at all."""

    size = 1

    def __init__(self, folder: Path) -> None:
        text = (FOLDER / "leaf.toml").read_text()
        head, rest = text.split("[states.water]")
        middle = "[parameters.V]" + rest.split("[parameters.V]")[1].split("[parameters.g]")[0]
        forcing = '[forcings.co2]\nunit = "Pa"\nlower = 0.0\nupper = 80.0\n'
        (folder / "steady.toml").write_text(head + middle + forcing)
        self.spec = load_spec(folder / "steady.toml")

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        return forcing["co2"] - state - parameters["V"] * state / (parameters["K"] + state)


@pytest.mark.parametrize("name", METHODS)
def test_nothing_is_stored(name: str, tmp_path: Path) -> None:
    """The root of a quadratic equation, and its derivative in the forcing."""
    co2 = torch.tensor([[20.0, 50.0, 5.0]], dtype=F64, requires_grad=True)
    V, K = 40.0, 30.0
    solution = solve(
        Steady(tmp_path),
        {"co2": co2},
        {"V": V, "K": K},
        1.0,
        range(4),
        Solver(**METHODS[name]),
        "torch",
    )
    b = K + V - co2
    root = (-b + (b * b + 4 * K * co2).sqrt()) / 2
    torch.testing.assert_close(solution.states[..., 0], root, rtol=1e-12, atol=1e-12)
    found, wanted = (torch.autograd.grad(y.square().sum(), co2)[0] for y in (solution.states, root))
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)


def test_check_and_sciml() -> None:
    assert "balance: closes" in check_model(LEAF)
    with pytest.raises(ParameterError, match="FBDF needs engine|engine=.julia|checked for"):
        run(inputs(), {"method": "FBDF", "sensitivity": "GaussAdjoint"}, "torch")
