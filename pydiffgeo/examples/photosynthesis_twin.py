"""Can photosynthesis tell V_cmax25 of plants and how soils hold water? A twin experiment.

    python photosynthesis_twin.py --data LEAVES.csv     # 446 leaves, half a minute of one core

Assimilation of leaves is simulated with V_cmax25 of plant functional types and with an exponent B
that follows from sand, clay and organic matter; noise is added. A table of the types and a network
of the soil must find both from the assimilation of 339 leaves; the later 107 are judged. After the
synthetic experiments of Aboelyazeed et al. (2023), doi:10.5194/bg-20-2671-2023, whose code, with
the form of photosynthesis of FATES, made the file. docs/learned_photosynthesis.md says what came
out.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

import pydiffgeo as pdg
from pydiffgeo import losses, stages
from pydiffgeo.data import find_data
from pydiffgeo.evaluation import new_figure, print_table, save_figure, write_table

F64 = torch.float64
SOIL = ("soil_clay_0", "soil_sand_0", "soil_OM_0")  # percent, percent, fraction
FOLDS = 5
LOSS = losses.MSE("assimilation")  # its minimum is that of the RMSE
# V_cmax25 by default of FATES, umol m-2 s-1; the truth has that of CLM 4.5
DEFAULTS = {
    "Crop R": 78.0, "C3 grass": 78.0, "C4 grass": 78.0, "NET Boreal": 65.0, "NET Temperate": 65.0,
    "BET Temperate": 62.0, "BDS Temperate": 54.0,
}  # fmt: skip


@dataclass
class Fit:
    """A trained hybrid, and what cross-validation and the curvature of the loss say of it.

    `error` is the RMSE of cross-validation, `spread` the standard errors of parameters by name,
    [leaf]; `seconds` are of the processor.
    """

    hybrid: pdg.Hybrid
    decay: float
    error: float
    spread: dict[str, np.ndarray]
    evaluations: int
    seconds: float


def leaves(path: Path, observed: str) -> xr.Dataset:
    """Return a site for each row of the file; `observed` is the column of assimilation."""
    table = {name: {"V_default": value} for name, value in DEFAULTS.items()}
    return pdg.open_sites(
        path, "points", options={"site": ""},
        names={"SMC_0": "soil_wetness", observed: "assimilation", "PFT": "pft"},
        units={"assimilation": "umol m-2 s-1", "epsi_o": "mm", "epsi_c": "mm"},
        derive={
            "classes": "pft", "class_values": {"of": "pft", "table": table},
            "clapp_hornberger": {"sand": "soil_sand_0", "clay": "soil_clay_0"},
        },
    )  # fmt: skip


def made(sites: xr.Dataset, v: str | None, b: str | None = "") -> pdg.Hybrid:
    """Return the hybrid: V_cmax25 of an attribute, or learned (None); B likewise, "" for none."""
    model = pdg.Photosynthesis(  # as FATES has it
        "both", co2_at="surface", humidity_at="surface", kinetics="mole_fraction"
    )
    given = {"g1": "medslope", "g1_c4": "medslope", "c4": "pft_c4_grass"}
    leaf = stages.Process(
        model,
        engine="torch",  # Julia would take longer to start than a few hundred leaves take
        learn=["V_cmax25"] if v is None else [],
        given=given if v is None else {**given, "V_cmax25": v},
        bounds={"V_cmax25": (20.0, 150.0)} if v is None else None,
        forcing={"soil_water_stress": 1.0} if b == "" else None,
    )
    saturated = (
        "saturated_potential" if b else None
    )  # the truth takes the potential of open stomata
    soil = stages.SoilWaterStress("soil_wetness", (1.0,), "epsi_o", "epsi_c", saturated, b)
    classes = tuple(name for name in map(str, sites) if name.startswith("pft_"))
    table = pdg.MLP(classes, hidden=(), small_start=True)  # without hidden layers: a row per type
    of_soil = pdg.MLP(SOIL, hidden=(), small_start=True)
    network: torch.nn.Module | None = None
    if v is None:
        network = pdg.Mixed(table, named={"B": of_soil}) if b is None else table
    elif b is None:
        network = of_soil
    return pdg.Hybrid(network, *([leaf] if b == "" else [soil, leaf]), dtype=F64)


def batch_of(hybrid: pdg.Hybrid, sites: xr.Dataset) -> pdg.Batch:
    """Return all leaves as one batch."""
    windows = pdg.Windows(sites, dtype=F64)
    read = windows.reading(hybrid.reads, [LOSS.observed], hybrid.needs)
    return next(read.periods(len(sites.site)))


def fitted(
    sites: xr.Dataset, v: str | None, b: str | None = "", decay: float = 0.0,
    start: pdg.Hybrid | None = None,
) -> Fit:  # fmt: skip
    """Train a hybrid by L-BFGS, from the weights of another one if it is given.

    `decay` times the squared weights of the soil's network is added to the loss, so that a soil of
    which the leaves say little is near the mean of all.
    """
    begin = time.process_time()
    hybrid = made(sites, v, b)
    hybrid.prepare(sites)
    if start is not None:
        hybrid.load_state_dict(start.state_dict())
    batch, count = batch_of(hybrid, sites), 0
    weights = dict(hybrid.named_parameters())
    soil = len(SOIL) if b is None else 0  # the last weights but one, its bias
    pulled = torch.zeros(sum(w.numel() for w in weights.values()), dtype=F64)
    pulled[len(pulled) - 1 - soil : len(pulled) - 1] = decay

    def closure() -> Tensor:
        nonlocal count
        count += 1
        optimiser.zero_grad()
        flat = torch.cat([w.flatten() for w in weights.values()])
        value = LOSS(hybrid(batch), batch.observed, batch) + (pulled * flat.square()).sum()
        value.backward()
        return value

    optimiser = torch.optim.LBFGS(
        list(weights.values()), max_iter=200, history_size=20, line_search_fn="strong_wolfe",
        tolerance_grad=1e-7, tolerance_change=1e-11,
    )  # fmt: skip
    optimiser.step(closure)
    error, spread = judged_by_itself(hybrid, batch, pulled)
    return Fit(hybrid, decay, error, spread, count, time.process_time() - begin)


def judged_by_itself(
    hybrid: pdg.Hybrid, batch: pdg.Batch, pulled: Tensor
) -> tuple[float, dict[str, np.ndarray]]:
    """Return the RMSE of cross-validation, and standard errors of the parameters, [leaf].

    The equations are linear near the minimum: what the leaves of a fold would be simulated as
    without them follows from their residuals r and their part of the hat matrix, (1 - H)^-1 r.
    """
    given = hybrid.parameters_of(batch)
    simulated = hybrid.run(batch, given)["assimilation"][:, 0]
    slopes = torch.autograd.grad(simulated.sum(), list(given.values()), retain_graph=True)
    residuals = (simulated - batch.observed["assimilation"][:, 0]).detach()
    count, weights = len(residuals), list(hybrid.parameters())
    by_name, rows = {}, torch.zeros(count, len(pulled), dtype=F64)
    for (name, values), slope in zip(given.items(), slopes, strict=True):
        parts = torch.autograd.grad(
            values[:, 0], weights, torch.eye(count, dtype=F64), retain_graph=True,
            is_grads_batched=True, allow_unused=True,
        )  # fmt: skip
        whole = [
            torch.zeros(count, w.numel(), dtype=F64) if part is None else part.reshape(count, -1)
            for part, w in zip(parts, weights, strict=True)
        ]
        by_name[name] = torch.cat(whole, 1)
        rows = rows + slope * by_name[name]
    curvature = rows.T @ rows / count + torch.diag(pulled)
    inverse = torch.linalg.pinv(curvature, hermitian=True, rtol=1e-10) / count
    hat = rows @ inverse @ rows.T
    fold, squares = np.random.default_rng(0).permutation(np.arange(count) % FOLDS), 0.0
    for k in range(FOLDS):
        own = torch.tensor(np.flatnonzero(fold == k))
        block = torch.eye(len(own), dtype=F64) - hat[own][:, own]
        squares += float(torch.linalg.solve(block, residuals[own]).square().sum())
    variance = residuals.square().sum() / (count - hat.trace())
    spread = {
        name: (((part @ inverse) * part).sum(1) * variance).sqrt().numpy()
        for name, part in by_name.items()
    }
    return (squares / count) ** 0.5, spread


def chosen(sites: xr.Dataset, v: str | None, decays: list[float]) -> list[Fit]:
    """Return the fits for each decay, one after the other, that of the least error first."""
    fits: list[Fit] = []
    for decay in decays:
        fits.append(fitted(sites, v, None, decay, fits[-1].hybrid if fits else None))
    return sorted(fits, key=lambda fit: fit.error)


def parameters_of(hybrid: pdg.Hybrid, sites: xr.Dataset) -> dict[str, np.ndarray]:
    """Return the learned parameters of leaves by name."""
    with torch.no_grad():
        found = hybrid.parameters_of(batch_of(hybrid, sites))
    return {name: values[:, 0].numpy() for name, values in found.items()}


def scores(
    label: str, hybrid: pdg.Hybrid, train: xr.Dataset, test: xr.Dataset
) -> list[dict[str, object]]:
    """Return correlation, RMSE, bias and NSE over all points of training and test."""
    rows = []
    for part, sites in (("training", train), ("test", test)):
        table = pdg.evaluate(hybrid, sites, warm_up=0).pooled()
        rows.append({"run": label, "part": part, **table.iloc[0].drop("observed")})
    return rows


def of_types(sites: xr.Dataset, fit: Fit) -> pd.DataFrame:
    """Return V_cmax25 of each type: true, learned, and its error and standard error in percent."""
    found, truth = parameters_of(fit.hybrid, sites)["V_cmax25"], sites.vcmax_CLM45.values
    rows = []
    for name in dict.fromkeys(sites.pft.values):
        own = sites.pft.values == name
        k = int(np.argmax(own))
        error, spread = found[k] - truth[k], fit.spread["V_cmax25"][k]
        row = {"pft": str(name), "leaves": int(own.sum()), "true": truth[k], "learned": found[k]}
        rows.append(row | {"error": 100 * error / truth[k], "spread": 100 * spread / truth[k]})
    return pd.DataFrame(rows)


def draw(
    types: dict[str, pd.DataFrame], b: tuple[np.ndarray, ...], simulated: dict[str, xr.Dataset],
    path: Path,
) -> None:  # fmt: skip
    """Draw errors of V_cmax25, B against the truth, and assimilation against what was observed.

    Bars are two standard errors.
    """
    figure, [axes] = new_figure(1, 3, (11.0, 3.5))
    for k, (label, table) in enumerate(types.items()):
        rows = np.arange(len(table)) + 0.3 * k
        axes[0].errorbar(table["error"], rows, xerr=2 * table["spread"], fmt=".", label=label)
        axes[0].set_yticks(np.arange(len(table)), table["pft"])
    axes[0].axvline(0.0, color="0.6", linewidth=0.8)
    axes[0].set(xlabel="error of V_cmax25 (percent)")
    truth, found, spread = b
    axes[1].errorbar(truth, found, 2 * spread, fmt=".", elinewidth=0.5, label="V + B, a soil each")
    axes[1].set(xlabel="true B", ylabel="learned B")
    for label, data in simulated.items():
        pair = data["assimilation_observed"].values.ravel(), data["assimilation"].values.ravel()
        axes[2].plot(*pair, ".", markersize=4, label=f"V + B, {label}")
    axes[2].set(xlabel="observed assimilation (umol m-2 s-1)", ylabel="simulated")
    for axis in axes[1:]:
        ends = axis.get_xlim()
        axis.plot(ends, ends, color="0.6", linewidth=0.8, zorder=0)
    for axis in axes:
        axis.legend(fontsize=8)
    save_figure(figure, path)


def main() -> None:
    """Read the file; learn V alone, then V and B; compare both with defaults."""
    read = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    read.add_argument(
        "--data",
        type=Path,
        default=Path("photosynthesis/diffecosys_fates_twin_446.csv"),
        help="here, in $PYDIFFGEO_DATA or in ../shared/data",
    )
    read.add_argument("--output", type=Path, default=Path("runs/photosynthesis_twin"))
    read.add_argument("--decays", type=float, nargs="+", default=[0, 1e-3, 3e-3, 1e-2, 3e-2, 0.1])
    given = read.parse_args()
    torch.set_num_threads(1)
    torch.optim.LBFGS([torch.zeros(1, requires_grad=True)])  # which imports for a second, once
    path, out = find_data(given.data), given.output
    out.mkdir(parents=True, exist_ok=True)

    sites = leaves(path, "An_noisy_onepar")  # without stress of water
    train, test = (sites.isel(site=sites.split.values == part) for part in ("train", "test"))
    one = fitted(train, None)
    types = {"V": of_types(train, one)}
    rows = scores("V, no stress", one.hybrid, train, test)
    print_table(types["V"], f"V learned, {one.evaluations} evaluations, {one.seconds:.2f} s")

    sites = leaves(path, "An_noisy_twopar")
    train, test = (sites.isel(site=sites.split.values == part) for part in ("train", "test"))
    both = chosen(train, None, given.decays)
    best, truth = both[0], train.B_synthetic.values
    types["V + B"] = of_types(train, best)
    told = f"V + B learned, decay {best.decay:g}, {best.evaluations} evaluations"
    print_table(types["V + B"], f"{told}, {best.seconds:.2f} s")
    by_decay = [
        {
            "decay": fit.decay,
            "cross_validation": fit.error,
            "test_rmse": scores("", fit.hybrid, train, test)[1]["rmse"],
            "largest_error_of_V": of_types(train, fit)["error"].abs().max(),
            "correlation_of_B": np.corrcoef(parameters_of(fit.hybrid, train)["B"], truth)[0, 1],
            "seconds": fit.seconds,
        }
        for fit in sorted(both, key=lambda fit: fit.decay)
    ]
    print_table(by_decay, "Decay of the soil's network", {"cross_validation": "min"})

    runs = {"V_def + B_def": ("V_default", "clapp_hornberger_b"), "V_def + B": ("V_default", None),
            "V + B_def": (None, "clapp_hornberger_b")}  # fmt: skip
    table = []
    for label, (v, b) in runs.items():
        fit = fitted(train, v, b, best.decay) if None in (v, b) else None
        hybrid = made(train, v, b).prepare(train) if fit is None else fit.hybrid
        table += scores(label, hybrid, train, test)
    table += scores("V + B", best.hybrid, train, test)
    print_table(table, "All leaves together")

    write_table(rows + table, out / "scores")
    write_table(by_decay, out / "decays")
    write_table(pd.concat({k: t.assign(run=k) for k, t in types.items()}), out / "types")
    soils = np.unique(np.round(truth, 6), return_index=True)[1]
    learned, spread = parameters_of(best.hybrid, train)["B"], best.spread["B"]
    judged = {k: pdg.evaluate(best.hybrid, s, warm_up=0).data
              for k, s in (("training", train), ("test", test))}  # fmt: skip
    draw(types, (truth[soils], learned[soils], spread[soils]), judged, out / "twin.png")


if __name__ == "__main__":
    main()
