"""Sites of two files in one experiment: appended, told apart by their source, judged by either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import experiment_cases as cases
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pydiffgeo.data import write_sites
from pydiffgeo.errors import DataError, SettingsError
from pydiffgeo.experiment.judge import judge
from pydiffgeo.experiment.prediction import predict
from pydiffgeo.experiment.run import train
from pydiffgeo.experiment.several_files import shifted


def experiment(folder: Path, data: dict[str, Any], name: str = "later.nc", years: int = 4):
    """Five basins, and the last two of them as other ones in a file of four years later."""
    records = cases.write_records(folder)
    second = xr.load_dataset(records).isel(site=slice(3, None))
    second = second.assign_coords(site=["s0", "s1"])
    second = second.assign_coords(
        time=pd.DatetimeIndex(second.time.values) + pd.DateOffset(years=4)
    )
    write_sites(second, folder / name)
    append = {"append": {"later": {"path": name, "shift": -years}}}
    return cases.experiment(folder, records, hybrid=cases.PROCESS, data=append | data)


def test_dates_move_by_whole_years() -> None:
    days = pd.date_range("2020-02-27", "2020-03-02", name="time")
    records = xr.Dataset(
        {"x": (("site", "time"), np.arange(5.0)[None])}, {"site": ["a"], "time": days}
    )
    found = shifted(records, -5)
    told = ["2015-02-27", "2015-02-28", "2015-03-01", "2015-03-02"]
    assert found.time.dt.strftime("%Y-%m-%d").values.tolist() == told
    assert found.x.values.tolist() == [[0.0, 1.0, 3.0, 4.0]]
    assert shifted(records, -4).sizes["time"] == 5
    assert shifted(shifted(records, 4), -4).identical(records)


def test_both_are_trained_on_and_judged(tmp_path: Path) -> None:
    [folder] = train(experiment(tmp_path, {}), tmp_path / "a", progress=False)
    [judged] = judge([folder], progress=False, figures=False).values()
    sites = [str(site) for site in judged.data.site.values]
    assert sites[-2:] == ["s0", "s1"] and len(sites) == 7
    # the same weather and attributes: the same simulation, and the same scores
    twins = judged.data.discharge.values[-4:]
    np.testing.assert_allclose(twins[:2], twins[2:], rtol=1e-12)
    assert bool(judged.scores.nse.notnull().all())
    # another file stands for itself, with its own dates
    own = xr.load_dataset(tmp_path / "later.nc")
    found = predict(folder, tmp_path / "later.nc", tmp_path / "out.nc")
    assert [str(site) for site in found.data.site.values] == ["s0", "s1"]
    assert found.data.time.values[-1] == own.time.values[-1]


def test_a_source_is_trained_on_alone(tmp_path: Path) -> None:
    data = {"sites": {"source": "later"}, "held_out": {"source": "data"}}
    [folder] = train(experiment(tmp_path, data), tmp_path / "a", progress=False)
    [judged] = judge([folder], progress=False, figures=False).values()
    groups = judged.data.group.to_series()
    assert groups[groups == "trained"].index.tolist() == ["s0", "s1"]
    assert (groups == "held out").sum() == 5


def test_sites_of_other_years_are_left_out_of_the_judgement(tmp_path: Path) -> None:
    """Those trained on have no days in the test period; those held out have."""
    data = {"sites": {"source": "later"}, "held_out": {"source": "data"}, "missing": "skip"}
    whole = experiment(tmp_path, data)
    later = xr.load_dataset(tmp_path / "later.nc")
    test = np.datetime64(whole.runs["run"].data.test.start) + np.timedelta64(4 * 365, "D")
    write_sites(later.sel(time=slice(None, test)), tmp_path / "later.nc")
    [folder] = train(whole, tmp_path / "a", progress=False)
    report = pd.read_csv(folder / "data_report.csv")
    assert set(report[report.left_out_of == "test"].site) == {"s0", "s1"}
    [judged] = judge([folder], progress=False, figures=False).values()
    assert judged.data.sizes["site"] == 5


def test_wrong_keys_and_names_are_told(tmp_path: Path) -> None:
    for data, error, text in (
        ({"append": {"later": {"path": "later.nc", "shft": 1}}}, SettingsError, "'shft'.*'shift'"),
        ({"append": {"later": {"path": "later.nc", "shift": 0.5}}}, SettingsError, "whole number"),
        ({"append": {"later": {"shift": 1}}}, SettingsError, "path is missing"),
        ({"append": {"data": "later.nc"}}, SettingsError, "'data' names the sites of data.path"),
        ({"append": {"again": "records.nc"}}, DataError, "are in two of the records"),
    ):
        with pytest.raises(error, match=text):
            whole = experiment(tmp_path, data)
            again = whole.runs["run"].data.path
            if "again" in data["append"]:
                data["append"]["again"] = str(again)
                whole = experiment(tmp_path, data)
            train(whole, tmp_path / "a", progress=False)
