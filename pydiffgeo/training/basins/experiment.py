"""Training and judging runs on basins: what `pydiffgeo train`, `evaluate` and `run` call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pydiffgeo.console import console
from pydiffgeo.errors import DataError, PyDiffGeoError, SettingsError, nearest
from pydiffgeo.evaluation import score_basins
from pydiffgeo.evaluation.plots import matplotlib_missing
from pydiffgeo.files import require_room
from pydiffgeo.settings import load_tagged_settings
from pydiffgeo.training.basins.calibrate import calibrate_run
from pydiffgeo.training.basins.closures import begin_as_formulas
from pydiffgeo.training.basins.data import (
    BasinData,
    days_of,
    load_basins,
    make_sampler,
    say_left_out,
    write_data_report,
)
from pydiffgeo.training.basins.functions import learned_functions
from pydiffgeo.training.basins.models import HybridModel, build_model, process_of
from pydiffgeo.training.basins.prediction import predict
from pydiffgeo.training.basins.processes import SolvedProcess
from pydiffgeo.training.basins.report import compare_runs, remove_comparisons, report_run
from pydiffgeo.training.basins.runs import FREE, load_run, load_settings_of, period_of, runs_in
from pydiffgeo.training.basins.settings import BasinExperiment, BasinRun
from pydiffgeo.training.basins.trainer import CHECKPOINT, BasinTrainer, require_same_scaling
from pydiffgeo.training.basins.untrained import untrained_fluxes
from pydiffgeo.training.checkpoint import load_checkpoint, weights_hash
from pydiffgeo.training.distributed import Group, process_group
from pydiffgeo.training.run_folder import check_run, judging, run_folder, stale_evaluations

log = logging.getLogger("pydiffgeo")


def load_experiment(path: Path) -> BasinExperiment:
    """Settings of an experiment on basins from a YAML file, whose mistakes are SettingsErrors with line and remedy."""
    _, settings = load_tagged_settings(path, {"basins": BasinExperiment}, key="experiment")
    return settings


def run_experiment(
    settings: BasinExperiment,
    output: Path,
    progress: bool = True,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Train every run of an experiment, judge them on the test period, and compare them; see `train` and `evaluate`."""
    folders = train(settings, output, None, resume, progress, overwrite)
    return evaluate(folders, progress=progress)


def train(
    settings: BasinExperiment,
    output: Path,
    only: Sequence[str] | None = None,
    resume: bool = False,
    progress: bool = True,
    overwrite: bool = False,
) -> list[Path]:
    """Train the runs of an experiment one after the other, each in a folder of its name, and return the folders.

    Parameters
    ----------
    settings : BasinExperiment
    output : Path
        Folder of the experiment.
    only : sequence of str, optional
        Names of the runs to train; all by default.
    resume : bool
        Go on from the checkpoints; finished runs stay as they are.
    progress : bool
        Show progress bars.
    overwrite : bool
        Remove the runs that the folders hold, with their evaluations.

    Raises
    ------
    SettingsError
        No such run, or other settings than those of the folder that is resumed.
    OutputError
        A folder holds a run, and neither `resume` nor `overwrite` is asked for; another process writes into it; or none can.
    DataError
        Records or files that cannot be used.
    TrainingFailed, SolveFailed
        The model cannot go on; basin and window are named.
    """
    for name in only or ():
        if name not in settings.runs:
            raise SettingsError(
                f"no run {name!r}{nearest(name, settings.runs)} Known: {', '.join(settings.runs)}."
            )
    names = list(only or settings.runs)
    folders, needed = [output / name for name in names], series_needed(settings)
    with process_group(settings.device) as group:
        for name, folder in zip(
            names, folders, strict=True
        ):  # what is wrong is said before the first one is trained
            _check_model(settings, name)
            if group.first:
                check_run(
                    folder, settings.run(name).model_dump(mode="json"), resume, overwrite, FREE
                )
                require_room(folder)
        for name, folder in zip(names, folders, strict=True):
            train_run(settings.run(name), folder, resume, progress, group, overwrite, needed)
    return folders


