"""Measures against values worked by hand and those of neuralhydrology."""

from __future__ import annotations

import json
import math

import neuralhydrology_metrics as reference
import numpy as np
import pytest

from pydiffgeo.errors import DataError, UnknownName
from pydiffgeo.evaluation.measures import DISCHARGE, GENERAL, MEASURES, score

OBSERVED = [1.0, 2.0, 3.0, 4.0]
SIMULATED = [2.0, 2.0, 5.0, 5.0]
# errors 1, 0, 2, 1: mean square 1.5, mean 1, variance 0.5; covariance 1.75, sd 1.5 and sqrt(1.25);
# sum of squares 6 and 5
EXPECTED = {
    "rmse": math.sqrt(1.5),
    "ubrmse": math.sqrt(0.5),
    "bias": 1.0,
    "correlation": 1.5 / (1.5 * math.sqrt(1.25)),
    "kge": 1
    - math.sqrt(
        (1 / math.sqrt(1.25) - 1) ** 2 + (1.5 / math.sqrt(1.25) - 1) ** 2 + (3.5 / 2.5 - 1) ** 2
    ),
    "nse": 1 - 6 / 5,
}


@pytest.mark.parametrize("name", GENERAL)
def test_by_hand(name):
    assert MEASURES[name](SIMULATED, OBSERVED) == pytest.approx(EXPECTED[name], abs=1e-12)


@pytest.mark.parametrize("name", GENERAL)
def test_missing_and_masked_pairs_do_not_count(name):
    simulated = np.array([*SIMULATED, np.nan, 7.0, 9.0])
    observed = np.array([*OBSERVED, 1.0, np.nan, 0.0])
    mask = np.array([True] * 6 + [False])
    assert MEASURES[name](simulated, observed, mask) == pytest.approx(EXPECTED[name], abs=1e-12)


@pytest.mark.parametrize("name", GENERAL)
def test_perfect_and_identity(name):
    perfect = {"rmse": 0, "ubrmse": 0, "bias": 0, "correlation": 1, "kge": 1, "nse": 1}[name]
    assert MEASURES[name](OBSERVED, OBSERVED) == pytest.approx(perfect, abs=1e-12)
    random = np.random.default_rng(0)
    s, o = random.random((2, 50))
    s2 = score(s, o)
    assert s2["rmse"] ** 2 == pytest.approx(s2["bias"] ** 2 + s2["ubrmse"] ** 2)


@pytest.mark.parametrize("name", GENERAL)
def test_nothing_to_compare_is_an_error(name):
    with pytest.raises(DataError, match="only 1 of 2 pairs"):
        MEASURES[name]([1.0, np.nan], [1.0, 2.0])
    with pytest.raises(DataError, match="shape"):
        MEASURES[name]([1.0, 2.0], [1.0])


def test_the_observed_mean_scores_as_published():
    constant = score(np.full(4, 2.5), OBSERVED)
    assert math.isnan(constant["correlation"]) and constant["nse"] == 0
    assert constant["kge"] == pytest.approx(1 - math.sqrt(2))
    assert math.isnan(score(SIMULATED, np.full(4, 2.0))["kge"])
    rounding = np.full(4, 0.1) * np.array([1, 1 + 1e-15, 1, 1])
    assert math.isnan(score(rounding, OBSERVED)["correlation"])


def test_unknown_metric_is_answered():
    with pytest.raises(UnknownName, match="did you mean 'rmse'"):
        score(SIMULATED, OBSERVED, ["rmsee"])


REFERENCE = json.loads(reference.FILE.read_text())["values"]


def ours(simulated: np.ndarray, observed: np.ndarray, names: list[str]) -> dict[str, float | None]:
    """Ours, where neuralhydrology's have None for what is not a number."""
    found = {name: MEASURES[name](simulated, observed) for name in names}
    return {name: None if math.isnan(value) else value for name, value in found.items()}


