"""How well, and how fast, are curves of single leaves fitted, and do the capacities agree with
those that the authors of the data found?

The run each_curve of the example leaf_curves, all curves at once and the first 60 of C3 leaves (on
which PhoTorch 1.4.7 reached 1.197 umol m-2 s-1 in 133 s); and both runs of leaf_temperature: the
capacities of each curve at its temperature, and the peaked response of each plant with a band of
two standard errors. Prints tables, writes JSON and a figure into results/.

    python benchmarks/leaf_fits.py
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pydiffgeo import Hybrid, Windows, open_sites
from pydiffgeo.evaluation import matplotlib_missing, new_figure, save_figure
from pydiffgeo.experiment import build_hybrid, load_experiment, write_example
from pydiffgeo.training import LeastSquares, calibrate, calibrated, least_squares

HERE = Path(__file__).resolve().parent
CURVES, WARM = "lce_aci_curves.csv", "aci_temperature_response_cdmuir.csv"
AUTHORS = {"V_cmax25": "Vcmax_Tleaf_umol_m2_s", "J_max25": "Jmax_Tleaf_umol_m2_s"}
SURE = 0.2  # relative standard error below which a capacity is known
GAS = 8.3144598  # J mol-1 K-1
DRAWS = 400  # of parameters, for the band


def hybrids(name: str, folder: Path, *runs: str) -> list[Hybrid]:
    """Return the hybrids of some runs of an example."""
    (written,) = write_example(name, folder, overwrite=True)
    experiment = load_experiment(written)
    return [build_hybrid(experiment.runs[run]) for run in runs]


def fitted(hybrid: Hybrid, sites: Any) -> tuple[pd.DataFrame, float]:
    """Return the table of a fit, and its seconds, checks of the records included."""
    start = time.perf_counter()
    windows = Windows(sites, observed=["assimilation"], attributes=[], dtype=torch.float64)
    _, table = calibrate(
        hybrid, windows, observed="assimilation", method="gauss_newton", progress=False
    )
    return table, time.perf_counter() - start


def with_correlation(hybrid: Hybrid, sites: Any) -> LeastSquares:
    """Return the fit of all sites with the correlation of the errors."""
    names = [str(site) for site in sites.site.values]
    windows = Windows(sites, observed=["assimilation"], attributes=[], dtype=torch.float64)
    model = calibrated(hybrid, names).prepare(windows)
    batch = windows.reading(model.reads, ("assimilation",), ()).batch(0)
    return least_squares(model, batch, "assimilation")


def pooled(table: pd.DataFrame) -> float:
    """Return the RMSE over all points."""
    return math.sqrt((table.rmse**2 * table.points).sum() / table.points.sum())


def response(spec: Any, name: str, values: dict[str, Any], warm: NDArray) -> NDArray:
    """Return the factor of a rate at some temperatures (degC), by parameters or the defaults.

    Medlyn et al. (2002), doi:10.1046/j.1365-3040.2002.00891.x, equation 17.
    """
    activation, deactivation, entropy = (
        values.get(f"{name}_{what}", spec[f"{name}_{what}"].default)
        for what in ("activation", "deactivation", "entropy")
    )
    kelvin, standard = warm + 273.15, 298.15
    rise = np.exp(activation * (1 / standard - 1 / kelvin) / GAS)
    lost, at_standard = (1 + np.exp((entropy - deactivation / t) / GAS) for t in (kelvin, standard))
    return rise * at_standard / lost


def curves(folder: Path, output: Path) -> dict[str, Any]:
    """Fit the curves of LCE and compare their capacities with those of the authors."""
    (hybrid,) = hybrids("leaf_curves", output, "each_curve")
    spec = hybrid.stages[0].model.spec.parameters
    sites = open_sites(folder / CURVES)
    c3 = sites.isel(site=np.flatnonzero(sites.pathway.values == "C3"))
    found: dict[str, Any] = {}
    for label, part in (("first 60", c3.isel(site=slice(60))), ("all", c3)):
        table, seconds = fitted(hybrid, part)
        found[label] = {
            "curves": len(table), "rmse": pooled(table), "seconds": seconds,
            "median_rmse": float(table.rmse.median()), "converged": float(table.converged.mean()),
        }  # fmt: skip
    warm = part.Tleaf_degC.values
    for name, column in AUTHORS.items():
        own = table[name] * response(spec, name.removesuffix("25"), {}, warm)
        theirs = part[column].values
        sure = (table[f"{name}_error"] / table[name] < SURE).to_numpy() & np.isfinite(theirs)
        ratio = (own / theirs)[sure]
        found[f"{name} at Tleaf against the authors'"] = {
            "curves": int(sure.sum()), "median_ratio": float(ratio.median()),
            "within_10_percent": float((abs(ratio - 1) < 0.1).mean()),
            "correlation": float(np.corrcoef(own[sure], theirs[sure])[0, 1]),
            "correlation_of_logarithms": float(
                np.corrcoef(np.log(own[sure]), np.log(theirs[sure]))[0, 1]
            ),
        }  # fmt: skip
    return found


def optimum(values: dict[str, NDArray], name: str, deactivation: float) -> NDArray:
    """Return the temperature (degC) at which a peaked response is highest."""
    activation, entropy = values[f"{name}_activation"], values[f"{name}_entropy"]
    gas = 8.3144598
    return (
        deactivation / (entropy - gas * np.log(activation / (deactivation - activation))) - 273.15
    )


def temperature(folder: Path, output: Path) -> dict[str, Any]:
    """Fit the responses of both plants, and draw them with the capacities of single curves."""
    whole, alone = hybrids("leaf_temperature", output, "by_plant", "by_curve")
    spec = whole.stages[0].model.spec.parameters
    plants = open_sites(folder / WARM, options={"site": "plant_id"})
    single = open_sites(folder / WARM)
    (table, seconds), (each, _) = fitted(whole, plants), fitted(alone, single)
    fit = with_correlation(whole, plants)
    found: dict[str, Any] = {"seconds": seconds, "rmse": pooled(table), "curves_rmse": pooled(each)}
    warm = np.linspace(15.0, 42.0, 109)
    own_warm = np.nanmean(single.leaf_temperature.values, 1)
    random, names = np.random.default_rng(0), list(fit.parameters)
    drawing = not matplotlib_missing()
    figure, axes = new_figure(1, 2, (9.0, 3.8)) if drawing else (None, np.empty((1, 2), object))
    for k, plant in enumerate(table.site):
        mean = np.array([fit.parameters[name][k] for name in names])
        error = np.nan_to_num([fit.errors[name][k] for name in names])
        cover = fit.correlation[k] * error[:, None] * error
        draws = random.multivariate_normal(mean, cover, DRAWS)
        drawn = {name: draws[:, i, None] for i, name in enumerate(names)}
        fixed = {"V_cmax_deactivation": 2e5, "J_max_deactivation": 2e5}
        one = {name: values[k] for name, values in fit.parameters.items()}
        found[plant] = {n: [float(one[n]), float(fit.errors[n][k])] for n in names}
        for axis, rate in zip(axes[0], ("V_cmax", "J_max"), strict=True):
            best = optimum(drawn, rate, 2e5)
            found[plant][f"{rate}_optimum"] = [
                float(optimum({n: np.array(v) for n, v in one.items()}, rate, 2e5)),
                float(np.nanstd(best)),
            ]
            if axis is None:
                continue
            line = one[f"{rate}25"] * response(spec, rate, one | fixed, warm)
            band = drawn[f"{rate}25"] * response(spec, rate, drawn | fixed, warm)
            low, high = np.quantile(band, [0.025, 0.975], axis=0)
            tint = f"C{k}"
            axis.fill_between(warm, low, high, color=tint, alpha=0.2, linewidth=0)
            axis.plot(warm, line, color=tint, label=plant)
            mine = single.plant_id.values == plant
            factor = response(spec, rate, {}, own_warm[mine])
            value, spread = (each[f"{rate}25{end}"][mine].to_numpy() for end in ("", "_error"))
            axis.errorbar(own_warm[mine], value * factor, 2 * spread * factor, fmt="o", color=tint,
                          markersize=4, linewidth=0.8)  # fmt: skip
            axis.set(xlabel="leaf temperature (degC)", ylabel=f"{rate} (umol m-2 s-1)")
            axis.legend(fontsize=8)
    if figure is not None:
        save_figure(figure, output / "leaf_temperature.png")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/photosynthesis"))
    parser.add_argument("--output", type=Path, default=HERE / "results")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.output.mkdir(parents=True, exist_ok=True)
    found = {
        "curves": curves(given.data, given.output),
        "temperature": temperature(given.data, given.output),
    }
    for title, rows in found.items():
        print(title)
        for name, row in rows.items():
            print(f"  {name}: {row}")
    (given.output / "leaf_fits.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
