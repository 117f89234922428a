"""Muskingum-Cunge: a small wave is spread as the channel spreads it, whatever the steps."""

from __future__ import annotations

import pytest
from river_cases import BASE, along, channel_of, hayami, orders
from torch import Tensor

from pydiffgeo import MuskingumCunge

COUNTS = (8, 16, 32)
STEP = 7200.0  # s, of one reach: Courant's number is 0.6 in all


@pytest.fixture(scope="module")
def waves() -> list[tuple[Tensor, Tensor, Tensor]]:
    """At the end of channels of 8, 16 and 32 reaches: the wave, that of Hayami, and times."""
    celerity, diffusion = channel_of(MuskingumCunge())
    found = []
    for count in COUNTS:
        out, time = along(MuskingumCunge(), count, STEP / count)
        found.append((out, hayami(time, BASE["whole"], celerity, diffusion), time))
    return found


def test_second_order_to_the_wave_of_diffusion(waves: list) -> None:
    """Hayami (1951): reaches of 5, 2.5 and 1.25 km, steps of 15, 7.5 and 3.75 minutes."""
    errors = [float((out - true).abs().max()) for out, true, _ in waves]
    assert min(orders(errors)) > 1.9 and errors[-1] < 3e-3


def test_travel_time_and_spreading_are_those_of_the_channel(waves: list) -> None:
    """Mean delay x / c, and variance 2 D x / c^3, of reaches of any length."""
    celerity, diffusion = channel_of(MuskingumCunge())
    for out, _, time in waves:
        weight = out / out.sum()
        mean = float((weight * time).sum())
        variance = float((weight * (time - mean) ** 2).sum())
        assert mean - BASE["middle"] == pytest.approx(BASE["whole"] / celerity, abs=0.01)
        spread = 2 * diffusion * BASE["whole"] / celerity**3
        assert variance - BASE["width"] ** 2 == pytest.approx(spread, rel=2e-3)


def test_first_order_where_x_does_not_know_the_step(waves: list) -> None:
    """Without `step`, what implicit Euler spreads comes on top: 6 to 22 times what the channel
    does, here.
    """
    errors = []
    for count, (_, true, _) in zip(COUNTS, waves, strict=True):
        out, _ = along(MuskingumCunge(), count, STEP / count, known_step=0.0)
        errors.append(float((out - true).abs().max()))
    assert max(orders(errors)) < 1.1 and errors[-1] > 0.05
