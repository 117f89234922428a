"""Scores of sites, with and without depths.

Medians with their intervals; the table of profiles by hand.
"""

from __future__ import annotations

import math
from pathlib import Path

import neuralhydrology_metrics as reference
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pydiffgeo.errors import DataError, UnknownName
from pydiffgeo.evaluation.measures import DISCHARGE, MEASURES
from pydiffgeo.evaluation.scores import median_scores, score_sites, summary_table, write_scores


def array(values: object, name: str = "discharge", **coords: object) -> xr.DataArray:
    values = np.asarray(values, float)
    return xr.DataArray(
        values, coords, ("site", "time", "depth")[: values.ndim], name, {"units": "mm d-1"}
    )


def made_up() -> tuple[xr.DataArray, xr.DataArray]:
    series = [reference.made_up(seed) for seed in (3, 4, 5, 6)]
    days = min(len(s) for s, _ in series)
    simulated, observed = (np.stack([x[k][:days] for x in series]) for k in (0, 1))
    observed[2] = np.nan
    sites = ["01", "02", "03", "04"]
    return array(simulated, site=sites), array(observed, site=sites)


def test_a_table_of_sites(tmp_path: Path) -> None:
    simulated, observed = made_up()
    scores = score_sites(simulated, observed)
    s, o = simulated[0].values, observed[0].values
    assert set(scores.data_vars) == {*DISCHARGE, "count"}
    assert scores.nse[0] == MEASURES["nse"](s, o) and scores["count"][0] == np.isfinite(s + o).sum()
    assert scores["count"][2] == 0 and all(np.isnan(scores[name][2]) for name in DISCHARGE)
    csv, netcdf = write_scores(scores, tmp_path / "run" / "scores.test")
    read = pd.read_csv(csv, dtype={"site": str}).set_index("site")
    assert csv.name == "scores.test.csv" and read.index.tolist() == ["01", "02", "03", "04"]
    np.testing.assert_allclose(read.kge, scores.kge, rtol=1e-5)
    xr.testing.assert_equal(xr.load_dataset(netcdf), scores)
    assert [scores[n].units for n in ("fhv", "rmse", "mse", "nse")] == [
        "percent", "mm d-1", "(mm d-1)2", "1",
    ]  # fmt: skip
    with pytest.raises(DataError, match="must have the same dimensions"):
        score_sites(simulated, observed[:2])
    with pytest.raises(UnknownName, match="did you mean 'nse'"):
        score_sites(simulated, observed, ["nsse"])


def test_a_site_that_is_simulated_in_part_has_no_score(caplog: pytest.LogCaptureFixture) -> None:
    simulated, observed = made_up()
    simulated = simulated.fillna(1.0)
    simulated[0, np.flatnonzero(observed[0].notnull())[100:]] = np.nan
    scores = score_sites(simulated, observed)
    assert all(np.isnan(scores[name][0]) for name in DISCHARGE) and scores["count"][0] == 100
    assert np.isfinite(scores.nse[1]) and "in part at 01" in caplog.text
    assert "02" not in caplog.text


def test_other_series_have_general_measures() -> None:
    simulated, observed = made_up()
    assert "fhv" not in score_sites(simulated.rename("water_temperature"), observed)


def test_medians_and_their_intervals() -> None:
    random = np.random.default_rng(0)
    values = random.normal(0.7, 0.1, 400)
    values[:3] = np.nan
    nothing = np.full(400, np.nan)
    scores = xr.Dataset({n: ("site", v) for n, v in (("nse", values), ("fhv", nothing))})
    scores["count"] = "site", np.full(400, 9)
    nse, fhv = median_scores(scores).to_dict("records")
    assert nse["median"] == np.nanmedian(values) and nse["sites"] == 397 and nse["undefined"] == 3
    # the median of n normal values has the standard error sqrt(pi / 2n) sd = 0.0063
    assert nse["lower"] == pytest.approx(nse["median"] - 1.96 * 0.0063, abs=0.004)
    assert nse["upper"] == pytest.approx(nse["median"] + 1.96 * 0.0063, abs=0.004)
    assert math.isnan(fhv["median"]) and fhv["sites"] == 0
    pd.testing.assert_frame_equal(median_scores(scores), median_scores(scores))  # seeded
    assert median_scores(scores, seed=1).lower[0] != nse["lower"]
    assert median_scores(scores, confidence=0.5).upper[0] < nse["upper"]
    with pytest.raises(DataError, match="confidence 95"):
        median_scores(scores, confidence=95)


def test_groups_are_summarised_apart() -> None:
    scores = xr.Dataset(
        {"nse": ("site", [0.1, 0.5, 0.9, 0.3]), "count": ("site", [9, 9, 9, 0])},
        {"site": list("abcd"), "group": ("site", ["old", "old", "old", "new"])},
    )
    assert summary_table(scores).to_dict("records") == [
        {"group": "old", "nse": 0.5, "sites": 3},
        {"group": "new", "nse": 0.3, "sites": 0},
    ]
    medians = median_scores(scores)
    assert medians.group.tolist() == ["old", "new"] and medians["median"].tolist() == [0.5, 0.3]


def test_the_table_of_profiles_by_hand() -> None:
    observed = np.zeros((2, 2, 1)) + np.array([0.1, 0.3])[None, :, None]
    simulated = observed + np.array([0.0, 0.2])[:, None, None]

    def row(simulated: np.ndarray) -> dict[str, float]:
        arrays = (array(x, "soil_moisture", depth=[0.05]) for x in (simulated, observed))
        both = summary_table(score_sites(*arrays)).to_dict("records")
        assert [r["depth"] for r in both] == ["5 cm", "all"]
        return both[1]

    found = row(simulated)
    assert found["sites"] == 2 and found["rmse"] == pytest.approx(np.sqrt(0.02))
    assert found["ubrmse"] == pytest.approx(0, abs=1e-12)
    assert found["bias"] == pytest.approx(0.1) and found["correlation"] == pytest.approx(1)
    assert found["kge"] == pytest.approx(np.median([1, 0]))  # mean 0.4 for 0.2 gives 1 - 1
    simulated[1] = np.nan  # a failed column shows in the count
    assert row(simulated)["sites"] == 1


def test_depths_are_drawn_with_their_site() -> None:
    scores = xr.Dataset(
        {
            "rmse": (("site", "depth"), [[1.0, 2.0], [3.0, 4.0]]),
            "count": (("site", "depth"), [[9, 9], [9, 9]]),
        },
        {"depth": [0.05, 0.5]},
    )
    medians = median_scores(scores).set_index("depth")["median"]
    assert medians.to_dict() == {"5 cm": 2.0, "50 cm": 3.0, "all": 2.5}
