"""Trained runs: read from their folders, judged, and used for new sites and scenarios."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import yaml

from pydiffgeo.data import fill_forcing, find_data
from pydiffgeo.data.derive import attributes_of, sources_of
from pydiffgeo.data.form import moments, series_names, step_of, times_of
from pydiffgeo.data.problems import absent
from pydiffgeo.errors import DataError, OutputError, SettingsError, listed, lookup, nearest
from pydiffgeo.evaluation import (
    Evaluation,
    compare_runs,
    conformal,
    evaluate,
    mean_name,
    mean_of_runs,
)
from pydiffgeo.evaluation.figures import matplotlib_missing
from pydiffgeo.experiment.build import (
    build_hybrid,
    build_members,
    build_windows,
    load_sites,
    open_records,
    selected,
    summary_days,
    with_derived,
)
from pydiffgeo.experiment.data_schema import Period, days_of
from pydiffgeo.experiment.schema import plain_settings
from pydiffgeo.experiment.signatures import given_in, make
from pydiffgeo.experiment.site_data import SiteData
from pydiffgeo.experiment.trained import TrainedRun, load_run, runs_in, settings_of
from pydiffgeo.files import require_room, write_netcdf
from pydiffgeo.training.checkpoint import difference
from pydiffgeo.training.run_folder import check_judged, judging

log = logging.getLogger("pydiffgeo")

CALIBRATION = "evaluation_validation"  # folder of what conformal intervals are of
OF_REPORT = ("panels", "conformal")  # settings of evaluation that are none of `evaluate`


def period_of(folder: Path, settings: Any, name: str) -> Period | None:
    """Return a period of a run: train, validation or test; None of points, which are all judged."""
    names = ("train", "validation", "test")
    if settings.data.points and name == "test":
        return None
    span: Period | None = getattr(settings.data, name) if name in names else None
    if span is None:
        remedy = f"{nearest(name, names)} Known: {', '.join(names)}."
        if name in names:
            remedy = (
                ". Give data.validation a start and an end in the settings, apart from data.train, "
                "and train again; or judge --period test."
            )
        raise SettingsError(f"the run {folder} has no period {name!r}{remedy}")
    return span


def judge(
    folders: Sequence[Path],
    period: str = "test",
    progress: bool = True,
    figures: bool = True,
    data: Path | None = None,
    layout_options: Mapping[str, Any] | None = None,
    mean: Sequence[str] = (),
) -> dict[str, Evaluation]:
    """Judge trained runs over a period; write tables, series, figures and reports.

    Parameters
    ----------
    folders : sequence of Path
        Folders of runs, or of experiments, whose runs are all judged.
    period : {"test", "validation", "train"}
        Of the run's settings.
    progress : bool
        Print the tables.
    figures : bool
        Draw figures (needs matplotlib).
    data : Path, optional
        Other records of the same form, all of which are judged, after the warm-up, in place of the
        period: sites or years that the runs have never seen.
    layout_options : mapping of str to object, optional
        Options of the layout of `data` that differ from those of the run.
    mean : sequence of str
        Names of runs; the mean of what they simulate is judged, too, and compared with the others.

    Returns
    -------
    dict of str to Evaluation
        By folder; a mean is in a folder beside those of its runs.

    Raises
    ------
    DataError, SettingsError, OutputError
        No trained run, no such period, or a folder that cannot be written.
    """
    found = [run for folder in folders for run in runs_in(Path(folder))]
    runs = list({run.resolve(): run for run in found}.values())
    names = [run.name for run in runs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(
            f"two runs are called {listed(twice)}: judge their folders one by one, or rename one."
        )
    scope = period if data is None else Path(data).stem
    for folder in runs:  # what is wrong is said before the first one is judged
        if data is None:
            period_of(folder, settings_of(folder), period)
        require_room(folder)
    if figures and (missing := matplotlib_missing()):
        log.warning(missing)
    judged: dict[str, Evaluation] = {}
    weights: dict[str, str] = {}
    notes: list[str] = []
    for folder in runs:
        run = load_run(folder)
        judged[str(folder)], told = (
            judge_run(run, period, progress, figures)
            if data is None
            else judge_records(run, data, progress, figures, layout_options)
        )
        weights[str(folder)] = run.weights
        notes += told
    if mean:
        _judge_mean(mean, judged, runs, scope, progress, figures)
    if len(runs) > 1:
        for folder in runs:
            check_judged(folder / f"evaluation_{scope}", weights[str(folder)])
        named = {Path(folder).name: folder for folder in judged}
        own = {name: weights[k] for name, k in named.items() if k in weights}
        compare_runs(
            {name: judged[k] for name, k in named.items()}, runs[0].parent, f"comparison_{scope}",
            figures=figures, notes=notes, weights=own,
            progress=progress,
        )  # fmt: skip
    return judged


def _judge_mean(
    names: Sequence[str],
    judged: dict[str, Evaluation],
    runs: Sequence[Path],
    scope: str,
    progress: bool,
    figures: bool,
) -> None:
    """Add the mean of some runs to those that are judged, and write its report beside them."""
    folders = {folder.name: folder for folder in runs}
    title = mean_name(names)
    found = mean_of_runs([judged[str(lookup(folders, name, "run"))] for name in names])
    place = folders[names[0]].parent / title
    found.save(
        place / f"evaluation_{scope}", f"{title}, {scope} period", figures=figures,
        progress=progress,
    )  # fmt: skip
    judged[str(place)] = found


def judge_run(
    run: TrainedRun, period: str, progress: bool, figures: bool
) -> tuple[Evaluation, list[str]]:
    """Judge one trained run, write the report into its folder; return notes for its reader, too."""
    folder, settings = run.folder, run.settings
    data = load_sites(settings, [run.hybrid], run.left_out, run.calibrated)
    data.say(folder.name, progress)
    span, sites = period_of(folder, settings, period), data.judged(period)
    if run.calibrated:  # the others have no parameters
        sites = sites.sel(site=[s for s in map(str, sites.site.values) if s in data.trained])
    own = {s: i for i, m in enumerate(run.kept) for s in m["left_out"]}
    history, (start, end) = folder / "history.csv", days_of(span)
    return _judged(
        run, sites, f"evaluation_{period}", f"{period} period", progress, figures,
        _other_records(run, data), start=start, end=end, observed=settings.data.observed,
        members=own or None, groups=data.groups,
        history=pd.read_csv(history) if history.is_file() else None,
        left_out={**data.left_out.get("all", {}), **data.left_out.get(period, {})},
    )  # fmt: skip


def require_calibration(settings: Any) -> None:
    """Raise SettingsError where conformal intervals have no validation period of their own."""
    if settings.evaluation.conformal and (
        settings.data.validation is None or settings.data.held_days
    ):
        raise SettingsError(
            "evaluation.conformal takes the errors of data.validation, which must be there and lie "
            "apart from data.train: give it a start and an end before or after it.",
            ("evaluation", "conformal"),
        )


def with_intervals(run: TrainedRun, found: Evaluation) -> Evaluation:
    """Return an evaluation with intervals from the validation period of the run's own records,
    where its settings ask for them.
    """
    settings, e = run.settings, run.settings.evaluation
    names = [name for name in settings.data.observed if name in found.data]
    if not e.conformal or not names:
        return found
    require_calibration(settings)
    data = load_sites(settings, [run.hybrid], run.left_out, run.calibrated)
    sites = data.judged("validation")
    sites = sites.sel(site=[s for s in map(str, sites.site.values) if s in data.trained])
    own = {s: i for i, m in enumerate(run.kept) for s in m["left_out"]}
    calibration = evaluate(
        run.model, sites, *days_of(settings.data.validation), e.warm_up, e.batch,
        observed=names, members=own or None, missing=settings.data.missing,
        quantiles=e.quantiles,
    )  # fmt: skip
    return conformal(calibration, found, e.quantiles)


def judge_records(
    run: TrainedRun,
    path: Path,
    progress: bool,
    figures: bool,
    options: Mapping[str, Any] | None = None,
) -> tuple[Evaluation, list[str]]:
    """Judge a trained run by other records, write the report into its folder as `judge_run`."""
    records = new_records(run, path, options=options)
    observed = [name for name in run.settings.data.observed if name in records]
    if not observed:
        raise DataError(f"{path} has no {listed(run.settings.data.observed)} to judge by.")
    out = f"evaluation_{Path(path).stem}"
    return _judged(run, records, out, str(path), progress, figures, observed=observed)


def _judged(
    run: TrainedRun, sites: xr.Dataset, out: str, title: str, progress: bool, figures: bool,
    notes: Iterable[str] = (), **options: Any,
) -> tuple[Evaluation, list[str]]:  # fmt: skip
    """Judge sites as the settings of a run say, and write the report; return its notes, too."""
    folder, e, told = run.folder, run.settings.evaluation, [*run.notes, *notes]
    for note in told:
        log.warning(note)
    given = {k: v for k, v in given_in(e).items() if k not in OF_REPORT}
    with judging(folder / out, run.weights):
        found = evaluate(run.model, sites, **given, **options, missing=run.settings.data.missing)
        if out != CALIBRATION:
            found = with_intervals(run, found)
        found.save(
            folder / out, f"{folder.name}, {title}", panels=e.panels, figures=figures, notes=told,
            appendix=_appendix(folder, run.settings), weights=run.weights, progress=progress,
        )  # fmt: skip
    return found, told


def _other_records(run: TrainedRun, data: SiteData) -> Iterator[str]:
    """Yield what is to be said where the scaling of a run is not that of the records of now."""
    if run.calibrated or any(member["left_out"] for member in run.kept):
        return  # whose scaling is of other sites
    fresh, days = build_hybrid(run.settings), run.settings.data.train
    seen = build_windows(data.training, run.settings, fresh, days)
    if run.members:  # which derive their series from the days of training alone
        first = build_members(run.settings, data.training, fresh)[0]
        seen = first.seen or first.windows
    fresh.prepare(seen)
    if differs := difference(fresh.get_extra_state(), run.hybrid.get_extra_state(), ""):
        told = f"The records are not those that {run.folder} was trained on: {differs}."
        yield f"{told} Its own scaling is kept."


def _appendix(folder: Path, settings: Any) -> dict[str, str]:
    path, plain = folder / "provenance.json", plain_settings(settings)
    text = path.read_text(encoding="utf-8") if path.is_file() else "none"
    return {"Settings": yaml.safe_dump(plain, sort_keys=False), "Provenance": text}


def predict(
    folder: Path,
    data: Path,
    output: Path,
    start: str | None = None,
    end: str | None = None,
    sites: Sequence[str] | None = None,
    layout: str | None = None,
    overwrite: bool = False,
    layout_options: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Simulate new records with a trained run; write series, states and parameters as netCDF.

    Parameters
    ----------
    folder : Path
        Of the run.
    data : Path
        Records of other sites or years, or a scenario of forcing; with or without observations.
    output : Path
        NetCDF file.
    start, end : str, optional
        First and last day; by default all after the warm-up.
    sites : sequence of str, optional
        All by default.
    layout, overwrite
        Of the files, that of the run by default; replace the file, where there is one.
    layout_options : mapping of str to object, optional
        Options of the layout that differ from those of the run.

    Raises
    ------
    DataError, OutputError
        The records lack what the run reads; the file is there already, or cannot be written.
    """
    if output.exists() and not overwrite:
        remedy = "Name another file, or replace it by --overwrite."
        raise OutputError(f"{output} exists already. {remedy}")
    run = load_run(folder)
    for note in run.notes:
        log.warning(note)
    records = new_records(run, data, sites, layout, layout_options)
    observed = [name for name in run.settings.data.observed if name in records]
    e = run.settings.evaluation
    found = evaluate(
        run.model, records, start, end, warm_up=e.warm_up, batch=e.batch, observed=observed,
        also=[name for name in run.hybrid.gives if name not in observed],
        missing=run.settings.data.missing, quantiles=e.quantiles,
    )  # fmt: skip
    found = with_intervals(run, found)
    for site, why in json.loads(found.data.attrs["failed"]).items():
        log.warning("site %s is left out: the solve failed: %s", site, why)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_netcdf(found.data, output)
    return found


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
    settings = run.settings
    own = {**settings.data.options, **(options or {})}
    changes = {"path": find_data(path), "layout": layout or settings.data.layout, "options": own}
    if sites:  # who names sites wants others than the settings select
        changes["select"] = {}
    data = settings.data.model_copy(update=changes)
    records = selected(open_records(data, settings.search, sites, unknown_names="ignore"), data)
    _require_read(records, run, data.path)
    if data.points:
        return _with_attributes(with_derived(records, data, None, None), run)
    days = times_of(records)
    if data.gaps is not None:
        series = [n for n in series_names(records) if n not in data.observed]
        records, _ = fill_forcing(records, make(data.gaps), (days[0], days[-1]), series)
    first, last = moments(*summary_days(settings), step_of(days))
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
