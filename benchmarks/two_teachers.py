"""Does a model that learns from a satellite and from probes do better than with one of them?

Trains the runs of the example two_teachers again and again, each time without a fifth of the cells
and a fifth of the stations, and judges them there; and the runs trained on all in the two months of
the satellite that follow. What is there already is not trained again. Prints medians over sites of
RMSE, unbiased RMSE and correlation, the differences of both from each alone with 95 % intervals of
stations drawn together, draws a figure, and writes JSON into results/.

    pydiffgeo init two_teachers && pydiffgeo train two_teachers.yaml
    python benchmarks/two_teachers.py two_teachers.yaml --run both --run satellite --run stations
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pydiffgeo.data import find_data
from pydiffgeo.evaluation import new_figure, print_table, save_figure
from pydiffgeo.experiment import Experiment, load_experiment, predict, train

HERE = Path(__file__).resolve().parent
SATELLITE, PROBES = "satellite_soil_moisture", "soil_moisture"
LEAST = 5  # observations of a series that is scored
DRAWS = 2000
SEED = 7  # of the folds
COLUMNS = ("run", "where", "sites", "RMSE", "unbiased RMSE", "R")


def folds(count: int, *groups: list[str]) -> list[list[str]]:
    """Return the sites of all groups that each fold leaves out."""
    random = np.random.default_rng(SEED)
    drawn = [random.permutation(names) for names in groups]
    return [[str(name) for order in drawn for name in order[k::count]] for k in range(count)]


def scores(simulated: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """RMSE, unbiased RMSE and correlation of each series [site, time], NaN where too little is
    observed.
    """
    found = np.full((len(observed), 3), np.nan)
    for row, (s, o) in enumerate(zip(simulated, observed, strict=True)):
        counts = np.isfinite(o)
        if counts.sum() < LEAST:
            continue
        error = (s - o)[counts]
        found[row, :2] = np.sqrt(np.mean(error**2)), error.std()
        if s[counts].std() > 0 and o[counts].std() > 0:
            found[row, 2] = np.corrcoef(s[counts], o[counts])[0, 1]
    return found


def without(experiment: Experiment, run: str, out: list[str]) -> Experiment:
    """Return an experiment with one run and one seed, which some sites are left out of."""
    settings = experiment.runs[run]
    data = settings.data.model_copy(update={"exclude": tuple(out)})
    training = settings.training.model_copy(update={"seeds": settings.training.seeds[:1]})
    return replace(
        experiment, runs={run: settings.model_copy(update={"data": data, "training": training})}
    )


def simulated(folder: Path, file: Path, name: str) -> xr.Dataset | None:
    """Return what a run simulates of the records in a file, and what was observed there."""
    kept = folder / f"{file.stem}.nc"
    found = xr.load_dataset(kept) if kept.is_file() else predict(folder, file, kept, series=()).data
    return found if name in found else None


def series(found: xr.Dataset, name: str, start: str = "", end: str = "") -> list[np.ndarray]:
    """Return what is simulated and observed, [site, time] or [site, depth, time]."""
    part = found.sel(time=slice(start or None, end or None))
    return [part[k].transpose("site", ..., "time").values for k in (name, f"{name}_observed")]


def unseen(
    experiment: Experiment, run: str, output: Path, files: tuple[Path, Path], left: list[Any]
) -> dict[str, np.ndarray]:
    """Return scores of a run at the sites that it was trained without, pooled over the folds."""
    found: dict[str, list[np.ndarray]] = {"cells": [], "5 cm": [], "all depths": []}
    for k, out in enumerate(left):
        place = output / f"fold_{k}"
        if not (place / run / "history.csv").is_file():
            train(without(experiment, run, out), place, progress=False)
        for file, name in zip(files, (SATELLITE, PROBES), strict=True):
            data = simulated(place / run, file, name)
            if data is None:
                continue
            data = data.sel(site=[s for s in map(str, data.site.values) if s in out])
            s, o = series(data, name)
            if name == SATELLITE:
                found["cells"].append(scores(s, o))
                continue
            found["5 cm"].append(scores(s[:, 0], o[:, 0]))
            rows = [scores(s[:, depth], o[:, depth]) for depth in range(s.shape[1])]
            found["all depths"].append(np.nanmean(rows, 0))
    return {name: np.concatenate(parts) for name, parts in found.items() if parts}


def later(folder: Path, file: Path, start: str) -> dict[str, np.ndarray]:
    """Return scores of a run trained on all sites, at the cells, from a day on."""
    data = simulated(folder, file, SATELLITE)
    return {} if data is None else {"later": scores(*series(data, SATELLITE, start))}


def climatology(file: Path, last: str) -> np.ndarray:
    """Return scores after a day, of the mean of each cell until then."""
    smap = xr.load_dataset(file).smap.transpose("pixel", "time")
    mean = smap.sel(time=slice(None, last)).mean("time").values[:, None]
    rest = smap.sel(time=slice(last, None)).isel(time=slice(1, None)).values
    return scores(np.broadcast_to(mean, rest.shape), rest)


def difference(one: np.ndarray, other: np.ndarray) -> list[float]:
    """Return the difference of medians and its 95 % interval, of sites drawn together."""
    random = np.random.default_rng(0)
    rows = random.integers(0, len(one), (DRAWS, len(one)))
    drawn = np.nanmedian(one[rows], 1) - np.nanmedian(other[rows], 1)
    return [float(np.nanmedian(one) - np.nanmedian(other)), *np.quantile(drawn, (0.025, 0.975))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("settings", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/two_teachers"))
    parser.add_argument("--run", action="append", help="all by default")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--first", type=int, help="only the first folds; all by default")
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    experiment = load_experiment(args.settings)
    names = args.run or list(experiment.runs)
    data = experiment.runs[names[0]].data
    files = tuple(Path(find_data(path)) for path in (data.path, data.append["stations"]["path"]))
    cells = [str(x) for x in xr.open_dataset(files[0]).pixel.values]
    stations = [str(x) for x in xr.open_dataset(files[1]).station.values]
    left = folds(args.folds, cells, stations)[: args.first]
    output = args.runs.with_name(f"{args.runs.name}_folds")
    told = {name: unseen(experiment, name, output, files, left) for name in names}
    start = (pd.Timestamp(data.train.end) + pd.Timedelta(1, "D")).isoformat()[:10]
    for name in names:
        if (args.runs / name / "history.csv").is_file():
            told[name] |= later(args.runs / name, files[0], start)
    told["climatology"] = {"later": climatology(files[0], data.train.days[1])}
    rows = [
        dict(
            zip(
                COLUMNS,
                (
                    name,
                    where,
                    int(np.isfinite(x[:, 0]).sum()),
                    *np.nanmedian(x, 0).round(4).tolist(),
                ),
                strict=True,
            )
        )
        for name, own in told.items()
        for where, x in own.items()
    ]
    print_table(rows, "medians over sites")
    gains = {
        f"both less {other}, {where}": [
            difference(told["both"][where][:, k], told[other][where][:, k]) for k in range(3)
        ]
        for other in ("satellite", "stations")
        for where in ("5 cm", "all depths")
        if "both" in told and where in told.get(other, {})
    }
    for name, of in gains.items():
        print(name, *(f"{x:.4f} ({a:.4f} to {b:.4f})" for x, a, b in of))
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    text = json.dumps({"medians": rows, "gains": gains}, indent=1)
    (results / "two_teachers.json").write_text(text, encoding="utf-8")
    if args.figure:
        draw(told, args.figure)


def draw(told: dict[str, dict[str, np.ndarray]], path: Path) -> None:
    """Draw the scores of each unseen station at 5 cm, run beside run."""
    runs = [name for name in told if "5 cm" in told[name]]
    figure, axes = new_figure(1, 3, size=(10, 3.2))
    for k, (axis, title) in enumerate(
        zip(np.ravel(axes), ("RMSE", "unbiased RMSE", "R"), strict=True)
    ):
        values = np.stack([told[name]["5 cm"][:, k] for name in runs])
        axis.plot(range(len(runs)), values, color="0.7", linewidth=0.8)
        axis.plot(range(len(runs)), np.nanmedian(values, 1), "o-", color="C0")
        axis.set_xticks(range(len(runs)), runs)
        axis.set_title(f"{title}, 5 cm, stations never seen", fontsize=9)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
