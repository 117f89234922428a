"""What does the Julia engine gain over the torch engine and over diffrax, and what does the bridge
cost?

The New Mexico infiltration of `richards_peers.py`, at equal gradient error, in the same processes
and with the same clocks: CPU time on one thread, the clock on the wall on two. Then the cost of
crossing the bridge, and of starting. Prints tables and writes JSON.

    python benchmarks/engines.py --python .venv-peers/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cases import DIFFRAX, Case
from report import costs, finder, number
from rich.console import Console
from rich.table import Table
from richards_peers import HERE, Record, machine, measure

JULIA, JULIA_2, TORCH = "Julia engine", "Julia engine, 2 threads", "torch engine"
CASES = (
    Case(JULIA, "pydiffgeo_peer", "kvaerno3", "adjoint", {"engine": "julia"}, (1, 64, 256)),
    Case(
        JULIA_2,
        "pydiffgeo_peer",
        "kvaerno3",
        "adjoint",
        {"engine": "julia", "threads": 2},
        (1, 64, 256),
    ),
    Case(TORCH, "pydiffgeo_peer", "kvaerno3", "adjoint", {}, (1, 64, 256)),
    Case(DIFFRAX, "diffrax_peer", "Kvaerno3", "checkpointed adjoint", {}, (1, 64)),
)
RATIOS = (
    ("diffrax over Julia, batch 1", (DIFFRAX, 1), (JULIA, 1), 350),
    ("diffrax over Julia, batch 64", (DIFFRAX, 64), (JULIA, 64), 350),
    ("torch over Julia, batch 1", (TORCH, 1), (JULIA, 1), 80),
    ("torch over Julia, batch 256", (TORCH, 256), (JULIA, 256), 4),
    ("one thread over two, batch 256", (JULIA, 256), (JULIA_2, 256), 1.8),
)

CALL = """
import ctypes, json, time, torch
from pydiffgeo.bridge.runtime import start
call = start().functions["nothing"]
a, b, c = (torch.ones(3, dtype=torch.float64) for _ in range(3))
def many(n=20000):
    begin = time.perf_counter()
    for _ in range(n):
        call(a.data_ptr(), b.data_ptr(), c.data_ptr())
    return 1e6 * (time.perf_counter() - begin) / n
many()
print(json.dumps(min(many() for _ in range(5))))
"""

SOLVE = """
import json, time, torch
from pydiffgeo import Grid, Richards, Solver, solve, usda_soil
model = Richards(Grid.uniform(100.0, {cells}), top="head", bottom="head")
alpha = torch.tensor([0.0335], dtype=torch.float64, requires_grad=True)
soil = {{**usda_soil("loam"), "alpha": alpha}}
solver = Solver(step=24.0, max_newton=1, on_failure="report", max_steps=1)
def one():
    heads = {{"top_head": -75.0, "bottom_head": -1000.0}}
    s = solve(model, heads, soil, -1000.0, [0.0, 24.0], solver, "julia")
    s.states.sum().backward()
for _ in range(20):
    one()
begin = time.perf_counter()
for _ in range(300):
    one()
