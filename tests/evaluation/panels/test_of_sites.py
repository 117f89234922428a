"""Distributions have the lines of the scores; a map shows values at their places."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from pydiffgeo.errors import UnknownName
from pydiffgeo.evaluation import Evaluation
from pydiffgeo.evaluation.panels.of_sites import cdf, site_map


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
        "a, old: median 0.600, 2 scores",
        "a, new: median -2.000, 1 scores",
        "b: median 0.200, 3 scores",
    ]
    line = axis.get_lines()[0]
    assert line.get_xdata().tolist() == [0.3, 0.9] and line.get_ydata().tolist() == [0.5, 1.0]


def test_nothing_to_show() -> None:
    assert "no site has a KGE" in cdf({"a": judged([0.3])}, measure="kge").nothing


def placed(**coords: object) -> Evaluation:
    dims, values = ("site", "time"), np.arange(12.0).reshape(3, 4)
    data = xr.Dataset(
        {"flow": (dims, values), "flow_observed": (dims, values**2)},
        {"site": list("abc"), "time": range(4), "judged": ("time", [True] * 4), **coords},
    )
    data["K"] = ("site", "layer"), [[1.0, 3.0], [2.0, 4.0], [5.0, 7.0]]
    data["K"].attrs = {"role": "parameter", "units": "cm h-1"}
    sites = xr.Dataset({"area": ("site", [3.0, 1.0, 2.0])}, {"site": list("cab")})
    return Evaluation(data, sites=sites)


def test_what_is_shown() -> None:
    pytest.importorskip("matplotlib")
    run = placed(lon=("site", [1.0, 2.0, 3.0]), lat=("site", [5.0, 6.0, 7.0]))
    expected = {None: [2.0, 3.0, 6.0], "bias": run.scores.bias, "area": [1.0, 2.0, 3.0]}
    for name, values in expected.items():
        panel = site_map({"run": run}, of=name)
        figure = panel.figures["map"][1]()
        np.testing.assert_allclose(figure.axes[0].collections[0].get_array(), values)
        assert panel.title == f"Map of {name or 'K'}"
    assert site_map({"run": run}).figures["map"][1]().axes[1].get_ylabel() == "K (cm h-1)"
    with pytest.raises(UnknownName, match="did you mean 'area'"):
        site_map({"run": run}, of="arae")


def test_without_places_there_is_no_map() -> None:
    assert site_map({"run": placed()}).nothing == "the places of the sites are not known"
