"""Split-conformal intervals: exact coverage on exchangeable data, and ranks by hand."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import norm

import pydiffgeo as pdg
from pydiffgeo.distributions import LEVELS
from pydiffgeo.errors import DataError
from pydiffgeo.evaluation import Evaluation


def judged(
    observed: np.ndarray, simulated: np.ndarray, spread: float | None = None, name: str = "level"
) -> Evaluation:
    """An evaluation of sites [site, time], with a Gaussian of a given spread or none."""
    time, dims = pd.date_range("2000-01-01", periods=observed.shape[1]), ("site", "time")
    data = xr.Dataset(
        {
            name: (dims, simulated, {"units": "m"}),
            f"{name}_observed": (dims, observed, {"units": "m"}),
        },
        {"site": [f"s{k}" for k in range(len(observed))], "time": time},
    )
    data = data.assign_coords(judged=("time", np.ones(len(time), bool)))
    if spread is not None:
        values = norm.ppf(np.array(LEVELS), simulated[..., None], spread)
        data[f"{name}_quantile"] = (*dims, "quantile"), values
        data = data.assign_coords(quantile=list(LEVELS))
    return Evaluation(data)


@pytest.mark.parametrize("spread", [None, 0.2, 3.0])
def test_coverage_on_exchangeable_data_is_exact(spread: float | None) -> None:
    """With n errors the coverage of rank k is k / (n + 1) in the mean, whatever the errors are.

    49 errors have ranks of exactly 50, 90 and 98 %: over 4000 sites the share of one more
    observation that is inside must be that, to three standard errors. Skewed errors, and a
    distribution that is much too narrow or too wide, change nothing.
    """
    random = np.random.default_rng(0)
    count, n = 4000, 49
    simulated = random.uniform(0, 5, (count, n + 1))
    observed = simulated + random.gamma(1.0, 2.0, simulated.shape)
    past = judged(observed[:, :n], simulated[:, :n], spread)
    now = judged(observed[:, n:].repeat(2, 1), simulated[:, n:].repeat(2, 1), spread)
    found = pdg.conformal(past, now)
    q = found.data["level_quantile"]
    for share in (0.5, 0.9, 0.98):
        low, high = (
            q.sel(quantile=x, method="nearest").values for x in ((1 - share) / 2, (1 + share) / 2)
        )
        inside = ((observed[:, n:] >= low) & (observed[:, n:] <= high))[:, 0].mean()
        assert abs(inside - share) < 3 * np.sqrt(share * (1 - share) / count)
    assert (q.diff("quantile") >= -1e-12).all()
    assert (found.scores["coverage_90"].mean() - 0.9) < 0.02


def test_ranks_by_hand() -> None:
    errors = np.array([[0.5, -0.1, 0.2, -0.4, 0.3, np.nan]])
    past = judged(errors, np.zeros((1, 6)))
    now = judged(np.zeros((1, 2)), np.array([[1.0, 2.0]]))
    found = pdg.conformal(past, now, levels=(0.1, 0.25, 0.5, 0.75, 0.9)).data["level_quantile"]
    # ceil(6 x 0.8) = 5th and ceil(6 x 0.5) = 3rd of 0.1, 0.2, 0.3, 0.4, 0.5
    assert np.allclose(found[0, 0], [0.5, 0.7, 1.0, 1.3, 1.5])
    assert np.allclose(found[0, 1] - found[0, 0], 1.0)


def test_relative_errors_grow_with_the_flow() -> None:
    random = np.random.default_rng(1)
    flow = random.gamma(1.0, 3.0, (2, 600))
    seen = np.maximum(flow * (1 + 0.2 * random.normal(size=flow.shape)), 0)
    past = judged(seen[:, :300], flow[:, :300], name="discharge")
    now = judged(seen[:, 300:], flow[:, 300:], name="discharge")
    plain, grown = pdg.conformal(past, now), pdg.conformal(past, now, relative=0.01)
    for found in (plain, grown):
        assert np.allclose(found.scores["coverage_90"], 0.9, atol=0.05)
        assert (found.data["discharge_quantile"] >= 0).all()
    assert (grown.scores["crps"] < plain.scores["crps"]).all()


def test_a_site_with_too_few_observations_has_none(caplog: pytest.LogCaptureFixture) -> None:
    random = np.random.default_rng(2)
    seen = random.normal(size=(2, 60))
    seen[1, 20:] = np.nan
    past, now = judged(seen, 0 * seen), judged(random.normal(size=(3, 5)), np.zeros((3, 5)))
    with caplog.at_level(logging.WARNING):
        found = pdg.conformal(past, now).scores["coverage_90"]
    assert np.isfinite(found[0]) and np.isnan(found[1:]).all()
    assert (
        "s1 and s2" in caplog.text.replace("s1, s2", "s1 and s2") and "fewer than 49" in caplog.text
    )
    with pytest.raises(DataError, match="symmetric about 0.5"):
        pdg.conformal(past, now, levels=(0.1, 0.5, 0.8))
    with pytest.raises(DataError, match="the same series"):
        pdg.conformal(judged(seen, 0 * seen, name="stage"), now)


def test_steps_that_were_not_simulated_have_no_error() -> None:
    random = np.random.default_rng(4)
    seen, simulated = random.normal(size=(1, 100)), np.zeros((1, 100))
    gaps = simulated.copy()
    gaps[0, :30] = np.nan
    levels, now = (0.1, 0.25, 0.5, 0.75, 0.9), judged(seen[:, :5], simulated[:, :5])
    with_gaps = pdg.conformal(judged(seen, gaps), now, levels)
    without = pdg.conformal(judged(seen[:, 30:], simulated[:, 30:]), now, levels)
    xr.testing.assert_equal(with_gaps.data["level_quantile"], without.data["level_quantile"])


def test_what_was_not_observed_gets_intervals_too() -> None:
    past = judged(np.random.default_rng(5).normal(size=(1, 100)), np.zeros((1, 100)))
    now = judged(np.zeros((1, 5)), np.zeros((1, 5)))
    blind = Evaluation(now.data.drop_vars("level_observed"))
    found = pdg.conformal(past, blind).data["level_quantile"]
    xr.testing.assert_equal(found, pdg.conformal(past, now).data["level_quantile"])


def test_other_levels_and_offsets_are_refused() -> None:
    seen = np.random.default_rng(6).normal(size=(1, 100))
    past, now = judged(seen, 0 * seen, 1.0), judged(seen, 0 * seen, 1.0)
    other = Evaluation(now.data.assign_coords(quantile=np.linspace(0.02, 0.98, len(LEVELS))))
    with pytest.raises(DataError, match="have other levels"):
        pdg.conformal(past, other)
    plain = judged(seen, 0 * seen)
    for relative in (0.0, -1.0):
        with pytest.raises(DataError, match="must be above zero"):
            pdg.conformal(plain, plain, relative=relative)
