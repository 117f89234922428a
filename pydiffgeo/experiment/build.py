"""From settings to what is trained and judged: sites, hybrid, windows, loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pydiffgeo.data import (
    Span,
    Windows,
    derived,
    find_data,
    open_sites,
    usable_sites,
)
from pydiffgeo.data.derive import attributes_of, series_of, settings_line, sources_of
from pydiffgeo.data.form import (
    Day,
    attribute_names,
    axis_of,
    observed_names,
    positions,
    series_names,
    stamp,
    times_of,
)
from pydiffgeo.data.lazy import blocks, joined, together
from pydiffgeo.data.network import DOWNSTREAM
from pydiffgeo.data.satellite_cells import require_whole_cells
from pydiffgeo.data.selection import require_judged
from pydiffgeo.data.split import sites_where, split_sites
from pydiffgeo.errors import DataError, SettingsError, listed, nearest
from pydiffgeo.experiment.data_schema import DataSettings, Period, days_of
from pydiffgeo.experiment.schema import searching
from pydiffgeo.experiment.several_files import with_appended, with_joined
from pydiffgeo.experiment.signatures import Section, given_in, kind_in, make
from pydiffgeo.experiment.site_data import SiteData
from pydiffgeo.hybrid import Hybrid
from pydiffgeo.training.ensemble import Member, folds, twins

# settings that do not change what is trained
FREE = {"evaluation", "search", "data.path", "data.memory", "training.threads",
        "training.checkpoint_every"}  # fmt: skip
LEAST = 30  # observations of a depth that a profile is trained on


def build_hybrid(settings: Any) -> Hybrid:
    """Return the untrained hybrid of a run, with the seed of its training unless it has its own."""
    section = settings.hybrid
    if "seed" not in section.model_fields_set:
        section = section.model_copy(update={"seed": settings.training.seed})
    return make_hybrid(section, settings.search)


def make_hybrid(section: Section, search: Sequence[str] = ()) -> Hybrid:
    """Return the hybrid that a section describes; own files are looked for in `search`, too."""

    def found(file: str) -> str:
        paths = [Path(folder, file) for folder in (".", *search)]
        return str(next((path.resolve() for path in paths if path.is_file()), file))

    def adjust(part: Section, given: dict[str, Any]) -> None:
        if "file" in given:  # a Julia model
            given["file"] = found(given["file"])
        model: Any = given.get("model")
        if given.get("closures") and isinstance(model, Section):
            if given_in(model).keys() <= {"file"}:  # the stage makes it, with these closures
                name: Any = getattr(model, "file", None) or kind_in(model)
                given["model"] = found(name)

    with searching(search):
        made: Hybrid = make(section, adjust, ("hybrid",))
        return made


def build_loss(settings: Any) -> list[Any]:
    """Return the losses of a run, which are summed."""
    made: list[Any] = make(settings.loss, None, ("loss",))
    return made


def open_records(
    data: DataSettings, search: Sequence[str], sites: Sequence[str] | None = None, **options: Any
) -> xr.Dataset:
    """Open the records of a run; they and a layout of one's own are looked for in `search`, too."""
    if data.path is None:
        raise DataError("there are no records: name a file or folder.", ("data", "path"))
    given = {
        n: getattr(data, n) for n in ("product", "names", "units", "zone", "stamps", "options")
    }
    with searching(search):
        path = find_data(data.path, search)
        records = open_sites(path, data.layout, sites or None, **given, **options)
        return with_appended(with_joined(records, data, search), data, search)


def with_derived(records: xr.Dataset, data: DataSettings, start: Day, end: Day) -> xr.Dataset:
    """Return records with what the settings derive and they lack; summaries are of these days."""
    wanted = {name: given for name, given in data.derive.items() if name not in records}
    if DOWNSTREAM not in records:  # other records, for a run that routes nothing
        wanted.pop("own_inflow", None)
    return derived(records, wanted, start, end)


def is_river(records: xr.Dataset, data: DataSettings, hybrids: Iterable[Hybrid]) -> bool:
    """Return whether sites belong together: some hybrid routes, or the own inflow is derived.

    So the runs of an experiment that route nothing see the same sites, trained beside those that
    do and judged alone.
    """
    if any(hybrid.closed == "upstream" for hybrid in hybrids):
        return True
    return "own_inflow" in data.derive and DOWNSTREAM in records


