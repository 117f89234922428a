"""Trained runs from their folders.

Judged, loaded in Python, and used for other sites, years and scenarios.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import experiment_cases as cases
import numpy as np
import pytest
import torch
import xarray as xr
import yaml
from stream_cases import stream

from pydiffgeo.data import write_sites
from pydiffgeo.errors import DataError, SettingsError
from pydiffgeo.experiment.judge import judge
from pydiffgeo.experiment.run import train
from pydiffgeo.experiment.schema import load_experiment


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> Path:
    return cases.write_records(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(records, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    made = cases.experiment(
        out,
        records,
        runs={"process": {"hybrid": cases.PROCESS}, "lstm": {}},
        data={"sites": ["b0000", "b0001", "b0002"]},
    )
    train(made, out, progress=False)
    return out


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return shutil.copytree(trained, tmp_path / "out") / "process"


def test_settings_that_changed_since_the_training_are_said(run, caplog):
    settings = yaml.safe_load((run / "settings.yaml").read_text())
    settings["data"]["test"]["end"] = "2001-05-31"
    settings["evaluation"]["batch"] = 2  # changes no number
    (run / "settings.yaml").write_text(yaml.safe_dump(settings))
    judge([run], progress=False, figures=False)
    said = [r.message for r in caplog.records if "was changed" in r.message]
    changed = "data.test.end is '2001-05-31', the run was trained with '2001-06-30'"
    assert said == [
        f"{run}/settings.yaml was changed since the training: {changed}. What stands there now is "
        "taken."
    ]
    assert changed.replace("'", "&#x27;") in (run / "evaluation_test" / "report.html").read_text()


def test_settings_that_were_not_known_at_the_training_are_no_change(run, caplog):
    """A run of an earlier version: its settings lack the keys that have come since."""
    (checkpoint,) = run.glob("**/last.pt")
    saved = torch.load(checkpoint, weights_only=False)
    kept = yaml.safe_load((run / "settings.yaml").read_text())
    for settings in (saved["settings"], kept):
        del settings["hybrid"]["stages"][0]["only"], settings["evaluation"]["conformal"]
    torch.save(saved, checkpoint)
    (run / "settings.yaml").write_text(yaml.safe_dump(kept))
    judge([run], progress=False, figures=False)
    assert not [r.message for r in caplog.records if "was changed" in r.message]


def test_other_records_than_those_of_the_training_are_said(run, records, tmp_path, caplog):
    settings = yaml.safe_load((run / "settings.yaml").read_text())
    sites = xr.load_dataset(records)
    sites.assign(aridity=2 * sites.aridity).to_netcdf(tmp_path / "other.nc")
    settings["data"]["path"] = str(tmp_path / "other.nc")
    (run / "settings.yaml").write_text(yaml.safe_dump(settings))
    judge([run], progress=False, figures=False)
    said = [r.message for r in caplog.records]
    assert any("data.path is" in text for text in said)
    assert any(
        f"not those that {run} was trained on: " in text and "mean is" in text for text in said
    )


def test_what_is_no_run_or_period_is_said(run, tmp_path):
    with pytest.raises(DataError, match="no trained run in"):
        judge([tmp_path / "empty"])
    with pytest.raises(SettingsError, match=r"no period 'tset'; did you mean 'test'"):
        judge([run], "tset")
    with pytest.raises(SettingsError, match="Give data.validation a start and an end"):
        judge([run], "validation")
    (run / "checkpoints" / "last.pt").unlink()
    with pytest.raises(DataError, match="has no checkpoint"):
        judge([run])


def test_the_past_that_members_do_not_see_makes_no_other_records(records, tmp_path, caplog):
    """Members derive a memory from the days of training alone; the records begin before these."""
    memory = {"memory": {"series": {"tair_max": [30]}}}
    made = cases.experiment(
        tmp_path,
        records,
        data={"derive": cases.SETTINGS["data"]["derive"] | memory, "forcing": ["tair_max_30d"]},
        training={"seeds": [0], "epochs": 1},
        runs={"lstm": {}},
    )
    train(made, tmp_path, progress=False)
    judge([tmp_path / "lstm"], progress=False, figures=False)
    assert "records are not those" not in caplog.text


def test_series_observed_besides_are_no_other_records(records, tmp_path, caplog):
    """As the soil temperature beside the moisture that columns are trained on."""
    sites = xr.load_dataset(records)
    more = sites.discharge.copy().assign_attrs(units="degC", role="observed")
    sites.assign(water_temperature=more).to_netcdf(tmp_path / "more.nc")
    whole = {"length": None, "batch": None, "steps_per_epoch": None, "seeds": [0], "epochs": 1}
    held = {"validation": {"start": "2000-11-01", "end": "2000-12-31"}}
    made = cases.experiment(tmp_path, tmp_path / "more.nc", data=held, training=whole)
    [folder] = train(made, tmp_path / "out", progress=False)
    judge([folder], progress=False, figures=False)
    assert "records are not those" not in caplog.text


def test_a_run_beside_a_river_is_judged_by_the_records_it_was_trained_on(tmp_path, caplog):
    """It routes nothing; one gauge has no observation in the test period, as in the training."""
    sites = stream(40)
    seen = np.full(sites.discharge.shape, np.nan)
    seen[[2, 4]] = np.random.default_rng(0).uniform(5, 15, (2, 40))
    seen[2, 30:] = np.nan
    observed = {"units": "degC", "role": "observed"}
    sites = sites.drop_vars("lateral_inflow").assign(
        water_temperature=(("site", "time"), seen, observed)
    )
    routing = {
        "kind": "downstream",
        "process": {
            "kind": "process",
            "model": "muskingum_cunge",
            "engine": "torch",
            "learn": [],
            "given": {"length": "length", "slope": "slope", "n": 0.05, "width": 10.0},
        },
    }
    line = {
        "kind": "sequence",
        "network": {"kind": "step_mlp", "hidden": [], "reads": ["tair_mean"]},
        "gives": ["water_temperature"],
    }
    settings = {
        "data": {
            "path": str(write_sites(sites, tmp_path / "stream.nc")),
            "forcing": ["tair_mean"],
            "observed": ["water_temperature"],
            "derive": {"own_inflow": {}},
            "train": {"start": "2001-06-01", "end": "2001-06-30"},
            "test": {"start": "2001-07-01", "end": "2001-07-10"},
        },
        "hybrid": {"network": None, "stages": [line]},
        "loss": {"kind": "mse", "observed": "water_temperature"},
        "training": {"epochs": 1, "steps_per_epoch": 1, "length": None, "warm_up": 2},
        "runs": {"line": {}, "routed": {"hybrid": {"stages": [routing, line]}}},
    }
    path = tmp_path / "beside.yaml"
    path.write_text(yaml.safe_dump(settings))
    train(load_experiment(path), tmp_path / "runs", progress=False)
    caplog.clear()
    judged = judge([tmp_path / "runs"], progress=False, figures=False)
    assert not [r.message for r in caplog.records if "trained on" in r.message]
    scored = [np.isfinite(one.scores["rmse"]).values.ravel() for one in judged.values()]
    assert [row.sum() for row in scored] == [1, 1]  # the same gauge in both
