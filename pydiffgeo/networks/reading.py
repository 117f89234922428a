"""From a batch to what a network reads.

The named attributes and series, standardised over the sites trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor, nn

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.form import axis_of
from pydiffgeo.data.scaling import attribute_values, fit_scaling
from pydiffgeo.data.windows import Windows
from pydiffgeo.errors import DataError, listed, nearest
from pydiffgeo.networks.base import Features, Sizes

Facts = dict[str, Any]


class Inputs(nn.Module):
    """Standardised attributes and series of a batch as one network reads them, from the facts of
    `fit_inputs`.

    `layers` are the middles of the soil layers, cm, for a network of layers.
    """

    mean: Tensor
    std: Tensor
    series_mean: Tensor
    series_std: Tensor

    def __init__(self, facts: Facts, layers: Sequence[float], dtype: torch.dtype):
        super().__init__()
        self.facts, self.layers = facts, layers
        for name in ("mean", "std", "series_mean", "series_std"):
            self.register_buffer(name, torch.tensor(facts[name], dtype=dtype))
        self.sizes = Sizes(len(facts["mean"]), len(facts["series"]) + 2 * len(facts["past"]))

    def forward(self, batch: Batch) -> Features:
        """Return what the network reads of a batch.

        DataError where that lacks an attribute or a series.
        """
        facts, dtype = self.facts, self.mean.dtype
        raw = _attributes(batch.attributes, facts, self.layers, len(batch.site)).to(dtype)
        attributes = (raw.to(self.mean.device) - self.mean) / self.std
        if not self.sizes.series:
            return Features(attributes, None, batch.warm_up)
        series = [taken(batch.series, name, "series") for name in facts["series"]]
        for k, name in enumerate(facts["series"]):
            if name in facts["logarithm"]:
                series[k] = torch.log1p(series[k])
        count = len(series)
        series += [taken(batch.observed, name, "observed series") for name in facts["past"]]
        scaled = (torch.stack(series, -1).to(dtype) - self.series_mean) / self.series_std
        parts = [scaled[..., :count]]
        for k, lag in enumerate(facts["past"].values()):
            past = scaled[..., count + k].roll(lag, 1)
            past[:, :lag] = torch.nan
            known = torch.isfinite(past)
            parts.append(torch.stack([torch.where(known, past, 0.0), known.to(past)], -1))
        return Features(attributes, torch.cat(parts, -1), batch.warm_up)


def fit_inputs(network: nn.Module, windows: Windows, layers: Sequence[float]) -> Facts:
    """Return the names that a network reads, and their means and standard deviations over the sites
    trained on.

    DataError: a name that is neither an attribute nor a series of the sites.
    """
    sites, per = windows.sites, getattr(network, "per", "site")
    names: dict[str, list[str]] = {"attributes": [], "profiles": [], "series": []}
    for read in getattr(network, "reads", ("attributes",)):
        group: tuple[str, ...] = (read,)
        if read in ("attributes", "series"):
            group = windows.attributes if read == "attributes" else windows.forcing
        for name in group:
            names[_kind(sites, name, type(network).__name__)].append(name)
    past = dict(getattr(network, "past", {}))
    logarithm = [n for n in getattr(network, "logarithm", ()) if n in names["series"]]
    depths = depths_of(sites) if names["profiles"] else []
    facts: Facts = {**names, "past": past, "logarithm": logarithm, "per": per, "depths": depths}
    sites = sites.assign({name: np.log1p(sites[name]) for name in logarithm})
    own, series = names["attributes"], [*names["series"], *past]
    dates = isinstance(windows.times, pd.DatetimeIndex)
    steps = (windows.first_scored, windows.last - 1) if dates else ()
    scaling = fit_scaling(sites, series, own, *(str(windows.times[k]) for k in steps))
    for what, numbers in (("mean", scaling.mean), ("std", scaling.std)):
        facts[what] = [numbers[name] for name in own]
        facts[f"series_{what}"] = [numbers[name] for name in series]
    if names["profiles"] or per == "layer":  # these differ from layer to layer
        values = attribute_values(sites, [*own, *names["profiles"]], torch.float64)
        table = _attributes(values, facts, layers, sites.sizes["site"])[..., len(own) :]
        table = table.flatten(0, -2)
        spread = table.std(0, correction=0)
        facts["mean"] += table.mean(0).tolist()
        facts["std"] += torch.where(spread > 1e-9, spread, 1.0).tolist()
    return facts


def seen(windows: Windows, name: str, who: str) -> np.ndarray:
    """Return the observations in the period of windows, [site, time] or [site, time, depth], or
    raise DataError.
    """
    if name not in windows.observed:
        known = ", ".join(windows.observed) or "nothing"
        close = nearest(name, windows.observed)
        raise DataError(f"{who} gives {name!r}, which is not observed{close} Observed: {known}.")
    axis, steps = axis_of(windows.sites), slice(windows.first_scored, windows.last)
    series = windows.sites[name].isel({axis: steps}).transpose("site", axis, ...)
    return series.values.astype(float)


def depths_of(sites: xr.Dataset) -> list[float]:
    """Return the depths of observations, cm."""
    return (sites.depth.values * 100.0).tolist() if "depth" in sites.dims else []


def taken(values: dict[str, Tensor], name: str, what: str) -> Tensor:
    """Return a tensor of a batch by name, or raise DataError with the nearest name."""
    if name not in values:
        raise DataError(
            f"the batch lacks the {what} {name!r}{nearest(name, values)} It has {listed(values)}; "
            "take `windows.reading(...)` of all that the hybrid reads."
        )
    return values[name]


def at_depths(values: Tensor, depths: Sequence[float], wanted: Sequence[float]) -> Tensor:
    """Return a profile [..., depth] at other depths [..., wanted].

    Linear between, constant beyond the ends.
    """
    weights = linear_weights(np.asarray(depths), np.asarray(wanted))
    return values.double() @ torch.as_tensor(weights, device=values.device)


def linear_weights(nodes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return [node, wanted] weights of linear interpolation, constant beyond the ends."""
    return np.stack([np.interp(wanted, nodes, row) for row in np.eye(len(nodes))])


