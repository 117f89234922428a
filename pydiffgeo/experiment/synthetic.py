"""Sites with a known truth, for demonstrations and tests.

Made-up weather, and the stages of a hybrid with drawn parameters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr

from pydiffgeo.data import Windows, synthetic_weather
from pydiffgeo.data.variables import VARIABLES
from pydiffgeo.errors import SolveFailed
from pydiffgeo.experiment.build import with_derived
from pydiffgeo.hybrid import Hybrid

PROBES = (0.05, 0.1, 0.2, 0.5, 1.0)  # m
WET = 0.2  # soil moisture in the place of the truth, until it is known
SPREAD = 0.8  # of parameters over sites, on their unbounded scale


def synthetic_sites(settings: Any, hybrid: Hybrid) -> xr.Dataset:
    """Return sites whose observations are those of a hybrid with drawn parameters, plus noise.

    Attributes are drawn at random, and the parameters follow them, with some scatter: a network can
    find them.

    Parameters
    ----------
    settings : RunSettings
        Periods, names, number of sites, seed and noise.
    hybrid : Hybrid
        Not prepared yet. One that learns nothing gives the truth with the weights that it begins
        with.

    Returns
    -------
    xarray.Dataset
        Site form, with the true parameters in `attrs["truth"]` as text.

    Raises
    ------
    SolveFailed
        A site could not be solved.
    """
    data, given = settings.data, settings.data.synthetic
    random = np.random.default_rng(given.seed + 1)
    periods = [p for p in (data.train, data.validation, data.test) if p is not None]
    start, end = min(p.start for p in periods), max(p.end for p in periods)
    begin = start.replace(year=start.year - 1) if settings.training.length else start
    sites = synthetic_weather(given.seed, given.sites, str(begin), str(end))
    sites["vapour_pressure"] = 0.611 * np.exp(17.27 * sites.tair_min / (sites.tair_min + 237.3))
    sites["vapour_pressure"].attrs["units"] = "kPa"
    summaries = tuple(f"{name}_" for name in (*data.derive, *data.observed))
    names = [n for n in data.attributes or ("a", "b", "c") if not n.startswith(summaries)]
    drawn = random.uniform(0.1, 0.9, (given.sites, len(names)))  # what any attribute may be
    for k, name in enumerate(names):
        sites[name] = ("site", drawn[:, k], {"units": "1"})
    for name in data.observed:
        unit = {"units": VARIABLES[name].unit if name in VARIABLES else "1", "role": "observed"}
        if name == "soil_moisture":
            sites = sites.assign_coords(depth=("depth", np.array(PROBES), {"units": "m"}))
            shape = (given.sites, sites.sizes["time"], len(PROBES))
            sites[name] = (("site", "time", "depth"), np.full(shape, WET), unit)
        else:
            drawn_ = random.uniform(0.5, 1.5, (given.sites, sites.sizes["time"]))
            sites[name] = (("site", "time"), drawn_, unit)
    whole = with_derived(sites, data, str(begin), str(end))
    windows = Windows(whole, dtype=hybrid.dtype, observed=data.observed)
    hybrid.prepare(windows, attributes=data.attributes, forcing=data.forcing)
    windows = windows.reading(hybrid.reads, data.observed, hybrid.needs)
    with torch.no_grad():
        batch = windows.batch(0)
        parameters = _drawn(hybrid, batch, drawn, random)
        series = hybrid.eval().run(batch, parameters)
    if series.failed:
        raise SolveFailed(
            f"the synthetic truth could not be solved: {series.failed}; change "
            "data.synthetic.seed.",
            series.failed,
        )
    order = np.argsort(batch.site.numpy())
    for name in data.observed:
        truth = series[name].double().numpy()[order]
        noise = given.noise * truth.std(1, keepdims=True) * random.normal(size=truth.shape)
        sites[name] = sites[name].copy(data=np.maximum(truth + noise, 0.0))
    sites.attrs["source"] = (
        f"synthetic truth: {given.sites} sites with known parameters and noise, seed {given.seed}"
    )
    sites.attrs["truth"] = str({k: np.round(v.numpy(), 4).tolist() for k, v in parameters.items()})
    return sites


def _drawn(
    hybrid: Hybrid, batch: Any, drawn: np.ndarray, random: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Return parameters that follow the attributes of the sites of a batch, within the middle of
    their bounds.
    """
    found = {}
    rows = (drawn[batch.site.numpy()] - 0.5) / 0.23
    for name, like in hybrid.parameters_of(batch).items():
        weights = random.normal(size=rows.shape[1]) / np.sqrt(rows.shape[1])
        z = SPREAD * (rows @ weights + 0.3 * random.normal(size=len(rows)))
        value = torch.tensor(z).reshape(-1, *[1] * (like.ndim - 1)).expand(like.shape)
        centre = hybrid.learns[name].from_physical(like.double())
        found[name] = hybrid.learns[name].to_physical(centre + value).to(like)
    return found
