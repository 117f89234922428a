"""Trained runs read back from their folders, judged, and used for new sites, years and scenarios."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
import yaml
from pydantic import ValidationError

from pydiffgeo.data import fill_forcing
from pydiffgeo.data.form import series_names, times_of
from pydiffgeo.errors import DataError, OutputError, SettingsError, nearest
from pydiffgeo.evaluation import Evaluation, compare_runs, evaluate
from pydiffgeo.evaluation.figures import matplotlib_missing
from pydiffgeo.experiment.build import (
    DATA_REPORT,
    FREE,
    load_sites,
    make_hybrid,
    open_records,
    with_derived,
)
from pydiffgeo.experiment.schema import Period, hybrid_section, plain_settings, run_settings
from pydiffgeo.experiment.signatures import make
from pydiffgeo.files import require_room, write_netcdf
from pydiffgeo.hybrid import Hybrid
from pydiffgeo.members import Ensemble
from pydiffgeo.training.checkpoint import (
    CHECKPOINT,
    chosen_weights,
    load_checkpoint,
    load_weights,
    weights_hash,
)
from pydiffgeo.training.run_folder import (
    SETTINGS,
    changed_settings,
    check_judged,
    judging,
    kept_settings,
)
from pydiffgeo.training.sce_ua import calibrated

log = logging.getLogger("pydiffgeo")


@dataclass(frozen=True)
class TrainedRun:
    """A trained run, read back from its folder: settings, model in evaluation mode, and what a reader must know of it."""

    folder: Path
    settings: Any
    model: Hybrid | Ensemble
    weights: str
    members: list[dict[str, Any]] | None
    left_out: dict[str, dict[str, str]]
    notes: tuple[str, ...] = ()
    calibrated: bool = False


def runs_in(folder: Path) -> list[Path]:
    """Return the folders of trained runs in a folder: itself, or those in it. A checkpoint has the settings, too.

    Raises
    ------
    DataError
        There is none.
    """
    if (folder / SETTINGS).is_file() or (folder / CHECKPOINT).is_file():
        return [folder]
    found = sorted(path.parents[1] for path in folder.glob(f"*/{CHECKPOINT}"))
    if not found:
        raise DataError(
            f"no trained run in {str(folder)!r}: its folder has {SETTINGS} and {CHECKPOINT}; train one first."
        )
    return found


def settings_of(folder: Path) -> Any:
    """Return the settings of a run's folder.

    Raises
    ------
    DataError
        There are none, or they are not those of a run.
    """
    found = kept_settings(folder)
    if found is None:
        raise DataError(
            f"{folder / SETTINGS} does not hold the settings of a run. Train one into the folder, or name another."
        )
    try:
        return run_settings(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        raise DataError(
            f"{folder / SETTINGS} does not hold the settings of a run ({where}: {first['msg'].rstrip('.')}). Correct it, or "
            "train again with --overwrite."
        ) from error


def load(folder: str | Path, hybrid: Hybrid | None = None) -> Hybrid | Ensemble:
    """Return the trained hybrid, or the ensemble, of a run's folder, ready to simulate.

    Parameters
    ----------
    folder : str or Path
        Of a run, as `Trainer` or ``pydiffgeo train`` wrote it.
    hybrid : Hybrid, optional
        An untrained one like it, where the folder cannot say how it was made.

    Raises
    ------
    DataError
        The folder holds no trained run.
    SettingsError
        Own classes that are not found, or a checkpoint of another hybrid.
    """
    return _loaded(Path(folder), hybrid)[0]


def _loaded(folder: Path, hybrid: Hybrid | None = None) -> tuple[Hybrid | Ensemble, dict[str, Any]]:
    saved = load_checkpoint(folder / CHECKPOINT, ["model"])
    if saved is None:
        raise DataError(f"the run {folder} has no checkpoint {CHECKPOINT} yet; train it first.")
    model: Any = hybrid or _described(folder)
    members, weights = saved.get("members"), chosen_weights(saved)
    if members:
        model = model.ensemble([m["seed"] for m in members if m["kept"]])
    elif saved.get("calibrated"):
        model = calibrated(model, saved["names"])
    for name, part in list(model.named_modules()):
        if isinstance(part, Hybrid):  # makes its networks, which then take their weights
            state: Any = weights.get(f"{name}._extra_state".lstrip("."), {})
            part.set_extra_state(state)
    load_weights(model, weights, folder / CHECKPOINT)
    return model.eval(), saved


def _described(folder: Path) -> Hybrid:
    """Return the untrained hybrid that the settings in a folder describe."""
    kept = kept_settings(folder) or {}
    if not kept.get("hybrid"):
        raise DataError(
            f"{folder / SETTINGS} does not say how the hybrid was made. Give an untrained one: load(folder, hybrid=...)."
        )
    search = [str(folder), *(kept.get("search") or ())]
    try:
        return make_hybrid(hybrid_section(kept["hybrid"], tuple(search)), search)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{folder / SETTINGS} does not describe a hybrid (hybrid.{where}: {first['msg'].rstrip('.')}). Correct it, or "
            "give an untrained one: load(folder, hybrid=...)."
        ) from error


def load_run(folder: Path) -> TrainedRun:
    """Return a trained run from its folder.

    Raises
    ------
    DataError
        The folder has no settings or no checkpoint, or they cannot be read.
    """
    settings = settings_of(folder)
    model, saved = _loaded(folder)
    calibrated = bool(saved.get("calibrated"))
    notes = list(_notes(folder, saved, settings))
    return TrainedRun(
        folder, settings, model, weights_hash(model.state_dict()), saved.get("members"),
        read_left_out(folder), tuple(notes), calibrated,
    )  # fmt: skip


def read_left_out(folder: Path) -> dict[str, dict[str, str]]:
    """Return the sites that a run has left out of all and of each period, and why; none where it has no report on its data."""
    found: dict[str, dict[str, str]] = {}
    if (folder / DATA_REPORT).is_file():
        table = pd.read_csv(folder / DATA_REPORT, dtype=str, keep_default_na=False)
        for row in table.itertuples():
            if row.left_out_of != "nothing":
                found.setdefault(str(row.left_out_of), {})[str(row.site)] = str(row.reason)
    return found


def _notes(folder: Path, saved: dict[str, Any], settings: Any) -> Iterator[str]:
    """Yield what a reader of the scores must know of a run."""
    if reason := _unfinished(saved, settings):
        yield f"{folder} is not trained to its end: {reason}. Its weights until then are taken; --resume goes on."
    now = plain_settings(settings)
    changed = changed_settings(saved.get("settings") or now, now, FREE - {"data.path"})
    if changed:
        told = "; ".join(
            f"{key} is {new!r}, the run was trained with {old!r}" for key, old, new in changed
        )
        yield f"{folder / SETTINGS} was changed since the training: {told}. What stands there now is taken."


def _unfinished(saved: dict[str, Any], settings: Any) -> str:
    """Return how far a training or calibration came that did not come to its end, in words; "" for one that did."""
    if saved.get("calibrated"):
        done, count, what = len(saved["rows"]), saved["sites"], "sites"
    else:
        progress = saved["progress"]
        done, count, what = len(progress["history"]), settings.training.epochs, "epochs"
        if saved["choice"].get("stopped"):
            return ""
    return "" if done >= count else f"{done} of {count} {what} are done"


def period_of(folder: Path, settings: Any, name: str) -> Period:
    """Return a period of a run: train, validation or test."""
    names = ("train", "validation", "test")
    if name not in names:
        hint = nearest(name, names)
        raise SettingsError(
            f"the run {folder} has no period {name!r}{hint} Known: {', '.join(names)}."
        )
    span: Period | None = getattr(settings.data, name)
    if span is None:
        raise SettingsError(
            f"the run {folder} has no period {name!r}. Give data.validation a start and an end in the settings, apart from "
            "data.train, and train again; or judge --period test."
        )
    return span


def judge(
    folders: Sequence[Path], period: str = "test", progress: bool = True, figures: bool = True
) -> dict[str, Evaluation]:
    """Judge trained runs over a period and write tables, series, figures and a report into each folder.

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

    Returns
    -------
    dict of str to Evaluation
        By folder.

    Raises
    ------
    DataError
        A folder without a trained run.
    SettingsError
        The run has no such period.
    OutputError
        A folder cannot be written.
    """
    runs = list(
        {run.resolve(): run for folder in folders for run in runs_in(Path(folder))}.values()
    )
    for folder in runs:  # what is wrong is said before the first one is judged
        period_of(folder, settings_of(folder), period)
        require_room(folder)
    if figures and (missing := matplotlib_missing()):
        log.warning(missing)
    judged: dict[str, Evaluation] = {}
    weights: dict[str, str] = {}
    notes: list[str] = []
    for folder in runs:
        run = load_run(folder)
        judged[str(folder)] = judge_run(run, period, progress, figures)
        weights[str(folder)] = run.weights
        notes += run.notes
    if len(runs) > 1:
        labels = {str(folder): folder.name for folder in runs}
        for folder in runs:
            check_judged(folder / f"evaluation_{period}", weights[str(folder)])
        compare_runs(
            {labels[k]: run for k, run in judged.items()}, runs[0].parent, f"comparison_{period}",
            figures=figures, notes=notes, weights={labels[k]: w for k, w in weights.items()},
            progress=progress,
        )  # fmt: skip
    return judged


def judge_run(run: TrainedRun, period: str, progress: bool, figures: bool) -> Evaluation:
    """Judge one trained run over a period, and write the report into its folder."""
    for note in run.notes:
        log.warning(note)
    folder, settings = run.folder, run.settings
    first: Any = run.model.members[0] if isinstance(run.model, Ensemble) else run.model
    data = load_sites(settings, [first], run.left_out, run.calibrated)
    data.say(folder.name, progress)
    span, e = period_of(folder, settings, period), settings.evaluation
    groups = {"trained": data.trained, "held out": data.held_out}
    sites = data.judged(period)
    if run.calibrated:  # the others have no parameters
        sites = sites.sel(site=[s for s in map(str, sites.site.values) if s in data.trained])
    own = {s: i for i, m in enumerate(_kept(run)) for s in m["left_out"]}
    history = folder / "history.csv"
    options = {k: v for k, v in e.given().items() if k != "panels"}
    out = folder / f"evaluation_{period}"
    with judging(out, run.weights):
        found = evaluate(
            run.model, sites, *span.days, **options,
            observed=settings.data.observed, members=own or None,
            groups=groups if data.held_out else None,
            history=pd.read_csv(history) if history.is_file() else None,
            left_out={**data.left_out.get("all", {}), **data.left_out.get(period, {})},
        )  # fmt: skip
        found.save(
            out, f"{folder.name}, {period} period", panels=e.panels, figures=figures, notes=run.notes,
            appendix=_appendix(folder, settings), weights=run.weights, progress=progress,
        )  # fmt: skip
    return found


def _kept(run: TrainedRun) -> list[dict[str, Any]]:
    return [member for member in run.members or () if member["kept"]]


def _appendix(folder: Path, settings: Any) -> dict[str, str]:
    provenance = folder / "provenance.json"
    text = provenance.read_text(encoding="utf-8") if provenance.is_file() else "none"
    return {
        "Settings": yaml.safe_dump(plain_settings(settings), sort_keys=False),
        "Provenance": text,
    }


def predict(
    folder: Path,
    data: Path,
    output: Path,
    start: str | None = None,
    end: str | None = None,
    sites: Sequence[str] | None = None,
    layout: str = "auto",
    overwrite: bool = False,
) -> Evaluation:
    """Simulate new records with a trained run, and write series, states and parameters into a netCDF file.

    Parameters
    ----------
    folder : Path
        Of the run.
    data : Path
        Records of other sites or years, or a scenario of forcing, in any layout; with or without observations.
    output : Path
        NetCDF file.
    start, end : str, optional
        First and last day; by default all after the warm-up.
    sites : sequence of str, optional
        All by default.
    layout : str
        Of the files.
    overwrite : bool
        Replace the file, where there is one.

    Raises
    ------
    DataError
        The records lack what the run reads.
    OutputError
        The file is there already, or cannot be written.
    """
    if output.exists() and not overwrite:
        raise OutputError(
            f"{output} exists already. Name another file, or replace it by --overwrite."
        )
    run = load_run(folder)
    for note in run.notes:
        log.warning(note)
    records = new_records(run.settings, data, sites, layout)
    given = set(map(str, records.data_vars))
    observed = [name for name in run.settings.data.observed if name in given]
    e = run.settings.evaluation
    model: Any = run.model
    found = evaluate(
        model, records, start, end, warm_up=e.warm_up, batch=e.batch, observed=observed,
        also=[name for name in model.gives if name not in observed],
    )  # fmt: skip
    output.parent.mkdir(parents=True, exist_ok=True)
    write_netcdf(found.data, output)
    return found


def new_records(
    settings: Any, path: Path, sites: Sequence[str] | None = None, layout: str = "auto"
) -> xr.Dataset:
    """Return other records as a run reads them: with the names, units and derived series of its settings.

    Record summaries are those of the training period where the records cover it, else of all days.
    """
    data = settings.data.model_copy(update={"path": path, "layout": layout})
    records = open_records(data)
    known = [str(site) for site in records.site.values]
    for site in sites or ():
        if site not in known:
            raise DataError(f"no site {site!r} in {path}{nearest(site, known)}")
    if sites:
        records = records.sel(site=list(sites))
    if data.gaps is not None:
        series = [n for n in series_names(records) if n not in data.observed]
        all_days = times_of(records)
        records, _ = fill_forcing(records, make(data.gaps), (all_days[0], all_days[-1]), series)
    days, seen = times_of(records), data.train.days
    known = days[(days >= pd.Timestamp(seen[0])) & (days <= pd.Timestamp(seen[1]))]
    span = (known[0], known[-1]) if len(known) else (days[0], days[-1])
    return with_derived(records, data, *(str(day)[:10] for day in span))
