"""The lines of a distribution of scores are those of the scores."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from pydiffgeo.evaluation import Evaluation
from pydiffgeo.evaluation.panels.cdf import cdf


def judged(scores: list[float], groups: list[str] | None = None) -> Evaluation:
    sites = [f"s{k}" for k in range(len(scores))]
    coords = {"site": sites} | ({} if groups is None else {"group": ("site", groups)})
    data = xr.Dataset(coords={**coords, "time": [0], "judged": ("time", [True])})
    nse = xr.Dataset({"nse": ("site", scores)}, coords)
    return Evaluation(data, all_scores={"discharge": nse})


def test_lines_of_runs_and_groups() -> None:
    pytest.importorskip("matplotlib")
    first = judged([0.3, np.nan, 0.9, -2.0], ["old", "old", "old", "new"])
    panel = cdf({"a": first, "b": judged([0.1, 0.2, 0.3])})
    axis = panel.figures["cdf"][1]().axes[0]
    labels = [line.get_label() for line in axis.get_lines()]
    assert labels == [
        "a, old: median 0.600, 2 scores", "a, new: median -2.000, 1 scores", "b: median 0.200, 3 scores",
    ]  # fmt: skip
    line = axis.get_lines()[0]
    assert line.get_xdata().tolist() == [0.3, 0.9] and line.get_ydata().tolist() == [0.5, 1.0]


def test_nothing_to_show() -> None:
    assert "no site has a KGE" in cdf({"a": judged([0.3])}, measure="kge").nothing
