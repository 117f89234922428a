"""What a satellite sees: the depth by quadrature, the mean of a cell, bias and gain."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hybrid_cases import basins

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.errors import DataError
from pydiffgeo.stages.base import Known, Series
from pydiffgeo.stages.satellite import seen_weights

F64 = torch.float64
NAME = "satellite_soil_moisture"


def batch_of(stage: stages.Satellite):
    """A batch of four sites in two cells, and the stage that is bound to it."""
    sites = basins(4, 12).assign(cell=("site", np.array(["A", "B", "A", "B"])))
    hybrid = pdg.Hybrid(pdg.MLP(hidden=(4,)), stage, dtype=F64)
    windows = pdg.Windows(sites, dtype=F64, closed=hybrid.closed)
    hybrid.prepare(windows)
    return hybrid, windows.reading(hybrid.reads, ["discharge"], hybrid.needs).batch(0)


def test_the_weights_are_those_of_an_exponential() -> None:
    grid = pdg.Grid.graded(60.0, 12, 2.0)
    weights, faces = seen_weights(grid, 4.0).numpy(), grid.faces.numpy()
    z = np.linspace(0.0, faces[-1], 200_001)
    share = np.exp(-z / 4.0)
    cell = np.searchsorted(faces, (z[1:] + z[:-1]) / 2, side="right") - 1
    by_hand = np.bincount(cell, (share[1:] + share[:-1]) / 2)
    np.testing.assert_allclose(weights, by_hand / by_hand.sum(), rtol=1e-4)
    assert weights.sum() == pytest.approx(1.0, rel=1e-14)
    stage = stages.Satellite(cells=False, depth=4.0)
    stage.bind(Known({"mean_water_content": "m3 m-3"}, None, [], grids={stage.of: grid}))
    wet = torch.rand(2, 5, grid.cells, dtype=F64)
    found = stage(Series({stage.of: wet}), {}, None)[NAME]
    torch.testing.assert_close(found, (wet * torch.tensor(weights)).sum(-1))


def test_a_cell_is_the_mean_of_its_sites_with_gain_and_bias() -> None:
    stage = stages.Satellite("precipitation", bias=(-1.0, 1.0), gain=(0.5, 2.0))
    hybrid, batch = batch_of(stage)
    assert hybrid.closed == "cell" and set(hybrid.learns) == {f"{NAME}_bias", f"{NAME}_gain"}
    gain = torch.tensor([1.2, 0.8, 0.6, 1.0], dtype=F64)
    bias = torch.tensor([0.1, -0.2, 0.3, 0.0], dtype=F64)
    given = {f"{NAME}_gain": gain, f"{NAME}_bias": bias}
    found = stage(Series(batch.series), given, batch)[NAME]
    rain = batch.series["precipitation"]
    for cell in set(batch.cell.tolist()):
        rows = (batch.cell == cell).nonzero().flatten()
        mean = gain[rows].mean() * rain[rows].mean(0) + bias[rows].mean()
        for row in rows:
            torch.testing.assert_close(found[row], mean)
    inputs = (rain.clone().requires_grad_(), gain.requires_grad_(), bias.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda r, g, b: stage(
            Series({"precipitation": r}), {f"{NAME}_gain": g, f"{NAME}_bias": b}, batch
        )[NAME],
        inputs,
    )


def test_it_begins_without_bias_and_each_site_may_be_a_cell() -> None:
    stage = stages.Satellite("precipitation", bias=(-1.0, 1.0), gain=(0.5, 2.0), cells=False)
    assert stage.begin == {f"{NAME}_bias": 0.0, f"{NAME}_gain": 1.0}
    hybrid, batch = batch_of(stage)
    assert hybrid.closed is None
    given = {f"{NAME}_bias": torch.zeros(4, dtype=F64), f"{NAME}_gain": torch.ones(4, dtype=F64)}
    found = stage(Series(batch.series), given, batch)[NAME]
    assert torch.equal(found, batch.series["precipitation"])
    with pytest.raises(DataError, match="must be positive"):
        stages.Satellite(depth=0.0)


def test_two_teachers_of_one_series_are_summed_with_weights() -> None:
    """Probes at sites and a satellite over cells: a loss each, by hand, of what is observed."""
    stage = stages.Satellite("precipitation")
    hybrid, batch = batch_of(stage)
    series = hybrid(batch)
    seen = torch.full((4, 12), torch.nan, dtype=F64)
    first = {int(c): int((batch.cell == c).nonzero()[0]) for c in batch.cell}
    for row in first.values():  # the value of a cell stands at one of its sites
        seen[row, 3] = 5.0
    observed = {NAME: seen, "discharge": batch.observed["discharge"]}
    loss = pdg.losses.Sum(pdg.losses.MSE(NAME, weight=0.3))
    errors = [float(series[NAME][row, 3]) - 5.0 for row in first.values()]
    expected = 0.3 * np.mean(np.square(errors))
    assert float(loss(series, observed, batch)) == pytest.approx(expected, rel=1e-12)
