"""Metrics against values worked by hand, and tables written and read back."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from pydiffgeo.errors import DataError, UnknownName
from pydiffgeo.evaluation import METRICS, print_table, score, write_table

OBSERVED = [1.0, 2.0, 3.0, 4.0]
SIMULATED = [2.0, 2.0, 5.0, 5.0]
# errors 1, 0, 2, 1: mean square 1.5, mean 1, variance 0.5; covariance 1.75, sd 1.5 and sqrt(1.25); sum of
# squares 6 and 5
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


@pytest.mark.parametrize("name", METRICS)
def test_by_hand(name):
    assert METRICS[name](SIMULATED, OBSERVED) == pytest.approx(EXPECTED[name], abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_missing_and_masked_pairs_do_not_count(name):
    simulated = np.array([*SIMULATED, np.nan, 7.0, 9.0])
    observed = np.array([*OBSERVED, 1.0, np.nan, 0.0])
    mask = np.array([True] * 6 + [False])
    assert METRICS[name](simulated, observed, mask) == pytest.approx(EXPECTED[name], abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_perfect_and_identity(name):
    perfect = {"rmse": 0, "ubrmse": 0, "bias": 0, "correlation": 1, "kge": 1, "nse": 1}[name]
    assert METRICS[name](OBSERVED, OBSERVED) == pytest.approx(perfect, abs=1e-12)
    random = np.random.default_rng(0)
    s, o = random.random((2, 50))
    s2 = score(s, o)
    assert s2["rmse"] ** 2 == pytest.approx(s2["bias"] ** 2 + s2["ubrmse"] ** 2)


@pytest.mark.parametrize("name", METRICS)
def test_nothing_to_compare_is_an_error(name):
    with pytest.raises(DataError, match="only 1 of 2 pairs"):
        METRICS[name]([1.0, np.nan], [1.0, 2.0])
    with pytest.raises(DataError, match="shape"):
        METRICS[name]([1.0, 2.0], [1.0])


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


def test_table_is_printed_and_read_back(tmp_path):
    rows = [
        {"model": "a", "rmse": 0.2, "kge": float("nan")},
        {"model": "b", "rmse": 0.1, "kge": 0.5},
    ]
    console = Console(record=True, width=80, force_terminal=False)
    print_table(rows, "Scores", best={"rmse": "min"}, console=console)
    text = console.export_text()
    assert "Scores" in text and "0.100" in text and "-" in text
    csv, js = write_table(rows, tmp_path / "deep" / "table")
    assert pd.read_csv(csv).rmse.tolist() == [0.2, 0.1]
    assert json.loads(js.read_text())[0] == {"model": "a", "rmse": 0.2, "kge": None}
