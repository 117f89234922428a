"""Brooks & Corey (1964) retention with Burdine (1953) or Mualem (1976) conductivity."""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo.errors import lookup
from pydiffgeo.models.base import Values
from pydiffgeo.models.soil_hydraulics.base import Curves, SoilHydraulics

CONDUCTIVITY: dict[str, float] = {"burdine": 3.0, "mualem": 2.5}
"""b of K = K_s S^(b + 2 / lambda), by the model of the pore network."""


class BrooksCorey(SoilHydraulics):
    """theta = theta_r + (theta_s - theta_r) S, S = (psi_b / |psi|)^lambda, or 1 above the air-entry head.

    K = K_s S^(b + 2 / lambda) with b = 3 after Burdine, as Brooks and Corey have it, or 2.5 after Mualem with
    tortuosity 1/2. Theta and K are continuous at the air-entry head, their slopes jump to zero there.

    Parameters
    ----------
    conductivity : {"burdine", "mualem"}
        Which of the two exponents.

    References
    ----------
    Brooks, R. H., Corey, A. T. (1964), Hydraulic properties of porous media, Hydrology Paper 3, Colorado
    State University. Burdine, N. T. (1953), doi:10.2118/225-G. Mualem, Y. (1976),
    doi:10.1029/WR012i003p00513.
    """

    name = "brooks_corey"
    parameters = ("theta_r", "theta_s", "psi_b", "pore_index", "K_s")

    def __init__(self, conductivity: str = "burdine"):
        self.exponent = lookup(CONDUCTIVITY, conductivity, "conductivity exponent of Brooks and Corey")

    def derive(self, p: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the water-content range and the exponent of psi_b / |psi| in K, which is b lambda + 2."""
        return {
            "psi_b": p["psi_b"],
            "pore_index": p["pore_index"],
            "K_exponent": self.exponent * p["pore_index"] + 2,
            "theta_r": p["theta_r"],
            "span": p["theta_s"] - p["theta_r"],
            "K_s": p["K_s"],
        }

    def curves(self, psi: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Water content and conductivity."""
        # where() before log(): above air entry the ratio is exactly 1 and no gradient passes
        ratio = torch.log(p["psi_b"] / torch.where(psi < -p["psi_b"], -psi, p["psi_b"]))
        S = torch.exp(p["pore_index"] * ratio)
        return p["theta_r"] + p["span"] * S, p["K_s"] * torch.exp(p["K_exponent"] * ratio)

    def slopes(self, psi: Tensor, p: Values) -> Curves:
        """The curves and their derivatives in psi."""
        dry = psi < -p["psi_b"]
        suction = torch.where(dry, -psi, p["psi_b"])
        ratio = torch.log(p["psi_b"] / suction)
        wetness = p["span"] * torch.exp(p["pore_index"] * ratio)
        K = p["K_s"] * torch.exp(p["K_exponent"] * ratio)
        g = dry / suction  # d ratio / d psi
        return Curves(p["theta_r"] + wetness, wetness * p["pore_index"] * g, K, K * p["K_exponent"] * g)

    def head(self, theta: Tensor, p: Values) -> Tensor:
        """Inverse of the retention curve; at theta_s the air-entry head."""
        S = (theta - p["theta_r"]) / (p["theta_s"] - p["theta_r"])
        return -p["psi_b"] * S ** (-1 / p["pore_index"])
