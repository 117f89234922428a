"""Simulations of whole periods.

Batches, processes, warm-up, ensembles, and what is said of them.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import judged_cases as cases
import numpy as np
import pytest
import river_files
import torch
import xarray as xr

from pydiffgeo import MLP, Hybrid, Solver, Windows, stages
from pydiffgeo.errors import DataError, DataWarning, UnitError
from pydiffgeo.evaluation import evaluate, simulate

ALL = ("snow", "melt_water", "soil", "upper", "lower", "runoff", "inflow", "evapotranspiration")


@pytest.fixture(scope="module")
def sites() -> xr.Dataset:
    return cases.basins()


@pytest.fixture(scope="module")
def whole(sites: xr.Dataset) -> xr.Dataset:
    return simulate(cases.hbv(sites), sites, *cases.DAYS, warm_up=60, also=ALL)


class Stop(Exception):
    pass


class Rank:
    """One of two processes.

    The first keeps its part and stops, the second has that of the first.
    """

    size = 2

    def __init__(self, rank: int, parts: list[Any]):
        self.rank, self.parts = rank, parts

    def collect(self, value: Any) -> list[Any]:
        self.parts.append(value)
        if self.rank == 0:
            raise Stop
        return self.parts


def test_batches_and_processes_change_nothing(sites: xr.Dataset, whole: xr.Dataset) -> None:
    hybrid = cases.hbv(sites).train()
    some = simulate(hybrid, sites, *cases.DAYS, warm_up=60, batch=2, also=ALL)
    assert hybrid.training
    xr.testing.assert_allclose(some, whole, rtol=1e-5, atol=1e-5)
    parts: list[Any] = []
    with pytest.raises(Stop):
        simulate(hybrid, sites, *cases.DAYS, 60, 2, also=ALL, group=Rank(0, parts))
    both = simulate(hybrid, sites, *cases.DAYS, 60, 2, also=ALL, group=Rank(1, parts))
    xr.testing.assert_allclose(both, whole, rtol=1e-5, atol=1e-5)
    assert both.site.values.tolist() == sites.site.values.tolist()


def test_water_is_conserved_and_measured_rain_stays_as_it_is(
    whole: xr.Dataset, sites: xr.Dataset
) -> None:
    stored = sum(whole[name] for name in ALL[:5])
    change = (whole.inflow - whole.evapotranspiration - whole.runoff)[:, 1:]
    np.testing.assert_allclose(stored.diff("time"), change, atol=2e-4)
    both = simulate(cases.hbv(sites), sites, *cases.DAYS, warm_up=60)
    factor = both.precipitation_factor
    assert (abs(factor - 1) > 1e-3).any() and factor.attrs["role"] == "parameter"
    measured = sites.precipitation.sel(time=both.time)
    xr.testing.assert_equal(both.precipitation.variable, measured.variable)
    assert (abs(whole.runoff - whole.discharge) > 1e-3).any()  # routed


def test_the_warm_up_is_simulated_and_not_judged(sites: xr.Dataset, whole: xr.Dataset) -> None:
    assert whole.sizes["time"] == 365 and whole.judged.all() and whole.attrs["warm_up"] == 60
    kept = simulate(cases.hbv(sites), sites, *cases.DAYS, warm_up=60, also=ALL, keep_warm_up=True)
    assert kept.sizes["time"] == 425 and int(kept.judged.sum()) == 365
    xr.testing.assert_allclose(kept.discharge[:, 60:], whole.discharge)
    colder = simulate(cases.hbv(sites), sites, *cases.DAYS, warm_up=0, also=())
    assert (abs(colder.discharge - whole.discharge)[:, 0] > 1e-4).any()
    rest = simulate(cases.hbv(sites), sites, warm_up=700, also=())  # of 760 days
    assert rest.sizes["time"] == 60
    every = simulate(cases.hbv(sites), sites, *cases.DAYS, warm_up=None, also=())
    assert every.attrs["warm_up"] == 366
    with pytest.raises(DataError, match="leaves none of 760"):
        simulate(cases.hbv(sites), sites, warm_up=760)


def test_units_depths_and_what_was_not_observed(whole: xr.Dataset, tmp_path: Any) -> None:
    assert whole.discharge.units == whole.discharge_observed.units
    assert whole.runoff.units == whole.inflow.units == "mm d-1"  # before routing; of the process
    assert whole.snow.units == "mm" and whole.BETA.units == "1" and whole.BETA.dims == ("site",)
    assert whole.discharge.long_name.startswith("discharge per")
    assert json.loads(whole.attrs["balance"]) == {
        "inflow": 1,
        "evapotranspiration": -1,
        "discharge": -1,
    }
    whole.to_netcdf(tmp_path / "a.nc")
    xr.testing.assert_allclose(xr.load_dataset(tmp_path / "a.nc"), whole)


def test_sites_without_forcing_are_named(sites: xr.Dataset) -> None:
    gap = sites.copy(deep=True)
    gap.precipitation[1, 500] = np.nan
    with pytest.raises(
        DataError, match=r"site b0001: forcing is missing on 2001-02-12 \(1 steps; precipitation\)"
    ):
        evaluate(cases.lstm(sites), gap, *cases.DAYS, warm_up=10)
    with pytest.warns(DataWarning, match="1 sites are left out.*: b0001"):
        judged = evaluate(cases.lstm(sites), gap, *cases.DAYS, warm_up=10, missing="skip")
    assert list(judged.left_out) == ["b0001"] and "b0001" not in judged.scores.site.values
    found = judged.data
    assert found.site.values.tolist() == ["b0000", "b0002", "b0003", "b0004"]
    why = "forcing is missing on 2001-02-12 (1 steps; precipitation)"
    assert json.loads(found.attrs["left_out"]) == {"b0001": why}
    gap.precipitation[:, 500] = np.nan
    with pytest.raises(DataError, match="no site has complete forcing"):
        simulate(cases.lstm(sites), gap, *cases.DAYS, warm_up=10, missing="skip")
    with pytest.raises(DataError, match="missing='drop' is neither"):
        simulate(cases.lstm(sites), gap, *cases.DAYS, warm_up=10, missing="drop")


def test_records_that_all_begin_later_are_simulated_from_there(sites: xr.Dataset) -> None:
    """As cells of a satellite whose first year begins in April, beside probes of a whole year."""
    late = sites.copy(deep=True)
    late.precipitation[:, :90] = np.nan
    late.precipitation[3, :100] = np.nan
    hybrid, options = cases.lstm(sites), {"warm_up": None, "missing": "skip"}
    with pytest.warns(DataWarning, match="begin on 1999-12-30, from which on most of them have"):
        found = simulate(hybrid, late, *cases.DAYS, **options)
    assert list(json.loads(found.attrs["left_out"])) == ["b0003"]
    alone = simulate(hybrid, sites.isel(time=slice(90, None)), *cases.DAYS, warm_up=None)
    for k in found.site.values:
        np.testing.assert_allclose(  # in batches of other sizes
            found.discharge.sel(site=k), alone.discharge.sel(site=k), rtol=1e-5
        )
    with pytest.raises(DataError, match="forcing is missing on 1999-10-01"):
        simulate(hybrid, late, *cases.DAYS, warm_up=None)


def leaves() -> xr.Dataset:
    """Three days of two leaves, in hours."""
    random, dims = np.random.default_rng(3), ("site", "time")
    ranges = {
        "par": (0.0, 1500.0), "leaf_temperature": (10.0, 30.0), "soil_wetness": (0.3, 0.9),
        "vapour_pressure_deficit": (0.3, 2.0), "co2": (390.0, 430.0), "pressure": (9.9e4, 1.01e5),
        "boundary_layer_conductance": (1.0, 2.0), "assimilation": (0.0, 20.0),
    }  # fmt: skip
    made = {k: (dims, random.uniform(*between, (2, 72))) for k, between in ranges.items()}
    hours = np.arange("2001-07-01T01", "2001-07-04T01", dtype="datetime64[h]")
    sites = xr.Dataset(made, {"site": ["a", "b"], "time": hours.astype("datetime64[ns]")})
    sites.assimilation.attrs["role"] = "observed"
    return sites


def test_of_models_that_store_nothing_steps_without_forcing_are_missing_alone() -> None:
    sites = leaves()
    leaf = stages.Process("photosynthesis", engine="torch", learn=["V_cmax25", "g1"])
    stress = stages.SoilWaterStress(B=0.2)
    hybrid = Hybrid(MLP(reads=(), hidden=()), stress, leaf, dtype=torch.float64).prepare(sites)
    assert not hybrid.remembers and cases.lstm(cases.basins()).remembers
    options = {"warm_up": 0, "observed": ["assimilation"]}
    whole = evaluate(hybrid, sites, **options)
    gap = sites.copy(deep=True)
    gap.soil_wetness[0, 10:13] = np.nan
    gap.co2[0, 0] = np.nan  # the first step has none before it
    with pytest.warns(
        DataWarning, match=r"missing at 4 of 144 steps.*sites a \(4\); series soil_wetness, co2\."
    ):
        judged = evaluate(hybrid, gap, **options)
    lost = np.isnan(judged.data.assimilation.values)
    assert np.argwhere(lost).tolist() == [[0, 0], [0, 10], [0, 11], [0, 12]]
    kept = np.where(lost, np.nan, whole.data.assimilation.values)
    np.testing.assert_array_equal(judged.data.assimilation.values, kept)
    there = ~lost[0]
    error = (whole.data.assimilation - sites.assimilation).values[0][there]
    rmse = float(judged.scores["rmse"].sel(site="a"))
    assert rmse == pytest.approx(np.sqrt((error**2).mean()), rel=1e-12)
    windows = Windows(gap, length=72, observed=["assimilation"], attributes=[], dtype=torch.float64)
    held = windows.reading(hybrid.reads, ["assimilation"], (), missing="hold").batch(0)
    first = held.site.tolist().index(0)
    assert torch.isnan(held.observed["assimilation"][first]).nonzero()[:, 0].tolist() == [
        0,
        *range(10, 13),
    ]
    assert (held.series["par"][first, 10:13] == held.series["par"][first, 9]).all()


def test_a_warm_up_that_the_record_does_not_have_is_warned_of_once(sites: xr.Dataset) -> None:
    hybrid = cases.lstm(sites)
    with pytest.warns(DataWarning, match="0 of 90 steps of warm-up before 1999-10-01") as warned:
        found = simulate(hybrid, sites, "1999-10-01", "1999-12-31", warm_up=90)
    assert len(warned) == 1 and found.attrs["warm_up"] == 0
    assert found.attrs["warning"] == str(warned[0].message)
    with pytest.warns(DataWarning, match="31 of 90 steps"):
        simulate(hybrid, sites, "1999-11-01", "1999-12-31", warm_up=90)
    with warnings.catch_warnings(action="error"):
        enough = simulate(hybrid, sites, "1999-11-01", "1999-12-31", warm_up=31)
        simulate(hybrid, sites, "1999-10-01", "1999-12-31", warm_up=None)
    assert "warning" not in enough.attrs


def test_unknown_series_are_answered(sites: xr.Dataset) -> None:
    with pytest.raises(DataError, match="nobody gives 'snoow'; did you mean 'snow'"):
        simulate(cases.hbv(sites), sites, also=["snoow"])
    with pytest.raises(DataError, match="nobody gives 'soil_moisture'"):
        simulate(cases.lstm(sites), sites, observed=["soil_moisture"])


def test_nothing_observed_is_a_prediction(sites: xr.Dataset) -> None:
    new = sites.drop_vars("discharge").isel(site=[3, 1])
    found = simulate(
        cases.hbv(sites), new, *cases.DAYS, warm_up=60, observed=(), also=["discharge"]
    )
    whole = simulate(cases.hbv(sites), sites, *cases.DAYS, warm_up=60)
    xr.testing.assert_allclose(found.discharge, whole.discharge.isel(site=[3, 1]), rtol=1e-5)


def test_an_ensemble_is_the_mean_of_its_members_or_one_for_each_site(sites: xr.Dataset) -> None:
    ensemble = cases.hbv(sites, scale=False).ensemble([1, 2])
    alone = [simulate(m, sites, *cases.DAYS, warm_up=30, also=()) for m in ensemble.members]
    assert (abs(alone[0].discharge - alone[1].discharge) > 1e-3).any()
    mean = simulate(ensemble, sites, *cases.DAYS, warm_up=30, also=())
    np.testing.assert_allclose(
        mean.discharge, (alone[0].discharge + alone[1].discharge) / 2, rtol=1e-4, atol=1e-5
    )
    xr.testing.assert_allclose(mean.BETA, alone[0].BETA)
    each = {site: k % 2 for k, site in enumerate(sites.site.values.tolist())}
    folds = simulate(ensemble, sites, *cases.DAYS, warm_up=30, also=(), members=each)
    for k in range(5):
        xr.testing.assert_allclose(folds.discharge[k], alone[k % 2].discharge[k], rtol=1e-4)
        xr.testing.assert_allclose(folds.BETA[k], alone[k % 2].BETA[k])
    each = {site: 1 for site in sites.site.values[:2].tolist()}  # the others were never left out
    some = simulate(ensemble, sites, *cases.DAYS, warm_up=30, also=(), members=each)
    xr.testing.assert_allclose(some.discharge[:2], alone[1].discharge[:2], rtol=1e-4)
    np.testing.assert_allclose(some.discharge[2:], mean.discharge[2:], rtol=1e-6)


def test_other_units_than_those_of_training_are_refused(sites: xr.Dataset) -> None:
    hybrid = cases.hbv(sites)
    for name, size, unit in (("precipitation", 1 / 86400, "mm s-1"), ("discharge", 0.1, "cm d-1")):
        other = sites.assign({name: (sites[name] * size).assign_attrs(units=unit)})
        with pytest.raises(UnitError, match=f"'{name}' is given in '{unit}', .* for 'mm"):
            simulate(hybrid, other, *cases.DAYS, warm_up=30)
        both = other.assign(tair_mean=other.tair_mean.assign_attrs(units="mm"))
        with pytest.raises(UnitError, match=rf"(?=.*'{name}' is given).*'tair_mean' is given"):
            simulate(hybrid, both, *cases.DAYS, warm_up=30)


def test_random_state_and_weights_are_left_alone(sites: xr.Dataset) -> None:
    hybrid = cases.lstm(sites)
    before, state = (
        torch.get_rng_state(),
        {k: v.clone() for k, v in hybrid.state_dict().items() if isinstance(v, torch.Tensor)},
    )
    simulate(hybrid, sites, *cases.DAYS, warm_up=10)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(v, hybrid.state_dict()[k]) for k, v in state.items())


def test_columns_of_soil_have_depths_and_layers() -> None:
    sites = cases.probes()
    found = simulate(cases.column(sites), sites, "2020-05-06", warm_up=None, also=["psi"])
    assert found.soil_moisture.dims == ("site", "time", "depth") and found.attrs["warm_up"] == 5
    assert found.depth.values.tolist() == [0.05, 0.3] and found.psi.sizes["cell"] == 8
    assert found.K_s.dims == ("site", "layer") and found.cover.dims == ("site",)
    assert found.layer.values.tolist() == [15.0, 65.0]
    every = simulate(cases.column(sites), sites, "2020-05-06", warm_up=None, also="all")
    assert set(cases.column(sites).gives) <= set(every)
    np.testing.assert_allclose(found.soil_moisture_observed, sites.soil_moisture[:, 5:], rtol=1e-6)


def test_a_column_that_fails_is_named_and_leaves_the_others_alone() -> None:
    sites = cases.probes()
    sites.precipitation[:] = [[0.0], [800.0]]
    hasty = cases.column(sites, max_steps=30, on_failure="report")
    judged = evaluate(hasty, sites, "2020-05-15", warm_up=3)
    assert list(judged.left_out) == ["p1"] and "the solve failed: site p1" in judged.left_out["p1"]
    assert np.isnan(judged.scores.rmse[1]).all() and np.isfinite(judged.scores.rmse[0]).all()
    assert (judged.summary.sites == 1).all()


def test_rivers_are_simulated_whole() -> None:
    river = river_files.river()
    two = river.assign(downstream=("site", ["c", "c", "", "e", ""]))
    solver = Solver("implicit_euler", step=86400.0)
    hybrid = Hybrid(None, stages.Downstream(stages.Process("muskingum", solver, learn=())))
    hybrid.prepare(two)
    whole = simulate(hybrid, two, warm_up=0)
    xr.testing.assert_allclose(simulate(hybrid, two, warm_up=0, batch=1), whole, rtol=1e-5)
    parts: list[Any] = []
    with pytest.raises(Stop):
        simulate(hybrid, two, warm_up=0, batch=1, group=Rank(0, parts))  # type: ignore[arg-type]
    shared = simulate(hybrid, two, warm_up=0, batch=1, group=Rank(1, parts))  # type: ignore[arg-type]
    xr.testing.assert_allclose(shared, whole, rtol=1e-5)
    two.lateral_inflow[3, 7] = np.nan
    with pytest.raises(DataError, match="site d: forcing is missing on 2000-01-08"):
        simulate(hybrid, two, warm_up=0)
    with pytest.warns(DataWarning, match="2 sites are left out"):
        found = simulate(hybrid, two, warm_up=0, missing="skip")
    assert found.site.values.tolist() == ["a", "b", "c"]
    assert json.loads(found.attrs["left_out"])["e"] == "forcing is missing at a site above it"
