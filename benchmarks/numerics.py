"""What does the solver do to the science? HBV by explicit, implicit and adaptive steps.

Two families of schemes, each judged by the converged solution of its own equations: the explicit
loop of published codes (hard thresholds, one process after another, 1, 4 or 96 times a day), and
the equations of this package (implicit Euler, SDIRK2, adaptive). Errors of the discharge, of its
peaks and of its gradient over the intensity of rain; then the parameters that training returns: of
a twin whose truth is the converged solution, and of real basins, moved to the converged solution.

    python benchmarks/numerics.py errors
    python benchmarks/numerics.py twin
    python benchmarks/numerics.py basins --data ../shared/data/camels_us_daymet_500.nc

Kavetski & Clark (2010), doi:10.1029/2009WR008896; La Follette et al. (2021),
doi:10.5194/hess-25-5425-2021.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hbv_rates import BOUNDS, FORCING, INITIAL, parameters
from peers.hbv import states_and_discharge
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pydiffgeo import HBV, Solver, open_sites, solve
from pydiffgeo.evaluation import new_figure, save_figure

HERE = Path(__file__).parent
Values = Mapping[str, Tensor]
PER_STEP = ("K0", "K1", "K2", "PERC", "CFMAX")  # parameters of the loop that are rates
INTENSITIES = (5.0, 10.0, 20.0, 40.0)  # mm on a day with rain
BLOCK = 10  # days of the loop that are recorded at once
WET = 2.5  # mm d-1: rain of all days
SMALLEST = 1e-5  # error that is drawn
CONVERGED = Solver("kvaerno3", rtol=1e-6, newton_tolerance=1e-4)


@dataclass(frozen=True)
class Scheme:
    """A way to the discharge `[basin, day]`, and the scheme that it is judged by."""

    discharge: Callable[[Values, Values], Tensor]
    judge: str


def by_loop(steps: int) -> Callable[[Values, Values], Tensor]:
    """The explicit loop with so many steps a day."""

    def discharge(f: Values, p: Values) -> Tensor:
        share = {k: 1.0 if k == "temperature" else 1 / steps for k in FORCING}
        rates = {k: v / steps if k in PER_STEP else v for k, v in p.items()}

        def some_days(state: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
            fine = {
                k: (v * share[k]).repeat_interleave(steps, 1)
                for k, v in zip(FORCING, values, strict=False)
            }
            own = dict(zip(rates, values[len(FORCING) :], strict=True))
            states, discharge = states_and_discharge(fine, own, state)
            return states[:, -1], discharge.unflatten(1, (-1, steps)).sum(2)

        state, found = torch.from_numpy(INITIAL), []
        for weather in zip(*(f[k].split(BLOCK, 1) for k in FORCING), strict=True):
            values = (*weather, *rates.values())
            if any(v.requires_grad for v in values):
                # the graph of 384 steps a day would need 15 GB; only this form keeps none
                state, q = checkpoint(some_days, state, *values, use_reentrant=True)
            else:
                state, q = some_days(state, *values)
            found.append(q)
        return torch.cat(found, 1)

    return discharge


def by_solver(solver: Solver) -> Callable[[Values, Values], Tensor]:
    """`solve` of this package."""

    def discharge(f: Values, p: Values) -> Tensor:
        days = f["precipitation"].shape[1]
        state = torch.from_numpy(INITIAL)
        return solve(HBV(), f, p, state, range(days + 1), solver).fluxes["discharge"]

    return discharge


LOOP, EQUATIONS = "loop, 384 a day", "adaptive, rtol 1e-6"
SCHEMES = {
    "loop, daily": Scheme(by_loop(1), LOOP),
    "loop, 4 a day": Scheme(by_loop(4), LOOP),
    "loop, 96 a day": Scheme(by_loop(96), LOOP),
    "implicit Euler, daily": Scheme(by_solver(Solver("implicit_euler", step=1.0)), EQUATIONS),
    "implicit Euler, 4 a day": Scheme(by_solver(Solver("implicit_euler", step=0.25)), EQUATIONS),
    "SDIRK2, daily": Scheme(by_solver(Solver("sdirk2", step=1.0)), EQUATIONS),
    "adaptive, rtol 1e-3": Scheme(by_solver(Solver("kvaerno3", rtol=1e-3)), EQUATIONS),
}
JUDGES = {LOOP: by_loop(384), EQUATIONS: by_solver(CONVERGED)}
TRAINED = ("loop, daily", "loop, 4 a day", "implicit Euler, daily", "SDIRK2, daily")


def rain(basins: int, days: int, intensity: float, seed: int = 3) -> dict[str, Tensor]:
    """Weather whose rain comes on few days, `intensity` mm on each, or on many, the same in all."""
    random = np.random.default_rng(seed)
    season = np.cos(2 * np.pi * (np.arange(days) - 20) / 365)
    falls = random.random((basins, days)) < WET / intensity
    amount = falls * random.exponential(intensity, (basins, days))
    temperature = 9 - 9 * season + random.normal(0, 3, (basins, days))
    potential = np.maximum(0.2, 2.2 - 2 * season) * np.ones((basins, 1))
    found = dict(zip(FORCING, (amount, temperature, potential), strict=True))
    return {k: torch.from_numpy(v) for k, v in found.items()}


def drawn(basins: int, seed: int = 2) -> dict[str, Tensor]:
    """Parameters within the middle half of their bounds."""
    return {k: torch.from_numpy(v) for k, v in parameters(basins, seed).items()}


def with_gradient(
    discharge: Callable[[Values, Values], Tensor], f: Values, p: Values
) -> tuple[Tensor, Tensor]:
    """Discharge, and the gradient of its mean square in all parameters in parts of their bounds."""
    x = {k: v.clone().requires_grad_() for k, v in p.items()}
    q = discharge(f, x)
    q.square().mean(1).sum().backward()
    slopes = [x[k].grad * (high - low) for k, (low, high) in BOUNDS.items()]
    return q.detach(), torch.stack(slopes, 1)


def nse(simulated: Tensor, observed: Tensor) -> Tensor:
    """Nash-Sutcliffe efficiency of each basin, of the days with an observation."""
    known = observed.isfinite()
    n = known.sum(1, keepdim=True)
    mean = torch.where(known, observed, 0.0).sum(1, keepdim=True) / n
    error = torch.where(known, simulated - observed, 0.0).square().sum(1)
    return 1 - error / torch.where(known, observed - mean, 0.0).square().sum(1)


def errors(basins: int, days: int) -> list[dict[str, object]]:
    """Errors of each scheme against the converged solution, medians over basins."""
    found: list[dict[str, object]] = []
    p = drawn(basins)
    for intensity in INTENSITIES:
        f = rain(basins, days, intensity)
        truth = {name: with_gradient(judge, f, p) for name, judge in JUDGES.items()}
        top = max(1, days // 100)
        for name, scheme in SCHEMES.items():
            q, slope = with_gradient(scheme.discharge, f, p)
            right, right_slope = truth[scheme.judge]
            highest = right.topk(top, 1).indices
            peak = q.gather(1, highest).sum(1) / right.gather(1, highest).sum(1) - 1
            off = (slope - right_slope).norm(dim=1) / right_slope.norm(dim=1)
            row = {
                "intensity": intensity,
                "scheme": name,
                "nse": float(nse(q, right).median()),
                "peaks": float(peak.median()),
                "volume": float((q.sum(1) / right.sum(1) - 1).median()),
                "gradient": float(off.median()),
            }
            print(
                "  ".join(f"{v:9.4f}" if isinstance(v, float) else f"{v:24s}" for v in row.values())
            )
            found.append(row)
        apart = nse(truth[LOOP][0], truth[EQUATIONS][0]).median()
        print(f"{intensity:9.4f}  both converged: NSE of the loop's equations {float(apart):.4f}")
    return found


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the errors of each scheme over the intensity of the rain."""
    panels = {
        "1 - NSE of the discharge": lambda row: 1 - row["nse"],
        "error of the highest flows": lambda row: abs(row["peaks"]),
        "error of the gradient": lambda row: row["gradient"],
    }
    figure, [axes] = new_figure(1, 3, (11, 3.2))
    for axis, (title, value) in zip(axes, panels.items(), strict=True):
        for name in SCHEMES:
            own = [row for row in rows if row["scheme"] == name]
            errors = [max(value(row), SMALLEST) for row in own]
            style = "--" if name.startswith("loop") else "-"
            axis.loglog([row["intensity"] for row in own], errors, style, marker=".", label=name)
        axis.set_title(title)
        axis.set_xlabel("rain on a wet day, mm")
        axis.set_xticks(INTENSITIES, [f"{x:g}" for x in INTENSITIES])
        axis.minorticks_off()
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside right center", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, path)


