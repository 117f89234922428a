"""Evaluations: what is judged, read back, and points without dates."""

from __future__ import annotations

from pathlib import Path

import judged_cases as cases
import numpy as np
import pytest
import xarray as xr

from pydiffgeo.errors import DataError
from pydiffgeo.evaluation import Evaluation, evaluate, nse, open_evaluation
from pydiffgeo.evaluation.measures import GENERAL


def test_the_warm_up_and_what_was_not_observed_are_not_judged() -> None:
    [data] = cases.profile_data()
    run = Evaluation(data)
    assert run.days == "2020-01-11 to 2020-02-09" and "s$0" in run.scores.site
    assert run.scores["count"].values.tolist() == [[27, 27], [30, 30], [30, 30]]
    one = data.isel(site=0, depth=1, time=slice(10, None))
    assert run.scores.nse[0, 1] == nse(one.soil_moisture, one.soil_moisture_observed)
    changed = data.copy(deep=True)
    changed.soil_moisture[:, :10] = 9.0
    changed.soil_moisture[0, 12:15] = 9.0
    xr.testing.assert_equal(Evaluation(changed).scores, run.scores)
    assert "3 sites" in repr(run) and "50 cm" in repr(run)


def test_measures_groups_and_left_out_sites() -> None:
    sites = cases.basins(3)
    hybrid = cases.lstm(sites)
    given = {"discharge": GENERAL}
    run = evaluate(hybrid, sites, *cases.DAYS, 60, measures=given, left_out={"x": "named"})
    assert "ubrmse" in run.scores and "fhv" not in run.scores
    assert run.left_out == {"x": "named"} and not run.parameters.data_vars
    with pytest.raises(DataError, match="site b0002 is in none of the groups a"):
        evaluate(hybrid, sites, *cases.DAYS, 60, groups={"a": ["b0000", "b0001"]})
    blind = evaluate(hybrid, sites, *cases.DAYS, 60, observed=(), also=["discharge"])
    assert "nothing was observed" in repr(blind)
    with pytest.raises(DataError, match="nothing is scored"):
        _ = blind.scores


def test_an_evaluation_is_read_back(tmp_path: Path) -> None:
    [data] = cases.profile_data()
    data["K"] = ("site", "layer"), np.ones((3, 2)), {"role": "parameter"}
    data["second"] = data.soil_moisture.isel(depth=0)
    data["second_observed"] = data.soil_moisture_observed.isel(depth=0) + 0.1
    run = Evaluation(data, left_out={"01": "no, data"})
    run.save(tmp_path, figures=False)
    read = open_evaluation(tmp_path)
    assert read.left_out == run.left_out and list(read.parameters) == ["K"]
    assert list(read.all_scores) == ["soil_moisture", "second"] and read.days == run.days
    xr.testing.assert_allclose(read.all_scores["second"], run.all_scores["second"])
    with pytest.raises(DataError, match="holds no evaluation"):
        open_evaluation(tmp_path / "other")


def test_points_without_dates_are_judged(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    seen = random.random((4, 20))
    dims = ("site", "point")
    data = xr.Dataset(
        {"assimilation": (dims, seen + 0.1), "assimilation_observed": (dims, seen)},
        {"site": list("abcd"), "judged": ("point", np.ones(20, bool))},
    )
    run = Evaluation(data)
    np.testing.assert_allclose(run.scores.bias, 0.1)
    assert run.save(tmp_path).is_file()
