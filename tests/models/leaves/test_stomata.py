"""Conductances against their published forms, and their slopes."""

from __future__ import annotations

import pytest
import torch
from leaf_cases import at

from pydiffgeo.models.leaves.stomata import (
    ball_berry,
    buckley_mott_farquhar,
    conductance,
    conductance_at_surface,
    dryness,
    leuning,
    medlyn,
)
from pydiffgeo.models.vapour import saturation_pressure

F64 = torch.float64


def test_forms_by_hand() -> None:
    net, surface, least = at(15.0), at(380.0), at(0.01)
    vpd = at(1.5)
    slopes = {
        "medlyn": (medlyn(vpd, at(4.0)), 1.6 * (1 + 4 / 1.5**0.5)),
        "leuning": (
            leuning(vpd, {"leuning_slope": at(12.0), "D0": at(3.0)}),
            12.0 / (1 + 1.5 / 3.0),
        ),
        "ball_berry": (
            ball_berry(vpd, at(25.0), {"ball_berry_slope": at(9.0)}),
            9 * (1 - 1500 / float(saturation_pressure(at(25.0)))),
        ),
    }
    for name, (found, wanted) in slopes.items():
        assert float(found) == pytest.approx(wanted, rel=5e-4), name
        gs = conductance(net, surface, {"least": least, "slope": found})[0]
        assert float(gs) == pytest.approx(0.01 + float(found) * 15 / 380, rel=1e-5)
    p = {"Em": at(5.0), "i0": at(100.0), "k": at(8000.0), "b": at(7.0)}
    gs = buckley_mott_farquhar(at(1000.0), at(15.0), p)
    assert float(gs) == pytest.approx(5 * 1100 / (8000 + 7000 + 1100 * 15))


def test_stomata_stay_shut_where_nothing_is_assimilated() -> None:
    leaf = {"least": at(0.02), "slope": at(10.0)}
    gs = conductance(at(-3.0, -0.5), at(400.0, 400.0), leaf)[0]
    torch.testing.assert_close(gs, at(0.02, 0.02), rtol=1e-6, atol=0)
    assert float(dryness(at(-2.0))) == pytest.approx(0.05, abs=1e-4)
    vpd = at(0.05).requires_grad_()  # at the threshold the slope is 1/2
    assert float(torch.autograd.grad(dryness(vpd), vpd)[0]) == 0.5
    assert float(dryness(at(1.0))) == pytest.approx(1.0, abs=1e-4)


def test_the_humidity_at_the_surface_solves_its_equation() -> None:
    """gs = g0 + 1.6 (1 + g1 / sqrt(Ds)) A / Cs with Ds = D gb / (gs + gb)."""
    leaf = {
        "least": at(0.01), "g1": at(4.5), "dryness": at(1.8), "boundary_layer_conductance": at(0.9),
    }  # fmt: skip
    net, surface = at(2.0, 10.0, 25.0), at(60.0, 350.0, 800.0)
    gs = conductance_at_surface(net, surface, leaf)[0]
    there = 1.8 * 0.9 / (gs + 0.9)
    wanted = 0.01 + 1.6 * (1 + 4.5 / there.sqrt()) * net / surface
    torch.testing.assert_close(gs, wanted, rtol=1e-4, atol=0)


def test_ball_berry_and_leuning_see_the_humidity_at_the_surface() -> None:
    """gs = g0 + m hs A / Cs and g0 + a A / ((Cs - G) (1 + Ds / D0)): what is at the surface is that
    of a leaf whose vapour passes stomata and boundary layer one after the other.
    """
    net, surface, gb = at(0.5, 10.0, 25.0), at(160.0, 350.0, 800.0), 0.9
    whole = {"least": at(0.01), "boundary_layer_conductance": at(gb)}
    humidity, vpd = 0.45, 1.8
    gs = conductance_at_surface(
        net, surface, {**whole, "slope": at(9.0), "humidity": at(humidity)}
    )[0]
    inside, air = 1.0, humidity  # vapour pressures, in parts of that inside
    at_surface = (gs * inside + gb * air) / (gs + gb)
    torch.testing.assert_close(gs, 0.01 + 9 * at_surface * net / surface, rtol=1e-4, atol=0)
    leaf = {**whole, "slope": at(12.0), "excess": at(1 + vpd / 1.5), "base": at(40.0)}
    gs = conductance_at_surface(net, surface, leaf)[0]
    there = vpd * gb / (gs + gb)
    wanted = 0.01 + 12 * net / ((surface - 40) * (1 + there / 1.5))
    torch.testing.assert_close(gs, wanted, rtol=1e-4, atol=0)  # smoothed


@pytest.mark.parametrize("base", [0.0, 60.0])
def test_slopes(base: float) -> None:
    net = at(-3.0, -1e-5, 0.0, 1e-4, 1.0, 20.0).requires_grad_()
    surface = at(30.0, 100.0, 250.0, 400.0, 800.0, 55.0).requires_grad_()
    plain = {"least": at(0.01), "slope": at(9.0), "base": at(base)}
    humid = {
        "least": at(0.01), "g1": at(4.0), "dryness": at(1.2), "boundary_layer_conductance": at(1.1),
    }  # fmt: skip
    gb, slope = {"boundary_layer_conductance": at(1.1)}, {**plain, "slope": at(9.0)}
    ball = {**slope, **gb, "humidity": at(0.4)}
    leuning_ = {**slope, **gb, "excess": at(2.2)}
    forms = [(conductance_at_surface, leaf) for leaf in (humid, ball, leuning_)]
    for found, leaf in ((conductance, plain), *forms):
        gs, by_net, by_surface = found(net, surface, leaf)
        true = torch.autograd.grad(gs.sum(), [net, surface])
        torch.testing.assert_close(by_net.detach(), true[0], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(by_surface.detach(), true[1], rtol=1e-6, atol=1e-12)
