"""The benchmark of numerics: its loop is the published one, and its gradient that of the loop."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import numerics  # noqa: E402


def test_one_step_a_day_is_the_published_loop() -> None:
    f, p = numerics.rain(3, 25, 20.0), numerics.drawn(3)
    published = numerics.states_and_discharge(f, p, torch.from_numpy(numerics.INITIAL))[1]
    assert torch.equal(numerics.by_loop(1)(f, p), published)


@pytest.mark.parametrize("steps", [1, 4])
def test_the_gradient_of_the_loop_in_blocks_is_that_of_differences(steps: int) -> None:
    f, p = numerics.rain(2, 25, 20.0), numerics.drawn(2)
    loop = numerics.by_loop(steps)
    _, gradient = numerics.with_gradient(loop, f, p)
    for k, (low, high) in enumerate(numerics.BOUNDS.values()):
        name, e = list(numerics.BOUNDS)[k], 1e-6 * (high - low)
        up, down = (loop(f, {**p, name: p[name] + x}).square().mean(1) for x in (e, -e))
        slope = (up - down) / 2e-6
        torch.testing.assert_close(gradient[:, k], slope, rtol=1e-5, atol=1e-6)


def test_more_steps_come_nearer_to_the_converged_solution_of_the_loop() -> None:
    f, p = numerics.rain(3, 40, 20.0), numerics.drawn(3)
    exact = numerics.by_loop(384)(f, p)
    off = [float((numerics.by_loop(n)(f, p) - exact).abs().max()) for n in (1, 4, 96)]
    assert off[0] > 2 * off[1] > 20 * off[2]
