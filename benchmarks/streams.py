"""What does the temperature of streams cost, per reach and day?

108 segments of the Delaware and 731 days of a file that pywatershed 3.0 made, side by side so many
times: SNTEMP's steady solution as a stage of torch; the heat budget `StreamTemperature` in
`stages.Downstream` on both engines, by the day; forward, and forward with the gradient of the mean
square of temperatures to what five parameters of every reach are. Beside them the kernels of
pywatershed's `PRMSStreamTemp`, compiled by numba as there, day by day, without gradient: they are
taken out of the file of its source, so that Python 3.11 will do. CPU time of one thread, the least
of some runs. Prints a table and writes JSON.

    python benchmarks/streams.py --data FOLDER --pywatershed .../hydrology/prms_stream_temp.py
"""

from __future__ import annotations

import argparse
import ast
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from rich.console import Console
from rich.table import Table

import pydiffgeo as pdg
from pydiffgeo import stages

FILE = "stream_temperature/sntemp_drb_108seg_1979_1980.nc"
CFS, LANGLEY = 0.3048**3, 11.63 / 24
LEARNED = ("shade", "width", "still_wind", "bed_exchange", "ground_share")
KERNELS = ("_teak1", "_equilb", "_twavg", "_compute_mixed_inlet_temp", "_compute_water_temp")
Record = dict[str, Any]


def river(folder: Path, copies: int, days: int) -> xr.Dataset:
    """Return sites with all that both models read, `copies` rivers side by side."""
    with xr.open_dataset(folder / FILE) as file:
        file = file.isel(time=slice(60, 60 + days)).load()
    count = file.sizes["segment"]

    def series(name: str, factor: float = 1.0) -> np.ndarray:
        return np.tile(file[name].values.T.astype(float) * factor, (copies, 1))

    down = np.concatenate([np.where(file.down_index >= 0, file.down_index + k * count, -1)
                           for k in range(copies)])  # fmt: skip
    names = np.array([f"r{i}" for i in range(copies * count)])
    air = series("seg_tave_air")
    full = 610.8 * np.exp(17.27 * air / (air + 237.3))
    flow = series("seg_outflow", CFS)
    units = {
        "discharge": (flow, "m3 s-1"),
        "total_inflow": (flow, "m3 s-1"),
        "loss": (flow * 0, "m3 s-1"),
        "lateral_inflow": (series("seg_lateral_inflow", CFS), "m3 s-1"),
        "tair_mean": (air, "degC"),
        "shortwave_down": (series("seginc_swrad", LANGLEY), "W m-2"),
        "vapour_pressure": (series("seg_humid") * full, "Pa"),
        "cloud_cover": (series("seg_ccov"), "1"),
        "groundwater_temperature": (series("seg_tave_gw"), "degC"),
        "soil_water_temperature": (series("seg_tave_ss"), "degC"),
        "lateral_temperature": (series("seg_tave_lat"), "degC"),
        "rh_mean": (series("seg_humid"), "1"),
        "potential_evapotranspiration": (series("seg_potet", 0.0254 / 86400), "m s-1"),
        "shade": (series("seg_shade"), "1"),
        "leaf_shade": (series("seg_svi"), "1"),
        "width": (series("seg_flow_width"), "m"),
    }
    site = {"length": ("length_m", "m"), "slope": ("slope", "1"), "elevation": ("elev_m", "m")}
    return xr.Dataset(
        {k: (("site", "time"), v, {"units": unit}) for k, (v, unit) in units.items()}
        | {k: ("site", np.tile(file[v].values, copies), {"units": u})
           for k, (v, u) in site.items()}
        | {"downstream": ("site", np.array([names[k] if k >= 0 else "" for k in down]))},
        {"site": names, "time": file.time.values},
    )  # fmt: skip


def timed(run: Any, repeats: int) -> float:
    """Return the least CPU seconds of some runs, after one that compiles."""
    run()
    found = []
    for _ in range(repeats):
        begin = time.process_time()
        run()
        found.append(time.process_time() - begin)
    return min(found)


def steady(sites: xr.Dataset, repeats: int) -> Record:
    """Measure `stages.SteadyStreamTemperature`; the gradient is that in shade and width."""
    stage = stages.SteadyStreamTemperature()
    hybrid = pdg.Hybrid(None, stage, dtype=torch.float64)
    hybrid.prepare(sites)
    windows = pdg.Windows(sites, dtype=torch.float64, impossible="ignore")
    batch = windows.reading(hybrid.reads, (), hybrid.needs).batch(0)

    def forward() -> None:
        with torch.no_grad():
            hybrid(batch)

    def gradient() -> None:
        for name in ("shade", "width"):
            batch.series[name].grad = None
            batch.series[name].requires_grad_()
        hybrid(batch)["water_temperature"].nan_to_num().square().mean().backward()

    return {"forward": timed(forward, repeats), "gradient": timed(gradient, repeats)}


