"""Trained runs, read from their folders and judged."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
import yaml

from pydiffgeo.errors import DataError, SettingsError, listed, lookup, nearest, repeated
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
)
from pydiffgeo.experiment.data_schema import Period, days_of
from pydiffgeo.experiment.new_records import new_records
from pydiffgeo.experiment.schema import plain_settings
from pydiffgeo.experiment.signatures import given_in
from pydiffgeo.experiment.site_data import SiteData
from pydiffgeo.experiment.trained import TrainedRun, load_run, runs_in, settings_of
from pydiffgeo.files import require_room
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
    if twice := repeated(names):
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
    names = [name for name in run.settings.data.observed if name in found.data]
    calibration = calibration_of(run) if names else None
    if calibration is None:
        return found
    return conformal(calibration, found, run.settings.evaluation.quantiles)


def calibration_of(run: TrainedRun) -> Evaluation | None:
    """Return the judgement that gives conformal intervals, where the settings ask for them."""
    settings, e = run.settings, run.settings.evaluation
    if not e.conformal:
        return None
    require_calibration(settings)
    data = load_sites(settings, [run.hybrid], run.left_out, run.calibrated)
    sites = data.judged("validation")
    sites = sites.sel(site=[s for s in map(str, sites.site.values) if s in data.trained])
    own = {s: i for i, m in enumerate(run.kept) for s in m["left_out"]}
    return evaluate(
        run.model, sites, *days_of(settings.data.validation), e.warm_up, e.batch,
        observed=settings.data.observed, members=own or None, missing=settings.data.missing,
        quantiles=e.quantiles,
    )  # fmt: skip


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
