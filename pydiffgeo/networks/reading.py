"""From a batch to what a network reads: the named attributes and series, standardised over the sites trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor, nn

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.form import attribute_names, observed_names, series_names
from pydiffgeo.data.scaling import fit_scaling
from pydiffgeo.data.windows import Windows
from pydiffgeo.errors import DataError, SettingsError, nearest
from pydiffgeo.networks.base import Features, Sizes

Facts = dict[str, Any]
NOTHING: Facts = {
    "per": "site",
    "past": {},
    **{k: [] for k in ("attributes", "profiles", "series", "depths", "logarithm")},
    **{k: [] for k in ("mean", "std", "series_mean", "series_std")},
}


@dataclass(frozen=True)
class Training:
    """Sites and period that scaling is fitted to.

    Attributes
    ----------
    sites : xarray.Dataset
        Site form.
    start, end : str or None
        First and last time.
    forcing, attributes, observed : tuple of str
        What "series" and "attributes" stand for, and the series that are observed.
    """

    sites: xr.Dataset
    start: str | None
    end: str | None
    forcing: tuple[str, ...]
    attributes: tuple[str, ...]
    observed: tuple[str, ...]

    @classmethod
    def of(
        cls,
        sites: Any,
        start: str | None = None,
        end: str | None = None,
        forcing: Sequence[str] | None = None,
        attributes: Sequence[str] | None = None,
    ) -> Training:
        """Return what a hybrid is prepared for, from sites or `Windows`."""
        if isinstance(sites, Windows):
            windows = sites
            if isinstance(windows.times, pd.DatetimeIndex):
                start = start or str(windows.times[windows.first_scored])
                end = end or str(windows.times[windows.last - 1])
            sites, forcing, observed = windows.sites, forcing or windows.forcing, windows.observed
            given = windows.attributes
            if attributes is None and given != attribute_names(sites):
                attributes = given
        elif isinstance(sites, xr.Dataset):
            observed = observed_names(sites)
        else:
            raise SettingsError(f"prepare takes sites or Windows, not {type(sites).__name__}.")
        if attributes is None:  # nobody asked for them: those that tell nothing are left out
            numbers = ((n, sites[n].values) for n in attribute_names(sites))
            attributes = [n for n, x in numbers if np.isfinite(x).all() and (x != x[:1]).any()]
        names = series_names(sites) if forcing is None else forcing
        return cls(sites, start, end, tuple(names), tuple(attributes), tuple(observed))

    def seen(self, name: str) -> np.ndarray:
        """Return values of a series in the period, [site, time] or [site, time, depth]."""
        series = self.sites[name]
        when = next(d for d in series.dims if d not in ("site", "depth"))
        if when == "time":
            series = series.sel(time=slice(self.start, self.end))
        return series.transpose("site", when, ...).values.astype(float)

    @property
    def depths(self) -> list[float]:
        """Depths of observations, cm."""
        return (self.sites.depth.values * 100.0).tolist() if "depth" in self.sites.dims else []


class Inputs(nn.Module):
    """Standardised attributes and series of a batch, as one network reads them.

    Parameters
    ----------
    facts : dict
        From `fit_inputs`: names, means and standard deviations.
    layers : sequence of float
        Middle of each soil layer, cm, for a network of layers.
    dtype : torch.dtype
        Of the network.
    """

    mean: Tensor
    std: Tensor
    series_mean: Tensor
    series_std: Tensor

    def __init__(self, facts: Facts, layers: Sequence[float], dtype: torch.dtype):
        super().__init__()
        facts = facts or NOTHING
        self.facts, self.layers = facts, tuple(layers) if facts["per"] == "layer" else ()
        for name in ("mean", "std", "series_mean", "series_std"):
            self.register_buffer(name, torch.tensor(facts[name], dtype=dtype))
        series = len(facts["series"]) + 2 * len(facts["past"])
        self.sizes = Sizes(len(facts["mean"]), series)

    def forward(self, batch: Batch) -> Features:
        """Return what the network reads of a batch.

        Raises
        ------
        DataError
            The batch lacks an attribute or a series.
        """
        facts, dtype = self.facts, self.mean.dtype
        raw = _attributes(batch.attributes, facts, self.layers, len(batch.site)).to(dtype)
        attributes = (raw.to(self.mean.device) - self.mean) / self.std
        if not self.sizes.series:
            return Features(attributes, None, batch.warm_up)
        series = [taken(batch.series, name, "series") for name in facts["series"]]
        series = [
            torch.log1p(x) if name in facts["logarithm"] else x
            for name, x in zip(facts["series"], series, strict=True)
        ]
        count = len(series)
        for name in facts["past"]:
            series.append(taken(batch.observed, name, "observed series"))
        scaled = (torch.stack(series, -1).to(dtype) - self.series_mean) / self.series_std
        parts = [scaled[..., :count]]
        for k, lag in enumerate(facts["past"].values()):
            past = scaled[..., count + k].roll(lag, 1)
            past[:, :lag] = torch.nan
            known = torch.isfinite(past)
            parts.append(torch.stack([torch.where(known, past, 0.0), known.to(past)], -1))
        return Features(attributes, torch.cat(parts, -1), batch.warm_up)


def fit_inputs(network: nn.Module, training: Training, layers: Sequence[float]) -> Facts:
    """Return the names that a network reads, and their means and standard deviations over the sites trained on.

    Raises
    ------
    DataError
        A name that is neither an attribute nor a series of the sites.
    """
    reads, past = getattr(network, "reads", ("attributes",)), dict(getattr(network, "past", {}))
    per = getattr(network, "per", "site")
    names: dict[str, list[str]] = {"attributes": [], "profiles": [], "series": []}
    for read in reads:
        group = {"attributes": training.attributes, "series": training.forcing}.get(read, (read,))
        for name in group:
            names[_kind(training.sites, name, type(network).__name__)].append(name)
    logarithm = [n for n in getattr(network, "logarithm", ()) if n in names["series"]]
    sites = training.sites.assign({name: np.log1p(training.sites[name]) for name in logarithm})
    lagged = list(past)
    series = [*names["series"], *lagged]
    period = training.start, training.end
    scaling = fit_scaling(sites, series, names["attributes"], *period)
    facts: Facts = {**names, "past": past, "logarithm": logarithm, "per": per}
    facts["depths"] = training.depths if names["profiles"] else []
    for what, key in (("mean", "series_mean"), ("std", "series_std")):
        facts[key] = [getattr(scaling, what)[name] for name in series]
    own = facts["attributes"]
    facts["mean"], facts["std"] = ([scaling.mean[n] for n in own], [scaling.std[n] for n in own])
    if names["profiles"] or per == "layer":  # these differ from layer to layer
        values = {n: torch.as_tensor(sites[n].values).double() for n in (*own, *names["profiles"])}
        table = _attributes(values, facts, layers, sites.sizes["site"])[..., len(own) :]
        table = table.double().flatten(0, -2)
        spread = table.std(0, correction=0)
        facts["mean"] += table.mean(0).tolist()
        facts["std"] += torch.where(spread > 1e-9, spread, 1.0).tolist()
    return facts


def taken(values: dict[str, Tensor], name: str, what: str) -> Tensor:
    """Return a tensor of a batch by name, or raise DataError with the nearest name."""
    if name not in values:
        known = ", ".join(values) or "none"
        raise DataError(
            f"the batch lacks the {what} {name!r}{nearest(name, values)} It has {known}."
        )
    return values[name]


def at_depths(values: Tensor, depths: Sequence[float], wanted: Sequence[float]) -> Tensor:
    """Return a profile [..., depth] at other depths [..., wanted]: linear between, constant beyond the ends."""
    weights = linear_weights(np.asarray(depths), np.asarray(wanted))
    return values.double() @ torch.as_tensor(weights, device=values.device)


def linear_weights(nodes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return [node, wanted] weights of linear interpolation, constant beyond the ends."""
    return np.stack([np.interp(wanted, nodes, row) for row in np.eye(len(nodes))])


def _attributes(
    values: dict[str, Tensor], facts: Facts, layers: Sequence[float], batch: int
) -> Tensor:
    """Return attributes of sites, [batch, feature], a profile depth by depth; or of layers, [batch, layer, feature]."""
    site = [taken(values, name, "attribute") for name in facts["attributes"]]
    profiles = [taken(values, name, "attribute") for name in facts["profiles"]]
    if facts["per"] == "layer":
        profiles = [at_depths(x, facts["depths"], layers) for x in profiles]
        where = next((x.device for x in (*site, *profiles)), None)
        middle = torch.log(torch.tensor(layers, dtype=torch.float64)).expand(batch, -1)
        site = [x[:, None].expand(-1, len(layers)) for x in site]
        return torch.stack([*site, middle.to(where), *profiles], -1)
    parts = ([torch.stack(site, -1)] if site else []) + (
        [torch.stack(profiles, -1).flatten(1)] if profiles else []
    )
    return torch.cat(parts, -1) if parts else torch.zeros(batch, 0)


def _kind(sites: xr.Dataset, name: str, who: str) -> str:
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
        f"the network {who} reads {name!r}, which the sites do not have{nearest(name, known)} They have {', '.join(known)}."
    )