def _check_model(settings: BasinExperiment, name: str) -> None:
    """Raise what is wrong with the model of a run, with its place in the settings."""
    try:
        process_of(settings.run(name))
    except PyDiffGeoError as error:
        error.setting = error.setting or ("runs", name, "model")
        raise


def series_needed(settings: BasinExperiment) -> tuple[str, ...]:
    """Return the series that the process models of all runs read: a basin that lacks one is left out of all runs."""
    found: dict[str, None] = {}
    for name in settings.runs:
        try:
            process = process_of(settings.run(name))
        except PyDiffGeoError:  # said when it is its turn
            continue
        found |= dict.fromkeys(() if process is None else process.forcing.values())
    return tuple(found)


def train_run(
    settings: BasinRun,
    folder: Path,
    resume: bool = False,
    progress: bool = True,
    group: Group | None = None,
    overwrite: bool = False,
    also_needed: Sequence[str] = (),
) -> BasinTrainer:
    """Train one model and return its trainer; the folder gets settings, provenance, scaling, checkpoints and logs.

    Before the first step all periods of all basins are looked at, for the series of this run and those in `also_needed`; what
    is left out stands in ``data_report.csv``. Other parameters and errors are those of `train`.
    """
    group = group or Group()
    run = settings.model_dump(mode="json")
    if group.first:
        check_run(folder, run, resume, overwrite, FREE)  # before the data are read
    torch.set_num_threads(settings.training.threads)
    process = process_of(settings)
    data = load_basins(
        settings, () if process is None else tuple(process.forcing.values()), also_needed
    )
    model = build_model(settings, data.tensors, data.scaling, process)
    fits = (
        begin_as_formulas(process.model, settings.model.process.closures)
        if isinstance(process, SolvedProcess)
        else {}
    )
    sampler, std = make_sampler(settings, data.tensors)
    trainer = BasinTrainer(
        model, sampler, std, settings, group, folder, _validation(settings, model, data, group)
    )
    say = console(quiet=not (progress and group.first)).print
    count = sum(weight.numel() for weight in model.parameters())
    say(
        f"{folder.name}: {settings.model.name}, {count} weights, {len(data.tensors.basins)} basins, {trainer.per_epoch} steps "
        f"per epoch, {trainer.t.epochs} epochs, {group.size} processes"
    )
    if group.first:
        say_left_out(data, folder.name, progress)
    for slot, fit in fits.items():
        say(f"{folder.name}: the network of {slot} begins within {fit.largest:.2g} of its formula")
    if resume and (saved := load_checkpoint(folder / CHECKPOINT, ["model"])) is not None:
        require_same_scaling(model, saved["model"])  # before the folder is changed
    with run_folder(folder, run, resume, overwrite, FREE) if group.first else nullcontext():
        if group.first:
            if overwrite:
                remove_comparisons(folder.parent)  # in which this run is
            data.scaling.save(folder / "scaling.json")
            write_data_report(folder, data)
            # weights, the best ones and two moments of each, and the file before it, which is there until then
            size = 4 * sum(value.nbytes for value in model.state_dict().values())
            require_room(folder, 2**20 + size * (1 if (folder / CHECKPOINT).is_file() else 2))
        group.collect(None)  # the others wait for the folder
        trainer.run(resume, progress)
    say(f"{folder}: {_outcome(trainer)}")
    if group.first:
        for out in stale_evaluations(folder, weights_hash(model.state_dict())):
            log.warning(
                "%s judged other weights than the run has now: judge it again with `pydiffgeo evaluate`.",
                out,
            )
    return trainer


def _outcome(trainer: BasinTrainer) -> str:
    text = f"trained for {len(trainer.history)} epochs, {trainer.step} steps"
    if trainer.stopped:
        text += f", stopped early ({trainer.stopped})"
    if trainer.best_weights is None:
        return f"{text}; loss of the last epoch {trainer.history[-1]['loss']:.4f}. Without data.validation no epoch is chosen."
    return f"{text}; best validation NSE {trainer.best:.3f}, of epoch {trainer.best_epoch}, whose weights are kept."


