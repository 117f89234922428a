"""Hybrids are loaded from the folders of their trainings."""

from __future__ import annotations

import experiment_cases as cases
import pytest
import torch
import yaml

import pydiffgeo as pdg
from pydiffgeo import losses, stages
from pydiffgeo.errors import DataError, SettingsError
from pydiffgeo.experiment.judge import judge
from pydiffgeo.experiment.run import train
from pydiffgeo.experiment.trained import settings_of
from pydiffgeo.training.checkpoint import CHECKPOINT


def test_a_hybrid_trained_in_python_is_loaded_again(tmp_path):
    records = cases.write_records(tmp_path)
    sites = pdg.open_sites(records, derive={"potential_evapotranspiration": "hamon"})
    hybrid = pdg.Hybrid(
        pdg.MLP(hidden=(4,)),
        stages.Process(pdg.ExpHydro(), pdg.Solver("implicit_euler", step=1.0)),
        stages.UnitHydrograph("discharge"),
    )
    windows = pdg.Windows(
        sites,
        30,
        10,
        4,
        end="2000-12-31",
        forcing=["precipitation"],
        attributes=["area", "aridity"],
    )
    pdg.Trainer(
        hybrid, windows, losses.NSE("discharge"), tmp_path / "mine", epochs=1, steps_per_epoch=2
    ).run(progress=False)
    loaded = pdg.load(tmp_path / "mine")
    batch = windows.reading(hybrid.reads, ["discharge"], hybrid.needs).batch(0)
    with torch.no_grad():
        one, two = (model.eval()(batch)["discharge"] for model in (hybrid, loaded))
    assert torch.equal(one, two)
    with pytest.raises(SettingsError, match="is of another model: it has 2 stages, this hybrid 1"):
        pdg.load(tmp_path / "mine", pdg.Hybrid(pdg.MLP(hidden=(5,)), stages.Process("hbv")))
    settings = tmp_path / "mine" / "settings.yaml"
    settings.write_text("training: {}\n")
    with pytest.raises(DataError, match=r"load\(folder, hybrid=\.\.\.\)"):
        pdg.load(tmp_path / "mine")


OWN = """
from pydiffgeo import ExpHydro, MLP

class Mine(ExpHydro):
    pass

class Net(MLP):
    pass
"""


def test_own_classes_of_a_run_are_found_again_from_anywhere(tmp_path, monkeypatch):
    records = cases.write_records(tmp_path)
    (tmp_path / "own_of_run.py").write_text(OWN)
    stages = [{**cases.PROCESS["stages"][0], "model": "own_of_run:Mine"}]
    hybrid = {"network": {"kind": "own_of_run:Net", "hidden": [4]}, "stages": stages}
    train(cases.experiment(tmp_path, records, hybrid=hybrid), tmp_path / "runs", progress=False)
    monkeypatch.chdir("/")
    loaded = pdg.load(tmp_path / "runs" / "run")
    assert (
        type(loaded.network).__name__ == "Net" and type(loaded.stages[0].model).__name__ == "Mine"
    )
    judged = judge([tmp_path / "runs"], progress=False, figures=False)
    assert next(iter(judged.values())).scores.nse.notnull().all()


def test_a_hybrid_that_was_changed_since_the_training_is_told_of(tmp_path, caplog):
    records = cases.write_records(tmp_path, sites=3, days=660)
    train(cases.experiment(tmp_path, records, hybrid=cases.PROCESS), tmp_path, progress=False)
    pdg.load(tmp_path / "run")
    assert not caplog.messages
    path = tmp_path / "run" / "settings.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["hybrid"]["stages"][0]["bounds"] = {"S_max": [100.0, 200.0]}
    path.write_text(yaml.safe_dump(settings))
    pdg.load(tmp_path / "run")
    assert "was changed since the training: hybrid.stages is" in caplog.text


def test_the_folder_of_an_experiment_names_its_runs(tmp_path) -> None:
    path = tmp_path / "one" / CHECKPOINT
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"Name one of its runs: .*one\."):
        settings_of(tmp_path)
