"""From records of basins to what is trained on and judged."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from pydiffgeo.console import console
from pydiffgeo.data import (
    BasinTensors,
    Scaling,
    Span,
    WindowSampler,
    add_pet,
    fit_scaling,
    left_out_lines,
    load_tensors,
    open_basins,
    select_sites,
    without_impossible,
)
from pydiffgeo.data.basins import EAGER_BYTES
from pydiffgeo.data.lazy import in_memory
from pydiffgeo.data.pet import pet_places, pet_sources
from pydiffgeo.errors import DataError, nearest
from pydiffgeo.files import write_file
from pydiffgeo.training.basins.settings import BasinRun, DataSettings, Period

log = logging.getLogger("pydiffgeo")

DERIVED = ("potential_evapotranspiration", "tair_mean")  # what `add_pet` adds
DATA_REPORT = "data_report.csv"
REMARKS = 3  # that are printed; the report has all
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class BasinData:
    """Records of the basins of a run.

    Attributes
    ----------
    records : xarray.Dataset
        Basin form: those trained on first, then those held out.
    tensors : BasinTensors
        Of the basins trained on.
    held_out : BasinTensors or None
        Of the others.
    scaling : Scaling
        Fitted on the training period of the basins trained on.
    left_out : dict of str to dict of str to str
        Basins that cannot be used, or shall not, and why: of ``"all"``, and of the judgement in a period.
    remarks : tuple of (str, str)
        Basin, and what was put up with there: gaps that windows avoid, impossible values that count as missing, no observations
        to judge by.
    skip : bool
        Whether basins are left out of a period whose forcing has a gap, instead of an error.
    notes : tuple of str
        What else a reader of the scores must know, in sentences: a training that did not end, settings changed since.
    """

    records: xr.Dataset
    tensors: BasinTensors
    held_out: BasinTensors | None
    scaling: Scaling
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)
    remarks: tuple[tuple[str, str], ...] = ()
    skip: bool = False
    notes: tuple[str, ...] = ()

    def judged(
        self, tensors: BasinTensors, period: str, start: str, end: str, warm_up: int
    ) -> NDArray:
        """Return positions of the basins of a group that are judged in a period: all forcing is there, nothing leaves them out.

        Where no gap may be skipped all are, and `predict` says which one has a gap.
        """
        first, last = tensors.span(start, end)
        known = self.left_out.get(period, {})
        complete = (
            tensors.complete_between(first - min(warm_up, first), last)
            if self.skip
            else range(len(tensors.basins))
        )
        return np.array([row for row in complete if tensors.basins[row] not in known], int)

    def groups(self) -> dict[str, BasinTensors]:
        """Return the tensors of each group of basins."""
        return {"trained": self.tensors} | ({"held out": self.held_out} if self.held_out else {})


def find_data(path: Path) -> Path:
    """Return the path as it is given, or below the folder that PYDIFFGEO_DATA names, or ../shared/data.

    Raises
    ------
    DataError
        It is in none of these.
    """
    path = path.expanduser()
    folders = [Path(), Path(os.environ.get("PYDIFFGEO_DATA") or "../shared/data")]
    for folder in folders:
        if (folder / path).exists():
            return folder / path
    raise DataError(
        f"data.path: no file or folder {str(path)!r} in {' or '.join(str(f.resolve()) for f in folders)}; correct it, or set "
        "PYDIFFGEO_DATA to the folder that has it."
    )


def choose_basins(known: list[str], settings: DataSettings) -> tuple[list[str], list[str]]:
    """Return the basins trained on and those held out, in the order of `known`.

    A number means that many of one random order, the held-out ones first: the same basins are held out whatever number is
    trained on, and the basins of a smaller number are among those of a larger one. Basins of `settings.exclude` are in none.

    Raises
    ------
    DataError
        An unknown basin, one in both groups, or fewer basins than asked for.
    """
    order = [known[i] for i in np.random.default_rng(settings.split_seed).permutation(len(known))]
    order = [basin for basin in order if basin not in set(settings.exclude)]
    wanted = settings.basins
    named = (
        set(wanted) if isinstance(wanted, tuple) else set()
    )  # which a number of held-out ones leaves alone
    free = [basin for basin in order if basin not in named]
    held = (
        free[: settings.held_out] if isinstance(settings.held_out, int) else list(settings.held_out)
    )
    rest = [basin for basin in order if basin not in set(held)]
    chosen = rest if wanted is None else rest[:wanted] if isinstance(wanted, int) else list(wanted)
    for which, given in (("basins", chosen), ("held_out", held), ("exclude", settings.exclude)):
        for k, basin in enumerate(given):
            if basin not in known:
                hint = (
                    f"{nearest(basin, known)} They have {len(known)} basins, such as {known[0]!r}."
                )
                raise DataError(
                    f"data.{which}: no basin {basin!r} in the records{hint}", ("data", which, k)
                )
    if both := sorted(set(held) & set(chosen)):
        raise DataError(
            f"basin {both[0]} is in data.basins and in data.held_out; take it out of one."
        )
    short = (
        isinstance(given, int) and len(found) < given
        for given, found in ((wanted, chosen), (settings.held_out, held))
    )
    if not chosen or any(short):
        count = "some" if wanted is None else wanted if isinstance(wanted, int) else len(wanted)
        apart = settings.held_out if isinstance(settings.held_out, int) else len(settings.held_out)
        fewer = f", of which data.exclude leaves {len(order)}" if settings.exclude else ""
        raise DataError(
            f"data.basins asks for {count} basins and data.held_out for {apart}; the "
            f"records have {len(known)}{fewer}. Ask for fewer{', or exclude fewer' if settings.exclude else ''}.",
            (
                "data",
                "basins" if wanted is not None else "exclude" if settings.exclude else "held_out",
            ),
        )
    left = set(settings.exclude)
    return [b for b in known if b in set(chosen) - left], [
        b for b in known if b in set(held) - left
    ]


def load_basins(
    settings: BasinRun,
    process_forcing: Sequence[str] = (),
    also_needed: Sequence[str] = (),
    left_out: Mapping[str, Mapping[str, str]] | None = None,
    calibrated: bool = False,
) -> BasinData:
    """Open the records of a run, look at all of its periods, and turn the basins that can be used into tensors.

    Parameters
    ----------
    settings : BasinRun
        The section `data`, the length of windows, the dtype.
    process_forcing : sequence of str
        Series that a process model needs besides those of the networks.
    also_needed : sequence of str
        Series that other runs need: a basin without them is left out here, too, so that all runs have the same basins.
    left_out : mapping of str to mapping of str to str, optional
        Basins that are left out whatever they have, as `BasinData.left_out`: those of the training that is judged.
    calibrated : bool
        Whether each basin is fitted to the whole training period at once, instead of to windows of it.

    Raises
    ------
    DataError
        Records, basins, variables or days that are not there; missing or impossible values, by basin and date, unless the
        settings let them be left out; no basin left.
    """
    data = settings.data
    opened = open_basins(find_data(data.path), data.format, product=data.product, lazy=True)
    known = [str(basin) for basin in opened.basin.values]
    trained, held = choose_basins(known, data)
    out = {scope: dict(reasons) for scope, reasons in (left_out or {}).items()}
    excluded = out.setdefault("all", {})
    excluded |= dict.fromkeys(data.exclude, "named in data.exclude")
    trained, held = (
        [basin for basin in group if basin not in excluded] for group in (trained, held)
    )
    if not trained:
        raise DataError(
            "data.exclude leaves no basin to train on; take some out of it.", ("data", "exclude")
        )
    opened = _in_memory(opened.sel(basin=[*trained, *held]))
    forcing = tuple(dict.fromkeys((*data.forcing, *process_forcing)))
    needed = dict.fromkeys((*forcing, *also_needed))
    # potential evapotranspiration is computed where somebody reads it: what it is made of is then needed in its place
    pet = (
        data.pet
        if "potential_evapotranspiration" not in opened and not set(DERIVED).isdisjoint(needed)
        else None
    )
    _require_names(opened, settings, needed, DERIVED if pet else ())
    series = tuple(
        name
        for name in dict.fromkeys((*needed, *(pet_sources(opened, pet) if pet else ())))
        if name in opened
    )
    attributes = (*data.attributes, *(name for name in pet_places(pet) if name in opened.coords))
    selections = []
    for basins, spans in ((trained, _spans(settings, calibrated)), (held, _spans(settings)[-1:])):
        if basins:
            selections.append(select_sites(opened.sel(basin=basins), spans, series, data.targets, attributes,
                                           missing=data.missing, impossible=data.impossible))  # fmt: skip
    chosen = [list(selection.kept) for selection in selections]
    for selection in selections:
        for scope, reasons in selection.left_out.items():
            out.setdefault(scope, {}).update(reasons)
    records = _in_memory(opened.sel(basin=[basin for basins in chosen for basin in basins]))
    if data.impossible == "missing":
        records = without_impossible(records, dict.fromkeys((*series, *data.targets)))
    if pet:
        records = add_pet(records, pet)
    start, end = days_of(data.train)
    scaling = fit_scaling(
        records.sel(basin=chosen[0]), (*forcing, *data.targets), data.attributes, start, end
    )

    def tensors(basins: list[str]) -> BasinTensors:
        share = int(data.memory * 2**30 * len(basins) / len(records.basin))
        chosen, dtype = records.sel(basin=basins), DTYPES[settings.training.dtype]
        # what the periods touch was looked at before; windows keep clear of missing forcing
        return load_tensors(
            chosen, forcing, data.targets, data.attributes, dtype, share, "skip", "ignore"
        )

    return BasinData(
        records,
        tensors(chosen[0]),
        tensors(chosen[1]) if len(chosen) > 1 else None,
        scaling,
        out,
        tuple(remark for selection in selections for remark in selection.remarks),
        data.missing == "skip",
    )


def write_data_report(folder: Path, data: BasinData) -> None:
    """Write ``data_report.csv``: what each basin is left out of, and why; and what was put up with in others."""
    rows = left_out_rows(data.left_out)
    rows += [
        {"basin": basin, "left_out_of": "nothing", "reason": remark}
        for basin, remark in data.remarks
    ]
    write_file(
        folder / DATA_REPORT,
        pd.DataFrame(rows, columns=["basin", "left_out_of", "reason"]).to_csv(index=False),
    )


def left_out_rows(left_out: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return a row of a table for each basin that is left out of all or of a period, with the reason."""
    found = (
        (scope, basin, why) for scope, reasons in left_out.items() for basin, why in reasons.items()
    )
    return [{"basin": basin, "left_out_of": scope, "reason": why} for scope, basin, why in found]


