"""Soils of the texture classes."""

from __future__ import annotations

import pytest
import torch

from pydiffgeo.errors import UnknownName
from pydiffgeo.models.richards.hydraulics import (
    USDA_SOILS,
    usda_soil,
)

F64 = torch.float64


def test_texture_classes_of_carsel_and_parrish() -> None:
    # as HYDRUS lists them, with K_s in cm/d; ours are the paper's cm/h, rounded to two digits after
    # the point
    table = {
        "sand": (0.045, 0.43, 0.145, 2.68, 712.8),
        "loamy sand": (0.057, 0.41, 0.124, 2.28, 350.2),
        "sandy loam": (0.065, 0.41, 0.075, 1.89, 106.1),
        "loam": (0.078, 0.43, 0.036, 1.56, 24.96),
        "silt": (0.034, 0.46, 0.016, 1.37, 6.0),
        "silt loam": (0.067, 0.45, 0.02, 1.41, 10.8),
        "sandy clay loam": (0.1, 0.39, 0.059, 1.48, 31.44),
        "clay loam": (0.095, 0.41, 0.019, 1.31, 6.24),
        "silty clay loam": (0.089, 0.43, 0.01, 1.23, 1.68),
        "sandy clay": (0.1, 0.38, 0.027, 1.23, 2.88),
        "silty clay": (0.07, 0.36, 0.005, 1.09, 0.48),
        "clay": (0.068, 0.38, 0.008, 1.09, 4.8),
    }
    assert set(USDA_SOILS) == set(table)
    for soil, (theta_r, theta_s, alpha, n, K_s) in table.items():
        values = usda_soil(soil)
        assert values["K_s"] == pytest.approx(K_s / 24, abs=0.005)
        del values["K_s"]
        assert values == {"theta_r": theta_r, "theta_s": theta_s, "alpha": alpha, "n": n}


def test_texture_names_are_read_generously_and_typos_answered() -> None:
    for name in ("Sandy Loam", "sandy_loam", "sandy-loam", " sandy  loam"):
        assert usda_soil(name) == usda_soil("sandy loam")
    with pytest.raises(UnknownName, match="'sndy loam'; did you mean 'sandy loam'") as error:
        usda_soil("sndy loam")
    assert all(soil in str(error.value) for soil in USDA_SOILS)
