"""Retention and conductivity of Haverkamp et al. (1977)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pydiffgeo.models.base import Values
from pydiffgeo.models.richards.hydraulics.base import Curves, SoilHydraulics
from pydiffgeo.models.spec_files import load_constants

CONSTANTS = load_constants("richards")
NO_HEAD = CONSTANTS["NO_HEAD"]


class Haverkamp(SoilHydraulics):
    """Water content and conductivity fall with powers of the suction.

    theta = theta_r + (theta_s - theta_r) A_theta / (A_theta + |psi|^beta)
    K = K_s A_K / (A_K + |psi|^gamma)

    Heads are in cm: A_theta and A_K hold for that unit. Both fractions are computed as
    sigmoid(log A - b log |psi|), which cannot overflow however dry the soil.

    References
    ----------
    Haverkamp, R., Vauclin, M., Touma, J., Wierenga, P. J., Vachaud, G. (1977),
    doi:10.2136/sssaj1977.03615995004100020024x.
    Celia, M. A., Bouloutas, E. T., Zarba, R. L. (1990), doi:10.1029/WR026i007p01483.
    """

    name = "haverkamp"
    parameters = ("theta_r", "theta_s", "A_theta", "beta", "A_K", "gamma", "K_s")
    reads = {
        "retention": ("theta_r", "theta_s", "A_theta", "beta"),
        "conductivity": ("A_K", "gamma", "K_s"),
    }

    def derive(self, p: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the logarithms of the two constants and the water-content range."""
        return {
            "log_A_theta": torch.log(p["A_theta"]),
            "beta": p["beta"],
            "log_A_K": torch.log(p["A_K"]),
            "gamma": p["gamma"],
            "theta_r": p["theta_r"],
            "span": p["theta_s"] - p["theta_r"],
            "K_s": p["K_s"],
        }

    def curves(self, psi: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Water content and conductivity."""
        log_suction = torch.log((-psi).clamp_min(NO_HEAD))
        # exp(logsigmoid()) rather than sigmoid(), whose derivative S (1 - S) cancels near
        # saturation
        S = torch.exp(logsigmoid(p["log_A_theta"] - p["beta"] * log_suction))
        k = torch.exp(logsigmoid(p["log_A_K"] - p["gamma"] * log_suction))
        return p["theta_r"] + p["span"] * S, p["K_s"] * k

    def slopes(self, psi: Tensor, p: Values) -> Curves:
        """The curves and their derivatives in psi."""
        suction = (-psi).clamp_min(NO_HEAD)
        log_suction = torch.log(suction)
        theta_exponent = p["log_A_theta"] - p["beta"] * log_suction
        K_exponent = p["log_A_K"] - p["gamma"] * log_suction
        S, k = torch.sigmoid(theta_exponent), torch.sigmoid(K_exponent)
        g = (psi < -NO_HEAD) / suction
        # 1 - sigmoid(x) = sigmoid(-x)
        dS = S * torch.sigmoid(-theta_exponent) * p["beta"] * g
        dk = k * torch.sigmoid(-K_exponent) * p["gamma"] * g
        return Curves(p["theta_r"] + p["span"] * S, p["span"] * dS, p["K_s"] * k, p["K_s"] * dk)

    def head(self, theta: Tensor, p: Values) -> Tensor:
        """Inverse of the retention curve."""
        S = (theta - p["theta_r"]) / (p["theta_s"] - p["theta_r"])
        return -((p["A_theta"] * (1 / S - 1)) ** (1 / p["beta"]))
