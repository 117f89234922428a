"""How does the error of a parameter network fall with the number of basins it is trained on, and at
what cost?

The figure of Tsai et al. (2021), doi:10.1038/s41467-021-26107-z, for HBV: g_A, a network from
attributes to static parameters, trained on more and more basins, against SCE-UA, which calibrates
basin by basin. Fewer basins are a part of more, the held-out basins are the same for all, and the
test period is never looked at in training. Each part is a run folder; prints a table, writes JSON
and a figure.

    python benchmarks/data_scaling.py --data camels_us_daymet_500.nc
    python benchmarks/data_scaling.py --data camels_us_daymet_500.nc --resume   # after Ctrl-C
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import xarray as xr
import yaml

from pydiffgeo import HBV, Solver, open_sites, solve
from pydiffgeo.data import choose_sites
from pydiffgeo.errors import PyDiffGeoError
from pydiffgeo.evaluation import matplotlib_missing, median_scores, new_figure, save_figure
from pydiffgeo.experiment import Experiment, calibrate, load_experiment, train
from pydiffgeo.experiment import judge as judge_runs
from pydiffgeo.training import CHECKPOINT, load_checkpoint

HERE = Path(__file__).resolve().parent
TRAIN = {"start": "1980-10-01", "end": "1995-09-30"}
TEST = {"start": "1995-10-01", "end": "2000-09-30"}
MODEL = "hbv"
NETWORK = {"kind": "mlp", "hidden": [128, 128]}
TRAINING = {"batch": 64, "length": 365, "warm_up": 365, "learning_rate": 0.003}
# those of Kratzert et al. (2019, doi:10.5194/hess-23-5089-2019) without the share of carbonate
# rocks, mostly zero
ATTRIBUTES = [
    "elev_mean",
    "slope_mean",
    "area_gages2",
    "frac_forest",
    "lai_max",
    "lai_diff",
    "gvf_max",
    "gvf_diff",
    "soil_depth_pelletier",
    "soil_depth_statsgo",
    "soil_porosity",
    "soil_conductivity",
    "max_water_content",
    "sand_frac",
    "silt_frac",
    "clay_frac",
    "geol_permeability",
    "p_mean",
    "pet_mean",
    "p_seasonality",
    "aridity",
    "frac_snow",
    "high_prec_freq",
    "high_prec_dur",
    "low_prec_freq",
    "low_prec_dur",
]
Record = dict[str, Any]


def experiment(
    arguments: argparse.Namespace, run: str, basins: int, components: int, steps: int | None
) -> Experiment:
    """One run on so many basins.

    Without steps the settings of training are the package's, and nobody trains.
    """
    training: Record = {}
    if steps is not None:
        each = math.gcd(steps, 50)
        training = {**TRAINING, "epochs": steps // each, "steps_per_epoch": each}
    process = {
        "kind": "process",
        "model": MODEL,
        "solver": {"method": "implicit_euler", "step": 1.0},
        "engine": arguments.engine,
    }
    data = {
        "path": arguments.data,
        "derive": {"potential_evapotranspiration": "oudin"},
        "forcing": ["precipitation"],  # the network reads no series
        "attributes": ATTRIBUTES,
        "sites": basins,
        "held_out": arguments.held_out,
        "train": TRAIN,
        "test": TEST,
    }
    stages = [
        {"kind": "parallel", "count": components, "stages": [process]},
        {"kind": "unit_hydrograph", "series": "discharge"},
    ]
    settings = {
        "data": data,
        "hybrid": {"network": NETWORK, "stages": stages},
        "loss": {"kind": "nse", "observed": "discharge"},
        "training": training,
        "runs": {run: {}},
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / f"{run}.yaml"
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    return load_experiment(file)


def timed_training(
    settings: Experiment, folder: Path, resume: bool, progress: bool
) -> float | None:
    """Train and return the CPU seconds of all calls that brought the training on.

    None where those of one are not known.
    """
    checkpoint, record = folder / CHECKPOINT, folder / "cpu_seconds.json"
    saved = load_checkpoint(checkpoint) if resume else None
    spent: float | None = 0.0
    if saved is not None:  # a call that was killed has left a checkpoint, but not its seconds
        known = json.loads(record.read_text()) if record.is_file() else {}
        spent = known["cpu_seconds"] if known.get("step") == saved["sampler"][0]["step"] else None
    old = checkpoint.stat().st_mtime_ns if checkpoint.is_file() else None
    start = time.process_time()
    try:
        train(settings, folder.parent, None, resume, progress=progress)
    finally:  # Ctrl-C too; a finished run is only read again, and that does not count
        if checkpoint.is_file() and checkpoint.stat().st_mtime_ns != old:
            spent = None if spent is None else spent + time.process_time() - start
            step = (load_checkpoint(checkpoint) or {})["sampler"][0]["step"]
            record.write_text(json.dumps({"cpu_seconds": spent, "step": step}))
    return spent


def judge(folder: Path, basins: int, chosen: dict[int, list[str]], calibrated: int) -> Record:
    """Return the median NSE of the test period in each set of basins that the run was trained on,
    and in those held out.
    """
    judge_runs([folder], progress=False)
    with xr.open_dataset(folder / "evaluation_test" / "scores.nc") as opened:
        scores = opened.load()
    groups = scores.group.values.astype(str)
    sets = {
        group: [str(b) for b in scores.site.values[groups == group]]
        for group in dict.fromkeys(groups)
    }
    sets |= {f"common {n}": known for n, known in chosen.items() if n <= min(basins, calibrated)}
    found = {}
    for name, members in sets.items():
        row = median_scores(scores[["nse"]].sel(site=members).drop_vars("group")).iloc[0]
        found[name] = {key: float(row[key]) for key in ("median", "lower", "upper")}
        found[name] |= {key: int(row[key]) for key in ("sites", "undefined")}
    return found


def start_engine(engine: str) -> None:
    """Solve and differentiate a few days of HBV, so that no part pays for the start of Julia."""
    series = torch.ones(2, 10, dtype=torch.float64)
    forcing = {name: series for name in HBV().spec.forcings}
    capacity = torch.full((2,), 200.0, dtype=torch.float64, requires_grad=True)
    solver = Solver("implicit_euler", step=1.0)
    done = solve(
        HBV(), forcing, {"FC": capacity}, [0.0, 0.0, 100.0, 10.0, 20.0], range(11), solver, engine
    )
    done.fluxes["discharge"].sum().backward()


def show(result: Record) -> None:
    """Print the table, what SCE-UA would cost on more basins, and what is missing."""
    sets = list(dict.fromkeys(name for part in result["parts"].values() for name in part["nse"]))
    print("test period: median NSE over basins (95 % bootstrap interval)")
    print(
        f"{'':18s}{'basins':>8s}"
        + "".join(f"{name:>26s}" for name in sets)
        + f"{'CPU s':>10s}{'per basin':>10s}"
    )
    for name, part in result["parts"].items():
        line = f"{name:18s}{part['basins']:8d}"
        for which in sets:
            found = part["nse"].get(which)
            text = "{median:.3f} ({lower:.3f} to {upper:.3f})".format(**found) if found else "-"
            line += f"{text:>26s}"
        seconds = (part["cpu_seconds"], part["cpu_seconds_per_basin"])
        print(line + "".join(f"{'unknown' if s is None else f'{s:.1f}':>10s}" for s in seconds))
    for n, seconds in result["sce_ua_extrapolated"].items():
        print(
            f"SCE-UA on {n} basins: {seconds:.0f} s of CPU, extrapolated linearly in basins, not "
            "run"
        )
    for name, why in result["missing"].items():
        print(f"{name}: left out, {why}")


def draw(path: Path, result: Record) -> None:
    """Draw median NSE and CPU time against the number of basins trained on."""
    figure, ((left, right),) = new_figure(1, 2, (10.0, 4.2))
    trained = [part for part in result["parts"].values() if part["method"] == "network"]
    search = next((part for part in result["parts"].values() if part["method"] == "SCE-UA"), None)
    names = {"trained": "basins trained on", "held out": "held-out basins"}
    if search:
        names[f"common {search['basins']}"] = f"the {search['basins']} basins of SCE-UA"
    for name, label in names.items():
        points = [(part["basins"], part["nse"][name]) for part in trained if name in part["nse"]]
        if points:
            n, found = zip(*points, strict=True)
            middle = [f["median"] for f in found]
            # a bootstrap interval has its median inside but for rounding
            ends = [
                [max(0.0, f["median"] - f["lower"]) for f in found],
                [max(0.0, f["upper"] - f["median"]) for f in found],
            ]
            left.errorbar(
                n, middle, ends, marker="o", capsize=3, linewidth=1.2, label=f"network, {label}"
            )
    if search:
        found = search["nse"]["trained"]
        left.axhline(
            found["median"],
            color="black",
            linestyle="--",
            label=f"SCE-UA, its {search['basins']} basins",
        )
        left.axhspan(found["lower"], found["upper"], color="0.93", zorder=0)
    known = [
        (part["basins"], part["cpu_seconds"]) for part in trained if part["cpu_seconds"] is not None
    ]
    if known:
        right.plot(*zip(*known, strict=True), marker="o", label="network")
    if search:
        right.plot(search["basins"], search["cpu_seconds"], "ks", label="SCE-UA, measured")
        line = {search["basins"]: search["cpu_seconds"]} | {
            int(n): s for n, s in result["sce_ua_extrapolated"].items()
        }
        right.plot(
            sorted(line),
            [line[n] for n in sorted(line)],
            "k:",
            label="SCE-UA, extrapolated linearly in basins",
        )
    left.set(xscale="log", xlabel="basins trained on", ylabel="median NSE, test period")
    right.set(xscale="log", yscale="log", xlabel="basins", ylabel="CPU time (s)")
    sizes = sorted({part["basins"] for part in result["parts"].values()})
    for axis in (left, right):
        axis.set_xticks(sizes, [str(n) for n in sizes])
        axis.minorticks_off()
        axis.grid(color="0.92")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=7)
    save_figure(figure, path)


def summary(
    arguments: argparse.Namespace,
    chosen: dict[int, list[str]],
    parts: Record,
    missing: dict[str, str],
) -> Record:
    """Return everything that is known until now."""
    search = next((part for part in parts.values() if part["method"] == "SCE-UA"), None)
    more = [n for n in arguments.basins if n > search["basins"]] if search else []
    asked = {
        name: value
        for name, value in vars(arguments).items()
        if name not in ("output", "resume", "quiet")
    }
    return {
        "settings": asked
        | {"train": TRAIN, "test": TEST, "network": NETWORK, "training": TRAINING},
        "parts": parts,
        "common": {str(n): basins for n, basins in chosen.items() if n <= arguments.calibrated},
        "sce_ua_extrapolated": {str(n): search["cpu_seconds_per_basin"] * n for n in more},
        "missing": missing,
    }


def prepare(argv: Sequence[str] | None) -> tuple[argparse.Namespace, dict[int, list[str]]]:
    """Return the arguments and the basins of each size.

    What cannot work is refused before hours of training.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        default="camels_us_daymet_500.nc",
        help="basins; looked for here, then in $PYDIFFGEO_DATA",
    )
    parser.add_argument("--basins", default="5,20,80,320", help="numbers of basins to train on")
    parser.add_argument(
        "--held-out", type=int, default=50, help="basins only judged, the same for all"
    )
    parser.add_argument("--steps", type=int, default=1500, help="optimiser steps of each training")
    parser.add_argument(
        "--calibrated",
        type=int,
        default=20,
        help="basins calibrated by SCE-UA, the first ones; 0 for none",
    )
    parser.add_argument(
        "--evaluations", type=int, default=3000, help="model runs per basin of SCE-UA"
    )
    parser.add_argument(
        "--components", type=int, default=1, help="of the network's HBV; SCE-UA has one"
    )
    parser.add_argument("--engine", choices=("auto", "julia", "torch"), default="auto")
    parser.add_argument(
        "--output", type=Path, default=HERE / "results" / "data_scaling", help="folder"
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep what is finished, go on with what is not"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    arguments = parser.parse_args(argv)
    try:
        arguments.basins = sorted({int(n) for n in arguments.basins.split(",")})
        known = [str(site) for site in open_sites(arguments.data, lazy=True).site.values]
        sizes = sorted({*arguments.basins, arguments.calibrated} - {0})
        chosen = {n: choose_sites(known, n, arguments.held_out)[0] for n in sizes}
        start_engine(arguments.engine)
    except (PyDiffGeoError, ValueError) as error:
        parser.error(str(error))
    return arguments, chosen


def main(argv: Sequence[str] | None = None) -> int:
    """Train, calibrate, judge and print; what is known is written after each part."""
    arguments, chosen = prepare(argv)
    output, progress, resume = arguments.output, not arguments.quiet, arguments.resume
    # the settings of a run do not know the evaluations: its name does
    search = f"hbv_{arguments.evaluations}"
    sizes = {f"trained_{n}": n for n in arguments.basins}
    if arguments.calibrated:
        sizes[f"{search}_sceua"] = arguments.calibrated
    parts: Record = {}
    missing = dict.fromkeys(sizes, "not run yet")
    output.mkdir(parents=True, exist_ok=True)
    for name, n in sizes.items():
        folder = output / name
        try:
            part: Record = {"method": "network", "basins": n}
            if name.startswith("trained_"):
                settings = experiment(arguments, name, n, arguments.components, arguments.steps)
                seconds = timed_training(settings, folder, resume, progress)
            else:
                settings = experiment(arguments, search, n, 1, None)
                calibrate(
                    settings, output, search, arguments.evaluations, None, resume, progress=progress
                )
                table = pd.read_csv(folder / "calibration.csv")
                seconds = float(
                    table.cpu_seconds.sum()
                )  # of the searches, without reading the data
                part |= {
                    "method": "SCE-UA",
                    "evaluations_per_basin": float(table.evaluations.mean()),
                }
            part |= {
                "cpu_seconds": seconds,
                "cpu_seconds_per_basin": None if seconds is None else seconds / n,
            }
            parts[name] = part | {"nse": judge(folder, n, chosen, arguments.calibrated)}
            del missing[name]
        except PyDiffGeoError as error:
            missing[name] = str(error)
            print(f"{name}: {error}", file=sys.stderr)
        result = summary(arguments, chosen, parts, missing)
        (output / "data_scaling.json").write_text(json.dumps(result, indent=1) + "\n")
    show(result)
    print(f"written to {output / 'data_scaling.json'}")
    if why := matplotlib_missing():
        print(why)
    elif parts:
        draw(output / "data_scaling.png", result)
        print(f"figure: {output / 'data_scaling.png'}")
    return 1 if missing else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; the same command with --resume goes on")
