"""Hybrids over whole periods of sites: series, observations, and the parameters behind them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.form import axis_of, observed_names, positions, stamp, times_of
from pydiffgeo.data.variables import VARIABLES
from pydiffgeo.data.windows import Windows
from pydiffgeo.distributions import KINDS, LEVELS, kind_in, over_members
from pydiffgeo.distributions import quantiles as quantiles_of
from pydiffgeo.errors import DataError, DataWarning, listed, nearest
from pydiffgeo.evaluation.probabilistic import NLL, QUANTILE, require_levels
from pydiffgeo.hybrid import Ensemble, Hybrid
from pydiffgeo.stages.base import Series, Stage, stages_of
from pydiffgeo.stages.process import Process

if TYPE_CHECKING:
    from pydiffgeo.training.distributed import Group

SHOWN = 5  # sites that a message names
OBSERVED = "_observed"  # behind the name of a series: what was observed of it
UNTRAINED = ("precipitation", "evapotranspiration", "base_flow", "runoff", "inflow")


class NoCompleteSite(DataError):
    """Forcing is missing at every site, and such sites were to be left out."""


def simulate(
    hybrid: Hybrid | Ensemble, sites: xr.Dataset, start: str | None = None, end: str | None = None,
    warm_up: int | None = 365, batch: int = 128, *, observed: Iterable[str] | None = None,
    also: Iterable[str] | Literal["all"] | None = None, members: Mapping[str, int] | None = None,
    keep_warm_up: bool = False, group: Group | None = None,
    missing: Literal["error", "skip"] = "error", quantiles: Sequence[float] = LEVELS,
) -> xr.Dataset:  # fmt: skip
    """Simulate sites over a period; the processes of a `group` share the work, all return it all.

    Parameters
    ----------
    hybrid, sites, start, end, warm_up, batch, observed, also, keep_warm_up, missing, quantiles
        As for `pydiffgeo.evaluate`.
    members : mapping of str to int, optional
        Position of the one member of an ensemble that counts for a site; others get the mean.

    Returns
    -------
    xarray.Dataset
        Series [site, time], [site, time, depth] or [site, time, cell]; ``NAME_observed``; where a
        distribution is given, ``NAME_quantile`` [site, time, ..., quantile] and ``NAME_nll``, minus
        the logarithm of the density at what was observed; parameters [site] or [site, layer], whose
        ``attrs["role"]`` is "parameter": means over copies and time. The coordinate ``judged``
        [time] is False in the warm-up. Sites that are left out are missing, those whose solve
        failed are NaN: ``attrs["left_out"]`` and ``attrs["failed"]`` say why, as JSON.
        ``attrs["warm_up"]`` is the steps of warm-up that there were, ``attrs["warning"]`` says
        where these are fewer than were asked for.

    Raises
    ------
    DataError
        The records do not cover the period, lack what is read, or miss forcing on a day of it, by
        site and date; or nobody gives a series that is asked for.
    """
    if (warm_up or 0) < 0 or batch < 1:
        raise DataError(
            f"warm_up {warm_up} must be at least 0, batch {batch} at least 1; give other numbers."
        )
    if missing not in ("error", "skip"):
        raise DataError(f"missing={missing!r} is neither 'error' nor 'skip'.")
    require_levels(quantiles)
    one = hybrid[0] if isinstance(hybrid, Ensemble) else hybrid
    axis = axis_of(sites)
    warm_up = warm_up if axis == "time" else 0  # points remember nothing
    first, last = positions(times_of(sites), start, end)
    if start is None and axis == "time":
        first += warm_up or 0
    if first >= last:
        raise DataError(
            f"a warm-up of {warm_up} steps leaves none of {last} to judge; shorten it (warm_up)."
        )
    begin = 0 if warm_up is None else max(0, first - warm_up)
    warned = _short_warm_up(sites, first - begin, warm_up, first)
    known, specs = observed_names(sites), [p.model.spec for p in stages_of(hybrid, Process)]
    balance = {k: f.balance for s in specs[:1] for k, f in s.fluxes.items() if f.balance}
    compared = [n for n in known if n in one.gives] if observed is None else list(observed)
    asked = one.gives if also == "all" else also
    kept = list(dict.fromkeys((*UNTRAINED, *balance) if asked is None else asked))
    forcing = [n for n in kept if n in sites and n not in known]  # as measured
    for name in (*compared, *(asked or ())):
        if name not in (*one.gives, *forcing):
            close = nearest(name, one.gives)
            raise DataError(f"nobody gives {name!r}{close} The hybrid gives {listed(one.gives)}.")

    def read_from(begin: int) -> Windows:
        here = sites.isel({axis: slice(begin, last)})
        return Windows(here, dtype=one.dtype, closed=one.closed).reading(
            one.reads, tuple(dict.fromkeys((*compared, *one.recalls))), one.needs, one.optional,
            "skip" if one.remembers else "hold",
        )  # fmt: skip

    read = read_from(begin)
    if warm_up is None and missing == "skip" and one.remembers:
        if late := _late(read, first - begin):
            begin += late
            read = read_from(begin)
    here = sites.isel({axis: slice(begin, last)})
    rows, gone = _complete(read, missing)
    parts = read.parts(rows, batch)
    parts = parts if group is None else parts[group.rank :: group.size]
    mine = np.concatenate([*parts, np.zeros(0, int)]).astype(int)
    device = next((p.device for p in hybrid.parameters()), torch.device("cpu"))
    apart = {*forcing, *compared, *(f"{n}_{kind}" for n in one.gives for kind in KINDS)}
    names = [*compared, *(n for n in kept if n not in apart)]
    blocks, training = list[xr.Dataset](), hybrid.training
    hybrid.eval()
    try:
        for part in parts:
            whole = np.zeros(len(part), int), last - begin, first - begin
            given = read.tensors.windows(part, *whole).to(device)
            blocks.append(_block(hybrid, given, names, compared, members or {}, axis, quantiles))
    finally:
        hybrid.train(training)
    shared = [(mine, blocks)] if group is None else group.collect((mine, blocks))
    blocks = [block for _, some in shared for block in some]
    order = np.argsort(np.concatenate([own for own, _ in shared]))
    data = blocks[0] if len(blocks) == 1 else xr.concat(blocks, "site")  # no copy of a large river
    if (np.diff(order) != 1).any():
        data = data.isel(site=order)
    data = _described(data, here.isel(site=rows), one, forcing, quantiles)
    if read.tensors.hold:  # steps without forcing, and points that others have
        there = xr.DataArray(read.tensors.present(rows), dims=("site", axis))
        _tell_held(read, rows, there.values)
        series = [name for name, values in data.data_vars.items() if axis in values.dims]
        data = data.assign({name: data[name].where(there) for name in series})
    judged = np.arange(last - begin) >= first - begin
    data.coords["judged"] = axis, judged, {"long_name": "judged, not warm-up"}
    data = data if keep_warm_up else data.isel({axis: slice(first - begin, None)})
    data.attrs = {
        "Conventions": "CF-1.11",
        "warm_up": first - begin,
        "balance": json.dumps(balance),
        "closed": one.closed or "",
        "left_out": json.dumps(gone),
        "failed": json.dumps({k: v for block in blocks for k, v in block.attrs.items()}),
        **({"warning": warned} if warned else {}),
    }
    return data


def _short_warm_up(sites: xr.Dataset, there: int, asked: int | None, first: int) -> str:
    """Warn of a record that has fewer steps before the first one judged than were asked for."""
    if asked is None or there >= asked:
        return ""
    text = (
        f"the record has {there} of {asked} steps of warm-up before {stamp(times_of(sites)[first])}"
        ": the first steps depend on the states that the models start with. Judge later, give "
        "records that begin earlier, or ask for a shorter warm_up."
    )
    warnings.warn(text, DataWarning, stacklevel=3)
    return text


def _late(read: Windows, judged: int) -> int:
    """Return the steps that a simulation of the whole record leaves out at its begin, since all
    sites lack forcing there: until the step at which most of those that can be judged begin.
    """
    complete = read.tensors.complete()
    usable = complete[:, judged:].all(1)
    if complete.all(1).any() or not usable.any():
        return 0
    before = complete[usable, :judged]
    late = judged - before[:, ::-1].cumprod(1).sum(1)  # after the last step without forcing
    found = int(np.bincount(late).argmax())
    warnings.warn(
        f"no site has forcing on all days from {stamp(read.times[0])}: simulations begin on "
        f"{stamp(read.times[found])}, from which on most of them have.",
        DataWarning,
        stacklevel=3,
    )
    return found


def _tell_held(read: Windows, rows: NDArray, there: NDArray) -> None:
    """Warn of steps of records in time that are not simulated, since forcing is missing there."""
    lost = (~there).sum(1)
    if not lost.any() or read.tensors.axis == "point":
        return
    sites = [f"{read.names[rows[k]]} ({lost[k]})" for k in np.flatnonzero(lost)]
    names = read.tensors.lacking(rows)
    warnings.warn(
        f"forcing is missing at {lost.sum()} of {there.size} steps, which are not simulated: sites "
        f"{listed(sites, SHOWN)}; series {listed(names, SHOWN)}.",
        DataWarning,
        stacklevel=3,
    )


def _complete(read: Windows, missing: str) -> tuple[NDArray, dict[str, str]]:
    """Return positions of the sites that have all forcing, and why each other one is left out."""
    complete, times = read.tensors.complete(), read.times
    rows, gone = read.complete_between(0, len(times)), dict[str, str]()
    for k in np.setdiff1d(np.arange(len(complete)), rows):
        if complete[k].all():
            where = "of its cell" if read.closed == "cell" else "above it"
            gone[read.names[k]] = f"forcing is missing at a site {where}"
            continue
        day = stamp(times[int(np.argmin(complete[k]))])
        names = listed(read.tensors.lacking([k]), SHOWN)
        count = (~complete[k]).sum()
        gone[read.names[k]] = f"forcing is missing on {day} ({count} steps; {names})"
    if gone and missing == "error":
        told = "; ".join(f"site {site}: {why}" for site, why in list(gone.items())[:SHOWN])
        more = f" and {len(gone) - SHOWN} more sites" if len(gone) > SHOWN else ""
        raise DataError(
            f"{told}{more}. Fill it (`pydiffgeo.data.fill_forcing`), judge other days, or leave "
            'such sites out: missing="skip" (data.missing: skip in settings).'
        )
    if not len(rows):
        days = " to ".join(stamp(times[k]) for k in (0, -1))
        raise NoCompleteSite(f"no site has complete forcing from {days}; judge others.")
    if gone:
        warnings.warn(
            f"{len(gone)} sites are left out, since forcing is missing from "
            f"{stamp(times[0])} to {stamp(times[-1])}: {listed(gone, SHOWN)}.",
            DataWarning,
            stacklevel=3,
        )
    return rows, gone


@torch.no_grad()
def _block(
    hybrid: Hybrid | Ensemble, batch: Batch, names: list[str], compared: list[str],
    of: Mapping[str, int], axis: str, levels: Sequence[float],
) -> xr.Dataset:  # fmt: skip
    """Return series, ``NAME_observed``, what is known of distributions, and parameters of a batch;
    attrs: why which sites failed.
    """
    members = [hybrid[k] for k in range(len(hybrid))] if isinstance(hybrid, Ensemble) else [hybrid]
    sites = batch.names
    member, row = torch.tensor([of.get(site, 0) for site in sites]), torch.arange(len(sites))
    made, profiles = hybrid(batch), members[0].facts["observed"]
    failed = [(*divmod(k, len(sites)), why) for k, why in made.failed.items()]
    data = xr.Dataset(attrs={sites[i]: why for m, i, why in failed if of.get(sites[i], m) == m})
    series = {name: made[name] for name in names if name in made}
    if isinstance(hybrid, Ensemble):
        alone = torch.tensor([site in of for site in sites])
        for name, values in series.items():
            series[name] = values.mean(0)
            series[name][alone] = values[member, row][alone]
    for name, values in (series | {n + OBSERVED: batch.observed[n] for n in compared}).items():
        third = "depth" if name.removesuffix(OBSERVED) in profiles else "cell"
        data[name] = ("site", axis, third)[: values.ndim], values.cpu().numpy()
    known = [n for n in series if n in compared or n in profiles or kind_in(made, n)]
    for name in known if len(levels) else ():
        for own, values in _distribution(made, name, batch, hybrid, of, sites, levels).items():
            last = ("quantile",) if own.endswith(QUANTILE) else ()
            data[own] = (*data[name].dims, *last), values.cpu().numpy()
    layered = {name for stage in stages_of(hybrid, Stage) for name in stage.layers}
    # of an ensemble the parameters of one member: a mean of parameters would be those of no network
    each = [one.parameters_of(batch) for one in members]
    for name in each[0]:
        values = torch.stack([one[name] for one in each])[member, row]
        ends = values.shape[-1:] if name in layered else ()
        values = values.reshape(len(sites), -1, *ends).mean(1)
        own = f"{name}_parameter" if name in data or name in batch.series else name
        data[own] = ("site", "layer")[: values.ndim], values.cpu().numpy(), {"role": "parameter"}
    return data


def _distribution(
    made: Series, name: str, batch: Batch, hybrid: Hybrid | Ensemble, of: Mapping[str, int],
    sites: Sequence[str], levels: Sequence[float],
) -> dict[str, Tensor]:  # fmt: skip
    """Return quantiles of a series, and minus the logarithm of the density at what was observed.

    Where the hybrid gives no distribution, that of an ensemble is the spread of its members.
    """
    kind, several = kind_in(made, name), isinstance(hybrid, Ensemble)
    given = made[name if kind is None else f"{name}_{kind}"]
    given = given if several else given[None]
    if several:
        given = given.clone()
        for row, site in enumerate(sites):  # the one member that counts
            if site in of:
                given[:, row] = given[of[site], row]
    found: dict[str, Tensor] = {}
    if kind is not None:
        distribution = over_members(kind, given)
        found[name + QUANTILE] = quantiles_of(distribution, levels)
        if name in batch.observed:
            found[name + NLL] = -distribution.log_prob(batch.observed[name].to(given))
    elif len(given) > 1 and not of:
        values = np.quantile(given.double().cpu().numpy(), levels, axis=0, method="hazen")
        found[name + QUANTILE] = torch.from_numpy(np.moveaxis(values, 0, -1))
    if name == "discharge" and found:  # what lies below zero is no flow
        found[name + QUANTILE] = found[name + QUANTILE].clamp_min(0.0)
    return found


def _described(
    data: xr.Dataset, here: xr.Dataset, one: Hybrid, forcing: list[str], levels: Sequence[float]
) -> xr.Dataset:  # fmt: skip
    """Return a simulation with forcing, coordinates, units and CF attributes."""
    units: dict[str, str] = {}
    for spec in (process.model.spec for process in stages_of(one, Process)):
        for group in (spec.states, spec.fluxes, spec.parameters):
            units |= {name: item.unit for name, item in group.items()}
    units |= one.units  # of what all stages give, routing and sums of parallel copies, too
    units |= {str(n): v.attrs["units"] for n, v in here.items() if "units" in v.attrs}
    for name, values in data.items():
        plain = str(name).removesuffix(OBSERVED).removesuffix("_parameter").removesuffix(QUANTILE)
        cf = VARIABLES[plain].attributes() if plain in VARIABLES and not values.attrs else {}
        values.attrs = {**values.attrs, **cf, "units": units.get(plain, "1")}
    dims = "site", axis_of(here)
    data = data.assign({n: here[n].transpose(*dims, ...).load() for n in forcing})
    data = data.assign_coords({n: v for n, v in here.coords.items() if {*v.dims} <= {*dims}})
    if "layer" in data.dims:
        layers = next(stage.layers for stage in stages_of(one, Stage) if stage.layers)
        layer = {"units": "cm", "long_name": "middle of layer"}
        data.coords["layer"] = "layer", list(next(iter(layers.values()))), layer
    if "quantile" in data.dims:
        data.coords["quantile"] = "quantile", list(levels), {"units": "1", "long_name": "level"}
    if "depth" in data.dims:
        depth = np.asarray(one.facts["depths"]) / 100
        data.coords["depth"] = "depth", depth, {"units": "m", "positive": "down"}
    return data
