"""Networks in the equations of models that are trained on basins: settings, training, what a judged run says of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import basin_runs
import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
import xarray as xr
from pydantic import ValidationError

from pydiffgeo.errors import PyDiffGeoError, SettingsError
from pydiffgeo.evaluation.plots import matplotlib_missing
from pydiffgeo.training.basins.calibrate import calibrate_run
from pydiffgeo.training.basins.data import load_basins, make_sampler
from pydiffgeo.training.basins.experiment import evaluate, load_run, train, train_run
from pydiffgeo.training.basins.models import build_model, process_of
from pydiffgeo.training.basins.settings import BasinExperiment
from pydiffgeo.training.basins.trainer import CHECKPOINT, BasinTrainer
from pydiffgeo.training.checkpoint import load_checkpoint
from pydiffgeo.training.distributed import Group

RISING = {"hidden": [6], "monotone_in": [0]}


def experiment(path: Path, closures: dict[str, Any], name: str = "hbv", **changes: Any) -> BasinExperiment:
    process = {"engine": "torch", "components": 2, "closures": closures, **changes.pop("process", {})}
    model = {"process": process, "network": {"hidden": [8], **changes.pop("network", {})}}
    return basin_runs.experiment(path, name, model=model, **changes)


@pytest.fixture(scope="module")
def basins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return basin_runs.write_data(tmp_path_factory.mktemp("data"), 5)


@pytest.fixture(scope="module")
def folder(basins: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two judged runs: a closure in place of its formula, and one beside it."""
    out = tmp_path_factory.mktemp("runs")
    runs = {"learned": RISING, "beside": {**RISING, "residual": True}}
    both = {name: experiment(basins, {"recharge": given}).runs["run"] for name, given in runs.items()}
    train(experiment(basins, {}).model_copy(update={"runs": both}), out, progress=False)
    evaluate([out], progress=False)
    return out


@pytest.mark.parametrize(
    ("closures", "changes", "words"),
    [
        ({"recharg": {}}, {}, "unknown slot in model.process.closures of hbv 'recharg'; did you mean 'recharge'"),
        ({"recharge": {"output_range": [0.0, 1.5]}}, {}, r"closures\.recharge\.output_range .*from 0 to 1; stay within"),
        ({"recharge": {"output_range": [0.5, 0.5]}}, {}, r"closures\.recharge: output_range=.*then a higher one"),
        ({"recharge": {"monotone_in": [1]}}, {}, r"closures\.recharge: monotone_in=\(1,\): .*numbers 0 to 0"),
        ({"recharge": {**RISING, "activation": "swish"}}, {}, "closures.recharge: monotone_in needs an activation that rises"),
        ({"recharge": {}}, {"name": "lstm"}, "process.closures: a pure LSTM has no equations"),
        ({"recharge": {}}, {"process": {"solver": "explicit_loop"}}, "process.closures: the explicit loop has formulas alone"),
        (
            {"recharge": {}},
            {"process": {"bounds": {"BETA": [1.0, 3.0]}}},
            r"process.bounds: 'BETA' .*closures\.recharge replaces",
        ),
        ({"recharge": {}}, {"network": {"kind": "series", "varying": ["BETA"]}}, r"network.varying: 'BETA' .*residual: true"),
        ({"recharge": {"residual": True, "initial": "random"}}, {}, "begins as its formula; leave `initial: random` out"),
        ({"recharge": {"hidden": [0]}}, {}, r"closures.recharge.hidden.0"),
    ],
)
def test_what_is_refused_before_data_are_read(closures: dict[str, Any], changes: dict[str, Any], words: str, tmp_path: Path):
    with pytest.raises((PyDiffGeoError, ValidationError), match=words):
        train(experiment(Path("nowhere.nc"), closures, **changes), tmp_path)
    assert not list(tmp_path.iterdir())


def test_sce_ua_finds_no_weights(basins: Path, tmp_path: Path):
    with pytest.raises(SettingsError, match="model.process.closures: SCE-UA finds no weights"):
        calibrate_run(experiment(basins, {"recharge": {}}).run("run"), tmp_path, 10)


def test_weights_are_trained_with_those_of_the_network_in_their_own_precision(basins: Path, folder: Path):
    run = experiment(basins, {"recharge": RISING}).run("run")
    data = load_basins(run, tuple(process_of(run).forcing.values()))  # type: ignore[union-attr]
    model = build_model(run, data.tensors, data.scaling, process_of(run))
    weights = dict(model.named_parameters())
    assert weights.pop("closures.recharge.weights").dtype == torch.float64
    assert {w.dtype for w in weights.values()} == {torch.float32}
    assert "BETA" not in model.learned.bounds and "BETA" in build_model(
        experiment(basins, {"recharge": {**RISING, "residual": True}}).run("run"), data.tensors, data.scaling,
        process_of(experiment(basins, {"recharge": {**RISING, "residual": True}}).run("run")),
    ).learned.bounds  # fmt: skip
    first = model.closures["recharge"].weights.detach().clone()
    BasinTrainer(model, *make_sampler(run, data.tensors), run).run(progress=False)
    assert (model.closures["recharge"].weights != first).all()


