"""Runs on basins of which some cannot be used: all is said before the first step, and the tables say who is missing."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import basin_files
import basin_runs
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

from pydiffgeo import cli
from pydiffgeo.errors import DataError, DataWarning, SettingsError
from pydiffgeo.training.basins.data import load_basins, say_left_out
from pydiffgeo.training.basins.experiment import evaluate, series_needed, train
from pydiffgeo.training.basins.settings import BasinExperiment

PERIODS = {
    "validation": {"start": "2001-01-01", "end": "2001-03-31"},
    "test": {"start": "2001-04-01", "end": "2001-06-30"},
}
TINY = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 4, "window": 40, "warm_up": 10}


@pytest.fixture
def records(tmp_path: Path) -> xr.Dataset:
    with xr.open_dataset(basin_runs.write_data(tmp_path, basins=9)) as opened:
        return opened.load()


def settings(folder: Path, records: xr.Dataset, **data: object) -> BasinExperiment:
    records.to_netcdf(folder / "changed.nc")
    changes = {"attributes": ["area"], "forcing": ["precipitation", "tair_max"], **PERIODS, **data}
    return basin_runs.experiment(
        folder / "changed.nc", data=changes, training=TINY, evaluation={"warm_up": 20}
    )


def day(records: xr.Dataset, date: str) -> int:
    return int(records.indexes["time"].get_loc(date))


def spoil(records: xr.Dataset) -> None:
    records.precipitation[1, day(records, "2001-05-10")] = np.nan  # test
    records.precipitation[2, day(records, "2001-02-10")] = np.nan  # validation
    records.area[3] = np.nan
    records.discharge[4, : day(records, "2001-01-01")] = 1.5  # no variance in training
    records.tair_max[5, day(records, "2000-05-10")] = np.nan  # training
    records.discharge[6, ::5] = -999.0
    records.precipitation[7, 3] = np.nan  # before all periods
    records.discharge[7, 4] = -999.0


def test_bad_records_end_a_training_before_it_begins(records, tmp_path):
    spoil(records)
    with pytest.raises(DataError, match=r"^6 of 9 basins cannot be used as they are:") as error:
        train(settings(tmp_path, records), tmp_path / "runs", progress=False)
    for words in (
        "basin b0001 on 2001-05-10",
        "basin b0002 on 2001-02-10",
        "b0006 on 1999-11-25",
        "'area' of basin b0003",
    ):
        assert words in str(error.value)
    assert "b0007" not in str(error.value) and not list((tmp_path / "runs").rglob("settings.yaml"))


def test_bad_basins_are_left_out_and_the_tables_say_so(records, tmp_path, capsys):
    spoil(records)
    asked = settings(tmp_path, records, missing="skip", impossible="missing", exclude=["b0008"])
    folders = train(asked, tmp_path / "runs")
    said = capsys.readouterr().out
    assert "3 basins are left out:" in said and "b0008: named in data.exclude" in said
    assert "run: 1 basin is left out of the test period:" in said
    assert "precipitation is missing in basin b0001 on 2001-05-10" in said
    assert len(pd.read_csv(folders[0] / "history.csv")) == 1
    table = pd.read_csv(folders[0] / "data_report.csv").set_index("basin")
    expected = {
        "all": ["b0003", "b0004", "b0008"],
        "test": ["b0001"],
        "validation": ["b0002"],
        "nothing": ["b0005", "b0006"],
    }
    assert {use: sorted(part.index) for use, part in table.groupby("left_out_of")} == expected
    evaluate(folders, figures=False)
    assert "1 basin is left out of the test period:" in capsys.readouterr().out
    out = folders[0] / "evaluation_test"
    scores, left = pd.read_csv(out / "scores.csv"), pd.read_csv(out / "left_out.csv")
    assert (
        scores.basin.tolist() == ["b0000", "b0002", "b0005", "b0006", "b0007"]
        and np.isfinite(scores.nse).all()
    )
    assert (scores.rmse < 50).all()  # the flags are not judged
    assert left.basin.tolist() == ["b0008", "b0003", "b0004", "b0001"]
    assert "Basins that were left out" in (out / "report.html").read_text()
    evaluate(folders, "train", progress=False, figures=False)  # the gap of b0005 lies in it
    scores = pd.read_csv(folders[0] / "evaluation_train" / "scores.csv")
    assert scores.basin.tolist() == ["b0000", "b0001", "b0002", "b0006", "b0007"]


def test_all_runs_have_the_same_basins(records, tmp_path):
    records.tair_min[2, day(records, "2001-05-10")] = np.nan  # which the LSTM does not read
    asked = settings(tmp_path, records, missing="skip")
    both = asked.model_copy(
        update={"runs": asked.runs | {"hbv": basin_runs.experiment(tmp_path, "hbv").runs["run"]}}
    )
    assert set(series_needed(both)) == {
        "precipitation",
        "tair_mean",
        "potential_evapotranspiration",
    }
    assert not any(load_basins(asked.run("run")).left_out.values())
    left = load_basins(both.run("run"), also_needed=series_needed(both)).left_out
    assert (
        list(left["test"]) == ["b0002"]
        and "tair_min is missing in basin b0002 on 2001-05-10" in left["test"]["b0002"]
    )
    train(both, tmp_path / "runs", only=["run"], progress=False)
    assert pd.read_csv(tmp_path / "runs" / "run" / "data_report.csv").basin.tolist() == ["b0002"]


def test_basins_that_are_held_out_need_the_test_period_alone(records, tmp_path):
    records.discharge[1] = 2.0
    records.precipitation[1, day(records, "2000-05-10")] = np.nan
    data = load_basins(
        settings(tmp_path, records, held_out=["b0001"], basins=["b0000", "b0002"]).run("run")
    )
    assert data.held_out.basins == ("b0001",) and not any(data.left_out.values())


def test_excluded_basins_are_replaced_where_a_number_is_asked_for(records, tmp_path):
    first = load_basins(settings(tmp_path, records, basins=4).run("run")).tensors.basins
    second = load_basins(
        settings(tmp_path, records, basins=4, exclude=[first[0]]).run("run")
    ).tensors.basins
    assert len(second) == 4 and set(first[1:]) < set(second) and first[0] not in second
    with pytest.raises(
        DataError, match="data.exclude: no basin 'b00009' in the records; did you mean 'b0000'"
    ) as error:
        load_basins(settings(tmp_path, records, exclude=["b00009"]).run("run"))
    assert error.value.setting == ("data", "exclude", 0)


def test_quiet_hides_no_basin_that_is_left_out(caplog):
    say_left_out(
        SimpleNamespace(left_out={"all": {"b0001": "named in data.exclude"}}, remarks=[]),
        "run",
        aloud=False,
    )
    assert (
        "run: 1 basin is left out:" in caplog.text and "b0001: named in data.exclude" in caplog.text
    )


def test_each_remark_on_a_basin_is_counted_and_the_first_are_shown(caplog):
    remarks = [
        ("b0001", "rain is -999: counts as missing."),
        ("b0001", "no sun."),
        ("b0002", "no rain."),
        ("b0003", "no sun."),
    ]
    say_left_out(SimpleNamespace(left_out={}, remarks=remarks), "run", aloud=False)
    shown = [record.getMessage() for record in caplog.records]
    assert shown[0] == "run: remarks on 3 basins:" and shown[1:3] == [
        f"run:   {text}" for _, text in remarks[:2]
    ]
    assert shown[4:] == ["run:   and 1 more, in data_report.csv"]


def test_an_exclusion_that_leaves_too_few_says_so(records, tmp_path):
    with pytest.raises(
        DataError, match="records have 9, of which data.exclude leaves 8. Ask for fewer, or"
    ):
        load_basins(settings(tmp_path, records, basins=9, exclude=["b0001"]).run("run"))
    with pytest.raises(DataError, match="of which data.exclude leaves 0.") as error:
        load_basins(settings(tmp_path, records, exclude=[f"b{i:04d}" for i in range(9)]).run("run"))
    assert error.value.setting == ("data", "exclude")


def test_runs_of_different_days_are_not_compared_without_a_word_nor_those_of_one_name_mixed(
    records, tmp_path
):
    for folder, start in (("one", "2001-04-01"), ("two", "2001-05-01")):
        given = settings(tmp_path, records, test={"start": start, "end": "2001-06-30"})
        train(given, tmp_path / folder, progress=False)
    one, two = (tmp_path / folder / "run" for folder in ("one", "two"))
    (two / "settings.yaml").unlink()  # the checkpoint holds the settings, too
    with pytest.warns(
        DataWarning,
        match=r"same days .test period: .*one/run 2001-04-01 to .*two/run 2001-05-01 to",
    ):
        evaluate([one, tmp_path / "two", one], progress=False, figures=False)
    table = pd.read_csv(tmp_path / "one" / "comparison_test.csv")
    assert table.run.tolist() == [str(one), str(two)]


def test_a_run_does_not_go_on_with_other_records(records, tmp_path):
    train(settings(tmp_path, records), tmp_path / "runs", progress=False)
    kept = {path: path.read_bytes() for path in (tmp_path / "runs" / "run").glob("*.*")}
    records.tair_max[:] = records.tair_max - 5.0
    with pytest.raises(
        SettingsError,
        match=r"cannot resume: the records are not those.*series_mean of the training period",
    ):
        train(settings(tmp_path, records), tmp_path / "runs", resume=True, progress=False)
    assert kept == {path: path.read_bytes() for path in kept}


def test_runs_that_judge_different_basins_are_not_compared_without_a_word(records, tmp_path):
    for name, excluded in (("a", []), ("b", ["b0003"])):
        one = settings(tmp_path, records, exclude=excluded)
        train(
            one.model_copy(update={"runs": {name: one.runs["run"]}}),
            tmp_path / "runs",
            progress=False,
        )
    with pytest.warns(
        DataWarning,
        match=r"not judge the same basins .trained, test period: a 9, b 8; 8 are common.*b0003",
    ):
        evaluate([tmp_path / "runs"], progress=False, figures=False)
    assert (
        "do not judge the same basins" in (tmp_path / "runs" / "comparison_test.html").read_text()
    )


def test_a_file_that_cannot_be_read_leaves_its_basin_out(tmp_path, monkeypatch):
    root = basin_files.caravan(tmp_path, "csv", pd.date_range("1999-10-01", "2001-06-30"))
    for k, file in enumerate(sorted(root.rglob("timeseries/csv/*/*.csv"))):
        table = pd.read_csv(file)
        weather = np.random.default_rng(k).random((len(table), 2))
        table["total_precipitation_sum"], table["streamflow"] = weather.T
        table["temperature_2m_max"] += 9 * weather[:, 0]
        table.to_csv(file, index=False)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:50], lines[50].replace(",4.0", ",Ice"), *lines[51:]]))
    changes = {
        **PERIODS,
        "attributes": [],
        "forcing": ["precipitation", "tair_max", "tair_min"],
        "missing": "skip",
    }
    for most in (2**30, 0):  # in memory, and read as needed
        monkeypatch.setattr("pydiffgeo.training.basins.data.EAGER_BYTES", most)
        with pytest.raises(
            DataError, match="tair_min' has the same value"
        ):  # what is kept goes on to the scaling
            load_basins(basin_runs.experiment(root, data=changes, training=TINY).run("run"))
        less = changes | {"forcing": ["precipitation", "tair_max"]}
        data = load_basins(
            basin_runs.experiment(root, data=less, training=TINY).run("run"),
            also_needed=["tair_min"],
        )
        assert list(data.left_out["all"]) == ["lamah_7"] and data.tensors.basins == (
            "camels_01",
            "camels_02",
        )
        assert "'Ice', no number, in line 51 of" in data.left_out["all"]["lamah_7"]


@pytest.mark.parametrize(("old", "new", "words"), [
    ("tair_max]", "tair_mex]", r"line {}: data.forcing: no series in time 'tair_mex' in the records; did you mean 'tair_max'"),
    ("attributes: [area]", "attributes: [aria]", r"line {}: data.attributes: no attribute 'aria' in the records; did you mea"),
    ("exclude: []", "exclude: ['b09']", r"line {}: data.exclude: no basin 'b09' in the records; did you mean 'b000"),
])  # fmt: skip
def test_a_name_that_the_data_do_not_have_is_answered_with_its_line(
    old, new, words, records, tmp_path
):
    records.to_netcdf(tmp_path / "changed.nc")
    text = f"""experiment: basins
data:
  path: {tmp_path / "changed.nc"}
  forcing: [precipitation, tair_max]
  attributes: [area]
  exclude: []
  train: {{start: 1999-12-01, end: 2000-12-31}}
  test: {{start: 2001-04-01, end: 2001-06-30}}
runs: {{lstm: {{training: {{epochs: 1, steps_per_epoch: 1, batch_size: 2, window: 20, warm_up: 5}}}}}}
"""
    config = tmp_path / "c.yaml"
    config.write_text(text.replace(old, new))
    line = next(i for i, row in enumerate(config.read_text().splitlines(), 1) if new in row)
    result = CliRunner().invoke(cli.app, ["train", str(config), "--output", str(tmp_path / "runs")])
    assert result.exit_code == 1 and re.search(
        "error: .*c.yaml, " + words.format(line), result.stderr.replace("\n", " ")
    )
