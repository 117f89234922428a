"""Scores of distributions against closed forms and counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from pydiffgeo.distributions import LEVELS
from pydiffgeo.errors import DataError
from pydiffgeo.evaluation.probabilistic import (
    captured,
    coverage,
    crps,
    interval,
    pit,
    pit_histogram,
    require_levels,
    score_distribution,
    width,
)


def gaussian(mean: np.ndarray, sd: float, levels: object = LEVELS) -> np.ndarray:
    return norm.ppf(np.asarray(levels), mean[:, None], sd)


def closed_form(observed: np.ndarray, mean: np.ndarray, sd: float) -> float:
    """Gneiting & Raftery (2007), doi:10.1198/016214506000001437, eq. 21."""
    z = (observed - mean) / sd
    each = sd * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    return float(each.mean())


def test_crps_of_a_gaussian_is_its_closed_form() -> None:
    random = np.random.default_rng(0)
    mean = random.uniform(0, 5, 4000)
    observed = mean + 0.7 * random.normal(size=4000)
    fine = np.arange(1, 1000) / 1000
    exact = closed_form(observed, mean, 0.7)
    assert crps(gaussian(mean, 0.7, fine), fine, observed) == pytest.approx(exact, rel=2e-4)
    # the levels that are kept leave out what lies beyond 1 and 99 %
    assert crps(gaussian(mean, 0.7), LEVELS, observed) == pytest.approx(exact, rel=4e-3)
    wide = closed_form(observed, mean, 3.0)
    assert crps(gaussian(mean, 3.0), LEVELS, observed) == pytest.approx(wide, rel=1e-2)
    assert exact < wide


def test_crps_of_a_point_is_the_absolute_error() -> None:
    fine = (np.arange(1000) + 0.5) / 1000
    quantiles = np.full((3, 1000), 2.0)
    observed = np.array([1.0, 2.0, np.nan])
    assert crps(quantiles, fine, observed) == pytest.approx(0.5, rel=1e-3)


def test_coverage_and_width_by_hand() -> None:
    levels, observed = [0.05, 0.25, 0.75, 0.95], np.array([1.0, 2.5, 3.5, np.nan, 9.0])
    quantiles = np.tile([1.0, 2.0, 3.0, 4.0], (5, 1))
    assert coverage(quantiles, levels, observed, 0.9) == 0.75  # an end lies inside
    assert coverage(quantiles, levels, observed, 0.5) == 0.25
    assert width(quantiles, levels, observed, 0.9) == 3.0
    with pytest.raises(DataError, match=r"needs the quantile 0\.025"):
        interval(quantiles, levels, 0.95)


def test_the_pit_is_flat_where_the_forecast_is_right() -> None:
    random = np.random.default_rng(1)
    mean = random.uniform(0, 5, 40_000)
    observed = mean + random.normal(size=mean.size)
    shares = pit_histogram(*pit(gaussian(mean, 1.0), LEVELS, observed))
    assert shares.sum() == pytest.approx(1) and np.abs(shares * 20 - 1).max() < 0.08
    narrow = pit_histogram(*pit(gaussian(mean, 0.3), LEVELS, observed))
    assert narrow[0] > 0.2 and narrow[-1] > 0.2 and narrow[9:11].max() < 0.05


def test_the_pit_of_no_flow_is_spread_over_its_levels() -> None:
    levels, quantiles = [0.25, 0.5, 0.75], np.array([[0.0, 0.0, 1.0]] * 2)
    low, high = pit(quantiles, levels, np.array([0.0, 0.5]))
    assert np.allclose(low, [0.25, 0.625]) and np.allclose(high, [0.5, 0.625])
    low, high = pit(quantiles, levels, np.array([2.0, np.nan]))
    assert np.allclose(low, 0.75) and np.allclose(high, 1.0)
    assert np.allclose(pit_histogram([0.25, 0.6], [0.5, 0.6], 4), [0.0, 0.5, 0.5, 0.0])


def test_scores_of_sites_and_depths() -> None:
    random = np.random.default_rng(2)
    mean = random.uniform(0, 1, (2, 300, 3))
    dims = ("site", "time", "depth")
    observed = mean + 0.2 * random.normal(size=mean.shape)
    observed[0, :10] = np.nan
    quantiles = norm.ppf(np.asarray(LEVELS), mean[..., None], 0.2)
    quantiles[1, 7] = np.nan  # not simulated there
    coords = {"site": ["a", "b"], "depth": [0.1, 0.2, 0.5], "quantile": list(LEVELS)}
    q = xr.DataArray(quantiles, dims=(*dims, "quantile"), coords=coords)
    seen = xr.DataArray(observed, dims=dims, attrs={"units": "m3 m-3"})
    seen = seen.assign_coords(site=["a", "b"], depth=[0.1, 0.2, 0.5])
    found = score_distribution(q, seen, xr.ones_like(seen).where(seen.notnull()))
    assert found["crps"].dims == ("site", "depth") and found["crps"].units == "m3 m-3"
    first = crps(quantiles[0, :, 1], LEVELS, observed[0, :, 1])
    assert float(found["crps"][0, 1]) == pytest.approx(first)
    assert np.isnan(found["crps"][1]).all() and np.isnan(found["coverage_90"][1]).all()
    assert abs(float(found["coverage_90"][0].mean()) - 0.9) < 0.04
    assert (found["nll"] == 1).all()


def test_crps_is_left_out_where_levels_are_too_few(caplog: pytest.LogCaptureFixture) -> None:
    """The share that levels capture is that of 20,000 draws of a Gaussian that is right."""
    y = np.random.default_rng(3).normal(size=20_000)
    for levels in (LEVELS, (0.05, 0.5, 0.95), (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)):
        found = crps(gaussian(np.zeros_like(y), 1.0, levels), levels, y)
        assert abs(found / closed_form(y, np.zeros_like(y), 1.0) - captured(levels)) < 0.01
    assert captured(LEVELS) > 0.995 and captured((0.05, 0.5, 0.95)) < 0.85
    few = xr.DataArray(
        gaussian(np.zeros(5), 1.0, (0.05, 0.5, 0.95))[None], dims=("site", "time", "quantile"),
        coords={"quantile": [0.05, 0.5, 0.95]},
    )  # fmt: skip
    scores = score_distribution(few, xr.DataArray(np.zeros((1, 5)), dims=("site", "time")))
    assert "crps" not in scores and "coverage_90" in scores
    assert "crps is left out: 3 quantiles" in caplog.text


@pytest.mark.parametrize("levels", [(0.9, 0.1), (0.5, 0.5), (0.0, 0.5), (0.5, 1.0), (np.nan,)])
def test_levels_must_rise_between_0_and_1(levels: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="must rise and lie between 0 and 1"):
        require_levels(levels)


def test_the_pit_counts_no_step_without_quantiles() -> None:
    q = np.array([[0.0, 1.0, 2.0], [np.nan, np.nan, np.nan]])
    low, high = pit(q, (0.25, 0.5, 0.75), np.array([1.5, 1.5]))
    assert low.tolist() == high.tolist() == [0.625]
