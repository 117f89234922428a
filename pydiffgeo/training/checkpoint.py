"""Checkpoints of a training, and what a run folder records about itself."""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel

from pydiffgeo.errors import DataError, SettingsError

NOT_COMPARED = {"resume", "figures", "checkpoint_every", "data"}  # settings that do not change the result


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; an interruption or a full disk leaves the old one or the new one, never half of it.

    Raises
    ------
    DataError
        It cannot be written; the old one is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    content = io.BytesIO()
    torch.save(state, content)  # not into the file: torch's writer ends the process on a full disk
    try:
        with part.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        kept = "the one before it is intact" if path.is_file() else "there is none yet"
        raise DataError(
            f"checkpoint {path} cannot be written ({error.strerror}); {kept}. Make room, then go on with --resume."
        ) from error


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return a checkpoint, or None where there is none.

    Raises
    ------
    DataError
        The file cannot be read.
    """
    if not path.is_file():
        return None
    try:
        return torch.load(path, weights_only=True)
    except Exception as error:
        raise DataError(
            f"checkpoint {path.name} cannot be read ({error}); delete it, or run without resume."
        ) from error


def open_run(output: Path, settings: BaseModel, resume: bool, free: Collection[str] = NOT_COMPARED) -> None:
    """Write settings and provenance into the run folder; to resume, check that the settings are the same.

    Parameters
    ----------
    output : Path
        Folder of the run.
    settings : BaseModel
        All settings.
    resume : bool
        Go on with what is in the folder; otherwise its checkpoints are removed.
    free : collection of str
        Settings (`section.key`) or whole sections that may differ, since they do not change the result.

    Raises
    ------
    SettingsError
        `resume` with settings that differ from the folder's; the first differing key is named.
    """
    output.mkdir(parents=True, exist_ok=True)
    path = output / "settings.yaml"
    now = settings.model_dump(mode="json")
    if resume and path.is_file():
        before = _flat(yaml.safe_load(path.read_text(encoding="utf-8")))
        after = _flat(now)
        for key in sorted(set(after) | set(before)):
            if after.get(key) != before.get(key) and not any(key == f or key.startswith(f + ".") for f in free):
                raise SettingsError(
                    f"cannot resume: setting {key!r} is {after.get(key)!r}, the run in the folder has {before.get(key)!r}; "
                    "restore it, choose another output folder, or run without resume."
                )
    else:
        for old in (output / "checkpoints").glob("*.pt"):
            old.unlink()
    path.write_text(yaml.safe_dump(now, sort_keys=False), encoding="utf-8")
    (output / "provenance.json").write_text(json.dumps(provenance(), indent=1) + "\n", encoding="utf-8")


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted name; lists stay whole, and an empty section is as none, as in runs of before it was."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def provenance() -> dict[str, str | int]:
    """Return versions, git commit (with "+changes" if files differ from it), machine and threads."""
    try:
        package = version("pydiffgeo")
    except PackageNotFoundError:
        package = "not installed"
    commit = _git("rev-parse", "HEAD") or "unknown"
    if commit != "unknown" and _git("status", "--porcelain"):
        commit += "+changes"
    return {
        "pydiffgeo": package,
        "commit": commit,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }


def _git(*arguments: str) -> str:
    """Return the output of git in the package's folder, or "" where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
