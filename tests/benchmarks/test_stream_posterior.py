"""The posterior of streams: a made-up stream is found again, and its sample agrees."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import pydiffgeo as pdg

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import stream_posterior as benchmark  # noqa: E402


def test_the_truth_is_found_within_its_errors() -> None:
    twin = benchmark.twin("torch", days=4)
    found = pdg.posterior(*twin, "laplace", correlated=True, samples=1000, predictive=0)
    rows = benchmark.told(found)
    for name, truth in benchmark.TRUTH.items():
        assert abs(rows[name]["mean"] - truth) < 3 * rows[name]["sd"], rows[name]
    # white noise of 0.1 mg L-1
    assert abs(float(found.draws.error_correlation.squeeze())) < 0.2
    assert 0.08 < float(found.draws.error_sd.squeeze()) < 0.12


def test_a_sample_is_where_the_curvature_says(tmp_path: Path) -> None:
    """Oxygen is nearly linear in its numbers: NUTS gives mean and width of the curvature."""
    pytest.importorskip("pyro")
    output = tmp_path / "posterior.json"
    benchmark.main(["--cases", "twin", "--engine", "torch", "--samples", "40", "--warm-up", "20",
                    "--chains", "2", "--output", str(output)])  # fmt: skip
    found = json.loads(output.read_text())["twin"]
    for name, truth in benchmark.TRUTH.items():
        row, flat = found["hmc"][name], found["laplace"][name]
        assert row["r_hat"] < 1.1 and row["effective_size"] > 20
        assert abs(row["mean"] - flat["mean"]) < flat["sd"]
        assert row["low"] < truth < row["high"]
        assert 0.6 < row["sd"] / flat["sd"] < 1.6