@pytest.mark.parametrize("seed", range(12))
def test_made_up_series_as_neuralhydrology(seed: int) -> None:
    expected = REFERENCE[f"seed {seed}"]
    assert ours(*reference.made_up(seed), list(expected)) == pytest.approx(
        expected, rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize("basin", reference.REAL)
def test_real_series_as_neuralhydrology(basin: str, shared_data) -> None:
    expected = REFERENCE[basin]
    series = reference.real(shared_data("camels_us_daymet_500.nc"), basin)
    assert ours(*series, list(expected)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_reference_reaches_every_branch() -> None:
    assert set(REFERENCE["seed 0"]) | {"bias", "nrmse_high"} == set(DISCHARGE)
    for metric in ("peak_timing", "missed_peaks"):
        values = {REFERENCE[f"seed {seed}"][metric] for seed in range(12)}
        assert len(values - {None}) > 3


def test_peaks_by_hand() -> None:
    observed = np.ones(400)
    observed[[50, 200, 350]] = 10.0
    simulated = np.ones(400)
    # two days late, right, four days early: outside the window
    simulated[[52, 200, 346]] = (8.0, 10.0, 12.0)
    # in the window of the third the simulation is flat: its first day counts as the peak, three
    # days early
    assert MEASURES["peak_timing"](simulated, observed) == pytest.approx((2 + 0 + 3) / 3)
    assert MEASURES["missed_peaks"](simulated, observed) == pytest.approx(2 / 3)
    assert MEASURES["peak_mape"](simulated, observed) == pytest.approx((0.9 + 0 + 0.9) / 3 * 100)
    # the middle peak is at a gap: not judged for timing, found for the other
    observed[198] = np.nan
    assert MEASURES["peak_timing"](simulated, observed) == pytest.approx((2 + 3) / 2)
    assert math.isnan(MEASURES["peak_timing"](simulated[:40], observed[:40]))


def test_flow_duration_by_hand() -> None:
    observed = np.arange(100.0, 0.0, -1.0)
    assert MEASURES["fhv"](2 * observed, observed) == pytest.approx(100.0)
    assert MEASURES["fms"](observed**2, observed) == pytest.approx(100.0, abs=1e-3)
    assert MEASURES["flv"](observed**2, observed) == pytest.approx(-100.0, abs=1e-3)
    assert MEASURES["alpha_nse"](2 * observed, observed) == pytest.approx(2.0)
    assert MEASURES["beta_kge"](2 * observed, observed) == pytest.approx(2.0)
    assert MEASURES["beta_nse"](observed + np.std(observed), observed) == pytest.approx(1.0)


def test_error_of_the_highest_flows_by_hand() -> None:
    observed = np.arange(
        1.0, 101.0
    )  # the 98th percentile lies between 98 and 99: two days, of mean 99.5
    simulated = observed.copy()
    simulated[98:] += 3.0, -4.0
    simulated[:98] += 50.0  # other days do not count
    error = np.sqrt((9 + 16) / 2) / 99.5
    assert MEASURES["nrmse_high"](simulated, observed) == pytest.approx(error)
    order = np.random.default_rng(0).permutation(100)
    assert MEASURES["nrmse_high"](simulated[order], observed[order]) == pytest.approx(error)
    assert MEASURES["nrmse_high"](7 * simulated, 7 * observed) == pytest.approx(error)  # no unit
    assert MEASURES["nrmse_high"](1.2 * observed, observed, None, 0.005) == pytest.approx(0.2)
    # the right flows in the wrong order: FHV is content
    swapped = observed[::-1]
    assert MEASURES["fhv"](swapped, observed) == pytest.approx(0.0, abs=1e-12)
    assert MEASURES["nrmse_high"](swapped, observed) == pytest.approx(
        np.sqrt((97**2 + 99**2) / 2) / 99.5
    )


@pytest.mark.parametrize("name", DISCHARGE)
def test_what_is_missing_does_not_count_and_nothing_is_an_error(name: str) -> None:
    simulated, observed = reference.made_up(2)
    hidden = np.arange(len(observed)) % 7 == 3
    blanked = np.where(hidden, np.nan, observed)
    masked = MEASURES[name](simulated, observed, ~hidden)
    np.testing.assert_equal(masked, MEASURES[name](simulated, blanked))
    with pytest.raises(DataError, match="only 0 of 2 pairs"):
        MEASURES[name]([1.0, 2.0], [np.nan, np.nan])
    with pytest.raises(DataError, match="shape"):
        MEASURES[name]([1.0, 2.0], [1.0])


def test_what_is_undefined_is_not_a_number() -> None:
    flat, varied = np.full(50, 2.0), np.random.default_rng(0).random(50)
    for name in ("nse", "kge", "alpha_nse", "beta_nse", "pearson_r"):
        assert math.isnan(MEASURES[name](varied, flat))
    for name in ("beta_kge", "fhv", "nrmse_high"):
        assert math.isnan(MEASURES[name](varied, np.zeros(50)))
    for name in ("fhv", "flv"):
        assert math.isnan(MEASURES[name](varied[:2], varied[1:3], None, 0.1))
        with pytest.raises(DataError, match="between 0 and 1"):
            MEASURES[name](varied, varied, None, 1.5)
    with pytest.raises(DataError, match="between 0 and 1"):
        MEASURES["nrmse_high"](varied, varied, None, 1.0)
    with pytest.raises(DataError, match="in order"):
        MEASURES["fms"](varied, varied, None, 0.7, 0.2)
