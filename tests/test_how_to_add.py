"""The pages on how to add something.

Their code runs as it is printed, from outside of the package.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hybrid_cases import basins
from test_documents import blocks

import pydiffgeo as pdg
from pydiffgeo import losses, stages

PAGES = "docs/how_to_add"


def code(page: str, number: int) -> str:
    return blocks(f"{PAGES}/{page}.md", "python")[number]


def module(name: str, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Write the code of a page to a file of its own and import it from the working directory."""
    (folder / f"{name}.py").write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return __import__(name)


def trained(hybrid: pdg.Hybrid, loss: Any, **options: Any) -> list[dict[str, float]]:
    windows = pdg.Windows(basins(), length=20, warm_up=10, batch=4)
    trainer = pdg.Trainer(hybrid, windows, loss, epochs=1, steps_per_epoch=2, **options)
    return trainer.run(progress=False)


def test_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "reservoir.toml").write_text(blocks(f"{PAGES}/model.md", "toml")[0])
    made = module("reservoir", code("model", 0), tmp_path, monkeypatch)
    solution = pdg.solve(
        made.Reservoir(),
        forcing={"rain": 2.0},
        parameters={"k": 0.3},
        initial_state=10.0,
        times=torch.arange(6.0),
        solver=pdg.Solver("kvaerno3", rtol=1e-7),
    )
    t = torch.as_tensor(solution.times).double()
    exact = 2 / 0.3 + (10 - 2 / 0.3) * torch.exp(-0.3 * t)
    assert torch.allclose(solution.states[0, :, 0], exact, rtol=1e-5)
    runoff = solution.fluxes["runoff"][0].sum()  # intervals of one day
    assert torch.isclose(10 + 2 * 5 - runoff, solution.states[0, -1, 0], rtol=1e-10)
    exec(code("model", 1), {"pdg": pdg, "Reservoir": made.Reservoir})
    assert "balance" in capsys.readouterr().out


def test_a_model_by_its_name_in_a_hybrid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reservoir.toml").write_text(blocks(f"{PAGES}/model.md", "toml")[0])
    module("reservoir", code("model", 0), tmp_path, monkeypatch)
    process = stages.Process(
        "reservoir:Reservoir",
        forcing={"rain": "precipitation"},
        outputs={"discharge": "runoff"},
    )
    history = trained(pdg.Hybrid(pdg.MLP(hidden=(4,)), process), losses.NSE("discharge"))
    assert np.isfinite(history[-1]["loss"])


def test_a_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = module("my_stages", code("stage", 0), tmp_path, monkeypatch)
    names: dict[str, Any] = {"Interception": made.Interception}
    exec(code("stage", 1), names)
    assert "leaf_storage [0, 3]" in capsys.readouterr().out
    hybrid = names["hybrid"]
    trained(hybrid, losses.NSE("discharge"))
    windows = pdg.Windows(basins(), warm_up=0).reading(hybrid.reads, ["discharge"], hybrid.needs)
    batch = windows.batch(0)
    series = hybrid(batch)
    total = series["precipitation"] + series["interception"]
    assert torch.allclose(total, batch.series["precipitation"], rtol=1e-5)
    assert (series["interception"] > 0).any()


def test_a_stage_in_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydiffgeo.experiment.build import build_hybrid
    from pydiffgeo.experiment.schema import load_experiment

    made = module("my_stages", code("stage", 0), tmp_path, monkeypatch)
    (given,) = blocks(f"{PAGES}/stage.md", "yaml")
    settings = {
        "data": {
            "train": {"start": "2000-01-01", "end": "2000-02-01"},
            "test": {"start": "2000-02-02", "end": "2000-03-01"},
        },
        "hybrid": {"network": {"kind": "mlp"}, **yaml.safe_load(given)},
        "loss": {"kind": "nse", "observed": "discharge"},
        "training": {"length": 10},
        "runs": {"own": {}},
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(settings))
    run = load_experiment(tmp_path / "own.yaml").runs["own"]
    hybrid = build_hybrid(run)
    assert isinstance(hybrid.stages[0], made.Interception)
    assert hybrid.learns["leaf_storage"].upper == 3.0


def test_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    exec(code("network", 0), names)
    trained(names["hybrid"], losses.NSE("discharge"))
    made = module("my_networks", "import torch\n" + code("network", 1), tmp_path, monkeypatch)
    hybrid = pdg.Hybrid(made.Residual(hidden=5), stages.Process("hbv", learn=("FC",)))
    history = trained(hybrid, losses.NSE("discharge"))
    assert np.isfinite(history[-1]["loss"])
    assert [w.shape for w in hybrid.parameters()][0] == (1, 3)


def test_losses() -> None:
    names: dict[str, Any] = {}
    exec(code("loss", 0), names)
    exec(code("loss", 1), names)
    hybrid = pdg.Hybrid(pdg.MLP(hidden=(4,)), stages.Process("hbv", learn=("FC",)))
    (history,) = trained(hybrid, [names["MAE"]("discharge"), names["Volume"]()])
    parts = {name: value for name, value in history.items() if "of discharge" in name}
    assert len(parts) == 2 and history["loss"] == pytest.approx(sum(parts.values()), rel=1e-5)


def test_a_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lakes = tmp_path / "lakes"
    lakes.mkdir()
    (lakes / "lakes.csv").write_text("lake,area\n01,2.5\n02,7.0\n")
    for name in ("01", "02"):
        (lakes / f"{name}.txt").write_text(
            "day,lake_level,inflow\n2001-01-01,1.0,3.0\n2001-01-02,1.1,0.0\n2001-01-03,1.0,1.0\n"
        )
    made = module("lakes_layout", code("layout", 0), tmp_path, monkeypatch)
    assert made.recognises(lakes) and not made.recognises(tmp_path)
    sites = pdg.open_sites(lakes, layout="lakes_layout:open_source")
    assert sites["lake_level"].dims == ("site", "time") and sites.sizes == {"site": 2, "time": 3}
    assert list(sites["area"].values) == [2.5, 7.0] and sites["inflow"].attrs["units"] == "mm d-1"
    assert pdg.Windows(sites).observed == ("lake_level",)


def test_a_solver() -> None:
    names: dict[str, Any] = {}
    exec(code("solver", 0), names)
    tableau = names["TABLEAU"]
    b, c = tableau.b, tableau.c
    assert sum(b) == pytest.approx(1)
    assert sum(x * y for x, y in zip(b, c, strict=True)) == pytest.approx(0.5)
    assert sum(tableau.b_hat) == pytest.approx(1)


def test_every_page_is_in_the_navigation_and_in_the_table() -> None:
    root = Path(__file__).parents[1]
    pages = {path.name for path in (root / PAGES).glob("*.md")} - {"index.md"}
    table = (root / PAGES / "index.md").read_text()
    site = (root / "mkdocs.yml").read_text()
    contributing = (root / "CONTRIBUTING.md").read_text()
    for page in pages:
        assert f"({page})" in table and f"how_to_add/{page}" in site
        assert f"{PAGES}/{page}" in contributing
    assert not re.findall(r"how_to_add/(?!index)(\w+\.md)", site)[len(pages) :]
