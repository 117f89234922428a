"""A linear reservoir whose posterior is known: discharge is linear in two of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

import pydiffgeo as pdg
from pydiffgeo import stages

SPEC = """
name = "linear_reservoir"
time_unit = "d"
[states.water]
unit = "mm"
scale = 10.0
storage = "water"
storage_unit = "mm"
storage_scale = 10.0
[parameters.share]
unit = "1"
lower = 0.0
upper = 3.0
default = 1.0
[parameters.spring]
unit = "mm d-1"
lower = 0.0
upper = 10.0
default = 2.0
[parameters.k]
unit = "d-1"
lower = 0.01
upper = 1.0
default = 0.3
[forcings.precipitation]
unit = "mm d-1"
[fluxes.inflow]
unit = "mm d-1"
balance = 1
[fluxes.discharge]
unit = "mm d-1"
balance = -1
"""
TRUE = {"share": 0.8, "spring": 1.5, "k": 0.3}
NOISE = 0.3


class LinearReservoir(pdg.ProcessModel):
    """d water / dt = share precipitation + spring - k water."""

    size = 1

    def __init__(self, folder: Path):
        (folder / "linear_reservoir.toml").write_text(SPEC)
        self.spec = pdg.load_spec(folder / "linear_reservoir.toml")

    def _parts(self, state: Tensor, forcing: Mapping, given: Mapping) -> tuple[Tensor, Tensor]:
        inflow = given["share"] * forcing["precipitation"] + given["spring"]
        return inflow.expand_as(state), given["k"] * state

    def rates(self, state: Tensor, forcing: Mapping, parameters: Mapping) -> Tensor:
        inflow, out = self._parts(state, forcing, parameters)
        return inflow - out

    def fluxes(self, state: Tensor, forcing: Mapping, parameters: Mapping) -> Tensor:
        return torch.cat(self._parts(state, forcing, parameters), -1)


def columns(rain: np.ndarray, k: float = 0.3) -> np.ndarray:
    """Discharge for share = 1 and for spring = 1, by implicit Euler with steps of a day."""
    found = np.zeros((2, *rain.shape))
    for j, inflow in enumerate((rain, np.ones_like(rain))):
        water = np.zeros(rain.shape[:-1])
        for day in range(rain.shape[-1]):
            water = (water + inflow[..., day]) / (1 + k)
            found[j, ..., day] = k * water
    return found


def records(count: int = 2, days: int = 60, seed: int = 0) -> xr.Dataset:
    """Rain, and noisy discharge of the known parameters."""
    random = np.random.default_rng(seed)
    rain = random.gamma(0.4, 12.0, (count, days))
    of_share, of_spring = columns(rain)
    flow = TRUE["share"] * of_share + TRUE["spring"] * of_spring
    flow = flow + NOISE * random.normal(size=flow.shape)
    dims = ("site", "time")
    sites = xr.Dataset(
        {
            "precipitation": (dims, rain, {"units": "mm d-1"}),
            "discharge": (dims, np.maximum(flow, 0.0), {"units": "mm d-1"}),
        },
        {
            "site": [f"r{k}" for k in range(count)],
            "time": pd.date_range("2000-01-01", periods=days),
        },
    )
    sites["discharge"][0, 20:25] = np.nan
    return sites


def hybrid(folder: Path, learn: tuple[str, ...] = ("share", "spring"), *more) -> pdg.Hybrid:
    """The reservoir with what it learns; `more` stages."""
    process = stages.Process(LinearReservoir(folder), engine="torch", learn=list(learn), start=0.0)
    return pdg.Hybrid(pdg.MLP(reads=(), hidden=()), process, *more)


def closed_form(sites: xr.Dataset, site: int, warm_up: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of share and spring for known noise and flat priors."""
    x = columns(sites["precipitation"].values[site])[:, warm_up:].T
    y = sites["discharge"].values[site][warm_up:]
    known = np.isfinite(y)
    inverse = np.linalg.inv(x[known].T @ x[known])
    return inverse @ x[known].T @ y[known], NOISE**2 * inverse


def windows(sites: xr.Dataset, warm_up: int = 0) -> pdg.Windows:
    return pdg.Windows(sites, dtype=torch.float64, warm_up=warm_up)


class Columns(stages.Stage):
    """The same discharge from the series that share and spring multiply: quick, without a solve."""

    reads, gives = ("of_share", "of_spring"), ("discharge",)

    def __init__(self) -> None:
        super().__init__()
        self.learns = {"share": pdg.Bounds(0.0, 3.0), "spring": pdg.Bounds(0.0, 10.0)}
        self.begin = {"share": 1.0, "spring": 2.0}

    def forward(self, series, parameters, batch):
        parts = [
            stages.base.in_time(parameters[name].to(series[of]), series[of]) * series[of]
            for name, of in (("share", "of_share"), ("spring", "of_spring"))
        ]
        return {"discharge": parts[0] + parts[1]}


def with_columns(sites: xr.Dataset) -> xr.Dataset:
    """The records with what `Columns` reads."""
    for name, values in zip(
        ("of_share", "of_spring"), columns(sites["precipitation"].values), strict=True
    ):
        sites[name] = ("site", "time"), values, {"units": "mm d-1"}
    return sites
