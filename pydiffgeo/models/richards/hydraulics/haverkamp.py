"""Retention and conductivity of Haverkamp et al. (1977)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pydiffgeo.errors import ParameterError
from pydiffgeo.models.base import Values
from pydiffgeo.models.richards.hydraulics.base import Curves, SoilHydraulics
from pydiffgeo.models.spec_files import load_constants

CONSTANTS = load_constants("richards")
NO_HEAD = CONSTANTS["NO_HEAD"]
ITERATIONS = 12  # Newton's method for a head, which converges quadratically


class Haverkamp(SoilHydraulics):
    """Water content and conductivity fall with powers of the suction.

    theta = theta_r + (theta_s - theta_r) A_theta / (A_theta + s)
    K = K_s A_K / (A_K + |psi|^gamma)

    with s = |psi| (|psi|^4 + w^4)^((beta - 1) / 4), w = entry_width. As published, s is |psi|^beta:
    water content and conductivity are then level at saturation, so that no head of a full column
    that drains is told by any slope, and no step of time brings Newton's method nearer to it. With
    the bend the water content falls in a line within w of saturation; at three times w it is the
    published one to within a fraction (beta - 1) / 324 of what is drained.

    Heads are in cm: A_theta and A_K hold for that unit. Both fractions are computed as sigmoids of
    logarithms, which cannot overflow however dry the soil.

    Parameters
    ----------
    entry_width : float
        Suction below which the water content falls in a line, cm.

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

    def __init__(self, entry_width: float = 0.5):
        if not entry_width > 0:
            raise ParameterError(f"entry_width must be above 0, got {entry_width}; give 0.5 cm.")
        self.entry_width = entry_width

    def derive(self, p: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the logarithms of the two constants, beta - 1, and the water-content range."""
        return {
            "log_A_theta": torch.log(p["A_theta"]),
            "beta_minus_1": p["beta"] - 1,
            "log_A_K": torch.log(p["A_K"]),
            "gamma": p["gamma"],
            "theta_r": p["theta_r"],
            "span": p["theta_s"] - p["theta_r"],
            "K_s": p["K_s"],
        }

    def curves(self, psi: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Water content and conductivity."""
        suction = (-psi).clamp_min(NO_HEAD)
        log_suction, log_bent = torch.log(suction), torch.log(self._bent(suction))
        # exp(logsigmoid()) rather than sigmoid(), whose derivative S (1 - S) cancels near
        # saturation
        log_s = log_suction + p["beta_minus_1"] * log_bent
        S = torch.exp(logsigmoid(p["log_A_theta"] - log_s))
        k = torch.exp(logsigmoid(p["log_A_K"] - p["gamma"] * log_suction))
        return p["theta_r"] + p["span"] * S, p["K_s"] * k

    def slopes(self, psi: Tensor, p: Values) -> Curves:
        """The curves and their derivatives in psi."""
        suction = (-psi).clamp_min(NO_HEAD)
        bent = self._bent(suction)
        log_suction = torch.log(suction)
        theta_exponent = p["log_A_theta"] - log_suction - p["beta_minus_1"] * torch.log(bent)
        K_exponent = p["log_A_K"] - p["gamma"] * log_suction
        S, k = torch.sigmoid(theta_exponent), torch.sigmoid(K_exponent)
        g = (psi < -NO_HEAD) / suction
        # 1 - sigmoid(x) = sigmoid(-x)
        by_log = 1 + p["beta_minus_1"] * (suction / bent) ** 4  # d log s / d log |psi|
        dS = S * torch.sigmoid(-theta_exponent) * by_log * g
        dk = k * torch.sigmoid(-K_exponent) * p["gamma"] * g
        return Curves(p["theta_r"] + p["span"] * S, p["span"] * dS, p["K_s"] * k, p["K_s"] * dk)

    def head(self, theta: Tensor, p: Values) -> Tensor:
        """Inverse of the retention curve, by Newton's method in the logarithm of the suction."""
        S = (theta - p["theta_r"]) / (p["theta_s"] - p["theta_r"])
        full = S == 1
        log_s = torch.log(p["A_theta"] * (1 / torch.where(full, 0.5, S) - 1))
        by = p["beta"] - 1
        x = torch.maximum(log_s / p["beta"], log_s - by * math.log(self.entry_width))
        for _ in range(ITERATIONS):
            suction = torch.exp(x).clamp_min(NO_HEAD)
            bent = self._bent(suction)
            left = x + by * torch.log(bent) - log_s
            x = x - left / (1 + by * (suction / bent) ** 4)
        return torch.where(full, 0.0, -torch.exp(x))

    def _bent(self, suction: Tensor) -> Tensor:
        """(|psi|^4 + w^4)^(1/4), which cannot overflow."""
        larger = suction.clamp_min(self.entry_width)
        smaller = suction.clamp_max(self.entry_width)
        return larger * torch.sqrt(torch.sqrt(1 + (smaller / larger) ** 4))
