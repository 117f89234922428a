"""The folder of a run: who may write into it, what it holds, and what of that is removed to begin anew."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pydiffgeo.errors import DataError, OutputError, SettingsError
from pydiffgeo.files import held, remove_parts, write_file
from pydiffgeo.training.checkpoint import load_checkpoint
from pydiffgeo.training.provenance import provenance

log = logging.getLogger("pydiffgeo")

SETTINGS, CHECKPOINTS, JUDGED = "settings.yaml", "checkpoints/*.pt", "judged.json"
# what was computed, in the order in which it is removed: no evaluation is left without its weights
RESULTS = ("evaluation_*", "calibration.csv", "history.csv", CHECKPOINTS)
EVENTS = "tensorboard/events.out.tfevents.*"


def check_run(
    folder: Path,
    settings: Mapping[str, Any],
    resume: bool = False,
    overwrite: bool = False,
    free: Collection[str] = (),
) -> None:
    """Check, and change nothing, that a run may begin in a folder, or go on there.

    Parameters
    ----------
    folder : Path
        Of the run.
    settings : mapping
        All settings, in plain types.
    resume : bool
        Go on with what is in the folder, where there is something.
    overwrite : bool
        Remove what is in the folder.
    free : collection of str
        Settings (`section.key`) or whole sections that may differ in a run that goes on, since they do not change the result.

    Raises
    ------
    OutputError
        The folder holds a run, and neither `resume` nor `overwrite` is asked for; or it has results, but no checkpoint.
    SettingsError
        Both are; or `resume` with settings that differ from the folder's: the first differing key is named. Or nothing says
        with which settings the checkpoints were made.
    """
    if resume and overwrite:
        raise SettingsError(
            "--resume goes on with what is in the folder, --overwrite removes it. Give one of them."
        )
    found = _results(folder)
    if resume:
        before = kept_settings(folder)
        if before is not None:
            for key, was, now in changed_settings(before, settings, free):
                raise SettingsError(
                    f"cannot resume: setting {key!r} is {now!r}, the run in the folder has {was!r}. Restore it, choose another "
                    "folder with --output, or begin anew with --overwrite."
                )
        if found and not any(folder.glob(CHECKPOINTS)):
            raise OutputError(
                f"{folder} has no checkpoint to go on from, but results such as {found[0].name}. Put the checkpoint back, or "
                "remove the results and begin anew by --overwrite."
            )
    elif found and not overwrite:
        latest = time.strftime(
            "%Y-%m-%d %H:%M", time.localtime(max(path.stat().st_mtime for path in found))
        )
        raise OutputError(
            f"{folder} holds a run already, last written on {latest}. Go on with it by --resume, remove it with its "
            "evaluations and begin anew by --overwrite, or choose another folder with --output."
        )


@contextmanager
def run_folder(
    folder: Path,
    settings: Mapping[str, Any],
    resume: bool = False,
    overwrite: bool = False,
    free: Collection[str] = (),
) -> Iterator[None]:
    """Hold the folder of a run, with its settings and provenance written, as long as the run writes into it.

    Parameters and errors are those of `check_run` and of `pydiffgeo.files.held`.
    """
    with held(folder):
        check_run(folder, settings, resume, overwrite, free)
        for place in (folder, folder / "checkpoints"):
            remove_parts(place)
        if overwrite and _results(folder):
            _clear(folder)
        write_file(folder / SETTINGS, yaml.safe_dump(dict(settings), sort_keys=False))
        write_file(folder / "provenance.json", json.dumps(provenance(), indent=1) + "\n")
        yield


def kept_settings(folder: Path) -> dict[str, Any] | None:
    """Return the settings of the run in a folder: of its file, else of a checkpoint; None where there are neither.

    Raises
    ------
    SettingsError
        The file is missing or damaged, and the checkpoints hold no settings.
    """
    path = folder / SETTINGS
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        found = None
    if isinstance(found, dict):
        return found
    checkpoints = sorted(folder.glob(CHECKPOINTS))
    for checkpoint in checkpoints:
        settings = (load_checkpoint(checkpoint) or {}).get("settings")
        if isinstance(settings, dict):
            return settings
    if checkpoints:
        raise SettingsError(
            f"{path} is {'damaged' if path.exists() else 'missing'}, and {checkpoints[0]} does not hold the settings either: "
            "they cannot be compared. Nothing was changed. Put the file back, or begin anew with --overwrite."
        )
    return None


@contextmanager
def judging(out: Path, weights: str) -> Iterator[None]:
    """Hold the folder of an evaluation; in the end ``judged.json`` says which weights were judged.

    An evaluation of other weights is removed first; one that was interrupted has no ``judged.json``.

    Parameters
    ----------
    out : Path
        Of the evaluation.
    weights : str
        Their `pydiffgeo.training.checkpoint.weights_hash`.
    """
    with held(out):
        remove_parts(out)
        if _judged(out) != weights:
            for pattern in ("*.csv", "*.json", "*.nc", "*.png", "*.html"):
                for old in out.glob(pattern):
                    old.unlink()
        (out / JUDGED).unlink(missing_ok=True)
        yield
        write_file(out / JUDGED, json.dumps({"weights": weights}) + "\n")


def check_judged(out: Path, weights: str) -> None:
    """Check that an evaluation is whole, and of these weights.

    Raises
    ------
    DataError
        It is not.
    """
    if (found := _judged(out)) != weights:
        what = (
            "is not whole"
            if found is None
            else f"judged other weights ({found[:8]}) than the run has ({weights[:8]})"
        )
        raise DataError(
            f"the evaluation {out} {what}. Judge the run again with `pydiffgeo evaluate {out.parent}`."
        )


def stale_evaluations(folder: Path, weights: str) -> list[Path]:
    """Return the evaluations in the folder of a run that are not of these weights."""
    return [out for out in sorted(folder.glob("evaluation_*")) if _judged(out) != weights]


def _judged(out: Path) -> str | None:
    try:
        return str(json.loads((out / JUDGED).read_text(encoding="utf-8"))["weights"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _results(folder: Path) -> list[Path]:
    return [path for pattern in RESULTS for path in folder.glob(pattern)]


def _clear(folder: Path) -> None:
    for pattern in (*RESULTS, EVENTS):
        for old in folder.glob(pattern):
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()


def changed_settings(
    before: Mapping[str, Any], after: Mapping[str, Any], free: Collection[str] = ()
) -> list[tuple[str, Any, Any]]:
    """Return dotted name, former and present value of each setting that differs; those in `free` are as for `check_run`."""
    old, new = _flat(before), _flat(after)
    differ = [key for key in sorted(old | new) if old.get(key) != new.get(key)]
    return [
        (key, old.get(key), new.get(key))
        for key in differ
        if not any(key == f or key.startswith(f + ".") for f in free)
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted name; lists stay whole, and an empty section is as none, as in runs of before it was."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, Mapping)
            else {f"{prefix}{key}": value}
        )
    return found
