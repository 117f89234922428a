"""Mean van Genuchten parameters of the 12 USDA soil texture classes."""

from __future__ import annotations

from pydiffgeo.errors import lookup
from pydiffgeo.units import Units

NAMES = ("theta_r", "theta_s", "alpha", "n", "K_s")
UNITS = {"alpha": "cm-1", "K_s": "cm h-1"}

USDA_SOILS: dict[str, tuple[float, float, float, float, float]] = {
    "sand": (0.045, 0.43, 0.145, 2.68, 29.70),
    "loamy sand": (0.057, 0.41, 0.124, 2.28, 14.59),
    "sandy loam": (0.065, 0.41, 0.075, 1.89, 4.42),
    "loam": (0.078, 0.43, 0.036, 1.56, 1.04),
    "silt": (0.034, 0.46, 0.016, 1.37, 0.25),
    "silt loam": (0.067, 0.45, 0.020, 1.41, 0.45),
    "sandy clay loam": (0.100, 0.39, 0.059, 1.48, 1.31),
    "clay loam": (0.095, 0.41, 0.019, 1.31, 0.26),
    "silty clay loam": (0.089, 0.43, 0.010, 1.23, 0.07),
    "sandy clay": (0.100, 0.38, 0.027, 1.23, 0.12),
    "silty clay": (0.070, 0.36, 0.005, 1.09, 0.02),
    "clay": (0.068, 0.38, 0.008, 1.09, 0.20),
}
"""theta_r, theta_s, alpha (1/cm), n, K_s (cm/h)."""


def usda_soil(name: str, unit: str = "cm", time_unit: str = "h") -> dict[str, float]:
    """Return the mean van Genuchten parameters of a USDA texture class.

    Parameters
    ----------
    name : str
        Such as "sandy loam"; capitals, underscores and hyphens do not matter.
    unit, time_unit : str
        Units of length and time, those of the grid: see `Grid`.

    Returns
    -------
    dict of str to float
        theta_r, theta_s, alpha (1/cm, or 1/unit), n, K_s (cm/h, or unit/time_unit).

    Raises
    ------
    UnknownName
        Not one of the 12 classes, or not a known unit; the message lists them and the nearest.

    References
    ----------
    Carsel, R. F., Parrish, R. S. (1988), doi:10.1029/WR024i005p00755.
    """
    plain = " ".join(str(name).lower().replace("_", " ").replace("-", " ").split())
    soil, units = (
        dict(zip(NAMES, lookup(USDA_SOILS, plain, "USDA soil class"), strict=True)),
        Units(unit, time_unit),
    )
    return {k: v / units.factor(UNITS.get(k, "1")) for k, v in soil.items()}
