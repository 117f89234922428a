"""Predictions of other sites, years and scenarios; in parts of sites and time, and resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import experiment_cases as cases
import numpy as np
import pytest
import xarray as xr
import yaml
from typer.testing import CliRunner

import pydiffgeo as pdg
from pydiffgeo.cli import app
from pydiffgeo.data import write_sites
from pydiffgeo.errors import DataError, OutputError, SettingsError
from pydiffgeo.experiment.judge import judge
from pydiffgeo.experiment.prediction import predict, predict_parts
from pydiffgeo.experiment.run import train
from pydiffgeo.experiment.trained import load_run


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> Path:
    return cases.write_records(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(records, tmp_path_factory) -> Path:
    return cases.process_run(tmp_path_factory.mktemp("runs"), records)


@pytest.fixture(scope="module")
def whole(run, records, tmp_path_factory) -> xr.Dataset:
    return predict(run, records, tmp_path_factory.mktemp("p") / "p.nc").data


def close(found: xr.Dataset, wanted: xr.Dataset) -> None:
    """The same sites, times and series, to the rounding of float32."""
    assert {*found.data_vars} == {*wanted.data_vars}
    assert found.site.values.astype(str).tolist() == wanted.site.values.astype(str).tolist()
    for name, values in wanted.data_vars.items():
        np.testing.assert_allclose(found[name].values, values.values, rtol=1e-6, atol=1e-6)


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


def test_parts_of_sites_together_are_the_whole(run, records, whole, tmp_path):
    files = predict_parts(run, records, tmp_path / "p", shard=2, progress=False)
    assert [xr.open_dataset(file).sizes["site"] for file in files] == [2, 2, 1]
    close(pdg.open_prediction(tmp_path / "p"), whole)
    one = pdg.open_prediction(tmp_path / "p", ["b0003"], ["discharge"])
    assert list(one.data_vars) == ["discharge"] and one.site.values.tolist() == ["b0003"]
    with pytest.raises(DataError, match="the sites nwe are not in"):
        pdg.open_prediction(tmp_path / "p", ["b0003", "nwe"])
    with pytest.raises(DataError, match="no series 'dischrage'"):
        pdg.open_prediction(tmp_path / "p", series=["dischrage"])


def test_only_the_series_that_are_asked_for_are_written(run, records, tmp_path):
    predict_parts(run, records, tmp_path / "p", shard=5, series=["discharge"], progress=False)
    found = pdg.open_prediction(tmp_path / "p")
    assert {"snow", "soil_water"}.isdisjoint(found) and "discharge" in found


def test_parts_in_time_begin_with_a_warm_up_of_their_own(run, records, tmp_path, caplog):
    files = predict_parts(run, records, tmp_path / "p", shard=5, steps=250, progress=False)
    assert len(files) == 3  # of 700 - 60 days
    assert any("begins anew with 60 steps of warm-up" in r.message for r in caplog.records)
    found = pdg.open_prediction(tmp_path / "p")
    days = [str(day)[:10] for day in found.time.values]
    assert found.sizes["time"] == 640 and days == sorted(days)
    for k, (first, last) in enumerate([(0, 249), (250, 499), (500, 639)]):
        span = days[first], days[last]
        alone = predict(run, records, tmp_path / f"{k}.nc", *span).data
        close(found.isel(time=slice(first, last + 1))[["discharge"]], alone[["discharge"]])


def test_what_is_done_is_kept_when_it_goes_on(run, records, whole, tmp_path):
    out = tmp_path / "p"
    files = predict_parts(run, records, out, shard=2, progress=False)
    files[1].unlink()  # as after an interruption
    marks = [file.stat().st_mtime_ns for file in (files[0], files[2])]
    with pytest.raises(DataError, match="1 of 3 parts .* not simulated yet"):
        pdg.open_prediction(out)
    with pytest.raises(OutputError, match="holds a prediction already"):
        predict_parts(run, records, out, shard=2, progress=False)
    with pytest.raises(OutputError, match="cannot resume: parts differ"):
        predict_parts(run, records, out, shard=3, resume=True, progress=False)
    with pytest.raises(SettingsError, match="Give one of them"):
        predict_parts(run, records, out, shard=2, resume=True, overwrite=True, progress=False)
    predict_parts(run, records, out, shard=2, resume=True, progress=False)
    assert marks == [file.stat().st_mtime_ns for file in (files[0], files[2])]
    close(pdg.open_prediction(out), whole)
    predict_parts(run, records, out, shard=3, overwrite=True, progress=False)
    assert len(list(out.glob("part_*.nc"))) == 2


def test_parts_in_time_without_a_warm_up_lose_nothing(run, records, tmp_path, caplog):
    other = tmp_path / "run"
    shutil.copytree(run, other)
    settings = yaml.safe_load((other / "settings.yaml").read_text())
    settings["evaluation"]["warm_up"] = None
    (other / "settings.yaml").write_text(yaml.safe_dump(settings))
    whole = predict(other, records, tmp_path / "whole.nc").data
    predict_parts(other, records, tmp_path / "p", shard=5, steps=250, progress=False)
    assert any("nothing is lost" in r.message for r in caplog.records)
    close(pdg.open_prediction(tmp_path / "p"), whole)


def test_records_written_anew_or_read_otherwise_are_not_mixed(run, records, tmp_path):
    data, out = tmp_path / "land.nc", tmp_path / "p"
    shutil.copy(records, data)
    files = predict_parts(run, data, out, shard=2, progress=False)
    files[1].unlink()
    with pytest.raises(OutputError, match="cannot resume: layout differ"):
        predict_parts(run, data, out, shard=2, resume=True, progress=False,
                      layout_options={"names": {"snow": "snowfall"}})  # fmt: skip
    warmer = xr.load_dataset(records)
    warmer["tair_max"] = warmer["tair_max"] + 1.0
    warmer.to_netcdf(data)
    with pytest.raises(OutputError, match="cannot resume: records differ"):
        predict_parts(run, data, out, shard=2, resume=True, progress=False)


def test_sites_without_forcing_are_left_out_and_told(run, records, whole, tmp_path, caplog):
    lacking = xr.load_dataset(records)
    lacking.precipitation[2:4, 300] = np.nan
    lacking.to_netcdf(tmp_path / "lacking.nc")
    skipping = shutil.copytree(run, tmp_path / "run")
    text = (skipping / "settings.yaml").read_text()
    (skipping / "settings.yaml").write_text(text.replace("missing: error", "missing: skip"))
    args = (tmp_path / "lacking.nc", tmp_path / "p")
    predict_parts(skipping, *args, shard=2, progress=False)
    assert any("no site has complete forcing" in r.message for r in caplog.records)
    assert pdg.open_prediction(tmp_path / "p").site.values.tolist() == ["b0000", "b0001", "b0004"]
    left_out = json.loads(pdg.open_prediction(tmp_path / "p").attrs["left_out"])
    assert list(left_out) == ["b0002", "b0003"]
    with pytest.raises(DataError, match="predicted without site b0003: (.|\n)*forcing"):
        pdg.open_prediction(tmp_path / "p", sites=["b0000", "b0003"])
    with pytest.raises(DataError, match="the sites b0009 are not in"):
        pdg.open_prediction(tmp_path / "p", sites=["b0000", "b0009"])
    with pytest.raises(DataError, match="site b0002: forcing is missing"):
        predict_parts(run, args[0], tmp_path / "q", shard=2, progress=False)


def test_impossible_values_count_as_missing_as_in_training(run, records, whole, tmp_path):
    other = xr.load_dataset(records)
    other.precipitation[2, 300] = -5.0
    other.to_netcdf(tmp_path / "other.nc")
    with pytest.raises(DataError, match="precipitation is -5 mm d-1, outside"):
        predict_parts(run, tmp_path / "other.nc", tmp_path / "p", shard=2, progress=False)
    lenient = shutil.copytree(run, tmp_path / "run")
    text = (lenient / "settings.yaml").read_text()
    text = text.replace("missing: error", "missing: skip")
    (lenient / "settings.yaml").write_text(text.replace("impossible: error", "impossible: missing"))
    predict_parts(lenient, tmp_path / "other.nc", tmp_path / "q", shard=2, progress=False)
    found = pdg.open_prediction(tmp_path / "q")
    assert found.site.values.tolist() == ["b0000", "b0001", "b0003", "b0004"]
    close(found, whole.sel(site=found.site))


def test_other_values_of_any_site_are_not_mixed(run, records, tmp_path):
    """Of a site that no digest of few sites sees, in chunks of a zarr folder."""
    pytest.importorskip("zarr")
    data, out = tmp_path / "land.zarr", tmp_path / "p"
    known = pdg.open_sites(records)
    write_sites(known, data)
    files = predict_parts(run, data, out, shard=2, progress=False)
    files[1].unlink()
    known["precipitation"][1] = known["precipitation"][1] * 3.0
    write_sites(known, data)
    with pytest.raises(OutputError, match="cannot resume: records differ"):
        predict_parts(run, data, out, shard=2, resume=True, progress=False)


def test_a_river_stays_whole(tmp_path):
    made = cases.river_experiment(tmp_path)
    train(made, tmp_path / "runs", progress=False)
    run = next((tmp_path / "runs").glob("*/settings.yaml")).parent
    whole = predict(run, tmp_path / "river.nc", tmp_path / "p.nc").data
    assert len(predict_parts(run, tmp_path / "river.nc", tmp_path / "p", 2, progress=False)) == 1
    close(pdg.open_prediction(tmp_path / "p"), whole)


def test_command(run, records, tmp_path):
    words = ["predict", str(run), "--data", str(records), "--output", str(tmp_path / "p")]
    done = CliRunner().invoke(app, [*words, "--shard", "3", "--series", "discharge", "--quiet"])
    assert done.exit_code == 0, done.output
    assert len(json.loads((tmp_path / "p" / "prediction.json").read_text())["parts"]) == 2
    again = CliRunner().invoke(app, [*words, "--shard", "3"])
    assert again.exit_code == 1 and "--resume" in again.output
    lone = CliRunner().invoke(app, [*words, "--resume"])
    assert lone.exit_code == 1 and "give --shard or --steps" in lone.output
    with pytest.raises(DataError, match="holds no prediction"):
        pdg.open_prediction(tmp_path)
