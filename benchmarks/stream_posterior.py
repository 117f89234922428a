"""How well do records determine the parameters of a stream?

The eight parameters of air2stream for three Swiss rivers, and GPP, ER and K600 of a made-up stream
from its oxygen: where the likelihood is largest, standard errors from its curvature there, and,
with --samples, a sample of the posterior by NUTS of pyro-ppl through the gradient of the solver.
Errors are a first-order autoregression; priors are flat within the bounds of the specification.
Prints a table and writes JSON.

    pip install pydiffgeo[posterior]
    python benchmarks/stream_posterior.py --data FOLDER --samples 300
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

import pydiffgeo as pdg
from pydiffgeo.data import derived, open_sites

F64 = torch.float64
HERE = Path(__file__).parent
RIVERS = {"mentue": "MAH_2369", "rhone": "SIO_2011", "dischmabach": "DAV_2327"}


@dataclass
class Case:
    """A model, its forcing [1, step], what is observed [step], and the parameters looked for."""

    model: pdg.ProcessModel
    forcing: dict[str, Tensor]
    observed: Tensor
    output: str
    names: list[str]
    given: dict[str, float]
    step: float
    told: dict[str, float]

    def bounds(self, name: str) -> pdg.Bounds:
        """Return the bounds of a parameter."""
        return pdg.Bounds.of(self.model.spec.parameters[name])

    def physical(self, x: Tensor) -> dict[str, Tensor]:
        """Return parameters [column] from unbounded numbers [column, parameter]."""
        return {n: self.bounds(n).to_physical(v) for n, v in zip(self.names, x.T, strict=True)}

    def residuals(self, x: Tensor) -> Tensor:
        """Return simulated less observed [column, step] at unbounded numbers [column, name]."""
        count = len(self.observed)
        times = torch.arange(count + 1, dtype=F64) * self.step
        p = self.physical(x) | {
            k: torch.full((len(x),), v, dtype=F64) for k, v in self.given.items()
        }
        begin = self.model.start({k: v.detach() for k, v in p.items()})
        solver = pdg.Solver("implicit_euler", step=self.step)
        s = pdg.solve(self.model, self.forcing, p, begin, times, solver, "torch")
        return s.fluxes[self.output] - self.observed

    def minus_log(self, x: Tensor, rho: float, spread: float) -> Tensor:
        """Return minus the logarithm of the posterior of unbounded numbers [..., parameter],
        summed over sets of them.
        """
        r = self.residuals(x.reshape(-1, x.shape[-1]))
        misfit = 0.5 * (innovations(r, rho) / spread).square().sum()
        return misfit - (logsigmoid(x) + logsigmoid(-x)).sum()


def innovations(r: Tensor, rho: float) -> Tensor:
    """Return what is new in residuals [..., step], where two steps in turn are observed."""
    e = r[..., 1:] - rho * r[..., :-1]
    return e[..., torch.isfinite(e).reshape(-1, e.shape[-1]).all(0)]


def river(folder: Path, station: str) -> Case:
    """Return air2stream and the record of a station."""
    file = folder / "stream_temperature" / "air2stream_swiss_daily.csv"
    sites = open_sites(file, sites=[station], options={"part": "calibration"}).load()
    sites = derived(sites, {"season": {}, "relative_discharge": {}})
    names = {"temperature": "tair_mean", "relative_discharge": "relative_discharge",
             "year_fraction": "year_fraction"}  # fmt: skip
    forcing = {k: torch.tensor(sites[v].values, dtype=F64) for k, v in names.items()}
    observed = torch.tensor(sites.water_temperature.values[0], dtype=F64)
    observed[:30] = torch.nan
    model = pdg.Air2Stream()
    wanted = [k for k, p in model.spec.parameters.items() if p.learn]
    return Case(model, forcing, observed, "water_temperature", wanted, {}, 1.0, {})


def twin(days: int = 10, noise: float = 0.1, seed: int = 0) -> Case:
    """Return a made-up stream in half-hours with known GPP, ER and K600, and noisy oxygen."""
    g = torch.Generator().manual_seed(seed)
    t = torch.arange(1, 48 * days + 1, dtype=F64) / 48
    clouds = (0.5 + 0.5 * torch.rand(days, generator=g, dtype=F64)).repeat_interleave(48)
    forcing = {
        "light": (1600 * clouds * torch.sin(2 * math.pi * (t - 0.25))).clamp_min(0.0)[None],
        "water_temperature": (15 + 3 * torch.sin(2 * math.pi * (t - 0.4)))[None],
        "water_depth": torch.full((1, len(t)), 0.5, dtype=F64),
        "pressure": torch.full((1, len(t)), 1000.0, dtype=F64),
    }
    truth = {"GPP": 4.0, "ER": -6.0, "K600": 12.0}
    model = pdg.StreamOxygen()
    case = Case(model, forcing, torch.zeros(len(t), dtype=F64), "dissolved_oxygen", list(truth),
                {"mean_light": 382.0}, 1 / 48, truth)  # fmt: skip
    x = torch.stack([case.bounds(k).from_physical(torch.tensor(v, dtype=F64))
                     for k, v in truth.items()])  # fmt: skip
    made = case.residuals(x[None])[0].detach()
    case.observed = made + noise * torch.randn(len(t), generator=g, dtype=F64)
    case.observed[:48] = torch.nan
    return case


def curvature(case: Case, x: Tensor, rho: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return residuals at x, and innovations and their slopes by differences of one batch."""
    eps, identity = 1e-4, torch.eye(len(x), dtype=F64)
    moved = case.residuals(x + eps * torch.cat([torch.zeros(1, len(x)), identity])).detach()
    e = innovations(moved, rho)
    return moved[0], e[0], ((e[1:] - e[0]) / eps).T


