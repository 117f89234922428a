"""Other records as a run reads them: what they lack, and whose sites are taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import experiment_cases as cases
import numpy as np
import pytest
import xarray as xr

from pydiffgeo.errors import DataError
from pydiffgeo.experiment.new_records import _with_attributes, completed, new_records
from pydiffgeo.experiment.prediction import predict
from pydiffgeo.experiment.trained import load_run


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> Path:
    return cases.write_records(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(records, tmp_path_factory) -> Path:
    return cases.process_run(tmp_path_factory.mktemp("runs"), records)


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


def test_impossible_values_of_points_count_as_missing_as_in_training():
    """A curve whose CO2 was written down with a wrong sign."""
    data = SimpleNamespace(points=True, impossible="missing", missing="skip", derive={})
    hybrid = SimpleNamespace(needs=())
    run: Any = SimpleNamespace(settings=SimpleNamespace(data=data), hybrid=hybrid)
    co2 = xr.DataArray([[400.0, -400.0]], dims=("site", "point"), attrs={"units": "umol mol-1"})
    records = xr.Dataset({"co2": co2}, {"site": ["leaf"]})
    found = completed(run, records, data)["co2"].values
    np.testing.assert_array_equal(found, [[400.0, np.nan]])
    data.impossible = "error"
    assert completed(run, records, data)["co2"].values[0, 1] == -400.0  # refused by who simulates
