"""The folder of a run: who may write into it, what it holds, and what is removed to begin anew."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pydiffgeo.errors import DataError, OutputError, SettingsError
from pydiffgeo.files import held, remove_parts, write_file
from pydiffgeo.training.checkpoint import ANEW, load_checkpoint
from pydiffgeo.training.provenance import provenance

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

    `free` are settings (`section.key`) or sections that may differ in a run that goes on.

    Raises
    ------
    OutputError
        The folder holds a run, and neither `resume` nor `overwrite` is asked for; or it has
        results, but no checkpoint.
    SettingsError
        Both are; or `resume` with other settings than the folder's, or with unknown ones.
    """
    if resume and overwrite:
        raise SettingsError(
            "--resume goes on with what is in the folder, --overwrite removes it. Give one of them."
        )
    found = _results(folder)
    if resume:
        kept = kept_settings(folder)
        before = settings if kept is None else kept
        for key, was, now in changed_settings(before, settings, free):
            raise SettingsError(
                f"cannot resume: setting {key!r} is {now!r}, the run in the folder has {was!r}. "
                f"Restore it, {ANEW}"
            )
        if found and not any(folder.glob(CHECKPOINTS)):
            raise OutputError(
                f"{folder} has no checkpoint to go on from, but results such as {found[0].name}. "
                "Put the checkpoint back, or remove the results and begin anew by --overwrite."
            )
    elif found and not overwrite:
        latest = time.localtime(max(path.stat().st_mtime for path in found))
        raise OutputError(
            f"{folder} holds a run already, last written on "
            f"{time.strftime('%Y-%m-%d %H:%M', latest)}. Go on with it by --resume, remove it with "
            "its evaluations and begin anew by --overwrite, or choose another folder with "
            "--output."
        )


@contextmanager
def run_folder(
    folder: Path,
    settings: Mapping[str, Any],
    resume: bool = False,
    overwrite: bool = False,
    free: Collection[str] = (),
    files: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Hold the folder of a run, checked and with settings, provenance and files, as it is run."""
    with held(folder):
        check_run(folder, settings, resume, overwrite, free)
        for place in (folder, folder / "checkpoints"):
            remove_parts(place)
        if overwrite and _results(folder):
            for old in (path for pattern in (*RESULTS, EVENTS) for path in folder.glob(pattern)):
                shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        write_file(folder / SETTINGS, yaml.safe_dump(dict(settings), sort_keys=False))
        write_file(folder / "provenance.json", json.dumps(provenance(), indent=1) + "\n")
        for name, content in (files or {}).items():
            write_file(folder / name, content)
        yield


def kept_settings(folder: Path) -> dict[str, Any] | None:
    """Return the settings of the run in a folder: of its file, else of a checkpoint; else None.

    SettingsError where there are checkpoints, and neither they nor the file have settings.
    """
    path = folder / SETTINGS
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        found = None
    checkpoints = sorted(folder.glob(CHECKPOINTS))
    for checkpoint in checkpoints:
        if not isinstance(found, dict):
            found = (load_checkpoint(checkpoint) or {}).get("settings")
    if isinstance(found, dict):
        return found
    if checkpoints:
        raise SettingsError(
            f"{path} is {'damaged' if path.exists() else 'missing'}, and {checkpoints[0]} does not "
            "hold the settings either: they cannot be compared. Nothing was changed. Put the file "
            "back, or begin anew with --overwrite."
        )
    return None


@contextmanager
def judging(out: Path, weights: str) -> Iterator[None]:
    """Hold the folder of an evaluation; in the end ``judged.json`` says which weights were judged.

    An evaluation of other weights is removed first; one that was interrupted has no such file.
    Weights are named by their `pydiffgeo.training.checkpoint.weights_hash`.
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
    """Raise DataError where an evaluation is not whole, or not of these weights."""
    found = _judged(out)
    if found != weights:
        what = f"judged other weights ({(found or '')[:8]}) than the run has ({weights[:8]})"
        raise DataError(
            f"the evaluation {out} {what if found else 'is not whole'}. Judge the run again with "
            f"`pydiffgeo evaluate {out.parent}`."
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


def changed_settings(
    before: Mapping[str, Any], after: Mapping[str, Any], free: Collection[str] = ()
) -> list[tuple[str, Any, Any]]:
    """Return name, former and present value of each setting that differs; `free` as `check_run`."""
    old, new = _flat(before), _flat(after)
    return [
        (key, old.get(key), new.get(key))
        for key in sorted(old | new)
        if old.get(key) != new.get(key)
        and not any(key == name or key.startswith(f"{name}.") for name in free)
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted name; lists stay whole, and an empty section is as none."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        inner = isinstance(value, Mapping)
        found |= _flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return found