def informed(x: Tensor, slopes: Tensor, spread: float) -> Tensor:
    """Return the curvature of the posterior; that of the flat prior on the unbounded scale keeps
    what is not determined.
    """
    share = torch.sigmoid(x)
    return slopes.T @ slopes / spread**2 + torch.diag(2 * share * (1 - share))


def best(case: Case, rounds: int = 25) -> tuple[Tensor, Tensor, float, float]:
    """Return where the posterior is largest, its covariance, and correlation and spread of errors.

    Gauss-Newton steps with shrinking damping; then, with the errors of these, L-BFGS along what is
    hardly determined.
    """
    defaults = [case.model.spec.parameters[n].default for n in case.names]
    begin = torch.tensor(defaults, dtype=F64)
    raw = [case.bounds(n).from_physical(v) for n, v in zip(case.names, begin, strict=True)]
    x, damping = torch.stack(raw).clamp(-3, 3), 1.0
    rho, r = 0.0, case.residuals(x[None])[0].detach()

    def cost(r: Tensor, x: Tensor) -> float:
        e = innovations(r, rho)
        flat = (logsigmoid(x) + logsigmoid(-x)).sum()
        return float(0.5 * len(e) * e.square().mean().log() - flat)

    for k in range(rounds):
        known = torch.isfinite(r[1:] + r[:-1])
        if k >= rounds // 2:
            rho = float((r[1:] * r[:-1])[known].sum() / r[:-1][known].square().sum())
        r, e, slopes = curvature(case, x, rho)
        spread = float(e.square().mean().sqrt())
        whole = informed(x, slopes, spread)
        down = slopes.T @ e / spread**2 + 2 * torch.sigmoid(x) - 1
        for _ in range(8):
            trial = x - torch.linalg.solve(whole + damping * torch.diag(whole.diag()), down)
            new = case.residuals(trial[None])[0].detach()
            if cost(new, trial) <= cost(r, x):
                x, r, damping = trial, new, damping / 4
                break
            damping *= 4
    root = torch.linalg.inv(torch.linalg.cholesky(whole)).T
    z = torch.zeros(len(x), dtype=F64, requires_grad=True)
    search = torch.optim.LBFGS([z], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        search.zero_grad()
        value = case.minus_log(x + root @ z, rho, spread)
        value.backward()
        return value

    search.step(closure)
    x = (x + root @ z).detach()
    _, _, slopes = curvature(case, x, rho)
    return x, torch.linalg.inv(informed(x, slopes, spread)), rho, spread


def sample(
    case: Case,
    x: Tensor,
    covariance: Tensor,
    errors: tuple[float, float],
    count: int,
    warm_up: int,
    chains: int,
) -> Tensor:
    """Return chains [chain, draw, parameter] of the posterior by NUTS, with errors as `best` says.

    They move in units of the covariance, and begin at points drawn with twice that. All are one
    batch of the solver: NUTS samples the product of their posteriors, where they are independent,
    and its trajectories have one step and one length for all.
    """
    from pyro.infer import MCMC, NUTS

    root = torch.linalg.cholesky(covariance)

    def potential(z: dict[str, Tensor]) -> Tensor:
        return case.minus_log(x + z["z"] @ root.T, *errors)

    torch.manual_seed(0)
    kernel = NUTS(potential_fn=potential, max_tree_depth=6, adapt_mass_matrix=False)
    start = {"z": 2**0.5 * torch.randn(chains, len(x), dtype=F64)}
    run = MCMC(kernel, count, warm_up, initial_params=start, disable_progbar=True)
    run.run()
    return (x + run.get_samples()["z"] @ root.T).transpose(0, 1)


def convergence(draws: Tensor) -> dict[str, list[float]]:
    """Return split R-hat and effective sample size of each parameter of [chain, draw, name]."""
    from pyro.ops.stats import effective_sample_size, split_gelman_rubin

    rhat, size = split_gelman_rubin(draws), effective_sample_size(draws)
    return {"rhat": rhat.tolist(), "effective": size.tolist()}


def draw(results: dict[str, dict], folder: Path, file: Path) -> None:
    """Draw means and 95 % of the posteriors of rivers by NUTS beside the published parameters."""
    import matplotlib.pyplot as plt
    import pandas as pd

    folder = folder / "stream_temperature"
    first = pd.read_csv(folder / "air2stream_published_ERL2015.csv")
    second = pd.read_csv(folder / "air2stream_published_HP2016_3rivers.csv")
    second = second[second.scheme == "CRN"]
    rivers = [k for k in RIVERS if "nuts_mean" in results.get(k, {}).get("a1", {})]
    figure, axes = plt.subplots(2, 4, figsize=(10, 4.5), sharey=True, layout="constrained")
    for k, ax in enumerate(axes.flat, 1):
        for y, name in enumerate(rivers):
            row, site = results[name][f"a{k}"], RIVERS[name]
            ax.plot([row["nuts_low"], row["nuts_high"]], [y, y], color="C0", lw=2, label="95 %")
            ax.plot(row["nuts_mean"], y, "o", color="C0", label="mean, NUTS")
            for table, mark, label in ((first, "x", "2015"), (second, "+", "2016")):
                one = table[(table.station == site) & (table.version == 8)]
                ax.plot(one[f"a{k}"], [y], mark, color="C1", ms=8, label=f"published ({label})")
        ax.set(title=f"a{k}", yticks=range(len(rivers)), yticklabels=[n.title() for n in rivers])
        ax.margins(y=0.3)
        ax.locator_params(axis="x", nbins=4)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles[:4], labels[:4], loc="outside lower center", ncols=4)
    figure.savefig(file, dpi=120)


