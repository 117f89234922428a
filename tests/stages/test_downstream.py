"""Downstream: rivers level by level, steps within a day, and restarts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from downstream_cases import DAY, F64, GIVEN, batch_of, hybrid_of, sites_of
from river_cases import RIVERS, channels, floods
from river_files import river
from torch import Tensor

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.errors import SettingsError, UnknownName
from pydiffgeo.evaluation.simulate import simulate


def test_five_reaches_by_hand(engine: str) -> None:
    """Each site with the discharge of those above, day by day."""
    sites = sites_of()
    hybrid = hybrid_of(sites, None, engine)
    found = hybrid(batch_of(hybrid, sites))
    model, solver = pdg.MuskingumCunge(), pdg.Solver("implicit_euler", step=DAY)
    above = {"a": "", "b": "", "c": "ab", "d": "", "e": "cd"}
    flow: dict[str, Tensor] = {}
    for k, (site, sources) in enumerate(above.items()):
        one = sites.isel(site=k)
        inflow = sum((flow[s] for s in sources), torch.zeros(1, 12, dtype=F64))
        lateral = torch.from_numpy(one.lateral_inflow.values)[None]
        given = {"length": float(one.length), "slope": float(one.slope), "step": DAY}
        given |= {"n": float(one.roughness), "width": 12.0, "side_slope": 1.0}
        forcing = {"inflow": inflow, "lateral_inflow": lateral}
        times = torch.arange(13) * DAY
        solution = pdg.solve(model, forcing, given, model.start(given), times, solver, engine)
        flow[site] = solution.fluxes["discharge"]
        torch.testing.assert_close(found["discharge"][k], flow[site][0], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(
            found["total_inflow"][k], (inflow + lateral)[0], rtol=1e-9, atol=0
        )
        torch.testing.assert_close(found["volume"][k], solution.states[0, :, 0], rtol=1e-7, atol=0)


@pytest.mark.parametrize("interval", [None, "6h", "1h"])
def test_water_is_conserved_in_means_of_days(engine: str, interval: str | None) -> None:
    """What entered is what left at the outlet, and what is in the reaches; so in each reach."""
    sites = sites_of()
    hybrid = hybrid_of(sites, interval, engine, start={"volume": 500.0})
    found = hybrid(batch_of(hybrid, sites))
    assert found["discharge"].shape == (5, 12)
    volume = torch.cat([torch.full((5, 1), 500.0, dtype=F64), found["volume"]], 1)
    net = (found["total_inflow"] - found["discharge"] - found["loss"]) * DAY
    moved = found["total_inflow"].sum(1, keepdim=True) * DAY
    assert float(((net - volume.diff(dim=1)) / moved).abs().max()) < 1e-9
    entered = float(sites.lateral_inflow.sum()) * DAY
    left = float(found["discharge"][4].sum()) * DAY
    assert left + float(volume[:, -1].sum()) == pytest.approx(entered + 5 * 500.0, rel=1e-9)


@pytest.mark.parametrize("kind", RIVERS)
def test_water_is_conserved_in_any_network(engine: str, kind: str) -> None:
    """30 reaches, from ditches to the Amazon, that flow together at random, day by day."""
    model, count, days = RIVERS[kind](), 30, 20
    parameters = channels(model, count, DAY, seed=3, leakance=1e-5)
    own = {k: f"own_{k}" for k in parameters if k != "step"}
    random = np.random.default_rng(3)
    below = [str(min(i + random.integers(1, 4), count - 1)) for i in range(count - 1)]
    lateral = floods(count, days, 3)["inflow"].numpy()
    sites = xr.Dataset(
        {
            "lateral_inflow": (("site", "time"), lateral, {"units": "m3 s-1"}),
            "downstream": ("site", [*below, ""]),
            **{name: ("site", parameters[k].numpy()) for k, name in own.items()},
        },
        {"site": [str(i) for i in range(count)], "time": pd.date_range("2000-01-01", periods=days)},
    )
    process = stages.Process(model, engine=engine, given=own, learn=(), start={"volume": 1e3})
    hybrid = pdg.Hybrid(None, stages.Downstream(process), dtype=F64)
    hybrid.prepare(sites)
    found = hybrid(batch_of(hybrid, sites))
    out = float(found["discharge"][-1].sum() + found["loss"].sum()) * DAY
    whole = out + float(found["volume"][:, -1].sum())
    assert whole == pytest.approx(lateral.sum() * DAY + 1000.0 * count, rel=1e-10)
    # Newton's method may end at a volume below zero, by 0.005 m3 at most
    assert float(found["discharge"].min()) > -1e-7


def test_steps_of_the_solver_are_those_of_the_interval() -> None:
    """Without a solver of its own; one of its own keeps its step, and X takes that."""
    sites = sites_of()
    process = hybrid_of(sites, "3h").stages[0].process
    assert process.solver.step == 10800.0 and float(process.fixed["step"]) == 10800.0
    for step, known in ((1800.0, 1800.0), (DAY, 10800.0)):
        own = pdg.Solver("implicit_euler", step=step)
        process = hybrid_of(sites, "3h", solver=own).stages[0].process
        assert process.solver.step == step and float(process.fixed["step"]) == known
    other = hybrid_of(sites, "3h", solver=pdg.Solver("sdirk2", step=900.0)).stages[0].process
    assert "step" not in other.fixed
    process = hybrid_of(sites, "3h", given={**GIVEN, "step": 60.0}).stages[0].process
    assert float(process.fixed["step"]) == 60.0
    with pytest.raises(SettingsError, match="interval .* does not divide the step"):
        hybrid_of(sites, "5h")
    with pytest.raises(SettingsError, match="interval 'an hour' is no duration"):
        hybrid_of(sites, "an hour")
    with pytest.raises(SettingsError, match="the model 'hbv' has no inflow and no lateral_inflow"):
        stages.Downstream(stages.Process("hbv"))


def test_discharge_below_zero_goes_down_the_river(engine: str) -> None:
    """Of the linear formula in front of a flood, and of rounding: no clamp makes water of it."""
    sites = sites_of(8)
    storm = np.zeros((5, 8))
    storm[:2, 3] = 500.0
    sites["lateral_inflow"] = (("site", "time"), storm, {"units": "m3 s-1"})
    found = []
    for own in (engine, "torch"):
        linear = stages.Process(
            pdg.Muskingum(positive=False), engine=own, given={"K": 4e5, "X": 0.45}
        )
        hybrid = pdg.Hybrid(None, stages.Downstream(linear), dtype=F64)
        hybrid.prepare(sites)
        found.append(hybrid(batch_of(hybrid, sites)))
    volume, discharge = found[0]["volume"], found[0]["discharge"]
    assert float(discharge[2].min()) < -1.0
    entered, left = storm.sum() * DAY + 5 * 1000.0, float(discharge[4].sum()) * DAY
    assert left + float(volume[:, -1].sum()) == pytest.approx(entered, rel=1e-9)
    torch.testing.assert_close(discharge, found[1]["discharge"], rtol=1e-8, atol=1e-8)


def test_a_river_runs_dry() -> None:
    """What leaves an empty bed is zero but for rounding, of either sign, which is no error."""
    sites = sites_of(20)
    sites.lateral_inflow[:, 0], sites.lateral_inflow[:, 1:] = 1e4, 0.0
    given = {**GIVEN, "slope": 0.1, "length": 100.0, "leakance": 5e-5}
    process = stages.Process(
        pdg.KinematicWave(), engine="torch", given=given, learn=(), start={"volume": 0.0}
    )
    hybrid = pdg.Hybrid(None, stages.Downstream(process), dtype=F64)
    hybrid.prepare(sites)
    found = hybrid(batch_of(hybrid, sites))
    flow = found["discharge"]
    assert abs(float(flow.min())) < 1e-15
    left = DAY * float(flow[4].sum() + found["loss"].sum()) + float(found["volume"][:, -1].sum())
    assert left == pytest.approx(5e4 * DAY, rel=1e-12)


def test_negative_discharge_of_a_linear_reach_goes_on(engine: str) -> None:
    """Where a wave is steep, the linear formula takes water from below: it is not made."""
    sites = sites_of()
    sites.lateral_inflow[:] = 0.0
    sites.lateral_inflow[0, 0] = 100.0
    process = stages.Process(
        pdg.Muskingum(positive=False), engine=engine, learn=(), given={"K": 2 * DAY, "X": 0.45},
        start={"volume": 0.0},
    )  # fmt: skip
    hybrid = pdg.Hybrid(None, stages.Downstream(process, "3h"), dtype=F64)
    hybrid.prepare(sites)
    found = hybrid(batch_of(hybrid, sites))
    flow = found["discharge"]
    assert float(flow[2, 0]) < -0.1 and float(found["total_inflow"][4, 0]) < -0.1
    left = DAY * float(flow[4].sum()) + float(found["volume"][:, -1].sum())
    assert left == pytest.approx(100 * DAY, rel=1e-11)


def test_the_order_of_sites_does_not_matter() -> None:
    sites = sites_of()
    turned = sites.isel(site=[4, 2, 0, 3, 1])
    a, b = (hybrid_of(s)(batch_of(hybrid_of(s), s))["discharge"] for s in (sites, turned))
    torch.testing.assert_close(b, a[[4, 2, 0, 3, 1]], rtol=1e-12, atol=0)


def test_two_windows_of_a_river_in_one_batch() -> None:
    sites = sites_of(20)
    hybrid = hybrid_of(sites)
    tensors = pdg.Windows(sites, dtype=F64).reading(hybrid.reads, (), hybrid.needs).tensors
    rows, first = [0, 1, 2, 3, 4] * 2, [0] * 5 + [7] * 5
    both = hybrid(tensors.windows(rows, first, 12))["discharge"]
    for part, start in ((both[:5], 0), (both[5:], 7)):
        alone = hybrid(tensors.windows(range(5), [start] * 5, 12))["discharge"]
        torch.testing.assert_close(part, alone, rtol=1e-9, atol=1e-12)


def test_parameters_that_vary_in_time(engine: str) -> None:
    """Roughness of each day, which all hours of the day have; the same all days is a number."""
    sites = sites_of()
    given = {k: v for k, v in GIVEN.items() if k != "n"}
    process = stages.Process(pdg.MuskingumCunge(), engine=engine, given=given, learn=["n"])
    part = stages.Downstream(process, "6h")
    hybrid = pdg.Hybrid(pdg.MLP(hidden=(4,)), part, varying=["n"], dtype=F64)
    hybrid.prepare(sites)
    batch = batch_of(hybrid, sites)
    n = torch.from_numpy(sites.roughness.values)[:, None]
    numbers = hybrid.run(batch, {"n": n})["discharge"]
    same = hybrid.run(batch, {"n": n[:, None].expand(-1, 1, 12)})["discharge"]
    torch.testing.assert_close(same, numbers, rtol=1e-9, atol=1e-12)
    rough = n[:, None] * torch.linspace(1.0, 2.0, 12, dtype=F64)
    rough.requires_grad_()
    found = hybrid.run(batch, {"n": rough})["discharge"]
    assert float((found - numbers).detach().abs().max()) > 1e-3
    (gradient,) = torch.autograd.grad(found[4].square().sum(), rough)
    h, moved = 1e-6, []
    for d in (h, -h):
        changed = rough.detach().clone()
        changed[2, 0, 5] += d
        moved.append(float(hybrid.run(batch, {"n": changed})["discharge"][4].square().sum()))
    assert float(gradient[2, 0, 5]) == pytest.approx((moved[0] - moved[1]) / (2 * h), rel=1e-5)
    assert float(gradient[2, 0, 6:].abs().max()) > 0


def test_a_simulation_goes_on_where_another_ended(engine: str) -> None:
    """Twenty days at once are ten and ten from the volumes that the first ten ended with."""
    sites = sites_of(20)
    begin = sites.assign(water=("site", np.full(5, 0.7), {"units": "m3"}))
    hybrid = hybrid_of(begin, engine=engine, start={"volume": "water"})
    keep = {"warm_up": 0, "also": ["volume", "discharge"]}
    whole = simulate(hybrid, begin, **keep)  # type: ignore[arg-type]
    first = simulate(hybrid, begin.isel(time=slice(0, 10)), **keep)  # type: ignore[arg-type]
    last = first.volume.isel(time=-1, drop=True)
    second = simulate(hybrid, begin.isel(time=slice(10, 20)).assign(water=last), **keep)  # type: ignore[arg-type]
    both = xr.concat([first, second], "time")
    np.testing.assert_allclose(both.discharge, whole.discharge, rtol=1e-12, atol=0)
    np.testing.assert_allclose(both.volume, whole.volume, rtol=1e-12, atol=0)


def test_states_begin_at_attributes_in_any_unit() -> None:
    sites = sites_of(3)
    litres = np.array([1e5, 2e5, 3e5, 4e5, 5e5])
    found = []
    for values, unit in ((litres, "l"), (litres / 1000, "m3")):
        begin = sites.assign(water=("site", values, {"units": unit}))
        hybrid = hybrid_of(begin, start={"volume": "water"})
        assert "water" in hybrid.needs
        found.append(hybrid(batch_of(hybrid, begin))["volume"])
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=0)
    with pytest.raises(UnknownName, match="state of muskingum_cunge.*did you mean 'volume'"):
        hybrid_of(sites, start={"volum": "water"})


def test_gradient_of_the_juniata(shared_data: Callable[[str], Path]) -> None:
    """213 reaches, 10 days by the hour: of the outlet's squared discharge in the roughness of each
    reach and in lateral inflow, against central differences.
    """
    with xr.open_dataset(shared_data("routing/juniata_1980_1995.nc")) as file:
        data = file.isel(time=slice(80, 90)).load()
    names = np.array([str(i) for i in data.reach.values])
    below = np.where(data.down_index < 0, "", names[data.down_index.values])
    size = 10 ** (data.log10_uparea.values.astype(float))
    sites = xr.Dataset(
        {
            "lateral_inflow": (("site", "time"), data.qprime.values.astype(float)),
            "length": ("site", data.length.values.astype(float)),
            "slope": ("site", np.maximum(data.slope.values, 1e-3).astype(float)),
            "bed": ("site", np.maximum(2.0 * size**0.4, 1.0)),
            "rough": ("site", np.linspace(0.03, 0.06, 213)),
            "downstream": ("site", below),
        },
        {"site": names, "time": pd.date_range("2000-01-01", periods=10)},
    )
    given = {"length": "length", "slope": "slope", "n": "rough", "width": "bed"}
    hybrid = hybrid_of(sites, given=given | {"side_slope": 1.0})
    batch = batch_of(hybrid, sites)
    outlet = int(np.flatnonzero(below == "")[0])

    def squared(n: Tensor, lateral: Tensor) -> Tensor:
        changed = replace(
            batch,
            attributes=batch.attributes | {"rough": n},
            series=batch.series | {"lateral_inflow": lateral},
        )
        return hybrid(changed)["discharge"][outlet].square().mean()

    given_ = batch.attributes["rough"].double(), batch.series["lateral_inflow"].double()
    leaves = [x.clone().requires_grad_() for x in given_]
    gradients = torch.autograd.grad(squared(*leaves), leaves)
    g = torch.Generator().manual_seed(0)
    for k, gradient in enumerate(gradients):
        # along a random direction, which has a part in each reach
        way = given_[k] * torch.randn(given_[k].shape, generator=g, dtype=F64)
        h, ends = 1e-4, []
        for d in (h, -h):
            moved = list(given_)
            moved[k] = moved[k] + d * way
            ends.append(float(squared(*moved).detach()))
        slope = float((gradient * way).sum())
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6)


def test_a_long_record_of_fine_steps_is_followed_to_its_end() -> None:
    sites = river(days=140)
    solver = pdg.Solver("implicit_euler", step=60.0)  # 200,000 steps, more than a solve may take
    reach = stages.Process(
        pdg.Muskingum(), solver, engine="torch", learn=(), given={"K": 3600.0, "X": 0.1}
    )
    hybrid = pdg.Hybrid(None, stages.Downstream(reach, interval="1min"), dtype=torch.float64)
    hybrid.prepare(sites)
    windows = pdg.Windows(sites, dtype=torch.float64, closed="upstream")
    read = windows.reading(hybrid.reads, ["discharge"], hybrid.needs)
    [batch] = read.periods(5)
    with torch.no_grad():
        found = hybrid(batch)["discharge"][4]
    assert found.shape == (140,) and bool(torch.isfinite(found).all())