def summary_days(settings: Any) -> tuple[str | None, str | None]:
    """Return first and last day of summaries: those of training; None of records of points.

    For folds they are without the days held out, which none of them is trained on.
    """
    data: DataSettings = settings.data
    if data.train is None:
        return None, None
    if settings.training.folds and data.held_days and data.validation is not None:
        return data.train.days[0], (data.validation.start - timedelta(days=1)).isoformat()
    return data.train.days


def load_sites(
    settings: Any,
    hybrids: Iterable[Hybrid],
    left_out: Mapping[str, Mapping[str, str]] | None = None,
    calibrated: bool = False,
    remembers: bool | None = None,
) -> SiteData:
    """Open the records of a run, look at all of its periods, and keep the sites that can be used.

    A site that lacks what any of `hybrids` reads, those of all runs, is left out of each; so is one
    of `left_out`, those of the training that is judged. `calibrated`: each site is fitted to the
    whole training period at once. `remembers`: whether the run's own hybrid does, by default any of
    `hybrids`; where it does not, steps may lack forcing. DataError for what is not there or
    impossible, by site and date, unless the settings let it be left out.
    """
    data: DataSettings = settings.data
    opened = selected(open_records(data, settings.search), data)
    hybrids = list(hybrids)
    river = is_river(opened, data, hybrids)
    if not river:  # sites by themselves, which may be left out
        opened = opened.drop_vars(DOWNSTREAM, errors="ignore")
    known = _gauges(opened, data) if river else [str(site) for site in opened.site.values]
    trained, validating, held = split_sites(
        opened, known, data.sites, data.validation_sites, data.held_out, data.exclude,
        data.split_by, data.split_seed,
    )  # fmt: skip
    out = {scope: dict(reasons) for scope, reasons in (left_out or {}).items()}
    excluded = out.setdefault("all", {})
    excluded |= dict.fromkeys(data.exclude, "named in data.exclude")
    trained, validating, held = (
        [s for s in group if s not in excluded] for group in (trained, validating, held)
    )
    if not trained:
        said = "data.exclude leaves no site to train on; take some out of it."
        raise DataError(said, ("data", "exclude"))
    _require_names(opened, data)
    readers = dict.fromkeys(data.forcing or (), "data.forcing")
    for hybrid in hybrids:
        readers |= hybrid.readers
    series, places = sources_of(opened, data.derive, readers)
    made = attributes_of(data.derive)  # which files may lack
    static = [n for n in (*(data.attributes or ()), *places) if n in opened.variables]
    static = [n for n in static if n not in made]
    spans = _spans(settings, calibrated)
    if remembers is None:
        remembers = not hybrids or any(hybrid.remembers for hybrid in hybrids)
    if not remembers:
        spans = [replace(span, gaps="any") for span in spans]  # steps without forcing are left out
    _require_periods(times_of(opened), spans, calibrated)
    needed = {name for h in hybrids for name in h.reads if name not in h.optional}
    needed |= set(data.forcing or ())
    may_lack = {name for h in hybrids for name in h.optional} - needed
    optional = tuple(name for name in series if name in may_lack)
    series = tuple(name for name in series if name not in may_lack)
    options: Any = {
        "missing": data.missing,
        "impossible": data.impossible,
        "gaps": None if data.append else make(data.gaps),  # else filled file by file
        "optional": optional,
        "alone": not (validating or held),
    }
    groups = [(trained, spans), (validating, spans[-1:]), (held, spans[-1:])]
    if river:  # water flows through all sites in all periods
        whole = [replace(span, gaps="none", varied=(), judged=(), least=0) for span in spans]
        others = [s for s in map(str, opened.site.values) if s not in {*trained, *held}]
        groups = [(trained, spans), (held, [*whole[:-1], spans[-1]]), (others, whole)]
    found = [
        usable_sites(opened.sel(site=sites), wanted, series, data.observed, static, **options)
        for sites, wanted in groups
        if sites
    ]
    for part in found:
        for scope, reasons in part.selection.left_out.items():
            out.setdefault(scope, {}).update(reasons)
    kept = [part.selection.kept for part in found]
    require_judged(out, [site for some in kept for site in some])
    chosen = kept.pop(1) if validating else ()
    held_out = kept[1] if held else ()
    records = joined([part.sites for part in found]) if found[1:] else found[0].sites
    if river:
        records = records.sel(site=opened.site.values)
    if (
        settings.training.length is None and not data.points
    ):  # a simulation begins with the first day of training
        first, _ = positions(times_of(records), *days_of(data.train))
        records = records.isel(time=slice(first, None))
    if any(hybrid.closed == "cell" for hybrid in hybrids):
        require_whole_cells(opened, found[0].selection.kept, chosen, held_out)
    return SiteData(
        with_derived(records, data, *summary_days(settings)),
        found[0].selection.kept,
        held_out,
        out,
        tuple(remark for part in found for remark in part.selection.remarks),
        tuple(fill for part in found for fill in part.fills),
        tuple(data.observed) if river else (),
        chosen,
    )


