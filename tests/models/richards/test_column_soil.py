"""Water contents, conductivities and heads of a model, with parameters as given to `solve`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from pydiffgeo import Grid, Richards, usda_soil
from pydiffgeo.errors import ParameterError

F64 = torch.float64
MODEL = Richards(Grid.uniform(100.0, 4))
LAYERED = Richards(Grid.uniform(100.0, 4, layers=(0.0, 50.0)))
LOAM = usda_soil("loam")
PSI = -torch.tensor([[[1e-3, 5.0, 50.0, 500.0]] * 3], dtype=F64)  # one column, three times


def test_parameters_that_vary_in_time_are_those_of_each_interval() -> None:
    theta_s, K_s = (
        torch.tensor([[0.43, 0.40, 0.45]], dtype=F64),
        torch.tensor([[1.0, 2.0, 3.0]], dtype=F64),
    )
    soil = {**LOAM, "theta_s": theta_s, "K_s": K_s}
    theta, K = MODEL.water_content(PSI, soil), MODEL.conductivity(PSI, soil)
    for t in range(3):
        at = {**LOAM, "theta_s": float(theta_s[0, t]), "K_s": float(K_s[0, t])}
        assert torch.equal(theta[:, t], MODEL.water_content(PSI[:, t], at))
        assert torch.equal(K[:, t], MODEL.conductivity(PSI[:, t], at))
    torch.testing.assert_close(theta[0, :, 0], theta_s[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(MODEL.head(theta, soil), PSI, rtol=1e-6, atol=0)
    in_time = xr.DataArray(theta_s[0].numpy(), dims="time")
    assert torch.equal(MODEL.water_content(PSI, {**soil, "theta_s": in_time}), theta)


def test_layers_that_vary_in_time() -> None:
    alpha = torch.tensor([[[0.01, 0.05], [0.02, 0.06], [0.03, 0.07]]], dtype=F64)
    theta = LAYERED.water_content(PSI, {**LOAM, "alpha": alpha})
    for t in range(3):
        for layer, cells in ((0, slice(0, 2)), (1, slice(2, 4))):
            alone = MODEL.water_content(PSI[:, t], {**LOAM, "alpha": float(alpha[0, t, layer])})
            assert torch.equal(theta[:, t, cells], alone[:, cells])


def test_parameters_in_time_need_states_in_time() -> None:
    for given in (torch.tensor([[0.43, 0.40, 0.45]]), torch.full((1, 1, 1), 0.43)):
        with pytest.raises(ParameterError, match="theta_s"):
            MODEL.water_content(PSI[:, 0], {**LOAM, "theta_s": given})
    with pytest.raises(ParameterError, match="'K_s' is nan at column 1"):
        MODEL.conductivity(PSI[:, 0], {**LOAM, "K_s": np.ma.masked_array([1.0, 1e20], [0, 1])})


@pytest.mark.parametrize("hydraulics", ["van_genuchten", "brooks_corey", "gardner", "haverkamp"])
def test_water_contents_that_no_head_has(hydraulics: str) -> None:
    model = Richards(Grid.uniform(30.0, 3), hydraulics)
    curve = dict.fromkeys(model.hydraulics.reads["retention"])
    soil = {
        k: torch.tensor([[model.spec.parameters[k].default]], dtype=F64, requires_grad=True)
        for k in curve
    }
    low, high = soil["theta_r"].item(), soil["theta_s"].item()
    for bad in (low, low - 0.01, high + 0.01, float("nan"), 43.0):
        theta = torch.tensor([[0.3, bad, 0.25]], dtype=F64)
        with pytest.raises(
            ParameterError,
            match=rf"content {bad:g} at \[0, 1\].*theta_r={low:g} to theta_s={high:g}.*nan",
        ):
            model.head(theta, soil)
        psi = model.head(theta, soil, outside="nan")
        assert torch.isnan(psi).tolist() == [[False, True, False]]
        gradients = torch.autograd.grad(psi[~torch.isnan(psi)].sum(), list(soil.values()))
        assert all(torch.isfinite(g).all() for g in gradients)
    # what a float32 makes of theta_s is theta_s
    rounded = torch.tensor([[high]], dtype=F64) + 3e-8
    assert -0.1 < model.head(rounded, soil).item() <= 0.0
