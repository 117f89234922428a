"""What is a hybrid worth in a region without gauges? HUC-2 regions of CAMELS-US left out in turn.

Trains HBV with parameters by a network of attributes, and an LSTM, once without the basins of each
region, and judges them there in later years. The baseline is what hydrologists do without a
network: HBV is calibrated in every basin by itself (Adam through the solver), and a basin of the
region left out takes the parameters of the nearest basin outside of it, or of the one whose
attributes are most alike. Prints medians of NSE and KGE by region and over all basins, differences
of the medians to HBV with 95 % intervals of basins drawn together, and writes JSON into results/.
Trainings that are there already are not done again.

    python benchmarks/regions.py benchmarks/regions.yaml
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from forcing_fusion import interval
from torch import Tensor
from two_teachers import without

from pydiffgeo import Windows
from pydiffgeo.evaluation import kge, nse, print_table
from pydiffgeo.experiment import (
    Experiment,
    build_hybrid,
    load_experiment,
    load_sites,
    predict,
    train,
)

HERE = Path(__file__).resolve().parent
TRAINED, OWN = ("hbv", "lstm"), "calibrated"
RADIUS = 6371.0  # km, of the Earth
WARM_UP = 365


def judged(data: xr.Dataset, days: tuple[str, str]) -> xr.Dataset:
    """Return NSE and KGE of each site in some days, of `discharge` and what was observed."""
    some = data.sel(time=slice(*days)).transpose("site", ...)
    pairs = list(zip(some["discharge"].values, some["discharge_observed"].values, strict=True))
    found = {m.__name__: ("site", [m(s, o) for s, o in pairs]) for m in (nse, kge)}
    return xr.Dataset(found, {"site": some.site})


def left_out(
    experiment: Experiment, run: str, output: Path, region: str, sites: list[str], file: Path
) -> xr.Dataset:
    """Return the scores of a run at the sites of a region that it was trained without."""
    place = output / region
    if not (place / run / "history.csv").is_file():
        train(without(experiment, run, sites), place, progress=False)
    path = place / f"{run}.nc"
    found = predict(place / run, file, path, sites=sites, series=(), overwrite=True).data
    return judged(found, experiment.runs[run].data.test.days)


def nearest(lat: np.ndarray, lon: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Return for each basin the place of the nearest one of another region, by great circles."""
    a, b = np.radians(lat), np.radians(lon)
    half = (
        np.sin((a[:, None] - a) / 2) ** 2
        + np.cos(a[:, None]) * np.cos(a) * np.sin((b[:, None] - b) / 2) ** 2
    )
    return _closest(2 * RADIUS * np.arcsin(np.sqrt(half)), region)


