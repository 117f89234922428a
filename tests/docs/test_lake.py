"""The lake of the page "A domain of your own": physics, both engines, and the commands."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

import pydiffgeo as pdg
from pydiffgeo.bridge.models import evaluate
from pydiffgeo.cli import app

ROOT = Path(__file__).parents[2]
FILES = ROOT / "docs" / "tutorials" / "lake"
OWN = ("lake", "lake_files")
F64 = torch.float64
DAYS = 40


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of a user who has the five files."""
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for name in OWN:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield tmp_path
    for name in OWN:
        sys.modules.pop(name, None)


@pytest.fixture
def lake(folder: Path, monkeypatch: pytest.MonkeyPatch) -> pdg.ProcessModel:
    monkeypatch.syspath_prepend(str(folder))
    from lake import Lake

    return Lake()


def weather(lakes: int = 2) -> dict[str, torch.Tensor]:
    return {
        "inflow": 40 * torch.rand(lakes, DAYS, dtype=F64),
        "inflow_temperature": 5 + 10 * torch.rand(lakes, DAYS, dtype=F64),
        "temperature": 10 + 5 * torch.randn(lakes, DAYS, dtype=F64),
        "evaporation": 5 * torch.rand(lakes, DAYS, dtype=F64),
    }


@pytest.mark.parametrize(
    "solver",
    [pdg.Solver("implicit_euler", step=1.0, newton_tolerance=1e-12), pdg.Solver("kvaerno3")],
    ids=["implicit_euler", "kvaerno3"],
)
def test_water_and_heat_are_conserved(lake: pdg.ProcessModel, solver: pdg.Solver) -> None:
    start = {"volume": torch.tensor([3200.0, 2900.0]), "heat": torch.tensor([3e4, 1e4])}
    made = pdg.solve(lake, weather(), {}, start, range(DAYS + 1), solver, "torch")
    q = {name: flux.sum(1) for name, flux in made.fluxes.items()}  # of days
    volume, heat = (made.states[:, -1] - made.initial_state).unbind(-1)
    water = q["water_in"] - q["evaporated"] - q["outflow"]
    assert torch.allclose(volume, water, rtol=0, atol=1e-8 * 3000)
    warmth = q["heat_in"] + q["heat_of_surface"] - q["heat_out"]
    assert torch.allclose(heat, warmth, rtol=0, atol=1e-8 * 3e4)
    assert float(q["outflow"].min()) > 1


def test_the_steady_lake(lake: pdg.ProcessModel) -> None:
    """The sill lets the inflow pass; the temperature is a mean of those of inflow and air."""
    inflow, rating, exchange = 30.0, 120.0, 250.0
    forcing = {
        "inflow": inflow,
        "inflow_temperature": 6.0,
        "temperature": 12.0,
        "evaporation": 0.0,
    }
    given = {"sill": 2000.0, "rating": rating, "exchange": exchange, "warming": 3.0}
    solver = pdg.Solver("implicit_euler", rtol=1e-3)
    start = {"volume": 2300.0, "heat": 2e4}
    times = torch.linspace(0, 4000, 11, dtype=F64)
    made = pdg.solve(lake, forcing, given, start, times, solver, "torch")
    depth = 1000 * (inflow / rating) ** (2 / 3)
    volume, heat = made.states[0, -1]
    # the smooth edge of the sill, 1 mm wide
    assert float(volume) == pytest.approx(2000 + depth - 1 / (4 * depth), abs=1e-6)
    warm = (inflow * 6 + exchange * 15) / (inflow + exchange)
    assert float(heat / volume) == pytest.approx(warm, abs=1e-6)


def test_a_closed_lake_warms_exponentially(lake: pdg.ProcessModel) -> None:
    forcing = {"inflow": 0.0, "inflow_temperature": 0.0, "temperature": 18.0, "evaporation": 0.0}
    given = {"sill": 10000.0, "exchange": 300.0, "warming": 2.0}
    days = torch.arange(11, dtype=F64)
    solver = pdg.Solver("kvaerno3", rtol=1e-6)
    start = {"volume": 4000.0, "heat": 4000.0 * 5}
    made = pdg.solve(lake, forcing, given, start, days, solver, "torch")
    exact = 20 - 15 * torch.exp(-300.0 / 4000 * days[1:])
    assert torch.allclose(made.states[0, :, 1] / made.states[0, :, 0], exact, rtol=1e-5)


