"""Soils of every family of hydraulic curves, and slopes by differentiation."""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo.models.richards.hydraulics import (
    HYDRAULICS,
    BrooksCorey,
    SoilHydraulics,
    VanGenuchten,
)

F64 = torch.float64


PARAMETERS: dict[str, dict[str, list[float]]] = {
    "van_genuchten": {
        "theta_r": [0.045, 0.078, 0.068, 0.102],
        "theta_s": [0.43, 0.43, 0.38, 0.368],
        "alpha": [0.145, 0.036, 0.008, 0.0335],
        "n": [2.68, 1.56, 1.09, 2.0],
        "K_s": [29.7, 1.04, 0.2, 33.192],
    },
    "van_genuchten_vogel": {
        "theta_r": [0.045, 0.078, 0.068, 0.102],
        "theta_s": [0.43, 0.43, 0.38, 0.368],
        "alpha": [0.145, 0.036, 0.008, 0.0335],
        "n": [2.68, 1.56, 1.09, 2.0],
        "K_s": [29.7, 1.04, 0.2, 33.192],
        "air_entry": [1.0, 5.0, 2.0, 10.0],
        "pore_connectivity": [0.5, -1.0, 0.5, 2.0],
    },
    "brooks_corey": {
        "theta_r": [0.02, 0.05, 0.09, 0.0],
        "theta_s": [0.417, 0.43, 0.475, 0.5],
        "psi_b": [7.26, 20.0, 37.3, 0.5],
        "pore_index": [0.592, 0.3, 0.131, 4.0],
        "K_s": [21.0, 1.3, 0.06, 100.0],
    },
    "gardner": {
        "theta_r": [0.06, 0.1, 0.0, 0.06],
        "theta_s": [0.4, 0.45, 0.5, 0.4],
        "alpha": [1.0, 0.1, 0.01, 0.03],
        "K_s": [1.0, 10.0, 0.5, 3.0],
    },
    "haverkamp": {
        "theta_r": [0.075, 0.124, 0.05, 0.0],
        "theta_s": [0.287, 0.495, 0.4, 0.5],
        "A_theta": [1.611e6, 739.0, 1e3, 30.0],
        "beta": [3.96, 1.5, 1.0, 0.6],
        "A_K": [1.175e6, 124.6, 1e4, 50.0],
        "gamma": [4.74, 1.77, 2.5, 0.8],
        "K_s": [33.984, 0.0443, 1.0, 5.0],
    },
}
MODELS: dict[str, SoilHydraulics] = {
    **{name: kind() for name, kind in HYDRAULICS.items()},
    "brooks_corey_mualem": BrooksCorey("mualem"),
    "van_genuchten_l": VanGenuchten(),
}
PARAMETERS["van_genuchten_l"] = PARAMETERS["van_genuchten"] | {
    "pore_connectivity": [0.5, -1.0, -2.0, 2.0]
}
PARAMETERS["brooks_corey_mualem"] = PARAMETERS["brooks_corey"] | {
    "pore_connectivity": [0.5, -1.0, -2.0, 2.0]
}


def parameters(name: str, dtype: torch.dtype = F64) -> dict[str, Tensor]:
    """Four soils `[4, 1]` of a family."""
    table = PARAMETERS[name]
    return {k: torch.tensor(v, dtype=dtype).unsqueeze(-1) for k, v in table.items()}


def heads(count: int = 400, dtype: torch.dtype = F64, seed: int = 0) -> Tensor:
    """Heads from -1e6 to +10 cm, log-uniform below zero, dense near saturation."""
    generator = torch.Generator().manual_seed(seed)
    dry = -(10 ** (torch.rand(count, generator=generator, dtype=F64) * 9 - 3))
    band = -0.3 * torch.rand(count // 4, generator=generator, dtype=F64)
    wet = 10 * torch.rand(count // 8, generator=generator, dtype=F64)
    edges = torch.tensor([-1e6, 0.0, 10.0], dtype=F64)
    return torch.cat([dry, band, wet, edges]).sort().values.to(dtype)


def autograd_slopes(
    model: SoilHydraulics, psi: Tensor, p: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Derivatives of the curves in psi by reverse-mode differentiation."""
    x = psi.expand(4, -1).clone().requires_grad_()
    theta, K = model.curves(x, p)
    (capacity,) = torch.autograd.grad(theta.sum(), x, retain_graph=True)
    (dK,) = torch.autograd.grad(K.sum(), x)
    return capacity, dK
