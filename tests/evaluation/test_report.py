"""Reports of a run and comparisons.

Tables, figures and pages of basins, of an LSTM, and of profiles.
"""

from __future__ import annotations

import re
from pathlib import Path

import judged_cases as cases
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pydiffgeo.errors import DataWarning, UnknownName
from pydiffgeo.evaluation import Evaluation, compare_runs, evaluate, nse, open_evaluation
from pydiffgeo.evaluation.figures import matplotlib_missing
from pydiffgeo.evaluation.measures import GENERAL

GROUPS = {"trained": ["b0000", "b0001", "b0002"], "held out": ["b0003", "b0004"]}
HISTORY = pd.DataFrame({"epoch": [1, 2], "loss": [0.9, 0.4], "validation": [0.1, 0.3]})
drawn = pytest.mark.skipif(matplotlib_missing() is not None, reason=str(matplotlib_missing()))


@pytest.fixture(scope="module")
def sites() -> xr.Dataset:
    return cases.basins()


@pytest.fixture(scope="module")
def runs(sites: xr.Dataset) -> dict[str, Evaluation]:
    arguments = {"warm_up": 60, "groups": GROUPS, "left_out": {"x": "named"}, "history": HISTORY}
    return {
        "hbv": evaluate(cases.hbv(sites), sites, *cases.DAYS, **arguments),
        "lstm": evaluate(cases.lstm(sites), sites, *cases.DAYS, **arguments),
    }


