"""Installation of Julia for this Python; the only part of the package that downloads it.

The only part of the package that downloads, and only when it is asked to.
"""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from collections.abc import Callable
from typing import Any
from urllib.error import URLError

from pydiffgeo.bridge.runtime import installed, sources
from pydiffgeo.errors import EngineUnavailable
from pydiffgeo.files import write_file

OWN = (
    "or set PYTHON_JULIACALL_EXE and PYTHON_JULIACALL_PROJECT, a Julia and a project of your "
    "own with PythonCall"
)


def prepare(say: Callable[[str], None]) -> dict[str, str]:
    """Find or download Julia, resolve and precompile the packages, and write down where they are.

    Parameters
    ----------
    say : function of str
        Told what happens; juliapkg and Julia's package manager write their own progress to the
        terminal.

    Returns
    -------
    dict of str to str
        Executable and project, as `runtime.found` reads them.

    Raises
    ------
    EngineUnavailable
        What is in the way, and what to do.
    """
    for variable in ("PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT"):
        if os.environ.get(variable):
            raise EngineUnavailable(
                f"{variable} is set, so that what is installed here would not be used; unset it "
                "first."
            )
    juliapkg = _juliapkg()
    if not os.access(installed().parent, os.W_OK):
        raise EngineUnavailable(
            f"{installed().parent} cannot be written: make a virtual environment (python -m venv) "
            f"and install pydiffgeo there; {OWN}."
        )
    project = tomllib.loads((sources() / "Project.toml").read_text())
    # PythonCall comes with juliacall
    extras: dict[str, str] = {
        k: v for k, v in project.get("weakdeps", {}).items() if k != "PythonCall"
    }
    say(
        f"1/3 Julia {project['compat']['julia']} or newer, and the packages DiffGeo, PythonCall"
        f"{''.join(f', {name}' for name in extras)}: found or downloaded"
    )
    try:
        juliapkg.require_julia(project["compat"]["julia"])
        juliapkg.add(project["name"], project["uuid"], dev=True, path=str(sources()))
        for name, uuid in extras.items():
            juliapkg.add(name, uuid)
        juliapkg.resolve(force=True)
        place = {"exe": str(juliapkg.executable()), "project": str(juliapkg.project())}
    except Exception as error:  # juliapkg raises bare Exceptions too
        raise EngineUnavailable(_advice(error)) from error
    say(
        "2/3 Loading all of them once, which compiles what is not compiled yet: minutes the first "
        "time"
    )
    names = ", ".join((project["name"], "PythonCall", *extras))
    command = [
        place["exe"],
        f"--project={place['project']}",
        "--startup-file=no",
        "-e",
        f"import {names}",
    ]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise EngineUnavailable(_advice(error)) from error
    write_file(installed(), json.dumps(place, indent=1) + "\n")
    say(
        f"3/3 Written to {installed()}: the engine starts with {place['exe']} and "
        f"{place['project']}"
    )
    return place


def _juliapkg() -> Any:
    try:
        import juliapkg
    except ImportError as error:
        reason = (
            "juliapkg is missing, which comes with juliacall: pip install "
            f'"pydiffgeo[julia]" brings it ({error}).'
        )
        raise EngineUnavailable(reason) from error
    return juliapkg


def _advice(error: Exception) -> str:
    """What to do about an error of juliapkg or Julia."""
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, PermissionError):
        return f"{what}. Let JULIA_DEPOT_PATH begin with a folder that you may write to; {OWN}."
    if os.environ.get("PYTHON_JULIAPKG_OFFLINE") == "yes":
        return f"{what}. PYTHON_JULIAPKG_OFFLINE=yes forbids downloads: unset it once, {OWN}."
    if isinstance(error, subprocess.CalledProcessError):
        return (
            f"Julia failed, its reason stands above ({what}). If it could not reach "
            f"pkg.julialang.org, see to that; {OWN}."
        )
    if isinstance(error, URLError | ConnectionError | TimeoutError) or "Errno" in str(error):
        return f"{what}. julialang.org must be reachable; behind a proxy set HTTPS_PROXY; {OWN}."
    return f"{what}. Try again with PYTHON_JULIAPKG_EXE naming a julia executable, {OWN}."
