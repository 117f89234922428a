"""The posterior of streams: a made-up stream is found again, and its sample agrees."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import stream_posterior as posterior  # noqa: E402


@pytest.fixture(scope="module")
def twin() -> posterior.Case:
    return posterior.twin(days=4)


def test_innovations_are_of_two_steps_that_are_observed() -> None:
    r = torch.tensor([1.0, 3.0, torch.nan, 2.0, 4.0, 5.0])
    assert posterior.innovations(r, 0.5).tolist() == [2.5, 3.0, 3.0]


def test_the_truth_is_found_within_its_errors(twin: posterior.Case) -> None:
    x, covariance, rho, spread = posterior.best(twin)
    found = twin.physical(x[None])
    error = covariance.diag().sqrt()
    told = {k: twin.bounds(k).from_physical(torch.tensor(v).double()) for k, v in twin.told.items()}
    for k, name in enumerate(twin.names):
        assert abs(float(x[k] - told[name])) < 3 * float(error[k]), (name, found[name])
    assert abs(rho) < 0.2 and 0.08 < spread < 0.12  # white noise of 0.1 mg L-1


def test_the_gradient_of_the_posterior(twin: posterior.Case) -> None:
    """Against central differences."""
    x = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(twin.minus_log(x, 0.3, 0.2), x)
    for k, step in enumerate(1e-5 * torch.eye(3, dtype=torch.float64)):
        up, down = (twin.minus_log((x + s).detach(), 0.3, 0.2) for s in (step, -step))
        torch.testing.assert_close(slope[k], (up - down) / 2e-5, rtol=1e-6, atol=1e-4)


def test_a_sample_is_where_the_curvature_says(tmp_path: Path) -> None:
    """Oxygen is nearly linear in its numbers: NUTS gives mean and width of the curvature."""
    pytest.importorskip("pyro")
    output = tmp_path / "posterior.json"
    posterior.main(["--cases", "twin", "--samples", "40", "--warm-up", "20", "--chains", "2",
                    "--output", str(output)])  # fmt: skip
    found = json.loads(output.read_text())["twin"]
    assert max(found["rhat"]) < 1.1 and min(found["effective"]) > 20
    for name in ("GPP", "ER", "K600"):
        row = found[name]
        assert abs(row["nuts_mean"] - row["best"]) < row["curvature_sd"]
        assert row["nuts_low"] < row["told"] < row["nuts_high"]
        assert 0.6 < row["nuts_sd"] / row["curvature_sd"] < 1.6
