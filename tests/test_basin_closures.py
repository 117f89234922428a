"""Networks in the equations of models that are trained on basins: settings, training, what a judged run says of them."""

from __future__ import annotations

import shutil
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
import yaml
from pydantic import ValidationError

from pydiffgeo.errors import PyDiffGeoError, SettingsError
from pydiffgeo.evaluation.plots import matplotlib_missing
from pydiffgeo.training.basins import trainer
from pydiffgeo.training.basins.calibrate import calibrate_run
from pydiffgeo.training.basins.data import load_basins, make_sampler
from pydiffgeo.training.basins.experiment import (
    evaluate,
    load_experiment,
    load_run,
    train,
    train_run,
)
from pydiffgeo.training.basins.functions import learned_functions
from pydiffgeo.training.basins.models import build_model, process_of
from pydiffgeo.training.basins.settings import BasinExperiment
from pydiffgeo.training.basins.trainer import CHECKPOINT, BasinTrainer
from pydiffgeo.training.checkpoint import load_checkpoint
from pydiffgeo.training.distributed import Group
from pydiffgeo.training.run_folder import run_folder

ROOT = Path(__file__).parents[1]
RISING = {"hidden": [6], "monotone_in": [0]}
RANDOM = {"initial": "random"}


def experiment(
    path: Path, closures: dict[str, Any], name: str = "hbv", **changes: Any
) -> BasinExperiment:
    process = {
        "engine": "torch",
        "components": 2,
        "closures": closures,
        **changes.pop("process", {}),
    }
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
    both = {
        name: experiment(basins, {"recharge": given}).runs["run"] for name, given in runs.items()
    }
    train(experiment(basins, {}).model_copy(update={"runs": both}), out, progress=False)
    evaluate([out], progress=False)
    return out


@pytest.mark.parametrize(
    ("closures", "changes", "words"),
    [
        (
            {"recharg": {}},
            {},
            "unknown slot in model.process.closures of hbv 'recharg'; did you mean 'recharge'",
        ),
        (
            {"recharge": {"output_range": [0.0, 1.5]}},
            {},
            r"closures\.recharge\.output_range .*from 0 to 1; stay within",
        ),
        (
            {"recharge": {"output_range": [0.5, 0.5]}},
            {},
            r"closures\.recharge: output_range=.*then a higher one",
        ),
        (
            {"recharge": {"monotone_in": [1]}},
            {},
            r"closures\.recharge: monotone_in=\(1,\): .*numbers 0 to 0",
        ),
        (
            {"recharge": {**RISING, "activation": "swish"}},
            {},
            "closures.recharge: monotone_in needs an activation that rises",
        ),
        ({"recharge": {}}, {"name": "lstm"}, "process.closures: a pure LSTM has no equations"),
        (
            {"recharge": {}},
            {"process": {"solver": "explicit_loop"}},
            "process.closures: the explicit loop has formulas alone",
        ),
        (
            {"recharge": {}},
            {"process": {"bounds": {"BETA": [1.0, 3.0]}}},
            r"process.bounds: 'BETA' .*closures\.recharge replaces",
        ),
        (
            {"recharge": {}},
            {"network": {"kind": "series", "varying": ["BETA"]}},
            r"network.varying: 'BETA' .*residual: true",
        ),
        (
            {"recharge": {"residual": True, "initial": "random"}},
            {},
            "begins as its formula; leave `initial: random` out",
        ),
        ({"recharge": {"hidden": [0]}}, {}, r"closures.recharge.hidden.0"),
    ],
)
def test_what_is_refused_before_data_are_read(
    closures: dict[str, Any], changes: dict[str, Any], words: str, tmp_path: Path
):
    with pytest.raises((PyDiffGeoError, ValidationError), match=words):
        train(experiment(Path("nowhere.nc"), closures, **changes), tmp_path)
    assert not list(tmp_path.iterdir())


def test_sce_ua_finds_no_weights(basins: Path, tmp_path: Path):
    with pytest.raises(SettingsError, match="model.process.closures: SCE-UA finds no weights"):
        calibrate_run(experiment(basins, {"recharge": {}}).run("run"), tmp_path, 10)


