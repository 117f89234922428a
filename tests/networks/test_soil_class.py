"""Soils by class: the class that made the observations is found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hybrid_cases import column_process, stations

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.errors import DataError
from pydiffgeo.models.richards.hydraulics.usda import usda_soil
from pydiffgeo.stages.base import Series


def column(network) -> pdg.Hybrid:
    return pdg.Hybrid(
        network,
        stages.DegreeDay(),
        stages.Canopy(),
        column_process(),
        stages.Probes(),
        dtype=torch.float64,
    )


def test_a_class_whose_simulation_is_no_number_is_not_chosen(monkeypatch) -> None:
    sites = stations(2, 20)
    hybrid = column(pdg.SoilClass("loam", ("sand",), best=True)).prepare(sites)
    sand, run = usda_soil("sand", "cm", "h")["K_s"], pdg.Hybrid.run

    def broken(self, batch, parameters):
        series = run(self, batch, parameters)
        lost = (parameters["K_s"][:, 0] == sand)[:, None, None]
        series["soil_moisture"] = torch.where(lost, torch.nan, series["soil_moisture"])
        return series

    monkeypatch.setattr(pdg.Hybrid, "run", broken)
    windows = pdg.Windows(sites, warm_up=5, dtype=torch.float64)
    assert set(hybrid.choose(windows).values()) == {"loam"}


def test_the_class_of_the_truth_is_chosen() -> None:
    sites = stations(2, 40)
    truth = column(pdg.SoilClass("sandy_loam"))
    truth.prepare(sites)
    whole = pdg.Windows(sites, dtype=torch.float64)
    simulated = truth(whole.batch(0))["soil_moisture"].detach().numpy()
    sites["soil_moisture"] = sites.soil_moisture.copy(data=simulated)
    hybrid = column(pdg.SoilClass("loam", ("sand", "sandy_loam", "clay"), best=True))
    hybrid.prepare(sites)
    windows = pdg.Windows(sites, warm_up=5, dtype=torch.float64)
    before = hybrid.parameters_of(windows.batch(0))
    assert before["K_s"].unique().tolist() == [1.04] and before["cover"].unique().item() == 0.7
    assert hybrid.choose(windows) == {"b0": "sandy_loam", "b1": "sandy_loam"}
    again = hybrid(windows.batch(0))["soil_moisture"].detach().numpy()
    assert abs(again - simulated).max() < 1e-9
    other = column(pdg.SoilClass("loam", ("sand", "sandy_loam", "clay"), best=True))
    other.load_state_dict(hybrid.state_dict())
    assert other.network.chosen == hybrid.network.chosen
    assert column(pdg.SoilClass("loam")).prepare(sites).choose(windows) == {}


@pytest.mark.parametrize("factor", [1.0, 1000.0])
def test_several_series_weigh_alike_whatever_their_units(monkeypatch, factor) -> None:
    """The wrong class is out by two spreads of the soil moisture, the right one by one of a
    second series, of which the choice depends neither in one unit nor in another."""
    sites = stations(2, 20)
    moisture = sites.soil_moisture.isel(depth=0, drop=True)
    deep = (moisture * factor).assign_attrs(role="observed", units="mm")
    sites = sites.assign(deep=deep)
    hybrid = column(pdg.SoilClass("loam", ("sand",), best=True)).prepare(sites)
    sand = usda_soil("sand", "cm", "h")["K_s"]
    spread = float(np.sqrt(np.nanmean(np.nanvar(sites.soil_moisture.values, 1))))
    apart = factor * float(np.sqrt(np.nanmean(np.nanvar(moisture.values, 1))))

    def run(self, batch, parameters):
        wrong = (parameters["K_s"][:, 0] == sand)[:, None]
        seen = {name: torch.nan_to_num(values) for name, values in batch.observed.items()}
        moist = seen["soil_moisture"] + 2 * spread * wrong[..., None]
        return Series({"soil_moisture": moist, "deep": seen["deep"] + apart * ~wrong})

    monkeypatch.setattr(pdg.Hybrid, "run", run)
    both = ("soil_moisture", "deep")
    windows = pdg.Windows(sites, warm_up=5, dtype=torch.float64).reading(observed=both)
    assert set(hybrid.choose(windows).values()) == {"loam"}
    sites["deep"][:] = 2.0
    windows = pdg.Windows(sites, warm_up=5, dtype=torch.float64).reading(observed=both)
    with pytest.raises(DataError, match="'deep' does not vary in the windows"):
        hybrid.choose(windows)
