"""Closures are drawn as they are, with what simulations met, and soils as their parameters."""

from __future__ import annotations

import judged_cases as cases
import numpy as np
import pytest
import torch

from pydiffgeo import HBV, NeuralClosure, usda_soil
from pydiffgeo.evaluation import evaluate
from pydiffgeo.evaluation.panels.learned_functions import (
    SUCTION,
    curves_of,
    functions_of,
    learned_functions,
    soil_curves,
)
from pydiffgeo.models.richards.hydraulics import HYDRAULICS


@pytest.mark.parametrize("residual", [False, True])
def test_a_closure_its_formula_and_what_it_gave(residual: bool) -> None:
    sites = cases.basins(3)
    torch.manual_seed(0)
    closure = NeuralClosure(1, (4,), output_range=(0.0, 1.0), residual=residual)
    model = HBV(closures={"recharge": closure})
    run = evaluate(cases.hbv(sites, model=model), sites, *cases.DAYS, warm_up=60, also=("soil",))
    [(slot, f)] = functions_of(run).items()
    assert slot == "recharge" and len(f.inputs) == 2000 and not np.isnan(f.outputs).any()
    x = torch.as_tensor(f.table["input"].to_numpy())
    if not residual:
        torch.testing.assert_close(
            torch.as_tensor(f.table["learned"].to_numpy()), closure(x).detach()
        )
        np.testing.assert_allclose(f.outputs, closure(torch.as_tensor(f.inputs)).detach())
        np.testing.assert_allclose(f.table["formula"], model.formula("recharge")(x))
    else:
        assert (f.table["formula_q10"] <= f.table["formula_q90"]).all()
    assert list(f.formulas)[0] == "formula, BETA = 1"
    # wetness is soil / FC of each copy: no larger than the largest store over the least capacity
    assert 0 <= f.inputs.min() and f.inputs.max() < float(run.data.soil.max()) * 2 / 50
    np.testing.assert_array_equal(functions_of(run)["recharge"].inputs, f.inputs)
    assert (functions_of(run, seed=1)["recharge"].inputs != f.inputs).any()
    panel = learned_functions({"run": run})
    assert list(panel.files) == ["closure_recharge"]
    if not residual:
        pytest.importorskip("matplotlib")
        lines = panel.figures["closure_recharge"][1]().axes[0].get_lines()
        assert [line.get_label() for line in lines][-2:] == ["learned", "simulated steps"]


def test_nothing_to_show() -> None:
    sites = cases.basins(2)
    run = evaluate(cases.lstm(sites), sites, *cases.DAYS, warm_up=10)
    assert "no network stands" in learned_functions({"run": run}).nothing
    assert "no soil" in soil_curves({"run": run}).nothing


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
