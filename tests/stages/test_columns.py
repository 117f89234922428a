"""Probes read the cells of their own layer, and columns begin at the first profile."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hybrid_cases import column_process, stations

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.errors import DataError
from pydiffgeo.stages.columns import probe_weights

F64 = torch.float64


def test_weights_of_a_probe_stay_inside_its_layer() -> None:
    grid = pdg.Grid.graded(80.0, 12, 2.0, layers=(0.0, 15.0, 35.0))
    depths = np.array([1.0, 10.0, 14.9, 20.0, 50.0, 200.0])
    weights = probe_weights(grid, depths)
    torch.testing.assert_close(weights.sum(0), torch.ones(6, dtype=F64))
    for j, layer in enumerate((0, 0, 0, 1, 2, 2)):
        assert set(grid.layer[weights[:, j] > 0].tolist()) == {layer}
    inner = depths[[1, 3, 4]]
    np.testing.assert_allclose((grid.depth @ weights)[[1, 3, 4]].numpy(), inner, atol=1e-12)


def test_columns_begin_at_the_first_profile() -> None:
    sites = stations(3, 2)
    sites["precipitation"] *= 0.0
    sites["potential_evapotranspiration"] *= 0.0
    hybrid = pdg.Hybrid(
        pdg.SoilClass("loam"), stages.DegreeDay(), stages.Canopy(), column_process(),
        stages.Probes(depths=[5.0, 20.0, 50.0]), dtype=F64,
    ).prepare(sites)  # fmt: skip
    process = hybrid.stages[2]
    windows = pdg.Windows(sites, dtype=F64)
    batch = windows.reading(hybrid.reads, ["soil_moisture"], hybrid.needs).batch(0)
    p = {k: v if k in process.layers else v[:, 0] for k, v in hybrid.parameters_of(batch).items()}
    own = {k: p[k] for k in process.learns}
    heads = process._profile("soil_moisture_first", own, batch)
    theta = process.model.water_content(heads, own)
    found = theta @ probe_weights(process.grid, np.array([5.0, 20.0, 50.0]))
    np.testing.assert_allclose(found.numpy(), sites.soil_moisture_first.values, atol=0.01)


def test_probes_need_cells_and_depths() -> None:
    with pytest.raises(DataError, match="'water_contents', which nobody gives; did you mean"):
        pdg.Hybrid(
            pdg.SoilClass(), stages.DegreeDay(), stages.Canopy(), column_process(),
            stages.Probes("water_contents"),
        ).prepare(stations(2, 2))  # fmt: skip
    with pytest.raises(DataError, match="'drainage', which is no series of cells"):
        pdg.Hybrid(
            pdg.SoilClass(), stages.DegreeDay(), stages.Canopy(), column_process(),
            stages.Probes("drainage"),
        ).prepare(stations(2, 2))  # fmt: skip
