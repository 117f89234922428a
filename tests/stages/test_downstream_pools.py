"""Lakes and reservoirs in a network of reaches."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from downstream_cases import DAY, F64, GIVEN, batch_of, sites_of
from torch import Tensor

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.errors import DataError, SettingsError
from pydiffgeo.evaluation.simulate import simulate
from pydiffgeo.stages.downstream_pools import blocks_of

LAKE = {"lake_area": "surface", "crest": 2.0, "shape": 0.5, "orifice_area": 0.5}
POOLS = [0.0, 0.0, 1.0, 0.0, 0.0]  # c, into which a and b flow; e is below it and d


def sites_with(days: int = 12, pools: list[float] = POOLS) -> xr.Dataset:
    sites = sites_of(days)
    return sites.assign(
        pool=("site", pools),
        surface=("site", np.linspace(1e5, 5e5, 5), {"units": "m2"}),
        water=("site", np.full(5, 2e4), {"units": "m3"}),
    )


def hybrid_with(sites: xr.Dataset, engine: str, interval: str | None = None) -> pdg.Hybrid:
    reach, lake = (
        stages.Process(model, engine=engine, given=given, learn=learn, start={"volume": "water"})
        for model, given, learn in (
            (pdg.MuskingumCunge(), {k: v for k, v in GIVEN.items() if k != "n"}, ("n",)),
            (pdg.LevelPool(), LAKE, ("weir_width",)),
        )
    )
    hybrid = pdg.Hybrid(
        pdg.MLP(hidden=(4,)), stages.Downstream(reach, interval, pools=lake), dtype=F64
    )
    return hybrid.prepare(sites)


def learned(sites: xr.Dataset) -> dict[str, Tensor]:
    rough = torch.from_numpy(sites.roughness.values)[:, None]
    return {"n": rough, "weir_width": torch.linspace(2.0, 6.0, 5, dtype=F64)[:, None]}


def test_a_lake_among_reaches_by_hand(engine: str) -> None:
    """Each site with the discharge of those above, day by day; a lake by its own model."""
    sites = sites_with()
    hybrid = hybrid_with(sites, engine)
    own = learned(sites)
    found = hybrid.run(batch_of(hybrid, sites), own)
    solver, flow = pdg.Solver("implicit_euler", step=DAY), dict[str, Tensor]()
    for k, (site, above) in enumerate({"a": "", "b": "", "c": "ab", "d": "", "e": "cd"}.items()):
        one = sites.isel(site=k)
        if site == "c":
            model: pdg.ProcessModel = pdg.LevelPool()
            given = LAKE | {"lake_area": float(one.surface), "weir_width": own["weir_width"][k]}
        else:
            model, given = pdg.MuskingumCunge(), {"width": 12.0, "side_slope": 1.0, "step": DAY}
            given |= {"length": float(one.length), "slope": float(one.slope), "n": own["n"][k]}
        inflow = sum((flow[s] for s in above), torch.zeros(1, 12, dtype=F64))
        forcing = {
            "inflow": inflow,
            "lateral_inflow": torch.from_numpy(one.lateral_inflow.values)[None],
        }
        times = torch.arange(13) * DAY
        solution = pdg.solve(model, forcing, given, {"volume": 2e4}, times, solver, engine)
        flow[site] = solution.fluxes["discharge"]
        torch.testing.assert_close(found["discharge"][k], flow[site][0], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(found["volume"][k], solution.states[0, :, 0], rtol=1e-7, atol=0)


@pytest.mark.parametrize("interval", [None, "3h"])
def test_water_is_conserved_with_lakes(engine: str, interval: str | None) -> None:
    sites = sites_with(20)
    hybrid = hybrid_with(sites, engine, interval)
    found = hybrid.run(batch_of(hybrid, sites), learned(sites))
    left = DAY * float((found["discharge"][4].sum() + found["loss"].sum()).detach())
    there = float(found["volume"][:, -1].sum().detach())
    entered = DAY * float(sites.lateral_inflow.sum()) + float(sites.water.sum())
    assert left + there == pytest.approx(entered, rel=1e-10)
    assert float(found["discharge"].min()) > 0


def test_blocks_between_lakes_are_levels_one_by_one(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 sites at random, a third of them lakes, some in a row; gradients, too."""
    random, count, days = np.random.default_rng(1), 60, 8
    below = [min(i + random.integers(1, 6), count - 1) for i in range(count - 1)]
    sites = xr.Dataset(
        {
            "lateral_inflow": (
                ("site", "time"), random.gamma(0.5, 6.0, (count, days)), {"units": "m3 s-1"}
            ),
            "downstream": ("site", [*map(str, below), ""]),
            "length": ("site", random.uniform(1e3, 1e4, count), {"units": "m"}),
            "slope": ("site", 10 ** random.uniform(-4, -2, count)),
            "roughness": ("site", random.uniform(0.03, 0.06, count)),
            "pool": ("site", (random.random(count) < 0.33) * 1.0),
            "surface": ("site", 10 ** random.uniform(4, 6, count), {"units": "m2"}),
            "water": ("site", random.uniform(1e3, 1e5, count), {"units": "m3"}),
        },
        {"site": [*map(str, range(count))], "time": pd.date_range("2000", periods=days)},
    )  # fmt: skip
    after = sites.pool.values[:-1] * sites.pool.values[below]
    assert after.sum() > 2 and sites.pool.sum() > 10
    hybrid = hybrid_with(sites, engine, "2h")
    batch, found = batch_of(hybrid, sites), []
    own = {
        "n": torch.from_numpy(sites.roughness.values)[:, None],
        "weir_width": torch.linspace(2.0, 20.0, count, dtype=F64)[:, None],
    }
    assert len(blocks_of(batch.below.numpy(), *hybrid.stages[0].processes, batch)) < 25
    monkeypatch.setattr("pydiffgeo.engines.torch_river.FRONT", 0.0)  # fronts for small rivers, too
    for _ in range(2):
        leaves = {k: v.clone().requires_grad_() for k, v in own.items()}
        series = hybrid.run(batch, leaves)
        slopes = torch.autograd.grad(series["discharge"].square().mean(), [*leaves.values()])
        found.append([series["discharge"].detach(), *slopes])
        left = DAY * float((series["discharge"][-1].sum() + series["loss"].sum()).detach())
        there = float(series["volume"][:, -1].sum().detach())
        entered = DAY * float(sites.lateral_inflow.sum()) + float(sites.water.sum())
        assert left + there == pytest.approx(entered, rel=1e-10)
        monkeypatch.setattr(stages.Downstream, "_together", lambda *_: None)
    for a, b in zip(*found, strict=True):
        assert float((a - b).norm() / b.norm()) < 1e-8


