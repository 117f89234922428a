"""Checkpoints of a training, and what a run folder records about itself."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

from pydiffgeo.errors import DataError, SettingsError
from pydiffgeo.training.settings import SoilMoistureSettings

NOT_COMPARED = {"resume", "figures", "checkpoint_every", "data"}  # settings that do not change the result


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; an interruption leaves the old one or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


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


def open_run(output: Path, settings: SoilMoistureSettings) -> None:
    """Write settings and provenance into the run folder; with `resume`, check that the settings are the same.

    Raises
    ------
    SettingsError
        `resume` with settings that differ from the folder's; the first differing key is named.
    """
    output.mkdir(parents=True, exist_ok=True)
    path = output / "settings.yaml"
    now = settings.model_dump(mode="json")
    if settings.resume and path.is_file():
        before = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key in sorted((set(now) | set(before)) - NOT_COMPARED):
            if now.get(key) != before.get(key):
                raise SettingsError(
                    f"cannot resume: setting {key!r} is {now.get(key)!r}, the run in the folder has "
                    f"{before.get(key)!r}; "
                    "restore it, choose another output folder, or run without resume."
                )
    else:
        for old in (output / "checkpoints").glob("*.pt"):
            old.unlink()
    path.write_text(yaml.safe_dump(now, sort_keys=False), encoding="utf-8")
    (output / "provenance.json").write_text(json.dumps(provenance(), indent=1) + "\n", encoding="utf-8")


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
