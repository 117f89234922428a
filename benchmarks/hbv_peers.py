"""What does the gradient of HBV cost per basin and day, against other ways to solve it?

Forward, and forward with gradient, of the mean square of discharge over two years of synthetic
weather, with the gradient to all 13 parameters, in microseconds of CPU time per basin-day on one
thread, and the ratio to the explicit loop. hydrodl2 and jhbv are other HBVs: explicit, in float32,
with 12 of the 13 parameters and a routing. Every case runs in a process of its own; the median of
some runs. Prints a table and writes JSON.

    python benchmarks/hbv_peers.py --python .venv-peers/bin/python
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from alone import measured_alone
from richards_peers import HERE, Record

BATCHES = (1, 64, 671, 1600)
BASE = "explicit loop"
CASES = {  # name: (peer, options, own interpreter)
    BASE: ("loop", {}, True),
    "torch implicit Euler": ("package", {"engine": "torch", "method": "implicit_euler"}, True),
    "torch implicit Euler, compiled": (
        "package",
        {"engine": "torch", "method": "implicit_euler", "compile": True},
        True,
    ),
    "torch SDIRK2": ("package", {"engine": "torch", "method": "sdirk2"}, True),
    "Julia implicit Euler": ("package", {"engine": "julia", "method": "implicit_euler"}, True),
    "Julia SDIRK2": ("package", {"engine": "julia", "method": "sdirk2"}, True),
    "hydrodl2, explicit": ("hydrodl2", {}, False),
    "jhbv, explicit": ("jhbv", {}, False),
    "torchdiffeq rk4": ("torchdiffeq", {"method": "rk4"}, False),
    "diffrax Kvaerno3": ("diffrax", {"rtol": 1e-3, "atol": 1e-3}, False),
}


def measure(name: str, batch: int, arguments: argparse.Namespace) -> Record:
    """One case in a process of its own; what goes wrong becomes its record."""
    peer, options, own = CASES[name]
    request = {
        "peer": peer,
        "options": options,
        "batch": batch,
        "days": arguments.days,
        "repeats": arguments.repeats,
    }
    python = sys.executable if own else arguments.python
    found = measured_alone([python, "-m", "peers.hbv"], request, arguments.limit)
    return {"case": name, **found}


def show(records: list[Record], batches: list[int]) -> None:
    """The table: microseconds per basin-day, forward and with gradient, and the ratio to the
    explicit loop.
    """
    found = {(r["case"], r["batch"]): r for r in records}
    print(f"{'us per basin-day':24s}" + "".join(f"{f'batch {b}':>34s}" for b in batches))
    print(" " * 24 + "".join(f"{'forward':>12s}{'gradient':>12s}{'of loop':>10s}" for _ in batches))
    for name in dict.fromkeys(r["case"] for r in records):
        line = f"{name:24s}"
        for b in batches:
            r, base = found.get((name, b), {}), found.get((BASE, b), {})
            if r.get("status") != "ok":
                line += f"{r.get('status', '')[:32]:>34s}"
                continue
            ratio = r["total_us"] / base["total_us"] if base.get("status") == "ok" else float("nan")
            line += f"{r['forward_us']:12.3f}{r['total_us']:12.3f}{ratio:10.3f}"
        print(line)


def main() -> None:
    """Measure the cases asked for, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter of the peers' environment"
    )
    parser.add_argument(
        "--only", default="", help="cases whose name contains one of these, separated by commas"
    )
    parser.add_argument(
        "--batches", default=",".join(map(str, BATCHES)), help="basins solved together"
    )
    parser.add_argument("--days", type=int, default=730)
    parser.add_argument("--repeats", type=int, default=3, help="runs the median is taken over")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds a process may take")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "hbv_peers.json")
    arguments = parser.parse_args()
    batches = [int(b) for b in arguments.batches.split(",")]
    chosen = [
        name
        for name in CASES
        if name == BASE or any(part in name for part in arguments.only.split(","))
    ]
    records: list[Record] = []
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    for batch in batches:
        for name in chosen:
            records.append(measure(name, batch, arguments))
            arguments.output.write_text(json.dumps(records, indent=1))
            print(f"{name}, batch {batch}: {records[-1]['status']}", file=sys.stderr)
    show(records, batches)
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
