"""Does rain of several products, fused, give better discharge than one of them?

Judges the runs of the example forcing_fusion, which are trained before: each of the networks that a
run has trained by itself, and their mean; and the mean of the discharges of the runs with a
single product. Prints medians of the NSE, and differences of medians with 95 % intervals of basins
drawn together, draws the weights, and writes JSON into results/.

    pydiffgeo init forcing_fusion && pydiffgeo train forcing_fusion.yaml
    python benchmarks/forcing_fusion.py forcing_fusion.yaml --figure forcing_fusion.png

Three products at 14 basins: benchmarks/three_products.yaml in the place of forcing_fusion.yaml.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from pydiffgeo import Windows, load
from pydiffgeo.errors import DataError
from pydiffgeo.evaluation import new_figure, print_table, save_figure
from pydiffgeo.experiment import build_hybrid, load_experiment, load_sites

HERE = Path(__file__).resolve().parent
FIRST = "daymet"
MEANS = {  # of the discharges of some runs
    "daymet and era5": (FIRST, "era5"),
    "daymet and era5_shifted": (FIRST, "era5_shifted"),
    "daymet and nldas": (FIRST, "nldas"),
    "daymet, era5 and nldas": (FIRST, "era5", "nldas"),
}
AGAINST = (  # what gains are told over
    FIRST, "shifted", "mean_shifted", "daymet and era5_shifted", "nldas", "daymet and nldas"
)  # fmt: skip
SEEDS = "two networks of daymet"  # what averaging does without another product
SHARE = "precipitation_era5_share"
DELAY = "precipitation_era5_delay"
AMOUNTS = (0.0, 0.1, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, np.inf)  # mm/d
WARM_UP = 365
DRAWS = 2000


def finished(folder: Path, settings: Any) -> bool:
    """Return whether a run is trained to its last epoch."""
    history = folder / "history.csv"
    done = len(pd.read_csv(history)) if history.is_file() else 0
    if done < settings.training.epochs:
        print(f"{folder}: {done} of {settings.training.epochs} epochs are done; it is left out.")
    return bool(done >= settings.training.epochs)


def simulated(folder: Path, sites: xr.Dataset, days: tuple[str, str]) -> xr.Dataset:
    """Return discharge [member, site, time] of a run, what was observed, and the daily share and
    the delay (h) of the second product, means over members.
    """
    model: Any = load(folder)
    one = model[0] if hasattr(model, "members") else model
    windows = Windows(sites, dtype=one.dtype).reading(one.reads, ["discharge"], one.needs)
    [batch] = windows.periods(sites.sizes["site"], *days, warm_up=WARM_UP)
    with torch.no_grad():
        series = model(batch)
    if series.failed:
        raise DataError(f"{folder}: {series.failed}")
    kept = slice(batch.warm_up, None)
    flow = series["discharge"]
    flow = (flow if flow.ndim == 3 else flow[None])[..., kept]
    found = {
        "discharge": (("member", "site", "time"), flow.numpy()),
        "observed": (("site", "time"), batch.observed["discharge"][:, kept].numpy()),
    }
    if SHARE in series:
        share = series[SHARE][..., kept]
        share = share.mean(0) if share.ndim == 3 else share
        found["share"] = ("site", "time"), share.numpy()
    if DELAY in one.learns:
        members = [model[k] for k in range(len(flow))] if model is not one else [one]
        with torch.no_grad():
            hours = torch.stack([m.parameters_of(batch)[DELAY] for m in members])
        found["delay"] = "site", hours.mean(0).flatten().numpy()
    coords = {"site": [batch.sites[int(k)] for k in batch.site], "time": batch.dates(0)[kept]}
    return xr.Dataset(found, coords).assign_coords(sites.drop_dims("time").coords)


def nse(simulated: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Return the Nash-Sutcliffe efficiency [..., site] of series [..., site, time]."""
    seen = np.isfinite(observed)
    mean = np.nanmean(observed, -1, keepdims=True)
    spread = np.where(seen, observed - mean, 0.0)
    error = np.where(seen, simulated - observed, 0.0)
    return 1 - (error**2).sum(-1) / (spread**2).sum(-1)


def scores_of(runs: dict[str, xr.Dataset]) -> dict[str, dict[str, np.ndarray]]:
    """Return the NSE of each network [member, site] and of the mean of all [site], by run."""
    flows = {name: run.discharge.values for name, run in runs.items()}
    seen = next(iter(runs.values())).observed.values
    found = {
        name: {"members": nse(flow, seen), "whole": nse(flow.mean(0), seen)}
        for name, flow in flows.items()
    }
    for name, parts in MEANS.items():
        if set(parts) <= set(flows):
            mean = sum(flows[part] for part in parts) / len(parts)
            found[name] = {"members": nse(mean, seen), "whole": nse(mean.mean(0), seen)}
    if len(first := flows.get(FIRST, ())) > 1:
        both = (first + np.roll(first, 1, 0)) / 2
        found[SEEDS] = {"members": nse(both, seen), "whole": nse(first.mean(0), seen)}
    return found


