"""A hybrid that needs no solver, records that it can learn, and trainers of it.

For tests of the training alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import site_files
import torch
import xarray as xr
from torch import nn

from pydiffgeo import losses
from pydiffgeo.data import Batch, Windows
from pydiffgeo.training.distributed import Group, process_group  # noqa: F401 (scripts take it from here)
from pydiffgeo.training.trainer import Trainer

ROOT = Path(__file__).parents[1]


class Series(dict):
    failed: dict[int, str] = {}


def sites(count: int = 10, days: int = 400) -> xr.Dataset:
    """Sites whose discharge is a share of the rain of two days, less of it where they are dry."""
    records = site_files.records(count, days)
    rain, dry = records.precipitation.values, records.aridity.values[:, None]
    flow = (rain + 0.3 * np.roll(rain, 1, 1)) / (1 + dry)
    flow[:, 100:110] = np.nan
    records["discharge"] = ("site", "time"), flow, records.discharge.attrs
    return records.drop_vars("geology")


class Runoff(nn.Module):
    reads, recalls, gives, prepared = ("precipitation",), (), ("discharge",), False

    def __init__(self, dropout=0.0, seed=0, hidden=6):
        super().__init__()
        self.dropout_share, self.seed, self.hidden, self.facts = dropout, seed, hidden, {}
        self.failing: list[str] = []

    needs = ("area", "aridity")

    def prepare(self, windows):
        sites = windows.sites.isel(time=slice(windows.first_scored, windows.last))
        values = np.stack([sites[n].values for n in self.needs], -1)
        self.build({"mean": values.mean(0).tolist(), "std": values.std(0).tolist(),
                    "rain": float(sites.precipitation.mean())})  # fmt: skip
        return self

    def build(self, facts):
        self.facts, self.prepared = facts, True
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.net = nn.Sequential(
                nn.Linear(2, self.hidden),
                nn.Tanh(),
                nn.Dropout(self.dropout_share),
                nn.Linear(self.hidden, 2),
            ).double()

    def get_extra_state(self):
        return deepcopy(self.facts)

    def set_extra_state(self, state):
        if state != self.facts:
            self.build(state)

    def forward(self, batch: Batch) -> Series:
        x = torch.stack([batch.attributes[n] for n in self.needs], -1)
        x = (x - torch.tensor(self.facts["mean"])) / torch.tensor(self.facts["std"])
        share, lag = torch.sigmoid(self.net(x.double())).unbind(-1)
        rain = batch.series["precipitation"].double()
        flow = share[:, None] * (rain + lag[:, None] * rain.roll(1, 1))
        series = Series({"discharge": flow})
        rows = [r for r, s in enumerate(batch.site) if batch.sites[int(s)] in self.failing]
        if rows:
            bad = torch.zeros(len(batch), 1, dtype=torch.bool)
            bad[rows] = True
            series["discharge"] = torch.where(bad, torch.nan, flow)
            series.failed = {r: f"{batch.where(r)}: too steep" for r in rows}
        return series

    def ensemble(self, seeds, seen=None):
        made = [Runoff(self.dropout_share, self.seed + s) for s in seeds]
        for one, windows in zip(made, seen, strict=True):
            one.prepare(windows)
            one.failing = self.failing
        return Ensemble(made)


class Ensemble(nn.Module):
    def __init__(self, members):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, batches):
        return [m(b) for m, b in zip(self.members, batches, strict=True)]

    def only(self, kept):
        return Ensemble([self.members[i] for i in kept])


def windows(sites: xr.Dataset, **changes) -> Windows:
    given = {"length": 50, "warm_up": 10, "batch": 4, "dtype": torch.float64, "end": "2000-06-30"}
    return Windows(sites, **given | changes)


def trainer(
    sites: xr.Dataset, folder: Path | None = None, loss=None, hybrid=None, make=windows, **changes
) -> Trainer:
    given = {"epochs": 2, "steps_per_epoch": 3, "learning_rate": 0.02, "settings": {"a": 1}}
    hybrid = hybrid or Runoff(dropout=0.2)
    return Trainer(hybrid, make(sites), loss or losses.NSE("discharge"), folder, **given | changes)


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def column(history, name: str = "loss") -> list[float]:
    return [row[name] for row in history]


def long_run(
    folder: str | Path | None, epochs: int, dropout: float = 0.0, group: Group | None = None
) -> Trainer:
    records = sites()
    parts = [losses.NSE(), losses.KGE(weight=0.3), losses.RMSE(weight=0.2)]
    late = Windows(records, start="2000-07-01", warm_up=10, batch=3, dtype=torch.float64)
    return trainer(
        records,
        folder,
        parts,
        Runoff(dropout),
        lambda s: windows(s, batch=5),  # does not divide over two processes
        epochs=epochs,
        steps_per_epoch=4,
        validation=late,
        group=group,
    )


def another_process(script: str, *arguments: Any, **environment: str) -> subprocess.Popen:
    paths = [ROOT, ROOT / "tests"]
    given = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, paths)), **environment}
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], env=os.environ | given, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
