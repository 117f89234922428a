"""What closures have learned is drawn as they are, with what simulations met."""

from __future__ import annotations

import judged_cases as cases
import numpy as np
import pytest
import torch

from pydiffgeo import HBV, NeuralClosure
from pydiffgeo.evaluation import evaluate
from pydiffgeo.evaluation.panels.learned_functions import functions_of, learned_functions


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