def read_left_out(folder: Path) -> dict[str, dict[str, str]]:
    """Return the basins that a run has left out of all and of each period, and why; none where it has no report on its data."""
    found: dict[str, dict[str, str]] = {}
    if (folder / DATA_REPORT).is_file():
        for row in pd.read_csv(folder / DATA_REPORT, dtype=str, keep_default_na=False).itertuples():
            if row.left_out_of != "nothing":
                found.setdefault(str(row.left_out_of), {})[str(row.basin)] = str(row.reason)
    return found


def say_left_out(data: BasinData, name: str, aloud: bool) -> None:
    """Print which basins a run leaves out, and what was put up with in others, the first of each; else warn of them."""
    count = len({basin for basin, _ in data.remarks})
    lines = left_out_lines(data.left_out)
    lines += [f"remarks on {count} basin{'s' if count > 1 else ''}:"] if count else []
    lines += [f"  {text}" for _, text in data.remarks[:REMARKS]]
    lines += (
        [f"  and {len(data.remarks) - REMARKS} more, in {DATA_REPORT}"]
        if len(data.remarks) > REMARKS
        else []
    )
    for line in lines:
        if aloud:
            console().print(f"{name}: {line}")
        else:
            log.warning("%s: %s", name, line)


def _in_memory(records: xr.Dataset) -> xr.Dataset:
    """Return records read at once where they are small and all files can be read, else as they are."""
    if records.nbytes > EAGER_BYTES:
        return records
    try:
        return in_memory(records)
    except DataError:  # which file it is comes out basin by basin
        return records