def train(
    discharge: Callable[[Values, Values], Tensor],
    f: Values,
    observed: Tensor,
    steps: int,
    warm_up: int,
) -> dict[str, Tensor]:
    """Parameters of each basin by Adam on its NSE, from the middle of the bounds."""
    names, basins = list(BOUNDS), len(observed)
    z = torch.zeros(len(names), basins, dtype=torch.float64, requires_grad=True)
    low, high = (
        torch.tensor([BOUNDS[k][i] for k in names], dtype=torch.float64)[:, None] for i in (0, 1)
    )

    def now() -> dict[str, Tensor]:
        return dict(zip(names, low + (high - low) * z.sigmoid(), strict=True))

    adam = torch.optim.Adam([z], lr=0.05)
    for _ in range(steps):
        adam.zero_grad()
        q = discharge(f, now())
        (-nse(q[:, warm_up:], observed[:, warm_up:])).sum().backward()
        adam.step()
    return {k: v.detach() for k, v in now().items()}


def returned(
    f: Values, observed: Tensor, true: Values | None, steps: int, warm_up: int
) -> list[dict[str, object]]:
    """What training returns by each scheme, and what it is worth by the converged solution."""
    found: list[dict[str, object]] = []
    trained = {k: train(SCHEMES[k].discharge, f, observed, steps, warm_up) for k in TRAINED}
    against = trained["SDIRK2, daily"] if true is None else true
    for name, p in trained.items():
        own = SCHEMES[name].discharge(f, p)[:, warm_up:]
        moved = JUDGES[EQUATIONS](f, p)[:, warm_up:]
        seen = observed[:, warm_up:]
        off = {
            k: float(((p[k] - against[k]).abs() / (high - low)).median())
            for k, (low, high) in BOUNDS.items()
        }
        row: dict[str, object] = {
            "scheme": name,
            "nse": float(nse(own, seen).median()),
            "nse_converged": float(nse(moved, seen).median()),
            "parameters": off,
        }
        off_all = " ".join(f"{k} {v:.3f}" for k, v in off.items())
        print(f"{name:24s} {row['nse']:8.4f} {row['nse_converged']:8.4f}  {off_all}")
        found.append(row)
    return found


