"""Hybrids: checked before they run, trained in a loop of one's own, saved with all that they know,
solved together.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from hybrid_cases import basin_hybrid, basins, column_hybrid, stations
from torch import nn

import pydiffgeo as pdg
from pydiffgeo import losses, stages
from pydiffgeo.errors import DataError, ParameterError, SettingsError, UnitError
from pydiffgeo.models.hbv import HBV
from pydiffgeo.routing import route

F64 = torch.float64


def prepared(hybrid: pdg.Hybrid, sites, **options):
    windows = pdg.Windows(sites, **{"warm_up": 10, "dtype": F64, **options})
    hybrid.prepare(windows)
    observed = [name for name in windows.observed if name in hybrid.gives]
    return hybrid, windows.reading(hybrid.reads, [*observed, *hybrid.recalls], hybrid.needs)


def test_the_series_are_those_of_the_model_solved_by_hand() -> None:
    """Parameters, copies, factor, solve, mean and routing, written out without any stage."""
    sites = basins()
    hybrid, windows = prepared(basin_hybrid(dtype=F64), sites)
    batch = windows.batch(0)
    series = hybrid(batch)
    p = {k: v.flatten(0, 1) for k, v in hybrid.parameters_of(batch).items()}
    forcing = {k: v.repeat_interleave(2, 0) for k, v in batch.series.items()}
    forcing["temperature"] = forcing.pop("tair_mean")
    forcing["precipitation"] = forcing["precipitation"] * p.pop("precipitation_factor")[:, None]
    a, b = (p.pop(k).unflatten(0, (5, 2)).mean(1) for k in ("route_a", "route_b"))
    solver = pdg.Solver("implicit_euler", step=1.0)
    s = pdg.solve(HBV(), forcing, p, HBV().start(p), torch.arange(81), solver, "torch")
    runoff = s.fluxes["discharge"].unflatten(0, (5, 2)).mean(1)
    assert torch.equal(series["runoff"], runoff)
    assert torch.equal(series["discharge"], route(runoff, a, b))
    assert torch.equal(series["soil"], s.states[..., 2].unflatten(0, (5, 2)).mean(1))
    explicit = pdg.Hybrid(pdg.MLP(), stages.ExplicitHBV(), stages.UnitHydrograph())
    assert list(explicit.learns)[-2:] == ["route_a", "route_b"]
    assert list(hybrid.learns)[-3:] == ["route_a", "route_b", "precipitation_factor"]


def test_the_networks_read_standardised_attributes() -> None:
    sites = basins()
    hybrid, windows = prepared(basin_hybrid(pdg.MLP(("clay", "slope"), (4,)), dtype=F64), sites)
    features = hybrid.learned.inputs[0](windows.batch(0))
    table = np.stack([sites.clay.values, sites.slope.values], -1)
    expected = (table - table.mean(0)) / table.std(0)
    np.testing.assert_allclose(features.attributes.numpy(), expected, rtol=1e-12)
    assert features.series is None and set(hybrid.needs) == {"clay", "slope"}


def test_a_loop_of_ones_own_lowers_the_loss() -> None:
    hybrid, windows = prepared(basin_hybrid(), basins(), length=30, batch=4, dtype=torch.float32)
    loss = losses.NSE("discharge")
    optimiser = torch.optim.AdamW(hybrid.parameters(), 0.01)
    found = []
    for step in range(8):
        batch = windows.batch(0 if step in (0, 7) else step)
        value = loss(hybrid(batch), batch.observed, batch)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        found.append(value.item())
    assert found[7] < found[0]


def test_a_state_dict_has_networks_names_units_and_scaling(tmp_path) -> None:
    sites = basins()
    hybrid, windows = prepared(basin_hybrid(), sites, dtype=torch.float32)
    torch.save(hybrid.state_dict(), tmp_path / "hybrid.pt")
    other = basin_hybrid(seed=4)
    assert not other.prepared
    other.load_state_dict(torch.load(tmp_path / "hybrid.pt", weights_only=True))
    assert other.prepared and other.reads == hybrid.reads and other.needs == hybrid.needs
    batch = windows.batch(0)
    assert torch.equal(other(batch)["discharge"], hybrid(batch)["discharge"])
    assert {k.split(".")[0] for k in hybrid.state_dict()} == {"learned", "_extra_state"}


def test_it_moves_and_changes_its_precision() -> None:
    hybrid, windows = prepared(basin_hybrid(), basins(), dtype=torch.float32)
    batch = windows.batch(0)
    before = hybrid(batch)["discharge"]
    moved = hybrid.to("cpu").to(F64)
    torch.testing.assert_close(moved(batch)["discharge"], before, rtol=1e-4, atol=1e-4)
    assert {p.dtype for p in moved.parameters()} == {F64}


def test_missing_series_and_attributes_are_named_all_at_once() -> None:
    sites = basins().rename(tair_mean="tair_mean2").drop_vars("precipitation")
    with pytest.raises(DataError) as caught:
        basin_hybrid().prepare(sites)
    text = str(caught.value)
    assert "Process(hbv) reads the series 'tair_mean', which nobody gives; did you mean" in text
    assert "Scale reads the series 'precipitation'" in text
    with pytest.raises(DataError, match="MLP reads 'slop', .*did you mean 'slope'"):
        basin_hybrid(pdg.MLP(("slop",))).prepare(basins())
    with pytest.raises(DataError, match="reads the attribute 'soil_moisture_first'"):
        column_hybrid().prepare(stations().drop_vars("soil_moisture_first"))
    hybrid, windows = prepared(basin_hybrid(), basins())
    batch = windows.reading(hybrid.reads, ["discharge"], ["clay", "forest"]).batch(0)
    with pytest.raises(DataError, match="lacks the attribute 'slope'"):
        hybrid(batch)
    with pytest.raises(SettingsError, match="call hybrid.prepare"):
        basin_hybrid()(batch)


def test_what_does_not_fit_together_is_refused() -> None:
    scale = stages.Scale("precipitation")
    with pytest.raises(SettingsError, match="two stages learn 'precipitation_factor'"):
        pdg.Hybrid(pdg.MLP(), scale, stages.Scale("precipitation"))
    with pytest.raises(SettingsError, match="no network that gives them"):
        pdg.Hybrid(None, scale)
    with pytest.raises(ParameterError, match="varying: nobody learns .BETAA.; did you mean"):
        basin_hybrid(varying=["BETAA"])
    with pytest.raises(ParameterError, match="one count"):
        pdg.Hybrid(pdg.MLP(), stages.Parallel(2, scale), stages.Parallel(3, stages.Scale("a")))
    hybrid, windows = prepared(basin_hybrid(varying=["BETA"]), basins())
    with pytest.raises(ParameterError, match="BETA should vary from step to step"):
        hybrid(windows.batch(0))


def test_units_are_brought_to_those_of_the_stages_and_back() -> None:
    sites = basins()
    hybrid, windows = prepared(basin_hybrid(dtype=F64), sites)
    mm = hybrid(windows.batch(0))["discharge"]
    other = sites.copy()
    other["precipitation"] = (sites.precipitation / 86400).assign_attrs(units="kg m-2 s-1")
    other["tair_mean"] = (sites.tair_mean + 273.15).assign_attrs(units="K")
    other["discharge"] = (sites.discharge / 24).assign_attrs(units="mm h-1")
    same, windows = prepared(basin_hybrid(dtype=F64), other, impossible="ignore")
    hourly = same(windows.batch(0))["discharge"]
    torch.testing.assert_close(hourly * 24, mm, rtol=1e-9, atol=1e-9)
    other["precipitation"].attrs["units"], other["tair_mean"].attrs["units"] = "degC", "mm"
    both = r"Process\(hbv\) reads 'precipitation' in 'mm d-1'.*reads 'tair_mean' in 'degC'"
    with pytest.raises(UnitError, match=both):  # all at once
        basin_hybrid().prepare(other)


def test_hours_are_steps_of_an_hour() -> None:
    sites = basins(days=48).isel(time=slice(0, 48))
    sites = sites.assign_coords(
        time=np.datetime64("2000-01-01") + np.arange(48) * np.timedelta64(1, "h")
    )
    hybrid, windows = prepared(basin_hybrid(copies=1), sites)
    hybrid(windows.batch(0))
    process = hybrid.stages[0].stages[1]
    assert process.interval == pytest.approx(1 / 24)


class Plain(nn.Module):
    """A network of somebody else."""

    def __init__(self, attributes: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(attributes, outputs)

    def forward(self, attributes):
        return self.linear(attributes)


class Doubled(stages.Stage):
    """A stage of somebody else: twice the discharge, by a learned factor that begins at 2."""

    reads = ("discharge",)
    gives = ("doubled",)

    def __init__(self):
        super().__init__()
        self.learns, self.begin = {"twice": pdg.Bounds(1.0, 3.0)}, {"twice": 2.0}

    def forward(self, series, parameters, batch):
        return {"doubled": series["discharge"] * parameters["twice"][:, None]}


def test_networks_and_stages_of_ones_own() -> None:
    inner = [stages.Process("exp_hydro", engine="torch"), Doubled()]
    count = len(pdg.Hybrid(pdg.MLP(), *deepcopy(inner)).learns)
    network = Plain(3, count)
    nn.init.zeros_(network.linear.weight), nn.init.zeros_(network.linear.bias)
    hybrid, windows = prepared(pdg.Hybrid(network, *inner, dtype=F64), basins())
    series = hybrid(windows.batch(0))
    torch.testing.assert_close(series["doubled"], 2 * series["discharge"], rtol=1e-6, atol=0)
    members = hybrid.ensemble([1, 2])
    first, second = (members[k].learned.networks[0].linear.weight for k in (0, 1))
    assert not torch.equal(first, second) and bool((first != 0).any())
    wrong = pdg.Hybrid(Plain(3, 4), stages.Process("exp_hydro", engine="torch"))
    with pytest.raises(ParameterError, match=r"the network Plain returned \[2, 4\] for 2 sites"):
        prepared(wrong, basins(), dtype=torch.float32)


def test_parameters_vary_from_step_to_step_by_an_lstm() -> None:
    network = pdg.Mixed(pdg.MLP(hidden=(6,)), pdg.LSTM(hidden=5, past={"discharge": 1}))
    hybrid, windows = prepared(
        basin_hybrid(network, varying=["BETA", "BETAET"], dtype=F64), basins()
    )
    assert hybrid.recalls == ("discharge",)
    batch = windows.batch(0)
    p = hybrid.parameters_of(batch)
    assert p["BETA"].shape == (5, 2, 80) and p["FC"].shape == (5, 2)
    assert bool((p["BETA"].diff(dim=2) != 0).any())
    hybrid(batch)["discharge"].sum().backward()
    assert all(w.grad is not None and bool((w.grad != 0).any()) for w in hybrid.parameters())


def test_an_ensemble_is_one_solve_of_its_members() -> None:
    sites = basins()
    hybrid, windows = prepared(basin_hybrid(dtype=F64), sites)
    ensemble = hybrid.ensemble([1, 2, 3])
    batch = windows.batch(0)
    together = ensemble(batch)
    assert together["discharge"].shape == (3, 5, 80)
    for k in range(3):
        alone = ensemble[k](batch)["discharge"]
        torch.testing.assert_close(together["discharge"][k], alone, rtol=1e-9, atol=1e-9)
    assert not torch.equal(together["discharge"][0], together["discharge"][1])
    other = basin_hybrid(dtype=F64).ensemble([1, 2, 3])
    other.load_state_dict(ensemble.state_dict())
    assert torch.equal(other(batch)["discharge"], together["discharge"])
    assert torch.equal(ensemble.only([2])(batch)["runoff"][0], ensemble[2](batch)["runoff"])


def test_members_may_have_sites_and_scaling_of_their_own() -> None:
    sites = basins()
    seen = [sites.isel(site=[0, 1, 2]), sites.isel(site=[1, 2, 3, 4])]
    ensemble = basin_hybrid(dtype=F64).ensemble([0, 0], seen)
    one = ensemble[0]
    batches = [
        pdg.Windows(own, warm_up=10, dtype=F64)
        .reading(one.reads, ["discharge"], one.needs)
        .batch(0)
        for own in seen
    ]
    first, second = ensemble(batches)
    assert len(first["discharge"]) == 3 and len(second["discharge"]) == 4
    torch.testing.assert_close(
        second["discharge"], ensemble[1](batches[1])["discharge"], rtol=1e-9, atol=1e-9
    )
    assert not torch.equal(ensemble[0].learned.inputs[0].mean, ensemble[1].learned.inputs[0].mean)


def test_failures_of_members_are_told_by_member_and_site() -> None:
    sites = stations(3, 12)
    sites["precipitation"][1] = 0.0
    sites["precipitation"][1, ::2] = 400.0  # storms that need more steps than are allowed
    hybrid = column_hybrid()
    hybrid.stages[2].solver = pdg.Solver(
        "implicit_euler", rtol=0.1, max_steps=100, on_failure="report"
    )
    hybrid, windows = prepared(hybrid, sites, warm_up=2)
    ensemble = pdg.Ensemble([hybrid, hybrid])
    batch = windows.batch(0)
    both = ensemble(batch)
    assert list(both.failed) == [1, 4] and all("site b1" in why for why in both.failed.values())
    assert torch.isnan(both["soil_moisture"][:, 1]).all()
    assert torch.isfinite(both["soil_moisture"][:, [0, 2]]).all()
    each = ensemble([batch, batch])
    assert [list(series.failed) for series in each] == [[1], [1]]


def test_a_hybrid_explains_itself() -> None:
    text = repr(basin_hybrid())
    assert "Parallel: 2 copies of" in text and "K2 [0.01, 0.2]" in text
    assert "reads  precipitation, tair_mean, potential_evapotranspiration" in text
    assert "gives  runoff, discharge" in text
    assert "is not prepared; call hybrid.prepare" in str(
        pytest.raises(SettingsError, basin_hybrid().parameters_of, None).value
    )


def test_columns_are_trained_from_layers_to_probes() -> None:
    sites = stations()
    hybrid, windows = prepared(column_hybrid(), sites, warm_up=4)
    batch = windows.batch(0)
    p = hybrid.parameters_of(batch)
    assert p["theta_s"].shape == (3, 3) and p["cover"].shape == (3, 1)
    start = np.stack(
        [
            np.interp([7.5, 25.0, 57.5], [5.0, 20.0, 50.0], row)
            for row in sites.soil_moisture_q95.values
        ]
    )
    expected = np.clip(0.02 + 1.1 * start, 0.26 + 0.02 * 0.39, None)
    np.testing.assert_allclose(p["theta_s"].detach().numpy(), expected, rtol=5e-3)
    series = hybrid(batch)
    assert series["soil_moisture"].shape == (3, 24, 3) and series["psi"].shape == (3, 24, 8)
    first = series["soil_moisture"][:, 0].detach().numpy()
    assert np.abs(first - sites.soil_moisture_first.values).max() < 0.06
    value = losses.Profile("soil_moisture")(series, batch.observed, batch)
    value.backward()
    assert all(w.grad is not None and bool((w.grad != 0).any()) for w in hybrid.parameters())


def test_the_example_of_the_first_page_runs_as_written(tmp_path) -> None:
    """A hybrid on basins, from files to scores; the sizes alone are smaller."""
    basins(6, 120).to_netcdf(tmp_path / "basins.nc")
    sites = pdg.open_sites(tmp_path / "basins.nc")
    train, test = (
        sites.sel(time=slice(None, "2000-03-10")),
        sites.sel(time=slice("2000-02-20", None)),
    )
    hybrid = pdg.Hybrid(
        pdg.MLP(reads="attributes", hidden=(8, 8)),
        stages.Parallel(
            2,
            stages.Scale("precipitation", between=(0.5, 2.0)),
            stages.Process(
                pdg.HBV(), pdg.Solver("implicit_euler", step=1.0), bounds={"K2": (0.01, 0.2)}
            ),
        ),
        stages.UnitHydrograph("discharge"),
    )
    windows = pdg.Windows(train, length=20, warm_up=20, batch=4, seed=0)
    trainer = pdg.Trainer(
        hybrid,
        windows,
        losses.NSE("discharge"),
        folder=tmp_path / "hbv",
        epochs=2,
        steps_per_epoch=3,
    )
    trainer.run(progress=False)
    scores = pdg.evaluate(hybrid, test, warm_up=20).scores
    assert np.isfinite(float(scores["nse"].median()))


def test_the_same_words_train_soil_columns(tmp_path) -> None:
    sites = stations(3, 20)
    known = ("slope", "forest", "soil_moisture_q50")
    hybrid = pdg.Hybrid(
        pdg.Mixed(
            pdg.MLP(known, hidden=(6,), activation="tanh", small_start=True),
            layers=pdg.MLP(known, hidden=(6,), activation="tanh", per="layer", small_start=True),
        ),
        stages.DegreeDay(),
        stages.Canopy(),
        stages.Process(
            pdg.Richards(
                pdg.Grid.graded(80.0, 8, 4.0, layers=(0.0, 15.0, 35.0)),
                bottom="free_drainage",
                roots=pdg.Roots("exponential"),
            ),
            pdg.Solver("implicit_euler", rtol=0.1, on_failure="report"),
            forcing={"rain": "rain_and_melt"},
            start="soil_moisture_first",
            soil="loam",
        ),
        stages.Probes(),
        dtype=torch.float64,
    )
    windows = pdg.Windows(sites, warm_up=4, dtype=torch.float64)
    history = pdg.Trainer(
        hybrid, windows, losses.Profile("soil_moisture"), learning_rate=0.02, epochs=3
    ).run(progress=False)
    assert history[-1]["loss"] < history[0]["loss"]


def test_a_module_that_does_not_take_the_attributes_is_told_which_it_gets():
    sites = basins(3, 20)
    process = stages.Process(
        pdg.HBV(), pdg.Solver("implicit_euler", step=1.0), learn=("FC", "BETA")
    )
    told = (
        r"gets 2 attributes \(slope, clay\) and must return 2 values, 2 parameters \(.*attributes="
    )
    with pytest.raises(ParameterError, match=told):
        pdg.Hybrid(torch.nn.Linear(3, 2), process).prepare(sites, attributes=["slope", "clay"])
    with pytest.raises(ParameterError, match=r"returned \[2, 5\] for 2 sites: it gets 3"):
        pdg.Hybrid(torch.nn.Linear(3, 5), process).prepare(sites)
    assert pdg.Hybrid(torch.nn.Linear(3, 2), process).prepare(sites).prepared
