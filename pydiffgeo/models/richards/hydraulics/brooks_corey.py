"""Brooks & Corey (1964) retention with Burdine (1953) or Mualem (1976) conductivity."""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo.errors import ParameterError, lookup
from pydiffgeo.models.base import Values
from pydiffgeo.models.richards.hydraulics.base import Curves, SoilHydraulics

CONDUCTIVITY: dict[str, tuple[str, ...]] = {"burdine": (), "mualem": ("pore_connectivity",)}
"""Parameters of b in K = K_s S^(b + 2 / lambda), by the model of the pore network."""


class BrooksCorey(SoilHydraulics):
    """theta = theta_r + (theta_s - theta_r) S, S = (psi_b / |psi|)^lambda, or 1 above the air-entry
    head.

    K = K_s S^(b + 2 / lambda) with b = 3 after Burdine, as Brooks and Corey have it, or b = 2 + l
    after Mualem, with the parameter l `pore_connectivity`, 1/2 by default.

    As published, both curves bend sharply at air entry, and above it no head stores any water: when
    rain fills such a soil its heads jump, which no step size resolves. The two branches are
    therefore joined by a hyperbola: with w = entry_width, s = (|psi| + psi_b + sqrt((|psi| -
    psi_b)^2 + (w psi_b)^2)) / 2, S = (s(0) / s)^lambda. S is 1 at zero head, and as published to
    within a fraction w^2 lambda / 4 from twice psi_b on.

    Parameters
    ----------
    conductivity : {"burdine", "mualem"}
        Which of the two exponents; "mualem" adds the parameter `pore_connectivity`.
    entry_width : float
        Width of the bend at air entry, in parts of psi_b.

    References
    ----------
    Brooks, R. H., Corey, A. T. (1964), Hydraulic properties of porous media, Hydrology Paper 3,
    Colorado State University. Burdine, N. T. (1953), doi:10.2118/225-G. Mualem, Y. (1976),
    doi:10.1029/WR012i003p00513.
    """

    name = "brooks_corey"

    def __init__(self, conductivity: str = "burdine", entry_width: float = 0.03):
        own = lookup(CONDUCTIVITY, conductivity, "conductivity exponent of Brooks and Corey")
        if not 0 < entry_width <= 0.5:
            raise ParameterError(f"entry_width must be above 0 and at most 0.5, got {entry_width}.")
        self.conductivity, self.entry_width = conductivity, entry_width
        retention = ("theta_r", "theta_s", "psi_b", "pore_index")
        self.parameters = (*retention, "K_s", *own)
        self.reads = {"retention": retention, "conductivity": ("psi_b", "pore_index", "K_s", *own)}

    def derive(self, p: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add s at zero head and the exponent of s in K, which is b lambda + 2."""
        b = 3.0 if self.conductivity == "burdine" else 2.0 + p.get("pore_connectivity", 0.5)
        return {
            "psi_b": p["psi_b"],
            "s_wet": p["psi_b"] * (0.5 + 0.5 * (1 + self.entry_width**2) ** 0.5),
            "pore_index": p["pore_index"],
            "K_exponent": b * p["pore_index"] + 2,
            "theta_r": p["theta_r"],
            "span": p["theta_s"] - p["theta_r"],
            "K_s": p["K_s"],
        }

    def curves(self, psi: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Water content and conductivity."""
        gap, root = self._bend(psi, p)
        ratio = torch.log(p["s_wet"] / (p["psi_b"] + 0.5 * (gap + root)))
        S = torch.exp(p["pore_index"] * ratio)
        return p["theta_r"] + p["span"] * S, p["K_s"] * torch.exp(p["K_exponent"] * ratio)

    def slopes(self, psi: Tensor, p: Values) -> Curves:
        """The curves and their derivatives in psi."""
        gap, root = self._bend(psi, p)
        s = p["psi_b"] + 0.5 * (gap + root)
        ratio = torch.log(p["s_wet"] / s)
        wetness = p["span"] * torch.exp(p["pore_index"] * ratio)
        K = p["K_s"] * torch.exp(p["K_exponent"] * ratio)
        g = (psi < 0) * (0.5 + 0.5 * gap / root) / s  # d ratio / d psi
        return Curves(
            p["theta_r"] + wetness, wetness * p["pore_index"] * g, K, K * p["K_exponent"] * g
        )

    def head(self, theta: Tensor, p: Values) -> Tensor:
        """Inverse of the retention curve."""
        q = self.derive(dict(p))
        S = (theta - q["theta_r"]) / q["span"]
        above = q["s_wet"] * S ** (-1 / q["pore_index"]) - q["psi_b"]
        return (self.entry_width * q["psi_b"]) ** 2 / (4 * above) - above - q["psi_b"]

    def _bend(self, psi: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        gap = torch.where(psi < 0, -psi, 0.0) - p["psi_b"]
        return gap, torch.sqrt(gap * gap + (self.entry_width * p["psi_b"]) ** 2)
