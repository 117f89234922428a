"""Training the runs of an experiment.

Nothing is lost or mixed, and what is wrong is said before the first step.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import experiment_cases as cases
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
import yaml

from pydiffgeo.errors import DataError, OutputError, PyDiffGeoError, SettingsError
from pydiffgeo.experiment.judge import judge
from pydiffgeo.experiment.prediction import predict
from pydiffgeo.experiment.run import calibrate, run_experiment, train
from pydiffgeo.training import sce_ua as search
from pydiffgeo.training.checkpoint import CHECKPOINT, load_checkpoint


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> Path:
    return cases.write_records(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(records, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    train(cases.experiment(out, records), out, progress=False)
    judge([out / "run"], progress=False, figures=False)
    return out


@pytest.fixture
def done(trained, tmp_path) -> Path:
    """The folder of a run that was trained and judged."""
    return shutil.copytree(trained, tmp_path / "out") / "run"


def few(done: Path, records: Path | None, **changes: Any):
    return cases.experiment(done.parent, records, **changes)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_a_run_is_overwritten_only_when_asked_and_its_evaluation_goes_with_it(records, done):
    (done / "notes.txt").write_text("mine")
    before = content(done)
    with pytest.raises(
        OutputError,
        match=r"holds a run already, last written on 20.*--resume.*--overwrite.*--output\.",
    ):
        train(few(done, records), done.parent, progress=False)
    with pytest.raises(SettingsError, match="Give one of them"):
        train(few(done, records), done.parent, resume=True, overwrite=True, progress=False)
    with pytest.raises(DataError, match=r"absent\.nc"):  # said before anything is removed
        absent = few(done, done.parent / "absent.nc")
        train(absent, done.parent, overwrite=True, progress=False)
    assert content(done) == before
    train(few(done, records, training={"seed": 1}), done.parent, overwrite=True, progress=False)
    assert not (done / "evaluation_test").exists() and (done / "notes.txt").read_text() == "mine"
    assert yaml.safe_load((done / "settings.yaml").read_text())["training"]["seed"] == 1


def test_a_training_ends_with_its_folder_and_its_best_score(records, tmp_path, capsys):
    def ends(**data: Any) -> str:
        train(cases.experiment(tmp_path, records, data=data), tmp_path / "out", overwrite=True)
        return " ".join(capsys.readouterr().out.split())

    assert "best" not in ends()
    said = ends(
        train={"start": "1999-12-01", "end": "2000-09-30"},
        validation={"start": "2000-10-01", "end": "2000-12-31"},
    )
    assert "out/run: trained for 2 epochs, 4 steps; loss of the last epoch" in said
    assert "; best validation score " in said and "whose weights are kept." in said


def test_all_runs_are_checked_before_the_first_is_trained(records, done):
    both = few(done, records, runs={"new": {}, "run": {}})
    with pytest.raises(OutputError, match="run holds a run already"):
        train(both, done.parent, progress=False)
    assert not (done.parent / "new" / "settings.yaml").exists()
    train(both, done.parent, resume=True, progress=False)  # trains the new one and leaves the other
    assert load_checkpoint(done.parent / "new" / CHECKPOINT) is not None
    with pytest.raises(SettingsError, match="no run 'rnu'; did you mean 'run'"):
        train(both, done.parent, ["rnu"], progress=False)


def test_another_setting_is_no_run_to_go_on_with_but_some_do_not_matter(records, done):
    with pytest.raises(
        SettingsError,
        match=r"setting 'training\.learning_rate' is 0\.1, the run in the folder has 0\.02",
    ):
        train(
            few(done, records, training={"learning_rate": 0.1}),
            done.parent,
            resume=True,
            progress=False,
        )
    free = few(done, records, evaluation={"batch": 2}, data={"memory": 1.0})
    train(free, done.parent, resume=True, progress=False)


def test_a_stopped_run_goes_on_to_the_same_weights(records, tmp_path, monkeypatch, caplog):
    longer = {"training": {"epochs": 3}}
    train(cases.experiment(tmp_path, records, **longer), tmp_path / "whole", progress=False)
    from pydiffgeo.training.trainer import Trainer

    step = Trainer._step

    def stopped(self: Trainer, interrupt: Any) -> bool:
        if self.step == 3:
            raise KeyboardInterrupt
        return step(self, interrupt)

    cut = cases.experiment(tmp_path, records, **longer)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_step", stopped)
        train(cut, tmp_path / "cut", progress=False)
    judge([tmp_path / "cut"], progress=False, figures=False)
    assert "cut/run is not trained to its end: 1 of 3 epochs are done." in caplog.text
    train(cut, tmp_path / "cut", resume=True, progress=False)
    assert (
        "evaluation_test judged other weights than the run has now: judge it again" in caplog.text
    )
    one, two = (
        load_checkpoint(tmp_path / n / "run" / CHECKPOINT)["model"] for n in ("whole", "cut")
    )
    weights = [k for k, v in one.items() if isinstance(v, torch.Tensor)]
    assert weights and all(torch.equal(one[k], two[k]) for k in weights)


def test_sites_that_lack_something_are_left_out_and_said(records, tmp_path, capsys):
    sites = xr.load_dataset(records)
    sites["tair_max"][1, :] = float("nan")
    sites["precipitation"][2, 450:460] = -5.0
    path = tmp_path / "gaps.nc"
    sites.to_netcdf(path)
    with pytest.raises(
        DataError, match=r"(?s)2 of 5 sites cannot be used.*b0001.*b0002.*missing: skip"
    ):
        train(cases.experiment(tmp_path, path), tmp_path, progress=False)
    assert not (tmp_path / "run").exists() or not (tmp_path / "run" / "settings.yaml").exists()
    skipped = {"missing": "skip", "impossible": "missing", "exclude": ["b0004"]}
    train(cases.experiment(tmp_path, path, data=skipped), tmp_path)
    report = pd.read_csv(tmp_path / "run" / "data_report.csv")
    out = report[report.left_out_of == "all"].set_index("site").reason
    assert set(out.index) == {"b0001", "b0004"} and out["b0004"] == "named in data.exclude"
    assert "precipitation" in report[report.site == "b0002"].reason.iloc[0]
    assert "b0001" in capsys.readouterr().out


def test_what_the_stages_of_any_run_read_must_be_there(records, tmp_path):
    runs = {"lstm": {}, "process": {"hybrid": cases.PROCESS}}
    missing = cases.experiment(tmp_path, records, runs=runs)
    for settings in missing.runs.values():
        settings.data.derive.clear()
    with pytest.raises(
        DataError, match=r"no series 'tair_mean', which Process\(exp_hydro\) reads, in the"
    ):
        train(missing, tmp_path, ["lstm"], progress=False)


def test_what_is_wrong_with_a_run_has_its_place_and_hinders_no_other(records, tmp_path):
    wrong = [*cases.PROCESS["stages"], {"kind": "scale", "name": "x", "between": [2.0, 1.0]}]
    runs = {"lstm": {}, "wrong": {"hybrid": {**cases.PROCESS, "stages": wrong}}}
    made = cases.experiment(tmp_path, records, runs=runs)
    with pytest.raises(PyDiffGeoError) as caught:
        train(made, tmp_path, progress=False)
    assert caught.value.setting == ("runs", "wrong", "hybrid", "stages", 1)
    train(made, tmp_path, ["lstm"], progress=False)


def test_a_process_model_is_trained_and_all_runs_are_compared(records, tmp_path):
    runs = {"lstm": {}, "process": {"hybrid": cases.PROCESS}}
    both = cases.experiment(tmp_path, records, runs=runs, data={"sites": 3, "held_out": 1})
    judged = run_experiment(both, tmp_path, progress=False, figures=False)
    assert len(judged) == 2 and (tmp_path / "comparison_test.html").is_file()
    for name in runs:
        scores = pd.read_csv(tmp_path / name / "evaluation_test" / "scores.csv")
        assert len(scores) == 4 and scores.nse.notna().all()
        weights = json.loads((tmp_path / name / "evaluation_test" / "judged.json").read_text())
        assert len(weights["weights"]) == 64


def test_without_records_there_is_a_synthetic_truth(tmp_path):
    made = cases.experiment(
        tmp_path,
        None,
        hybrid=cases.PROCESS,
        data={"attributes": ["area", "aridity"], "synthetic": {"sites": 4}},
    )
    train(made, tmp_path, progress=False)
    sites = xr.load_dataset(tmp_path / "synthetic.nc")
    assert sites.sizes["site"] == 4 and "known parameters" in sites.attrs["source"]
    assert float(sites.discharge.min()) >= 0 and float(sites.discharge.std()) > 0
    before = (tmp_path / "synthetic.nc").read_bytes()
    train(made, tmp_path, resume=True, progress=False)
    assert (tmp_path / "synthetic.nc").read_bytes() == before


def test_a_calibration_has_a_folder_that_evaluate_takes(records, tmp_path, monkeypatch):
    def found(loss, bounds, evaluations, **_: Any):
        middle = {k: float(b.to_physical(torch.zeros(()))) for k, b in bounds.items()}
        return search.Calibration(middle, loss(middle), True, [1.0] * evaluations)

    monkeypatch.setattr(search, "sce_ua", found)
    made = cases.experiment(tmp_path, records, runs={"p": {"hybrid": cases.PROCESS}, "lstm": {}})
    folder = calibrate(made, tmp_path, "p", 100, sites=2, progress=False)
    assert folder.name == "p_sceua" and len(pd.read_csv(folder / "calibration.csv")) == 2
    judged = judge([folder], progress=False, figures=False)
    assert judged[str(folder)].scores.sizes["site"] == 2
    with pytest.raises(SettingsError, match="no parameters to calibrate"):
        calibrate(made, tmp_path, "lstm", 10, progress=False)


def test_names_of_the_evaluation_are_looked_at_before_the_first_step(records, tmp_path):
    for section, told in (
        (
            {"measures": {"discharge": ["nse", "kgee"]}},
            "unknown measure 'kgee'; did you mean 'kge'",
        ),
        ({"measures": {"discharg": ["nse"]}}, "unknown observed series 'discharg'"),
        ({"panels": ["hydrograf"]}, "unknown panel 'hydrograf'; did you mean 'hydrographs'"),
    ):
        wrong = cases.experiment(tmp_path, records, evaluation=section)
        with pytest.raises(SettingsError, match=told) as error:
            train(wrong, tmp_path / "out", progress=False)
        assert error.value.setting[:2] == ("evaluation", next(iter(section)))
        assert not (tmp_path / "out").exists()


def test_a_river_is_trained_judged_and_predicted_whole(tmp_path) -> None:
    experiment = cases.river_experiment(tmp_path, data={"held_out": ["c"]})
    [folder] = train(experiment, tmp_path / "out", progress=False)
    [judged] = judge([folder], progress=False, figures=False).values()
    assert judged.data.site.values.tolist() == list("abcde")
    scores = judged.scores
    assert scores.site.values.tolist() == ["c", "e"]
    assert scores.group.values.tolist() == ["held out", "trained"]
    # no water is lost between the sites: what left e is what flowed in, less what is in the reaches
    path = Path(experiment.runs["run"].data.path)
    found = predict(folder, path, tmp_path / "new.nc").data
    flow = found.total_inflow - found.discharge
    stored = found.volume.diff("time")
    np.testing.assert_allclose(86400 * flow.isel(time=slice(1, None)), stored, atol=1e-6)
    own = xr.load_dataset(path).lateral_inflow.sel(time=found.time)
    above = found.total_inflow - own
    np.testing.assert_allclose(
        above.sel(site="e"), (found.discharge.sel(site=["c", "d"])).sum("site"), rtol=1e-9
    )
