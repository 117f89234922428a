"""What a judged run leaves behind, and the command line around it."""

from __future__ import annotations

import re
from pathlib import Path

import basin_runs
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from typer.testing import CliRunner, Result

from pydiffgeo import cli
from pydiffgeo.evaluation import nse
from pydiffgeo.evaluation.page import Page
from pydiffgeo.evaluation.plots import matplotlib_missing
from pydiffgeo.training.basins import models
from pydiffgeo.training.basins.experiment import evaluate, train
from pydiffgeo.training.basins.report import exemplary
from pydiffgeo.training.basins.settings import BasinExperiment
from pydiffgeo.training.logs import TrainingLog, write_history


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """An LSTM and a hybrid model, trained for a few steps and judged."""
    folder = tmp_path_factory.mktemp("runs")
    path = basin_runs.write_data(folder)
    lstm = basin_runs.experiment(path, data={"held_out": 3})
    hybrid = basin_runs.experiment(
        path, "reservoir", data={"held_out": 3}, model={"process": {"components": 2}}
    )
    both = lstm.model_copy(
        update={"runs": {"lstm": lstm.runs["run"], "hybrid": hybrid.runs["run"]}}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "build_process", lambda settings: basin_runs.FastReservoir())
        train(both, folder / "out", progress=False)
        evaluate([folder / "out"], progress=False)
    return folder / "out"


def test_scores_are_those_of_the_series_written(runs):
    out = runs / "lstm" / "evaluation_test"
    series, scores = (
        xr.open_dataset(out / "series.nc"),
        pd.read_csv(out / "scores.csv", index_col="basin"),
    )
    assert (
        series.sizes == {"basin": 12, "time": 181}
        and str(series.time.values[0])[:10] == "2001-01-01"
    )
    assert series.discharge_simulated.units == "mm day-1"
    for basin in scores.index[::4]:
        one = series.sel(basin=basin)
        assert scores.nse[basin] == pytest.approx(
            nse(one.discharge_simulated, one.discharge_observed), rel=1e-4
        )
    assert xr.open_dataset(out / "scores.nc").nse.dims == ("basin",)
    assert scores.group.value_counts().to_dict() == {"trained": 9, "held out": 3}
    medians = pd.read_csv(out / "medians.csv").set_index(["group", "measure"])
    row = medians.loc[("held out", "kge")]
    assert row["median"] == pytest.approx(scores.kge[scores.group == "held out"].median(), rel=1e-4)
    assert row["lower"] <= row["median"] <= row["upper"] and row["basins"] == 3


@pytest.mark.skipif(matplotlib_missing() is not None, reason=str(matplotlib_missing()))
def test_the_report_holds_its_figures_and_loads_nothing(runs):
    out = runs / "hybrid" / "evaluation_test"
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3  # CDF, hydrographs, map
    assert not re.search(r'(src|href)="(?!data:)', page) and "<script" not in page
    for words in (
        "95 % bootstrap",
        "Best, median and worst basin",
        "Map of k",
        "components: 2",
        "commit",
        "b0003",
    ):
        assert words in page
    for name in ("cdf.png", "hydrographs.png", "map.png"):
        assert (out / name).stat().st_size > 5000
    comparison = (runs / "comparison_test.html").read_text()
    assert comparison.count("data:image/png;base64,") == 1 and "hybrid" in comparison


def test_parameters_and_the_comparison_of_runs_are_tables(runs):
    parameters = pd.read_csv(
        runs / "hybrid" / "evaluation_test" / "parameters.csv", index_col="basin"
    )
    assert (
        list(parameters) == ["k", "loss"]
        and len(parameters) == 12
        and parameters.k.between(0.01, 1).all()
    )
    assert not (runs / "lstm" / "evaluation_test" / "parameters.csv").exists()
    table = pd.read_csv(runs / "comparison_test.csv")
    assert set(table.run + ", " + table.group) == {
        f"{r}, {g}" for r in ("lstm", "hybrid") for g in ("trained", "held out")
    }
    assert np.isfinite(table[["nse", "kge", "fhv", "flv"]]).all().all()


