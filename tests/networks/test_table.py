"""A table gives each site its own row, by name."""

from __future__ import annotations

import pytest
import torch
from hybrid_cases import basins

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.errors import ParameterError


def test_rows_belong_to_sites_whatever_their_order() -> None:
    sites = basins(3, 20)
    process = stages.Process("hbv", engine="torch", learn=["FC", "K2"])
    table = pdg.Table(["b2", "b0", "b1"])
    hybrid = pdg.Hybrid(table, process)
    hybrid.prepare(sites)
    windows = pdg.Windows(sites).reading(hybrid.reads, ["discharge"], hybrid.needs)
    batch = windows.batch(0)
    with pytest.raises(ParameterError, match="no parameters of site 'b0': set its row"):
        hybrid(batch)
    for k, site in enumerate(("b0", "b1", "b2")):
        table.set(site, {"FC": 100.0 + k, "K2": 0.05})
    found = hybrid.parameters_of(batch)
    assert found["FC"].flatten().tolist() == [100.0, 101.0, 102.0]
    again = pdg.Hybrid(pdg.Table(["b2", "b0", "b1"]), process)
    again.load_state_dict(hybrid.state_dict())
    assert torch.equal(again(batch)["discharge"], hybrid(batch)["discharge"])
    given = {k: v * 1.0 for k, v in found.items()} | {"FC": torch.tensor([[50.0], [60.0], [70.0]])}
    assert not torch.equal(hybrid.run(batch, given)["soil"], hybrid(batch)["soil"])
