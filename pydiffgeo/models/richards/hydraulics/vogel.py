"""van Genuchten's curves with a small air-entry suction (Vogel et al. 2001), model 3 of HYDRUS."""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo.errors import ParameterError
from pydiffgeo.models.base import Values
from pydiffgeo.models.richards.hydraulics.base import Curves, SoilHydraulics
from pydiffgeo.models.richards.hydraulics.van_genuchten import dry_series, permeable


class VanGenuchtenVogel(SoilHydraulics):
    """Curves of van Genuchten and Mualem with a small air-entry suction.

    Below the head -h they are scaled so that the soil is saturated from there on.

    With F = (1 + (alpha s)^n)^-m, U = (1 - F^(1/m))^m and m = 1 - 1/n, all of a suction s: S = F(s)
    / F(h), theta = theta_r + (theta_s - theta_r) S, K = K_s S^l [(1 - U(s)) / (1 - U(h))]^2. h is
    the parameter `air_entry`, 2 cm by default, and l `pore_connectivity`. The suction keeps the
    slope of K finite where n < 2. In the words of the paper theta_m = theta_r + (theta_s - theta_r)
    / F(h), and theta_k = theta_s.

    As published, the curves bend sharply at -h. As in `BrooksCorey` the bend is a hyperbola of
    relative width w = entry_width: s = (|psi| + h + sqrt((|psi| - h)^2 + (w h)^2)) / 2, and S =
    F(s) / F(s(0)), K likewise, so that the soil is saturated at zero head.

    Parameters
    ----------
    entry_width : float
        Width of the bend at air entry, in parts of the air-entry suction.

    References
    ----------
    Vogel, T., van Genuchten, M. Th., Cislerova, M. (2001), eqs. 5 to 8,
    doi:10.1016/S0309-1708(00)00037-3.
    """

    name = "van_genuchten_vogel"
    parameters = ("theta_r", "theta_s", "alpha", "n", "K_s", "pore_connectivity", "air_entry")
    reads = {
        "retention": ("theta_r", "theta_s", "alpha", "n", "air_entry"),
        "conductivity": ("alpha", "n", "K_s", "pore_connectivity", "air_entry"),
    }

    def __init__(self, entry_width: float = 0.03):
        if not 0 < entry_width <= 0.5:
            raise ParameterError(
                f"entry_width must be above 0 and at most 0.5, got {entry_width}; 0.03 is the "
                "default."
            )
        self.entry_width = entry_width

    def derive(self, p: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add F and U at zero head, and the water-content range."""
        n = p["n"]
        out = {
            "alpha": p["alpha"],
            "n_minus_1": n - 1,
            "neg_m": 1 / n - 1,
            "air_entry": p["air_entry"],
            "l": p["pore_connectivity"],
            "theta_r": p["theta_r"],
            "span": p["theta_s"] - p["theta_r"],
            "K_s": p["K_s"],
            **dry_series(1 - 1 / n),
        }
        y, xn = self._powers(p["air_entry"] * (0.5 + 0.5 * (1 + self.entry_width**2) ** 0.5), out)
        log_w = torch.log1p(xn)
        U = y * torch.exp(out["neg_m"] * log_w)
        return out | {"log_w_wet": log_w, "per_V_wet": 1 / permeable(U, 1 + xn, out)}

    def curves(self, psi: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Water content and conductivity."""
        y, xn = self._powers(self._suction(psi, p)[0], p)
        log_w = torch.log1p(xn)
        log_S = p["neg_m"] * (log_w - p["log_w_wet"])
        U = y * torch.exp(p["neg_m"] * log_w)
        V = permeable(U, 1 + xn, p) * p["per_V_wet"]
        return p["theta_r"] + p["span"] * torch.exp(log_S), p["K_s"] * torch.exp(
            p["l"] * log_S
        ) * V * V

    def slopes(self, psi: Tensor, p: Values) -> Curves:
        """The curves and their derivatives in psi."""
        s, ds = self._suction(psi, p)
        y, xn = self._powers(s, p)
        log_w = torch.log1p(xn)
        log_S = p["neg_m"] * (log_w - p["log_w_wet"])
        U = y * torch.exp(p["neg_m"] * log_w)
        V = permeable(U, 1 + xn, p) * p["per_V_wet"]
        wetness = p["span"] * torch.exp(log_S)
        KV = p["K_s"] * torch.exp(p["l"] * log_S) * V
        falling = p["n_minus_1"] * torch.exp(-log_w) * ds
        dlogS = -falling * p["alpha"] * y
        dV = -falling / s * U * p["per_V_wet"]
        return Curves(
            p["theta_r"] + wetness, wetness * dlogS, KV * V, KV * (p["l"] * V * dlogS + 2 * dV)
        )

    def head(self, theta: Tensor, p: Values) -> Tensor:
        """Inverse of the retention curve."""
        q = self.derive(dict(p))
        log_w = q["log_w_wet"] + torch.log((theta - q["theta_r"]) / q["span"]) / q["neg_m"]
        s = torch.exp(torch.log(torch.expm1(log_w)) / p["n"]) / q["alpha"]
        above = s - q["air_entry"]
        return (self.entry_width * q["air_entry"]) ** 2 / (4 * above) - s

    @staticmethod
    def _powers(s: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """(alpha s)^(n - 1) and (alpha s)^n."""
        x = p["alpha"] * s
        y = torch.exp(p["n_minus_1"] * torch.log(x))
        return y, x * y

    def _suction(self, psi: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """The suction s, which does not fall below the air entry, and its slope in psi."""
        h, dry = p["air_entry"], psi < 0
        gap = torch.where(dry, -psi, 0.0) - h
        root = torch.sqrt(gap * gap + (self.entry_width * h) ** 2)
        return h + 0.5 * (gap + root), torch.where(dry, -0.5 - 0.5 * gap / root, 0.0)
