"""Runs with a distribution: from settings to bands, files and predictions."""

from __future__ import annotations

import numpy as np
import xarray as xr
from experiment_cases import experiment, write_records

from pydiffgeo.evaluation import open_evaluation
from pydiffgeo.experiment.judge import judge, predict
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
