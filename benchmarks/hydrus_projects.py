"""HYDRUS-1D projects rebuilt and compared with what HYDRUS printed.

    python benchmarks/hydrus_projects.py FOLDER [FOLDER ...]

Public projects that come with their results: `examples/phydrus_paper/Ex3/output` of
github.com/phydrus/phydrus (a lysimeter, two years) and `inst/extdata/model/test` of
github.com/KWB-R/kwb.hydrus1d (two sands).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from pydiffgeo import Solver, solve
from pydiffgeo.hydrus import Project, read_levels, read_project

SUMS = {"drainage": "sum(vBot)", "transpiration": "sum(vRoot)", "evaporation": "sum(Evap)"}


def compared(project: Project, rtol: float, engine: str) -> dict[str, object]:
    """Differences at the observation nodes, and the sums of fluxes up to the last time that HYDRUS
    printed.
    """
    begin = time.process_time()
    solution = solve(**project.problem, solver=Solver(rtol=rtol), engine=engine)
    seconds = time.process_time() - begin
    table = project.compare(solution)
    nodes = table.columns.get_level_values("node").unique()
    away = {int(n): (table[n, "theta"] - table[n, "theta_hydrus"]) for n in nodes}
    levels = read_levels(project.folder)
    until = table.index <= levels.index[-1]
    last = table.index[until][-1]
    whole = np.asarray(solution.times) <= last
    sums = {}
    for name, column in SUMS.items():
        if name in solution.fluxes:
            own = float((solution.fluxes[name][0] * solution.lengths)[whole].sum())
            sums[name] = {
                "pydiffgeo": own,
                "hydrus": abs(float(np.interp(last, levels.index, levels[column]))),
            }
    return {
        "theta": {
            n: {"rms": float(np.sqrt((x**2).mean())), "largest": float(x.abs().max())}
            for n, x in away.items()
        },
        "sums": sums,
        "until": float(last),
        "balance_error": float(solution.balance_error().max()),
        "cpu_seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--rtol", type=float, default=1e-3)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--json", type=Path, help="write the table there, too")
    options = parser.parse_args()
    found = {}
    for folder in options.folders:
        result = found[str(folder)] = compared(read_project(folder), options.rtol, options.engine)
        print(f"{folder}: to time {result['until']:g}, {result['cpu_seconds']:.1f} s of CPU")
        print(f"  balance error {result['balance_error']:.1e}")
        for node, x in result["theta"].items():  # type: ignore[attr-defined]
            print(
                f"  node {node:4d}   water content: RMS {x['rms']:.5f}, largest {x['largest']:.4f}"
            )
        for name, x in result["sums"].items():  # type: ignore[attr-defined]
            print(f"  {name:15s} {x['pydiffgeo']:10.4f}   HYDRUS {x['hydrus']:10.4f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
