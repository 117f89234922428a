"""Compiled steps one after another: the same solutions and gradients as by windows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pydiffgeo import HBV, Bounds, ExpHydro, Solution, Solver, solve
from pydiffgeo.models.base import ProcessModel
from pydiffgeo.solvers import march
from pydiffgeo.solvers.small_matrices import solved

F64 = torch.float64
COLUMNS, DAYS = 40, 60
STORES = {HBV: [20.0, 1.0, 150.0, 10.0, 30.0], ExpHydro: [20.0, 400.0]}


@pytest.fixture
def used(compiled: set[str], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of compiled functions that were called, with a march from one column on."""
    monkeypatch.setattr(march, "COLUMNS", 1)
    return compiled


def weather(seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    rain = 40 * torch.rand(COLUMNS, DAYS, generator=random, dtype=F64).pow(4)
    warmth = 10 * torch.randn(COLUMNS, DAYS, generator=random, dtype=F64) + 4
    potential = 5 * torch.rand(COLUMNS, DAYS, generator=random, dtype=F64)
    return {
        "precipitation": rain,
        "temperature": warmth,
        "potential_evapotranspiration": potential,
    }


def drawn(model: ProcessModel, low: float = 0.02, high: float = 0.98) -> dict[str, Tensor]:
    """Parameters anywhere within their bounds."""
    random, found = torch.Generator().manual_seed(1), {}
    for name, spec in model.spec.parameters.items():
        bounds = Bounds.of(spec)
        share = low + (high - low) * torch.rand(COLUMNS, generator=random, dtype=F64)
        found[name] = bounds.at(0.0) + (bounds.at(1.0) - bounds.at(0.0)) * share
    return found


def run(
    kind: type[ProcessModel], solver: Solver, times: object = range(DAYS + 1), **other: object
) -> tuple[Solution, dict[str, Tensor]]:
    """A solution, and the gradient of a sum of its discharge and last states."""
    model = kind()
    parameters = {k: v.requires_grad_() for k, v in drawn(model).items()}
    initial = torch.tensor(STORES[kind], dtype=F64)
    inputs = {**weather(), **other}
    found = solve(model, inputs, parameters, initial, times, solver, engine="torch")
    (found.fluxes["discharge"].square().sum() + found.states[:, -1].sum()).backward()
    return found, {k: v.grad for k, v in parameters.items()}


@pytest.mark.parametrize("kind", [HBV, ExpHydro])
@pytest.mark.parametrize("options", [
    {"method": "implicit_euler", "step": 1.0},
    {"method": "implicit_euler", "step": 0.4},  # the last step of a day is shorter
    {"method": "sdirk2", "step": 1.0},
])  # fmt: skip
def test_same_solution_and_gradient_as_by_windows(
    used: set[str], kind: type[ProcessModel], options: dict
) -> None:
    windows, expected = run(kind, Solver(**options))
    assert "_first" not in used
    marched, gradient = run(kind, Solver(**options, compile=True))
    assert "_first" in used
    torch.testing.assert_close(marched.states, windows.states, rtol=1e-9, atol=1e-9)
    for name, flux in windows.fluxes.items():
        torch.testing.assert_close(marched.fluxes[name], flux, rtol=1e-9, atol=1e-9)
    for name, slope in expected.items():
        torch.testing.assert_close(gradient[name], slope, rtol=1e-7, atol=1e-8)


def test_intervals_of_different_length_and_parameters_that_vary(used: set[str]) -> None:
    times = torch.cat([torch.arange(0.0, 10.0), torch.arange(10.0, 10.0 + 2.5 * (DAYS - 9), 2.5)])
    given = []
    for compile in (False, True):
        model, p = HBV(), drawn(HBV())
        p["K1"] = p["K1"][:, None] * torch.linspace(0.5, 1.0, DAYS, dtype=F64)
        p["FC"] = torch.tensor(250.0, dtype=F64)  # one for all columns
        solver = Solver("implicit_euler", step=1.0, compile=compile)
        given.append(solve(model, weather(), p, STORES[HBV], times, solver, engine="torch"))
    assert "_first" in used
    torch.testing.assert_close(given[1].states, given[0].states, rtol=1e-9, atol=1e-9)
    balance = given[1].balance_error().abs().max()
    assert float(balance) < 1e-9


@pytest.mark.parametrize("kind", [HBV, ExpHydro])
def test_one_iteration_is_enough_from_where_the_model_sees_a_day(
    used: set[str], kind: type[ProcessModel]
) -> None:
    found, _ = run(kind, Solver("implicit_euler", step=1.0, compile=True))
    iterations = int(found.stats["newton_iterations"].max())
    assert DAYS <= iterations <= 1.5 * DAYS  # of the slowest of 40 columns


def test_columns_that_need_more_iterations_are_set_apart(
    used: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are solved in a window; none of the others is solved anew."""
    expected, slopes = run(HBV, Solver("implicit_euler", step=1.0))
    monkeypatch.setattr(march, "MOST", 1)
    found, gradient = run(HBV, Solver("implicit_euler", step=1.0, compile=True))
    counts = found.stats["newton_iterations"].unique()
    assert len(counts) == 2  # those that marched, and those of the window
    torch.testing.assert_close(found.states, expected.states, rtol=1e-9, atol=1e-9)
    for name, slope in slopes.items():
        torch.testing.assert_close(gradient[name], slope, rtol=1e-7, atol=1e-8)


def test_columns_that_are_all_set_apart_at_different_times_keep_their_order(
    used: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    solver, warm = {"method": "sdirk2", "step": 1.0}, weather()["temperature"] + 4
    expected, _ = run(HBV, Solver(**solver), temperature=warm)
    monkeypatch.setattr(march, "MOST", 1)
    found, _ = run(HBV, Solver(**solver, compile=True), temperature=warm)
    assert "_first" in used and len(found.stats["newton_iterations"].unique()) == 1
    torch.testing.assert_close(found.states, expected.states, rtol=1e-9, atol=1e-9)


def test_systems_of_a_few_equations_are_solved_in_their_pattern() -> None:
    random = torch.Generator().manual_seed(2)
    pattern = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 2), (3, 1), (3, 2), (3, 3)]
    matrix = torch.zeros(50, 4, 4, dtype=F64)
    for i, j in pattern:
        matrix[:, i, j] = torch.rand(50, generator=random, dtype=F64) + 4 * (i == j)
    right = torch.rand(50, 4, generator=random, dtype=F64)
    found = solved({(i, j): matrix[:, i, j] for i, j in pattern}, right.unbind(-1))
    torch.testing.assert_close(torch.stack(found, -1), torch.linalg.solve(matrix, right))


class Broken(HBV):
    """HBV whose rates are no numbers in columns of one capacity."""

    def evaluate(self, state, forcing, parameters, fluxes=False):
        e = super().evaluate(state, forcing, parameters, fluxes)
        return e._replace(rates=torch.where(parameters["FC"] == 77, torch.nan, e.rates))

    def slopes(self, state, forcing, parameters):
        rates, entries = super().slopes(state, forcing, parameters)
        broken = parameters["FC"][..., 0] == 77
        return [torch.where(broken, torch.nan, x) for x in rates], entries


def test_a_column_without_a_solution_is_told_and_the_others_are_solved(used: set[str]) -> None:
    solver = {"method": "implicit_euler", "step": 1.0, "on_failure": "report"}
    parameters = drawn(HBV())
    parameters["FC"][3] = 77.0
    given = [
        solve(Broken(), weather(), parameters, STORES[HBV], range(DAYS + 1),
              Solver(**solver, compile=compile), engine="torch")
        for compile in (False, True)
    ]  # fmt: skip
    assert "_first" in used
    assert [list(found.failed) for found in given] == [[3], [3]]
    windows, marched = (x.states[[i for i in range(COLUMNS) if i != 3]] for x in given)
    torch.testing.assert_close(marched, windows, rtol=1e-9, atol=1e-9)