def _attributes(
    values: dict[str, Tensor], facts: Facts, layers: Sequence[float], batch: int
) -> Tensor:
    """Return attributes of sites, [batch, feature], a profile depth by depth.

    Or of layers, [batch, layer, feature].
    """
    site = [taken(values, name, "attribute") for name in facts["attributes"]]
    profiles = [taken(values, name, "attribute") for name in facts["profiles"]]
    if facts["per"] == "layer":
        profiles = [at_depths(x, facts["depths"], layers) for x in profiles]
        where = next((x.device for x in (*site, *profiles)), None)
        middle = torch.log(torch.tensor(layers, dtype=torch.float64)).expand(batch, -1)
        site = [x[:, None].expand(-1, len(layers)) for x in site]
        return torch.stack([*site, middle.to(where), *profiles], -1)
    deep = [torch.stack(profiles, -1).flatten(1)] if profiles else []
    parts = [*(x[:, None] for x in site), *deep]
    return torch.cat(parts, -1) if parts else torch.zeros(batch, 0)


def _kind(sites: xr.Dataset, name: str, who: str) -> str:
    """Return whether a name is one of attributes, profiles or series."""
    if name in sites:
        dims = set(sites[name].dims)
        if dims == {"site"}:
            return "attributes"
        if dims == {"site", "depth"}:
            return "profiles"
        if "depth" not in dims:
            return "series"
    known = [str(k) for k, v in sites.data_vars.items() if "site" in v.dims]
    raise DataError(
        f"the network {who} reads {name!r}, which the sites do not have{nearest(name, known)} They "
        f"have {listed(known)}."
    )
