"""Runs with a distribution: from settings to bands, files and predictions."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from experiment_cases import experiment, write_records

from pydiffgeo.errors import SettingsError
from pydiffgeo.evaluation import open_evaluation
from pydiffgeo.experiment.judge import judge
from pydiffgeo.experiment.prediction import predict
from pydiffgeo.experiment.run import train

CMAL = {"kind": "sequence", "network": {"kind": "lstm", "hidden": 4}, "distribution": "cmal"}


def test_train_evaluate_and_predict_keep_the_distribution(tmp_path) -> None:
    records = write_records(tmp_path, 3)
    given = experiment(tmp_path, records, hybrid={"stages": [CMAL]}, loss={"kind": "nll"})
    [folder] = train(given, tmp_path / "runs", progress=False)
    [found] = judge([folder], progress=False).values()
    assert np.isfinite(found.scores["crps"]).all() and "coverage_95" in found.summary
    out = folder / "evaluation_test"
    kept = xr.load_dataset(out / "series.nc")
    assert kept["discharge_quantile"].dims == ("site", "time", "quantile")
    again = open_evaluation(out)
    assert np.allclose(again.scores["crps"], found.scores["crps"])
    assert "Reliability" in (out / "report.html").read_text()
    assert (out / "reliability_discharge.png").is_file()
    predict(folder, records, tmp_path / "new.nc", start="2001-02-01")
    new = xr.load_dataset(tmp_path / "new.nc")
    assert np.isfinite(new["discharge_quantile"]).all() and len(new["quantile"]) == 23


def test_conformal_intervals_of_the_validation_period(tmp_path) -> None:
    records = write_records(tmp_path, 3)
    days = {
        "train": {"start": "1999-12-01", "end": "2000-09-30"},
        "validation": {"start": "2000-10-01", "end": "2000-12-31"},
    }
    options = {"evaluation": {"conformal": True}}
    given = experiment(tmp_path, records, data=days, **options)
    [folder] = train(given, tmp_path / "runs", progress=False)
    [found] = judge([folder], progress=False, figures=False).values()
    q = found.data["discharge_quantile"]
    half = q.sel(quantile=0.95) - found.data["discharge"]
    assert np.allclose(half, half[:, :1], rtol=1e-5) and (half > 0).all()
    [past] = judge([folder], "validation", progress=False, figures=False).values()
    errors = np.sort(abs(past.data["discharge"] - past.data["discharge_observed"]).values, 1)
    assert np.allclose(half[:, 0], errors[:, 83], rtol=1e-5)  # ceil(93 x 0.9) = 84th of 92
    predict(folder, records, tmp_path / "new.nc", "2001-02-01", "2001-06-30")
    new = xr.load_dataset(tmp_path / "new.nc")
    again = new["discharge_quantile"].sel(quantile=0.95) - new["discharge"]
    assert np.allclose(again, half[:, :1], rtol=1e-4)


def test_conformal_needs_days_of_its_own(tmp_path) -> None:
    given = experiment(tmp_path, write_records(tmp_path, 3), evaluation={"conformal": True})
    with pytest.raises(SettingsError, match="errors of data.validation"):
        train(given, tmp_path / "runs", progress=False)
