"""Every stage, network and loss keeps what all of them promise.

A new one needs a line in the tables here.
"""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
import xarray as xr
from hybrid_cases import basins, column_process, stations
from river_files import river
from stream_cases import stream

import pydiffgeo as pdg
from pydiffgeo import losses, stages
from pydiffgeo.experiment.signatures import descriptions
from pydiffgeo.losses import LOSSES
from pydiffgeo.networks import NETWORKS
from pydiffgeo.recorded import describe, kind_of
from pydiffgeo.stages import STAGES

F64 = torch.float64


def process() -> stages.Process:
    return stages.Process("hbv", engine="torch")


HYBRIDS = {
    "process": lambda: (pdg.MLP(hidden=(4,)), [process()]),
    "memory": lambda: (pdg.MLP(hidden=(4,)), [stages.Memory("tair_mean", "deep"), process()]),
    "parallel": lambda: (pdg.MLP(hidden=(4,)), [stages.Parallel(2, process())]),
    "scale": lambda: (pdg.MLP(hidden=(4,)), [stages.Scale("precipitation"), process()]),
    "satellite": lambda: (
        pdg.MLP(hidden=(4,)),
        [stages.Satellite("precipitation", bias=(-1.0, 1.0)), process()],
    ),
    "delay": lambda: (pdg.MLP(hidden=(4,)), [stages.Delay("precipitation"), process()]),
    "fuse": lambda: (
        pdg.MLP(hidden=(4,)),
        [stages.Fuse(("precipitation", "precipitation_era5"), others=True), process()],
    ),
    "unit_hydrograph": lambda: (pdg.MLP(hidden=(4,)), [process(), stages.UnitHydrograph()]),
    "explicit_hbv": lambda: (pdg.MLP(hidden=(4,)), [stages.ExplicitHBV()]),
    "sequence": lambda: (None, [stages.Sequence(pdg.LSTM(hidden=3))]),
    "error_model": lambda: (pdg.MLP(hidden=(4,)), [process(), stages.ErrorModel()]),
    "climatology": lambda: (None, [stages.Climatology("discharge")]),
    "persistence": lambda: (None, [stages.Persistence("discharge")]),
    "soil_water_stress": lambda: (
        pdg.MLP(hidden=(4,)),
        [stages.SoilWaterStress(("wetness", "wetness_below"), (0.7, "deep_roots")), process()],
    ),
    "mlp": lambda: (pdg.MLP(hidden=(4,), dropout=0.2), [process()]),
    "lstm": lambda: (pdg.LSTM(hidden=3, past={"discharge": 1}), [process()]),
    "step_mlp": lambda: (pdg.StepMLP(hidden=(3,)), [process()]),
    "mixed": lambda: (pdg.Mixed(pdg.MLP(hidden=(4,)), pdg.LSTM(hidden=3)), [process()]),
    "table": lambda: (pdg.Table(["b0", "b1", "b2"]), [process()]),
}
COLUMNS = {
    name: lambda: (
        pdg.SoilClass("loam"),
        [stages.DegreeDay(), stages.Canopy(), column_process(), stages.Probes()],
    )
    for name in ("degree_day", "canopy", "probes", "soil_class")
}


def downstream() -> stages.Downstream:
    given = {"length": "length", "slope": "slope"}
    routed = stages.Process("muskingum_cunge", engine="torch", given=given)
    return stages.Downstream(routed, "6h", delay=(0.5, 9.0))


RIVERS = {
    "downstream": lambda: (pdg.MLP(hidden=(4,)), [downstream()]),
    "lateral": lambda: (pdg.MLP(hidden=(4,)), [stages.Lateral("runoff"), downstream()]),
}
WET = (("lateral_temperature",), "discharge", 0.01)
STREAMS = {
    "steady_stream_temperature": lambda: (None, [stages.SteadyStreamTemperature()]),
    "where_wet": lambda: (None, [stages.WhereWet(*WET), stages.SteadyStreamTemperature()]),
}
KNOWN = HYBRIDS | COLUMNS | RIVERS | STREAMS
STATIC = ("climatology", "persistence", "table", *COLUMNS, *STREAMS)  # without weights


