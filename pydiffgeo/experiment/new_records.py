"""Other records than those of a run, as the run reads them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pydiffgeo.data import fill_forcing, find_data, without_impossible
from pydiffgeo.data.derive import attributes_of, sources_of
from pydiffgeo.data.form import moments, observed_names, series_names, step_of, times_of
from pydiffgeo.data.problems import absent
from pydiffgeo.errors import DataError, listed
from pydiffgeo.experiment.build import open_records, selected, summary_days, with_derived
from pydiffgeo.experiment.several_files import all_names
from pydiffgeo.experiment.signatures import make
from pydiffgeo.experiment.trained import TrainedRun

log = logging.getLogger("pydiffgeo")


def new_records(
    run: TrainedRun,
    path: Path,
    sites: Sequence[str] | None = None,
    layout: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Return other records as a run reads them, with the names, units and gaps of its settings.

    Summaries are those of the days trained on where the records have some of them, else of all.
    DataError for all that the run reads and they lack, at once.
    """
    return completed(run, *opened(run, path, sites, layout, options))


def opened(
    run: TrainedRun,
    path: Path,
    sites: Sequence[str] | None = None,
    layout: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[xr.Dataset, Any]:
    """Return other records as `new_records` does, yet to be `completed`, and their settings, which
    are those of the run's data but for the place.
    """
    settings = run.settings
    own = {**settings.data.options, **(options or {})}
    changes = {"path": find_data(path), "layout": layout or settings.data.layout, "options": own}
    changes |= {"append": {}, "names": all_names(settings.data)}  # of any of its files
    if sites:  # who names sites wants others than the settings select
        changes["select"] = {}
    data = settings.data.model_copy(update=changes)
    records = selected(open_records(data, settings.search, sites, unknown_names="ignore"), data)
    _require_read(records, run, data.path)
    return records, data


def completed(run: TrainedRun, records: xr.Dataset, data: Any) -> xr.Dataset:
    """Return opened records, or some of their sites, filled and with what the run derives."""
    if data.impossible == "missing":
        there = (*series_names(records), *observed_names(records))
        records = without_impossible(records, dict.fromkeys(there))
    if data.points:
        return _with_attributes(with_derived(records, data, None, None), run)
    days = times_of(records)
    if data.gaps is not None:
        series = [n for n in series_names(records) if n not in data.observed]
        records, _ = fill_forcing(records, make(data.gaps), (days[0], days[-1]), series)
    first, last = moments(*summary_days(run.settings), step_of(days))
    known = days[(days >= first) & (days <= last)]
    seen = known if len(known) else days
    try:
        return with_derived(records, data, seen[0], seen[-1])
    except DataError as error:
        raise DataError(f"{data.path}, which {run.folder} is to simulate: {error}") from error


def _with_attributes(records: xr.Dataset, run: TrainedRun) -> xr.Dataset:
    """Return the records of the sites that have all attributes that a run reads.

    Others are left out and named, where the settings of the run say `missing: skip`.
    """
    if run.settings.data.missing == "error":
        return records
    lost = np.zeros(records.sizes["site"], bool)
    for name in run.hybrid.needs:
        values = absent(records[name].values)
        lost |= values.reshape(len(values), -1).any(1)
    if lost.any():
        gone = records.site.values[lost].astype(str)
        if lost.all():
            lacking = [n for n in run.hybrid.needs if absent(records[n].values).any()]
            raise DataError(
                f"no site has all attributes that {run.folder} reads: {listed(lacking)} are "
                f"missing for some or all of {listed(gone, 5)}; add them (the option `attributes` "
                "names their file)."
            )
        log.warning("%d sites lack an attribute and are left out: %s", len(gone), listed(gone, 5))
    return records.isel(site=~lost)


def _require_read(records: xr.Dataset, run: TrainedRun, path: Path | None) -> None:
    """Raise DataError for all that a run reads and records lack, with what it was trained with."""
    data, reads, needs = run.settings.data, run.hybrid.readers, run.hybrid.needs
    known = [str(name) for name in records.variables if name not in records.dims]
    there, lacks = {*known, *attributes_of(data.derive)}, []
    for name, who in reads.items():
        try:
            sources_of(records, data.derive, {name: who})
        except DataError:
            lacks.append(f"the series {name!r}, which {who} reads")
    lacks += [f"the attribute {name!r}" for name in needs if name not in there]
    if lacks:
        raise DataError(
            f"{path} lacks {'; '.join(lacks)}. It has {listed(known)}. The run {run.folder} was "
            f"trained with the series {listed(reads)} and the attributes {listed(needs)} of "
            f"{data.path}: add what is missing, under these names."
        )
