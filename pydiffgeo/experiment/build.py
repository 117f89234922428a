"""From settings to what is trained and judged: sites, hybrid, windows, loss."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pydiffgeo.console import console
from pydiffgeo.data import (
    Fill,
    Span,
    Windows,
    choose_sites,
    derived,
    filled_lines,
    find_data,
    left_out_lines,
    open_sites,
    usable_sites,
)
from pydiffgeo.data.derive import attributes_of, settings_line, sources_of
from pydiffgeo.data.form import (
    Day,
    attribute_names,
    positions,
    series_names,
    stamp,
    times_of,
)
from pydiffgeo.data.network import DOWNSTREAM
from pydiffgeo.errors import DataError, SettingsError, listed, nearest
from pydiffgeo.experiment.data_schema import DataSettings, Period
from pydiffgeo.experiment.schema import searching
from pydiffgeo.experiment.signatures import Section, given_in, kind_in, make
from pydiffgeo.hybrid import Hybrid
from pydiffgeo.training.ensemble import Member, folds, twins

log = logging.getLogger("pydiffgeo")

DATA_REPORT = "data_report.csv"
# settings that do not change what is trained
FREE = {"evaluation", "search", "data.path", "data.memory", "training.threads",
        "training.checkpoint_every"}  # fmt: skip
REMARKS = 3  # that are printed; the report has all
LEAST = 30  # observations of a depth that a profile is trained on


@dataclass(frozen=True)
class SiteData:
    """Records of the sites of a run, those trained on before those held out."""

    sites: xr.Dataset  # site form
    trained: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    # sites that cannot be used, or shall not, and why: of "all", and of the judgement in a period
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)
    remarks: tuple[tuple[str, str], ...] = ()  # site, and what was put up with there
    fills: tuple[Fill, ...] = ()  # forcing that was filled
    river: tuple[str, ...] = ()  # observed series, where all sites of a river belong together

    @property
    def training(self) -> xr.Dataset:
        """Records of the sites trained on; of rivers all, without what was observed in others."""
        if not self.river:
            return self.sites.sel(site=list(self.trained))
        own = self.sites.site.isin(list(self.trained))
        return self.sites.assign({name: self.sites[name].where(own) for name in self.river})

    @property
    def groups(self) -> dict[str, tuple[str, ...]] | None:
        """Sites by group, where some are held out."""
        if not self.held_out:
            return None
        gauges = {*self.trained, *self.held_out}
        others = tuple(str(s) for s in self.sites.site.values if str(s) not in gauges)
        found = {"trained": self.trained, "held out": self.held_out}
        return found | ({"ungauged": others} if others else {})

    def judged(self, period: str) -> xr.Dataset:
        """Return the records of the sites that are judged in a period."""
        out = self.left_out.get(period, {})
        if self.river:
            own = self.sites.site.isin([s for s in (*self.trained, *self.held_out) if s not in out])
            return self.sites.assign({name: self.sites[name].where(own) for name in self.river})
        return self.sites.sel(site=[s for s in (*self.trained, *self.held_out) if s not in out])

    def report(self) -> str:
        """Return ``data_report.csv``: what sites are left out of, and why; what others have."""
        rows = [(s, scope, why) for scope, of in self.left_out.items() for s, why in of.items()]
        rows += [(site, "nothing", text) for site, text in self.remarks]
        for line in filled_lines(self.fills):
            site, _, text = line.partition(", ")
            rows.append((site, "nothing", f"filled: {text}"))
        return pd.DataFrame(rows, columns=["site", "left_out_of", "reason"]).to_csv(index=False)

    def say(self, name: str, aloud: bool) -> None:
        """Print, or else warn of, which sites a run leaves out and what others have."""
        count, more = len({site for site, _ in self.remarks}), len(self.remarks) - REMARKS
        lines = left_out_lines(self.left_out)
        lines += [f"remarks on {count} site{'s' if count > 1 else ''}:"] if count else []
        lines += [f"  {text}" for _, text in self.remarks[:REMARKS]]
        lines += [f"  and {more} more, in {DATA_REPORT}"] if more > 0 else []
        lines += [f"  filled: {line}" for line in filled_lines(self.fills)]
        for line in lines:
            (console().print if aloud else log.warning)(f"{name}: {line}")


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
        return open_sites(path, data.layout, sites or None, **given, **options)


def with_derived(records: xr.Dataset, data: DataSettings, start: Day, end: Day) -> xr.Dataset:
    """Return records with what the settings derive and they lack; summaries are of these days."""
    wanted = {name: given for name, given in data.derive.items() if name not in records}
    return derived(records, wanted, start, end)


def summary_days(settings: Any) -> tuple[str, str]:
    """Return first and last day of summaries: those of training.

    For folds they are without the days held out, which none of them is trained on.
    """
    data: DataSettings = settings.data
    if settings.training.folds and data.held_days and data.validation is not None:
        return data.train.days[0], (data.validation.start - timedelta(days=1)).isoformat()
    return data.train.days


def load_sites(
    settings: Any,
    hybrids: Iterable[Hybrid],
    left_out: Mapping[str, Mapping[str, str]] | None = None,
    calibrated: bool = False,
) -> SiteData:
    """Open the records of a run, look at all of its periods, and keep the sites that can be used.

    A site that lacks what any of `hybrids` reads, those of all runs, is left out of each; so is one
    of `left_out`, those of the training that is judged. `calibrated`: each site is fitted to the
    whole training period at once. DataError for what is not there or impossible, by site and date,
    unless the settings let it be left out.
    """
    data: DataSettings = settings.data
    opened = open_records(data, settings.search)
    hybrids = list(hybrids)
    river = any(hybrid.closed for hybrid in hybrids)
    if not river:  # sites by themselves, which may be left out
        opened = opened.drop_vars(DOWNSTREAM, errors="ignore")
    known = _gauges(opened, data) if river else [str(site) for site in opened.site.values]
    trained, held = choose_sites(known, data.sites, data.held_out, data.exclude, data.split_seed)
    out = {scope: dict(reasons) for scope, reasons in (left_out or {}).items()}
    excluded = out.setdefault("all", {})
    excluded |= dict.fromkeys(data.exclude, "named in data.exclude")
    trained, held = ([s for s in group if s not in excluded] for group in (trained, held))
    if not trained:
        said = "data.exclude leaves no site to train on; take some out of it."
        raise DataError(said, ("data", "exclude"))
    _require_names(opened, data)
    readers = dict.fromkeys(data.forcing or (), "data.forcing")
    for hybrid in hybrids:
        readers |= hybrid.readers
    series, places = sources_of(opened, data.derive, readers)
    static = [n for n in (*(data.attributes or ()), *places) if n in opened.variables]
    spans = _spans(settings, calibrated)
    _require_periods(times_of(opened), spans, calibrated)
    options: Any = {"missing": data.missing, "impossible": data.impossible, "gaps": make(data.gaps)}
    groups = [(trained, spans), (held, spans[-1:])]
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
    held_out = found[1].selection.kept if held else ()
    records = xr.concat([part.sites for part in found], "site") if found[1:] else found[0].sites
    if river:
        records = records.sel(site=opened.site.values)
    if settings.training.length is None:  # a simulation begins with the first day of training
        first, _ = positions(times_of(records), *data.train.days)
        records = records.isel(time=slice(first, None))
    return SiteData(
        with_derived(records, data, *summary_days(settings)),
        found[0].selection.kept,
        held_out,
        out,
        tuple(remark for part in found for remark in part.selection.remarks),
        tuple(fill for part in found for fill in part.fills),
        tuple(data.observed) if river else (),
    )


def _gauges(records: xr.Dataset, data: DataSettings) -> list[str]:
    """Return the sites of a river where anything was observed."""
    seen = np.zeros(records.sizes["site"], bool)
    for name in (name for name in data.observed if name in records):
        values = records[name].transpose("site", ...).values
        seen |= np.isfinite(values).reshape(len(values), -1).any(1)
    found = [str(site) for site in records.site.values[seen]]
    if not found:
        observed = ", ".join(data.observed)
        raise DataError(f"no site of the river has any {observed}; give the records of a gauge.")
    return found


def build_windows(
    sites: xr.Dataset, settings: Any, hybrid: Hybrid, period: Period, **changes: Any
) -> Windows:
    """Return windows of a period as a run is trained on them, with changes of arguments."""
    data, t, series = settings.data, settings.training, settings.data.forcing
    if series is None:
        series = [n for n in series_names(sites) if n not in data.observed]
    start, end = period.days
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
    records = trained.isel(time=slice(*positions(times_of(trained), *d.train.days)))
    times, held = times_of(records), 0
    if d.held_days:
        first, last = positions(times, *d.validation.days)
        held = last - first

    def seen(days: slice) -> xr.Dataset:
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
    train = Span("training", *data.train.days, t.warm_up, "windows", window, varied, least=least)
    if calibrated:
        train = Span("training", *data.train.days, warm_up, "windows", None, data.observed[:1])
    found = [train]
    if data.validation and not data.held_days:
        found.append(Span("validation", *data.validation.days, warm_up, judged=compared))
    return [*found, Span("test", *data.test.days, warm_up, least=min(least, 1))]


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
    asked, first = settings.evaluation.warm_up, positions(times, *settings.data.test.days)[0]
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
        "forcing": [*in_time, *data.derive],
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
