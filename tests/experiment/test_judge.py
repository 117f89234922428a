"""Trained runs from their folders.

Judged, loaded in Python, and used for other sites, years and scenarios.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import experiment_cases as cases
import numpy as np
import pytest
import xarray as xr
import yaml

from pydiffgeo.errors import DataError, OutputError, SettingsError
from pydiffgeo.experiment.judge import judge
from pydiffgeo.experiment.new_records import _with_attributes, new_records
from pydiffgeo.experiment.prediction import predict
from pydiffgeo.experiment.run import train
from pydiffgeo.experiment.trained import load_run


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> Path:
    return cases.write_records(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(records, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    made = cases.experiment(
        out,
        records,
        runs={"process": {"hybrid": cases.PROCESS}, "lstm": {}},
        data={"sites": ["b0000", "b0001", "b0002"]},
    )
    train(made, out, progress=False)
    return out


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return shutil.copytree(trained, tmp_path / "out") / "process"


def test_settings_that_changed_since_the_training_are_said(run, caplog):
    settings = yaml.safe_load((run / "settings.yaml").read_text())
    settings["data"]["test"]["end"] = "2001-05-31"
    settings["evaluation"]["batch"] = 2  # changes no number
    (run / "settings.yaml").write_text(yaml.safe_dump(settings))
    judge([run], progress=False, figures=False)
    said = [r.message for r in caplog.records if "was changed" in r.message]
    changed = "data.test.end is '2001-05-31', the run was trained with '2001-06-30'"
    assert said == [
        f"{run}/settings.yaml was changed since the training: {changed}. What stands there now is "
        "taken."
    ]
    assert changed.replace("'", "&#x27;") in (run / "evaluation_test" / "report.html").read_text()


def test_other_records_than_those_of_the_training_are_said(run, records, tmp_path, caplog):
    settings = yaml.safe_load((run / "settings.yaml").read_text())
    sites = xr.load_dataset(records)
    sites.assign(aridity=2 * sites.aridity).to_netcdf(tmp_path / "other.nc")
    settings["data"]["path"] = str(tmp_path / "other.nc")
    (run / "settings.yaml").write_text(yaml.safe_dump(settings))
    judge([run], progress=False, figures=False)
    said = [r.message for r in caplog.records]
    assert any("data.path is" in text for text in said)
    assert any(
        f"not those that {run} was trained on: " in text and "mean is" in text for text in said
    )


def test_what_is_no_run_or_period_is_said(run, tmp_path):
    with pytest.raises(DataError, match="no trained run in"):
        judge([tmp_path / "empty"])
    with pytest.raises(SettingsError, match=r"no period 'tset'; did you mean 'test'"):
        judge([run], "tset")
    with pytest.raises(SettingsError, match="Give data.validation a start and an end"):
        judge([run], "validation")
    (run / "checkpoints" / "last.pt").unlink()
    with pytest.raises(DataError, match="has no checkpoint"):
        judge([run])


def test_prediction_of_other_sites_and_years_is_that_of_the_run(run, records, tmp_path):
    judged = judge([run], progress=False, figures=False)[str(run)]
    sites = xr.load_dataset(records).drop_vars("discharge")  # no observations needed
    new = sites.sel(site=["b0004", "b0001"]).assign_coords(site=["new", "b0001"])
    new = new.sel(time=slice("2000-11-02", None))  # 60 days of warm-up
    path = tmp_path / "new.nc"
    new.to_netcdf(path)
    found = predict(run, path, tmp_path / "p.nc", start="2001-01-01", end="2001-06-30")
    written = xr.load_dataset(tmp_path / "p.nc")
    assert [str(s) for s in written.site.values] == ["new", "b0001"]
    same = written.discharge.sel(site="b0001").values
    assert np.allclose(same, judged.judged.discharge.sel(site="b0001").values, rtol=1e-6)
    assert {"snow", "water", "evapotranspiration"} <= set(written.data_vars), "states and fluxes"
    assert set(load_run(run).model.learns) <= set(written.data_vars), "parameters"
    assert not found.observed
    with pytest.raises(OutputError, match="exists already"):
        predict(run, path, tmp_path / "p.nc")
    with pytest.raises(DataError, match="no site 'nwe'.*; did you mean 'new'"):
        predict(run, path, tmp_path / "q.nc", sites=["nwe"])


def test_sites_that_are_named_go_before_those_that_the_settings_select(run, records, tmp_path):
    trained = load_run(run)
    data = trained.settings.data.model_copy(update={"select": {"site": "b0001"}})
    trained = replace(trained, settings=trained.settings.model_copy(update={"data": data}))
    path = tmp_path / "new.nc"
    xr.load_dataset(records).sel(site=["b0004"]).assign_coords(site=["new"]).to_netcdf(path)
    with pytest.raises(DataError, match="is 'b0001'.* The records have new: .* --site"):
        new_records(trained, path)
    assert new_records(trained, path, ["new"]).site.values.tolist() == ["new"]


def test_records_that_lack_what_a_run_reads_are_told_with_what_it_was_trained_on(
    run, records, tmp_path
):
    """All that is missing at once, by file and run; what the settings derive is no matter."""
    sites = xr.load_dataset(records)
    path = tmp_path / "new.nc"

    def said(lacking: xr.Dataset) -> str:
        lacking.to_netcdf(path)
        with pytest.raises(DataError) as caught:
            predict(run, path, tmp_path / "q.nc")
        return str(caught.value)

    text = said(sites.rename(precipitation="rain").drop_vars("aridity"))
    assert text.startswith(f"{path} lacks the series 'precipitation', which Process(exp_hydro)")
    assert "; the attribute 'aridity'. It has rain, tair_min, tair_max" in text
    for word in (str(run), "trained with the series precipitation", "area, aridity", str(records)):
        assert word in text, text
    assert "the series 'tair_mean', which" in said(sites.drop_vars("tair_max"))
    assert said(sites.drop_vars("lat")).startswith(f"{path}, which {run} is to simulate: ")
    assert not (tmp_path / "q.nc").exists()


def test_a_scenario_changes_what_it_should(run, records, tmp_path):
    sites = xr.load_dataset(records)
    wet = sites.assign(precipitation=1.5 * sites.precipitation)
    wet.to_netcdf(tmp_path / "wet.nc")
    now, then = (
        predict(run, path, tmp_path / f"{path.stem}_p.nc", start="2001-01-01")
        for path in (records, tmp_path / "wet.nc")
    )
    assert float(then.data.discharge.sum()) > float(now.data.discharge.sum())
    assert now.scores.nse.notnull().all(), "where there are observations there are scores"


def test_the_past_that_members_do_not_see_makes_no_other_records(records, tmp_path, caplog):
    """Members derive a memory from the days of training alone; the records begin before these."""
    memory = {"memory": {"series": {"tair_max": [30]}}}
    made = cases.experiment(
        tmp_path,
        records,
        data={"derive": cases.SETTINGS["data"]["derive"] | memory, "forcing": ["tair_max_30d"]},
        training={"seeds": [0], "epochs": 1},
        runs={"lstm": {}},
    )
    train(made, tmp_path, progress=False)
    judge([tmp_path / "lstm"], progress=False, figures=False)
    assert "records are not those" not in caplog.text


def test_series_observed_besides_are_no_other_records(records, tmp_path, caplog):
    """As the soil temperature beside the moisture that columns are trained on."""
    sites = xr.load_dataset(records)
    more = sites.discharge.copy().assign_attrs(units="degC", role="observed")
    sites.assign(water_temperature=more).to_netcdf(tmp_path / "more.nc")
    whole = {"length": None, "batch": None, "steps_per_epoch": None, "seeds": [0], "epochs": 1}
    held = {"validation": {"start": "2000-11-01", "end": "2000-12-31"}}
    made = cases.experiment(tmp_path, tmp_path / "more.nc", data=held, training=whole)
    [folder] = train(made, tmp_path / "out", progress=False)
    judge([folder], progress=False, figures=False)
    assert "records are not those" not in caplog.text


def test_points_none_of_which_has_the_attributes_are_an_error(caplog):
    """Some without are left out; where all are, what is missing is named."""
    data, hybrid = SimpleNamespace(missing="skip"), SimpleNamespace(needs=("LMA", "N"))
    run: Any = SimpleNamespace(settings=SimpleNamespace(data=data), hybrid=hybrid, folder="runs/a")
    lma, n = np.array([1.0, np.nan]), np.array([2.0, 3.0])
    records = xr.Dataset({"LMA": ("site", lma), "N": ("site", n)}, {"site": ["x", "y"]})
    assert _with_attributes(records, run).site.values.tolist() == ["x"]
    assert "1 sites lack an attribute and are left out: y" in caplog.text
    with pytest.raises(DataError, match="no site has all attributes that runs/a reads: LMA are"):
        _with_attributes(records.isel(site=[1]), run)
