"""Water vapour at saturation, by temperature in degC."""

from __future__ import annotations

import torch
from torch import Tensor


def saturation_pressure(temperature: Tensor) -> Tensor:
    """Vapour pressure over water at saturation, Pa.

    References
    ----------
    Tetens' formula as in Allen et al. (1998), FAO Irrigation and Drainage Paper 56, equation 11.
    """
    return saturation_and_slope(temperature)[0]


def saturation_and_slope(temperature: Tensor) -> tuple[Tensor, Tensor]:
    """Return `saturation_pressure`, Pa, and its slope, Pa K-1."""
    per = (temperature + 237.3).reciprocal()
    full = 610.8 * torch.exp(17.27 * temperature * per)
    return full, full * (17.27 * 237.3) * per * per
