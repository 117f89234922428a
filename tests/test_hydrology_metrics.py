"""Measures of discharge: neuralhydrology's values, values by hand, tables over basins with confidence intervals."""

from __future__ import annotations

import json
import math
from pathlib import Path

import neuralhydrology_metrics as reference
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pydiffgeo.errors import DataError, UnknownName
from pydiffgeo.evaluation import median_scores, score_basins, write_scores
from pydiffgeo.evaluation.hydrology import HYDROLOGICAL

REFERENCE = json.loads(reference.FILE.read_text())["values"]


def scores(
    simulated: np.ndarray, observed: np.ndarray, names: list[str]
) -> dict[str, float | None]:
    """Ours, where neuralhydrology's have None for what is not a number."""
    found = {name: HYDROLOGICAL[name](simulated, observed) for name in names}
    return {name: None if math.isnan(value) else value for name, value in found.items()}


@pytest.mark.parametrize("seed", range(12))
def test_made_up_series_as_neuralhydrology(seed: int) -> None:
    expected = REFERENCE[f"seed {seed}"]
    assert scores(*reference.made_up(seed), list(expected)) == pytest.approx(
        expected, rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize("basin", reference.REAL)
def test_real_series_as_neuralhydrology(basin: str, shared_data) -> None:
    expected = REFERENCE[basin]
    series = reference.real(shared_data("camels_us_daymet_500.nc"), basin)
    assert scores(*series, list(expected)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_reference_reaches_every_branch() -> None:
    assert set(REFERENCE["seed 0"]) | {"bias", "nrmse_high"} == set(HYDROLOGICAL)
    for metric in ("peak_timing", "missed_peaks"):
        values = {REFERENCE[f"seed {seed}"][metric] for seed in range(12)}
        assert len(values - {None}) > 3


def test_peaks_by_hand() -> None:
    observed = np.ones(400)
    observed[[50, 200, 350]] = 10.0
    simulated = np.ones(400)
    simulated[[52, 200, 346]] = (
        8.0,
        10.0,
        12.0,
    )  # two days late, right, four days early: outside the window
    # in the window of the third the simulation is flat: its first day counts as the peak, three days early
    assert HYDROLOGICAL["peak_timing"](simulated, observed) == pytest.approx((2 + 0 + 3) / 3)
    assert HYDROLOGICAL["missed_peaks"](simulated, observed) == pytest.approx(2 / 3)
    assert HYDROLOGICAL["peak_mape"](simulated, observed) == pytest.approx(
        (0.9 + 0 + 0.9) / 3 * 100
    )
    observed[198] = (
        np.nan
    )  # the middle peak is at a gap: not judged for timing, found for the other
    assert HYDROLOGICAL["peak_timing"](simulated, observed) == pytest.approx((2 + 3) / 2)
    assert math.isnan(HYDROLOGICAL["peak_timing"](simulated[:40], observed[:40]))


def test_flow_duration_by_hand() -> None:
    observed = np.arange(100.0, 0.0, -1.0)
    assert HYDROLOGICAL["fhv"](2 * observed, observed) == pytest.approx(100.0)
    assert HYDROLOGICAL["fms"](observed**2, observed) == pytest.approx(100.0, abs=1e-3)
    assert HYDROLOGICAL["flv"](observed**2, observed) == pytest.approx(-100.0, abs=1e-3)
    assert HYDROLOGICAL["alpha_nse"](2 * observed, observed) == pytest.approx(2.0)
    assert HYDROLOGICAL["beta_kge"](2 * observed, observed) == pytest.approx(2.0)
    assert HYDROLOGICAL["beta_nse"](observed + np.std(observed), observed) == pytest.approx(1.0)


def test_error_of_the_highest_flows_by_hand() -> None:
    observed = np.arange(
        1.0, 101.0
    )  # the 98th percentile lies between 98 and 99: two days, of mean 99.5
    simulated = observed.copy()
    simulated[98:] += 3.0, -4.0
    simulated[:98] += 50.0  # other days do not count
    error = np.sqrt((9 + 16) / 2) / 99.5
    assert HYDROLOGICAL["nrmse_high"](simulated, observed) == pytest.approx(error)
    order = np.random.default_rng(0).permutation(100)
    assert HYDROLOGICAL["nrmse_high"](simulated[order], observed[order]) == pytest.approx(error)
    assert HYDROLOGICAL["nrmse_high"](7 * simulated, 7 * observed) == pytest.approx(
        error
    )  # no unit
    assert HYDROLOGICAL["nrmse_high"](1.2 * observed, observed, None, 0.005) == pytest.approx(0.2)
    # the right flows in the wrong order: FHV is content
    swapped = observed[::-1]
    assert HYDROLOGICAL["fhv"](swapped, observed) == pytest.approx(0.0, abs=1e-12)
    assert HYDROLOGICAL["nrmse_high"](swapped, observed) == pytest.approx(
        np.sqrt((97**2 + 99**2) / 2) / 99.5
    )


@pytest.mark.parametrize("name", HYDROLOGICAL)
def test_what_is_missing_does_not_count_and_nothing_is_an_error(name: str) -> None:
    simulated, observed = reference.made_up(2)
    hidden = np.arange(len(observed)) % 7 == 3
    blanked = np.where(hidden, np.nan, observed)
    masked = HYDROLOGICAL[name](simulated, observed, ~hidden)
    np.testing.assert_equal(masked, HYDROLOGICAL[name](simulated, blanked))
    with pytest.raises(DataError, match="only 0 of 2 pairs"):
        HYDROLOGICAL[name]([1.0, 2.0], [np.nan, np.nan])
    with pytest.raises(DataError, match="shape"):
        HYDROLOGICAL[name]([1.0, 2.0], [1.0])


def test_what_is_undefined_is_not_a_number() -> None:
    flat, varied = np.full(50, 2.0), np.random.default_rng(0).random(50)
    for name in ("nse", "kge", "alpha_nse", "beta_nse", "pearson_r"):
        assert math.isnan(HYDROLOGICAL[name](varied, flat))
    for name in ("beta_kge", "fhv", "nrmse_high"):
        assert math.isnan(HYDROLOGICAL[name](varied, np.zeros(50)))
    for name in ("fhv", "flv"):
        assert math.isnan(HYDROLOGICAL[name](varied[:2], varied[1:3], None, 0.1))
        with pytest.raises(DataError, match="between 0 and 1"):
            HYDROLOGICAL[name](varied, varied, None, 1.5)
    with pytest.raises(DataError, match="between 0 and 1"):
        HYDROLOGICAL["nrmse_high"](varied, varied, None, 1.0)
    with pytest.raises(DataError, match="in order"):
        HYDROLOGICAL["fms"](varied, varied, None, 0.7, 0.2)


def table() -> xr.Dataset:
    series = [reference.made_up(seed) for seed in (3, 4, 5, 6)]
    days = min(len(s) for s, _ in series)
    simulated, observed = (np.stack([x[k][:days] for x in series]) for k in (0, 1))
    observed[2] = np.nan
    return score_basins(simulated, observed, ["01", "02", "03", "04"], mask=np.arange(days) > 50)


def test_a_table_of_basins(tmp_path: Path) -> None:
    scores = table()
    simulated, observed = (x[51:] for x in reference.made_up(3))
    assert (
        scores.nse[0] == HYDROLOGICAL["nse"](simulated, observed)
        and scores.days[0] == np.isfinite(simulated + observed).sum()
    )
    assert scores.days[2] == 0 and all(np.isnan(scores[name][2]) for name in HYDROLOGICAL)
    csv, netcdf = write_scores(scores, tmp_path / "run" / "scores.test")
    read = pd.read_csv(csv, dtype={"basin": str}).set_index("basin")
    assert csv.name == "scores.test.csv" and read.index.tolist() == ["01", "02", "03", "04"]
    np.testing.assert_allclose(read.kge, scores.kge, rtol=1e-5)
    xr.testing.assert_equal(xr.load_dataset(netcdf), scores)
    assert xr.load_dataset(netcdf).fhv.attrs["units"] == "percent"
    with pytest.raises(DataError, match="must both be .basin, time. for 1 basins"):
        score_basins(np.ones((2, 5)), np.ones((2, 5)), ["a"])
    with pytest.raises(UnknownName, match="did you mean 'nse'"):
        score_basins(np.ones((1, 5)), np.ones((1, 5)), ["a"], ["nsse"])


def test_medians_and_their_intervals() -> None:
    random = np.random.default_rng(0)
    values = random.normal(0.7, 0.1, 400)
    values[:3] = np.nan
    scores = xr.Dataset(
        {
            "nse": ("basin", values),
            "fhv": ("basin", np.full(400, np.nan)),
            "days": ("basin", np.ones(400)),
        }
    )
    nse, fhv = median_scores(scores)
    assert nse["median"] == np.nanmedian(values) and nse["basins"] == 397 and nse["undefined"] == 3
    # the median of n normal values has the standard error sqrt(pi / 2n) sd = 0.0063
    assert nse["lower"] == pytest.approx(nse["median"] - 1.96 * 0.0063, abs=0.004)
    assert nse["upper"] == pytest.approx(nse["median"] + 1.96 * 0.0063, abs=0.004)
    assert math.isnan(fhv["median"]) and fhv["basins"] == 0
    assert median_scores(scores) == [pytest.approx(nse), pytest.approx(fhv, nan_ok=True)]  # seeded
    assert median_scores(scores, seed=1)[0]["lower"] != nse["lower"]
    assert median_scores(scores, confidence=0.5)[0]["upper"] < nse["upper"]
    with pytest.raises(DataError, match="confidence 95"):
        median_scores(scores, confidence=95)
