"""van Genuchten (1980) retention with Mualem (1976) conductivity, m = 1 - 1/n."""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.models.richards.hydraulics.base import Curves, SoilHydraulics
from pydiffgeo.models.spec_files import load_constants

CONSTANTS = load_constants("richards")
NO_SUCTION, DRY = CONSTANTS["NO_SUCTION"], CONSTANTS["DRY"]


def dry_series(m: Tensor) -> dict[str, Tensor]:
    """Coefficients of (1 - (1 - r)^m) / r in powers of r, for `permeable`."""
    out = {"dry_0": m}
    for k in range(1, 7):
        out[f"dry_{k}"] = out[f"dry_{k - 1}"] * (k - m) / (k + 1)
    return out


def permeable(U: Tensor, w: Tensor, p: Values) -> Tensor:
    """Return 1 - U for U = (1 - 1/w)^m, to all digits also in dry soil, where U is nearly 1."""
    V = 1.0 - U
    if U.is_cuda or torch.compiler.is_compiling() or bool(w.max() > DRY):
        r = 1 / w
        total = p["dry_6"]
        for k in range(5, -1, -1):
            total = torch.addcmul(p[f"dry_{k}"], r, total)
        V = torch.where(w > DRY, r * total, V)
    return V


class VanGenuchten(SoilHydraulics):
    """theta = theta_r + (theta_s - theta_r) S, S = (1 + |alpha psi|^n)^-m; K = K_s S^l (1 - (1 -
    S^(1/m))^m)^2.

    l is the parameter `pore_connectivity`: 1/2 after Mualem, and also negative where measured
    conductivities ask for it.

    For n < 2 the slope of K is unbounded as psi approaches zero from below, and no solver, here or
    elsewhere, can step over it. Between `-entry_width` and 0 the term (1 - S^(1/m))^m is therefore
    multiplied by |psi| / entry_width: K stays continuous and equals K_s at zero, and is unchanged
    below `-entry_width`.

    Parameters
    ----------
    entry_width : float
        Width of that band, cm whatever the unit of the grid; 0.5 by default.

    References
    ----------
    van Genuchten, M. Th. (1980), eqs. 3, 8, 9, doi:10.2136/sssaj1980.03615995004400050002x.
    Mualem, Y. (1976), doi:10.1029/WR012i003p00513.
    """

    name = "van_genuchten"
    parameters = ("theta_r", "theta_s", "alpha", "n", "K_s", "pore_connectivity")
    reads = {
        "retention": ("theta_r", "theta_s", "alpha", "n"),
        "conductivity": ("alpha", "n", "K_s", "pore_connectivity"),
    }

    def __init__(self, entry_width: float = 0.5):
        self.entry_width = entry_width

    def derive(self, p: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add m, the water-content range, and the products that the curves need."""
        n, span = p["n"], p["theta_s"] - p["theta_r"]
        out = {
            "neg_alpha": -p["alpha"],
            "n_minus_1": n - 1,
            "neg_half_m": 0.5 / n - 0.5,
            "two_minus_2n": 2 - 2 * n,
            "theta_r": p["theta_r"],
            "span": span,
            "half_span": 0.5 * span,
            "K_s": p["K_s"],
            **dry_series(1 - 1 / n),
        }
        power = p.get("pore_connectivity")
        if power is None or (not power.requires_grad and bool((power == 0.5).all())):
            return out  # S^l is sqrt(S), which the curves have anyway
        return out | {"neg_l_m": 2 * power * out["neg_half_m"], "half_l": 0.5 * power}

    def curves(self, psi: Tensor, p: Values) -> tuple[Tensor, Tensor]:
        """Water content and conductivity."""
        x = (p["neg_alpha"] * psi).clamp_min(NO_SUCTION)
        y = torch.exp(p["n_minus_1"] * torch.log(x))
        w = x * y + 1.0
        log_w = torch.log(w)
        root = torch.exp(p["neg_half_m"] * log_w)  # sqrt(S)
        power = torch.exp(p["neg_l_m"] * log_w) if "neg_l_m" in p else root  # S^l
        S = root * root
        U = S * y  # (1 - S^(1/m))^m, since m n = n - 1
        V = permeable(U, w, p)
        if self._near_saturation(psi):
            # 1 - U times the band; below the band nothing is added
            V = V + U * (1 - torch.relu(psi * (-1 / self.entry_width)).clamp_max(1))
        return torch.addcmul(p["theta_r"], p["span"], S), p["K_s"] * power * V * V

    def slopes(self, psi: Tensor, p: Values) -> Curves:
        """The curves and their derivatives in psi."""
        wet = self._near_saturation(psi)
        x = p["neg_alpha"] * psi
        if wet:
            x = x.clamp_min(NO_SUCTION)
        y = torch.log(x).mul_(p["n_minus_1"]).exp_()
        xn = x.mul_(y)
        w = xn + 1.0
        log_w = torch.log(w)
        power = torch.exp(log_w * p["neg_l_m"]) if "neg_l_m" in p else None  # S^l
        root = log_w.mul_(p["neg_half_m"]).exp_()  # sqrt(S)
        S = root * root
        power = root if power is None else power
        U = y.mul_(S)
        V = permeable(U, w, p)
        g = p["two_minus_2n"] / w.mul_(psi)  # dS = S xn g / 2 and dU = -U g / 2
        if wet:
            raw = psi * (-1 / self.entry_width)
            band, unsaturated, inside = raw.clamp(0, 1), raw > 0, (raw > 0) & (raw <= 1)
            dlogS = torch.where(unsaturated, xn * g, 0.0)
            dV = torch.where(unsaturated, U * g * band, 0.0) + torch.where(
                inside, U * (2 / self.entry_width), 0.0
            )
            V = V + U * (1 - band)
            KV = power.mul_(V).mul_(p["K_s"])
            dK = self._slope(dV, V, dlogS, p).mul_(KV)
        else:
            KV = power.mul_(V).mul_(p["K_s"])
            dK = self._slope(U, V, xn, p).mul_(g).mul_(KV)
            dlogS = g.mul_(xn)
        capacity = dlogS.mul_(S).mul_(p["half_span"])
        return Curves(torch.addcmul(p["theta_r"], p["span"], S), capacity, KV.mul_(V), dK, wet)

    @staticmethod
    def _slope(of_V: Tensor, V: Tensor, of_S: Tensor, p: Values) -> Tensor:
        """of_V + (l / 2) V of_S."""
        if "half_l" in p:
            return torch.addcmul(of_V, V * p["half_l"], of_S)
        return torch.addcmul(of_V, V, of_S, value=0.25)

    def head(self, theta: Tensor, p: Values) -> Tensor:
        """Inverse of the retention curve."""
        m = 1 - 1 / p["n"]
        S = (theta - p["theta_r"]) / (p["theta_s"] - p["theta_r"])
        return -((S ** (-1 / m) - 1) ** (1 / p["n"])) / p["alpha"]

    def _near_saturation(self, psi: Tensor) -> bool:
        # one look at the wettest cell decides whether the band near saturation needs its extra work
        if psi.is_cuda or torch.compiler.is_compiling():
            return True
        return bool(psi.max() > -self.entry_width)
