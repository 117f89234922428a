"""The benchmark of the scaling with data: who is compared, where its numbers are from, and what a resumed one does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import basin_runs
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from pydiffgeo.data import write_basins
from pydiffgeo.errors import SolveFailed
from pydiffgeo.evaluation import matplotlib_missing
from pydiffgeo.models import MODELS
from pydiffgeo.training.basins.settings import ATTRIBUTES
from pydiffgeo.training.basins.trainer import CHECKPOINT
from pydiffgeo.training.checkpoint import save_checkpoint

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import data_scaling  # noqa: E402

pytest.importorskip("spotpy", reason="spotpy is not installed: pip install 'pydiffgeo[calibrate]'")
PARTS = ("trained_2", "trained_4", "hbv_60_sceua")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Trained on 2 and 4 of 8 basins, with 2 held out, and 2 calibrated: the folder, its JSON and how to go on."""
    folder = tmp_path_factory.mktemp("scaling")
    records = xr.load_dataset(basin_runs.write_data(folder, 8, 500))
    random = np.random.default_rng(1)
    known = {
        name: ("basin", random.uniform(size=8), {"units": "1"})
        for name in ATTRIBUTES
        if name not in records
    }
    data = write_basins(records.assign(known), folder / "eight.nc")
    arguments = ["--data", str(data), "--basins", "4,2", "--held-out", "2", "--steps", "4", "--calibrated", "2",
                 "--evaluations", "60", "--engine", "torch", "--output", str(folder / "out"), "--quiet"]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            MODELS, "hbv", basin_runs.reservoir(folder)
        )  # four parameters to calibrate, not fifteen
        patch.setattr(data_scaling, "TRAIN", {"start": "1999-12-01", "end": "2000-08-31"})
        patch.setattr(data_scaling, "TEST", {"start": "2000-09-01", "end": "2001-01-31"})
        patch.setattr(
            data_scaling,
            "TRAINING",
            {"batch_size": 4, "window": 60, "warm_up": 30, "learning_rate": 0.02},
        )
        data_scaling.main(arguments)
        yield (
            folder / "out",
            json.loads((folder / "out" / "data_scaling.json").read_text()),
            arguments,
        )


def scores(folder: Path, part: str) -> pd.DataFrame:
    return pd.read_csv(
        folder / part / "evaluation_test" / "scores.csv", dtype={"basin": str}, index_col="basin"
    )


def test_the_same_basins_are_compared_and_held_out_ones_are_never_trained_on(done):
    folder, result, _ = done
    tables = {part: scores(folder, part) for part in PARTS}
    trained = {part: set(table.index[table.group == "trained"]) for part, table in tables.items()}
    held = {part: set(table.index[table.group == "held out"]) for part, table in tables.items()}
    assert [len(trained[part]) for part in PARTS] == [2, 4, 2] and trained["trained_2"] < trained[
        "trained_4"
    ]
    common = set(result["common"]["2"])
    assert (
        list(result["common"]) == ["2"]
        and common == trained["trained_2"] == trained["hbv_60_sceua"]
    )
    assert (
        held["trained_2"] == held["trained_4"]
        and len(held["trained_2"]) == 2
        and not held["hbv_60_sceua"]
    )
    assert not held["trained_2"] & set.union(*trained.values())
    assert all(set(part["nse"]) >= {"trained", "common 2"} for part in result["parts"].values())
    assert matplotlib_missing() or (folder / "data_scaling.png").stat().st_size > 10_000


def test_the_numbers_are_those_of_the_run_folders(done):
    folder, result, _ = done
    assert tuple(result["parts"]) == PARTS and result["missing"] == {}
    for name, part in result["parts"].items():
        medians = pd.read_csv(folder / name / "evaluation_test" / "medians.csv").set_index(
            ["measure", "group"]
        )
        for group in set(part["nse"]) - {"common 2"}:
            for key in ("median", "lower", "upper", "basins"):
                assert part["nse"][group][key] == pytest.approx(
                    medians.loc["nse", group][key], rel=1e-5
                )
        both = scores(folder, name).nse[result["common"]["2"]]
        assert part["nse"]["common 2"]["median"] == pytest.approx(both.median(), rel=1e-5)
        assert part["cpu_seconds_per_basin"] == part["cpu_seconds"] / part["basins"] > 0
    search = pd.read_csv(folder / "hbv_60_sceua" / "calibration.csv")
    assert result["parts"]["hbv_60_sceua"]["cpu_seconds"] == pytest.approx(search.cpu_seconds.sum())
    assert (
        result["parts"]["hbv_60_sceua"]["evaluations_per_basin"] == search.evaluations.mean() >= 60
    )
    assert result["sce_ua_extrapolated"] == {"4": pytest.approx(2 * search.cpu_seconds.sum())}
    assert (search.nse > 0).all() and (search.failed == 0).all()
    settings = yaml.safe_load((folder / "trained_4" / "settings.yaml").read_text())
    assert settings["training"]["epochs"] * settings["training"]["steps_per_epoch"] == 4
    assert (
        settings["model"]["network"]["kind"] == "attributes"
        and settings["model"]["process"]["components"] == 1
    )


def test_a_resumed_call_trains_nothing_again_and_a_part_that_fails_is_left_out(
    done, monkeypatch, capsys
):
    folder, result, arguments = done
    checkpoints = [folder / part / CHECKPOINT for part in PARTS]
    before = [path.stat().st_mtime_ns for path in checkpoints]
    assert data_scaling.main([*arguments, "--resume"]) == 0
    assert [path.stat().st_mtime_ns for path in checkpoints] == before
    assert json.loads((folder / "data_scaling.json").read_text()) == result

    def fails(*_):
        raise SolveFailed("no solution", {0: "why"})

    monkeypatch.setattr(data_scaling, "calibrate", fails)
    assert data_scaling.main([*arguments, "--resume"]) == 1
    left = json.loads((folder / "data_scaling.json").read_text())
    assert (
        left["parts"] == {part: result["parts"][part] for part in PARTS[:2]}
        and left["sce_ua_extrapolated"] == {}
    )
    assert left["missing"] == {"hbv_60_sceua": "no solution"}
    assert "hbv_60_sceua: left out, no solution" in capsys.readouterr().out


def test_seconds_of_several_calls_add_up_and_those_of_a_killed_one_are_unknown(
    done, tmp_path, monkeypatch
):
    asked, _ = data_scaling.prepare([*done[2], "--output", str(tmp_path)])
    settings = data_scaling.experiment(asked, "trained_2", 2, 1, 4)
    now = [0.0]
    monkeypatch.setattr(data_scaling.time, "process_time", lambda: now[0])

    def trained(step, seconds, resume):
        def train(*_, **__):
            now[0] += seconds
            save_checkpoint(tmp_path / CHECKPOINT, {"sampler": {"step": step}})

        monkeypatch.setattr(data_scaling, "train", train)
        return data_scaling.timed_training(settings, tmp_path, resume, False)

    assert [trained(2, 10.0, False), trained(4, 5.0, True)] == [10.0, 15.0]
    save_checkpoint(tmp_path / CHECKPOINT, {"sampler": {"step": 6}})  # of a call that was killed
    assert trained(8, 5.0, True) is None and trained(10, 5.0, True) is None
    assert trained(4, 7.0, False) == 7.0  # from the start again
