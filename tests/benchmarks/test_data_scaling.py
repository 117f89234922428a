"""The benchmark of the scaling with data.

Who is compared, where its numbers are from, and what a resumed one does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import site_files
import yaml

from pydiffgeo.data import write_sites
from pydiffgeo.errors import SolveFailed
from pydiffgeo.evaluation import matplotlib_missing
from pydiffgeo.training import CHECKPOINT, save_checkpoint

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import data_scaling  # noqa: E402

pytest.importorskip("spotpy", reason="spotpy is not installed: pip install 'pydiffgeo[calibrate]'")
PARTS = ("trained_2", "trained_4", "hbv_60_sceua")


SPEC = """
name = "reservoir"
title = "Linear reservoir"
time_unit = "d"
[states.water]
unit = "mm"
scale = 10.0
storage = "water"
storage_unit = "mm"
storage_scale = 10.0
[parameters.k]
unit = "d-1"
lower = 1e-2
upper = 1.0
default = 0.1
transform = "log"
[parameters.loss]
unit = "1"
lower = 0.0
upper = 0.9
default = 0.0
[forcings.precipitation]
unit = "mm d-1"
[forcings.temperature]
unit = "degC"
[fluxes.inflow]
unit = "mm d-1"
balance = 1
[fluxes.discharge]
unit = "mm d-1"
balance = -1
"""


# d water / dt = (1 - loss) P - k water: four parameters to calibrate, not fifteen
MODEL = """
from pathlib import Path
import torch
from pydiffgeo import ProcessModel, load_spec

class Reservoir(ProcessModel):
    structure, size = "dense", 1

    def __init__(self):
        self.spec = load_spec(Path(__file__).with_suffix(".toml"))

    def rates(self, state, forcing, parameters):
        return (1 - parameters["loss"]) * forcing["precipitation"] - parameters["k"] * state

    def fluxes(self, state, forcing, parameters):
        inflow = ((1 - parameters["loss"]) * forcing["precipitation"]).expand_as(state)
        return torch.cat([inflow, parameters["k"] * state], -1)
"""


def write_data(folder: Path) -> Path:
    """Eight basins whose recession constant grows with their aridity."""
    records = site_files.records(8, 500)
    k, rain = 0.05 + 0.1 * records.aridity.values, records.precipitation.values
    water, flow = np.zeros(8), np.empty_like(rain)
    for day in range(500):
        water = (water + 0.8 * rain[:, day]) / (1 + k)
        flow[:, day] = k * water
    flow[:, 100:110] = np.nan
    records["discharge"] = ("site", "time"), flow, records.discharge.attrs
    random = np.random.default_rng(1)
    known = {
        name: ("site", random.uniform(size=8), {"units": "1"})
        for name in data_scaling.ATTRIBUTES
        if name not in records
    }
    return write_sites(records.assign(known), folder / "eight.nc")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Trained on 2 and 4 of 8 basins, with 2 held out, and 2 calibrated.

    The folder, its JSON and how to go on.
    """
    folder = tmp_path_factory.mktemp("scaling")
    data = write_data(folder)
    arguments = [
        "--data",
        str(data),
        "--basins",
        "4,2",
        "--held-out",
        "2",
        "--steps",
        "4",
        "--calibrated",
        "2",
        "--evaluations",
        "60",
        "--engine",
        "torch",
        "--output",
        str(folder / "out"),
        "--quiet",
    ]
    with pytest.MonkeyPatch.context() as patch:
        out = folder / "out"
        out.mkdir()
        (out / "scaled_reservoir.py").write_text(MODEL)
        (out / "scaled_reservoir.toml").write_text(SPEC)
        patch.setattr(data_scaling, "MODEL", "scaled_reservoir:Reservoir")
        patch.setattr(data_scaling, "TRAIN", {"start": "1999-12-01", "end": "2000-08-31"})
        patch.setattr(data_scaling, "TEST", {"start": "2000-09-01", "end": "2001-01-31"})
        patch.setattr(
            data_scaling,
            "TRAINING",
            {"batch": 4, "length": 30, "warm_up": 30, "learning_rate": 0.02},
        )
        data_scaling.main(arguments)
        yield (
            folder / "out",
            json.loads((folder / "out" / "data_scaling.json").read_text()),
            arguments,
        )


def scores(folder: Path, part: str) -> pd.DataFrame:
    return pd.read_csv(
        folder / part / "evaluation_test" / "scores.csv", dtype={"site": str}, index_col="site"
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
            for key in ("median", "lower", "upper", "sites"):
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
        settings["hybrid"]["network"]["kind"] == "mlp"
        and settings["hybrid"]["stages"][0]["count"] == 1
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

    def fails(*_, **__):
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
            save_checkpoint(tmp_path / CHECKPOINT, {"sampler": [{"step": step}]})

        monkeypatch.setattr(data_scaling, "train", train)
        return data_scaling.timed_training(settings, tmp_path, resume, False)

    assert [trained(2, 10.0, False), trained(4, 5.0, True)] == [10.0, 15.0]
    save_checkpoint(tmp_path / CHECKPOINT, {"sampler": [{"step": 6}]})  # of a call that was killed
    assert trained(8, 5.0, True) is None and trained(10, 5.0, True) is None
    assert trained(4, 7.0, False) == 7.0  # from the start again
