"""Scaling knows the training period only; what cannot be scaled is named."""

from __future__ import annotations

import numpy as np
import pytest
import site_files
import xarray as xr

from pydiffgeo.data import fit_scaling
from pydiffgeo.data.scaling import attribute_values
from pydiffgeo.errors import DataError

FORCING, STATIC = ("precipitation", "tair_max"), ("aridity", "area")


@pytest.fixture
def records() -> xr.Dataset:
    return site_files.records(sites=7, days=500)


def test_scaling_is_fitted_on_the_training_period_alone(records: xr.Dataset) -> None:
    records.precipitation[1, 3] = np.nan
    period = slice("1999-11-01", "2000-06-30")
    scaling = fit_scaling(records, FORCING, STATIC, "1999-11-01", "2000-06-30")
    records.precipitation.loc[{"time": slice("2000-07-01", None)}] = (
        1e6  # what comes later must not matter
    )
    assert scaling == fit_scaling(records, FORCING, STATIC, "1999-11-01", "2000-06-30")
    part = records.sel(time=period)
    for name in FORCING:
        assert scaling.mean[name] == pytest.approx(float(part[name].mean()), rel=1e-12)
        assert scaling.std[name] == pytest.approx(float(part[name].std()), rel=1e-12)
    assert scaling.std["area"] == pytest.approx(float(records.area.std()), rel=1e-12)
    assert (scaling.start, scaling.end, scaling.sites) == ("1999-11-01", "2000-06-30", 7)


def test_what_cannot_be_scaled_is_named(records: xr.Dataset) -> None:
    records["area"][:] = 5.0
    with pytest.raises(DataError, match="'area' has the same value 5 everywhere"):
        fit_scaling(records, FORCING, STATIC)
    with pytest.raises(DataError, match="'geology' is text"):
        fit_scaling(records, FORCING, ["geology"])
    with pytest.raises(DataError, match="no attribute 'slope'"):
        fit_scaling(records, FORCING, ["slope"])
    with pytest.raises(
        DataError, match="the training period, 2010-01-01 to 2001-02-11, is not in the record"
    ):
        fit_scaling(records, FORCING, start="2010-01-01")
    records["tair_max"][:] = np.nan
    with pytest.raises(DataError, match="'tair_max' has no values"):
        fit_scaling(records, FORCING)


def test_a_class_that_no_site_has_is_scaled_by_one() -> None:
    sites = site_files.records(sites=3, days=20)
    sites["pft_herb"], sites["pft_tree"] = ("site", np.zeros(3)), ("site", np.ones(3))
    scaling = fit_scaling(sites, ["precipitation"], ["pft_herb", "pft_tree"])
    assert scaling.std["pft_herb"] == scaling.std["pft_tree"] == 1.0
    assert (scaling.mean["pft_herb"], scaling.mean["pft_tree"]) == (0.0, 1.0)


def test_a_flag_is_a_number(records: xr.Dataset) -> None:
    flags = np.arange(records.sizes["site"]) % 2 == 0
    found = attribute_values(records.assign(pool=("site", flags)), ["pool"])["pool"]
    assert found.tolist() == flags.astype(float).tolist()
    with pytest.raises(DataError, match="no attribute 'pool' with numbers"):
        attribute_values(records.assign(pool=("site", flags.astype(str))), ["pool"])
