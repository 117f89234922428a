"""A small experiment on made-up basins whose discharge a linear reservoir gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import basin_files
import numpy as np
import torch

from pydiffgeo.data import write_basins
from pydiffgeo.models.base import ProcessModel
from pydiffgeo.models.spec import load_spec
from pydiffgeo.parameters import Bounds
from pydiffgeo.training.basins.settings import BasinExperiment

SPEC = """
name = "reservoir"
title = "Linear reservoir"
time_unit = "d"
[states.water]
unit = "mm"
scale = 10.0
storage = "water"
storage_unit = "mm"
storage_scale = 10.0
[parameters.k]
unit = "d-1"
lower = 1e-2
upper = 1.0
default = 0.1
transform = "log"
[parameters.loss]
unit = "1"
lower = 0.0
upper = 0.9
default = 0.0
[forcings.precipitation]
unit = "mm d-1"
[forcings.temperature]
unit = "degC"
[fluxes.inflow]
unit = "mm d-1"
balance = 1
[fluxes.discharge]
unit = "mm d-1"
balance = -1
"""


def reservoir(folder: Path) -> type[ProcessModel]:
    """A linear reservoir, d water / dt = (1 - loss) P - k water."""
    (folder / "reservoir.toml").write_text(SPEC)

    class Reservoir(ProcessModel):
        structure, size = "dense", 1

        def __init__(self) -> None:
            self.spec = load_spec(folder / "reservoir.toml")

        def rates(self, state: Any, forcing: Any, parameters: Any) -> Any:
            return (1 - parameters["loss"]) * forcing["precipitation"] - parameters["k"] * state

        def fluxes(self, state: Any, forcing: Any, parameters: Any) -> Any:
            inflow = ((1 - parameters["loss"]) * forcing["precipitation"]).expand_as(state)
            return torch.cat([inflow, parameters["k"] * state], -1)

    return Reservoir


class FastReservoir:
    """The same reservoir in steps of implicit Euler, without an engine: a `Process` in a few lines."""

    def __init__(self) -> None:
        self.bounds = {"k": Bounds(1e-2, 1.0, "log"), "loss": Bounds(0.0, 0.9)}
        self.default = {"k": 0.1}
        self.forcing = {"precipitation": "precipitation"}

    def simulate(self, forcing: Any, parameters: Any) -> dict[str, torch.Tensor]:
        water, states = torch.full_like(forcing["precipitation"][:, 0], 10.0), []
        for day in ((1 - parameters["loss"][:, None]) * forcing["precipitation"]).unbind(1):
            water = (water + day) / (1 + parameters["k"])
            states.append(water)
        return {"discharge": parameters["k"][:, None] * torch.stack(states, 1)}


def write_data(folder: Path, basins: int = 12, days: int = 700) -> Path:
    """Basins whose recession constant grows with their aridity."""
    records = basin_files.records(basins, days)
    k, rain = 0.05 + 0.1 * records.aridity.values, records.precipitation.values
    water, flow = np.zeros(basins), np.empty_like(rain)
    for day in range(days):
        water = (water + 0.8 * rain[:, day]) / (1 + k)
        flow[:, day] = k * water
    flow[:, 100:110] = np.nan
    records["discharge"] = ("basin", "time"), flow, records.discharge.attrs
    return write_basins(
        records.assign_coords(lon=("basin", np.linspace(-120, -80, basins))), folder / "basins.nc"
    )


def experiment(path: Path, name: str = "lstm", **changes: dict[str, Any]) -> BasinExperiment:
    """Settings of two epochs of three steps; `changes` are added to the sections of that name."""
    settings: dict[str, dict[str, Any]] = {
        "data": {
            "path": str(path), "forcing": ["precipitation", "tair_max"], "attributes": ["area", "aridity"], "pet": "hamon",
            "train": {"start": "1999-12-01", "end": "2000-12-31"}, "test": {"start": "2001-01-01", "end": "2001-06-30"},
        },
        "model": {
            "name": name, "lstm": {"hidden": 8, "dropout": 0.2}, "network": {"hidden": [8], "dropout": 0.2},
            "process": {"engine": "torch"},
        },
        "training": {"epochs": 2, "steps_per_epoch": 3, "batch_size": 4, "window": 80, "warm_up": 30, "learning_rate": 0.02},
        "evaluation": {"warm_up": 60, "batch_size": 5},
    }  # fmt: skip
    for section, values in changes.items():
        if section == "loss":
            settings[section] = values
        else:
            settings.setdefault(section, {}).update(values)
    run = {
        section: settings.pop(section)
        for section in ("model", "training", "loss")
        if section in settings
    }
    return BasinExperiment.model_validate({**settings, "runs": {"run": run}})