def built(path: Path, given: dict[str, Any]) -> BasinTrainer:
    run = experiment(path, {"recharge": given}).run("run")
    process = process_of(run)
    assert process is not None
    data = load_basins(run, tuple(process.forcing.values()))
    return BasinTrainer(
        build_model(run, data.tensors, data.scaling, process), *make_sampler(run, data.tensors), run
    )


def test_weights_are_trained_with_those_of_the_network_in_their_own_precision(basins: Path):
    one = built(basins, RISING)
    weights = dict(one.model.named_parameters())
    closure = weights.pop("closures.recharge.weights")
    assert closure.dtype == torch.float64 and {w.dtype for w in weights.values()} == {torch.float32}
    before = [w.detach().clone() for w in (closure, *weights.values())]
    one.run(progress=False)
    assert all((w != b).any() for w, b in zip((closure, *weights.values()), before, strict=True))


def test_parameters_of_a_formula_that_is_replaced_are_not_learned(basins: Path):
    assert "BETA" not in built(basins, RISING).model.learned.bounds
    assert "BETA" in built(basins, {**RISING, "residual": True}).model.learned.bounds


def test_the_example_fills_one_slot_of_the_same_model():
    settings = load_experiment(ROOT / "examples" / "learned_recharge.yaml")
    processes = {name: process_of(settings.run(name)) for name in settings.runs}
    assert list(processes) == ["law", "learned"]
    learned = {
        name: set(process.bounds) for name, process in processes.items() if process is not None
    }
    assert learned["law"] == learned["learned"] | {"BETA"}
    camels = load_experiment(ROOT / "examples" / "camels_dpl.yaml")
    assert (
        settings.runs["law"].model == camels.runs["hbv_static"].model
        and settings.data == camels.data
    )


def test_it_begins_as_the_formula_or_at_random(basins: Path, tmp_path: Path):
    x, away = torch.linspace(0, 1, 30, dtype=torch.float64), dict[str, float]()
    for initial in ("formula", "random"):
        run = experiment(
            basins, {"recharge": {**RISING, "initial": initial}}, training={"learning_rate": 1e-9}
        ).run("run")
        closure = train_run(run, tmp_path / initial, progress=False).model.closures["recharge"]
        away[initial] = float((closure(x) - x**2).detach().abs().max())
    assert away["formula"] < 0.03 < 0.2 < away["random"]


def test_a_resumed_run_has_the_same_weights(basins: Path, tmp_path: Path):
    run = experiment(
        basins, {"recharge": RISING | RANDOM, "percolation": {"hidden": [4]} | RANDOM}
    ).run("run")
    straight = train_run(run, tmp_path / "straight", progress=False)

    class Stopped(Exception):
        pass

    save = trainer.save_checkpoint

    def stop(path: Path, state: dict[str, Any]) -> None:
        save(path, state)
        raise Stopped

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(trainer, "save_checkpoint", stop)
        train_run(run, tmp_path / "cut", progress=False)
    assert load_checkpoint(tmp_path / "cut" / CHECKPOINT)["sampler"]["step"] == 3  # type: ignore[index]
    resumed = train_run(run, tmp_path / "cut", resume=True, progress=False)
    other = experiment(basins, {"recharge": RISING | RANDOM}).run("run")
    with pytest.raises(
        SettingsError,
        match=r"'model.process.closures.percolation.* is None, the run in the folder has",
    ):
        train_run(other, tmp_path / "cut", resume=True, progress=False)
    a, b = straight.model.state_dict(), resumed.model.state_dict()
    assert list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_another_process_simulates_the_same(folder: Path, tmp_path: Path):
    there = Path(shutil.copytree(folder / "learned", tmp_path / "learned"))
    shutil.rmtree(there / "evaluation_test")
    code = f"from pydiffgeo.training.basins.experiment import evaluate; evaluate(['{there}'], figures=False)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    a, b = (run / "evaluation_test" for run in (folder / "learned", there))
    xr.testing.assert_identical(
        *(xr.load_dataset(out / "series.nc").discharge_simulated for out in (a, b))
    )
    for name in ("scores.csv", "closure_recharge.csv", "parameters.csv"):
        assert (a / name).read_bytes() == (b / name).read_bytes()


