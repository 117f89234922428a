"""Five reaches, and a hybrid that routes them."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from river_files import river

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.data.batch import Batch

F64, DAY = torch.float64, 86400.0
GIVEN = {"length": "length", "slope": "slope", "n": "roughness", "width": 12.0, "side_slope": 1.0}


def sites_of(days: int = 12, seed: int = 0) -> xr.Dataset:
    """Five reaches, as `river_files.river`, with roughness."""
    sites = river(days, seed)
    rough = np.random.default_rng(seed).uniform(0.03, 0.06, 5)
    return sites.assign(roughness=("site", rough, {"units": "1"}))


def hybrid_of(
    sites: xr.Dataset, interval: str | None = "1h", engine: str = "torch", **options: object
) -> pdg.Hybrid:
    own = {"given": GIVEN, "learn": ()} | options
    process = stages.Process(pdg.MuskingumCunge(), engine=engine, **own)  # type: ignore[arg-type]
    hybrid = pdg.Hybrid(None, stages.Downstream(process, interval), dtype=F64)
    hybrid.prepare(sites)
    return hybrid


def batch_of(hybrid: pdg.Hybrid, sites: xr.Dataset) -> Batch:
    windows = pdg.Windows(sites, dtype=F64)
    return windows.reading(hybrid.reads, (), hybrid.needs).batch(0)
