"""How many gauges make Manning's n of a river identifiable? A twin experiment.

    python river_twin.py                          # 213 reaches of the Juniata, some minutes
    python river_twin.py --steps 5 --gauges 1     # for a try

The roughness n of each reach is drawn: a function of attributes of the land, and noise. Discharge
is routed with it, and a network that reads the attributes learns n from the discharge at the outlet
alone, at 5 and at 20 gauges; once with the hour at which days begin known, and once with a delay of
the lateral inflow that is learned as well. After the synthetic experiments of Bindas et al. (2024),
doi:10.1029/2023WR035337. docs/learned_rivers.md says what came out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr

import pydiffgeo as pdg
from pydiffgeo import losses, stages
from pydiffgeo.data import find_data
from pydiffgeo.evaluation import new_figure, print_table, save_figure

ATTRIBUTES = ("log10_uparea", "meanslope", "SoilGrids1km_clay", "meanelevation")
WEIGHTS = (-0.35, 0.25, 0.15, 0.0)  # of the standardised attributes in log(n); the last is a decoy
CENTRE, NOISE = 0.05, 0.15  # s m-1/3, standard deviation of log(n) that no attribute tells of
MEASURED = 0.05  # standard deviation of the log of the observations
STEP = 10800.0  # s


def river(delay: bool) -> pdg.Hybrid:
    """Return the hybrid: a network gives n, and the delay of lateral inflow if it is learned."""
    given: dict[str, str | float] = {"side_slope": 1.0}
    given |= {name: name for name in ("length", "slope", "width")}
    solver = pdg.Solver("implicit_euler", step=STEP)
    reach = stages.Process(
        pdg.MuskingumCunge(), solver, learn=("n",), given=given, begin={"n": 0.04}
    )
    routed = stages.Downstream(reach, interval="3h", delay=(-12.0, 12.0) if delay else None)
    return pdg.Hybrid(pdg.MLP(reads=ATTRIBUTES, hidden=(16,)), routed, dtype=torch.float64)


def drawn(sites: xr.Dataset, seed: int) -> np.ndarray:
    """Return the true n, [site]."""
    values = np.stack([sites[name].values.astype(float) for name in ATTRIBUTES], 1)
    values = (values - values.mean(0)) / values.std(0)
    noise = NOISE * np.random.default_rng(seed).normal(size=len(values))
    return CENTRE * np.exp(values @ np.array(WEIGHTS) + noise)


def observed(sites: xr.Dataset, n: np.ndarray, seed: int) -> xr.DataArray:
    """Return the discharge of all reaches with their true n, and with errors of measurement."""
    hybrid = river(delay=False)
    hybrid.prepare(sites, attributes=ATTRIBUTES)
    windows = pdg.Windows(sites, dtype=torch.float64, closed="upstream")
    [batch] = windows.reading(hybrid.reads, ["discharge"], hybrid.needs).periods(len(n))
    with torch.no_grad():
        flow = hybrid.run(batch, {"n": torch.tensor(n)[:, None]})["discharge"].numpy()
    error = MEASURED * np.random.default_rng(seed + 1).normal(size=flow.shape)
    return xr.DataArray(flow * np.exp(error), dims=("site", "time"), attrs={"units": "m3 s-1"})


def gauges(sites: xr.Dataset, count: int, seed: int) -> np.ndarray:
    """Return positions of the outlet and of other reaches; fewer are a part of more."""
    outlet = int(np.flatnonzero(sites.downstream.values == "")[0])
    others = np.random.default_rng(seed + 2).permutation(
        np.delete(np.arange(len(sites.site)), outlet)
    )
    return np.array([outlet, *others[: count - 1]])


def recovered(
    sites: xr.Dataset, truth: np.ndarray, count: int, delay: bool, given: argparse.Namespace
) -> np.ndarray:
    """Return the n that a network learns from some gauges, [site]."""
    seen = np.zeros(len(truth), bool)
    seen[gauges(sites, count, given.seed)] = True
    known = sites.assign(discharge=sites.discharge.where(xr.DataArray(seen, dims="site")))
    hybrid = river(delay)
    windows = pdg.Windows(
        known, length=given.window, warm_up=30, batch=count, seed=given.seed, attributes=ATTRIBUTES,
        dtype=torch.float64, closed="upstream",
    )  # fmt: skip
    pdg.Trainer(
        hybrid, windows, losses.NSE("discharge"), epochs=1, steps_per_epoch=given.steps,
        learning_rate=0.03, seed=given.seed,
    ).run()  # fmt: skip
    [batch] = windows.reading(hybrid.reads, ["discharge"], hybrid.needs).periods(len(truth))
    with torch.no_grad():
        return hybrid.parameters_of(batch)["n"][:, 0].numpy()


def draw(truth: np.ndarray, found: dict[str, np.ndarray], out: Path) -> None:
    """Draw the learned n against the true one, a panel for each set of gauges."""
    figure, axes = new_figure(1, len(found), (3.2 * len(found), 3.2), sharey=True)
    for axis, (label, n) in zip(axes[0], found.items(), strict=True):
        axis.plot(truth, n, ".", markersize=4)
        axis.plot([0.01, 0.2], [0.01, 0.2], color="0.6", linewidth=0.8)
        axis.set(title=label, xlabel="true n", xscale="log", yscale="log")
    axes[0, 0].set_ylabel("learned n (s m$^{-1/3}$)")
    save_figure(figure, out / "river_twin.png")


def main() -> None:
    """Read arguments and the river, draw a truth, and learn it from more and more gauges."""
    read = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    read.add_argument(
        "--data",
        type=Path,
        default=Path("routing/juniata_1980_1995.nc"),
        help="here, in $PYDIFFGEO_DATA or in ../shared/data",
    )
    read.add_argument("--output", type=Path, default=Path("runs/river_twin"))
    read.add_argument("--gauges", type=int, nargs="+", default=[1, 5, 20])
    read.add_argument("--steps", type=int, default=100, help="of training")
    read.add_argument("--window", type=int, default=365, help="days of a batch")
    read.add_argument("--seed", type=int, default=0)
    read.add_argument("--start", default="1981-10-01", help="first day")
    read.add_argument("--end", default="1986-09-30", help="last day")
    given = read.parse_args()
    torch.set_num_threads(1)
    given.output.mkdir(parents=True, exist_ok=True)
    sites = pdg.open_sites(
        find_data(given.data), "river", options={"least_slope": 1e-3},
        derive={"width": {"area": "log10_uparea"}},
    ).sel(time=slice(given.start, given.end))  # fmt: skip
    truth = drawn(sites, given.seed)
    sites = sites.assign(discharge=observed(sites, truth, given.seed))
    rows, found = list[dict[str, object]](), dict[str, np.ndarray]()
    for delay in (False, True):
        for count in given.gauges:
            label = (
                f"{count} gauge{'s' if count > 1 else ''}, delay {'learned' if delay else 'known'}"
            )
            found[label] = n = recovered(sites, truth, count, delay, given)
            rows.append(
                {
                    "gauges": count,
                    "delay": "learned" if delay else "known",
                    "correlation": np.corrcoef(n, truth)[0, 1],
                    "median_error": np.median(np.abs(n - truth)),
                    "bias": np.mean(n - truth),
                }
            )
    table = pd.DataFrame(rows)
    table.to_csv(given.output / "recovered.csv", index=False)
    pd.DataFrame({"truth": truth, **found}, sites.site.values).to_csv(given.output / "n.csv")
    draw(truth, found, given.output)
    print_table(rows, "Learned n against the truth", {"correlation": "max", "median_error": "min"})


if __name__ == "__main__":
    main()
