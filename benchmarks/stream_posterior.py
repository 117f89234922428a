"""How well do records determine the parameters of a stream?

The eight parameters of air2stream for three Swiss rivers, and GPP, ER and K600 of a made-up stream
from its oxygen, by `pydiffgeo.posterior`: Laplace's approximation and, with --samples, NUTS of
pyro-ppl through the gradient of the solver. Errors are a first-order autoregression; priors are
flat within the bounds of the specification; of the Dischmabach, which they cut, in wider ones, too.
Prints tables and writes JSON.

    pip install pydiffgeo[posterior]
    python benchmarks/stream_posterior.py --data FOLDER --samples 300
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.data import derived, open_sites

F64 = torch.float64
HERE = Path(__file__).parent
RIVERS = {
    "mentue": "MAH_2369", "rhone": "SIO_2011", "dischmabach": "DAV_2327",
    "dischmabach_wide": "DAV_2327",
}  # fmt: skip
# bounds of the last one: beyond those of the papers, and beyond all that its record allows
WIDE = {
    "a1": (-5.0, 60.0), "a2": (0.0, 8.0), "a3": (0.0, 20.0), "a4": (-3.0, 1.0), "a6": (0.0, 45.0),
    "a8": (0.0, 8.0),
}  # fmt: skip
TRUTH = {"GPP": 4.0, "ER": -6.0, "K600": 12.0}
Case = tuple[pdg.Hybrid, pdg.Windows]


def river(folder: Path, name: str, engine: str) -> Case:
    """Return air2stream and the record of a station, by its name in `RIVERS`."""
    file = folder / "stream_temperature" / "air2stream_swiss_daily.csv"
    sites = open_sites(file, sites=[RIVERS[name]], options={"part": "calibration"}).load()
    sites = derived(sites, {"season": {}, "relative_discharge": {}})
    solver = pdg.Solver("implicit_euler", step=1.0)
    bounds = WIDE if name.endswith("_wide") else {}
    water = stages.Process("air2stream", solver=solver, engine=engine, bounds=bounds)
    windows = pdg.Windows(sites, warm_up=30, observed=["water_temperature"])
    return pdg.Hybrid(pdg.MLP(reads=(), hidden=()), water), windows


def twin(engine: str, days: int = 10, noise: float = 0.1, seed: int = 0) -> Case:
    """Return a made-up stream in half-hours with known GPP, ER and K600, and noisy oxygen."""
    g = torch.Generator().manual_seed(seed)
    t = torch.arange(1, 48 * days + 1, dtype=F64) / 48
    clouds = (0.5 + 0.5 * torch.rand(days, generator=g, dtype=F64)).repeat_interleave(48)
    forcing = {
        "light": 1600 * clouds * torch.sin(2 * math.pi * (t - 0.25)).clamp_min(0.0),
        "water_temperature": 15 + 3 * torch.sin(2 * math.pi * (t - 0.4)),
    }
    still = {"water_depth": 0.5, "pressure": 1000.0}  # m, hPa
    model, solver = pdg.StreamOxygen(), pdg.Solver("implicit_euler", step=1 / 48)
    known = TRUTH | {"mean_light": 382.0}
    made = pdg.solve(
        model, {k: v[None] for k, v in forcing.items()} | still, known, model.start({}),
        torch.arange(len(t) + 1, dtype=F64) / 48, solver, "torch",
    )  # fmt: skip
    oxygen = made.fluxes["dissolved_oxygen"][0]
    forcing["dissolved_oxygen"] = oxygen + noise * torch.randn(len(t), generator=g, dtype=F64)
    sites = xr.Dataset(
        {k: (("site", "time"), v[None].numpy()) for k, v in forcing.items()},
        {"site": ["twin"], "time": pd.date_range("2012-05-01", periods=len(t), freq="30min")},
    )
    water = stages.Process(
        "stream_oxygen", learn=list(TRUTH), forcing=still, given={"mean_light": 382.0},
        solver=solver, engine=engine,
    )  # fmt: skip
    windows = pdg.Windows(sites, warm_up=48, observed=["dissolved_oxygen"])
    return pdg.Hybrid(pdg.MLP(reads=(), hidden=()), water), windows


def told(found: pdg.Posterior) -> dict[str, dict[str, float]]:
    """Return mean, standard deviation, 95 % and convergence of each parameter."""
    out = {}
    for name, draws in found.draws.filter_by_attrs(role="parameter").items():
        row = {"mean": float(draws.mean()), "sd": float(draws.std(ddof=1))}
        row["low"], row["high"] = np.quantile(draws, [0.025, 0.975]).tolist()
        for measure in ("r_hat", "effective_size"):
            if measure in found.draws:
                row[measure] = float(found.draws[measure].sel(parameter=name).squeeze())
        out[str(name)] = row
    return out


def draw(results: dict[str, dict[str, Any]], folder: Path, file: Path) -> None:
    """Draw means and 95 % of the posteriors of rivers by NUTS beside the published parameters."""
    import matplotlib.pyplot as plt

    folder = folder / "stream_temperature"
    first = pd.read_csv(folder / "air2stream_published_ERL2015.csv")
    second = pd.read_csv(folder / "air2stream_published_HP2016_3rivers.csv")
    second = second[second.scheme == "CRN"]
    rivers = [k for k in RIVERS if "hmc" in results.get(k, {})]
    labels = [k.title().replace("_Wide", ",\nwide bounds") for k in rivers]
    figure, axes = plt.subplots(2, 4, figsize=(10, 4.5), sharey=True, layout="constrained")
    for k, ax in enumerate(axes.flat, 1):
        for y, name in enumerate(rivers):
            row, site = results[name]["hmc"][f"a{k}"], RIVERS[name]
            ax.plot([row["low"], row["high"]], [y, y], color="C0", lw=2, label="95 %")
            ax.plot(row["mean"], y, "o", color="C0", label="mean, NUTS")
            for table, mark, label in ((first, "x", "2015"), (second, "+", "2016")):
                one = table[(table.station == site) & (table.version == 8)]
                ax.plot(one[f"a{k}"], [y], mark, color="C1", ms=8, label=f"published ({label})")
        ax.set(title=f"a{k}", yticks=range(len(rivers)), yticklabels=labels)
        ax.margins(y=0.3)
        ax.locator_params(axis="x", nbins=4)
    handles, marks = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles[:4], marks[:4], loc="outside lower center", ncols=4)
    figure.savefig(file, dpi=120)


def main(arguments: list[str] | None = None) -> None:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE.parent / ".." / "shared" / "data")
    parser.add_argument("--cases", default=",".join([*RIVERS, "twin"]))
    parser.add_argument("--engine", default="auto", help="julia, torch, or the faster of them")
    parser.add_argument("--samples", type=int, default=0, help="draws of a chain of NUTS")
    parser.add_argument("--warm-up", type=int, default=200, help="draws of a chain before them")
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "stream_posterior.json")
    parser.add_argument("--figure", type=Path, help="of all rivers of --output that were sampled")
    given = parser.parse_args(arguments)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(given.output.read_text()) if given.output.exists() else {}
    for name in given.cases.split(","):
        twin_ = name == "twin"
        case = twin(given.engine) if twin_ else river(given.data, name, given.engine)
        results[name] = {}
        for method in ("laplace", *(["hmc"] if given.samples else [])):
            found = pdg.posterior(
                *case, method, correlated=True, samples=given.samples or 1000,
                warm_up=given.warm_up, chains=given.chains, predictive=0,
            )  # fmt: skip
            print(f"{name}: {found}")
            results[name] |= {method: told(found), f"{method}_seconds": found.draws.cpu_seconds}
            results[name]["correlation"] = float(found.draws.error_correlation.squeeze())
        given.output.write_text(json.dumps(results, indent=1))
    if given.figure:
        draw(results, given.data, given.figure)


if __name__ == "__main__":
    main()