def selected(records: xr.Dataset, data: DataSettings) -> xr.Dataset:
    """Return the records of the sites that settings select by their attributes.

    DataError where records in time have no period in the settings, or points have one.
    """
    if (axis_of(records) == "point") != data.points:
        told = "points without dates: leave data.train, data.validation and data.test out"
        if not data.points:
            raise DataError(f"{data.path} has {told}.", ("data", "train"))
        raise DataError(
            f"{data.path} has dates: give data.train and data.test their days.", ("data", "path")
        )
    if not data.select:
        return records
    records = records.sel(site=sites_where(records, data.select))
    return records if data.points else _their_time(records)


def _their_time(records: xr.Dataset) -> xr.Dataset:
    """Return records without the steps before the first and after the last one of their series,
    which other sites of the files may have.
    """
    known = np.zeros(records.sizes["time"], bool)
    for name in (*series_names(records), *observed_names(records)):
        series = records[name].variable.transpose("site", ..., "time")
        for rows in blocks(records.sizes["site"], together([series])):
            known |= np.isfinite(series[rows].values).reshape(-1, len(known)).any(0)
    there = known.nonzero()[0]
    return records.isel(time=slice(there[0], there[-1] + 1)) if len(there) else records


def _gauges(records: xr.Dataset, data: DataSettings) -> list[str]:
    """Return the sites of a river where anything was observed."""
    seen = np.zeros(records.sizes["site"], bool)
    for name in (name for name in data.observed if name in records):
        series = records[name].variable.transpose("site", ...)
        for rows in blocks(len(seen), together([series])):
            values = series[rows].values
            seen[rows] |= np.isfinite(values).reshape(len(values), -1).any(1)
    found = [str(site) for site in records.site.values[seen]]
    if not found:
        observed = ", ".join(data.observed)
        raise DataError(f"no site of the river has any {observed}; give the records of a gauge.")
    return found


def build_windows(
    sites: xr.Dataset, settings: Any, hybrid: Hybrid, period: Period | None, **changes: Any
) -> Windows:
    """Return windows of a period as a run is trained on them, with changes of arguments."""
    data, t, series = settings.data, settings.training, settings.data.forcing
    if series is None:
        series = [n for n in series_names(sites) if n not in data.observed]
    start, end = days_of(period)
    options = {
        "length": t.length, "warm_up": t.warm_up, "batch": t.batch, "seed": t.seed,
        "forcing": series, "attributes": data.attributes, "observed": data.observed,
        "dtype": hybrid.dtype,
        "memory": int(data.memory * 2**30), "impossible": "ignore", "start": start, "end": end,
        "closed": hybrid.closed,
    }  # fmt: skip
    return Windows(sites, **{**options, **changes})


def build_members(settings: Any, trained: xr.Dataset, hybrid: Hybrid) -> list[Member]:
    """Return the plan of an ensemble: twins by seed, or a fold for each site."""
    t, d = settings.training, settings.data
    span = slice(*positions(times_of(trained), *days_of(d.train)))
    records = trained.isel({axis_of(trained): span})
    times, held = times_of(records), 0
    if d.held_days:
        first, last = positions(times, *days_of(d.validation))
        held = last - first

    def seen(days: slice) -> xr.Dataset:
        if d.points:
            return with_derived(records, d, None, None)
        return with_derived(records, d, times[days][0], times[days][-1])

    def windows(sites: xr.Dataset) -> Windows:
        return build_windows(sites, settings, hybrid, d.train)

    if t.folds and hybrid.closed:
        raise SettingsError(
            "training.folds leaves sites out, through which water flows; hold gauges out by "
            "data.held_out.",
            ("training", "folds"),
        )
    if t.folds:
        return folds(seen, held, t.warm_up, windows, seed=(t.seeds or (t.seed,))[0])
    return twins(seen, t.seeds or (t.seed,), held, t.warm_up, windows)


