"""Work of the commands: train, evaluate, predict and calibrate the runs of an experiment."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pydiffgeo.console import console
from pydiffgeo.data.form import positions, times_of
from pydiffgeo.errors import PyDiffGeoError, SettingsError, lookup, nearest
from pydiffgeo.evaluation import MEASURES, PANELS, Evaluation
from pydiffgeo.experiment.build import (
    FREE,
    build_hybrid,
    build_loss,
    build_members,
    build_windows,
    load_sites,
    short_warm_up,
)
from pydiffgeo.experiment.data_schema import days_of
from pydiffgeo.experiment.judge import judge, require_calibration
from pydiffgeo.experiment.schema import TRAINING, Experiment, plain_settings
from pydiffgeo.experiment.signatures import given_in
from pydiffgeo.experiment.site_data import DATA_REPORT
from pydiffgeo.experiment.synthetic import synthetic_sites
from pydiffgeo.files import require_room, write_netcdf
from pydiffgeo.hybrid import Hybrid
from pydiffgeo.training.checkpoint import weights_hash
from pydiffgeo.training.distributed import Group, process_group
from pydiffgeo.training.run_folder import check_run, stale_evaluations
from pydiffgeo.training.sce_ua import METHODS, calibrated, require_evaluations
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
    """Train every run, judge them on the test period, and compare them; see `train` and `judge`."""
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
    """Train the runs of an experiment, each in a folder of its name, and return the folders.

    Parameters
    ----------
    experiment : Experiment
    output : Path
        Folder of the experiment.
    only : sequence of str, optional
        Names of the runs to train; all by default.
    resume, overwrite, progress : bool
        Go on from the checkpoints; remove the runs that the folders hold; show progress bars.

    Raises
    ------
    SettingsError, OutputError
        No such run, or one in its folder that is not to be replaced or cannot go on.
    DataError, TrainingFailed, SolveFailed
        Records that cannot be used, or a model that cannot go on; site and window are named.
    """
    names = list(only or experiment.runs)
    hybrids = untrained(experiment, names)
    for name in names:
        with placed(experiment, name):
            _check_evaluation(experiment.runs[name])
    with process_group(experiment.runs[names[0]].device) as group:
        for name in names:  # what is wrong is said before the first one is trained
            if group.first:
                _require_place(experiment.runs[name], output / name, resume, overwrite)
        experiment = with_records(experiment, output, hybrids, group)
        for name in names:
            with placed(experiment, name):
                beside = of_records(experiment, name, hybrids)
                trainer = _trainer(experiment.runs[name], output / name, beside, progress, group)
                _train_run(trainer, output / name, resume, overwrite, progress)
    return [output / name for name in names]


@contextmanager
def placed(experiment: Experiment, name: str) -> Iterator[None]:
    """Say of errors where in the file of the experiment their setting stands."""
    try:
        yield
    except PyDiffGeoError as error:
        if error.setting:
            error.setting = experiment.place(name, error.setting)
        raise


def _check_evaluation(settings: Any) -> None:
    """Raise SettingsError for names that the evaluation would not know after the training."""
    e, observed = settings.evaluation, settings.data.observed
    kinds: list[Any] = [(("panels",), name, PANELS, "panel") for name in e.panels or ()]
    for name, measures in (e.measures or {}).items():
        kinds.append((("measures", name), name, dict.fromkeys(observed), "observed series"))
        kinds += [(("measures", name), one, MEASURES, "measure") for one in measures]
    require_calibration(settings)
    for place, name, known, what in kinds:
        if name not in known:
            raise SettingsError(
                f"evaluation.{'.'.join(place)}: unknown {what} {name!r}{nearest(name, known)} "
                f"Known: {', '.join(known)}.",
                ("evaluation", *place),
            )


def untrained(experiment: Experiment, names: Sequence[str]) -> dict[str, Hybrid]:
    """Return the untrained hybrid of each run; what is wrong with others than `names` waits."""
    for name in names:
        if name not in experiment.runs:
            hint = nearest(name, experiment.runs)
            raise SettingsError(f"no run {name!r}{hint} Known: {', '.join(experiment.runs)}.")
    found = {}
    for name, settings in experiment.runs.items():
        try:
            with placed(experiment, name):
                found[name] = build_hybrid(settings)
        except PyDiffGeoError:
            if name in names:
                raise
    return found


def of_records(
    experiment: Experiment, name: str, hybrids: Mapping[str, Hybrid]
) -> dict[str, Hybrid]:
    """Return the hybrids of the runs that read the same file as one of them."""
    path = experiment.runs[name].data.path
    return {k: h for k, h in hybrids.items() if experiment.runs[k].data.path == path}


def with_records(
    experiment: Experiment, output: Path, hybrids: dict[str, Hybrid], group: Group
) -> Experiment:
    """Return the experiment with a synthetic truth, in its folder, where no records are given."""
    path, runs = output / SYNTHETIC, dict(experiment.runs)
    for name, settings in experiment.runs.items():
        if settings.data.path is not None:
            continue
        if group.first and not path.is_file():
            truth = next((n for n, h in hybrids.items() if h.learns), name)
            beside = [s for s in experiment.runs.values() if s.data.path is None]
            settings = experiment.runs[truth]
            sites = synthetic_sites(settings, build_hybrid(settings), beside, hybrids.values())
            output.mkdir(parents=True, exist_ok=True)
            write_netcdf(sites, path)
            console().print(f"{path}: {sites.attrs['source']}")
        group.collect(None)
        runs[name] = _on_truth(runs[name], path)
    return replace(experiment, runs=runs)


def _on_truth(settings: Any, path: Path) -> Any:
    """Return the settings of a run with the records of a synthetic truth."""
    fields = type(settings.data).model_fields
    own = {name: fields[name].default for name in ("names", "units", "join", "append")}
    changes = {"path": path.resolve(), "layout": "netcdf", "options": {}, **own}
    data = settings.data.model_copy(update=changes)
    return settings.model_copy(update={"data": data})


def _require_place(settings: Any, folder: Path, resume: bool, overwrite: bool) -> None:
    if settings.data.path is None:
        settings = _on_truth(settings, folder.parent / SYNTHETIC)
    check_run(folder, plain_settings(settings), resume, overwrite, FREE)
    require_room(folder)


def _trainer(
    settings: Any, folder: Path, hybrids: Mapping[str, Hybrid], progress: bool, group: Group
) -> Trainer:
    """Return the trainer of a run, whose sites have all that any of `hybrids` reads."""
    t, d, hybrid = settings.training, settings.data, build_hybrid(settings)
    data = load_sites(settings, hybrids.values(), remembers=hybrid.remembers)
    if group.first:
        data.say(folder.name, progress)
        if told := short_warm_up(times_of(data.sites), settings):
            log.warning("%s: %s", folder.name, told)
    trained = data.training
    windows = build_windows(trained, settings, hybrid, d.train)
    options = {name: value for name, value in given_in(t).items() if name not in TRAINING}
    if data.validating or (d.validation is not None and not d.held_days):
        judging = data.sites.sel(site=list(data.validating)) if data.validating else trained
        options["validation"] = build_windows(
            judging, settings, hybrid, d.validation, length=None, batch=settings.evaluation.batch,
            warm_up=0 if data.validating else settings.evaluation.warm_up or 0,
        )  # fmt: skip
    if t.folds or t.seeds or d.held_days:
        options["members"] = build_members(settings, trained, hybrid)
    return Trainer(
        hybrid, windows, build_loss(settings), folder, **options, group=group,
        settings=plain_settings(settings), free=FREE, files={DATA_REPORT: data.report()},
    )  # fmt: skip


def _train_run(
    trainer: Trainer, folder: Path, resume: bool, overwrite: bool, progress: bool
) -> None:
    """Train, say so, and warn of evaluations that judged other weights."""
    group = trainer.group
    say = console(quiet=not (progress and group.first)).print
    weights = sum(weight.numel() for weight in trainer.model.parameters())
    sites = len({name for windows in trainer.windows for name in windows.names})
    say(
        f"{folder.name}: {weights} weights, {sites} sites, {trainer.per_epoch} steps per epoch, "
        f"{trainer.epochs} epochs, {group.size} processes"
    )
    history = trainer.run(resume, progress, overwrite)
    stopped = f", stopped early ({trainer.stopped})" if trainer.stopped else ""
    loss = f"; loss of the last epoch {history[-1]['loss']:.4f}" if history else ""
    best = f"; {trainer.choice.told()}" if trainer.choice.told() else ""
    say(f"{folder}: trained for {len(history)} epochs, {trainer.step} steps{stopped}{loss}{best}.")
    if group.first:
        for out in stale_evaluations(folder, weights_hash(trainer.model.state_dict())):
            told = "judged other weights than the run has now: judge it again with"
            log.warning(f"{out} {told} `pydiffgeo evaluate`.")


def calibrate(
    experiment: Experiment,
    output: Path,
    run: str,
    evaluations: int,
    sites: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    method: str = "sce_ua",
) -> Path:
    """Calibrate the process model of a run, each site by itself, into ``RUN_sceua``.

    By Gauss-Newton steps into ``RUN_gauss_newton``.

    Parameters
    ----------
    experiment, output, resume, overwrite, progress
        As `train`.
    run : str
        Name of a run with a process model; its network is not used.
    evaluations : int
        Runs of the model per site.
    sites : int, optional
        Number of sites, drawn as for training; those of the experiment by default.
    method : {"sce_ua", "gauss_newton"}
        See `pydiffgeo.training.calibrate`.

    Raises
    ------
    SettingsError
        No such run, or one without a process model or with networks in its stages.
    """
    hybrids = untrained(experiment, [run])
    # before the data are read
    lookup(METHODS, method, "method of calibration")
    learns = calibrated(hybrids[run], ["any"]).learns
    if method == "sce_ua":
        require_evaluations(evaluations, len(learns))
    experiment = with_records(experiment, output, hybrids, Group())
    ending = "sceua" if method == "sce_ua" else method
    settings, folder = experiment.runs[run], output / f"{run}_{ending}"
    if sites is not None:
        data = settings.data.model_copy(update={"sites": sites})
        settings = settings.model_copy(update={"data": data})
    _require_place(settings, folder, resume, overwrite)  # before the data are read
    with placed(experiment, run):
        data = load_sites(settings, of_records(experiment, run, hybrids).values(), calibrated=True)
        trained = data.training
        first, last = positions(times_of(trained), *days_of(settings.data.train))
        # half of a short period is left to be fitted to
        warm_up = min(settings.evaluation.warm_up or 0, (last - first) // 2)
        windows = build_windows(
            trained, settings, hybrids[run], settings.data.train,
            length=None, batch=None, warm_up=warm_up, dtype=torch.float64,
        )  # fmt: skip
        data.say(folder.name, progress)
        _, table = calibrate_sites(
            hybrids[run], windows, folder, evaluations=evaluations,
            observed=settings.data.observed[0], method=method, seed=settings.training.seed,
            resume=resume, progress=progress, overwrite=overwrite, free=FREE,
            settings=plain_settings(settings), files={DATA_REPORT: data.report()},
        )  # fmt: skip
    median = table["nse"].median()
    text = f"{len(table)} sites calibrated, median NSE of the training period {median:.3f}."
    console(quiet=not progress).print(f"{folder}: {text}")
    return folder
