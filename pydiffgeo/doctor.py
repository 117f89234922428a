"""Report of what this machine offers, and what to do about what is missing.

It starts no Julia and downloads nothing.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import __version__
from .bridge.runtime import INSTALL, installed
from .errors import nearest

State = Literal["ok", "absent", "problem"]
COLOURS: dict[State, str] = {"ok": "green", "absent": "yellow", "problem": "bold red"}
PACKAGES = ("torch", "numpy", "scipy", "xarray")
# extra -> the package that it brings, and what it is for
EXTRAS = {
    "plot": ("matplotlib", "figures"),
    "train": ("tensorboard", "TensorBoard, beside figures"),
    "calibrate": ("spotpy", "calibration by SCE-UA"),
    "posterior": ("pyro", "posteriors by NUTS"),
    "zarr": ("zarr", "records in zarr folders"),
}
TORCH_OLDEST = (2, 6)  # below it a checkpoint can run code (CVE-2025-32434)
ENGINE_VARIABLE = "PYDIFFGEO_ENGINE"
# "auto" and the names of engines.ENGINES, which imports torch: the doctor must also run where torch
# is broken
ENGINE_CHOICES = ("auto", "torch", "julia")
JULIACALL_OLDEST = (0, 9, 34)


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes
    ----------
    name : str
        What was looked at.
    state : {"ok", "absent", "problem"}
        "absent" is something optional that is not there; "problem" keeps the package from working.
    found : str
        Version, device or value.
    remedy : str
        What to do, "" where nothing needs to be done.
    """

    name: str
    state: State
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Report:
    """All findings, in the order in which they are shown."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether the package works here, with or without the optional parts."""
        return all(finding.state != "problem" for finding in self.findings)

    def __getitem__(self, name: str) -> Finding:
        return next(finding for finding in self.findings if finding.name == name)


def examine(environment: Mapping[str, str] | None = None) -> Report:
    """Look at versions, extras, devices, LAPACK, Julia and the choice of engine.

    Parameters
    ----------
    environment : mapping of str to str, optional
        The environment variables; those of the process by default.

    Returns
    -------
    Report
        The findings; `Report.healthy` sums them up.
    """
    environment = os.environ if environment is None else environment
    return Report(
        (
            _python(),
            _own_version(),
            *map(_package, PACKAGES),
            *map(_extra, EXTRAS),
            _threads(),
            _cuda(),
            _lapack(),
            julia_finding(environment),
            _engine(environment),
            _documents(),
        )
    )


def show(report: Report, console: Console) -> None:
    """Print a report as a table, with the remedies below.

    Parameters
    ----------
    report : Report
        From `examine`.
    console : rich.console.Console
        Where to print.
    """
    table = Table(title="pydiffgeo doctor", title_justify="left")
    for heading in ("", "state", "found"):
        table.add_column(heading, overflow="fold")
    for finding in report.findings:
        table.add_row(
            finding.name, Text(finding.state, COLOURS[finding.state]), Text(finding.found)
        )
    console.print(table, soft_wrap=False)
    for finding in report.findings:
        if finding.remedy:
            line = Text.assemble((finding.name, COLOURS[finding.state]), f": {finding.remedy}")
            console.print(line, soft_wrap=True)


def julia_finding(environment: Mapping[str, str]) -> Finding:
    """Tell whether Julia could be started from Python.

    Only files and environment variables are looked at.

    Parameters
    ----------
    environment : mapping of str to str
        The environment variables, of which PYTHON_JULIACALL_EXE, PYTHON_JULIACALL_PROJECT,
        PYTHON_JULIAPKG_EXE and PATH matter.

    Returns
    -------
    Finding
        "ok" when a prepared project and a recent juliacall are there, "absent" otherwise, "problem"
        where the variables contradict each other or name no executable.
    """
    path = environment.get("PATH", "")
    for variable in ("PYTHON_JULIACALL_EXE", "PYTHON_JULIAPKG_EXE"):
        value = environment.get(variable)
        if value and shutil.which(value, path=path) is None:
            return Finding(
                "Julia",
                "problem",
                f"{variable}={value} is not an executable",
                f"let {variable} name the julia executable, or unset it",
            )
    given = environment.get("PYTHON_JULIACALL_EXE")
    if bool(given) != bool(environment.get("PYTHON_JULIACALL_PROJECT")):
        return Finding(
            "Julia",
            "problem",
            "PYTHON_JULIACALL_EXE or PYTHON_JULIACALL_PROJECT is set alone",
            "juliacall wants both or neither: set the other (the project must have PythonCall), "
            "or neither, and let `pydiffgeo julia install` prepare a project",
        )
    try:
        juliacall = importlib.metadata.version("juliacall")
    except importlib.metadata.PackageNotFoundError:
        juliacall = None
    ready = bool(given) or installed().exists()
    julia = given or (str(installed()) if ready else "no project prepared")
    remedies = []
    if juliacall is None:
        remedies.append('pip install "pydiffgeo[julia]"')
    elif _numbers(juliacall) < JULIACALL_OLDEST:
        remedies.append(
            f"pip install --upgrade juliacall ({'.'.join(map(str, JULIACALL_OLDEST))} or newer)"
        )
    if not ready:
        remedies.append(INSTALL)
    found = f"{julia}; juliacall {juliacall or 'not installed'}"
    if remedies:
        return Finding(
            "Julia", "absent", found, f"only for the Julia engine: {'; then '.join(remedies)}"
        )
    return Finding("Julia", "ok", found)