def _spans(settings: BasinRun, calibrated: bool = False) -> list[Span]:
    """Return the periods of a run, the test period last."""
    data, t, warm_up = settings.data, settings.training, settings.evaluation.warm_up
    varied = data.targets if any(term.loss == "nse" for term in settings.loss) else ()
    train = days_of(data.train)
    if calibrated:
        found = [Span("training", *train, warm_up, "windows", None, data.targets[:1])]
    else:
        found = [
            Span(
                "training", *train, t.warm_up, "windows", (t.warm_up, t.window - t.warm_up), varied
            )
        ]
    if data.validation:
        found.append(
            Span("validation", *days_of(data.validation), warm_up, judged=data.targets[:1])
        )
    return [*found, Span("test", *days_of(data.test), warm_up)]


def _require_names(
    records: xr.Dataset, settings: BasinRun, series: Iterable[str], derived: Sequence[str]
) -> None:
    """Raise DataError for a series or attribute that the records do not have, with the nearest name and its setting."""
    data = settings.data
    in_time = [
        str(name)
        for name, values in records.data_vars.items()
        if set(values.dims) == {"basin", "time"}
    ]
    static = [str(name) for name, values in records.data_vars.items() if values.dims == ("basin",)]
    asked = {"forcing": (*in_time, *derived), "targets": in_time, "attributes": static}
    for section, known in asked.items():
        for k, name in enumerate(getattr(data, section)):
            if name not in known:
                what = "attribute" if section == "attributes" else "series in time"
                raise DataError(
                    f"data.{section}: no {what} {name!r} in the records{nearest(name, known)} They have "
                    f"{', '.join(known) or 'none'}.",
                    ("data", section, k),
                )
            if section == "attributes" and records[name].dtype.kind not in "fiu":
                raise DataError(
                    f"data.attributes: {name!r} is text, which networks cannot read; leave it out, or encode it as numbers.",
                    ("data", section, k),
                )
    for name in series:
        if name not in (*in_time, *derived):
            raise DataError(
                f"a process model needs the series {name!r}, which the records do not have; add it to them."
            )


def make_sampler(settings: BasinRun, tensors: BasinTensors) -> tuple[WindowSampler, Tensor]:
    """Return random windows of the training period, and standard deviations [basin, target] in it."""
    t, (start, end) = settings.training, days_of(settings.data.train)
    sampler = WindowSampler(
        tensors, t.batch_size, t.window - t.warm_up, t.warm_up, start, end, t.seed
    )
    needs_std = any(term.loss == "nse" for term in settings.loss)
    shape = (len(tensors.basins), len(tensors.target_names))
    return sampler, tensors.observed_std(start, end) if needs_std else torch.ones(
        shape, dtype=tensors.dtype
    )


def days_of(period: Period) -> tuple[str, str]:
    """Return first and last day as text."""
    return period.start.isoformat(), period.end.isoformat()