def most_alike(attributes: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Return for each basin the place of the one of another region with the nearest attributes, in
    ranks: their scales differ, and some are skewed.
    """
    ranks = attributes.argsort(0).argsort(0) / len(attributes)
    return _closest(np.linalg.norm(ranks[:, None] - ranks, axis=2), region)


def _closest(apart: np.ndarray, region: np.ndarray) -> np.ndarray:
    return np.where(region[:, None] == region, np.inf, apart).argmin(1)


def calibrate(experiment: Experiment, steps: int) -> tuple[Any, Tensor, Any]:
    """Return the hybrid, the unbounded parameters [parameter, basin] of each basin calibrated by
    itself on its NSE, and the records.
    """
    settings = experiment.runs[OWN]
    hybrid = build_hybrid(settings)
    data = load_sites(settings, [hybrid])
    hybrid.prepare(data.training)
    z = torch.zeros(len(hybrid.learns), data.sites.sizes["site"], requires_grad=True)
    adam = torch.optim.Adam([z], lr=0.1)
    batch, observed = _batch(hybrid, data.sites, None, settings.data.train.days[1])
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = 0.1 * (1 - step / steps) + 0.005
        adam.zero_grad()
        flow = _run(hybrid, batch, z)
        known = observed.isfinite()
        error = torch.where(known, flow - observed, 0.0).square().sum(1)
        mean = torch.where(known, observed, 0.0).sum(1) / known.sum(1)
        spread = torch.where(known, observed - mean[:, None], 0.0).square().sum(1)
        loss = (error / spread).sum()
        loss.backward()
        adam.step()
        if step % 20 == 0:
            print(
                f"calibration, step {step}: mean NSE {1 - float(loss.detach()) / len(flow):.4f}",
                flush=True,
            )
    return hybrid, z.detach(), data


def _batch(hybrid: Any, sites: xr.Dataset, start: str | None, end: str) -> tuple[Any, Tensor]:
    windows = Windows(sites, dtype=hybrid.dtype).reading(hybrid.reads, ["discharge"], hybrid.needs)
    [batch] = windows.periods(sites.sizes["site"], start, end, warm_up=WARM_UP)
    return batch, batch.observed["discharge"][:, WARM_UP:]


def _run(hybrid: Any, batch: Any, z: Tensor) -> Tensor:
    physical = {k: b.to_physical(row) for (k, b), row in zip(hybrid.learns.items(), z, strict=True)}
    return hybrid.run(batch, hybrid.learned.learned.shaped(physical))["discharge"][:, WARM_UP:]


def transferred(experiment: Experiment, output: Path, steps: int) -> dict[str, xr.Dataset]:
    """Return scores of basins with their own parameters, and with those of other regions."""
    kept = output / "calibrated.nc"
    settings = experiment.runs[OWN]
    if kept.is_file():
        whole = xr.load_dataset(kept)
    else:
        hybrid, z, data = calibrate(experiment, steps)
        sites = data.sites
        huc = sites["huc_02"].values.astype(str)
        values = np.stack([sites[k].values for k in settings.data.attributes], 1)
        places = {
            "own parameters": np.arange(len(huc)),
            "nearest basin": nearest(sites["lat"].values, sites["lon"].values, huc),
            "most alike basin": most_alike(values, huc),
        }
        batch, observed = _batch(hybrid, sites, *settings.data.test.days)
        parts = {}
        for name, row in places.items():
            with torch.no_grad():
                flow = _run(hybrid, batch, z[:, row])
            parts[name] = [[m(s, o) for s, o in zip(flow.numpy(), observed.numpy(), strict=True)]
                           for m in (nse, kge)]  # fmt: skip
        whole = xr.Dataset(
            {"score": (("how", "measure", "site"), list(parts.values()))},
            {"how": list(parts), "measure": ["nse", "kge"], "site": sites.site.values.astype(str)},
        )
        whole.to_netcdf(kept)
    return {str(how): whole.score.sel(how=how).to_dataset("measure") for how in whole.how.values}


def main() -> None:
    """Train, judge, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/regions"))
    parser.add_argument("--run", action="append", help="hbv, lstm, calibrated; all by default")
    parser.add_argument("--region", action="append", help="all of the 18 by default")
    parser.add_argument("--steps", type=int, default=150, help="of the calibration")
    given = parser.parse_args()
    torch.set_num_threads(1)
    experiment = load_experiment(given.settings)
    given.runs.mkdir(parents=True, exist_ok=True)
    runs = given.run or [*TRAINED, OWN]
    found = transferred(experiment, given.runs, given.steps) if OWN in runs else {}
    settings = next(iter(experiment.runs.values()))
    sites = load_sites(settings, [build_hybrid(settings)]).sites
    huc = dict(zip(sites.site.values.astype(str), sites["huc_02"].values.astype(str), strict=True))
    regions = given.region or sorted(set(huc.values()))
    for run in [name for name in TRAINED if name in runs]:
        parts = []
        for region in regions:
            own = [site for site, k in huc.items() if k == region]
            parts.append(
                left_out(experiment, run, given.runs, region, own, Path(settings.data.path))
            )
            print(f"{run} without {region}: {len(own)} basins, "
                  f"median NSE {float(parts[-1].nse.median()):.3f}", flush=True)  # fmt: skip
        found[run] = xr.concat(parts, "site")
    report(found, huc, regions)


def report(found: dict[str, xr.Dataset], huc: dict[str, str], regions: list[str]) -> None:
    """Print medians by region, differences over all basins, and write both."""
    names = [site for site, region in huc.items() if region in regions]
    rows, gains = [], []
    for region in (*regions, "all"):
        own = [site for site in names if region in (huc[site], "all")]
        row: dict[str, object] = {"region": region, "basins": len(own)}
        for name, scores in found.items():
            some = scores.sel(site=own)
            row[name] = f"{float(some.nse.median()):.2f} / {float(some.kge.median()):.2f}"
        rows.append(row)
        for name in [name for name in found if name != "hbv" and "hbv" in found]:
            gain: dict[str, object] = {"region": region, "hbv less": name}
            for measure in ("nse", "kge"):
                one, other = (found[k].sel(site=own)[measure].values for k in ("hbv", name))
                gain[measure] = "{:+.3f} ({:+.3f} to {:+.3f})".format(*interval(one, other))
            gains.append(gain)
    print_table(rows, "median NSE / KGE of basins whose region was left out")
    if gains:
        print_table(gains, "differences of these medians, with 95 % intervals")
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    each = {k: {m: v.sel(site=names)[m].round(4).values.tolist() for m in ("nse", "kge")}
            for k, v in found.items()}  # fmt: skip
    record = {"table": rows, "gains": gains, "sites": names, "scores": each}
    (results / "regions.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
