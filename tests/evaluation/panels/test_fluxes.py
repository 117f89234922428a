"""What was never trained on: the base-flow filter against published values; balances by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pydiffgeo.errors import DataError
from pydiffgeo.evaluation import Evaluation
from pydiffgeo.evaluation.panels.fluxes import (
    balance_table,
    base_flow,
    counted_days,
    untrained,
    untrained_summary,
    untrained_table,
    water_balance,
)


def test_the_index_of_camels_is_that_of_its_own_table(shared_data) -> None:
    """Addor et al. (2017), doi:10.5194/hess-21-5293-2017, from 1989 to 2009.

    The series here ends in 2000.
    """
    table = pd.read_csv(
        shared_data("camels_us_sample") / "camels_attributes_v2.0" / "camels_hydro.txt",
        sep=";",
        dtype={"gauge_id": str},
    ).set_index("gauge_id")
    with xr.open_dataset(shared_data("camels_us_daymet_500.nc")) as opened:
        flow = opened.qobs.sel(time=slice("1989-10-01", None)).load()
    assert flow.notnull().all()
    found = np.array([base_flow(row).sum() / row.sum() for row in flow.values.astype(float)])
    published = table.baseflow_index[flow.basin.values].to_numpy()
    assert np.corrcoef(found, published)[0, 1] > 0.99
    assert (
        abs(np.median(found - published)) < 0.005
        and np.quantile(abs(found - published), 0.9) < 0.025
    )


def test_one_pass_by_hand() -> None:
    # without memory (alpha 0) quick flow is half of each rise
    flow = np.random.default_rng(0).gamma(1.0, 2.0, 100)
    before = np.append(flow[1], flow[:-1])  # reflected
    np.testing.assert_allclose(
        base_flow(flow, 0.0, 1), flow - 0.5 * (flow - before).clip(min=0), rtol=1e-12
    )
    # an impulse on a steady flow: quick flow of (1 + alpha) / 2 of it on its day, none where the
    # filter is below zero
    steady = np.full(400, 3.0)
    steady[200] += 8.0
    once = base_flow(steady, 0.9, 1)
    assert once[200] == pytest.approx(11.0 - 0.95 * 8.0, rel=1e-6)
    np.testing.assert_allclose(np.delete(once, 200)[150:], 3.0, rtol=1e-6)


def test_base_flow_is_a_part_of_the_flow_and_has_its_unit() -> None:
    flow = np.random.default_rng(1).gamma(0.5, 4.0, 800)
    found = base_flow(flow)
    assert ((found >= 0) & (found <= flow)).all() and 0.1 < found.sum() / flow.sum() < 0.9
    np.testing.assert_allclose(base_flow(86.4 * flow), 86.4 * found, rtol=1e-12)
    assert (
        base_flow(flow, 0.98).sum() < found.sum() and base_flow(flow, passes=1).sum() > found.sum()
    )
    with pytest.raises(DataError, match="alpha 1.0 must be"):
        base_flow(flow, alpha=1.0)
    with pytest.raises(DataError, match="passes 0 at least 1"):
        base_flow(flow, passes=0)


def test_parts_between_gaps_are_filtered_by_themselves() -> None:
    flow = np.random.default_rng(2).gamma(0.5, 4.0, 300)
    flow[[100, 131, 163]] = np.nan  # parts of 100, 30, 31 and 136 days
    found = base_flow(flow)
    for part in (slice(100), slice(132, 163), slice(164, 300)):
        np.testing.assert_array_equal(found[part], base_flow(flow[part]))
    assert np.isnan(found[100:132]).all() and np.isnan(found[163])
    assert np.isnan(base_flow(np.full(5, np.nan))).all()


def test_days_count_in_water_years_that_are_nearly_complete() -> None:
    days = pd.date_range(
        "1999-09-01", "2002-08-25"
    )  # a month, a leap year, a year, and one without 36 days
    observed = np.ones((4, len(days)), bool)
    year = {
        end: (days >= f"{end - 1}-10-01") & (days <= f"{end}-09-30") for end in (2000, 2001, 2002)
    }
    assert [int(inside.sum()) for inside in year.values()] == [366, 365, 329]
    observed[1, np.flatnonzero(year[2000])[:36]] = False  # 330 of 366 days: more than 90 %
    observed[2, np.flatnonzero(year[2000])[:37]] = False  # 329: less
    observed[3, np.flatnonzero(year[2002])[5]] = False  # 328 of 365: less
    counted = counted_days(observed, days)
    assert not counted[:, days < "1999-10-01"].any() and not (counted & ~observed).any()
    assert [counted[:, inside].sum(1).tolist() for inside in year.values()] == [
        [366, 330, 0, 366],
        [365, 365, 365, 365],
        [329, 329, 329, 0],
    ]


def test_balance_and_ratio_by_hand_over_the_days_that_count() -> None:
    days = pd.date_range("2000-10-01", "2001-09-30")
    random = np.random.default_rng(3)
    observed = np.full((3, 365), 2.0)
    observed[1, 40:60] = observed[2, :100] = np.nan
    seen = np.isfinite(observed)
    # on days without observation the model is far off, which must not count
    simulated = {
        "evapotranspiration": np.where(seen, 2.5, 99.0),
        "base_flow": np.where(seen, 0.3, 99.0),
        "runoff": np.where(seen, 1.2, 99.0),
        "inflow": np.where(seen, 6.0, 99.0),
    }
    table = untrained_table(simulated, observed, np.full((3, 365), 5.0), days, ["a", "b", "c"])
    assert (
        table.days.tolist() == [365, 345, 0]
        and table.loc["c"].drop(["days", "storage_gain"]).isna().all()
    )
    assert table.storage_gain["a"] == pytest.approx((6.0 - 2.5 - 1.2) * 365.25)
    for site in ("a", "b"):
        one = table.loc[site]
        assert one.evapotranspiration == pytest.approx(
            2.5 * 365.25
        ) and one.base_flow_index == pytest.approx(0.25)
        assert one.precipitation_less_discharge == pytest.approx(3.0 * 365.25)
        assert one.inflow_less_discharge == pytest.approx(4.0 * 365.25)
    # sums, not means of ratios
    flow = random.gamma(0.5, 4.0, (1, 365))
    varied = untrained_table({"base_flow": flow**0.5, "runoff": flow}, flow, flow, days, ["a"])
    assert varied.base_flow_index["a"] == pytest.approx((flow**0.5).sum() / flow.sum())
    assert varied.observed_base_flow_index["a"] == pytest.approx(
        base_flow(flow[0]).sum() / flow.sum()
    )
    assert list(varied) == ["days", "base_flow_index", "observed_base_flow_index"]
    dry = untrained_table({"base_flow": 0 * flow, "runoff": flow}, 0 * flow, flow, days, ["a"])
    assert dry.base_flow_index["a"] == 0 and math.isnan(dry.observed_base_flow_index["a"])


def test_a_summary_by_hand() -> None:
    table = pd.DataFrame(
        {
            "days": 365,
            "evapotranspiration": [110.0, 180.0, 330.0, 50.0, 9.0],
            "precipitation_less_discharge": [100.0, 200.0, 300.0, -40.0, np.nan],
            "base_flow_index": 0.5,
        }
    )
    [row] = untrained_summary(table)  # the observed base-flow index is not there
    assert row["check"] == "evapotranspiration" and row["unit"] == "mm year-1" and row["sites"] == 4
    assert (row["simulated"], row["reference"], row["difference"]) == (145.0, 150.0, 20.0)
    assert row["relative_bias"] == pytest.approx(
        10.0
    )  # of 10, -10 and 10 %: water that comes from elsewhere has none
    assert row["correlation"] == pytest.approx(
        np.corrcoef([110, 180, 330, 50], [100, 200, 300, -40])[0, 1]
    )
    gains = untrained_summary(pd.DataFrame({"storage_gain": [10.0, -4.0, 2.0, np.nan]}))
    assert [(row["check"], row["sites"], row["difference"]) for row in gains] == [
        ("gain of storage", 3, 2.0)
    ]
    [none] = untrained_summary(table.iloc[4:])
    assert none["sites"] == 0 and math.isnan(none["difference"]) and math.isnan(none["correlation"])
    assert math.isnan(none["relative_bias"])


def test_what_was_trained_on_and_rain_as_measured_are_no_checks() -> None:
    days = pd.date_range("2000-10-01", "2001-09-30")
    names = (
        "discharge",
        "discharge_observed",
        "precipitation",
        "evapotranspiration",
        "base_flow",
        "inflow",
    )
    random = np.random.default_rng(0)
    data = xr.Dataset(
        {
            name: (("site", "time"), random.gamma(1, 1, (2, 365)), {"units": "mm d-1"})
            for name in names
        },
        {"site": ["01", "02"], "time": days, "judged": ("time", np.ones(365, bool))},
    )
    checks = untrained({"run": Evaluation(data)}).tables["untrained_summary"].check.tolist()
    assert checks == ["evapotranspiration", "base-flow index", "gain of storage"]
    data["precipitation_factor"] = "site", [1.1, 0.9], {"role": "parameter"}
    checks = untrained({"run": Evaluation(data)}).tables["untrained_summary"].check.tolist()
    assert checks[1] == "evapotranspiration, corrected precipitation"
    data["evapotranspiration_observed"] = data.evapotranspiration
    checks = untrained({"run": Evaluation(data)}).tables["untrained_summary"].check.tolist()
    assert checks == ["base-flow index"]
    alone = data[["discharge", "discharge_observed", "precipitation"]]
    assert "its targets alone" in untrained({"run": Evaluation(alone)}).nothing


def judged(**values: float) -> Evaluation:
    data = xr.Dataset(
        {n: (("site", "time"), np.full((2, 3), v), {"units": "mm d-1"}) for n, v in values.items()},
        {"site": ["01", "02"], "time": range(3), "judged": ("time", [False, True, True])},
    )
    data["inflow"][:, 0] = 99.0  # of the warm-up
    data["inflow"][1] += 1.0
    data.attrs["balance"] = json.dumps({"inflow": 1, "evapotranspiration": -1, "discharge": -1})
    return Evaluation(data)


def test_mean_fluxes_and_what_the_stores_gain() -> None:
    run = judged(inflow=6.0, evapotranspiration=2.0, discharge=3.0)
    table = balance_table(run)
    assert table.loc["01"].to_dict() == {
        "inflow": 6.0, "evapotranspiration": 2.0, "discharge": 3.0, "storage_gain": 1.0,
    }  # fmt: skip
    panel = water_balance({"run": run, "lstm": judged(inflow=1.0)})
    assert panel.tables["balance_summary"].to_dict("records")[0]["storage_gain"] == 1.5
    assert set(panel.files["balance"].run) == {"run"}
    pytest.importorskip("matplotlib")
    assert panel.figures["balance"][1]().axes[0].get_ylabel() == "mm d-1"


def test_discharge_counts_before_routing() -> None:
    run = judged(inflow=6.0, evapotranspiration=2.0, discharge=3.0, runoff=3.5)
    assert balance_table(run).storage_gain["01"] == 0.5


def test_a_network_has_no_balance() -> None:
    assert "no run gives" in water_balance({"lstm": judged(inflow=1.0)}).nothing