def test_logs_of_the_training_are_there(runs):
    history = pd.read_csv(runs / "lstm" / "history.csv")
    assert list(history.step) == [3, 6] and {
        "loss",
        "seconds",
        "basin_days_per_second",
        "learning_rate",
    } <= set(history)
    pytest.importorskip(
        "tensorboard", reason="tensorboard is not installed: pip install 'pydiffgeo[train]'"
    )
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(runs / "lstm" / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("step/loss")] == [1, 2, 3, 4, 5, 6]
    assert events.Scalars("epoch/loss")[-1].value == pytest.approx(history.loss.iloc[-1], rel=1e-6)


def test_without_tensorboard_a_training_writes_its_table(tmp_path, monkeypatch, caplog):
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    log = TrainingLog(tmp_path)
    log.scalars(1, {"loss": 1.0})
    row = {"epoch": 1, "step": 1, "loss": 1.0}
    log.epoch(row)
    log.close()
    write_history(tmp_path, [row])
    assert [p.name for p in tmp_path.iterdir()] == ["history.csv"]
    assert "no TensorBoard files" in caplog.text and "pydiffgeo[train]" in caplog.text


def test_best_median_and_worst_basin():
    assert exemplary(np.array([0.3, np.nan, 0.9, -2.0])) == {"best": 2, "median": 0, "worst": 3}
    assert exemplary(np.array([np.nan])) == {}


def test_text_of_a_page_cannot_become_markup(tmp_path):
    page = Page("a < b")
    page.table([{"name": "<script>", "value": float("nan")}])
    text = page.write(tmp_path / "p.html").read_text()
    assert "&lt;script&gt;" in text and "<script" not in text and "nan" not in text


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments))


def test_the_commands_train_resume_and_evaluate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = basin_runs.experiment(basin_runs.write_data(tmp_path, 5), training={"threads": 1})
    Path("c.yaml").write_text(
        yaml.safe_dump({"experiment": "basins", **experiment.model_dump(mode="json")})
    )
    first = invoke("train", "c.yaml", "--run", "run")
    assert first.exit_code == 0, first.output
    assert "run: lstm, " in first.stdout and Path("runs/c/run/checkpoints/last.pt").is_file()
    history = pd.read_csv("runs/c/run/history.csv")
    assert (
        f"runs/c/run: trained for 2 epochs, 6 steps; loss of the last epoch {history.loss.iloc[-1]:.4f}"
        in first.stdout
    )
    assert first.stdout.endswith("Next: pydiffgeo evaluate runs/c/run\n")
    again = invoke("train", "c.yaml")
    assert again.exit_code == 1 and re.fullmatch(
        r"error: runs/c/run holds a run already, .*--overwrite.*\.\n", again.stderr
    )
    assert invoke("train", "c.yaml", "--resume", "--quiet").exit_code == 0
    judged = invoke("evaluate", "runs/c/run", "--no-figures")
    assert judged.exit_code == 0 and "nse" in judged.stdout
    assert Path("runs/c/run/evaluation_test/report.html").is_file()
    for arguments, words in (
        (("train", "c.yaml", "--run", "runn"), "no run 'runn'; did you mean 'run'"),
        (("train", "absent.yaml"), "absent.yaml: no such file"),
        (("evaluate", "nowhere"), "no trained run in 'nowhere'"),
        (
            ("evaluate", "runs/c/run", "--period", "validation"),
            "has no period 'validation'. Give data.validation",
        ),
        (("evaluate", "runs/c/run", "--period", "future"), "has no period 'future'"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 1 and words in result.stderr, result.stderr


def test_an_unknown_map_is_answered_with_what_there_is(runs):
    settings = yaml.safe_load((runs / "lstm" / "settings.yaml").read_text())
    settings["evaluation"]["mapped"] = "ndse"
    (runs / "lstm" / "settings.yaml").write_text(yaml.safe_dump(settings))
    try:
        result = invoke("evaluate", str(runs / "lstm"), "--quiet")
        assert matplotlib_missing() or (
            "nothing is called 'ndse'; did you mean 'nse'" in result.stderr
        )
    finally:
        settings["evaluation"]["mapped"] = None
        (runs / "lstm" / "settings.yaml").write_text(yaml.safe_dump(settings))


def test_names_of_runs_are_names_of_folders(tmp_path):
    experiment = basin_runs.experiment(tmp_path).model_dump()
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        BasinExperiment.model_validate(experiment | {"runs": {"../x": {}}})
