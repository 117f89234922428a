"""What does a continent cost: HBV in every unit, and the routing of its runoff, over twenty years?

The continent is made up: weather, discharge and attributes of each unit are those of a basin of
CAMELS-US, wetter or drier, warmer or colder; the reaches of the units form one tree. Three commands
of the package work on it, each in a process of its own whose hours and memory are measured:
training on units drawn from all, the prediction of all units in shards, and the routing of their
runoff through the tree, in stretches of time. What is found is scaled to the 180,000 units and 2.9
million reaches of Song et al. (2025, doi:10.1029/2024WR038928). Prints a table and writes JSON.

    python benchmarks/continent.py --data ../shared/data/camels_us_daymet_500.nc --units 100000

What is there already in the folder is kept, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from richards_peers import HERE, Record

from pydiffgeo.data import lazy_variable, open_sites, write_sites

ATTRIBUTES = ["elev_mean", "slope_mean", "aridity", "frac_snow", "p_mean", "clay_frac"]
SERIES = {"precipitation": "mm d-1", "tair_mean": "degC", "potential_evapotranspiration": "mm d-1"}
PUBLISHED = {"units": 180_000, "reaches": 2_900_000}


def continent(basins: xr.Dataset, units: int, years: int) -> xr.Dataset:
    """Return the units, whose series are made when they are read."""
    random = np.random.default_rng(0)
    source = random.integers(0, basins.sizes["site"], units)
    wetter, warmer = np.exp(random.normal(0, 0.1, units)), random.normal(0, 1.0, units)
    days = pd.DatetimeIndex(basins.time.values)[: 365 * years + years // 4]
    known = {name: basins[name].values[:, : len(days)] for name in (*SERIES, "discharge")}

    def read(name: str) -> Any:
        def rows(wanted: NDArray) -> NDArray:
            values = known[name][source[wanted]]
            if name in ("precipitation", "discharge"):
                return values * wetter[wanted, None]
            return values + warmer[wanted, None] if name == "tair_mean" else values

        return rows

    size = {"site": units, "time": len(days)}
    found = xr.Dataset(coords={"site": [f"u{k:07d}" for k in range(units)], "time": days})
    for name, unit in (SERIES | {"discharge": "mm d-1"}).items():
        found[name] = lazy_variable(read(name), size, np.float32)
        found[name].attrs["units"] = unit
    for name in ATTRIBUTES:
        spread = 1 + 0.05 * random.normal(size=units)
        values = basins[name].values
        drawn = (values[source] * spread).clip(values.min(), values.max())
        found[name] = "site", drawn, basins[name].attrs
    return found


def channels(units: int) -> xr.Dataset:
    """Return the reach of each unit, in a tree whose water runs to higher numbers."""
    random = np.random.default_rng(1)
    down = np.arange(units) + 1 + random.integers(0, 40, units)
    names = np.array([f"u{k:07d}" for k in range(units)])
    below = np.where(down < units, names[np.minimum(down, units - 1)], "")
    below[:-1] = np.where(below[:-1] == "", names[-1], below[:-1])  # one outlet
    area, above = np.exp(random.normal(3.5, 0.7, units)), np.zeros(units)
    for k in range(units):
        above[k] += area[k]
        if below[k]:
            above[min(down[k], units - 1)] += above[k]
    return xr.Dataset(
        {
            "downstream": ("site", below),
            "area": ("site", area, {"units": "km2"}),
            "length": ("site", 1.2e3 * np.sqrt(area), {"units": "m"}),
            "slope": ("site", 10 ** random.uniform(-3.5, -2, units), {"units": "1"}),
            "width": ("site", 3.0 * above**0.35, {"units": "m"}),
        },
        coords={"site": names},
    )


def river(prediction: Path, units: int) -> xr.Dataset:
    """Return the reaches with the runoff that was predicted, read part by part."""
    plan = json.loads((prediction / "prediction.json").read_text())["parts"]
    ends = np.cumsum([size for size, *_ in plan])
    with xr.open_dataset(prediction / "part_00000.nc") as part:
        days = pd.DatetimeIndex(part.time.values)

    def rows(wanted: NDArray) -> NDArray:
        found = np.empty((len(wanted), len(days)), np.float32)
        for k in np.unique(np.searchsorted(ends, wanted, "right")):
            own = np.searchsorted(ends, wanted, "right") == k
            with xr.open_dataset(prediction / f"part_{k:05d}.nc") as part:
                first = ends[k] - plan[k][0]
                found[own] = part.discharge.isel(site=wanted[own] - first).values
        return found

    found = channels(units).assign_coords(time=days)
    total = np.zeros(len(days))  # of all units, on the day on which it leaves them
    for first in range(0, units, 1000):
        some = np.arange(first, min(first + 1000, units))
        total += found.area.values[some] @ rows(some).astype(float) / 86.4

    def gauge(wanted: NDArray) -> NDArray:
        return np.where((wanted == units - 1)[:, None], total, np.nan).astype(np.float32)

    size = {"site": units, "time": len(days)}
    found["discharge"] = lazy_variable(gauge, size, np.float32, block=256)
    found["discharge"].attrs["units"] = "m3 s-1"
    found["runoff"] = lazy_variable(rows, size, np.float32, block=256)
    found["runoff"].attrs = {"units": "mm d-1", "role": "forcing"}
    return found


def land_settings(path: Path, copies: int, engine: str) -> dict[str, Any]:
    """HBV whose parameters a network learns from attributes."""
    solver = {"method": "implicit_euler", "step": 1.0, "compile": engine == "torch"}
    hbv = {"kind": "process", "model": "hbv", "solver": solver,
           "engine": engine, "bounds": {"K2": [0.01, 0.2]}, "only": ["discharge"]}  # fmt: skip
    return {
        "data": {
            "path": str(path), "attributes": ATTRIBUTES, "memory": 0.5, "missing": "skip",
            "train": {"start": "1981-10-01", "end": "1983-09-30"},
            "test": {"start": "1983-10-01", "end": "1984-09-30"},
        },
        "hybrid": {
            "network": {"kind": "mlp", "hidden": [64, 64]},
            "stages": [
                {"kind": "parallel", "count": copies, "stages": [hbv]},
                {"kind": "unit_hydrograph", "series": "discharge"},
            ],
        },
        "loss": {"kind": "nse"},
        "training": {"epochs": 1, "steps_per_epoch": 20, "batch": 64, "length": 365,
                     "warm_up": 365, "threads": 1},
        "evaluation": {"warm_up": 365, "batch": 500},
        "runs": {"hbv": {}},
    }  # fmt: skip


def river_settings(path: Path, engine: str) -> dict[str, Any]:
    """Muskingum-Cunge with one roughness: no weights."""
    process = {"kind": "process", "model": "muskingum_cunge", "engine": engine, "learn": [],
               "only": ["discharge"],
               "solver": {"method": "implicit_euler", "step": 86400.0},
               "given": {"length": "length", "slope": "slope", "width": "width", "n": 0.05,
                         "side_slope": 1.0}}  # fmt: skip
    return {
        "data": {
            "path": str(path),
            "attributes": ["area", "length", "slope"],
            "memory": 0.5,
            "forcing": ["runoff"],
            "observed": ["discharge"],
            "train": {"start": "1982-10-01", "end": "1982-12-31"},
            "test": {"start": "1983-01-01", "end": "1983-03-31"},
        },
        "hybrid": {
            "network": None,
            "stages": [
                {"kind": "lateral", "runoff": "runoff", "area": "area"},
                {"kind": "downstream", "process": process},
            ],
        },
        "loss": {"kind": "nse"},
        "training": {"length": 30, "warm_up": 60},
        "evaluation": {"warm_up": 60},
        "runs": {"routing": {}},
    }


def measured(*words: str, processes: int = 1) -> Record:
    """Run a command of the package; return wall and CPU seconds and its peak memory, GB."""
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(start if processes > 1 else []), "-m", "pydiffgeo.cli", *words]
    begin = time.perf_counter()
    child = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(words)} failed")
    return {
        "wall_s": time.perf_counter() - begin,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_gb": used.ru_maxrss / 1e6,  # of the largest process
    }


def show(found: Record) -> None:
    """The table, with what the published continent would take."""
    table = Table(title=f"{found['units']} units, {found['years']} years")
    for heading in ("step", "wall, s", "CPU, s", "peak, GB", "us per unit-day", "published, h"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    for name, one in found["steps"].items():
        larger = PUBLISHED["units" if name == "predict" else "reaches"] / found["units"]
        grows = name in ("predict", "route")
        days = found["units"] * found["days"]
        table.add_row(
            name, f"{one['wall_s']:.0f}", f"{one['cpu_s']:.0f}", f"{one['peak_gb']:.2f}",
            f"{1e6 * one['cpu_s'] / days:.3f}" if grows else "-",
            f"{one['wall_s'] * larger / 3600:.1f}" if grows else "-",
        )  # fmt: skip
    Console(width=110).print(table)


def main() -> None:
    """Make, train, predict, route."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the CAMELS-US file")
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--years", type=int, default=20, help="at least 4")
    parser.add_argument("--copies", type=int, default=1, help="of HBV in each unit")
    parser.add_argument("--shard", type=int, default=1000, help="units of a part")
    parser.add_argument("--processes", type=int, default=2, help="that predict together")
    parser.add_argument("--engine", default="auto", help="julia, torch or auto")
    parser.add_argument("--folder", type=Path, default=HERE / "results" / "continent")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "continent.json")
    arguments = parser.parse_args()
    folder, units = arguments.folder, arguments.units
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "steps.json"  # what was measured before an interruption
    steps: dict[str, Record] = json.loads(kept.read_text()) if kept.exists() else {}

    def step(name: str, *words: str, processes: int = 1) -> None:
        if name not in steps:
            steps[name] = measured(*words, processes=processes)
            kept.write_text(json.dumps(steps))

    land, reaches = folder / "land.zarr", folder / "river.zarr"
    if not land.exists():
        derive = {"potential_evapotranspiration": "oudin"}
        basins = open_sites(arguments.data, derive=derive)
        write_sites(continent(basins, units, arguments.years), land, progress=True)
    (folder / "land.yaml").write_text(
        yaml.safe_dump(land_settings(land, arguments.copies, arguments.engine))
    )
    step("train", "train", str(folder / "land.yaml"), "--output", str(folder / "land"), "--resume")
    runoff = folder / "runoff"
    words = ["predict", str(folder / "land" / "hbv"), "--data", str(land), "--output", str(runoff)]
    words += ["--shard", str(arguments.shard), "--series", "discharge"]
    words += ["--resume"] if runoff.exists() else []
    step("predict", *words, processes=arguments.processes)
    if not reaches.exists():
        begin = time.perf_counter()
        write_sites(river(runoff, units), reaches, progress=True)
        print(f"the river is written in {time.perf_counter() - begin:.0f} s")
    (folder / "river.yaml").write_text(yaml.safe_dump(river_settings(reaches, arguments.engine)))
    words = ["train", str(folder / "river.yaml"), "--output", str(folder / "river")]
    step("prepare the river", *words, "--overwrite")
    words = ["predict", str(folder / "river" / "routing"), "--data", str(reaches)]
    words += ["--output", str(folder / "routed"), "--steps", "365", "--series", "discharge"]
    words += ["--resume"] if (folder / "routed").exists() else []
    step("route", *words)
    with xr.open_dataset(runoff / "part_00000.nc") as part:
        days = part.sizes["time"]
    found = {"units": units, "years": arguments.years, "copies": arguments.copies,
             "engine": arguments.engine, "days": days, "steps": steps}  # fmt: skip
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")
    show(found)


if __name__ == "__main__":
    main()
