"""Curves of learned soils are those of their parameters."""

from __future__ import annotations

import judged_cases as cases
import numpy as np
import pytest
import torch

from pydiffgeo import usda_soil
from pydiffgeo.evaluation import evaluate
from pydiffgeo.evaluation.panels.soil_curves import SUCTION, curves_of, soil_curves
from pydiffgeo.models.richards.hydraulics import HYDRAULICS


def test_curves_of_learned_and_default_soils() -> None:
    sites = cases.probes()
    hybrid = cases.column(sites, soil="silt_loam", learn=["n", "K_s", "theta_s"])
    run = evaluate(hybrid, sites, "2020-05-15", warm_up=3)
    curves = curves_of(hybrid.stages[1], run)
    hydraulics = HYDRAULICS["van_genuchten"]()

    def expected(soil: dict[str, float]) -> tuple[np.ndarray, ...]:
        soil = {k: torch.tensor([float(v)], dtype=torch.float64) for k, v in soil.items()}
        soil.setdefault("pore_connectivity", torch.tensor([0.5], dtype=torch.float64))
        given = {k: soil[k] for k in hydraulics.parameters}
        return tuple(x.numpy() for x in hydraulics.curves(-SUCTION, hydraulics.derive(given)))

    learned = {k: run.parameters[k][1, 0] for k in ("theta_s", "n", "K_s")}
    assert "alpha" not in run.parameters  # which stays that of the soil
    learned = usda_soil("silt_loam") | learned
    for k, name in enumerate(("retention", "conductivity")):
        assert curves[name].shape == (3, 2, 80)
        np.testing.assert_allclose(curves[name][1, 0], expected(learned)[k], rtol=1e-6)
        np.testing.assert_allclose(
            curves[name][2, 1], expected(usda_soil("silt_loam"))[k], rtol=1e-6
        )
    panel = soil_curves({"run": run})
    assert list(panel.figures) == ["retention", "conductivity"]
    pytest.importorskip("matplotlib")
    axes = panel.figures["retention"][1]().axes
    assert [axis.get_title() for axis in axes[:2]] == ["p0", "p1"]
    np.testing.assert_allclose(axes[1].get_lines()[0].get_ydata(), curves["retention"][1, 0])


def test_a_network_has_no_soil() -> None:
    sites = cases.basins(2)
    run = evaluate(cases.lstm(sites), sites, *cases.DAYS, warm_up=10)
    assert "no soil" in soil_curves({"run": run}).nothing