def main(arguments: list[str] | None = None) -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HERE.parent / ".." / "shared" / "data")
    parser.add_argument("--cases", default="mentue,rhone,dischmabach,twin")
    parser.add_argument("--samples", type=int, default=0, help="draws of a chain of NUTS")
    parser.add_argument("--warm-up", type=int, default=75, help="draws of a chain before them")
    parser.add_argument("--chains", type=int, default=4, help="one batch")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "stream_posterior.json")
    parser.add_argument("--figure", type=Path, help="of all rivers of --output that were sampled")
    given = parser.parse_args(arguments)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(given.output.read_text()) if given.output.exists() else {}
    for name in given.cases.split(","):
        case, begun = twin() if name == "twin" else river(given.data, RIVERS[name]), time.time()
        x, covariance, rho, spread = best(case)
        r = case.residuals(x[None])[0].detach()
        rmse = float(r[torch.isfinite(r)].square().mean().sqrt())
        found = {"rmse": rmse, "correlation": rho, "seconds": time.time() - begun}
        random = torch.Generator().manual_seed(0)
        noise = torch.randn(4000, len(x), generator=random, dtype=F64)
        draws = {"curvature": x + noise @ torch.linalg.cholesky(covariance).T}
        if given.samples:
            begun, count = time.time(), (given.samples, given.warm_up)
            chains = sample(case, x, covariance, (rho, spread), *count, given.chains)
            found |= {"nuts_seconds": time.time() - begun, **convergence(chains)}
            draws["nuts"] = chains.flatten(0, 1)
            print(f"NUTS {found['nuts_seconds']:.0f} s, R-hat at most {max(found['rhat']):.3f}, ",
                  f"effective draws at least {min(found['effective']):.0f}")  # fmt: skip
        print(f"{name}: rmse {rmse:.3f}, correlation of errors {rho:.2f}, {found['seconds']:.0f} s")
        centre = case.physical(x[None])
        for k in case.names:
            row = {"best": float(centre[k][0]), "told": case.told.get(k)}
            for kind, several in draws.items():
                values = case.physical(several)[k]
                row |= {f"{kind}_mean": float(values.mean()), f"{kind}_sd": float(values.std())}
                low, high = values.quantile(values.new_tensor([0.025, 0.975])).tolist()
                row |= {f"{kind}_low": low, f"{kind}_high": high}
            found[k] = row
            print("  ", k, {a: None if b is None else round(b, 3) for a, b in row.items()})
        results[name] = found
        given.output.write_text(json.dumps(results, indent=1))
    if given.figure:
        draw(results, given.data, given.figure)


if __name__ == "__main__":
    main()
