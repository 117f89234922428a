"""What does a leaf cost: the coupled solve of assimilation and stomata, and its gradient?

`Photosynthesis` in `solve`, each leaf of the batch with light, warmth, air and traits of its own:
forward, and forward with the gradient of the mean square of assimilation to V_cmax25, g1 and the
stress of every leaf, in microseconds of CPU time per leaf on one thread, on both engines, and with
`Solver(compile=True)` (its first run, which does not count, compiles for a minute). Beside it the
code of Aboelyazeed et al. (2023), doi:10.5194/bg-20-2671-2023, whose gradient to V_cmax25 and
stress goes through the iterations of Newton's method (--diffecosys: a checkout of
github.com/hydroPKDN/diffEcosys), and assimilation at a known CO2 between the cells, where nothing
is solved, by this package and by PhoTorch (pip install photorch). Every case runs in a process of
its own; the least of some runs. Prints a table and writes JSON.

    python benchmarks/leaves.py --diffecosys FOLDER
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from alone import measure_all
from rich.console import Console
from rich.table import Table
from richards_peers import HERE, Record
from torch import Tensor

from pydiffgeo import Photosynthesis, Solver, solve

F64 = torch.float64
JULIA, TORCH, COMPILED, THEIRS = "julia", "torch", "torch, compiled", "diffEcosys"
JULIA_CI, TORCH_CI, PHOTORCH = "julia, given Ci", "torch, given Ci", "PhoTorch, given Ci"
BATCHES = {
    JULIA: (100, 1_000, 10_000, 100_000, 1_000_000),
    TORCH: (100, 1_000, 10_000, 100_000, 1_000_000),
    COMPILED: (100, 1_000, 10_000, 100_000, 1_000_000),
    THEIRS: (100, 1_000, 10_000, 100_000),
    JULIA_CI: (100, 10_000, 1_000_000),
    TORCH_CI: (100, 10_000, 1_000_000),
    PHOTORCH: (100, 10_000),
}
SMALL = {JULIA: (100,), TORCH: (100,)}
RANGES = {
    "par": (0.0, 2000.0), "leaf_temperature": (5.0, 40.0), "vapour_pressure_deficit": (0.2, 4.0),
    "co2": (300.0, 500.0), "pressure": (8e4, 1.02e5), "boundary_layer_conductance": (0.5, 3.0),
    "soil_water_stress": (0.2, 1.0), "intercellular_co2": (50.0, 1500.0),
    "V_cmax25": (20.0, 120.0), "g1": (2.0, 6.0),
}  # fmt: skip


def drawn(name: str, *shape: int, seed: int = 0) -> Tensor:
    """Return numbers of a range, the same for every engine."""
    generator = torch.Generator().manual_seed(seed + sum(map(ord, name)))
    low, high = RANGES[name]
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=F64)


def timed(run: Callable[[bool], Tensor], repeats: int) -> Record:
    """CPU seconds of run(False), and of run(True) with the gradient of its mean square."""
    forward = gradient = float("inf")
    for _ in range(repeats + 1):  # the first compiles
        begin = time.process_time()
        with torch.no_grad():
            run(False)
        forward = min(forward, time.process_time() - begin)
        begin = time.process_time()
        found = run(True)
        found.square().mean().backward()
        gradient = min(gradient, time.process_time() - begin)
    return {"forward": forward, "gradient": gradient, "mean": float(found.detach().mean())}


def package(case: str, leaves: int) -> Callable[[bool], Tensor]:
    """Assimilation by this package, in a batch of leaves."""
    engine, given_ci = case.split(",")[0], case.endswith("given Ci")
    solver = Solver(compile=case == COMPILED)
    model = Photosynthesis(stomata="measured_ci" if given_ci else "medlyn")
    forcing = {k: drawn(k, leaves, 1) for k in model.spec.forcings}
    learned = [k for k in ("V_cmax25", "g1") if k in model.spec.parameters]
    parameters: dict[str, Any] = {k: s.default for k, s in model.spec.parameters.items()}
    parameters |= {k: drawn(k, leaves) for k in learned}

    def run(gradient: bool) -> Tensor:
        for values in (forcing, parameters):
            for k in ("V_cmax25", "g1", "soil_water_stress"):
                if k in values:
                    values[k] = values[k].detach().requires_grad_(gradient)
        found = solve(model, forcing, parameters, 300.0, [0.0, 1.0], solver, engine=engine)
        assert not found.failed
        return found.fluxes["assimilation"]

    return run


def diffecosys(leaves: int, folder: str) -> Callable[[bool], Tensor]:
    """Assimilation by the code of the paper, which takes CO2 at the surface and float32."""
    import numpy as np
    import pandas as pd

    sys.path.insert(0, folder)
    from auxiliary_fn.Functions_FatesModel import get_data
    from auxiliary_fn.predict import predict

    names = {"CO2S": "co2", "Tleaf": "leaf_temperature", "Tair": "leaf_temperature",
             "VPD": "vapour_pressure_deficit", "PARin": "par", "medslope": "g1",
             "BLCond": "boundary_layer_conductance"}  # fmt: skip
    table = pd.DataFrame({k: drawn(name, leaves).numpy() for k, name in names.items()})
    table["Patm"], table["RH"], table["LAI"] = drawn("pressure", leaves).numpy() / 1e3, 0.6, 1.0
    table["Pathway"] = np.full(leaves, "C3")
    forcing = get_data(table)
    capacity, stress = (drawn(k, leaves).float() for k in ("V_cmax25", "soil_water_stress"))

    def run(gradient: bool) -> Tensor:
        with torch.enable_grad():  # their Newton iterations need it
            p = [x.detach().requires_grad_(gradient) for x in (capacity, stress)]
            found: Tensor = predict(forcing, *p)[0]
            return found

    return run


def photorch(leaves: int) -> Callable[[bool], Tensor]:
    """Assimilation by PhoTorch, in curves of ten points."""
    import pandas as pd
    from photorch import fvcb

    table = pd.DataFrame({
        "CurveID": torch.arange(leaves) // 10, "FittingGroup": 1, "A": 10.0,
        "Ci": drawn("intercellular_co2", leaves), "Qin": drawn("par", leaves),
        "Tleaf": drawn("leaf_temperature", leaves),
    })  # fmt: skip
    model = fvcb.model(
        fvcb.initLicordata(table, preprocess=False, printout=False),
        LightResp_type=1, TempResp_type=2, printout=False,
    )  # fmt: skip
    return lambda gradient: model()[0]


def measure_one(request: Record) -> Record:
    """Measure one case in this process."""
    torch.set_num_threads(1)
    case, leaves = request["case"], request["leaves"]
    if case == THEIRS:
        run = diffecosys(leaves, request["diffecosys"])
    elif case == PHOTORCH:
        run = photorch(leaves)
    else:
        run = package(case, leaves)
    found = timed(run, request["repeats"])
    return {
        "forward_us": 1e6 * found["forward"] / leaves,
        "gradient_us": 1e6 * found["gradient"] / leaves,
        "mean_assimilation": found["mean"],
    }


def requests(arguments: argparse.Namespace) -> Iterator[Record]:
    """All cases that are asked for."""
    for case, batches in (SMALL if arguments.small else BATCHES).items():
        if arguments.only not in case or (case == THEIRS and not arguments.diffecosys):
            continue
        for leaves in batches:
            repeats = 1 if arguments.small else arguments.repeats
            folder = str(arguments.diffecosys.resolve()) if arguments.diffecosys else ""
            yield {"case": case, "leaves": leaves, "repeats": repeats, "diffecosys": folder}


def show(records: list[Record]) -> None:
    """The table."""
    table = Table(title="Leaves: CPU microseconds per leaf, one thread")
    for heading in ("case", "leaves", "forward", "with gradient", "mean assimilation"):
        table.add_column(heading, justify="left" if heading == "case" else "right")
    for r in records:
        if "status" in r:
            table.add_row(r["case"], str(r["leaves"]), str(r["status"])[:60])
            continue
        numbers = (r["forward_us"], r["gradient_us"], r["mean_assimilation"])
        table.add_row(r["case"], str(r["leaves"]), *(f"{x:.3g}" for x in numbers))
    Console(width=120).print(table)


def main(given: list[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--diffecosys", type=Path, help="folder of the code of the paper")
    parser.add_argument("--repeats", type=int, default=5, help="runs, of which the least counts")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds a process may take")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--small", action="store_true", help="a hundred leaves, once")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "leaves.json")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args(given)
    if arguments.one:
        print(json.dumps(measure_one(json.loads(arguments.one))))
        return
    show(measure_all(__file__, requests(arguments), arguments.limit, arguments.output))


if __name__ == "__main__":
    main()
