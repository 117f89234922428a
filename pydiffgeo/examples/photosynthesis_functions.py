"""Can a network find how stomata and roots work, from assimilation alone? A twin experiment.

    python photosynthesis_functions.py            # 400 made-up leaves, half a minute of one core

Assimilation is simulated with Medlyn's stomata and with soil that dries by the formula of FATES;
noise is added. Then a network takes the place of one formula, begins anywhere, and is trained on
assimilation, together with V_cmax25. docs/learned_photosynthesis.md says what came out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

import pydiffgeo as pdg
from pydiffgeo import losses, stages
from pydiffgeo.evaluation import new_figure, print_table, save_figure

F64 = torch.float64
V, B, NOISE = 60.0, 0.35, 0.025  # umol m-2 s-1; 1; in parts of the mean assimilation
OPEN, CLOSED = -66000.0, -255000.0  # mm
LOSS = losses.MSE("assimilation")
LABELS = {
    "stomata": ("vapour pressure deficit (kPa)", "slope of the stomata"),
    "stress": ("wetness of the soil", "share of the demand that roots find"),
}


def leaves(count: int, seed: int) -> xr.Dataset:
    """Return made-up weather and soil of leaves, a site each."""
    random = np.random.default_rng(seed)
    ranges = {
        "par": (300.0, 1800.0, "umol m-2 s-1"),
        "leaf_temperature": (15.0, 33.0, "degC"),
        "vapour_pressure_deficit": (0.3, 4.0, "kPa"),
        "co2": (330.0, 430.0, "umol mol-1"),
        "soil_wetness": (0.15, 1.0, "1"),
        "assimilation": (0.0, 1.0, "umol m-2 s-1"),  # until it is simulated
    }
    series = {
        name: (("site", "point"), random.uniform(low, high, (count, 1)), {"units": unit})
        for name, (low, high, unit) in ranges.items()
    }
    return xr.Dataset(series, {"site": [f"leaf {k}" for k in range(count)]})


def made(case: str, closure: bool, seed: int) -> pdg.Hybrid:
    """Return the hybrid by the formulas, or with a network in the place of that of a case."""
    # Julia would take longer to start than a few hundred leaves take
    options: dict[str, Any] = {"engine": "torch"}
    if closure and case == "stomata":
        shape = {"hidden": [8], "initial": "random", "monotone_in": [0], "seed": seed}
        options["closures"] = {"stomata": shape}
    forcing: dict[str, str | float] = {"pressure": 101325.0, "boundary_layer_conductance": 2.0}
    if case == "stomata":
        forcing["soil_water_stress"] = 1.0
    leaf = stages.Process("photosynthesis", learn=("V_cmax25",), forcing=forcing, **options)
    soil: list[stages.Stage] = []
    if case == "stress":
        shape = {"output_range": (0.0, 1.0), "monotone_in": (0,), "seed": seed}
        network = pdg.NeuralClosure(1, (8,), **shape) if closure else None  # type: ignore[arg-type]
        exponent = None if closure else B
        soil = [stages.SoilWaterStress("soil_wetness", (1.0,), OPEN, CLOSED, B=exponent,
                                       closure=network)]  # fmt: skip
    constant = pdg.MLP(reads=(), hidden=())  # one V_cmax25 for all
    return pdg.Hybrid(constant, *soil, leaf, dtype=F64)


def learned(case: str, sites: xr.Dataset, seed: int = 0) -> tuple[pd.DataFrame, float]:
    """Return a formula and the network in its place, over what they read; and V_cmax25."""
    truth, hybrid = (made(case, closure, seed).prepare(sites) for closure in (False, True))
    windows = pdg.Windows(sites, dtype=F64)
    batch = next(windows.reading(hybrid.reads, [LOSS.observed], ()).periods(len(sites.site)))
    with torch.no_grad():
        right = torch.full((len(batch), 1), V, dtype=F64)
        target = truth.run(batch, {"V_cmax25": right})["assimilation"]
    random = torch.Generator().manual_seed(seed)
    error = NOISE * target.mean() * torch.randn(target.shape, generator=random, dtype=F64)
    seen = {"assimilation": target + error}

    def value() -> Tensor:
        optimiser.zero_grad()
        found = LOSS(hybrid(batch), seen, batch)
        found.backward()
        return found

    optimiser = torch.optim.LBFGS(
        hybrid.parameters(), max_iter=200, history_size=20, line_search_fn="strong_wolfe"
    )
    optimiser.step(value)
    with torch.no_grad():
        v = float(hybrid.parameters_of(batch)["V_cmax25"][0, 0])
        table = compared(case, hybrid)
    return table, v


def compared(case: str, hybrid: pdg.Hybrid) -> pd.DataFrame:
    """Return formula and network over what they read."""
    stage: Any = hybrid.stages[0]
    if case == "stomata":
        over = torch.linspace(0.4, 3.9, 36, dtype=F64)
        humidity = 1 / (1 + over)  # what the slot reads
        formula = pdg.Photosynthesis().formula("stomata")(humidity)
        network = stage.closures["stomata"](humidity)
    else:
        over = torch.linspace(0.2, 0.95, 36, dtype=F64)
        numbers = (torch.tensor(value, dtype=F64) for value in (B, OPEN, CLOSED, OPEN))
        formula, network = stages.wilting_factor(over, *numbers), stage.closure(over)
    return pd.DataFrame({"over": over, "formula": formula, "learned": network})


def draw(tables: dict[str, pd.DataFrame], path: Path) -> None:
    """Draw formulas and what was learned in their places."""
    figure, axes = new_figure(1, 2, (8.0, 3.2))
    for axis, (case, table) in zip(axes[0], tables.items(), strict=True):
        axis.plot(table["over"], table["formula"], color="0.7", linewidth=4, label="formula")
        axis.plot(table["over"], table["learned"], label="learned")
        axis.set(xlabel=LABELS[case][0], ylabel=LABELS[case][1])
        axis.legend(fontsize=8)
    save_figure(figure, path)


def main() -> None:
    """Read arguments, learn both functions, and draw them."""
    read = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    read.add_argument("--output", type=Path, default=Path("runs/photosynthesis_functions"))
    read.add_argument("--leaves", type=int, default=400)
    read.add_argument("--seed", type=int, default=0)
    given = read.parse_args()
    torch.set_num_threads(1)
    sites = leaves(given.leaves, given.seed)
    tables, rows = {}, []
    for case in LABELS:
        tables[case], v = learned(case, sites, given.seed)
        error = 100 * (tables[case]["learned"] / tables[case]["formula"] - 1).abs()
        row = {"function": case, "median_error": error.median(), "largest_error": error.max()}
        rows.append(row | {"error_of_V": 100 * abs(v / V - 1)})
    print_table(rows, "Errors in percent")
    for case, table in tables.items():
        given.output.mkdir(parents=True, exist_ok=True)
        table.to_csv(given.output / f"{case}.csv", index=False)
    draw(tables, given.output / "functions.png")


if __name__ == "__main__":
    main()
