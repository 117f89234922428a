"""HYDRUS-1D projects rebuilt and compared with what HYDRUS printed.

    python benchmarks/hydrus_projects.py FOLDER [FOLDER ...] [--refine CELLS] [--tables]

What separates two codes is found with `--refine`, which cuts every cell in so many, and `--tables`,
which takes the curves of the soil from tables as HYDRUS does.

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
import torch
from torch import Tensor

from pydiffgeo import HYDRAULICS, Grid, Richards, Roots, Solver, UserHydraulics, solve
from pydiffgeo.hydrus import Project, read_levels, read_nodes, read_project

VanGenuchten = HYDRAULICS["van_genuchten"]
SUMS = {"drainage": "sum(vBot)", "transpiration": "sum(vRoot)", "evaporation": "sum(Evap)"}


def interpolated(psi: Tensor, p: dict[str, Tensor], which: int) -> Tensor:
    """Water content (0) or conductivity (1), linear in the head between 100 entries of a table that
    are equal in its logarithm, from 1e-6 to 1e4 cm: hTab1 and hTabN, as HYDRUS takes them where it
    is not told otherwise. The exact curve beyond them.
    """
    low, step = -6.0, 10.0 / 99
    entry = ((torch.log10((-psi.detach()).clamp(1e-6, 1e4)) - low) / step).floor().clamp(0, 98)
    left, right = -(10 ** (low + step * entry)), -(10 ** (low + step * (entry + 1)))
    exact = VanGenuchten()
    derived = exact.derive(dict(p))
    at, at_left, at_right = (exact.curves(x, derived)[which] for x in (psi, left, right))
    inside = (psi < -1e-6) & (psi > -1e4)
    return torch.where(inside, at_left + (at_right - at_left) * (psi - left) / (right - left), at)


def changed(project: Project, refine: int, tables: bool) -> tuple[Richards, Tensor]:
    """Return the model with every cell cut in `refine`, and the initial heads of its cells."""
    old, grid = project.model, project.model.grid
    faces = grid.faces.numpy()
    cut = [np.linspace(a, b, refine + 1)[:-1] for a, b in zip(faces[:-1], faces[1:], strict=True)]
    layers = grid.as_settings()["layers"]
    fine = Grid.from_faces(np.concatenate([*cut, faces[-1:]]), layers, grid.unit, grid.time_unit)
    hydraulics = old.hydraulics
    if tables:
        if type(hydraulics) is not VanGenuchten or grid.unit != "cm":
            raise SystemExit("--tables is for iModel 0 in cm.")
        curves = [lambda psi, p, i=i: interpolated(psi, p, i) for i in (0, 1)]
        hydraulics = UserHydraulics(*curves, parameters=VanGenuchten.parameters)
    roots = old.roots
    if roots is not None:
        roots = Roots(
            density=np.repeat(roots.density, refine).tolist(),
            demand_dependent=roots.demand_dependent,
            compensated=roots.compensated,
        )
    model = Richards(fine, hydraulics, old.top_name, old.bottom_name, roots)
    return model, project.initial_state.repeat_interleave(refine, -1)


def compared(
    project: Project, rtol: float, engine: str, refine: int, tables: bool
) -> dict[str, object]:
    """Differences at the observation nodes, and the sums of fluxes up to the last time that HYDRUS
    printed.
    """
    levels, nodes = read_levels(project.folder), read_nodes(project.folder)
    intervals = int((project.times[1:] <= levels.index[-1]).sum())
    whole = len(project.times) - 1
    model, initial = changed(project, refine, tables)
    begin = time.process_time()
    solution = solve(
        model,
        {k: x[:intervals] if x.shape == (whole,) else x for k, x in project.forcing.items()},
        {
            k: x[:, :intervals] if np.shape(x) == (1, whole) else x
            for k, x in project.parameters.items()
        },
        initial,
        project.times[: intervals + 1],
        Solver(rtol=rtol),
        engine,
    )
    seconds = time.process_time() - begin
    times = np.asarray(solution.times, dtype=float)
    heads = solution.states.detach()[..., -model.grid.cells :]  # a pond is before them
    soil = {k: project.parameters[k] for k in VanGenuchten.parameters if k in project.parameters}
    theta = model.water_content(heads, soil)[0].unflatten(-1, (-1, refine)).mean(-1).numpy()
    inside = (times >= nodes.index[0]) & (times <= nodes.index[-1])
    away = {
        cell + 1: theta[inside, cell]
        - np.interp(times[inside], nodes.index, nodes[cell + 1, "theta"])
        for cell in project.observed
    }
    sums = {}
    for name, column in SUMS.items():
        if name in solution.fluxes:
            own = float((solution.fluxes[name][0] * solution.lengths).sum())
            sums[name] = {
                "pydiffgeo": own,
                "hydrus": abs(float(np.interp(times[-1], levels.index, levels[column]))),
            }
    return {
        "theta": {
            n: {"rms": float(np.sqrt((x**2).mean())), "largest": float(np.abs(x).max())}
            for n, x in away.items()
        },
        "sums": sums,
        "until": float(times[-1]),
        "balance_error": float(solution.balance_error().max()),
        "cpu_seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--rtol", type=float, default=1e-3)
    parser.add_argument("--engine", default="auto", help="--tables needs torch")
    parser.add_argument("--refine", type=int, default=1, help="cells in place of one")
    parser.add_argument("--tables", action="store_true", help="curves from tables, as in HYDRUS")
    parser.add_argument("--json", type=Path, help="write the table there, too")
    options = parser.parse_args()
    found = {}
    for folder in options.folders:
        result = found[str(folder)] = compared(
            read_project(folder), options.rtol, options.engine, options.refine, options.tables
        )
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