def test_gradients(lake: pdg.ProcessModel, engine: str) -> None:
    solver = pdg.Solver("implicit_euler", step=1.0, newton_tolerance=1e-12, max_newton=40)
    days = 3
    fixed = {k: v[:, :days] for k, v in weather().items()}

    def run(sill: torch.Tensor, exchange: torch.Tensor, heat: torch.Tensor, air: torch.Tensor):
        given = {"sill": sill, "exchange": exchange}
        start = {"volume": torch.tensor([3200.0, 2990.0], dtype=F64), "heat": heat}
        forcing = {**fixed, "temperature": air}
        made = pdg.solve(lake, forcing, given, start, range(days + 1), solver, engine)
        return made.fluxes["outflow"], made.fluxes["water_temperature"]

    values = (torch.tensor([3000.0, 2800.0]), torch.tensor([200.0, 400.0]),
              torch.tensor([3e4, 2e4]), fixed["temperature"])  # fmt: skip
    inputs = tuple(v.to(F64).clone().requires_grad_() for v in values)
    # parameters are large: steps of differences follow them
    assert torch.autograd.gradcheck(run, inputs, eps=1e-3, atol=1e-7, rtol=1e-4)


def test_julia_has_the_same_equations(lake: pdg.ProcessModel, julia: Any) -> None:
    def between(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(300, 1, dtype=F64)

    p = {k: between(s.lower, s.upper) for k, s in lake.spec.parameters.items()}
    f = {k: between(s.lower, s.upper) for k, s in lake.spec.forcings.items()}
    volume = between(100.0, 12000.0)
    state = torch.cat([volume, volume * between(0.0, 30.0)], -1)
    ours, theirs = lake.evaluate(state, f, p, fluxes=True), evaluate(julia, lake, state, f, p)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)
    assert "agree within" in pdg.check_model(lake)


def command(*words: str) -> str:
    made = CliRunner().invoke(app, [*words, "--quiet", "--debug"], catch_exceptions=False)
    assert made.exit_code == 0, made.output
    return made.output


def write_lakes(truth: Path, folder: Path) -> None:
    """Files as the page shows them, of the lakes of a synthetic truth."""
    folder.mkdir()
    with xr.open_dataset(truth) as sites:
        series = ["inflow", "inflow_temperature", "tair_mean", "evaporation", "outflow",
                  "water_temperature"]  # fmt: skip
        static = sites[["mean_depth", "sill_width", "wind"]].to_dataframe()
        static[["mean_depth", "sill_width", "wind"]].rename_axis("lake").to_csv(
            folder / "lakes.csv"
        )
        for site in sites.site.values:
            table = sites[series].sel(site=site).to_dataframe()[series].rename_axis("day")
            table.to_csv(folder / f"{site}.txt", sep=" ", float_format="%.6g")


def test_the_commands_of_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYDIFFGEO_ENGINE", "torch")  # Julia would compile the lake for each command
    page = (ROOT / "docs" / "own_domain.md").read_text()
    told = re.findall(r"^pydiffgeo (\w.*)$", page, re.M)
    assert [line.split()[0] for line in told] == ["train", "evaluate", "predict"]
    train, judge, predict = (line.split() for line in told)
    command(*train)
    command(*judge, "--no-figures")
    found = pd.read_csv("runs/lake/lake/evaluation_test/medians.csv")
    nse = found[found.measure == "nse"].set_index("observed")["median"]
    assert nse["outflow"] > 0.9 and nse["water_temperature"] > 0.9
    write_lakes(Path("runs/lake/synthetic.nc"), folder / "lakes")
    lakes = pdg.open_sites("lakes", "lake_files:open_lakes")
    assert lakes.sizes["site"] == 6 and lakes["outflow"].attrs["role"] == "observed"
    command(*predict)
    with xr.open_dataset("prediction.nc") as made:
        assert {"outflow", "water_temperature", "volume"} <= set(made)
        assert made["water_temperature"].attrs["units"] == "degC"
        assert np.isfinite(made["volume"].values[:, 180:]).all()

    # and files of one's own are trained on alike
    own = (folder / "lake.yaml").read_text().replace("# path:", "path:")
    (folder / "own.yaml").write_text(own)
    command("train", "own.yaml")
    one, other = (
        pd.read_csv(f"runs/{name}/lake/history.csv")["loss"].values for name in ("lake", "own")
    )
    assert np.allclose(one, other, rtol=0.01)  # the files have six digits
    # in the layout of the run
    command("predict", "runs/own/lake", "--data", "lakes", "--output", "own.nc")
