"""Sites with a known truth, for demonstrations and tests.

Made-up weather, and the stages of a hybrid with drawn parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from pydiffgeo.data import Windows, synthetic_weather
from pydiffgeo.data.derive import attributes_of, made_series
from pydiffgeo.data.form import axis_of
from pydiffgeo.data.network import DOWNSTREAM
from pydiffgeo.data.satellite_cells import CELL
from pydiffgeo.data.variables import RIVER, limits, variable_of
from pydiffgeo.data.weather import tower_weather
from pydiffgeo.errors import SolveFailed, lookup
from pydiffgeo.experiment.build import with_derived
from pydiffgeo.hybrid import Hybrid
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.stages import Fuse, Lateral, Process, SoilWaterStress
from pydiffgeo.stages.base import stages_of

PROBES = (0.05, 0.1, 0.2, 0.5, 1.0)  # m
POINTS = 10  # of a site of records without dates
WET = 0.2  # soil moisture in the place of the truth, until it is known
RANGE = 10.0  # of a forcing without bounds, in its unit
SPREAD = 0.8  # of parameters over sites, on their unbounded scale


def synthetic_sites(
    settings: Any, hybrid: Hybrid, beside: Sequence[Any] = (), others: Iterable[Hybrid] = ()
) -> xr.Dataset:
    """Return sites whose observations are those of a hybrid with drawn parameters, plus noise.

    They cover the periods of `settings` and those of others `beside` it. What `others` and
    `beside` read and the hybrid simulates, such as the CO2 inside of a leaf, is that of the truth.

    Attributes are drawn, and the parameters follow them, with scatter: a network can find them.
    Forcing of a model that is no weather, such as the inflow of a lake, is made up in the lower
    part of the range of its specification. A hybrid, not prepared yet, that learns nothing gives
    the truth with the weights that it begins with. Site form, with the true parameters in
    `attrs["truth"]`; SolveFailed where a site fails, UnknownName where the hybrid does not give
    what is observed.
    """
    data, given = settings.data, settings.data.synthetic
    random = np.random.default_rng(given.seed + 1)
    begin, end = None, None
    if data.points:
        sites = xr.Dataset(coords={"site": [f"S{k + 1:02d}" for k in range(given.sites)]})
    else:
        begin, end = _days([settings, *beside])
        sites = _weather(given.seed, given.sites, begin, end)
        sites = sites if given.hours is None else tower_weather(sites, given.hours)
    summaries = tuple(f"{name}_" for name in (*data.derive, *data.observed))
    # what a map would give is drawn, too
    made = attributes_of({k: v for k, v in data.derive.items() if k != "nearest"})
    wanted = [n for n in data.attributes or ("a", "b", "c") if n not in made]
    names = [n for n in wanted if not n.startswith(summaries)]
    drawn = random.uniform(0.1, 0.9, (given.sites, len(names)))  # what any attribute may be
    for k, name in enumerate(names):
        sites[name] = ("site", drawn[:, k])  # of no unit: nothing is known of them
    sites = _add_rivers(sites, hybrid, data.derive, random)
    axis = axis_of(sites) if "time" in sites.dims else "point"
    shape = (given.sites, sites.sizes.get(axis, POINTS))
    _add_forcing(sites, hybrid, data.derive, random, axis, shape)
    _add_soil(sites, hybrid, random, axis, shape)
    _add_products(sites, hybrid, random)
    _add_groups(sites, data)
    simulated = _units(hybrid)
    for name in data.observed:
        own = simulated.get(name, "1")
        variable = variable_of(name, own if hybrid.closed == "upstream" else None)
        known = own if variable is None else variable.unit
        unit = {"units": known, "role": "observed"}
        if name == "soil_moisture":
            sites = sites.assign_coords(depth=("depth", np.array(PROBES), {"units": "m"}))
            sites[name] = (("site", "time", "depth"), np.full((*shape, len(PROBES)), WET), unit)
        else:
            most = 1.5 if variable is None else variable.upper  # of what is possible
            values = np.minimum(random.uniform(0.5, 1.5, shape), most)
            sites[name] = (("site", axis), values, unit)
    whole = with_derived(sites, data, begin, end)
    windows = Windows(whole, dtype=hybrid.dtype, observed=data.observed, closed=hybrid.closed)
    hybrid.prepare(windows, attributes=data.attributes, forcing=data.forcing)
    windows = windows.reading(hybrid.reads, data.observed, hybrid.needs)
    with torch.no_grad():
        batch = windows.batch(0)
        parameters = _drawn(hybrid, batch, drawn, random)
        series = hybrid.eval().run(batch, parameters)
    if series.failed:
        said = f"the synthetic truth could not be solved: {series.failed}"
        raise SolveFailed(f"{said}; change data.synthetic.seed.", series.failed)
    order = np.argsort(batch.site.numpy())
    for name in data.observed:
        truth = lookup(series, name, "observed series of made-up sites").double().numpy()[order]
        noise = given.noise * truth.std(1, keepdims=True) * random.normal(size=truth.shape)
        # noise makes nothing negative that cannot be
        values = np.maximum(truth + noise, min(truth.min(), 0.0))
        # nor does a drawn bias, as of a satellite, lead out of what is possible
        sites[name] = sites[name].copy(
            data=np.clip(values, *limits(name, sites[name].attrs["units"]))
        )
    read = [*(h.reads for h in others), *(s.data.forcing or () for s in beside)]
    for name in dict.fromkeys(name for names in read for name in names):
        if name in simulated and name not in sites and name not in data.derive:
            unit = {"units": simulated[name], "role": "forcing"}
            sites[name] = (("site", axis), series[name].double().numpy()[order], unit)
    told = f"{given.sites} sites with known parameters and noise, seed {given.seed}"
    sites.attrs["source"] = f"synthetic truth: {told}"
    sites.attrs["truth"] = str({k: np.round(v.numpy(), 4).tolist() for k, v in parameters.items()})
    return sites


def _days(several: Sequence[Any]) -> tuple[str, str]:
    """Return first and last day of settings, with a year of warm-up before windows."""
    begin, end = [], []
    for settings in several:
        data = settings.data
        periods = [p for p in (data.train, data.validation, data.test) if p is not None]
        start = min(p.start for p in periods)
        begin.append(start.replace(year=start.year - 1) if settings.training.length else start)
        end.append(max(p.end for p in periods))
    return str(min(begin)), str(max(end))


def _weather(seed: int, count: int, begin: str, end: str) -> xr.Dataset:
    sites = synthetic_weather(seed, count, begin, end)
    sites["vapour_pressure"] = 0.611 * np.exp(17.27 * sites.tair_min / (sites.tair_min + 237.3))
    sites["vapour_pressure"].attrs["units"] = "kPa"
    return sites


def _add_groups(sites: xr.Dataset, data: Any) -> None:
    """Add the attributes of text by which settings select and part sites, and derive classes."""
    count = sites.sizes["site"]
    for name, values in data.select.items():
        first = values[0] if isinstance(values, list | tuple) else values
        sites[name] = "site", np.array([first] * count)
    for name in (n for n in data.split_by if n not in sites):
        sites[name] = "site", np.array([f"{name} {k // 2}" for k in range(count)])
    for given in (g for g in data.derive.values() if isinstance(g, Mapping)):
        of, classes = given.get("of"), list(given.get("values") or given.get("table") or ())
        if isinstance(of, str) and classes and of not in sites:
            sites[of] = "site", np.array([classes[k % len(classes)] for k in range(count)])
    parts = (data.held_out, data.validation_sites, data.sites)
    for k, asked in enumerate(parts):
        for name, values in asked.items() if isinstance(asked, Mapping) else ():
            text = str(values[0] if isinstance(values, list | tuple) else values)
            there = sites[name].values if name in sites else np.full(count, "other")
            there = there.astype(object)
            there[k :: len(parts)] = text
            sites[name] = "site", there.astype(str)


def _add_rivers(
    sites: xr.Dataset, hybrid: Hybrid, derive: Mapping[str, Any], random: np.random.Generator
) -> xr.Dataset:
    """Return sites with what parameters are given by, in the middle of their bounds, and areas.

    Where rivers must be whole, site k flows into site (k - 1) // 2, and the first is the outlet.
    """
    for land in stages_of(hybrid, Lateral):
        if land.area not in sites:  # the weather is that of each site alone
            areas = random.uniform(50.0, 500.0, sites.sizes["site"])
            sites = sites.assign({land.area: ("site", areas, {"units": "km2"})})
    for stage in stages_of(hybrid, Process):
        for parameter, name in stage.from_sites.items():
            if name in sites or name in derive:
                continue
            bounds = Bounds.of(stage.model.spec.parameters[parameter])
            drawn = torch.tensor(random.uniform(-0.5, 0.5, sites.sizes["site"]))
            unit = {"units": stage.model.spec.parameters[parameter].unit}
            sites = sites.assign({name: ("site", bounds.to_physical(drawn).numpy(), unit)})
    if hybrid.closed == "cell":  # of two sites each
        names = [f"C{k // 2}" for k in range(sites.sizes["site"])]
        sites = sites.assign({CELL: ("site", np.array(names))})
    if hybrid.closed == "upstream":
        names = [str(site) for site in sites.site.values]
        below = ["", *(names[(k - 1) // 2] for k in range(1, len(names)))]
        sites = sites.assign({DOWNSTREAM: ("site", np.array(below))})
    return sites


def _add_forcing(
    sites: xr.Dataset,
    hybrid: Hybrid,
    derive: Mapping[str, Any],
    random: np.random.Generator,
    axis: str,
    shape: tuple[int, int],
) -> None:
    """Make up what models read and the weather does not have: a yearly wave with noise.

    Of points, which have no year, numbers around what is typical.
    """
    season = np.zeros(shape[1])
    if axis == "time":
        season = -np.cos(2 * np.pi * (sites.time.dt.dayofyear.to_numpy() - 20) / 365.25)
    made = made_series(derive)
    for name in dict.fromkeys(source for several in made.values() for source in several):
        if name in sites or name in made:
            continue
        steps = np.exp(0.5 * season + 0.3 * random.normal(size=shape))
        known = RIVER.get(name) or variable_of(name)
        unit = "1" if known is None else known.unit
        sites[name] = (("site", axis), steps, {"units": unit, "role": "forcing"})
    for stage in stages_of(hybrid, Process):
        for own, name in stage.names.items():
            if name in sites or name in derive or name in made or name not in hybrid.reads:
                continue
            forcing = stage.model.spec.forcings[own]
            low = forcing.lower if np.isfinite(forcing.lower) else forcing.typical - RANGE
            high = forcing.upper if np.isfinite(forcing.upper) else low + RANGE
            if axis == "point":
                values = forcing.typical * random.uniform(0.6, 1.4, shape)
                sites[name] = (("site", axis), np.clip(values, low, high), {"units": forcing.unit})
                continue
            noise = np.zeros(shape)
            for day in range(1, shape[1]):
                noise[:, day] = 0.9 * noise[:, day - 1] + random.normal(0.0, 0.1, len(noise))
            share = np.clip(0.5 + 0.3 * season + noise, 0.0, 1.0) / 3
            sites[name] = (("site", axis), low + share * (high - low), {"units": forcing.unit})


def _add_products(sites: xr.Dataset, hybrid: Hybrid, random: np.random.Generator) -> None:
    """Make up the further products that `Fuse` reads: the first with an error on each step."""
    for stage in stages_of(hybrid, Fuse):
        first = sites[stage.reads[0]]
        for name in (name for name in stage.reads if name not in sites):
            error = random.normal(size=first.shape)
            kelvins = (first.attrs.get("units") or "") in ("degC", "K")
            values = first + error if kelvins else first * np.exp(0.5 * error - 0.125)
            sites[name] = first.dims, values.values, dict(first.attrs)


def _add_soil(
    sites: xr.Dataset,
    hybrid: Hybrid,
    random: np.random.Generator,
    axis: str,
    shape: tuple[int, int],
) -> None:
    """Make up what `SoilWaterStress` reads: wetness, and the same numbers of soil everywhere."""
    for stage in stages_of(hybrid, SoilWaterStress):
        for name in (name for name in stage.reads if name not in sites):
            sites[name] = (("site", axis), random.uniform(0.2, 1.0, shape), {"units": "1"})
        for name, value in stage.typical.items():
            if name not in sites:
                sites[name] = "site", np.full(shape[0], value)


def _units(hybrid: Hybrid) -> dict[str, str]:
    """Return the units of what the models of a hybrid give."""
    found: dict[str, str] = {}
    for stage in stages_of(hybrid, Process):
        spec = stage.model.spec
        given = {k: s.unit for k, s in spec.states.items()}
        given |= {k: q.unit for k, q in spec.fluxes.items()}
        found |= given | {k: given[v] for k, v in stage.outputs.items() if v in given}
    return found


def _drawn(
    hybrid: Hybrid, batch: Any, drawn: np.ndarray, random: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Return parameters that follow the attributes of the sites, in the middle of their bounds."""
    found = {}
    rows = (drawn[batch.site.numpy()] - 0.5) / 0.23
    for name, like in hybrid.parameters_of(batch).items():
        weights = random.normal(size=rows.shape[1]) / np.sqrt(rows.shape[1])
        z = SPREAD * (rows @ weights + 0.3 * random.normal(size=len(rows)))
        value = torch.tensor(z).reshape(-1, *[1] * (like.ndim - 1)).expand(like.shape)
        centre = hybrid.learns[name].from_physical(like.double())
        found[name] = hybrid.learns[name].to_physical(centre + value).to(like)
    return found
