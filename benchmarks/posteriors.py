"""Posteriors of basins and of a soil: NUTS through the implicit solver, and what it finds.

* basins: the parameters of EXP-HYDRO or HBV, with those of the error model, of some basins by NUTS:
  R-hat, effective draws per CPU second, and the same with an explicit loop in the solver's place.
* twin: 90 % intervals of 200 made-up records of EXP-HYDRO: how often they hold the truth.
* loam: which van Genuchten parameters noisy soil moisture at two depths determines.

Prints tables and writes JSON and figures. `--short` takes a minute.

    python benchmarks/posteriors.py basins --model exp_hydro
    python benchmarks/posteriors.py twin --method hmc
    python benchmarks/posteriors.py loam
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.data import open_sites
from pydiffgeo.evaluation import new_figure, save_figure

HERE = Path(__file__).parent
BASINS = ("01022500", "03010655", "11264500")  # rain, rain and snow, snow
F64 = torch.float64
LOAM = {"theta_r": 0.078, "theta_s": 0.43, "alpha": 0.036, "n": 1.56, "K_s": 1.04}  # cm and h


class ExplicitLoop(stages.Stage):
    """A model by explicit Euler steps of a day in a Python loop, as published codes run it.

    The same equations and bounds; autograd goes through the loop, and stores that would be negative
    are set to zero.
    """

    gives = ("discharge",)

    def __init__(self, model: pdg.ProcessModel):
        super().__init__()
        self.model, learned = model, model.spec.parameters.items()
        self.learns = {name: pdg.Bounds.of(p) for name, p in learned if p.learn}
        self.begin = {name: p.default for name, p in learned if p.learn}
        names = {"temperature": "tair_mean"}
        self.series = {name: names.get(name, name) for name in model.spec.forcings}
        self.reads = tuple(self.series.values())

    def forward(self, series, parameters, batch):
        forcing = {k: series[v].to(F64).unbind(1) for k, v in self.series.items()}
        p = {k: parameters[k].to(F64) for k in self.learns}
        p = {k: q.default * torch.ones(len(batch), dtype=F64)
             for k, q in self.model.spec.parameters.items()} | p  # fmt: skip
        first = self.model.start({k: v.detach() for k, v in p.items()})
        state = torch.stack([first[k] * torch.ones(len(batch), dtype=F64)
                             for k in self.model.spec.states], -1)  # fmt: skip
        place, found = list(self.model.spec.fluxes).index("discharge"), []
        for day in range(series[self.reads[0]].shape[1]):
            now = {k: v[day] for k, v in forcing.items()}
            found.append(self.model.fluxes(state, now, p)[..., place])
            state = (state + self.model.rates(state, now, p)).clamp_min(0.0)
        return {"discharge": torch.stack(found, 1)}


class Spring(stages.Stage):
    """Flow that is always there, so that no noisy observation of a small flow is negative."""

    reads = gives = ("discharge",)

    def __init__(self, flow: float):
        super().__init__()
        self.flow = flow

    def forward(self, series, parameters, batch):
        return {"discharge": series["discharge"] + self.flow}


def basins(given: argparse.Namespace) -> dict[str, object]:
    """Sample some basins by NUTS through the implicit solver, and through an explicit loop."""
    file = given.data / "camels_us_daymet_500.nc"
    names = given.basins.split(",")
    sites = open_sites(file, sites=names, derive={"potential_evapotranspiration": "oudin"})
    start = pd.Timestamp("1990-10-01")
    end = start + pd.Timedelta(given.days - 1, "D")
    sites = sites.sel(time=slice(start - pd.Timedelta(365, "D"), end)).load()
    windows = pdg.Windows(sites, warm_up=365, dtype=F64, attributes=[], observed=["discharge"])
    first = {
        "implicit": stages.Process(given.model, pdg.Solver("implicit_euler", step=1.0)),
        "explicit": ExplicitLoop(pdg.MODELS[given.model]()),
    }
    found: dict[str, object] = {}
    for kind in given.solvers.split(","):
        hybrid = pdg.Hybrid(pdg.MLP(reads=(), hidden=()), first[kind], stages.ErrorModel())
        result = pdg.posterior(
            hybrid, windows, "hmc", samples=given.samples, warm_up=given.warm_up,
            chains=given.chains, predictive=0,
        )  # fmt: skip
        seconds = result.draws.attrs["cpu_seconds"]
        sizes = result.draws["effective_size"].min("parameter").values
        row = {
            "r_hat": result.draws["r_hat"].max("parameter").values.tolist(),
            "effective_draws": sizes.tolist(),
            "cpu_seconds": seconds,
            "effective_per_cpu_second": float(sizes.sum() / seconds),
            "parameters": result.summary.to_dict("records"),
        }
        found[kind] = row
        print(f"{given.model}, {kind}: R-hat {np.round(row['r_hat'], 3)}, fewest effective draws "
              f"{np.round(sizes)}, {row['effective_per_cpu_second']:.3g} a CPU second "
              f"({seconds:.0f} s)", flush=True)  # fmt: skip
        print(result.summary.round(4).to_string(index=False), flush=True)
    return found


def twin(given: argparse.Namespace) -> dict[str, object]:
    """Return how often 90 % intervals hold the truth, over made-up records of EXP-HYDRO."""
    count, days, noise = given.twins, 365, 0.2
    random = np.random.default_rng(0)
    season = np.sin(np.arange(days) / 58.0)
    dims = ("site", "time")
    sites = xr.Dataset(
        {
            "precipitation": (dims, random.gamma(0.3, 12.0, (count, days)), {"units": "mm d-1"}),
            "tair_mean": (dims, 10 + 10 * season + random.normal(0, 3, (count, days)),
                          {"units": "degC"}),
            "potential_evapotranspiration": (
                dims, np.tile(2 + 1.5 * season, (count, 1)), {"units": "mm d-1"}),
        },
        {"site": [f"t{k}" for k in range(count)],
         "time": pd.date_range("2000-01-01", periods=days)},
    )  # fmt: skip
    learn, spec = ["f", "S_max", "Q_max"], pdg.ExpHydro().spec.parameters
    truth = {}
    for name in learn:  # drawn from the prior, so that intervals are right in the mean
        bounds = pdg.Bounds.of(spec[name])
        share = torch.tensor(random.uniform(size=count))
        truth[name] = bounds.to_physical(torch.logit(share, eps=1e-3)).numpy()
    process = stages.Process("exp_hydro", pdg.Solver("implicit_euler", step=1.0), learn=learn)
    made = process, Spring(5 * noise)
    table = pdg.Hybrid(pdg.Table(sites.site.values), *made, dtype=F64).prepare(sites)
    for k, site in enumerate(sites.site.values):
        table.network.set(str(site), {name: float(v[k]) for name, v in truth.items()})
    flow = pdg.simulate(table, sites, warm_up=0, also=["discharge"])["discharge"].values
    flow = flow + noise * random.normal(size=flow.shape)
    sites["discharge"] = dims, flow, {"units": "mm d-1"}
    windows = pdg.Windows(sites, warm_up=0, dtype=F64, attributes=[])
    hybrid = pdg.Hybrid(pdg.MLP(reads=(), hidden=()), *made)
    options = {"samples": 500, "chains": 1}
    if given.method == "hmc":
        options = {"samples": given.samples, "warm_up": given.warm_up, "chains": given.chains}
    result = pdg.posterior(hybrid, windows, given.method, noise=noise, predictive=0, **options)
    ends = result.draws.quantile([0.05, 0.95], ("chain", "draw"))
    inside = {
        name: float(((ends[name][0] <= v) & (v <= ends[name][1])).mean())
        for name, v in truth.items()
    }
    seconds = result.draws.attrs["cpu_seconds"]
    told = ", ".join(f"{name} {share:.3f}" for name, share in inside.items())
    worst = (
        result.draws["r_hat"].max("parameter").values if given.method == "hmc" else np.array(1.0)
    )
    print(f"twin of {count} by {given.method}: inside 90 % intervals {told}; {seconds:.0f} CPU s; "
          f"R-hat above 1.01 in {(worst > 1.01).sum()}, above 1.05 in {(worst > 1.05).sum()}",
          flush=True)  # fmt: skip
    return {"inside": inside, "count": count, "cpu_seconds": seconds, "r_hat": worst.tolist()}


def loam(given: argparse.Namespace) -> dict[str, object]:
    """Find which parameters of a loam two noisy probes determine, and draw their correlation."""
    days, noise, depths = given.days, 0.01, [0.1, 0.4]
    random = np.random.default_rng(1)
    dims = ("site", "time")
    rain = np.where(random.random((1, days)) < 0.3, random.gamma(0.8, 12.0, (1, days)), 0.0)
    sites = xr.Dataset(
        {
            "precipitation": (dims, rain, {"units": "mm d-1"}),
            "evaporation": (dims, np.full((1, days), 1.0), {"units": "mm d-1"}),
            "transpiration": (dims, np.full((1, days), 2.5), {"units": "mm d-1"}),
        },
        {"site": ["loam"], "time": pd.date_range("2001-04-01", periods=days), "depth": depths},
    )  # fmt: skip
    sites["soil_moisture"] = (*dims, "depth"), np.full((1, days, 2), 0.2), {"units": "m3 m-3"}
    grid = pdg.Grid.graded(80.0, 10, 4.0)
    model = pdg.Richards(grid, bottom="free_drainage", roots=pdg.Roots("exponential"))
    forcing = {"rain": "precipitation", "potential_evaporation": "evaporation",
               "potential_transpiration": "transpiration"}  # fmt: skip
    learn = list(LOAM)
    process = stages.Process(
        model, pdg.Solver("implicit_euler", rtol=1e-2), learn=learn, soil="loam", start=-200.0,
        forcing=forcing,
    )  # fmt: skip
    table = pdg.Hybrid(pdg.Table(["loam"]), process, stages.Probes(), dtype=F64).prepare(sites)
    table.network.set("loam", LOAM)
    made = pdg.simulate(table, sites, warm_up=0)["soil_moisture"].values
    made = made + noise * random.normal(size=made.shape)
    sites["soil_moisture"] = sites.soil_moisture.copy(data=made)
    windows = pdg.Windows(sites, dtype=F64, attributes=[])
    hybrid = pdg.Hybrid(pdg.MLP(reads=(), hidden=()), process, stages.Probes())
    result = pdg.posterior(
        hybrid, windows, noise=noise, samples=2000, chains=1, predictive=0, starts=1
    )
    table = result.summary.assign(truth=[LOAM[name] for name in result.summary["parameter"]])
    bounds = [process.learns[name] for name in table["parameter"]]
    table["prior_width"] = [b.at(0.95) - b.at(0.05) for b in bounds]  # of 90 %
    print(table.round(4).to_string(index=False), flush=True)
    correlation = result.correlation()
    print(correlation.round(2).to_string(), flush=True)
    draw(correlation, given.output / "loam_correlation.png")
    seconds = result.draws.attrs["cpu_seconds"]
    print(f"{seconds:.0f} CPU s", flush=True)
    return {"table": table.to_dict("records"), "correlation": correlation.to_dict(),
            "cpu_seconds": seconds}  # fmt: skip


def draw(correlation: pd.DataFrame, path: Path) -> None:
    """Draw the correlation of draws of a posterior."""
    figure, [[axis]] = new_figure(1, 1, (4.6, 3.8))
    image = axis.imshow(correlation, cmap="RdBu", vmin=-1, vmax=1)
    names = list(correlation)
    axis.set_xticks(range(len(names)), names)
    axis.set_yticks(range(len(names)), names)
    for i in range(len(names)):
        for j in range(len(names)):
            axis.text(j, i, f"{correlation.iloc[i, j]:.2f}", ha="center", va="center", fontsize=8)
    figure.colorbar(image, label="correlation of the posterior")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, path)


QUESTIONS = {"basins": basins, "twin": twin, "loam": loam}


def main(arguments: list[str] | None = None) -> None:
    """Answer a question, print it, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question", choices=QUESTIONS)
    parser.add_argument("--data", type=Path, default=HERE.parent / ".." / "shared" / "data")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    parser.add_argument("--model", default="exp_hydro", choices=("exp_hydro", "hbv"))
    parser.add_argument("--solvers", default="implicit,explicit")
    parser.add_argument("--basins", default=",".join(BASINS), help="their names")
    parser.add_argument("--days", type=int, default=730)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--warm-up", type=int, default=150)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--twins", type=int, default=200)
    parser.add_argument("--method", default="laplace", choices=("laplace", "hmc"), help="of twins")
    parser.add_argument("--short", action="store_true", help="a minute, whatever else is given")
    given = parser.parse_args(arguments)
    if given.short:
        given.basins, given.days, given.samples, given.warm_up = BASINS[0], 60, 10, 5
        given.chains, given.twins = 1, 10
    found = QUESTIONS[given.question](given)
    given.output.mkdir(parents=True, exist_ok=True)
    name = f"posteriors_{given.question}"
    name += {"basins": f"_{given.model}", "twin": f"_{given.method}"}.get(given.question, "")
    (given.output / f"{name}.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
