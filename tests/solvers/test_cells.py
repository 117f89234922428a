"""Parameters, forcings and fluxes with a value in each cell: five linear reservoirs in a row."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pydiffgeo import (
    ProcessModel,
    Solution,
    Solver,
    check_model,
    load_spec,
    solve,
    solve_fluxes,
)
from pydiffgeo.bridge.runtime import unavailable
from pydiffgeo.errors import DataError, ParameterError, SpecError
from pydiffgeo.models.base import Values

F64 = torch.float64
FOLDER = Path(__file__).parents[2] / "julia_src" / "test" / "models"
CELLS, COLUMNS, DAYS = 5, 3, 4


class Reservoirs(ProcessModel):
    """d water_i / dt = q_(i-1) + lateral_i - e water_i - q_i, with q_i = k_i water_i."""

    size = CELLS
    julia_file = str(FOLDER / "reservoirs.jl")

    def __init__(self, structure: str = "tridiagonal") -> None:
        self.spec = load_spec(FOLDER / "reservoirs.toml")
        self.structure = structure

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        out = parameters["k"] * state
        head = forcing["head"].expand(*state.shape[:-1], 1)
        passed = torch.cat([head, out[..., :-1]], -1)
        return passed + forcing["lateral"] - parameters["e"] * state - out

    def fluxes(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        out = parameters["k"] * state
        seepage = forcing["lateral"] - parameters["e"] * state
        head = forcing["head"].expand(*state.shape[:-1], 1)
        return torch.cat([head, out, seepage, out[..., -1:]], -1)


STEPS, WINDOWS = Reservoirs(), Reservoirs("dense")
ENGINES = {
    "torch": (STEPS, "torch"),
    "torch, windows": (WINDOWS, "torch"),
    "julia": (STEPS, "julia"),
}
EACH = [
    pytest.param(
        k, marks=pytest.mark.skipif(k == "julia" and bool(unavailable()), reason="no Julia")
    )
    for k in ENGINES
]  # fmt: skip


def inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=F64)

    return {
        "head": 5 * draw(COLUMNS, DAYS), "lateral": 3 * draw(COLUMNS, DAYS, CELLS),
        "k": 0.2 + draw(COLUMNS, CELLS), "e": 0.1 * draw(COLUMNS),
        "start": 10 * draw(COLUMNS, CELLS),
    }  # fmt: skip


def run(x: dict[str, Tensor], case: str, **options: Any) -> Solution:
    model, engine = ENGINES[case]
    forcing, parameters = ({k: x[k] for k in names} for names in (["head", "lateral"], ["k", "e"]))
    options = {"newton_tolerance": 1e-9, "max_newton": 40, **options}
    return solve(model, forcing, parameters, x["start"], range(DAYS + 1), Solver(**options), engine)


def matrices(x: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """A `[column, cell, cell]` and b `[column, day, cell]` of d water / dt = A water + b."""
    A = torch.diag_embed(x["k"][:, :-1], -1) - torch.diag_embed(x["k"] + x["e"][:, None])
    b = x["lateral"].clone()
    b[..., 0] += x["head"]
    return A, b


@pytest.mark.parametrize("case", EACH)
def test_exact_solution(case: str) -> None:
    """By the exponential of the matrix of the reservoirs, and of the integral of what they hold."""
    x = inputs()
    A, b = matrices(x)
    solution = run(x, case, method="kvaerno3", rtol=1e-7)
    # of (water, integral of water, 1)
    n = CELLS
    water = x["start"]
    for day in range(DAYS):
        M = torch.zeros(COLUMNS, 2 * n + 1, 2 * n + 1, dtype=F64)
        M[:, :n, :n], M[:, n : 2 * n, :n] = A, torch.eye(n, dtype=F64)
        M[:, :n, -1] = b[:, day]
        begin = torch.cat([water, torch.zeros_like(water), torch.ones(COLUMNS, 1, dtype=F64)], -1)
        end = (torch.linalg.matrix_exp(M) @ begin[..., None])[..., 0]
        water, mean = end[:, :n], end[:, n : 2 * n]
        torch.testing.assert_close(solution.states[:, day], water, rtol=1e-6, atol=1e-6)
        out = solution.fluxes["outflow"][:, day]
        torch.testing.assert_close(out, x["k"] * mean, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(solution.fluxes["discharge"][:, day], out[:, -1])
        seepage = x["lateral"][:, day] - x["e"][:, None] * mean
        torch.testing.assert_close(
            solution.fluxes["seepage"][:, day], seepage, rtol=1e-6, atol=1e-6
        )
    assert solution.balance_error().max() < 1e-12


@pytest.mark.parametrize("case", EACH)
def test_gradient_of_every_input(case: str) -> None:
    """That of implicit Euler by autograd through a linear solve for each step."""
    x = {k: v.requires_grad_() for k, v in inputs().items()}
    solution = run(x, case, method="implicit_euler", step=1.0)
    A, b = matrices(x)
    water, states = x["start"], []
    for day in range(DAYS):
        water = torch.linalg.solve(torch.eye(CELLS, dtype=F64) - A, water + b[:, day])
        states.append(water)
    exact = torch.stack(states, 1)
    weights = torch.rand(
        COLUMNS, DAYS, CELLS, generator=torch.Generator().manual_seed(1), dtype=F64
    )

    def loss(states: Tensor, outflow: Tensor, seepage: Tensor) -> Tensor:
        return (weights * (states.square() + outflow.square() + seepage * outflow)).sum()

    theirs = exact, x["k"][:, None] * exact, x["lateral"] - x["e"][:, None, None] * exact
    ours = solution.states, solution.fluxes["outflow"], solution.fluxes["seepage"]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)
    found, wanted = (torch.autograd.grad(loss(*y), list(x.values())) for y in (ours, theirs))
    for name, one, other in zip(x, found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("case", EACH)
def test_in_time_and_shared(case: str) -> None:
    """A value in each cell and interval, one for all cells, one for all columns."""
    x = inputs()
    shared = {**x, "k": x["k"][:1, :1], "lateral": x["lateral"][:1, :, :1]}
    spread = {
        **x,
        "k": shared["k"].expand(COLUMNS, DAYS, CELLS),
        "lateral": shared["lateral"].expand(COLUMNS, DAYS, CELLS),
    }
    leaves = [y["k"].requires_grad_() for y in (shared,)]
    one, other = (run(y, case, method="implicit_euler", step=1.0) for y in (shared, spread))
    torch.testing.assert_close(one.states, other.states, rtol=1e-12, atol=1e-12)
    spread["k"] = spread["k"].detach().clone().requires_grad_()
    again = run(spread, case, method="implicit_euler", step=1.0)
    grads = [
        torch.autograd.grad(s.fluxes["outflow"].square().sum(), k)[0].sum()
        for s, k in ((one, leaves[0]), (again, spread["k"]))
    ]
    assert math.isclose(*map(float, grads), rel_tol=1e-10)


def test_named_results() -> None:
    found = run(inputs(), "torch", method="implicit_euler", step=1.0).to_xarray()
    assert found["outflow"].dims == ("batch", "time", "cell") == found["water"].dims
    assert found["discharge"].dims == ("batch", "time")


def test_check() -> None:
    text = check_model(STEPS)
    assert "balance: closes" in text
    if not unavailable():
        assert "agree within" in text


@pytest.mark.parametrize(
    ("key", "shape", "message"),
    [
        ("lateral", (COLUMNS, DAYS, 4), r"\[batch, time, cell\] of 5 cells"),
        ("head", (COLUMNS, DAYS, 5), r"\[time\] or \[batch, time\] with"),
        ("k", (COLUMNS, 4), r"\[batch, cell\]"),
        ("k", (CELLS,), "5 columns or 5 cells"),
    ],
)
def test_shapes(key: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises((DataError, ParameterError), match=message):
        run({**inputs(), key: torch.ones(shape, dtype=F64)}, "torch")


def test_values_are_found(tmp_path: Path) -> None:
    x = inputs()
    x["lateral"][1, 2, 3] = -1.0
    with pytest.raises(DataError, match="column 1, cell 3, in the interval that ends at 3"):
        run(x, "torch")
    text = (FOLDER / "reservoirs.toml").read_text().replace('per = "cell"', 'per = "site"', 1)
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises(SpecError, match="per = 'site' must be"):
        load_spec(tmp_path / "wrong.toml")


@pytest.mark.parametrize("case", EACH)
def test_fluxes_of_cells_alone(case: str) -> None:
    x, (model, engine) = inputs(), ENGINES[case]
    whole, names = run(x, case, method="implicit_euler", step=1.0), ["seepage", "discharge"]
    forcing, parameters = ({k: x[k] for k in names} for names in (["head", "lateral"], ["k", "e"]))
    solver = Solver("implicit_euler", step=1.0, newton_tolerance=1e-9, max_newton=40)
    given = forcing, parameters, x["start"], range(DAYS + 1), solver, engine
    found, _ = solve_fluxes(names, model, *given)
    for name in names:
        assert torch.equal(found[name], whole.fluxes[name])