def real(path: Path, count: int, days: int) -> tuple[dict[str, Tensor], Tensor]:
    """Weather and discharge of some basins, spread over the file."""
    sites = open_sites(path, derive={"potential_evapotranspiration": "oudin"})
    every = max(1, sites.sizes["site"] // count)
    some = sites.isel(site=slice(0, every * count, every), time=slice(0, days))
    series = {
        k: torch.from_numpy(some[own].transpose("site", "time").values.astype(float))
        for k, own in zip(
            (*FORCING, "discharge"), (FORCING[0], "tair_mean", FORCING[2], "discharge"), strict=True
        )
    }
    return {k: series[k] for k in FORCING}, series["discharge"]


def main(arguments: list[str] | None = None) -> None:
    """Measure what is asked for, print and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("errors", "twin", "basins"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data/camels_us_daymet_500.nc"))
    parser.add_argument("--basins", type=int, default=20)
    parser.add_argument("--days", type=int, default=730)
    parser.add_argument("--steps", type=int, default=150, help="of Adam")
    parser.add_argument(
        "--warm-up", type=int, default=365, help="days that training does not judge"
    )
    parser.add_argument("--short", action="store_true", help="a minute; its numbers mean nothing")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)
    if given.short:
        given.basins, given.days, given.steps, given.warm_up = 2, 40, 2, 10
    torch.set_num_threads(1)
    if given.what == "errors":
        found = errors(given.basins, given.days)
    elif given.what == "twin":
        f, p = rain(given.basins, given.days, 10.0), drawn(given.basins)
        found = returned(f, JUDGES[EQUATIONS](f, p), p, given.steps, given.warm_up)
    else:
        f, observed = real(given.data, given.basins, given.days)
        found = returned(f, observed, None, given.steps, given.warm_up)
    path = given.output or HERE / "results" / f"numerics_{given.what}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1))
    if given.what == "errors":
        draw(found, path.with_suffix(".png"))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
