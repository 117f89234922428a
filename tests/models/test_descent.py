"""Gradient descent on all data at once.

It ends at the minimum, at rates that fall along a cosine.
"""

from __future__ import annotations

import math

import pytest
import torch

from pydiffgeo.models.descent import descend


def test_it_ends_at_the_minimum_of_a_quadratic():
    x = torch.nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
    goal = torch.tensor([1.0, 0.5], dtype=torch.float64)
    descend(lambda: (x - goal).square().sum(), {0.1: [x]}, 300)
    torch.testing.assert_close(x.detach(), goal, atol=1e-4, rtol=0)


def test_rates_fall_along_a_cosine_for_each_group():
    slow, fast = (torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2))
    before = [(0.0, 0.0)]

    def loss() -> torch.Tensor:
        before.append((float(slow.detach()), float(fast.detach())))
        return slow.sum() + fast.sum()  # of a constant gradient Adam takes steps of the very rate

    descend(loss, {0.01: [slow], 0.1: [fast]}, 20)
    steps = [a[1] - b[1] for a, b in zip(before[1:], before[2:], strict=False)]
    shares = [0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * k / 20)) for k in range(19)]
    assert steps == pytest.approx([0.1 * share for share in shares], rel=1e-4)
    assert before[-1][0] == pytest.approx(0.1 * before[-1][1], rel=1e-4)