def test_gradients_of_all_processes_are_added(basins: Path, monkeypatch: pytest.MonkeyPatch):
    one = built(basins, RISING)
    model = one.model
    one._loss(one.sampler.batch(0))[0].backward()
    alone = [w.grad.clone() for w in one.weights if w.grad is not None]
    monkeypatch.setattr(
        dist, "all_reduce", lambda flat: flat.mul_(2.0)
    )  # as if the other process had the same
    assert Group(0, 2).add_gradients(one.weights, 1.0) == 2.0
    assert len(alone) == len(one.weights) and any(
        w is model.closures["recharge"].weights for w in one.weights
    )
    for weight, gradient in zip(one.weights, alone, strict=True):
        assert weight.grad is not None and torch.equal(weight.grad, 2 * gradient)


def test_the_table_is_what_the_saved_closure_gives(folder: Path):
    for name in ("learned", "beside"):
        table = pd.read_csv(
            folder / name / "evaluation_test" / "closure_recharge.csv", float_precision="round_trip"
        )
        closure = load_run(folder / name)[2].closures["recharge"]
        x, formula = (
            torch.from_numpy(table[column].to_numpy().copy()) for column in ("input", "formula")
        )
        with torch.no_grad():
            learned = closure(x, formula=formula) if name == "beside" else closure(x)
        np.testing.assert_array_equal(table.learned, learned.numpy())
        assert (table.learned.diff().dropna() > 0).all()
        if name == "learned":
            assert list(table) == ["input", "learned", "formula"]
            np.testing.assert_allclose(table.formula, table.input**2, atol=1e-9)
        else:
            assert (table.formula_q10 <= table.formula_q50).all() and (
                table.formula_q50 <= table.formula_q90
            ).all()


def test_simulated_days_lie_on_the_function_and_within_its_table(folder: Path):
    for name in ("learned", "beside"):
        _, data, model = load_run(folder / name)
        ((slot, found),) = learned_functions(
            model, data.tensors, "2001-01-01", "2001-06-30", 60
        ).items()
        x, low, high = found.inputs, found.table.input.min(), found.table.input.max()
        assert (
            slot == "recharge" and low <= x.min() < x.max() <= high and (low <= 0) and (high >= 1)
        )
        assert len(np.unique(x)) > 500 and (found.outputs >= 0).all() and (found.outputs <= 1).all()
        if name == "learned":
            np.testing.assert_allclose(
                found.outputs, np.interp(x, found.table.input, found.table.learned), atol=1e-3
            )
        assert list(found.formulas) == [f"formula, BETA = {beta}" for beta in (1, 2, 3, 4, 6)]
        np.testing.assert_allclose(
            found.formulas["formula, BETA = 3"], found.table.input**3, atol=1e-9
        )
    wet = model.process.model.slot_input(
        "recharge", {"soil": torch.tensor(50.0)}, {"FC": torch.tensor(200.0)}
    )
    assert float(wet) == 0.25


@pytest.mark.skipif(matplotlib_missing() is not None, reason=str(matplotlib_missing()))
def test_the_figure_is_in_the_report(folder: Path):
    out = folder / "learned" / "evaluation_test"
    assert (out / "closure_recharge.png").stat().st_size > 5000
    assert "Learned function: recharge" in (out / "report.html").read_text()


def test_a_run_without_closures_goes_on_from_settings_of_before_there_were_any(
    basins: Path, tmp_path: Path
):
    run = experiment(basins, {}).run("run").model_dump(mode="json")
    with run_folder(tmp_path, run):
        pass
    path = tmp_path / "settings.yaml"
    before = yaml.safe_load(path.read_text())
    del before["model"]["process"]["closures"]
    path.write_text(yaml.safe_dump(before))
    with run_folder(tmp_path, run, resume=True):
        assert yaml.safe_load(path.read_text())["model"]["process"]["closures"] == {}