def test_it_begins_as_the_formula_or_at_random(basins: Path, tmp_path: Path):
    x, away = torch.linspace(0, 1, 30, dtype=torch.float64), {}
    for initial in ("formula", "random"):
        run = experiment(basins, {"recharge": {**RISING, "initial": initial}}, training={"learning_rate": 1e-9}).run("run")
        closure = train_run(run, tmp_path / initial, progress=False).model.closures["recharge"]
        away[initial] = float((closure(x) - x**2).abs().max())
    assert away["formula"] < 0.03 < 0.2 < away["random"]


def test_a_resumed_run_has_the_same_weights(basins: Path, tmp_path: Path):
    run = experiment(basins, {"recharge": RISING, "percolation": {"hidden": [4]}}).run("run")
    straight = train_run(run, tmp_path / "straight", progress=False)

    class Stopped(Exception):
        pass

    def stop(self: BasinTrainer) -> None:
        end(self)
        raise Stopped

    end, stopped = (
        BasinTrainer._end_epoch,
        run.model_copy(update={"training": run.training.model_copy(update={"checkpoint_every": 2})}),
    )
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(BasinTrainer, "_end_epoch", stop)
        train_run(stopped, tmp_path / "cut", progress=False)
    assert load_checkpoint(tmp_path / "cut" / CHECKPOINT)["sampler"]["step"] == 2  # type: ignore[index]
    resumed = train_run(stopped, tmp_path / "cut", resume=True, progress=False)
    a, b = straight.model.state_dict(), resumed.model.state_dict()
    assert list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_another_process_simulates_the_same(folder: Path):
    code = (
        f"from pydiffgeo.training.basins.experiment import evaluate; evaluate(['{folder / 'learned'}'], 'train', False, False)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    evaluate([folder / "learned"], "test", progress=False)
    here, there = folder / "here", folder / "learned" / "evaluation_train"
    before = {p.name: p.read_bytes() for p in there.glob("*.csv")}
    series = xr.load_dataset(there / "series.nc").discharge_simulated
    evaluate([folder / "learned"], "train", progress=False, figures=False)
    xr.testing.assert_identical(xr.load_dataset(there / "series.nc").discharge_simulated, series)
    assert "closure_recharge.csv" in before and not here.exists()
    assert {p.name: p.read_bytes() for p in there.glob("*.csv")} == before


def test_gradients_of_all_processes_are_added(basins: Path, monkeypatch: pytest.MonkeyPatch):
    run = experiment(basins, {"recharge": RISING}).run("run")
    data = load_basins(run, tuple(process_of(run).forcing.values()))  # type: ignore[union-attr]
    model = build_model(run, data.tensors, data.scaling, process_of(run))
    trainer = BasinTrainer(model, *make_sampler(run, data.tensors), run)
    trainer._loss(trainer.sampler.batch(0))[0].backward()
    alone = [w.grad.clone() for w in trainer.weights if w.grad is not None]
    monkeypatch.setattr(dist, "all_reduce", lambda flat: flat.mul_(2.0))  # as if the other process had the same
    assert Group(0, 2).add_gradients(trainer.weights, 1.0) == 2.0
    assert len(alone) == len(trainer.weights) and any(w is model.closures["recharge"].weights for w in trainer.weights)
    for weight, gradient in zip(trainer.weights, alone, strict=True):
        assert weight.grad is not None and torch.equal(weight.grad, 2 * gradient)


def test_the_table_is_what_the_saved_closure_gives(folder: Path):
    for name in ("learned", "beside"):
        table = pd.read_csv(folder / name / "evaluation_test" / "closure_recharge.csv", float_precision="round_trip")
        closure = load_run(folder / name)[2].closures["recharge"]
        x, formula = (torch.from_numpy(table[column].to_numpy().copy()) for column in ("input", "formula"))
        with torch.no_grad():
            learned = closure(x, formula=formula) if name == "beside" else closure(x)
        np.testing.assert_array_equal(table.learned, learned.numpy())
        assert (table.learned.diff().dropna() > 0).all()
        if name == "learned":
            assert list(table) == ["input", "learned", "formula"]
            np.testing.assert_allclose(table.formula, table.input**2, atol=1e-9)
        else:
            assert (table.formula_q10 <= table.formula_q50).all() and (table.formula_q50 <= table.formula_q90).all()


@pytest.mark.skipif(matplotlib_missing() is not None, reason=str(matplotlib_missing()))
def test_the_figure_is_in_the_report(folder: Path):
    out = folder / "learned" / "evaluation_test"
    assert (out / "closure_recharge.png").stat().st_size > 5000
    assert "Learned function: recharge" in (out / "report.html").read_text()