def test_gradients_pass_through_lakes(engine: str) -> None:
    """Of the outlet's discharge in roughness above and below, and in the weir."""
    sites = sites_with(6)
    sites.lateral_inflow[:] *= 20  # so that the lake spills
    hybrid = hybrid_with(sites, engine)
    batch, begin = batch_of(hybrid, sites), learned(sites)

    def squared(n: Tensor, width: Tensor) -> Tensor:
        return hybrid.run(batch, {"n": n, "weir_width": width})["discharge"][4].square().mean()

    leaves = [x.clone().requires_grad_() for x in begin.values()]
    gradients = torch.autograd.grad(squared(*leaves), leaves)
    # no water of a reach depends on a weir, none of the lake on a roughness
    assert gradients[0][2] == 0 and bool((gradients[1][[0, 1, 3, 4]] == 0).all())
    g = torch.Generator().manual_seed(0)
    for k, gradient in enumerate(gradients):
        way = leaves[k].detach() * torch.rand(5, 1, generator=g, dtype=F64)
        ends, h = [], 1e-4
        for d in (h, -h):
            moved = [x.detach() for x in leaves]
            moved[k] = moved[k] + d * way
            ends.append(float(squared(*moved)))
        slope = (ends[0] - ends[1]) / (2 * h)
        assert abs(slope) > 1e-6
        assert float((gradient * way).sum()) == pytest.approx(slope, rel=1e-6)


def test_batches_of_one_kind_are_solved_as_without_pools(engine: str) -> None:
    """No site a lake: as without `pools`; all of them: as lakes alone."""
    for pools, kind in (([0.0] * 5, 0), ([1.0] * 5, 1)):
        sites = sites_with(12, pools)
        hybrid = hybrid_with(sites, engine)
        down, batch = hybrid.stages[0], batch_of(hybrid, sites)
        given = {k: v[:, 0] for k, v in learned(sites).items()}
        alone = stages.Downstream(down.processes[kind])  # type: ignore[union-attr,operator,index]
        one = pdg.Hybrid(pdg.MLP(hidden=(4,)), alone, dtype=F64).prepare(sites)
        expected = one.run(batch, {k: v[:, None] for k, v in given.items() if k in one.learns})
        found = hybrid.run(batch, learned(sites))
        torch.testing.assert_close(found["discharge"], expected["discharge"], rtol=0, atol=0)


def test_a_river_with_lakes_goes_on_where_it_ended(engine: str) -> None:
    """Levels are solved one by one: equal to rounding, not to the last bit."""
    sites = sites_with(20)
    hybrid = hybrid_with(sites, engine, "6h")

    def run(part: xr.Dataset) -> xr.Dataset:
        return simulate(hybrid, part, warm_up=0, also=["volume", "discharge"])

    whole, first = run(sites), run(sites.isel(time=slice(0, 9)))
    water = first.volume.isel(time=-1, drop=True)
    second = run(sites.isel(time=slice(9, None)).assign(water=water))
    both = xr.concat([first, second], "time", data_vars="minimal")
    np.testing.assert_allclose(both.volume, whole.volume, rtol=1e-9)
    np.testing.assert_allclose(both.discharge, whole.discharge, rtol=1e-9)


def test_engines_agree_on_lakes_among_reaches(julia: object) -> None:
    sites = sites_with()
    found = []
    for engine in ("torch", "julia"):
        hybrid, own = hybrid_with(sites, engine, "6h"), learned(sites)
        leaves = {k: v.clone().requires_grad_() for k, v in own.items()}
        flow = hybrid.run(batch_of(hybrid, sites), leaves)["discharge"]
        slopes = torch.autograd.grad(flow[4].square().mean(), [*leaves.values()])
        found.append((flow.detach(), *slopes))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-9, atol=0)
    for ours, theirs in zip(found[0][1:], found[1][1:], strict=True):
        assert float((ours - theirs).norm() / ours.norm()) < 1e-7


def test_what_does_not_go_together_is_refused() -> None:
    reach, lake = (stages.Process(k, learn=("leakance",)) for k in ("muskingum", "level_pool"))
    with pytest.raises(SettingsError, match="reaches and pools both learn leakance"):
        stages.Downstream(reach, pools=lake)
    warm = stages.Process("stream_temperature", learn=())
    with pytest.raises(SettingsError, match="stream_temperature carries 'heat"):
        stages.Downstream(stages.Process("muskingum", learn=()), pools=warm)
    sites = sites_with().drop_vars("pool")
    with pytest.raises(DataError, match="reads the attribute 'pool'"):
        hybrid_with(sites, "torch")
