"""`pydiffgeo julia install` with a stand-in for juliapkg.

What it asks for, what it writes, how it fails.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from typer.testing import CliRunner, Result

from pydiffgeo.bridge import runtime
from pydiffgeo.cli import app

PROJECT = tomllib.loads((runtime.sources() / "Project.toml").read_text())


class JuliaPkg(types.ModuleType):
    """Keeps what it was asked for; `error` is raised in `resolve`."""

    def __init__(self, folder: Path) -> None:
        super().__init__("juliapkg")
        self.folder, self.added, self.resolved = folder, {}, 0
        self.julia: str | None = None
        self.error: Exception | None = None

    def require_julia(self, compat: str) -> None:
        self.julia = compat

    def add(self, name: str, uuid: str, **options: Any) -> None:
        self.added[name] = {"uuid": uuid} | options

    def resolve(self, force: bool = False) -> bool:
        self.resolved += 1
        if self.error:
            raise self.error
        return True

    def executable(self) -> str:
        return str(self.folder / "julia")

    def project(self) -> str:
        return str(self.folder)


@pytest.fixture
def juliapkg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> JuliaPkg:
    module = JuliaPkg(tmp_path)
    monkeypatch.setitem(sys.modules, "juliapkg", module)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    for variable in ("PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT", "PYTHON_JULIAPKG_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    executable(tmp_path, "exit 0")
    return module


def executable(folder: Path, script: str) -> None:
    """A julia that writes down its arguments."""
    path = folder / "julia"
    path.write_text(f'#!/bin/sh\necho "$@" >> {folder}/arguments\n{script}\n')
    path.chmod(0o755)


def install() -> Result:
    return CliRunner().invoke(app, ["julia", "install"])


def test_it_resolves_loads_and_writes_what_the_engine_finds(
    juliapkg: JuliaPkg, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = install()
    assert result.exit_code == 0, result.output
    assert juliapkg.julia == PROJECT["compat"]["julia"] and juliapkg.resolved == 1
    own = juliapkg.added.pop("DiffGeo")
    assert own == {"uuid": PROJECT["uuid"], "dev": True, "path": str(runtime.sources())}
    weak = {k: v for k, v in PROJECT.get("weakdeps", {}).items() if k != "PythonCall"}
    assert {k: v["uuid"] for k, v in juliapkg.added.items()} == weak
    (arguments,) = (juliapkg.folder / "arguments").read_text().splitlines()
    assert f"--project={juliapkg.folder}" in arguments and "DiffGeo, PythonCall" in arguments
    assert json.loads(runtime.installed().read_text()) == {
        "exe": juliapkg.executable(),
        "project": juliapkg.project(),
    }
    monkeypatch.setattr("importlib.util.find_spec", lambda name: sys)
    monkeypatch.delitem(sys.modules, "juliacall", raising=False)
    assert runtime.found() == {"exe": juliapkg.executable(), "project": juliapkg.project()}
    assert [line[:3] for line in result.stdout.splitlines() if line[1:3] == "/3"] == [
        "1/3",
        "2/3",
        "3/3",
    ]


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (URLError("Name or service not known"), ("julialang.org must be reachable", "HTTPS_PROXY")),
        (PermissionError(13, "Permission denied", "/depot"), ("JULIA_DEPOT_PATH",)),
        (subprocess.CalledProcessError(1, ["julia"]), ("pkg.julialang.org",)),
        (Exception("no compatible Julia"), ("no compatible Julia", "PYTHON_JULIAPKG_EXE")),
    ],
)
def test_what_juliapkg_cannot_do(
    juliapkg: JuliaPkg, raised: Exception, words: tuple[str, ...]
) -> None:
    juliapkg.error = raised
    message = error()
    assert all(w in message for w in (*words, "PYTHON_JULIACALL_EXE")), message


def test_offline(juliapkg: JuliaPkg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_JULIAPKG_OFFLINE", "yes")
    juliapkg.error = Exception("no Julia")
    message = error()
    assert "PYTHON_JULIAPKG_OFFLINE" in message and "PYTHON_JULIACALL_EXE" in message


def test_packages_that_do_not_load(juliapkg: JuliaPkg) -> None:
    executable(juliapkg.folder, "exit 1")
    assert "Julia failed, its reason stands above" in error()


def test_a_prefix_that_cannot_be_written(
    juliapkg: JuliaPkg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    message = error()
    assert "cannot be written" in message and "PYTHON_JULIACALL_EXE" in message
    assert juliapkg.added == {}, "told before anything is downloaded"


def test_no_juliapkg(juliapkg: JuliaPkg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "juliapkg", None)
    assert 'pip install "pydiffgeo[julia]"' in error()


def test_a_julia_of_the_users_own(juliapkg: JuliaPkg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_JULIACALL_EXE", juliapkg.executable())
    assert "PYTHON_JULIACALL_EXE is set" in error()


def test_interrupt(juliapkg: JuliaPkg, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(force: bool) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(juliapkg, "resolve", interrupt)
    result = install()
    assert result.exit_code == 130 and result.stderr == "interrupted\n"


def error() -> str:
    """The one line that a failed installation prints, having written nothing down."""
    result = install()
    assert result.exit_code == 1 and result.stderr.count("\n") == 1, result.output
    assert result.stderr.startswith("error: ") and not runtime.installed().exists()
    return result.stderr
