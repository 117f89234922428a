"""What does a network of 16 hidden units cost in place of a formula, in a whole solve with its
gradient?

Bucket models: two years of synthetic daily weather and implicit Euler with a step of a day, the
mean square of discharge, and its gradient in all parameters and weights. Richards: two days of rain
and drying in 50 cells by Kvaerno3, mean square of the heads. Each case is run with the formula and
with networks trained on it, free and rising, in turn, so that all meet the same machine; CPU time
of one thread, the best of some runs. One process per engine. Prints a table and writes JSON.

    python benchmarks/closures.py
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alone import ONE_JULIA_THREAD
from hbv_rates import weather
from richards_peers import HERE, ONE_THREAD, Record, machine

MOST = 3.0  # times the formula that a closure may cost
ENGINES = ("torch", "julia")
KINDS: dict[str, dict[str, Any]] = {"free": {}, "rising": {"monotone_in": (0,)}}
START = {"hbv": [20.0, 1.0, 150.0, 10.0, 30.0], "exp_hydro": [20.0, 300.0]}  # mm


@dataclass(frozen=True)
class Case:
    """Slots of a model that are filled together."""

    model: str
    slots: tuple[str, ...]


HBV_SLOTS = ("recharge", "evapotranspiration", "percolation")
EXP_HYDRO_SLOTS = ("rain", "melt", "evapotranspiration", "base_flow", "spill")
CASES = (
    *(Case("hbv", (slot,)) for slot in HBV_SLOTS),
    Case("hbv", HBV_SLOTS),
    *(Case("exp_hydro", (slot,)) for slot in EXP_HYDRO_SLOTS),
    Case("exp_hydro", EXP_HYDRO_SLOTS),
    Case("richards", ("retention",)),
    Case("richards", ("conductivity",)),
    Case("richards", ("retention", "conductivity")),
)

Run = Callable[[], Any]
"""A solve with its gradient; returns the solution."""


def bucket_run(name: str, closures: Mapping[str, Any], engine: str, basins: int, days: int) -> Run:
    """A bucket model whose parameters lie in the middle half of their bounds."""
    import torch

    from pydiffgeo import MODELS, Solver, fit_slots, solve

    model = MODELS[name](closures=closures)  # type: ignore[call-arg]
    fit_slots(model, iterations=200)  # type: ignore[arg-type]
    f = {k: torch.from_numpy(v) for k, v in weather(basins, days).items()}
    g = torch.Generator().manual_seed(2)
    share = {
        k: 0.25 + 0.5 * torch.rand(basins, generator=g, dtype=torch.float64)
        for k in MODELS[name]().spec.parameters
    }
    values = {k: s.lower + (s.upper - s.lower) * share[k] for k, s in model.spec.parameters.items()}
    solver = Solver("implicit_euler", step=1.0)

    def run() -> Any:
        p = {k: v.clone().requires_grad_() for k, v in values.items()}
        s = solve(model, f, p, START[name], range(days + 1), solver, engine)
        torch.autograd.grad(
            s.fluxes["discharge"].square().mean(), [*p.values(), *model.closure_weights()]
        )
        return s

    return run


def richards_run(
    name: str, closures: Mapping[str, Any], engine: str, columns: int, days: int
) -> Run:
    """Columns of loam whose K_s differs, an hour of a storm or of drying for 15 of those days."""
    import torch

    from pydiffgeo import Grid, Richards, Solver, fit_slots, solve

    model = Richards(Grid.uniform(100.0, 50), closures=closures)
    fit_slots(model, iterations=200)
    hours = max(days // 15, 1)
    rain = torch.where(torch.arange(hours) % 24 < 6, 0.5, 0.0).double().expand(columns, -1)
    K_s = 1.04 * torch.logspace(-0.5, 0.5, columns, dtype=torch.float64)[:, None]
    p = {"theta_r": 0.078, "theta_s": 0.43}

    def run() -> Any:
        soil = {
            **{k: torch.full_like(K_s, v).requires_grad_() for k, v in p.items()},
            "K_s": K_s.clone().requires_grad_(),
        }
        f = {"rain": rain, "potential_evaporation": 0.02}
        s = solve(
            model, f, soil, -200.0, torch.arange(hours + 1).double(), Solver("kvaerno3"), engine
        )
        torch.autograd.grad(s.states.square().mean(), [*soil.values(), *model.closure_weights()])
        return s

    return run


RUNS: dict[str, Callable[..., Run]] = {
    "hbv": bucket_run,
    "exp_hydro": bucket_run,
    "richards": richards_run,
}


def networks(case: Case, options: Mapping[str, Any]) -> dict[str, Any]:
    """Networks of 16 units for the slots of a case."""
    from pydiffgeo import NeuralClosure

    ranges = {"conductivity": (0.0, 12.0)}
    return {
        slot: NeuralClosure(1, (16,), output_range=ranges.get(slot, (0.0, 1.0)), **options)
        for slot in case.slots
    }


def seconds(runs: Mapping[str, Run], repeats: int) -> dict[str, float]:
    """Shortest CPU time of each, run in turn."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(repeats):
        for name, run in runs.items():
            begin = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - begin)
    return best


