"""Products of one forcing in an experiment: files joined, fused, and sites that lack one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import experiment_cases as cases
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pydiffgeo.data import write_sites
from pydiffgeo.errors import DataError, DataWarning
from pydiffgeo.experiment.judge import judge
from pydiffgeo.experiment.run import train

FUSE = {"kind": "fuse", "products": ["precipitation", "precipitation_era5"]}


def experiment(folder: Path, fuse: dict[str, Any], **data: Any):
    """Five basins, and a second product of four of them, which lacks five days of one."""
    records = cases.write_records(folder)
    second = xr.load_dataset(records)[["precipitation"]].isel(site=slice(1, None))
    second["precipitation"] = (1.3 * second.precipitation).assign_attrs(units="mm d-1")
    second.precipitation[2, 300:305] = np.nan
    write_sites(second, folder / "second.nc")
    hybrid = {**cases.PROCESS, "stages": [FUSE | fuse, *cases.PROCESS["stages"]]}
    join = {"join": {"era5": "second.nc"}}
    return cases.experiment(folder, records, hybrid=hybrid, data={"forcing": None} | join | data)


@pytest.mark.filterwarnings("ignore:1 of 5 sites are not in era5")
def test_a_site_without_a_product_is_an_error_left_out_or_taken_by_the_others(tmp_path) -> None:
    with pytest.raises(DataError, match="precipitation_era5 is missing in site b0000"):
        train(experiment(tmp_path, {}), tmp_path / "a", progress=False)
    skipped = experiment(tmp_path, {}, missing="skip")
    [folder] = train(skipped, tmp_path / "b", progress=False)
    report = pd.read_csv(folder / "data_report.csv").set_index(["left_out_of", "site"]).reason
    assert "no window of 10 + 30 days with complete forcing" in report["all", "b0000"]
    assert "precipitation_era5 is missing" in report["test", "b0000"]
    assert "no training window touches them" in report["nothing", "b0003"]
    [judged] = judge([folder], progress=False, figures=False).values()
    assert judged.data.sizes["site"] == 4
    [folder] = train(experiment(tmp_path, {"others": True}), tmp_path / "c", progress=False)
    report = pd.read_csv(folder / "data_report.csv").set_index("site")
    assert set(report.left_out_of) == {"nothing"} and set(report.index) == {"b0000", "b0003"}
    assert "lacks precipitation_era5 on 5 days" in report.reason["b0003"]
    [judged] = judge([folder], progress=False, figures=False).values()
    assert judged.data.sizes["site"] == 5 and bool(judged.scores.nse.notnull().all())


def test_sites_that_a_product_lacks_are_said(tmp_path) -> None:
    with pytest.warns(DataWarning, match="1 of 5 sites are not in era5.*b0000"):
        train(experiment(tmp_path, {"others": True}), tmp_path / "a", progress=False)
