"""The mean of what several runs simulate: by hand, with sites that one lacks, in a comparison."""

from __future__ import annotations

import shutil
from pathlib import Path

import experiment_cases as cases
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pydiffgeo.errors import DataError, PyDiffGeoError
from pydiffgeo.evaluation import Evaluation, mean_of_runs, nse
from pydiffgeo.experiment.judge import judge
from pydiffgeo.experiment.run import train


def judged(seed: int, sites: str = "abc", days: int = 30) -> Evaluation:
    """An evaluation with random series of some sites, and the same observations for all seeds."""
    shape, random = (3, days), np.random.default_rng(seed)
    data = xr.Dataset(
        {
            "discharge": (("site", "time"), random.gamma(1.0, 2.0, shape), {"units": "mm d-1"}),
            "discharge_observed": (
                ("site", "time"),
                np.random.default_rng(99).gamma(1.0, 2.0, shape),
            ),
            "K": ("site", np.ones(3), {"role": "parameter"}),
        },
        {"site": list("abc"), "time": pd.date_range("2000-01-01", periods=days)},
    )
    data = data.assign_coords(judged=("time", np.arange(days) >= 5))
    return Evaluation(data.sel(site=list(sites)))


def test_it_is_the_mean_by_hand_and_is_judged_by_the_same_observations() -> None:
    one, two = judged(1), judged(2, "cb")
    found = mean_of_runs([one, two])
    assert found.data.site.values.tolist() == ["b", "c"] and "K" not in found.data
    assert found.left_out == {"a": "a run of the mean does not judge it"}
    series = [run.judged.discharge.sel(site="c").values for run in (one, two)]
    by_hand = (series[0] + series[1]) / 2
    np.testing.assert_allclose(found.data.discharge.sel(site="c"), by_hand, rtol=1e-15)
    seen = one.judged.discharge_observed.sel(site="c").values
    assert float(found.scores.nse.sel(site="c")) == nse(by_hand, seen)
    assert found.data.discharge.attrs == {"units": "mm d-1"}


def test_what_has_no_mean_is_refused() -> None:
    one = judged(1)
    with pytest.raises(DataError, match="two or more"):
        mean_of_runs([one])
    with pytest.raises(DataError, match="no site"):
        mean_of_runs([judged(1, "a"), judged(2, "b")])
    with pytest.raises(DataError, match="judge other days"):
        mean_of_runs([one, judged(1, days=29)])
    other = judged(1)
    other.data.discharge_observed[0, 9] = 7.0
    with pytest.raises(DataError, match="judge other discharge_observed"):
        mean_of_runs([one, other])


def test_a_comparison_with_the_mean_of_two_runs(tmp_path: Path) -> None:
    records = cases.write_records(tmp_path)
    runs = {"one": {"training": {"seed": 0}}, "two": {"training": {"seed": 1}}}
    experiment = cases.experiment(tmp_path, records, runs=runs)
    folders = train(experiment, tmp_path / "out", progress=False)
    found = judge([tmp_path / "out"], progress=False, figures=False, mean=["one", "two"])
    table = pd.read_csv(tmp_path / "out" / "comparison_test.csv")
    assert table.run.tolist() == ["one", "two", "mean_of_one_and_two"]
    mean = found[str(tmp_path / "out" / "mean_of_one_and_two")]
    both = [found[str(folder)].judged.discharge.values for folder in folders]
    np.testing.assert_allclose(mean.data.discharge, (both[0] + both[1]) / 2, rtol=1e-6)
    assert (tmp_path / "out" / "mean_of_one_and_two" / "evaluation_test" / "scores.csv").is_file()
    for names, words in ((["one", "tow"], "did you mean 'two'"), (["one", "one"], "twice")):
        with pytest.raises(PyDiffGeoError, match=words):
            judge([tmp_path / "out"], progress=False, figures=False, mean=names)
    shutil.copytree(folders[0], tmp_path / "other" / "one")
    with pytest.raises(PyDiffGeoError, match="two runs are called one"):
        judge([tmp_path / "out", tmp_path / "other"], progress=False, figures=False)