def measure(engine: str, only: str, basins: int, days: int, repeats: int) -> list[Record]:
    """All cases on one engine, in this process."""
    import torch

    torch.set_num_threads(1)
    records = []
    for case in CASES:
        if only not in f"{case.model} {' '.join(case.slots)}":
            continue
        runs = {"formula": RUNS[case.model](case.model, {}, engine, basins, days)}
        # networks that may fall have no place in soils
        kinds = {k: v for k, v in KINDS.items() if case.model != "richards" or v}
        for kind, options in kinds.items():
            runs[kind] = RUNS[case.model](case.model, networks(case, options), engine, basins, days)
        # the first call compiles
        iterations = {k: float(run().stats["newton_iterations"].sum()) for k, run in runs.items()}
        taken = seconds(runs, repeats)
        records.append({
            "engine": engine, "model": case.model, "slots": list(case.slots),
            "formula_us": 1e6 * taken["formula"] / basins / days,
            **{f"{k}_ratio": taken[k] / taken["formula"] for k in kinds},
            **{f"{k}_iterations": iterations[k] / iterations["formula"] for k in kinds},
        })  # fmt: skip
        print(f"{engine} {case.model} {', '.join(case.slots)}: {records[-1]}", file=sys.stderr)
    return records


def show(records: list[Record]) -> None:
    """The table: times of the formula, ratios of time and of Newton iterations."""
    print(f"{'':56s}{'formula':>10s}{'free':>8s}{'rising':>8s}   iterations")
    print(f"{'':56s}{'us':>10s}{'':8s}{'':8s}{'free':>10s}{'rising':>8s}")
    for r in records:
        slots = "all" if len(r["slots"]) > 1 else r["slots"][0]
        line = f"{r['engine']:8s}{r['model']:12s}{slots:36s}{r['formula_us']:10.3f}"
        line += "".join(f"{r.get(f'{k}_ratio', math.nan):8.2f}" for k in KINDS) + "  "
        line += "".join(f"{r.get(f'{k}_iterations', math.nan):8.2f}" for k in KINDS)
        print(
            line
            + (
                ""
                if max(v for k, v in r.items() if k.endswith("_ratio")) <= MOST
                else f"   above {MOST:g}"
            )
        )


def main() -> None:
    """Measure each engine in a process of its own, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--only", default="", help="cases whose model and slots contain this")
    parser.add_argument("--basins", type=int, default=64)
    parser.add_argument("--days", type=int, default=730)
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the shortest counts")
    parser.add_argument("--here", action="store_true", help="measure in this process; prints JSON")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "closures.json")
    a = parser.parse_args()
    if a.here:
        print(json.dumps(measure(a.engines, a.only, a.basins, a.days, a.repeats)))
        return
    records: list[Record] = []
    environment = {**os.environ, **ONE_THREAD, **ONE_JULIA_THREAD}
    for engine in a.engines.split(","):
        numbers = [f"--{k}={getattr(a, k)}" for k in ("only", "basins", "days", "repeats")]
        command = [sys.executable, __file__, "--here", f"--engines={engine}", *numbers]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        records += json.loads(done.stdout.splitlines()[-1])
    a.output.parent.mkdir(parents=True, exist_ok=True)
    a.output.write_text(json.dumps({"machine": machine(), "records": records}, indent=1))
    show(records)
    print(f"written to {a.output}")


if __name__ == "__main__":
    main()
