"""Which model predicts the assimilation of species that were never seen?

The runs of the example leaf_curves; a random forest from the same inputs; and one from traits and
climate to capacities that were fitted curve by curve, which the leaf model then takes
(forest_of_capacities). On several splits of the species: each has its own for training, for the
choice of the epoch (of the forest: of the size of its leaves) and for the judgement. Scores are
over all points of the species held out. Prints a table, writes JSON into results/. Runs that are
there already are not trained again.

    python benchmarks/leaf_species.py --splits 3

The forests need scikit-learn, which the package does not: pip install scikit-learn.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from pydiffgeo import MLP, Hybrid, Photosynthesis, Windows, evaluate, stages
from pydiffgeo.evaluation import pooled_scores
from pydiffgeo.experiment import (
    Experiment,
    build_hybrid,
    load_experiment,
    load_sites,
    train,
    write_example,
)
from pydiffgeo.experiment import judge as judge_runs
from pydiffgeo.training import calibrate, calibrated

HERE = Path(__file__).resolve().parent
RUNS = (
    "defaults", "learned_by_pft", "learned_v", "learned_all", "plain_network",
    "defaults_ci", "learned_v_ci", "plain_network_ci",
)  # fmt: skip
MEASURES = ("correlation", "rmse", "bias", "nse")
WIDE = {"V_cmax25": (2.0, 400.0), "J_max25": (5.0, 600.0), "R_d25": (0.01, 15.0)}
TREES = 300
LEAVES = (1, 3, 10, 30)  # fewest points of a leaf of the forest, chosen by the validation species


def split_of(experiment: Experiment, seed: int) -> Experiment:
    """Return the runs with another split of the species, and the seed of their networks."""
    runs = {}
    for name in RUNS:
        settings = experiment.runs[name]
        data = settings.data.model_copy(update={"split_seed": seed})
        training = settings.training.model_copy(update={"seed": seed})
        runs[name] = settings.model_copy(update={"data": data, "training": training})
    return replace(experiment, runs=runs)


def forest(settings: Any, seed: int) -> dict[str, dict[str, float]]:
    """Return the scores of a random forest by group of species; nothing without scikit-learn."""
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError:
        print("no random forest: scikit-learn is not installed")
        return {}
    data = load_sites(settings, [build_hybrid(settings)])
    tables = {}
    for group, sites in (data.groups or {}).items():
        part = data.sites.sel(site=list(sites))
        series = [part[name].values for name in settings.data.forcing]
        shape = series[0].shape
        static = [
            np.broadcast_to(part[name].values[:, None], shape) for name in settings.data.attributes
        ]
        inputs = np.stack([*series, *static], -1).reshape(-1, len(series) + len(static))
        target = part["assimilation"].values.ravel()
        known = np.isfinite(target)
        tables[group] = inputs[known], target[known]
    options = {"n_estimators": TREES, "max_features": 0.5, "random_state": seed, "n_jobs": 1}
    fitted = [
        RandomForestRegressor(min_samples_leaf=least, **options).fit(*tables["trained"])
        for least in LEAVES
    ]
    inputs, target = tables["validation"]
    errors = [np.mean((one.predict(inputs) - target) ** 2) for one in fitted]
    best = fitted[int(np.argmin(errors))]
    return {
        group: pooled_scores(best.predict(inputs), target, MEASURES)
        for group, (inputs, target) in tables.items()
    }


def forest_of_capacities(settings: Any, seed: int) -> list[dict[str, Any]]:
    """Return the scores of the leaf model with capacities that a forest gives, Ca and Ci known."""
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError:
        return []
    data = load_sites(settings, [build_hybrid(settings)])
    names = ["V_cmax25", "J_max25", "R_d25"]
    options: dict[str, Any] = {"engine": "torch", "learn": names, "bounds": WIDE}
    inside = stages.Process(Photosynthesis(stomata="measured_ci", ratios=False), **options)
    outside = stages.Process(
        Photosynthesis(ratios=False), given={"g1": "g1_of_pft"},
        forcing={"soil_water_stress": 1.0}, **options,
    )  # fmt: skip
    seen = Windows(data.training, observed=["assimilation"], attributes=[], dtype=torch.float64)
    _, table = calibrate(
        Hybrid(MLP(), inside), seen, observed="assimilation", method="gauss_newton", progress=False
    )
    known = (table["V_cmax25_error"] < table["V_cmax25"] / 2).to_numpy()
    traits = np.stack([data.sites[name].values for name in settings.data.attributes], 1)
    first = traits[: len(table)][known]  # the sites trained on come first
    grown = RandomForestRegressor(
        n_estimators=TREES, min_samples_leaf=3, max_features=0.5, random_state=seed, n_jobs=1
    )
    grown.fit(first, np.log(table.loc[known, names].to_numpy()))
    given = np.exp(grown.predict(traits))
    ids, rows = [str(site) for site in data.sites.site.values], []
    for name, leaf in (("forest_of_capacities", outside), ("forest_of_capacities_ci", inside)):
        model = calibrated(Hybrid(MLP(), leaf), ids).prepare(data.sites)
        for site, values in zip(ids, given, strict=True):
            model.network.set(site, dict(zip(names, values, strict=True)))
        found = evaluate(model, data.sites, observed=["assimilation"], groups=data.groups)
        rows += [{"run": name, **row} for row in found.pooled().to_dict("records")]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--output", type=Path, default=HERE / "results")
    given = parser.parse_args()
    (written,) = write_example("leaf_curves", given.output, overwrite=True)
    experiment = load_experiment(written)
    rows: list[dict[str, Any]] = []
    for seed in range(given.splits):
        folder = given.output / "leaf_species" / f"split_{seed}"
        here = split_of(experiment, seed)
        left = [name for name in RUNS if not (folder / name / "evaluation_test").is_dir()]
        if left:
            train(here, folder, left, resume=True, progress=False)
            judge_runs([folder / name for name in left], progress=False, figures=False)
        for name in RUNS:
            table = pd.read_csv(folder / name / "evaluation_test" / "pooled.csv")
            rows += [{"split": seed, "run": name, **row} for row in table.to_dict("records")]
        for end in ("", "_ci"):
            found = forest(here.runs[f"plain_network{end}"], seed)
            name = f"forest{end}"
            rows += [{"split": seed, "run": name, "group": g, **v} for g, v in found.items()]
        more = forest_of_capacities(here.runs["learned_v"], seed)
        rows += [{"split": seed, **row} for row in more]
        shown = pd.DataFrame(rows)
        print(shown[(shown.split == seed) & (shown.group == "held out")].to_string(index=False))
    table = pd.DataFrame(rows)
    means = table.groupby(["group", "run"], sort=False)[list(MEASURES)].mean()
    spread = table.groupby(["group", "run"], sort=False)[list(MEASURES)].std()
    print(f"means over {given.splits} splits\n{means.round(3).to_string()}")
    print(f"standard deviations\n{spread.round(3).to_string()}")
    held = table[table.group == "held out"]
    for end, part in held.groupby(held["run"].str.endswith("_ci")):
        best = part.loc[part.groupby("split")["rmse"].idxmin(), ["split", "run", "rmse"]]
        print(f"smallest error, {'Ci' if end else 'Ca'} known\n{best.to_string(index=False)}")
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "leaf_species.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
