"""Posteriors from settings: what the command writes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from experiment_cases import PROCESS, experiment, write_records

from pydiffgeo.errors import OutputError
from pydiffgeo.experiment.sampled import sample_run


def test_a_posterior_of_each_site(tmp_path) -> None:
    learn = {"model": "exp_hydro", "engine": "torch", "learn": ["f", "S_max"]}
    hybrid = {**PROCESS, "stages": [{**PROCESS["stages"][0], **learn}, {"kind": "error_model"}]}
    given = experiment(tmp_path, write_records(tmp_path, 2), hybrid=hybrid)
    options = {"samples": 50, "chains": 1, "progress": False, "figures": False}
    folder = sample_run(given, tmp_path / "runs", "run", **options)
    assert folder.name == "run_laplace"
    data = xr.load_dataset(folder / "posterior.nc")
    assert data["S_max"].sizes == {"chain": 1, "draw": 50, "site": 2}
    assert data["S_max"].units == "mm" and data["discharge_quantile"].sizes["quantile"] == 23
    table = pd.read_csv(folder / "summary.csv")
    assert len(table) == 8 and (table["sd"] > 0).all()  # two of the model, two of the errors
    judged = xr.load_dataset(folder / "evaluation_test" / "scores.nc")
    assert np.isfinite(judged["crps"]).all() and (judged["coverage_95"] > 0.5).all()
    with pytest.raises(OutputError, match="holds a posterior already"):
        sample_run(given, tmp_path / "runs", "run", **options)
    (folder / "evaluation_test" / "old.csv").write_text("of another posterior")
    sample_run(given, tmp_path / "runs", "run", **{**options, "samples": 20}, overwrite=True)
    assert xr.load_dataset(folder / "posterior.nc").sizes["draw"] == 20
    assert not (folder / "evaluation_test" / "old.csv").exists()
