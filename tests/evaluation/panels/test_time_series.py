"""Series of chosen sites, by depth, and curves of the training."""

from __future__ import annotations

from pathlib import Path

import judged_cases as cases
import numpy as np
import pandas as pd
import pytest

from pydiffgeo.evaluation import Evaluation, save_figure
from pydiffgeo.evaluation.panels.time_series import (
    exemplary,
    hydrographs,
    profiles,
    training_curves,
)


def test_best_median_and_worst_site() -> None:
    assert exemplary([0.3, np.nan, 0.9, -2.0]) == {"best": 2, "median": 0, "worst": 3}
    assert exemplary([np.nan]) == {}


def test_profiles_are_drawn_by_depth_with_the_judged_part_shaded(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    runs = {f"m{k}": Evaluation(data) for k, data in enumerate(cases.profile_data(2))}
    panel = profiles(runs, most=2)
    assert list(panel.figures) == ["rmse_soil_moisture", "site_s%240", "site_s%242"]
    assert hydrographs(runs).nothing == "no series without depths has a score"
    bars, site = (panel.figures[name][1]() for name in ("rmse_soil_moisture", "site_s%242"))
    heights = [bar.get_height() for bar in bars.axes[0].containers[1]]
    np.testing.assert_allclose(heights, runs["m1"].summary.rmse)
    assert [a.get_title("left") for a in site.axes] == ["5 cm", "50 cm"]
    axis = site.axes[1]
    assert [line.get_label() for line in axis.get_lines()] == ["observed", "m0", "m1"]
    np.testing.assert_array_equal(
        axis.get_lines()[2].get_ydata(), runs["m1"].data.soil_moisture[2, :, 1]
    )
    assert len(axis.patches) == 1
    save_figure(site, tmp_path / "a.png")  # a dollar in a name is a dollar


def test_hydrographs_of_the_chosen_sites() -> None:
    pytest.importorskip("matplotlib")
    data = cases.profile_data()[0].isel(depth=0, drop=True)
    run = Evaluation(data)
    panel = hydrographs({"run": run})
    figure = panel.figures["hydrographs"][1]()
    best = int(np.argmax(run.scores.nse.values))
    assert (
        figure.axes[0].get_title("left") == f"best: site s\\${best}, NSE {run.scores.nse[best]:.2f}"
    )
    np.testing.assert_array_equal(
        figure.axes[0].get_lines()[1].get_ydata(), data.soil_moisture[best]
    )


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
