"""Models written in Julia, loaded from Python.

Gradients, balance, and what is said about files that are no models.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from richards_cases import F64, NEW_MEXICO

from pydiffgeo import Grid, Richards, Solution, Solver, solve
from pydiffgeo.errors import DataError, ParameterError, PyDiffGeoError
from pydiffgeo.julia import load_model

ROOT = Path(__file__).parents[2]
FIVE_STORES = ROOT / "pydiffgeo" / "examples" / "julia" / "five_stores.jl"
MODEL = load_model(FIVE_STORES)  # Julia compiles what it loads: once is enough
START = [30.0, 1.0, 120.0, 10.0, 30.0]
DAYS = 12


def weather(columns: int) -> dict[str, torch.Tensor]:
    day = torch.arange(DAYS, dtype=F64)
    return {
        "precipitation": 10 * torch.rand(columns, DAYS, dtype=F64),
        "temperature": 4 * torch.randn(columns, DAYS, dtype=F64) + day / 4,
        "potential_evapotranspiration": 1 + torch.rand(columns, DAYS, dtype=F64),
    }


def run(inputs: dict[str, Any], solver: Solver, replay: Solution | None = None) -> Solution:
    forcing = {k: inputs[k] for k in MODEL.spec.forcings}
    parameters = {k: v for k, v in inputs.items() if k in MODEL.spec.parameters}
    return solve(
        MODEL,
        forcing,
        parameters,
        inputs["initial"],
        torch.arange(DAYS + 1.0),
        solver,
        "julia",
        replay=replay,
    )


@pytest.mark.parametrize(("method", "step"), [("implicit_euler", 1.0), ("kvaerno3", None)])
def test_gradcheck(julia: Any, method: str, step: float | None) -> None:
    tight = Solver(method, step=step, rtol=1e-3, newton_tolerance=1e-11, max_newton=40)
    fixed = {**weather(2), "initial": torch.tensor([START, START], dtype=F64)}
    moved = {
        "BETA": torch.tensor([1.5, 2.5], dtype=F64),
        "K0": torch.full((2, DAYS), 0.3, dtype=F64),
    }
    frozen = run({**fixed, **moved}, tight)
    names = ["initial", "temperature", "BETA", "K0"]
    values = [({**fixed, **moved}[k]).clone().requires_grad_() for k in names]

    def outputs(*x: torch.Tensor) -> torch.Tensor:
        # fixed steps need no replay, which would solve the columns one by one
        s = run(
            {**fixed, **moved, **dict(zip(names, x, strict=True))},
            tight,
            replay=None if step else frozen,
        )
        return torch.stack(
            [s.fluxes["discharge"].sum(), s.states[:, -1].sum(), s.storage.square().mean() / 100]
        )

    assert torch.autograd.gradcheck(outputs, values, eps=1e-5, atol=1e-5, rtol=1e-4)


def test_water_is_conserved(julia: Any) -> None:
    solution = run({**weather(3), "initial": START}, Solver(rtol=1e-2))
    assert solution.engine == "julia" and float(solution.balance_error().max()) < 1e-11
    assert solution.to_xarray()["discharge"].sizes == {"batch": 3, "time": DAYS}


def test_a_column_of_cells(julia: Any) -> None:
    model = load_model(ROOT / "julia_src" / "test" / "models" / "heat.jl", cells=20)
    x = (torch.arange(20, dtype=F64) + 0.5) / 20
    k = torch.tensor([0.3, 0.6], dtype=F64, requires_grad=True)
    s = solve(
        model,
        {"ends": 0.0},
        {"diffusivity": k},
        torch.sin(torch.pi * x),
        [0.0, 0.5],
        Solver(rtol=1e-7),
        "julia",
    )
    rate = 4 * 400 * torch.sin(torch.tensor(torch.pi / 40, dtype=F64)) ** 2
    exact = torch.exp(-0.5 * rate * k)
    torch.testing.assert_close(
        s.states[:, 0], exact[:, None] * torch.sin(torch.pi * x), rtol=1e-4, atol=1e-6
    )
    (g,) = torch.autograd.grad(s.states.sum(), k)
    torch.testing.assert_close(
        g, -0.5 * rate * exact.detach() * torch.sin(torch.pi * x).sum(), rtol=1e-4, atol=0
    )


def test_flows_between_cells(julia: Any) -> None:
    model = load_model(ROOT / "benchmarks" / "julia" / "own_richards.jl", cells=100)
    grid = Richards(Grid.uniform(100.0, 100), top="head", bottom="head")
    forcing, times = {"top_head": -75.0, "bottom_head": -1000.0}, [0.0, 12.0]
    soil = {k: torch.tensor(v, dtype=F64).requires_grad_() for k, v in NEW_MEXICO.items()}
    first = solve(grid, forcing, {**soil, "specific_storage": 0.0}, -1000.0, times, engine="julia")
    own = solve(model, forcing, soil, -1000.0, times, engine="julia")
    torch.testing.assert_close(own.states, first.states, rtol=1e-8, atol=0)
    target = torch.linspace(-100.0, -1000.0, 100, dtype=F64)
    expected, found = (
        torch.autograd.grad((s.states - target).square().mean(), soil.values())
        for s in (first, own)
    )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_the_module_is_an_attribute_of_the_package() -> None:
    code = (
        "import pydiffgeo, sys; pydiffgeo.julia.set_threads; sys.exit('juliacall' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_files_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no Julia file .*nowhere\.jl"):
        load_model(tmp_path / "nowhere.jl")
    (tmp_path / "alone.jl").write_text("rates(u, f, p) = u")
    with pytest.raises(DataError, match=r"no specification .*alone\.toml"):
        load_model(tmp_path / "alone.jl")
    with pytest.raises(ParameterError, match="one state in each"):
        load_model(FIVE_STORES, cells=10)
    with pytest.raises(ParameterError, match='written in Julia: use engine="julia"'):
        solve(load_model(FIVE_STORES), weather(1), {}, START, range(DAYS + 1), engine="torch")


def test_errors_of_the_file_are_shown(julia: Any, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text(FIVE_STORES.with_suffix(".toml").read_text())
    code = "fluxes(u, f, p) = SVector(f.precipitation)\nrates(u, f, p) = u .* p.no_such_parameter\n"
    (tmp_path / "wrong.jl").write_text(code)
    with pytest.raises(PyDiffGeoError, match="no_such_parameter"):
        solve(
            load_model(tmp_path / "wrong.jl"),
            weather(1),
            {},
            START,
            range(DAYS + 1),
            engine="julia",
        )
    (tmp_path / "wrong.jl").write_text("rate(u, f, p) = u\n")
    with pytest.raises(PyDiffGeoError, match=r"wrong\.jl defines neither rates"):
        solve(
            load_model(tmp_path / "wrong.jl"),
            weather(1),
            {},
            START,
            range(DAYS + 1),
            engine="julia",
        )
