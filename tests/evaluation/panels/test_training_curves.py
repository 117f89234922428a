"""Curves of the training are those of its history."""

from __future__ import annotations

import judged_cases as cases
import pandas as pd
import pytest

from pydiffgeo.evaluation import Evaluation
from pydiffgeo.evaluation.panels.training_curves import training_curves


def test_loss_and_validation_of_each_run() -> None:
    [data] = cases.profile_data()
    first = pd.DataFrame({"epoch": range(1, 51), "loss": 0.5, "validation": 0.1})
    second = first[["epoch", "loss"]]
    runs = {"a": Evaluation(data, history=first), "b": Evaluation(data, history=second)}
    panel = training_curves({"a": runs["a"]})
    assert panel.tables["epochs"].epoch.tolist() == list(range(1, 51, 2))
    assert not training_curves(runs).tables
    assert "no history" in training_curves({"c": Evaluation(data)}).nothing
    pytest.importorskip("matplotlib")
    axes = training_curves(runs).figures["training"][1]().axes
    assert [len(axis.get_lines()) for axis in axes] == [1, 1, 1, 0]
    assert axes[2].get_lines()[0].get_ydata().tolist() == [0.1] * 50
