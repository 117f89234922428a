"""The doctor finds what is there, says what is missing and how to get it, and starts nothing."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from rich.console import Console

from pydiffgeo import doctor
from pydiffgeo.bridge.runtime import installed


@pytest.fixture
def juliacall(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A stand-in for an installed juliacall of the version in JULIACALL (None: not installed)."""
    original = importlib.metadata.version

    def version(name: str) -> str:
        if name != "juliacall":
            return original(name)
        if JULIACALL["version"] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return JULIACALL["version"]

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setitem(JULIACALL, "version", "0.9.37")
    monkeypatch.setattr(sys, "prefix", "/nowhere")  # no Julia of juliapkg's own
    return monkeypatch


JULIACALL: dict[str, str | None] = {"version": None}


@pytest.fixture
def julia(tmp_path: Path) -> Path:
    """An executable named julia, which leaves a trace should anybody start it."""
    path = tmp_path / "bin" / "julia"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    path.chmod(0o755)
    return path


def test_report_of_this_machine_is_healthy() -> None:
    report = doctor.examine({})
    assert report.healthy, report
    assert report["torch"].found == torch.__version__
    assert report["LAPACK"].state == "ok"
    assert report["CUDA"].state == ("ok" if torch.cuda.is_available() else "absent")
    assert report[doctor.ENGINE_VARIABLE].found == "not set: auto"


def test_everything_that_is_not_ok_has_a_remedy_and_is_shown() -> None:
    report = doctor.examine({doctor.ENGINE_VARIABLE: "torhc"})
    console = Console(record=True, width=100)
    doctor.show(report, console)
    text = console.export_text()
    for finding in report.findings:
        assert finding.name in text
        assert finding.state == "ok" or finding.remedy, finding
        assert finding.remedy in text


def test_broken_package_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    original = importlib.import_module

    def refuse(name: str) -> object:
        if name == "scipy":
            raise OSError("libfoo.so: undefined symbol")
        return original(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    report = doctor.examine({})
    assert report["scipy"].state == "problem" and "undefined symbol" in report["scipy"].found
    assert not report.healthy


def test_a_torch_whose_checkpoints_can_run_code_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    for version, state in (("2.5.1+cpu", "problem"), ("2.6.0", "ok"), ("2.13.0+cu126", "ok")):
        monkeypatch.setattr(torch, "__version__", version)
        assert doctor.examine({})["torch"].state == state


@pytest.mark.parametrize("extra", doctor.EXTRAS)
def test_extras_are_listed_with_what_brings_them(
    extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", nothing)
    report = doctor.examine({})
    finding = report[f"extra {extra}"]
    assert finding.state == "absent" and f'pip install "pydiffgeo[{extra}]"' in finding.remedy
    assert report.healthy
    metadata = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    brought = " ".join(metadata["project"]["optional-dependencies"][extra])
    assert doctor.EXTRAS[extra][0] in brought


def test_remedies_of_what_pip_installed_name_no_makefile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "__file__", str(tmp_path / "pydiffgeo" / "doctor.py"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    remedy = doctor.examine({})["CUDA"].remedy
    assert "pip install" in remedy and "make" not in remedy


def test_wrong_lapack_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import scipy.linalg.lapack

    original = scipy.linalg.lapack.dgtsv
    monkeypatch.setattr(scipy.linalg.lapack, "dgtsv", lambda a, b, c, d: original(a, 2 * b, c, d))
    assert doctor.examine({})["LAPACK"].state == "problem"


@pytest.mark.parametrize(
    ("value", "state", "words"),
    [
        ("torch", "ok", "torch"),
        ("auto", "ok", "auto"),
        ("", "ok", "not set"),
        ("jula", "problem", "did you mean 'julia'?"),
    ],
)
def test_engine_variable(value: str, state: str, words: str) -> None:
    finding = doctor.examine({doctor.ENGINE_VARIABLE: value})[doctor.ENGINE_VARIABLE]
    assert finding.state == state and words in finding.found


def test_engine_choices_are_the_engines() -> None:
    from pydiffgeo.engines import ENGINES

    assert {"auto", *ENGINES} == set(doctor.ENGINE_CHOICES)


def test_julia_engine_without_julia(juliacall: pytest.MonkeyPatch) -> None:
    finding = doctor.examine({doctor.ENGINE_VARIABLE: "julia"})[doctor.ENGINE_VARIABLE]
    assert finding.state == "problem" and "torch" in finding.remedy


def test_a_prepared_project_is_ok(
    juliacall: pytest.MonkeyPatch, julia: Path, tmp_path: Path
) -> None:
    report = doctor.examine({"PATH": str(julia.parent)})
    assert report["Julia"].state == "absent" and "pydiffgeo julia install" in report["Julia"].remedy
    juliacall.setattr(sys, "prefix", str(tmp_path))
    installed().write_text(json.dumps({"exe": str(julia), "project": str(tmp_path)}))
    assert doctor.examine({doctor.ENGINE_VARIABLE: "julia"}).healthy
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (None, 'pip install "pydiffgeo[julia]"'),
        ("0.9.9", "--upgrade juliacall"),  # older than 0.9.34, though not as text
        ("0.9.33.post1", "--upgrade juliacall"),
    ],
)
def test_juliacall_missing_or_old(
    juliacall: pytest.MonkeyPatch, julia: Path, version: str | None, words: str
) -> None:
    juliacall.setitem(JULIACALL, "version", version)
    finding = doctor.julia_finding({"PATH": str(julia.parent)})
    assert finding.state == "absent" and words in finding.remedy


def test_julia_variables(juliacall: pytest.MonkeyPatch, julia: Path) -> None:
    both = {"PYTHON_JULIACALL_EXE": str(julia), "PYTHON_JULIACALL_PROJECT": str(julia.parent)}
    assert doctor.julia_finding(both).state == "ok"
    for variable in both:  # juliacall refuses one without the other
        alone = doctor.julia_finding({variable: both[variable]})
        assert alone.state == "problem" and "alone" in alone.found
    for variable in ("PYTHON_JULIACALL_EXE", "PYTHON_JULIAPKG_EXE"):
        wrong = doctor.julia_finding({variable: "/no/julia", "PATH": str(julia.parent)})
        assert wrong.state == "problem" and variable in wrong.remedy


def test_doctor_imports_no_juliacall() -> None:
    code = (
        "import sys; from pydiffgeo.doctor import examine; examine(); sys.exit('juliacall' in "
        "sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