def sites_for(kind: str) -> xr.Dataset:
    """Small records that a hybrid with this kind of stage or network reads."""
    if kind in RIVERS:
        sites = river(12)
        runoff = sites.lateral_inflow.assign_attrs(units="mm d-1")
        area = ("site", [90.0, 40.0, 70.0, 20.0, 60.0], {"units": "km2"})
        sites["discharge"] = sites.discharge.fillna(1.0)  # a gauge in each, so that all are drawn
        return sites.drop_vars("lateral_inflow" if kind == "lateral" else []).assign(
            runoff=runoff, area=area
        )
    if kind in STREAMS:
        sites = stream(12)
        return sites.assign(water_temperature=sites.lateral_temperature)
    sites = stations(2, 8) if kind in COLUMNS else basins(3, 20)
    if kind == "satellite":
        sites["cell"] = "site", np.array(["A", "B", "A"])
    if kind == "fuse":
        sites["precipitation_era5"] = (1.2 * sites.precipitation).assign_attrs(units="mm day-1")
        sites["precipitation_era5"][1, 5] = np.nan
    if kind == "soil_water_stress":
        for k, name in enumerate(("wetness", "wetness_below")):
            values = np.random.default_rng(k).uniform(0.3, 0.95, (3, 20))
            sites[name] = ("site", "time"), values, {"units": "1"}
        sites["deep_roots"] = "site", np.full(3, 0.3)
    return sites


def observed_with(kind: str) -> str:
    """What is observed in these records."""
    if kind in STREAMS:
        return "water_temperature"
    return "soil_moisture" if kind in COLUMNS else "discharge"


@pytest.mark.parametrize("kind", [*STAGES, *NETWORKS])
def test_a_hybrid_with_it_runs_learns_and_is_restored(kind: str) -> None:
    assert kind in KNOWN, f"tests/contracts/test_composition.py needs a hybrid with {kind!r}"

    def made() -> pdg.Hybrid:
        network, parts = KNOWN[kind]()
        varying = ["BETA"] if kind in ("lstm", "step_mlp", "mixed") else []
        return pdg.Hybrid(network, *parts, varying=varying, dtype=F64)

    sites = sites_for(kind)
    hybrid, windows = made(), pdg.Windows(sites, warm_up=2, dtype=F64)
    hybrid.prepare(windows)
    if kind == "table":
        for site in ("b0", "b1", "b2"):
            spec = hybrid.stages[0].model.spec.parameters
            hybrid.network.set(site, {k: p.default for k, p in spec.items()})
    name = observed_with(kind)
    windows = windows.reading(hybrid.reads, [name], hybrid.needs, hybrid.optional)
    batch = windows.batch(0)
    series = hybrid.eval()(batch)
    assert set(hybrid.gives) <= set(series) and not series.failed
    assert all(bool(torch.isfinite(series[name]).all()) for name in hybrid.gives)
    assert all(len(series[name]) == len(batch.site) for name in hybrid.gives)
    assert kind in STATIC or any(True for _ in hybrid.parameters())
    if kind not in STATIC:
        loss = losses.NLL(name) if kind == "error_model" else losses.MSE(name)
        loss(series, batch.observed, batch).backward()
        assert all(bool(torch.isfinite(w.grad).all()) for w in hybrid.parameters())
    other = made().eval()
    other.load_state_dict(hybrid.state_dict())
    assert torch.equal(other(batch)[name], series[name])
    assert kind in describe(hybrid)["stages"][0]["kind"] or kind in str(describe(hybrid))
    assert type(hybrid).__name__ in repr(hybrid)


@pytest.mark.parametrize("table", [STAGES, NETWORKS, LOSSES], ids=["stages", "networks", "losses"])
def test_kinds_are_names_of_classes_and_arguments_are_explained(table) -> None:
    for kind, made in table.items():
        assert kind_of(made) == kind
        explained = descriptions(
            made
        )  # with those of its bases, as `pydiffgeo settings` prints them
        assert set(inspect.signature(made).parameters) <= set(explained), kind


@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_is_a_number_that_is_smaller_for_a_better_series(kind: str) -> None:
    sites = basins(3, 40)
    batch = pdg.Windows(sites, warm_up=5, observed=["discharge"], dtype=F64).batch(0)
    loss, seen = LOSSES[kind]("discharge"), batch.observed["discharge"]
    good, bad = (seen.nan_to_num(1.0) + shift for shift in (0.01, 1.0))
    given = [{"discharge": x, "discharge_gaussian": torch.stack([x, x * 0 + 1], -1)}
             for x in (good, bad)]  # fmt: skip
    small, large = (float(loss(series, batch.observed, batch)) for series in given)
    assert 0 <= small < large and math.isfinite(large) and loss.name.startswith(kind)
