"""What does it cost when all columns of a batch share one step size?

Solves the New Mexico case for a batch of columns whose conductivity spreads over two decades, and
for one whose other soil parameters vary as well, once with a step size per column and once with a
shared one. Prints Newton iterations (summed over columns) and CPU time, and the ratios; writes
JSON.

    python benchmarks/step_per_column.py
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from new_mexico import DEPTH, HORIZON, PARAMETERS, PSI_BOTTOM, PSI_INITIAL, PSI_TOP
from rich.console import Console
from rich.table import Table

from pydiffgeo import Grid, Richards, Solver, solve

HERE = Path(__file__).resolve().parent
SECONDS_PER_HOUR = 3600.0


def spread(batch: int, everything: bool, seed: int) -> dict[str, np.ndarray]:
    """Soil parameters [batch]: K_s over two decades around the case's, if asked all others too."""
    random = np.random.default_rng(seed)
    soil = {name: np.full(batch, value) for name, value in PARAMETERS.items()}
    soil["K_s"] = PARAMETERS["K_s"] * SECONDS_PER_HOUR * 10.0 ** random.uniform(-1.0, 1.0, batch)
    if everything:
        soil["alpha"] = PARAMETERS["alpha"] * 2.0 ** random.uniform(-1.0, 1.0, batch)
        soil["n"] = random.uniform(1.3, 2.7, batch)
        soil["theta_s"] = random.uniform(0.33, 0.45, batch)
        soil["theta_r"] = random.uniform(0.03, 0.1, batch)
    return soil


def work(soil: dict[str, np.ndarray], shared: bool, rtol: float) -> dict[str, float]:
    """Newton iterations, steps and CPU seconds of one forward solve."""
    model = Richards(
        Grid.uniform(DEPTH, 100), top="head", bottom="head", roots=None, face_mean="arithmetic"
    )
    start = time.process_time()
    with torch.no_grad():
        solution = solve(
            model,
            forcing={"top_head": PSI_TOP, "bottom_head": PSI_BOTTOM},
            parameters={**soil, "specific_storage": 0.0},
            initial_state=PSI_INITIAL,
            times=torch.tensor([0.0, HORIZON / SECONDS_PER_HOUR], dtype=torch.float64),
            solver=Solver("kvaerno3", rtol=rtol, shared_step=shared),
            engine="torch",
        )
    seconds = time.process_time() - start
    counts: dict[str, Any] = solution.stats
    return {
        "newton_iterations": float(counts["newton_iterations"].sum()),
        "accepted": float(counts["accepted"].double().mean()),
        "rejected": float(counts["rejected"].double().mean()),
        "cpu_s": seconds,
    }


def main() -> None:
    """Print the comparison."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rtol", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "step_per_column.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    batches = {"K_s over two decades": False, "all soil parameters": True}
    table = Table(title=f"{arguments.batch} columns, one forward solve at rtol {arguments.rtol:g}")
    for heading in ("batch", "step size", "Newton iterations", "accepted", "rejected", "CPU s"):
        table.add_column(heading, justify="left" if heading in ("batch", "step size") else "right")
    results: dict[str, dict[str, Any]] = {}
    for name, everything in batches.items():
        soil = spread(arguments.batch, everything, arguments.seed)
        own, shared = (work(soil, choice, arguments.rtol) for choice in (False, True))
        ratio = {key: shared[key] / own[key] for key in ("newton_iterations", "cpu_s")}
        results[name] = {"per column": own, "shared": shared, "ratio": ratio}
        for kind, counts in (("per column", own), ("shared", shared)):
            steps = (f"{counts['accepted']:.0f}", f"{counts['rejected']:.0f}")
            table.add_row(
                name, kind, f"{counts['newton_iterations']:.0f}", *steps, f"{counts['cpu_s']:.2f}"
            )
        table.add_row(
            name, "ratio", f"{ratio['newton_iterations']:.2f}", "", "", f"{ratio['cpu_s']:.2f}"
        )
        table.add_section()
    Console().print(table)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    settings = {"batch": arguments.batch, "rtol": arguments.rtol, "seed": arguments.seed}
    arguments.output.write_text(json.dumps({**settings, "results": results}, indent=1))
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