print(json.dumps(1e6 * (time.perf_counter() - begin) / 300))
"""

FIRST = """
import json, sys, time
begin = time.perf_counter()
import torch
torch_s = time.perf_counter() - begin
from pydiffgeo import Grid, Richards, Solver, solve, usda_soil
model = Richards(Grid.uniform(100.0, 100), top="head", bottom="head")
alpha = torch.tensor([0.0335], dtype=torch.float64, requires_grad=True)
soil = {{**usda_soil("loam"), "alpha": alpha}}
heads, solver = {{"top_head": -75.0, "bottom_head": -1000.0}}, Solver({solver})
s = solve(model, heads, soil, -1000.0, [0.0, 24.0], solver, "julia")
s.states.sum().backward()
print(json.dumps(torch_s))
"""

IMPORT = "import json, pydiffgeo, sys; assert 'juliacall' not in sys.modules; print(json.dumps(0))"


def seconds(code: str) -> tuple[float, float]:
    """Time on the wall of a Python process, and the number that it prints; the median of three."""
    measured = []
    for _ in range(3):
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ},
        )
        measured.append(
            (time.perf_counter() - begin, float(json.loads(done.stdout.strip().splitlines()[-1])))
        )
    return statistics.median(m[0] for m in measured), statistics.median(m[1] for m in measured)


def start_and_bridge() -> dict[str, tuple[float, float]]:
    """What is measured, with its bound."""
    first, torch_s = seconds(FIRST.format(solver=""))
    sciml, _ = seconds(FIRST.format(solver='"FBDF", sensitivity="GaussAdjoint"'))
    print(f"of the first gradient {torch_s:.2f} s are the import of torch", file=sys.stderr)
    return {
        "call with three arrays, us": (seconds(CALL)[1], 5.0),
        "solve and backward of nothing (one failed step of 3 cells), us": (
            seconds(SOLVE.format(cells=3))[1],
            float("inf"),
        ),
        "Python start to first gradient, s": (first, 4.0),
        "first gradient of a SciML method, s": (sciml, 10.0),
        "python -c 'import pydiffgeo', s": (seconds(IMPORT)[0], 2.0),
    }


def show(records: list[Record], small: dict[str, tuple[float, float]]) -> None:
    """Both tables."""
    find = finder(records)
    table = Table(title="New Mexico infiltration with gradient, ms per column")
    for heading in (
        "case",
        "batch",
        "rtol",
        "forward",
        "with gradient",
        "gradient error",
        "yardstick",
    ):
        table.add_column(heading, justify="left" if heading == "case" else "right")
    for case in CASES:
        for batch in case.batches:
            entry: dict[str, Any] | None = find(case.name, batch)
            if entry is not None:
                marks = "/".join(f"{x:.0f}" for x in entry.get("yardstick_ms", []))
                table.add_row(
                    case.name,
                    str(batch),
                    f"{entry['rtol']:g}",
                    number(entry.get("forward_ms_per_column")),
                    number(entry.get("total_ms_per_column")),
                    number(entry.get("gradient_error"), ".1e"),
                    marks,
                )
    Console(width=130).print(table)
    aims = Table(title="Aims")
    for heading in ("aim", "bound", "measured", "met"):
        aims.add_column(heading, justify="left" if heading == "aim" else "right")
    for name, above, below, bound in RATIOS:
        value = costs(above, below)(find)
        verdict = "not measured" if value is None else "yes" if value >= bound else "NO"
        aims.add_row(name, f">= {bound:g}", number(value), verdict)
    for name, (value, bound) in small.items():
        aims.add_row(name, f"<= {bound:g}", number(value), "yes" if value <= bound else "NO")
    Console(width=130).print(aims)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter of the peers' environment"
    )
    parser.add_argument("--limit", type=float, default=600.0, help="seconds a process may take")
    parser.add_argument("--repeats", type=int, default=5, help="runs the median is taken over")
    parser.add_argument(
        "--cpu", type=int, default=0, help="core that processes with one thread are pinned to"
    )
    parser.add_argument(
        "--only",
        default="",
        help="run the cases whose name contains one of these, separated by commas",
    )
    parser.add_argument("--output", type=Path, default=HERE / "results" / "engines.json")
    arguments = parser.parse_args()
    selected = [
        case for case in CASES if any(part in case.name for part in arguments.only.split(","))
    ]
    names = {case.name for case in selected}
    records: list[Record] = []
    if arguments.output.exists():
        records = [
            r for r in json.loads(arguments.output.read_text())["records"] if r["case"] not in names
        ]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    for case in selected:
        records += list(measure(case, arguments))
        arguments.output.write_text(
            json.dumps({"machine": machine(), "records": records}, indent=1)
        )
    small = start_and_bridge()
    arguments.output.write_text(
        json.dumps({"machine": machine(), "records": records, "small": small}, indent=1)
    )
    show(records, small)


if __name__ == "__main__":
    main()
