"""Points of all sites together: a table and dots of records of points, by group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from judged_cases import profile_data

from pydiffgeo.evaluation import Evaluation, compare_runs, pooled_scores, write_report
from pydiffgeo.evaluation.panels.pooled import pooled


def leaves(noise: float = 0.3) -> Evaluation:
    """Eight leaves with one to five points, in two groups; the first group is simulated exactly."""
    random = np.random.default_rng(4)
    seen = random.normal(10.0, 4.0, (8, 5))
    seen[np.arange(5)[None] > np.arange(8)[:, None]] = np.nan
    error = noise * random.normal(size=seen.shape) + 0.5
    error[:4] = 0.0
    data = xr.Dataset(
        {
            "assimilation": (("site", "point"), seen + error, {"units": "umol m-2 s-1"}),
            "assimilation_observed": (("site", "point"), seen, {"units": "umol m-2 s-1"}),
        },
        {
            "site": [f"leaf {k}" for k in range(8)],
            "judged": ("point", np.full(5, True)),
            "group": ("site", ["C3"] * 4 + ["C4"] * 4),
        },
    )
    return Evaluation(data)


def test_the_table_of_groups_has_all_their_points() -> None:
    run = leaves()
    table = run.pooled().set_index("group")
    assert table.points.tolist() == [1 + 2 + 3 + 4, 5 * 4]
    assert table.rmse["C3"] == 0.0 and table.nse["C3"] == 1.0
    pair = [run.data[n].values[4:].ravel() for n in ("assimilation", "assimilation_observed")]
    error = pair[0] - pair[1]
    assert table.rmse["C4"] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert table.bias["C4"] == pytest.approx(error.mean())
    assert table.nse["C4"] == pytest.approx(1 - np.mean(error**2) / np.var(pair[1]))
    assert table.correlation["C4"] == pytest.approx(np.corrcoef(*pair)[0, 1])


def test_points_that_are_not_simulated_leave_no_score() -> None:
    found = pooled_scores([[1.0, np.nan], [2.0, 4.0]], [[1.0, 2.0], [np.nan, 4.0]])
    assert found["points"] == 3 and np.isnan(found["rmse"])
    whole = pooled_scores([[1.0, 3.0], [2.0, np.nan]], [[1.0, 2.0], [np.nan, np.nan]], ["rmse"])
    assert whole == {"rmse": pytest.approx(np.sqrt(0.5)), "points": 2}


def test_the_panel_shows_runs_beside_each_other() -> None:
    pytest.importorskip("matplotlib")
    runs = {"good": leaves(0.1), "bad": leaves(3.0)}
    panel = pooled(runs)
    table = panel.tables["pooled"].set_index(["run", "group"])
    assert table.rmse["good", "C4"] < table.rmse["bad", "C4"]
    caption, draw = panel.figures["pooled_assimilation"]
    axes = draw().axes
    assert caption == "Simulated against observed assimilation" and len(axes) == 2
    drawn = axes[1].get_lines()[1].get_ydata()
    np.testing.assert_array_equal(drawn, runs["bad"].data.assimilation.values[4:].ravel())


def test_records_in_time_are_pooled_on_demand() -> None:
    (data,) = profile_data()
    runs = {"one": Evaluation(data)}
    assert pooled(runs).nothing == "no run judges records of points"
    table = pooled(runs, of="soil_moisture").tables["pooled"]
    assert table.points.item() == 3 * 30 * 2 - 3 * 2
    assert "no run judges discharge" in pooled(runs, of="discharge").nothing


def test_reports_of_points_print_all_points_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sites of one point each have no score of their own."""
    run = leaves()
    alone = Evaluation(run.data.isel(point=[0]))
    write_report(alone, tmp_path / "run", "leaves", ["pooled"], figures=False, progress=True)
    told = capsys.readouterr().out
    assert "all points together" in told and "C4" in told and "medians" not in told
    runs = {"one": alone, "two": alone}
    compare_runs(runs, tmp_path, panels=["pooled"], figures=False, progress=True)
    assert "All points together" in capsys.readouterr().out
    assert (tmp_path / "comparison_pooled.csv").is_file()