def calibrate(
    settings: BasinExperiment,
    output: Path,
    run: str,
    evaluations: int,
    basins: int | None = None,
    resume: bool = False,
    progress: bool = True,
    overwrite: bool = False,
) -> Path:
    """Calibrate the process model of a run by SCE-UA, basin by basin, into ``RUN_sceua``, and return that folder.

    Parameters
    ----------
    settings : BasinExperiment
    output : Path
        Folder of the experiment.
    run : str
        Name of a run with a process model; its network is not used.
    evaluations : int
        Runs of the model per basin.
    basins : int, optional
        Number of basins, drawn as for training; those of the experiment by default.
    resume, progress, overwrite : bool
        As `train`.

    Raises
    ------
    SettingsError
        No such run, or one without a process model.
    """
    if run not in settings.runs:
        raise SettingsError(
            f"no run {run!r}{nearest(run, settings.runs)} Known: {', '.join(settings.runs)}."
        )
    _check_model(settings, run)
    one = settings.run(run)
    if basins is not None:
        one = one.model_copy(update={"data": one.data.model_copy(update={"basins": basins})})
    folder = output / f"{run}_sceua"
    table = calibrate_run(
        one, folder, evaluations, resume, progress, overwrite, series_needed(settings)
    )
    text = f"{folder}: {len(table)} basins calibrated, median NSE of the training period {table.nse.median():.3f}."
    console(quiet=not progress).print(text)
    return folder


def evaluate(
    folders: Sequence[Path], period: str = "test", progress: bool = True, figures: bool = True
) -> dict[str, list[dict[str, Any]]]:
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
    dict of str to list of dict
        Rows of medians by name of the run: see `pydiffgeo.evaluation.median_scores`, with the group of basins.

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
    )  # each of them once
    for folder in runs:  # what is wrong is said before the first one is judged
        period_of(folder, load_settings_of(folder), period)
        require_room(folder)
    if figures and (missing := matplotlib_missing()):
        log.warning(missing)
    reports: dict[str, list[dict[str, Any]]] = {}
    notes: list[str] = []
    for folder in runs:
        settings, data, model = load_run(folder)
        notes += data.notes
        span = period_of(folder, settings, period)
        warm_up, size = settings.evaluation.warm_up, settings.evaluation.batch_size
        also = untrained_fluxes(settings.data.targets)
        groups = {
            name: (group, data.judged(group, period, *days_of(span), warm_up))
            for name, group in data.groups().items()
        }
        periods = {
            name: predict(model, group, *days_of(span), warm_up, size, also=also, rows=rows)
            for name, (group, rows) in groups.items()
            if len(rows)
        }
        if not periods:
            raise DataError(
                f"no basin of the run {folder} has complete forcing in the {period} period; judge another one."
            )
        gaps = {
            basin: "forcing is missing"
            for group, rows in groups.values()
            for basin in np.delete(group.basins, rows)
        }
        out = {"all": data.left_out.get("all", {}), period: gaps | data.left_out.get(period, {})}
        data = replace(data, left_out=out)
        say_left_out(data, folder.name, progress)
        functions = (
            learned_functions(model, data.tensors, *days_of(span), warm_up)
            if isinstance(model, HybridModel)
            else {}
        )
        weights = weights_hash(model.state_dict())
        with judging(folder / f"evaluation_{period}", weights):
            reports[str(folder)] = report_run(
                folder, period, settings, data, periods, progress, figures, functions, weights
            )
    if len(reports) > 1:
        compare_runs(runs, period, progress, figures, notes)
    return reports


def _validation(
    settings: BasinRun, model: nn.Module, data: BasinData, group: Group
) -> Callable[[], float] | None:
    """Return what gives the median NSE of the first target over the validation period, None where there is none."""
    if settings.data.validation is None:
        return None
    days, target = days_of(settings.data.validation), settings.data.targets[0]
    warm_up, size = settings.evaluation.warm_up, settings.evaluation.batch_size
    tensors = data.tensors
    rows = data.judged(tensors, "validation", *days, warm_up)

    def score() -> float:
        series = predict(model, tensors, *days, warm_up, size, group, rows=rows).series
        simulated, observed = (
            series[f"{target}_{kind}"].values for kind in ("simulated", "observed")
        )
        return float(
            np.nanmedian(
                score_basins(
                    simulated, observed, [tensors.basins[row] for row in rows], ["nse"]
                ).nse
            )
        )

    return score