def budget(sites: xr.Dataset, engine: str, repeats: int) -> Record:
    """Measure `StreamTemperature` down the river."""
    process = stages.Process(
        "stream_temperature", engine=engine, learn=LEARNED,
        given={"length": "length", "slope": "slope"},
        forcing={"wind_speed": 2.0, "season": 0.0},
    )  # fmt: skip
    hybrid = pdg.Hybrid(
        pdg.MLP(reads=("length",), hidden=()), stages.Downstream(process), dtype=torch.float64
    )
    hybrid.prepare(sites)
    windows = pdg.Windows(sites, dtype=torch.float64, impossible="ignore")
    batch = windows.reading(hybrid.reads, (), hybrid.needs).batch(0)
    spec, count = process.model.spec.parameters, sites.sizes["site"]
    values = {k: torch.full((count, 1), spec[k].default, dtype=torch.float64) for k in LEARNED}

    def forward() -> None:
        with torch.no_grad():
            hybrid.run(batch, {k: v.detach() for k, v in values.items()})

    def gradient() -> None:
        given = {k: v.detach().requires_grad_() for k, v in values.items()}
        hybrid.run(batch, given)["water_temperature"].square().mean().backward()

    return {"forward": timed(forward, repeats), "gradient": timed(gradient, repeats)}


def pywatershed(sites: xr.Dataset, source: Path, repeats: int) -> Record:
    """Measure the kernels of pywatershed, compiled by numba, day by day."""
    import numba

    tree, space = ast.parse(source.read_text()), {"np": np, "nb": numba}
    constants = [n for n in tree.body if isinstance(n, ast.Assign)]
    kernels = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name in KERNELS]
    taken = {n.name: n for n in kernels if not (n.args.args and n.args.args[0].arg == "self")}
    for node in taken.values():
        node.decorator_list = []
        node.args.annotations = []  # type: ignore[attr-defined]
    space |= {"nearzero": 1e-6, "cfs_to_cms": CFS, "zero": 0.0}
    for node in constants:
        exec(compile(ast.Module([node], []), str(source), "exec"), space)
    for name in KERNELS:
        exec(compile(ast.Module([taken[name]], []), str(source), "exec"), space)
        space[name] = numba.njit(space[name])
    kernel: Any = space["_compute_water_temp"]
    into = pdg.data.network.below(sites)
    order = np.concatenate(pdg.data.network.levels(into))
    number = np.bincount(into[into >= 0], minlength=len(into))
    above = np.zeros((len(into), max(number.max(), 1)), np.int64)
    place = np.zeros(len(into), int)
    for row in np.flatnonzero(into >= 0):
        above[into[row], place[into[row]]] = row
        place[into[row]] += 1
    days = {str(k): np.ascontiguousarray(v.values.T) for k, v in sites.items() if v.ndim == 2}
    sun, rain = days["shortwave_down"] / LANGLEY, days["potential_evapotranspiration"]
    cfs = {k: days[k] / CFS for k in ("discharge", "lateral_inflow")}
    place_of = {k: sites[k].values for k in ("length", "slope", "elevation")}
    empty = np.zeros(1)

    def forward() -> None:
        for k in range(len(sun)):
            water, upper, inflow = (np.zeros(len(into)) for _ in range(3))
            kernel(
                order, water, sun[k], cfs["discharge"][k], number, above,
                cfs["lateral_inflow"][k], upper, days["leaf_shade"][k], inflow,
                days["lateral_temperature"][k], sun[k], days["rh_mean"][k], place_of["elevation"],
                rain[k] * 86400 / 0.0254, days["shade"][k], days["cloud_cover"][k],
                days["width"][k], place_of["slope"], days["groundwater_temperature"][k],
                place_of["length"] / 1000, 0.1, 10, False, *[empty] * 8, 1.0,
            )  # fmt: skip

    return {"forward": timed(forward, repeats), "gradient": None}


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--pywatershed", type=Path, help="its prms_stream_temp.py")
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--engines", default="torch,julia")
    parser.add_argument("--output", type=Path, default=Path("streams.json"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sites = river(chosen.data, chosen.copies, chosen.days)
    cases = {"SNTEMP, torch": lambda: steady(sites, chosen.repeats)}
    for name in filter(None, chosen.engines.split(",")):
        cases[f"heat budget, {name}"] = lambda e=name: budget(sites, e, chosen.repeats)  # type: ignore[misc]
    if chosen.pywatershed:
        source = chosen.pywatershed
        cases["SNTEMP, pywatershed"] = lambda: pywatershed(sites, source, chosen.repeats)
    count, found = sites.sizes["site"] * chosen.days, {}
    table = Table("model", "forward", "with gradient", title="million reach-days a second")
    for name, case in cases.items():
        found[name] = case()
        rates = [count / x / 1e6 if x else None for x in found[name].values()]
        table.add_row(name, *("-" if x is None else f"{x:.3g}" for x in rates))
    Console().print(table)
    chosen.output.write_text(json.dumps({"reach_days": count, "seconds": found}, indent=1))


if __name__ == "__main__":
    main()
