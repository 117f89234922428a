"""Trained runs read back from their folders."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from pydiffgeo.errors import DataError
from pydiffgeo.experiment.build import FREE, make_hybrid
from pydiffgeo.experiment.schema import hybrid_section, plain_settings, run_settings
from pydiffgeo.experiment.site_data import DATA_REPORT
from pydiffgeo.hybrid import Hybrid
from pydiffgeo.members import Ensemble
from pydiffgeo.training.checkpoint import (
    CHECKPOINT,
    chosen_weights,
    load_checkpoint,
    load_weights,
    weights_hash,
)
from pydiffgeo.training.run_folder import SETTINGS, changed_settings, kept_settings
from pydiffgeo.training.sce_ua import calibrated

log = logging.getLogger("pydiffgeo")


@dataclass(frozen=True)
class TrainedRun:
    """A trained run, read back: settings, model, and what a reader must know of it."""

    folder: Path
    settings: Any
    model: Hybrid | Ensemble
    weights: str
    members: list[dict[str, Any]] | None
    left_out: dict[str, dict[str, str]]
    notes: tuple[str, ...] = ()
    calibrated: bool = False

    @property
    def hybrid(self) -> Hybrid:
        """The hybrid, or the first one of the ensemble: all read and give the same."""
        return self.model.members[0] if isinstance(self.model, Ensemble) else self.model  # type: ignore[return-value]

    @property
    def kept(self) -> list[dict[str, Any]]:
        """What is known of the members of the ensemble."""
        return [member for member in self.members or () if member["kept"]]


def runs_in(folder: Path) -> list[Path]:
    """Return the folders of trained runs in a folder, or itself; DataError for none."""
    if (folder / SETTINGS).is_file() or (folder / CHECKPOINT).is_file():
        return [folder]
    found = sorted(path.parents[1] for path in folder.glob(f"*/{CHECKPOINT}"))
    if not found:
        raise DataError(
            f"no trained run in {str(folder)!r}: its folder has {SETTINGS} and {CHECKPOINT}; train "
            "one first."
        )
    return found


def settings_of(folder: Path) -> Any:
    """Return the settings of a run's folder; DataError where they are not those of a run."""
    found = kept_settings(folder)
    if found is None:
        inside = sorted(path.parents[1].name for path in folder.glob(f"*/{CHECKPOINT}"))
        if inside:
            raise DataError(
                f"{folder} is the folder of an experiment. Name one of its runs: "
                f"{', '.join(str(folder / name) for name in inside)}."
            )
        raise DataError(
            f"{folder / SETTINGS} does not hold the settings of a run. Train one into the folder, "
            "or name another."
        )
    try:
        return run_settings(found)
    except ValidationError as error:
        remedy = "train again with --overwrite."
        raise _unreadable(folder, "hold the settings of a run", error, "", remedy) from error


def _unreadable(folder: Path, what: str, error: ValidationError, at: str, remedy: str) -> DataError:
    """Return the error for settings that pydantic refuses, with the first key that is wrong."""
    first = error.errors()[0]
    where = at + ".".join(map(str, first["loc"])) or "all of it"
    wrong = f"({where}: {first['msg'].rstrip('.')}). Correct it, or {remedy}"
    return DataError(f"{folder / SETTINGS} does not {what} {wrong}")


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
    model, saved = _loaded(Path(folder), hybrid)
    kept = kept_settings(Path(folder)) or {}
    before, now = ({"hybrid": s.get("hybrid")} for s in (saved.get("settings") or kept, kept))
    for key, old, new in changed_settings(before, now) if hybrid is None else ():
        log.warning(
            "%s was changed since the training: %s is %r, the run was trained with %r. What "
            "stands there now is taken.", Path(folder) / SETTINGS, key, new, old,
        )  # fmt: skip
    return model


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
            f"{folder / SETTINGS} does not say how the hybrid was made. Give an untrained one: "
            "load(folder, hybrid=...)."
        )
    search = (str(folder), *(kept.get("search") or ()))
    try:
        return make_hybrid(hybrid_section(kept["hybrid"], search), search)
    except ValidationError as error:
        remedy = "give an untrained one: load(folder, hybrid=...)."
        raise _unreadable(folder, "describe a hybrid", error, "hybrid.", remedy) from error


def load_run(folder: Path) -> TrainedRun:
    """Return a trained run from its folder; DataError where it cannot be read."""
    settings = settings_of(folder)
    model, saved = _loaded(folder)
    weights, left_out = weights_hash(model.state_dict()), read_left_out(folder)
    notes, calibrated = tuple(_notes(folder, saved, settings)), bool(saved.get("calibrated"))
    members = saved.get("members")
    return TrainedRun(folder, settings, model, weights, members, left_out, notes, calibrated)


def read_left_out(folder: Path) -> dict[str, dict[str, str]]:
    """Return the sites that a run has left out of all and of each period, and why."""
    found: dict[str, dict[str, str]] = {}
    if (folder / DATA_REPORT).is_file():
        table = pd.read_csv(folder / DATA_REPORT, dtype=str, keep_default_na=False)
        for row in table.itertuples():
            if row.left_out_of != "nothing":
                found.setdefault(str(row.left_out_of), {})[str(row.site)] = str(row.reason)
    return found


def _of_today(settings: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the settings of a training with the keys that have come since, at their defaults."""
    try:
        return plain_settings(run_settings(settings)) if settings else None
    except ValidationError:
        return settings


def _notes(folder: Path, saved: dict[str, Any], settings: Any) -> Iterator[str]:
    """Yield what a reader of the scores must know of a run."""
    if reason := _unfinished(saved, settings):
        yield (
            f"{folder} is not trained to its end: {reason}. Its weights until then are taken; "
            "--resume goes on."
        )
    now = plain_settings(settings)
    changed = changed_settings(_of_today(saved.get("settings")) or now, now, FREE - {"data.path"})
    told = [f"{key} is {new!r}, the run was trained with {old!r}" for key, old, new in changed]
    if told:
        yield (
            f"{folder / SETTINGS} was changed since the training: {'; '.join(told)}. What stands "
            "there now is taken."
        )


def _unfinished(saved: dict[str, Any], settings: Any) -> str:
    """Return how far a training or calibration came before its end, in words; "" for the end."""
    if saved.get("calibrated"):
        done, count, what = len(saved["rows"]), saved["sites"], "sites"
    else:
        done, count = len(saved["progress"]["history"]), settings.training.epochs
        what = "epochs"
        if saved["choice"].get("stopped"):
            return ""
    return "" if done >= count else f"{done} of {count} {what} are done"
