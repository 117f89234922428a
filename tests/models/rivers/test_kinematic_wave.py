"""The kinematic wave: normal depth, its celerity, and pure advection of the first order."""

from __future__ import annotations

import pytest
import torch
from river_cases import BASE, F64, along, channel_of, orders, pulse, run

from pydiffgeo import KinematicWave


def test_normal_depth_of_a_wide_river() -> None:
    """At steady flow depth = (q n / sqrt(S))^(3/5), q per width; Chow, Maidment & Mays (1988)."""
    width, per_width = 1e6, torch.tensor([0.05, 1.0, 20.0], dtype=F64)
    given = {"n": 0.03, "slope": 1e-3, "length": 5000.0, "width": width, "side_slope": 0.0}
    parameters = {k: torch.tensor([v], dtype=F64) for k, v in given.items()}
    inflow = (per_width * width)[:, None].expand(-1, 300)
    forcing = {"inflow": inflow, "lateral_inflow": torch.zeros_like(inflow)}
    solution = run(KinematicWave(), parameters, forcing, 3600.0, start=1e9)
    depth = solution.states[:, -1, 0] / (width * given["length"])
    torch.testing.assert_close(depth, (per_width * 0.03 / 1e-3**0.5) ** 0.6, rtol=1e-4, atol=0)
    torch.testing.assert_close(
        solution.fluxes["discharge"][:, -1], inflow[:, -1], rtol=1e-9, atol=0
    )


def test_celerity_is_the_slope_of_discharge_in_area() -> None:
    for section in ("trapezoid", "power_law"):
        model = KinematicWave(section)
        given = {"n": 0.03, "slope": 1e-3, "length": 2000.0}
        given |= {"width": 20.0, "side_slope": 2.0, "p": 15.0, "q": 0.5}
        p = {k: torch.tensor(v, dtype=F64) for k, v in given.items()}
        volume = torch.logspace(1, 7, 30, dtype=F64).requires_grad_()
        area, _, velocity, relative = model.channel(volume, p)
        (slope,) = torch.autograd.grad((area * velocity).sum() * 2000.0, volume)
        torch.testing.assert_close(slope, (relative * velocity).detach(), rtol=1e-9, atol=0)


def test_reaches_in_a_row_are_the_wave_without_diffusion() -> None:
    """A small wave on a steady flow arrives unchanged, c later, as reaches and steps shrink."""
    celerity, _ = channel_of(KinematicWave())
    errors = []
    for count in (20, 40, 80, 160):
        step = 14400.0 / count
        out, time = along(KinematicWave(), count, step)
        errors.append(float((out - pulse(time - BASE["whole"] / celerity)).abs().max()))
    assert errors[-1] < 0.2
    assert orders(errors)[-1] == pytest.approx(1.0, abs=0.25)
