"""The panel of reliability."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from judged_cases import profile_data
from scipy.stats import norm

from pydiffgeo.distributions import LEVELS
from pydiffgeo.evaluation import Evaluation
from pydiffgeo.evaluation.panels.reliability import central_coverage, reliability


def judged(spread: float) -> Evaluation:
    """A run whose errors are 0.01, and which says that they are `spread`."""
    [data] = profile_data(1, 4, 800)
    dims = data["soil_moisture"].dims
    quantiles = norm.ppf(np.array(LEVELS), data["soil_moisture"].values[..., None], spread)
    data["soil_moisture_quantile"] = (*dims, "quantile"), quantiles, {"units": "m3 m-3"}
    return Evaluation(data.assign_coords(quantile=list(LEVELS)))


def test_coverage_is_nominal_where_the_spread_is_right() -> None:
    nominal, found = central_coverage(judged(0.01), "soil_moisture")
    assert len(nominal) == 11 and np.abs(found - nominal).max() < 0.03
    assert central_coverage(judged(0.003), "soil_moisture")[1][2] < 0.5


def test_it_tabulates_and_draws_what_has_a_distribution(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    panel = reliability({"right": judged(0.01), "sure": judged(0.003)})
    table = panel.tables["reliability_soil_moisture"]
    assert list(table["run"]) == ["right", "sure"]
    assert abs(table["coverage_90 (mean)"][0] - 0.9) < 0.03 and table["crps (median)"].diff()[1] > 0
    _, draw = panel.figures["reliability_soil_moisture"]
    assert len(draw().axes) == 2
    plain: xr.Dataset = profile_data()[0]
    assert reliability({"none": Evaluation(plain)}).nothing
