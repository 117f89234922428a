"""Work of the commands: train, evaluate, predict and calibrate the runs of an experiment."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from pydiffgeo.console import console
from pydiffgeo.data.form import observed_names, positions, times_of
from pydiffgeo.errors import PyDiffGeoError, SettingsError, nearest
from pydiffgeo.evaluation import Evaluation
from pydiffgeo.experiment.build import (
    DATA_REPORT,
    FREE,
    SiteData,
    build_hybrid,
    build_loss,
    build_windows,
    load_sites,
    with_derived,
)
from pydiffgeo.experiment.judge import judge
from pydiffgeo.experiment.schema import Experiment, plain_settings
from pydiffgeo.experiment.synthetic import synthetic_sites
from pydiffgeo.files import require_room, write_netcdf
from pydiffgeo.hybrid import Hybrid
from pydiffgeo.training.checkpoint import weights_hash
from pydiffgeo.training.distributed import Group, process_group
from pydiffgeo.training.ensemble import folds, twins
from pydiffgeo.training.run_folder import check_run, stale_evaluations
from pydiffgeo.training.sce_ua import calibrate as calibrate_sites
from pydiffgeo.training.trainer import Trainer

log = logging.getLogger("pydiffgeo")

SYNTHETIC = "synthetic.nc"


def run_experiment(
    experiment: Experiment,
    output: Path,
    only: Sequence[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    figures: bool = True,
) -> dict[str, Evaluation]:
    """Train every run of an experiment, judge them on the test period, and compare them.

    See `train` and `judge`.
    """
    folders = train(experiment, output, only, resume, overwrite, progress)
    return judge(folders, "test", progress, figures)


def train(
    experiment: Experiment,
    output: Path,
    only: Sequence[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> list[Path]:
    """Train the runs of an experiment, each in a folder of its name; return the folders.

    Parameters
    ----------
    experiment : Experiment
    output : Path
        Folder of the experiment.
    only : sequence of str, optional
        Names of the runs to train; all by default.
    resume : bool
        Go on from the checkpoints; finished runs stay as they are.
    overwrite : bool
        Remove the runs that the folders hold, with their evaluations.
    progress : bool
        Show progress bars.

    Raises
    ------
    SettingsError
        No such run, or other settings than those of the folder that is resumed.
    OutputError
        A folder holds a run, and neither `resume` nor `overwrite` is asked for; another process
        writes into it; or none can.
    DataError
        Records or files that cannot be used.
    TrainingFailed, SolveFailed
        The model cannot go on; site and window are named.
    """
    names = list(only or experiment.runs)
    for name in names:
        _require_run(experiment, name)
    hybrids = _hybrids(experiment, names)
    with process_group(experiment.runs[names[0]].device) as group:
        for name in names:  # what is wrong is said before the first one is trained
            if group.first:
                plain = plain_settings(experiment.runs[name])
                check_run(output / name, plain, resume, overwrite, FREE)
                require_room(output / name)
        experiment = _with_records(experiment, output, hybrids, group)
        for name in names:
            with _placed(experiment, name):
                train_run(
                    experiment.runs[name], output / name, resume, overwrite, progress, group,
                    list(hybrids.values()),
                )  # fmt: skip
    return [output / name for name in names]


@contextmanager
def _placed(experiment: Experiment, name: str) -> Iterator[None]:
    """Say of errors where in the file of an experiment their setting stands."""
    try:
        yield
    except PyDiffGeoError as error:
        if error.setting:
            error.setting = experiment.place(name, error.setting)
        raise


def _hybrids(experiment: Experiment, names: Sequence[str]) -> dict[str, Hybrid]:
    """Return the untrained hybrid of each run.

    What is wrong with others than `names` is said when it is their turn.
    """
    found = {}
    for name, settings in experiment.runs.items():
        try:
            with _placed(experiment, name):
                found[name] = build_hybrid(settings)
        except PyDiffGeoError:
            if name in names:
                raise
    return found


def _with_records(
    experiment: Experiment, output: Path, hybrids: dict[str, Hybrid], group: Group
) -> Experiment:
    """Return the experiment with a synthetic truth, written into its folder, in the place of
    records that are not given.
    """
    path, runs = output / SYNTHETIC, dict(experiment.runs)
    for name, settings in experiment.runs.items():
        if settings.data.path is not None:
            continue
        if group.first and not path.is_file():
            truth = next((n for n, h in hybrids.items() if h.learns), name)
            sites = synthetic_sites(experiment.runs[truth], build_hybrid(experiment.runs[truth]))
            output.mkdir(parents=True, exist_ok=True)
            write_netcdf(sites, path)
            console().print(f"{path}: {sites.attrs['source']}")
        group.collect(None)
        data = settings.data.model_copy(update={"path": path.resolve(), "layout": "netcdf"})
        runs[name] = settings.model_copy(update={"data": data})
    return replace(experiment, runs=runs)


def train_run(
    settings: Any,
    folder: Path,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    group: Group | None = None,
    hybrids: Sequence[Hybrid] = (),
) -> Trainer:
    """Train one hybrid and return its trainer.

    The folder gets settings, provenance, checkpoints and logs.

    Before the first step all periods of all sites are looked at, for the series that any of
    `hybrids` reads; what is left out stands in ``data_report.csv``. Other parameters and errors are
    those of `train`.
    """
    group = group or Group()
    hybrid = build_hybrid(settings)
    data = load_sites(settings, hybrids or [hybrid])
    trainer = make_trainer(settings, data, hybrid, folder, group)
    if group.first:
        data.say(folder.name, progress)
    say = console(quiet=not (progress and group.first)).print
    weights = sum(weight.numel() for weight in trainer.model.parameters())
    say(
        f"{folder.name}: {weights} weights, {len(data.trained)} sites, {trainer.per_epoch} steps "
        f"per epoch, {trainer.epochs} epochs, {group.size} processes"
    )
    trainer.run(resume, progress, overwrite)
    say(f"{folder}: {_outcome(trainer)}")
    if group.first:
        for out in stale_evaluations(folder, weights_hash(trainer.model.state_dict())):
            log.warning(
                "%s judged other weights than the run has now: judge it again with `pydiffgeo "
                "evaluate`.",
                out,
            )
    return trainer


def make_trainer(
    settings: Any, data: SiteData, hybrid: Hybrid, folder: Path | None, group: Group | None = None
) -> Trainer:
    """Return the trainer of a run, for records that `load_sites` gave."""
    t, d = settings.training, settings.data
    trained = data.sites.sel(site=list(data.trained))
    windows = build_windows(trained, settings, hybrid, d.train)
    options = {
        name: value
        for name, value in t.given().items()
        if name not in ("length", "warm_up", "batch", "seeds", "folds")
    }
    if d.validation is not None and not d.held_days:
        options["validation"] = build_windows(
            trained, settings, hybrid, d.validation, length=None, batch=settings.evaluation.batch,
            warm_up=settings.evaluation.warm_up or 0,
        )  # fmt: skip
    if t.folds or t.seeds or d.held_days:
        options["members"] = _members(settings, data, hybrid)
    return Trainer(
        hybrid, windows, build_loss(settings), folder, **options, group=group,
        settings=plain_settings(settings), free=FREE, files={DATA_REPORT: data.report()},
    )  # fmt: skip


def _members(settings: Any, data: SiteData, hybrid: Hybrid) -> list[Any]:
    """Return the plan of an ensemble: twins by seed, or a fold for each site."""
    t, d = settings.training, settings.data
    records = data.sites.sel(site=list(data.trained), time=slice(*d.train.days))
    records = records.drop_vars([n for n in observed_names(records) if n not in d.observed])
    held = 0
    if d.held_days:
        held = int((records.time >= np.datetime64(d.validation.start)).sum())

    def seen(days: slice) -> xr.Dataset:
        times = records.time.values[days]
        return with_derived(records, d, *(str(t)[:10] for t in (times[0], times[-1])))

    def windows(sites: xr.Dataset) -> Any:
        return build_windows(sites, settings, hybrid, d.train)

    if t.folds:
        return folds(seen, held, t.warm_up, windows, seed=(t.seeds or (t.seed,))[0])
    return twins(seen, t.seeds or (t.seed,), held, t.warm_up, windows)


def _outcome(trainer: Trainer) -> str:
    text = f"trained for {len(trainer.history)} epochs, {trainer.step} steps"
    if trainer.stopped:
        text += f", stopped early ({trainer.stopped})"
    return (
        f"{text}; loss of the last epoch {trainer.history[-1]['loss']:.4f}."
        if trainer.history
        else f"{text}."
    )


def calibrate(
    experiment: Experiment,
    output: Path,
    run: str,
    evaluations: int,
    sites: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Calibrate the process model of a run by SCE-UA, site by site; return the folder.

    Parameters
    ----------
    experiment : Experiment
    output : Path
        Folder of the experiment.
    run : str
        Name of a run with a process model; its network is not used.
    evaluations : int
        Runs of the model per site.
    sites : int, optional
        Number of sites, drawn as for training; those of the experiment by default.
    resume, overwrite, progress : bool
        As `train`.

    Raises
    ------
    SettingsError
        No such run, or one without a process model or with networks in its stages.
    """
    _require_run(experiment, run)
    hybrids = _hybrids(experiment, [run])
    experiment = _with_records(experiment, output, hybrids, Group())
    settings, folder = experiment.runs[run], output / f"{run}_sceua"
    if sites is not None:
        data = settings.data.model_copy(update={"sites": sites})
        settings = settings.model_copy(update={"data": data})
    plain = plain_settings(settings)
    check_run(folder, plain, resume, overwrite, FREE)  # before the data are read
    require_room(folder)
    with _placed(experiment, run):
        data = load_sites(settings, hybrids.values(), calibrated=True)
        trained = data.sites.sel(site=list(data.trained))
        first, last = positions(times_of(trained), *settings.data.train.days)
        # half of a short period is left to be fitted to
        warm_up = min(settings.evaluation.warm_up or 0, (last - first) // 2)
        windows = build_windows(
            trained, settings, hybrids[run], settings.data.train,
            length=None, batch=None, warm_up=warm_up, dtype=torch.float64,
        )  # fmt: skip
        data.say(folder.name, progress)
        _, table = calibrate_sites(
            hybrids[run],
            windows,
            folder,
            evaluations=evaluations,
            observed=settings.data.observed[0],
            seed=settings.training.seed,
            resume=resume,
            progress=progress,
            overwrite=overwrite,
            settings=plain,
            free=FREE,
            files={DATA_REPORT: data.report()},
        )
    median = table["nse"].median()
    text = f"{len(table)} sites calibrated, median NSE of the training period {median:.3f}."
    console(quiet=not progress).print(f"{folder}: {text}")
    return folder


def _require_run(experiment: Experiment, name: str) -> None:
    if name not in experiment.runs:
        hint = nearest(name, experiment.runs)
        raise SettingsError(f"no run {name!r}{hint} Known: {', '.join(experiment.runs)}.")