@pytest.fixture(scope="module")
def folders(runs: dict[str, Evaluation], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    for name, run in runs.items():
        appendix = {"Settings": "count: 2", "Provenance": "commit 123"}
        run.save(
            out / name / "evaluation_test", name, appendix=appendix, weights="abc", notes=["<b>"]
        )
    return out


def test_scores_are_those_of_the_series_written(folders: Path) -> None:
    out = folders / "lstm" / "evaluation_test"
    series, scores = (
        xr.open_dataset(out / "series.nc"),
        pd.read_csv(out / "scores.csv", index_col="site"),
    )
    assert series.sizes == {"site": 5, "time": 365} and series.discharge.units == "mm d-1"
    for site in scores.index[::2]:
        one = series.sel(site=site)
        assert scores.nse[site] == pytest.approx(
            nse(one.discharge, one.discharge_observed), rel=1e-4
        )
    assert xr.open_dataset(out / "scores.nc").nse.dims == ("site",)
    assert scores.group.value_counts().to_dict() == {"trained": 3, "held out": 2}
    row = pd.read_csv(out / "medians.csv").set_index(["group", "measure"]).loc[("held out", "kge")]
    assert row["median"] == pytest.approx(scores.kge[scores.group == "held out"].median(), rel=1e-4)
    assert row["lower"] <= row["median"] <= row["upper"] and row["sites"] == 2
    assert pd.read_csv(out / "left_out.csv").values.tolist() == [["x", "named"]]


def test_parameters_are_a_table_and_an_lstm_has_none(
    folders: Path, runs: dict[str, Evaluation]
) -> None:
    table = pd.read_csv(folders / "hbv" / "evaluation_test" / "parameters.csv", index_col="site")
    assert {"BETA", "route_a", "precipitation_factor"} <= set(table) and len(table) == 5
    assert table.BETA["b0002"] == pytest.approx(float(runs["hbv"].parameters.BETA[2]), rel=1e-5)
    assert not (folders / "lstm" / "evaluation_test" / "parameters.csv").exists()
    assert set(runs["hbv"].series) & {"BETA", "precipitation_factor"} == set()


@drawn
def test_the_page_holds_its_figures_and_loads_nothing(folders: Path) -> None:
    out = folders / "hbv" / "evaluation_test"
    page = (out / "report.html").read_text()
    drawings = ("cdf", "hydrographs", "map", "balance", "training")
    assert sorted(p.stem for p in out.glob("*.png")) == sorted(drawings)
    assert page.count("data:image/png;base64,") == len(drawings)
    assert not re.search(r'(src|href)="(?!data:)', page) and "<script" not in page
    for words in (
        "95 % bootstrap",
        "Best, median and worst site",
        "Map of BETA",
        "count: 2",
        "commit 123",
        "weights: abc",
        "b0003",
        "&lt;b&gt;",
        "base-flow index",
        "named",
    ):
        assert words in page, words


def test_an_lstm_without_fluxes_says_so(folders: Path) -> None:
    page = (folders / "lstm" / "evaluation_test" / "report.html").read_text()
    assert "a pure LSTM simulates its targets alone" in page
    assert "Balance: not shown, since no run gives the fluxes" in page
    assert not (folders / "lstm" / "evaluation_test" / "untrained.csv").exists()


def test_fluxes_are_compared_with_what_the_records_tell(
    runs: dict[str, Evaluation], folders: Path, sites: xr.Dataset
) -> None:
    out = folders / "hbv" / "evaluation_test"
    table = pd.read_csv(out / "untrained.csv", index_col="site")
    data = runs["hbv"].data
    flow = data.discharge_observed
    rain = sites.precipitation.sel(time=flow.time)
    for site in table.index:
        one, seen = data.sel(site=site), flow.sel(site=site).notnull()
        row = table.loc[site]
        year = 365.25
        assert row.evapotranspiration == pytest.approx(
            float(one.evapotranspiration[seen].mean()) * year, rel=1e-4
        )
        assert row.precipitation_less_discharge == pytest.approx(
            float((rain - flow).sel(site=site).mean()) * year, rel=1e-4
        )
        assert row.inflow_less_discharge == pytest.approx(
            float((one.inflow - flow.sel(site=site)).mean()) * year, rel=1e-4
        )
        assert row.base_flow_index == pytest.approx(
            float(one.base_flow[seen].sum() / one.runoff[seen].sum()), rel=1e-4
        )
    summary = pd.read_csv(out / "untrained_summary.csv")
    checks = [
        "evapotranspiration",
        "evapotranspiration, corrected precipitation",
        "base-flow index",
        "gain of storage",
    ]
    assert list(zip(summary.group, summary.check, strict=True)) == [
        (g, c) for g in GROUPS for c in checks
    ]
    balance = pd.read_csv(out / "balance.csv", index_col="site")
    gain = balance.inflow - balance.evapotranspiration - balance.runoff
    np.testing.assert_allclose(balance.storage_gain, gain, atol=1e-5)


def test_what_was_saved_is_read_back_and_compared(
    folders: Path, runs: dict[str, Evaluation]
) -> None:
    HISTORY.to_csv(folders / "hbv" / "history.csv", index=False)
    read = {name: open_evaluation(folders / name / "evaluation_test") for name in runs}
    assert read["hbv"].history is not None and read["lstm"].history is None
    assert read["hbv"].left_out == {"x": "named"} and "BETA" in read["hbv"].parameters
    xr.testing.assert_allclose(read["hbv"].scores, runs["hbv"].scores)
    summary = compare_runs(
        read, folders, "comparison_test", reference="lstm", weights={"hbv": "abc"}
    )
    assert list(zip(summary.run, summary.group, strict=True)) == [
        (r, g) for r in runs for g in GROUPS
    ]
    assert summary.nse[0] == pytest.approx(float(runs["hbv"].scores.nse[:3].median()))
    assert (
        summary.gain[0] == pytest.approx(1 - summary.rmse[0] / summary.rmse[2])
        and summary.gain[2] == 0
    )
    table = pd.read_csv(folders / "comparison_test.csv")
    np.testing.assert_allclose(table.kge, summary.kge, rtol=1e-5)
    untrained = pd.read_csv(folders / "comparison_test_untrained_summary.csv")
    assert set(untrained.run) == {"hbv"}
    page = (folders / "comparison_test.html").read_text()
    assert "Left out, since they simulate no such variables: lstm." in page and "hbv abc" in page


def test_runs_that_judge_other_days_or_sites_are_warned_of(
    runs: dict[str, Evaluation],
    sites: xr.Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = evaluate(
        cases.lstm(sites),
        sites.isel(site=slice(1, 5)),
        "2000-10-02",
        cases.DAYS[1],
        60,
        groups=GROUPS,
    )
    with pytest.warns(DataWarning) as told:
        compare_runs({"hbv": runs["hbv"], "late": other}, tmp_path, figures=False)
    days, some = (str(w.message) for w in told if w.category is DataWarning)
    assert "hbv 2000-10-01 to 2001-09-30, late 2000-10-02 to 2001-09-30" in days
    assert "(trained: hbv 3, late 2; 2 are common to all)" in some and "Leave b0000 out" in some
    apart = evaluate(
        cases.lstm(sites), sites.isel(site=slice(4, 5)), *cases.DAYS, 60, groups=GROUPS
    )
    only = evaluate(cases.lstm(sites), sites.isel(site=slice(3, 4)), *cases.DAYS, 60, groups=GROUPS)
    with pytest.warns(DataWarning, match="0 are common to all.*Judge all runs at the same sites"):
        compare_runs({"only": only, "apart": apart}, tmp_path / "apart", figures=False)
    page = (tmp_path / "comparison.html").read_text()
    assert "do not judge the same days" in page and "do not judge the same sites" in page
    assert not list(tmp_path.glob("*.png"))
    capsys.readouterr()
    runs["lstm"].save(tmp_path, "run", figures=False, progress=True)
    assert "run, discharge, held out: medians, 95 % bootstrap" in capsys.readouterr().out.replace(
        "\n", " "
    )


def test_panels_and_measures_are_chosen_by_name(sites: xr.Dataset, tmp_path: Path) -> None:
    run = evaluate(cases.lstm(sites), sites, *cases.DAYS, 60, measures={"discharge": GENERAL})
    assert "ubrmse" in run.scores and "fhv" not in run.scores and "rmse" in repr(run)
    run.save(tmp_path, panels={"map": {"of": "aridity"}})
    if matplotlib_missing() is None:
        assert [p.stem for p in tmp_path.glob("*.png")] == ["map"]
        assert "Map of aridity" in (tmp_path / "report.html").read_text()
    with pytest.raises(UnknownName, match="did you mean 'aridity'"):
        run.save(tmp_path, panels={"map": {"of": "aridty"}})
    with pytest.raises(UnknownName, match="unknown panel 'maps'; did you mean 'map'"):
        run.save(tmp_path, panels=["maps"])


def test_profiles_are_reported_by_depth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = {f"model {k}": Evaluation(data) for k, data in enumerate(cases.profile_data(2))}
    summary = compare_runs(runs, tmp_path, reference="model 1")
    assert summary.depth.tolist() == ["5 cm", "50 cm", "all"] * 2 and (summary.sites == 3).all()
    assert {"rmse", "ubrmse", "bias", "correlation", "kge"} <= set(summary)
    first = runs["model 0"].judged
    error = (first.soil_moisture - first.soil_moisture_observed).isel(depth=0)
    each = np.sqrt((error**2).mean("time"))  # of each site
    assert summary.rmse[0] == pytest.approx(float(np.sqrt((each**2).mean())))
    assert summary.gain[2] == pytest.approx(0.5, abs=0.05)  # half the noise
    assert len(pd.read_csv(tmp_path / "comparison_profiles_soil_moisture.csv")) == 2 * 3 * 2
    if matplotlib_missing() is None:
        names = {p.stem.removeprefix("comparison_") for p in tmp_path.glob("*.png")}
        assert {"rmse_soil_moisture", "site_s%240", "site_s%241", "site_s%242"} <= names
    capsys.readouterr()
    runs["model 0"].save(tmp_path / "one", "name", progress=True)
    assert "name: ubrmse" in (told := capsys.readouterr().out) and "50 cm" in told
    cells = cases.profile_data(2)[0].isel(depth=0, drop=True)
    cells = cells.rename({n: n.replace("soil", "satellite_soil") for n in cells.data_vars})
    both = cases.profile_data(2)[0].merge(cells, compat="equals")
    Evaluation(both).save(tmp_path / "both", "name", progress=True)
    told = capsys.readouterr().out
    assert "no depth" in told and "nan" not in told
    table = pd.read_csv(tmp_path / "one" / "table.csv")
    assert table.depth.tolist() == ["5 cm", "50 cm", "all"]
