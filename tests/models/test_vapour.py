"""Water vapour at saturation against tables."""

from __future__ import annotations

import torch

from pydiffgeo.models.vapour import saturation_and_slope, saturation_pressure

F64 = torch.float64


def test_tables_of_fao_56() -> None:
    t = torch.tensor([0.0, 10.0, 20.0, 30.0, 40.0], dtype=F64)
    wanted = torch.tensor([0.611, 1.228, 2.338, 4.243, 7.376], dtype=F64)
    torch.testing.assert_close(saturation_pressure(t) / 1000, wanted, rtol=0, atol=6e-4)


def test_slope() -> None:
    t = torch.linspace(-40.0, 50.0, 19, dtype=F64, requires_grad=True)
    full, slope = saturation_and_slope(t)
    (found,) = torch.autograd.grad(full.sum(), t)
    torch.testing.assert_close(slope, found, rtol=1e-13, atol=0)
