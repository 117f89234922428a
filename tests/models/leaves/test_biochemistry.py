"""Limits of assimilation: values worked out by hand, slopes, and what they do in the extremes."""

from __future__ import annotations

import math

import pytest
import torch

from pydiffgeo.models.leaves.biochemistry import (
    c3,
    c4,
    electron_transport,
    limits_c3,
    limits_c4,
    smooth_minimum,
)

F64 = torch.float64
SHARP = (0.99999999, 0.99999999)


def leaf(**changed: float) -> dict[str, torch.Tensor]:
    values = {
        "V": 60.0, "J": 90.0, "compensation": 42.75, "michaelis": 710.0, "product": 18.0,
        "V_c4": 40.0, "light_c4": 30.0, "slope_c4": 0.8,
    } | changed  # fmt: skip
    return {k: torch.tensor(v, dtype=F64) for k, v in values.items()}


def test_smooth_minimum_and_its_stated_width() -> None:
    a = torch.linspace(0.0, 30.0, 200, dtype=F64).requires_grad_()
    b = torch.tensor(10.0, dtype=F64)
    x, root = smooth_minimum(a, b, 0.999)
    assert bool((x <= torch.minimum(a, b) + 1e-12).all())
    (slope,) = torch.autograd.grad(x.sum(), a)
    torch.testing.assert_close(slope, ((b - x) / root).detach(), rtol=1e-10, atol=1e-12)
    for curvature in (0.999, 0.98, 0.7):
        part = math.sqrt(1 - curvature)
        equal, _ = smooth_minimum(b, b, curvature)
        assert float(equal) == pytest.approx(10 / (1 + part), rel=1e-9)
    dark, _ = smooth_minimum(0 * b, 0 * b, 0.999)
    assert float(dark) == 0.0


def test_limits_worked_out_by_hand() -> None:
    co2 = torch.tensor([20.0, 100.0, 280.0, 900.0], dtype=F64)
    rubisco = 60 * (co2 - 42.75) / (co2 + 710)
    light = 90 * (co2 - 42.75) / (4 * co2 + 8 * 42.75)
    for found, wanted in zip(limits_c3(co2, leaf()), (rubisco, light), strict=False):
        torch.testing.assert_close(found, wanted)
    least = torch.where(co2 > 42.75, torch.minimum(rubisco, light), torch.maximum(rubisco, light))
    wanted = least.clamp(max=18.0)
    found, _ = c3(co2, leaf(), SHARP)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=0)
    assert float(found[0]) < 0  # more is respired by light than is fixed
    low, high = c4(torch.tensor([10.0, 500.0], dtype=F64), leaf(), SHARP)[0]
    assert float(low) == pytest.approx(8.0, rel=1e-4) and float(high) == pytest.approx(30.0, 1e-4)
    assert [float(x) for x in limits_c4(co2[:1], leaf())] == [40.0, 30.0, 16.0]


@pytest.mark.parametrize("pathway", [c3, c4])
@pytest.mark.parametrize("changed", [{}, {"V": 0.0, "J": 0.0}, {"light_c4": 0.0, "J": 0.0}])
def test_slopes_in_co2(pathway, changed) -> None:
    co2 = torch.linspace(1.0, 1500.0, 400, dtype=F64).requires_grad_()
    for curvatures in ((0.999, 0.999), (0.8, 0.95)):
        gross, slope = pathway(co2, leaf(**changed), curvatures)
        (true,) = torch.autograd.grad(gross.sum(), co2)
        torch.testing.assert_close(slope.detach(), true, rtol=1e-8, atol=1e-10)
        assert bool((slope >= -1e-12).all())


def test_electron_transport() -> None:
    """Half of the incident light in the shade, J_max in the sun, the quadratic between."""
    most, bend = torch.tensor(100.0, dtype=F64), torch.tensor(0.7, dtype=F64)
    light = torch.tensor([0.01, 80.0, 1e7], dtype=F64)
    j = electron_transport(light, most, bend)
    assert float(j[0]) == pytest.approx(0.01, rel=1e-3) and float(j[2]) == pytest.approx(100, 1e-4)
    torch.testing.assert_close(
        0.7 * j * j - (light + 100) * j + 100 * light, 0 * j, atol=1e-6, rtol=0
    )
