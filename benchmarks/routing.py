"""What does routing through a network of rivers cost, per reach and step?

Muskingum-Cunge in `stages.Downstream`: forward, and forward with the gradient of the mean square of
discharge to the roughness of every reach, in microseconds of CPU time per reach and step of the
solver on one thread, on both engines; memory beside that of the imports; the volume that is lost.
The rivers are the Lower Colorado and the Juniata where their files are there, and random trees,
whose sizes show how the cost grows. Beside them linear Muskingum as RAPID and river-route solve it:
one sparse factorisation, then one solve a step with SciPy, without gradient. Every case runs in a
process of its own; the least of some runs. Prints a table and writes JSON.

    python benchmarks/routing.py --data FOLDER
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from alone import measure_all
from rich.console import Console
from rich.table import Table
from richards_peers import HERE, Record

LOWER_COLORADO, JUNIATA, TREE = "lower colorado", "juniata", "tree"
FILES = {
    LOWER_COLORADO: "lower_colorado_11248reach_28h.nc",
    JUNIATA: "juniata_1980_1995.nc",
}
CASES: tuple[tuple[str, int, int, str, str], ...] = (  # river, reaches, steps, interval, engine
    (LOWER_COLORADO, 11248, 168, "1h", "julia"),
    (LOWER_COLORADO, 11248, 84, "15min", "julia"),
    (LOWER_COLORADO, 11248, 28, "5min", "julia"),
    (LOWER_COLORADO, 11248, 28, "5min", "julia, checkpoints"),
    (LOWER_COLORADO, 11248, 28, "15min", "torch"),
    (JUNIATA, 213, 730, "1h", "julia"),
    (JUNIATA, 213, 200, "1h", "torch"),
    (TREE, 1000, 100, "1h", "julia"),
    (TREE, 10000, 25, "1h", "julia"),
    (TREE, 10000, 50, "1h", "julia"),
    (TREE, 10000, 100, "1h", "julia"),
    (TREE, 10000, 100, "1h", "julia, checkpoints"),
    (TREE, 10000, 10, "1h", "torch"),
    (TREE, 10000, 50, "1h", "scipy, linear"),
    (LOWER_COLORADO, 11248, 28, "5min", "scipy, linear"),
)


def river(name: str, reaches: int, steps: int, folder: Path) -> xr.Dataset:
    """Return sites with lateral inflow, the site below, and the channel of each."""
    if name == TREE:
        random = np.random.default_rng(0)
        down = np.arange(reaches) + 1 + random.integers(0, 40, reaches)
        down[down >= reaches] = -1
        lateral = random.gamma(0.2, 0.5, (reaches, steps))
        length, slope = random.uniform(1e3, 1e4, reaches), 10 ** random.uniform(-4, -2, reaches)
        width, side, rate = random.uniform(2, 40, reaches), random.uniform(0.5, 2.0, reaches), "D"
    else:
        data = xr.open_dataset(folder / FILES[name])
        down, length = data.down_index.values, data.length.values
        if name == JUNIATA:
            lateral, slope, side = (
                data.qprime.values[:, :steps],
                data.slope.values,
                np.linspace(1, 2, reaches),
            )
            width, rate = 2.0 * 10 ** (0.45 * data.log10_uparea.values), "D"
        else:
            lateral = np.tile(data.q_lateral.values.T, (1, -(-steps // 28)))[:, :steps]
            slope, width, side, rate = (
                data.So.values,
                data.BtmWdth.values,
                1 / data.ChSlp.values,
                "h",
            )
    names = np.array([f"r{i}" for i in range(len(down))])
    below = np.array([names[k] if k >= 0 else "" for k in down])
    times = np.datetime64("2000-01-01", "h") + np.arange(steps).astype(f"timedelta64[{rate}]")
    metres = {"units": "m"}
    return xr.Dataset(
        {
            "lateral_inflow": (("site", "time"), lateral, {"units": "m3 s-1"}),
            "downstream": ("site", below),
            "length": ("site", np.maximum(length, 10.0), metres),
            "slope": ("site", np.maximum(slope, 1e-5), {"units": "1"}),
            "width": ("site", np.asarray(width), metres),
            "side_slope": ("site", side, {"units": "1"}),
        },
        coords={"site": names, "time": times.astype("datetime64[ns]")},
    )


def package(request: Record) -> Record:
    """Measure `stages.Downstream`."""
    import torch

    import pydiffgeo as pdg
    from pydiffgeo import stages

    torch.set_num_threads(1)
    engine, _, checkpoints = request["engine"].partition(", ")
    seconds, names = request["seconds"], ("length", "slope", "width", "side_slope")
    solver = pdg.Solver("implicit_euler", step=seconds, checkpoints=bool(checkpoints))
    process = stages.Process(
        pdg.MuskingumCunge(), solver, engine, learn=("n",), given={k: k for k in names}
    )

    def run(sites: xr.Dataset, repeats: int) -> tuple[float, float, Any]:
        """Return CPU seconds forward and with gradient, and what was found."""
        down = stages.Downstream(process, interval=f"{int(seconds)}s")
        windows = pdg.Windows(sites, dtype=torch.float64, impossible="ignore")
        hybrid = pdg.Hybrid(pdg.MLP(reads=("length",), hidden=()), down, dtype=torch.float64)
        hybrid.prepare(windows)
        batch = next(windows.periods(sites.sizes["site"]))
        n = torch.full((sites.sizes["site"], 1), 0.05, dtype=torch.float64)
        forward = gradient = float("inf")
        for _ in range(repeats):
            with torch.no_grad():
                begin = time.process_time()
                hybrid.run(batch, {"n": n.detach()})
                forward = min(forward, time.process_time() - begin)
            n.requires_grad_()
            begin = time.process_time()
            found = hybrid.run(batch, {"n": n})
            found["discharge"].square().mean().backward()
            gradient = min(gradient, time.process_time() - begin)
        return forward, gradient, found

    # a small river first: what is compiled and imported is in no figure
    run(river(TREE, 40, 4, Path()), 2)
    sites = river(request["river"], request["reaches"], request["steps"], Path(request["data"]))
    length = float((sites.time[1] - sites.time[0]) / np.timedelta64(1, "s"))
    count = sites.sizes["site"] * request["steps"] * length / seconds
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    forward, gradient, found = run(sites, request["repeats"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    entered = float(sites.lateral_inflow.astype(float).sum()) * length
    outlets = torch.from_numpy(sites.downstream.values == "")
    left = float(found["discharge"][outlets].sum() + found["loss"].sum()) * length
    first = sites.sizes["site"] * float(process.model.start({})["volume"])
    lost = abs(entered - left + first - float(found["volume"][:, -1].sum())) / (entered + first)
    return {
        "forward_us": 1e6 * forward / count,
        "gradient_us": 1e6 * gradient / count,
        "memory_mb": (peak - before) / 1e3,
        "lost": lost,
        "reach_steps": count,
    }


def linear(request: Record) -> Record:
    """Measure linear Muskingum: (I - C1 N) Q = C1 q + N (C2 Q) + C3 Q + (C1 + C2) lateral."""
    from scipy.sparse import csc_matrix, identity
    from scipy.sparse.linalg import splu

    sites = river(request["river"], request["reaches"], request["steps"], Path(request["data"]))
    place = {name: i for i, name in enumerate(sites.site.values)}
    down = np.array([place.get(name, -1) for name in sites.downstream.values])
    there = np.flatnonzero(down >= 0)
    size, step = len(down), request["seconds"]
    into = csc_matrix((np.ones(len(there)), (down[there], there)), (size, size))
    K, X = sites.length.values, 0.2  # s: a wave of 1 m s-1
    below = step / 2 + K * (1 - X)
    c1, c2, c3 = (step / 2 - K * X) / below, (step / 2 + K * X) / below, 1 - step / below
    system = splu((identity(size) - csc_matrix(into.multiply(c1[:, None]))).tocsc())
    lateral = sites.lateral_inflow.values
    parts = round(float((sites.time[1] - sites.time[0]) / np.timedelta64(int(step), "s")))
    best = 1e9
    for _ in range(max(1, request["repeats"])):
        begin, flow = time.process_time(), np.zeros(size)
        for k in range(lateral.shape[1]):
            gain = (c1 + c2) * lateral[:, k]
            for _ in range(parts):
                flow = system.solve(c2 * (into @ flow) + c3 * flow + gain)
        best = min(best, time.process_time() - begin)
    count = size * lateral.shape[1] * parts
    return {"forward_us": 1e6 * best / count, "reach_steps": count}


def show(records: list[Record]) -> None:
    """The table."""
    table = Table(title="Routing: CPU microseconds per reach and step, one thread")
    headings = ("river", "reaches", "steps", "step, s", "engine", "forward", "with gradient",
                "memory, MB", "lost")  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("river", "engine") else "right")

    def number(value: Any, form: str) -> str:
        return "-" if value is None else format(value, form)

    for r in records:
        table.add_row(
            r["river"], str(r["reaches"]), number(r.get("reach_steps"), ".3g"),
            f"{r['seconds']:g}", r["engine"],
            r.get("status") or number(r.get("forward_us"), ".3g"),
            number(r.get("gradient_us"), ".3g"), number(r.get("memory_mb"), ".0f"),
            number(r.get("lost"), ".0e"),
        )  # fmt: skip
    Console(width=140).print(table)


def requests(arguments: argparse.Namespace) -> Iterator[Record]:
    """All cases that are asked for."""
    for name, reaches, steps, interval, engine in CASES:
        if arguments.only not in f"{name} {engine}":
            continue
        if name in FILES and not (arguments.data / FILES[name]).exists():
            print(f"without {FILES[name]}: {name} is left out", file=sys.stderr)
            continue
        seconds = {"1h": 3600.0, "15min": 900.0, "5min": 300.0}[interval]
        yield {
            "river": name, "reaches": reaches, "steps": steps, "seconds": seconds,
            "engine": engine, "repeats": arguments.repeats, "data": str(arguments.data),
        }  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(), help="folder of the two files")
    parser.add_argument("--repeats", type=int, default=3, help="runs, of which the least counts")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds a process may take")
    parser.add_argument("--only", default="", help="cases whose river or engine contain this")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "routing.json")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        request = json.loads(arguments.one)
        print(json.dumps(linear(request) if "linear" in request["engine"] else package(request)))
        return
    show(measure_all(__file__, requests(arguments), arguments.limit, arguments.output))


if __name__ == "__main__":
    main()
