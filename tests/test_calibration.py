"""SCE-UA finds the minimum of a function that has others, and the parameters that made the discharge of a basin."""

from __future__ import annotations

import basin_runs
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pydiffgeo.calibration import sce_ua
from pydiffgeo.errors import DataError, SettingsError
from pydiffgeo.parameters import Bounds
from pydiffgeo.training.basins import models
from pydiffgeo.training.basins.experiment import calibrate, evaluate

pytest.importorskip("spotpy", reason="spotpy is not installed: pip install 'pydiffgeo[calibrate]'")
BOUNDS = {"x": Bounds(-2.0, 2.0), "k": Bounds(1e-3, 1e1, "log")}


def wavy(p: dict[str, float]) -> float:
    away = p["x"] - 0.7
    return away**2 + 0.3 * np.sin(6 * away) ** 2 + (np.log10(p["k"]) + 1.0) ** 2


def test_the_global_minimum_is_found_and_evaluations_are_counted(capsys):
    calls = []
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    found = sce_ua(lambda p: calls.append(1) or wavy(p), BOUNDS, 600, complexes=3, seed=1)
    assert np.random.rand() == expected  # the global random state is put back
    assert found.parameters == pytest.approx({"x": 0.7, "k": 0.1}, rel=0.02) and found.loss < 1e-3
    assert found.evaluations == len(calls) == len(found.history) <= 700
    assert found.loss == found.history.min() == wavy(found.parameters)
    assert capsys.readouterr().out == ""
    again = sce_ua(wavy, BOUNDS, 600, complexes=3, seed=1)
    assert np.array_equal(again.history, found.history)


def test_each_parameter_is_made_once_not_in_every_run(monkeypatch):
    from spotpy import parameter

    made, make = [], parameter.Base.__init__
    monkeypatch.setattr(
        parameter.Base, "__init__", lambda self, *a, **k: made.append(a[2]) or make(self, *a, **k)
    )
    assert sce_ua(wavy, BOUNDS, 100, complexes=2).evaluations > 20
    assert made == ["x", "k"]  # each takes milliseconds, as long as a year of a model


def test_runs_that_fail_are_avoided_and_too_few_evaluations_refused():
    found = sce_ua(lambda p: wavy(p) if p["x"] > 0 else float("nan"), BOUNDS, 500, complexes=3)
    assert found.parameters["x"] == pytest.approx(0.7, abs=0.05)
    with pytest.raises(
        DataError, match="20 evaluations are fewer than the 25 .* 5 complexes of 5 points"
    ):
        sce_ua(wavy, BOUNDS, 20, complexes=5)
    with pytest.raises(DataError, match="none of .* runs gave a loss"):
        sce_ua(lambda p: float("inf"), BOUNDS, 60, complexes=2)


def test_basins_are_calibrated_judged_and_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "build_process", lambda settings: basin_runs.FastReservoir())
    path = basin_runs.write_data(tmp_path, basins=3, days=300)
    experiment = basin_runs.experiment(
        path, "reservoir", data={"train": {"start": "1999-11-30", "end": "2000-03-31"},
                                 "test": {"start": "2000-04-01", "end": "2000-07-26"}},
    )  # fmt: skip
    folder = calibrate(experiment, tmp_path / "runs", "run", 90, basins=2, progress=False)
    table = pd.read_csv(folder / "calibration.csv")
    assert len(table) == 2 and (table.evaluations >= 20).all() and (table.failed == 0).all()
    assert (
        (table.nse > 0.95).all()
        and table.k.between(0.08, 0.4).all()
        and table.loss.between(0.1, 0.3).all()
    )
    before = (folder / "calibration.csv").read_bytes()
    calibrate(experiment, tmp_path / "runs", "run", 90, basins=2, resume=True, progress=False)
    assert (folder / "calibration.csv").read_bytes() == before
    with pytest.raises(SettingsError, match="--evaluations is 91, those that are done had 90"):
        calibrate(experiment, tmp_path / "runs", "run", 91, basins=2, resume=True, progress=False)
    kept = {path: path.read_bytes() for path in folder.glob("*.*")}
    xr.load_dataset(path).assign(discharge=lambda r: 3 * r.discharge).to_netcdf(path)
    with pytest.raises(
        SettingsError, match="cannot resume: the records are not those of the run.*target_mean"
    ):
        calibrate(experiment, tmp_path / "runs", "run", 90, basins=2, resume=True, progress=False)
    assert kept == {path: path.read_bytes() for path in kept}
    xr.load_dataset(path).assign(discharge=lambda r: r.discharge / 3).to_netcdf(path)
    rows = evaluate([folder], progress=False, figures=False)[str(folder)]
    assert next(row["median"] for row in rows if row["measure"] == "nse") > 0.9
    with pytest.raises(SettingsError, match="no run 'rum'; did you mean 'run'"):
        calibrate(experiment, tmp_path, "rum", 60)
    with pytest.raises(SettingsError, match="a pure LSTM has no parameters"):
        calibrate(basin_runs.experiment(path), tmp_path, "run", 60)
