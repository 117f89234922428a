"""How near do a canopy and networks come to the fluxes of a tower, measured and closed?

Reads what `pydiffgeo run flux_tower.yaml` wrote, and the files of the towers, and prints for each
run the error and NSE of latent heat, net ecosystem exchange and sensible heat on the test days,
as measured; and of both heats with the energy balance of the measurements closed at their Bowen
ratio by day, since they lack a fifth of the energy. Writes JSON and a figure.

    python benchmarks/flux_towers.py runs/flux_tower --data FOLDER --figure flux_tower.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table

import pydiffgeo as pdg

TOWERS = {"bi1": "US-Bi1", "me2": "US-Me2"}
RUNS = ("canopy", "default", "lstm", "mlp", "day_before", "half_hour_before")
FLUXES = {
    "latent_heat": "W m-2", "net_ecosystem_exchange": "umol m-2 s-1", "sensible_heat": "W m-2",
}  # fmt: skip
DAYLIGHT = 50.0  # W m-2 of available energy above which the balance is closed


def closed(data: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return latent and sensible heat that sum to the available energy, in their measured ratio."""
    available = (data.net_radiation - data.ground_heat_flux).values[0]
    latent, sensible = data.latent_heat.values[0], data.sensible_heat.values[0]
    sum_ = latent + sensible
    usable = (available > DAYLIGHT) & (sum_ > DAYLIGHT)
    factor = np.where(usable, available / np.where(usable, sum_, 1.0), 1.0)
    factor = np.where((factor > 0.5) & (factor < 3.0), factor, 1.0)
    return latent * factor, sensible * factor


def scores(simulated: np.ndarray, observed: np.ndarray) -> dict[str, float]:
    """Return root mean square error, bias and NSE."""
    error = simulated - observed
    spread = np.square(observed - observed.mean()).mean()
    return {
        "rmse": float(np.sqrt(np.square(error).mean())),
        "bias": float(error.mean()),
        "nse": float(1 - np.square(error).mean() / spread),
    }


def judged(folder: Path, tower: str, run: str, data: xr.Dataset) -> dict[str, Any] | None:
    """Return the scores of a run, or None where it was not run."""
    file = folder / f"{tower}_{run}" / "evaluation_test" / "series.nc"
    if not file.is_file():
        return None
    series = xr.load_dataset(file)
    series = series.isel(time=series["judged"].values)
    part = data.sel(time=series.time)
    corrected = dict(zip(("latent_heat", "sensible_heat"), closed(part), strict=True))
    out: dict[str, Any] = {"steps": series.sizes["time"]}
    for name in FLUXES:
        if name not in series:
            continue
        simulated = series[name].values[0].astype(float)
        out[name] = scores(simulated, part[name].values[0])
        if name in corrected:
            out[f"{name}, closed"] = scores(simulated, corrected[name])
    return out


def main() -> None:
    """Print the tables, and write results and figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/flux_tower"))
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    console, found = Console(width=150), dict[str, Any]()
    for tower, site in TOWERS.items():
        data = pdg.open_sites(given.data / f"{site}_halfhourly.csv", layout="flux_tower")
        table = Table(title=f"{site}: root mean square error, bias, NSE")
        columns = [*FLUXES, "latent_heat, closed", "sensible_heat, closed"]
        for name in ("run", *columns):
            table.add_column(name)
        for run in RUNS:
            if (of := judged(given.folder, tower, run, data)) is None:
                continue
            found[f"{tower}_{run}"] = of
            cells = [
                "{rmse:.1f} {bias:+.1f} {nse:.3f}".format(**of[k]) if k in of else "-"
                for k in columns
            ]
            table.add_row(run, *cells)
        console.print(table)
        net = float((data.net_radiation - data.ground_heat_flux).sum())
        heats = float((data.latent_heat + data.sensible_heat).sum())
        console.print(f"{site}: (LE + H) / (Rn - G) of the measurements is {heats / net:.2f}")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "flux_towers.json").write_text(json.dumps(found, indent=1))
    if given.figure:
        draw(given.folder, given.figure)


def draw(folder: Path, file: Path) -> None:
    """Draw the mean day of the test: measured, canopy, default, MLP."""
    figure, axes = plt.subplots(2, 3, figsize=(11, 5.5), sharex=True)
    lines = {"canopy": "canopy", "default": "default", "lstm": "LSTM", "mlp": "MLP"}
    for row, (tower, site) in zip(axes, TOWERS.items(), strict=True):
        for axis, (name, unit) in zip(row, FLUXES.items(), strict=True):
            for run, label in lines.items():
                file_of = folder / f"{tower}_{run}" / "evaluation_test" / "series.nc"
                series = xr.load_dataset(file_of)
                series = series.isel(time=series["judged"].values)
                hour = (series.time - np.timedelta64(15, "m")).dt.hour
                if run == "canopy":
                    day = series[f"{name}_observed"].isel(site=0).groupby(hour).mean()
                    axis.plot(day.hour + 0.5, day, "k.", label="measured")
                if name in series:
                    day = series[name].isel(site=0).groupby(hour).mean()
                    axis.plot(day.hour + 0.5, day, label=label)
            axis.set_title(f"{site}: {name.replace('_', ' ')}", fontsize=9)
            axis.set_ylabel(unit, fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("hour of the day")
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