def interval(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Return the difference of medians, and its 95 % interval of basins drawn together."""
    count = len(one)
    drawn = np.random.default_rng(0).integers(count, size=(DRAWS, count))
    gains = np.median(one[drawn], 1) - np.median(other[drawn], 1)
    low, high = np.quantile(gains, [0.025, 0.975])
    return float(np.median(one) - np.median(other)), float(low), float(high)


def table_of(scores: dict[str, dict[str, np.ndarray]], against: list[str]) -> pd.DataFrame:
    """Return medians over basins of each run, and its gain over some others."""
    rows = []
    for name, own in scores.items():
        each = np.median(own["members"], 1)
        row = {
            "run": name,
            "one network": f"{each.mean():.3f} ({each.min():.3f} to {each.max():.3f})",
            "mean of networks": float(np.median(own["whole"])),
        }
        for other in against:
            gain = interval(own["whole"], scores[other]["whole"])
            row[f"less {other}"] = (
                "" if other == name else "{:+.3f} ({:+.3f} to {:+.3f})".format(*gain)
            )
        rows.append(row)
    return pd.DataFrame(rows)


def figure_of(runs: dict[str, xr.Dataset], rain: xr.DataArray) -> Any:
    """Return the weight of the second product: on a map, against elevation, season and rain.

    A row for the weights of basins, another for those of days, where there are such runs.
    """
    drawn = [(n, draw) for n, draw in DRAWN.items() if n in runs]
    figure, axes = new_figure(max(1, len(drawn)), 2, (9.0, 3.4 * max(1, len(drawn))))
    for (name, draw), row in zip(drawn, axes, strict=False):
        draw(figure, row, runs[name].share, rain)
        row[0].set_title(name)
    return figure


def draw_basins(figure: Any, axes: Any, share: xr.DataArray, rain: xr.DataArray) -> None:
    """Draw the weight of each basin on a map and against its elevation, with medians of eighths."""
    places, heights = axes
    own = share.mean("time")
    marks = places.scatter(own.lon, own.lat, c=own, s=14, vmin=0, vmax=1, cmap="RdYlBu_r")
    figure.colorbar(marks, ax=places, label="weight of ERA5-Land")
    heights.plot(own.elevation, own, ".", color="0.6", ms=4)
    edges = np.quantile(own.elevation, np.linspace(0, 1, 9))
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        part = own.values[(own.elevation.values >= low) & (own.elevation.values <= high)]
        heights.plot([low, high], [np.median(part)] * 2, color="tab:red")
    places.set(xlabel="longitude", ylabel="latitude")
    heights.set(xlabel="mean elevation (m)", ylabel="weight of ERA5-Land", ylim=(0, 1))


def draw_days(figure: Any, axes: Any, share: xr.DataArray, rain: xr.DataArray) -> None:
    """Draw the weight of days by month and by the amount of rain, with quartiles."""
    seasons, amounts = axes
    months = share.groupby("time.month").mean("time")
    low, middle, high = (months.quantile(q, "site") for q in (0.25, 0.5, 0.75))
    seasons.fill_between(months.month, low, high, color="tab:blue", alpha=0.3)
    seasons.plot(months.month, middle, color="tab:blue")
    seasons.set(xlabel="month", ylabel="weight of ERA5-Land", ylim=(0, 1))
    fallen = rain.sel(site=share.site, time=share.time).values
    bins = list(zip(AMOUNTS[:-1], AMOUNTS[1:], strict=True))
    parts = [share.values[(fallen >= a) & (fallen < b)] for a, b in bins]
    quartiles = np.array([np.quantile(part, [0.25, 0.5, 0.75]) for part in parts])
    spread = abs(quartiles[:, [0, 2]].T - quartiles[:, 1])
    amounts.errorbar(range(len(bins)), quartiles[:, 1], spread, fmt="o")
    names = [f"{a:g}-{b:g}" if np.isfinite(b) else f"> {a:g}" for a, b in bins]
    amounts.set_xticks(range(len(bins)), names, fontsize=7)
    amounts.set(xlabel="rain, mean of both products (mm/d)", ylim=(0, 1))


DRAWN = {"static_shifted": draw_basins, "daily": draw_days}


def main() -> None:
    """Judge the runs, print tables, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("settings", type=Path, help="of the experiment")
    parser.add_argument("--runs", type=Path, help="its folder; runs/NAME by default")
    parser.add_argument("--period", default="test", help="or validation")
    parser.add_argument("--figure", type=Path, help="PNG file of the weights")
    arguments = parser.parse_args()
    experiment = load_experiment(arguments.settings)
    first = next(iter(experiment.runs.values()))
    hybrids = [build_hybrid(settings) for settings in experiment.runs.values()]
    data = load_sites(first, hybrids)
    sites, days = data.judged(arguments.period), getattr(first.data, arguments.period).days
    folder = arguments.runs or Path("runs", arguments.settings.stem)
    trained = [k for k, settings in experiment.runs.items() if finished(folder / k, settings)]
    runs = {name: simulated(folder / name, sites, days) for name in trained}
    for name, run in runs.items():
        if not run.observed.equals(next(iter(runs.values())).observed):
            raise DataError(f"{name} is judged by other observations than the first run.")
    scores = scores_of(runs)
    table = table_of(scores, [name for name in AGAINST if name in scores])
    title = f"Median NSE of {sites.sizes['site']} basins, {arguments.period} period"
    print_table(table, f"{title}; differences: mean of networks")
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    rows = {k: {n: v.round(5).tolist() for n, v in own.items()} for k, own in scores.items()}
    shares = {k: run.share for k, run in runs.items() if "share" in run}
    hours = {k: run.delay for k, run in runs.items() if "delay" in run}
    for what, by_run in (("weight of ERA5-Land", shares), ("its delay, hours", hours)):
        for name, values in by_run.items():
            own = values.mean([dim for dim in values.dims if dim != "site"])
            low, middle, high = np.quantile(own, [0.25, 0.5, 0.75])
            print(f"{name}: {what}: median {middle:.2f}, quartiles {low:.2f} and {high:.2f}")
    record = {"table": table.to_dict("records"), "sites": sites.site.values.tolist(), "nse": rows}
    path = results / f"{arguments.settings.stem}_{arguments.period}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    if arguments.figure is not None:
        rain = (sites.precipitation + sites.precipitation_era5) / 2
        save_figure(figure_of(runs, rain), arguments.figure)


if __name__ == "__main__":
    main()
