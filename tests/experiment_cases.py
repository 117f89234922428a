"""Small experiments on made-up basins whose discharge a linear reservoir gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import site_files
import yaml
from river_files import river

from pydiffgeo.data import write_sites
from pydiffgeo.experiment.run import train
from pydiffgeo.experiment.schema import Experiment, load_experiment, merged

SETTINGS: dict[str, Any] = {
    "data": {
        "forcing": ["precipitation", "tair_max"],
        "attributes": ["area", "aridity"],
        "derive": {"potential_evapotranspiration": "hamon"},
        "train": {"start": "1999-12-01", "end": "2000-12-31"},
        "test": {"start": "2001-01-01", "end": "2001-06-30"},
    },
    "hybrid": {
        "network": None,
        "stages": [
            {"kind": "sequence", "gives": ["discharge"], "network": {"kind": "lstm", "hidden": 4}}
        ],
    },
    "loss": {"kind": "nse"},
    "training": {
        "epochs": 2,
        "steps_per_epoch": 2,
        "batch": 4,
        "length": 30,
        "warm_up": 10,
        "learning_rate": 0.02,
    },
    "evaluation": {"warm_up": 60, "batch": 5},
}

PROCESS: dict[str, Any] = {
    "network": {"kind": "mlp", "hidden": [4]},
    "stages": [
        {"kind": "process", "model": "exp_hydro", "solver": {"method": "implicit_euler", "step": 1}}
    ],
}


def write_records(folder: Path, sites: int = 5, days: int = 700) -> Path:
    """Basins whose recession constant grows with their aridity."""
    records = site_files.records(sites, days)
    k, rain = 0.05 + 0.1 * records.aridity.values, records.precipitation.values
    water, flow = np.zeros(sites), np.empty_like(rain)
    for day in range(days):
        water = (water + 0.8 * rain[:, day]) / (1 + k)
        flow[:, day] = k * water
    flow[:, 100:110] = np.nan
    records["discharge"] = ("site", "time"), flow, records.discharge.attrs
    place = records.assign_coords(lon=("site", np.linspace(-120, -80, sites)))
    return write_sites(place, folder / "sites.nc")


def write_settings(folder: Path, records: Path | None, **changes: Any) -> Path:
    """A settings file of two epochs of two steps; `changes` are merged into its sections."""
    data = {} if records is None else {"data": {"path": str(records)}}
    path = folder / "few.yaml"
    path.write_text(yaml.safe_dump(merged(merged(SETTINGS, data), changes), sort_keys=False))
    return path


def experiment(folder: Path, records: Path | None, **changes: Any) -> Experiment:
    """The experiment of such a file."""
    return load_experiment(write_settings(folder, records, **changes))


def process_run(folder: Path, records: Path) -> Path:
    """Train the process alone, and return the folder of its run."""
    train(
        experiment(folder, records, runs={"process": {"hybrid": PROCESS}}), folder, progress=False
    )
    return folder / "process"


RIVER: dict[str, Any] = {
    "data": {
        "forcing": ["lateral_inflow"],
        "attributes": ["length", "slope"],
        "observed": ["discharge"],
        "train": {"start": "2000-01-11", "end": "2000-01-30"},
        "test": {"start": "2000-01-31", "end": "2000-02-09"},
    },
    "hybrid": {
        "network": {"kind": "mlp", "hidden": [3]},
        "stages": [
            {
                "kind": "downstream",
                "interval": "6h",
                "process": {
                    "kind": "process",
                    "model": "muskingum_cunge",
                    "solver": {"method": "implicit_euler", "step": 21600.0},
                    "engine": "torch",
                    "learn": ["n"],
                    "given": {"length": "length", "slope": "slope", "width": 10.0},
                },
            }
        ],
    },
    "loss": {"kind": "mse", "observed": "discharge"},
    "training": {
        "epochs": 2,
        "steps_per_epoch": 2,
        "batch": 2,
        "length": 10,
        "warm_up": 3,
        "learning_rate": 0.05,
    },
    "evaluation": {"warm_up": 10},
}


def river_experiment(folder: Path, **changes: Any) -> Experiment:
    """An experiment on the river of five reaches with gauges at c and e."""
    records = write_sites(river(), folder / "river.nc")
    path = folder / "river.yaml"
    whole = merged(merged(RIVER, {"data": {"path": str(records)}}), changes)
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    return load_experiment(path)