def _spans(settings: Any, calibrated: bool = False) -> list[Span]:
    """Return the periods of a run, the test period last."""
    data: DataSettings = settings.data
    t, warm_up = settings.training, settings.evaluation.warm_up or 0
    losses = build_loss(settings)
    varied = tuple(loss.observed for loss in losses if getattr(loss, "needs_spread", False))
    compared = tuple(dict.fromkeys(loss.observed for loss in losses))
    window, least = (None, LEAST) if t.length is None else ((t.warm_up, t.length), 0)
    least = min(least, 1) if data.points else least
    days, test = days_of(data.train), days_of(data.test)
    train = Span("training", *days, t.warm_up, "windows", window, varied, least=least)
    if calibrated:
        train = Span("training", *days, warm_up, "windows", None, data.observed[:1])
    found = [train]
    if data.validation and not data.held_days:
        found.append(Span("validation", *data.validation.days, warm_up, judged=compared))
    return [*found, Span("test", *test, warm_up, least=min(least, 1))]


def _require_periods(times: pd.Index, spans: Sequence[Span], calibrated: bool) -> None:
    """Raise DataError, with its setting, for a period that the records do not cover, or in which no
    window has room.
    """
    for span in spans:
        train = span.name == "training"
        key = "train" if train else span.name
        try:
            first, last = positions(times, span.start, span.end, f"the {span.name} period")
        except DataError as error:
            error.setting = ("data", key)
            raise
        warm_up, length = span.window or (span.warm_up, None)
        steps = last - max(0, first - warm_up)
        if steps >= warm_up + (length or 1) or key == "test" or calibrated:
            continue
        of, told = "training" if train else "evaluation", f"{warm_up} + {length or 'some'}"
        keys = f"{of}.warm_up{' + training.length' if length else ''}"
        raise DataError(
            f"windows of {told} steps ({keys}) are longer than the {span.name} period, which has "
            f"{steps} with the warm-up before it; shorten them, or lengthen data.{key}.",
            (of, "length" if length and length >= steps else "warm_up"),
        )


def short_warm_up(times: pd.Index, settings: Any) -> str:
    """Return where the records lack steps of warm-up before the test period, in words; else ""."""
    if settings.data.points:
        return ""
    asked, first = settings.evaluation.warm_up, positions(times, *days_of(settings.data.test))[0]
    if asked is None or first >= asked:
        return ""
    return (
        f"evaluation.warm_up asks for {asked} steps before data.test, the records have {first} "
        f"before {stamp(times[first])}: the first steps that are judged depend on the states that "
        "the models start with. Shorten it, or judge later days."
    )


def _require_names(records: xr.Dataset, data: DataSettings) -> None:
    """Raise DataError for a name that the records do not have, with the nearest and its setting."""
    static = attribute_names(records)
    others = {str(n): v.dims for n, v in records.data_vars.items() if n not in static}
    in_time = [n for n, dims in others.items() if len(dims) > 1]
    text = [n for n, dims in others.items() if dims == ("site",)]
    made = attributes_of(data.derive)
    known = {
        "forcing": [*in_time, *series_of(data.derive)],
        "observed": in_time,
        "attributes": [*static, *made],
    }
    for key, names in known.items():
        for k, name in enumerate(getattr(data, key) or ()):
            what = "attribute" if key == "attributes" else "series in time"
            if name in text:
                remedy = f"leave it out, or derive its classes: {{of: {name}, values: [...]}}."
                why = f"{name!r} is text, which networks cannot read; {remedy}"
            elif name not in names and not (key == "attributes" and name in records.coords):
                line = "" if key == "observed" else settings_line(records, data.derive, name)
                close = "." if line else nearest(name, names)
                why = f"no {what} {name!r} in the records{close} They have {listed(names)}.{line}"
            else:
                continue
            raise DataError(f"data.{key}: {why}", ("data", key, k))
