"""Runs on basins read back from their folders."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from pydiffgeo.errors import DataError, SettingsError, nearest
from pydiffgeo.training.basins.calibrate import calibrated_model
from pydiffgeo.training.basins.data import BasinData, load_basins, read_left_out
from pydiffgeo.training.basins.models import build_model, process_of
from pydiffgeo.training.basins.settings import BasinRun, Period
from pydiffgeo.training.basins.trainer import CHECKPOINT, other_scaling
from pydiffgeo.training.checkpoint import chosen_weights, load_checkpoint, load_weights
from pydiffgeo.training.run_folder import SETTINGS, changed_settings, kept_settings

log = logging.getLogger("pydiffgeo")

# settings that do not change what is trained
FREE = {"evaluation", "data.path", "data.memory", "training.threads", "training.checkpoint_every"}


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


def load_run(folder: Path) -> tuple[BasinRun, BasinData, nn.Module]:
    """Return settings, data and trained model of a run's folder; what stands in the notes of the data is warned of.

    Raises
    ------
    DataError
        The folder has no settings or no checkpoint, or they cannot be read.
    """
    settings = load_settings_of(folder)
    saved = load_checkpoint(folder / CHECKPOINT, ["model"])
    if saved is None:
        raise DataError(f"the run {folder} has no checkpoint {CHECKPOINT} yet; train it first.")
    process = process_of(settings)
    forcing, calibrated = (
        () if process is None else tuple(process.forcing.values()),
        bool(saved.get("calibrated")),
    )
    data = load_basins(settings, forcing, left_out=read_left_out(folder), calibrated=calibrated)
    if calibrated and process is not None:
        model: nn.Module = calibrated_model(settings, data, process)
        data = replace(data, held_out=None)  # which have no parameters
    else:
        model = build_model(settings, data.tensors, data.scaling, process)
    data = replace(data, notes=tuple(_notes(folder, saved, settings, data, model)))
    for note in data.notes:
        log.warning(note)
    load_weights(model, chosen_weights(saved), folder / CHECKPOINT)
    return settings, data, model.eval()


def load_settings_of(folder: Path) -> BasinRun:
    """Return the settings of a run's folder.

    Raises
    ------
    DataError
        There are none, or they are not those of a run on basins.
    """
    found = kept_settings(folder)
    if found is None:
        raise DataError(
            f"{folder / SETTINGS} does not hold the settings of a run. Train one into the folder, or name another."
        )
    try:
        return BasinRun.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        raise DataError(
            f"{folder / SETTINGS} does not hold the settings of a run on basins ({where}: {first['msg'].rstrip('.')}). Correct "
            "it, or train again with --overwrite."
        ) from error


def _notes(
    folder: Path, saved: dict[str, Any], settings: BasinRun, data: BasinData, model: nn.Module
) -> Iterator[str]:
    """Yield what a reader of the scores must know of a run whose model has not taken the saved weights yet."""
    if reason := _unfinished(saved, settings, data):
        yield f"{folder} is not trained to its end: {reason}. Its weights until then are taken; --resume goes on."
    now = settings.model_dump(mode="json")
    changed = changed_settings(
        saved.get("settings", now), now, FREE - {"data.path"}
    )  # which may now lead to other records
    if changed:
        told = "; ".join(
            f"{key} is {new!r}, the run was trained with {old!r}" for key, old, new in changed
        )
        yield f"{folder / SETTINGS} was changed since the training: {told}. What stands there now is taken."
    if differs := other_scaling(model, saved["model"]):
        yield f"The records are not those that {folder} was trained on: {differs}. Those of now are taken."


def _unfinished(saved: dict[str, Any], settings: BasinRun, data: BasinData) -> str:
    """Return how far a training or calibration came that did not come to its end, in words; "" for one that did."""
    if saved.get("calibrated"):
        done, all_of_them, what = len(saved["rows"]), len(data.tensors.basins), "basins"
    else:
        done, all_of_them, what = len(saved.get("history", ())), settings.training.epochs, "epochs"
    return (
        ""
        if saved.get("stopped") or done >= all_of_them
        else f"{done} of {all_of_them} {what} are done"
    )


def period_of(folder: Path, settings: BasinRun, name: str) -> Period:
    names = ("train", "validation", "test")
    if name not in names:
        raise SettingsError(
            f"the run {folder} has no period {name!r}{nearest(name, names)} Known: {', '.join(names)}."
        )
    span: Period | None = getattr(settings.data, name)
    if span is None:
        raise SettingsError(
            f"the run {folder} has no period {name!r}. Give data.validation a start and an end in the settings, apart from "
            "data.train, and train again; or judge --period test."
        )
    return span
