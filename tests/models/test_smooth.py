"""Smooth thresholds: exact beyond three widths, their height and slopes within."""

from __future__ import annotations

import pytest
import torch

from pydiffgeo.models.smooth import (
    at_most_one,
    available,
    left_of,
    positive,
    positive_and_slope,
    step_up,
    with_tail,
)

F64 = torch.float64


@pytest.mark.parametrize("width", [0.15, 0.5, 1.0])
def test_positive_is_exact_beyond_three_widths(width: float) -> None:
    x = torch.linspace(-10, 10, 2001, dtype=F64) * width
    above = positive(x, width) - x.clamp_min(0)
    outside = x.abs() > 3.0001 * width
    assert float(above[x < -3.0001 * width].abs().max()) == 0
    assert float(above[outside].abs().max()) < 1e-15 * 10 * width
    assert float(above.min()) >= -1e-15
    # largest at 0: 9/16 of the width
    assert float(above.max()) == pytest.approx(9 / 16 * width) == float(above[1000])
    assert set(step_up(x, width)[outside].tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("function", [positive, step_up, lambda x, w: at_most_one(x + 1, w)[0]])
def test_slopes_are_continuous(function: object) -> None:
    """At the ends, too: gradients by autograd agree with differences everywhere."""
    x = torch.tensor([-1.5, -1.4999, -0.7, 0.0, 0.3, 1.4999, 1.5, 4.0], dtype=F64)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: function(v, 0.5), x, eps=1e-7, atol=1e-6)  # type: ignore[operator]


@pytest.mark.parametrize("dtype", [F64, torch.float32])
@pytest.mark.parametrize("width", [0.15, 0.5, 1.0])
def test_slope_of_numbers_next_to_an_end(width: float, dtype: torch.dtype) -> None:
    """As 1.6 - 0.1 degC may be a rounding away from 1.5."""
    for end in (-3 * width, 3 * width):
        x = [torch.tensor(end, dtype=dtype)]
        for _ in range(4):
            x += [x[-1].nextafter(x[-1] + 1)]
            x.insert(0, x[0].nextafter(x[0] - 1))
        at = torch.stack(x).requires_grad_()
        (slope,) = torch.autograd.grad(positive(at, width).sum(), at)
        torch.testing.assert_close(slope, torch.full_like(at, float(end > 0)))


def test_slopes_by_hand_are_those_of_autograd() -> None:
    x = torch.linspace(-3, 3, 61, dtype=F64, requires_grad=True)
    for pair in (positive_and_slope(x, 0.5), at_most_one(x + 1, 0.15)):
        (slope,) = torch.autograd.grad(pair[0].sum(), x)
        torch.testing.assert_close(pair[1], slope)
    value, slope = positive_and_slope(x, 0.5)
    torch.testing.assert_close(value, positive(x, 0.5), rtol=0, atol=0)
    torch.testing.assert_close(slope, step_up(x, 0.5), rtol=0, atol=0)


def test_at_most_one_takes_the_smaller() -> None:
    x = torch.tensor([-0.1, 0.3, 0.55, 1.0, 1.45, 7.0], dtype=F64)
    expected = torch.tensor([-0.1, 0.3, 0.55, 1 - 9 / 16 * 0.15, 1.0, 1.0], dtype=F64)
    torch.testing.assert_close(at_most_one(x, 0.15)[0], expected)


def test_slope_of_the_step_at_the_threshold_is_that_of_a_sigmoid() -> None:
    x = torch.zeros((), dtype=F64, requires_grad=True)
    assert float(torch.autograd.grad(step_up(x, 0.5), x)[0]) == pytest.approx(1 / (4 * 0.5))


def test_a_threshold_with_a_tail_has_a_slope_everywhere() -> None:
    x = torch.tensor([-1e9, -100.0, -3.0, 0.0, 2.0, 1e9], dtype=F64, requires_grad=True)
    value, slope = with_tail(x, 2.0)
    torch.testing.assert_close(torch.autograd.grad(value.sum(), x)[0], slope)
    assert float(slope.min()) > 0
    assert float(value[3]) == 1.0 and float(value[5]) == pytest.approx(1e9)
    assert float(value[1]) == pytest.approx(2.0**2 / (4 * 100), rel=1e-3)  # w^2 / (4 |x|)


def test_what_is_left_of_a_store_solves_its_equation() -> None:
    random = torch.Generator().manual_seed(0)
    total, loss = 100 * torch.rand(2, 200, generator=random, dtype=F64) ** 3
    total, loss = torch.cat([total, torch.zeros(2)]), torch.cat([loss, torch.tensor([0.0, 5.0])])
    left = left_of(total, loss, 1.0)
    assert bool((left >= 0).all())
    torch.testing.assert_close(left + loss * available(left, 1.0), total, rtol=0, atol=1e-12)
