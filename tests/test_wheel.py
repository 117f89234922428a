"""A wheel of the repository, installed away from it, has all that both engines need."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from processes import ROOT

SOLVE = """
import sys, torch, pydiffgeo
from pydiffgeo import Grid, Richards, solve, usda_soil
engine, folder = sys.argv[1:]
assert pydiffgeo.__file__.startswith(folder), pydiffgeo.__file__
from pydiffgeo.bridge.runtime import sources
assert str(sources()).startswith(folder), sources()
model = Richards(Grid.uniform(10.0, 3), top="flux")
s = solve(model, {"top_flux": 0.0}, usda_soil("loam"), -100.0, torch.arange(2.0), engine=engine)
print(s.engine, bool(s.states.isfinite().all()))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the repository."""
    pytest.importorskip("setuptools", minversion="77", reason="building needs setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    copy.mkdir()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    ignored = shutil.ignore_patterns("__pycache__", "generated")
    for name in ("pydiffgeo", "julia_src", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    _run(
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        folder,
        copy,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """Site-packages with nothing but the wheel."""
    target = wheel.parent / "site"
    _run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel)
    return target


def test_its_files(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    for folder, inside in (
        ("julia_src/src", "pydiffgeo/julia_src/src"),
        ("julia_src/ext", "pydiffgeo/julia_src/ext"),
        ("pydiffgeo/models", "pydiffgeo/models"),
    ):
        files = [
            p.relative_to(ROOT / folder).as_posix()
            for p in (ROOT / folder).rglob("*.*l")
            if p.is_file()
        ]
        assert {f"{inside}/{f}" for f in files} <= names
    assert "pydiffgeo/julia_src/Project.toml" in names
    mentioned = {
        page
        for path in (ROOT / "pydiffgeo").rglob("*")
        if path.suffix in (".py", ".toml", ".yaml")
        for page in re.findall(r"docs/[\w/]+\.md", path.read_text())
    }
    assert mentioned and {f"pydiffgeo/{page}" for page in mentioned} <= names
    examples = (ROOT / "pydiffgeo" / "examples").rglob("*.yaml")
    assert {f"pydiffgeo/{p.relative_to(ROOT / 'pydiffgeo')}" for p in examples} <= names
    assert not any(
        n.startswith("pydiffgeo/julia_src/test") or n.startswith("tests/") for n in names
    )


def test_doctor(installed: Path, tmp_path: Path) -> None:
    out = _run("-m", "pydiffgeo.cli", "doctor", path=installed, cwd=tmp_path)
    assert "torch" in out and "Julia" in out
    code = "from pydiffgeo.doctor import examine; print(examine({})['docs'].found)"
    found = _run("-c", code, path=installed, cwd=tmp_path).strip()
    assert Path(found) == installed / "pydiffgeo" / "docs"


@pytest.mark.parametrize("engine", ["torch", "julia"])
def test_solve(
    installed: Path, tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    environment: dict[str, Any] = {}
    if engine == "julia":
        request.getfixturevalue("julia")
        # what is compiled for this copy stays away from the caches of others
        depots = os.environ.get("JULIA_DEPOT_PATH") or f"{Path.home() / '.julia'}{os.pathsep}"
        environment["JULIA_DEPOT_PATH"] = f"{tmp_path / 'depot'}{os.pathsep}{depots}"
    out = _run("-c", SOLVE, engine, str(installed), path=installed, cwd=tmp_path, **environment)
    assert out.split() == [engine, "True"]


def _run(
    *arguments: Any, path: Path | None = None, cwd: Path | None = None, **environment: Any
) -> str:
    """Run this Python on what is in `path`, and the installed dependencies."""
    packages = os.pathsep.join(filter(None, (str(path or ""), sysconfig.get_path("purelib"))))
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": packages, "PYTHONSAFEPATH": "1"} | environment,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
