"""Panels of rivers show values where the sites are, and scores against an attribute."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from river_files import river as river_sites

from pydiffgeo.errors import UnknownName
from pydiffgeo.evaluation import Evaluation
from pydiffgeo.evaluation.panels.rivers import places, river, score_by


def judged() -> Evaluation:
    sites = river_sites().assign(uparea=("site", [1.0, 2.0, 4.0, 3.0, 9.0]))
    data = xr.Dataset(
        {
            "discharge": sites.discharge.fillna(1.0) * 1.1,
            "discharge_observed": sites.discharge,
            "n": ("site", [0.1, 0.2, 0.3, 0.4, 0.5], {"role": "parameter"}),
        },
        {"judged": ("time", np.full(40, True))},
        {"closed": "upstream"},
    )
    return Evaluation(data, sites=sites)


def test_scores_are_those_of_the_gauges() -> None:
    run = judged()
    assert run.scores.site.values.tolist() == ["c", "e"]
    seen = run.data.discharge_observed.sel(site="e").values
    expected = 1 - (0.1 * seen) @ (0.1 * seen) / ((seen - seen.mean()) ** 2).sum()
    np.testing.assert_allclose(run.scores.nse.sel(site="e"), expected)


def test_schema_of_the_river() -> None:
    sites = river_sites()
    x, y, names = places(sites)
    length = dict(zip("abcde", sites.length.values / 1000, strict=True))
    expected = [length["a"] + length["c"] + length["e"], length["b"] + length["c"] + length["e"]]
    expected += [length["c"] + length["e"], length["d"] + length["e"], length["e"]]
    np.testing.assert_allclose(x, expected)
    assert "km" in names[0] and len({y[0], y[1], y[3]}) == 3  # headwaters beside each other
    assert y[2] == pytest.approx((y[0] + y[1]) / 2)
    lon, lat = np.arange(5.0), np.arange(5.0) + 40
    placed = sites.assign_coords(lon=("site", lon), lat=("site", lat))
    np.testing.assert_array_equal(places(placed)[:2], [lon, lat])


def test_values_along_the_river() -> None:
    pytest.importorskip("matplotlib")
    run = judged()
    panel = river({"run": run})
    lines = panel.figures["river"][1]().axes[0].collections[0]
    np.testing.assert_allclose(lines.get_array(), run.data.n)
    x, y, _ = places(run.sites)
    np.testing.assert_allclose(lines.get_segments()[0], [[x[0], y[0]], [x[2], y[2]]])
    with pytest.raises(UnknownName, match="slope"):
        river({"run": run}, of="slop")
    lake = Evaluation(run.data, sites=run.sites.drop_vars("downstream"))
    assert river({"run": lake}).nothing == "the sites are no river"


def test_scores_against_an_attribute() -> None:
    pytest.importorskip("matplotlib")
    run = judged()
    line = score_by({"run": run}, "uparea").figures["score_by"][1]().axes[0].get_lines()[0]
    assert line.get_xdata().tolist() == [4.0, 9.0]
    np.testing.assert_allclose(line.get_ydata(), run.scores.nse)
    assert "no run has both" in score_by({"run": run}, "area").nothing
