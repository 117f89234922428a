"""A hybrid that needs no solver, and records that it can learn: for tests of the training alone."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import site_files
import torch
import xarray as xr
from torch import nn

from pydiffgeo.data import Batch


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