def _documents() -> Finding:
    package = Path(__file__).parent
    for folder in (package / "docs", package.parent / "docs"):
        if (folder / "index.md").exists():
            return Finding("docs", "ok", str(folder))
    return Finding("docs", "absent", "no documents here", "pip install --force-reinstall pydiffgeo")


def _python() -> Finding:
    found = (
        f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    )
    return Finding("Python", "ok", found)


def _own_version() -> Finding:
    if "unknown" in __version__:
        return Finding(
            "pydiffgeo",
            "absent",
            f"source tree, not installed: {Path(__file__).parent}",
            "`make install`, or `pip install -e .`, also gives the command `pydiffgeo`",
        )
    return Finding("pydiffgeo", "ok", __version__)


def _package(name: str) -> Finding:
    try:
        module = importlib.import_module(name)
    # a broken binary raises what it likes: ImportError, OSError, AttributeError
    except Exception as error:
        return Finding(name, "problem", f"cannot be imported: {error}", _reinstall(name))
    found = str(module.__version__)
    if name == "torch" and _numbers(found)[:2] < TORCH_OLDEST:
        return Finding(
            name,
            "problem",
            f"{found}, in which a checkpoint can run code",
            "pip install --upgrade 'torch>=2.6'",
        )
    return Finding(name, "ok", found)


def _extra(name: str) -> Finding:
    package, purpose = EXTRAS[name]
    try:
        found = f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        remedy = f'only for {purpose}: pip install "pydiffgeo[{name}]"'
        return Finding(f"extra {name}", "absent", f"{package} is not installed", remedy)
    return Finding(f"extra {name}", "ok", found)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _source_tree() -> bool:
    """Return whether this is a checkout with its Makefile, and not what pip installed."""
    return (Path(__file__).parents[1] / "Makefile").exists()


def _reinstall(package: str) -> str:
    if _source_tree():
        return f"make clean install, or: pip install --force-reinstall -c constraints.txt {package}"
    return f"pip install --force-reinstall {package}"


def _threads() -> Finding:
    try:
        import torch
    except Exception:
        return Finding("CPU", "ok", f"{os.cpu_count()} cores")
    return Finding(
        "CPU", "ok", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    )


def _cuda() -> Finding:
    try:
        import torch
    except Exception:
        return Finding("CUDA", "absent", "unknown without torch")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Finding("CUDA", "ok", f"{', '.join(names)} (CUDA {torch.version.cuda})")
    if torch.version.cuda is None:
        remedy = "only for a GPU: pip install --force-reinstall torch  (PyPI has the CUDA build)"
        if _source_tree():
            remedy = "only for a GPU: make clean install TORCH_INDEX=  (the CUDA build of torch)"
        return Finding("CUDA", "absent", "torch is a CPU build", remedy)
    return Finding(
        "CUDA",
        "absent",
        f"torch is built for CUDA {torch.version.cuda} but sees no device",
        "only for a GPU: `nvidia-smi` must run, with a driver as new; unset CUDA_VISIBLE_DEVICES",
    )


def _lapack() -> Finding:
    try:
        import numpy
        import scipy
        from scipy.linalg.lapack import dgtsv

        # the tridiagonal solve of the Richards model: the solution is (1, 1, 1)
        off, right = numpy.ones(2), numpy.array([3.0, 4.0, 3.0])
        *_, solution, info = dgtsv(off, numpy.full(3, 2.0), off, right)
        library = scipy.show_config(mode="dicts")["Build Dependencies"]["lapack"]
        if info != 0 or not numpy.allclose(solution, 1.0):
            raise ArithmeticError(
                f"gtsv gives {solution.ravel()} (info {info}) where 1, 1, 1 is right"
            )
    except Exception as error:
        return Finding("LAPACK", "problem", str(error), _reinstall("scipy"))
    return Finding("LAPACK", "ok", f"{library.get('name')} {library.get('version')} through scipy")


def _engine(environment: Mapping[str, str]) -> Finding:
    choice = environment.get(ENGINE_VARIABLE)
    if not choice:
        return Finding(ENGINE_VARIABLE, "ok", "not set: auto")
    if choice not in ENGINE_CHOICES:
        found = f"unknown engine {choice!r}{nearest(choice, ENGINE_CHOICES)}"
        return Finding(
            ENGINE_VARIABLE,
            "problem",
            found,
            f"set it to one of: {', '.join(ENGINE_CHOICES)}; or unset it",
        )
    if choice == "julia" and julia_finding(environment).state != "ok":
        return Finding(
            ENGINE_VARIABLE,
            "problem",
            "julia, which cannot start here",
            "do what is said about Julia above, or set it to torch, or unset it",
        )
    return Finding(ENGINE_VARIABLE, "ok", choice)
