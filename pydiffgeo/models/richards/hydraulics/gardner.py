"""Exponential conductivity (Gardner 1958) and retention, which make Richards' equation linear."""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.models.richards.hydraulics.base import Curves, SoilHydraulics


class Gardner(SoilHydraulics):
    """theta = theta_r + (theta_s - theta_r) exp(alpha psi), K = K_s exp(alpha psi) below zero head.

    The retention curve bends sharply at zero head, where a cell goes from `specific_storage` to
    alpha (theta_s - theta_r) per cm, and is left as published.

    References
    ----------
    Gardner, W. R. (1958), doi:10.1097/00010694-195804000-00006.
    Srivastava, R., Yeh, T.-C. J. (1991), eqs. 3, 4, doi:10.1029/90WR02772.
    """

    name = "gardner"
    bends = True
    parameters = ("theta_r", "theta_s", "alpha", "K_s")
    reads = {"retention": ("theta_r", "theta_s", "alpha"), "conductivity": ("alpha", "K_s")}

    def derive(self, p: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the water-content range."""
        span = p["theta_s"] - p["theta_r"]
        return {"alpha": p["alpha"], "theta_r": p["theta_r"], "span": span, "K_s": p["K_s"]}

    def curves(self, psi: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Water content and conductivity."""
        S = torch.exp(p["alpha"] * torch.where(psi < 0, psi, 0.0))
        return p["theta_r"] + p["span"] * S, p["K_s"] * S

    def slopes(self, psi: Tensor, p: Values) -> Curves:
        """The curves and their derivatives in psi."""
        dry = psi < 0
        S = torch.exp(p["alpha"] * torch.where(dry, psi, 0.0))
        dS = p["alpha"] * S * dry
        return Curves(p["theta_r"] + p["span"] * S, p["span"] * dS, p["K_s"] * S, p["K_s"] * dS)

    def head(self, theta: Tensor, p: Values) -> Tensor:
        """Inverse of the retention curve."""
        return torch.log((theta - p["theta_r"]) / (p["theta_s"] - p["theta_r"])) / p["alpha"]
