"""Provenance of a run: versions, machine and time."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def provenance() -> dict[str, str | int]:
    """Return versions, git commit (with "+changes" if files differ from it), machine, threads."""
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
    """Return what git says of the package's folder, or "" where there is no git or repository."""
    command, folder, quiet = ["git", *arguments], Path(__file__).parent, subprocess.DEVNULL
    try:
        said = subprocess.check_output(command, cwd=folder, stderr=quiet, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.strip()
