"""The benchmark of leaves: its table and its JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import leaves  # noqa: E402
from alone import measured_alone  # noqa: E402


def test_small_run_writes_what_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "leaves.json"
    leaves.main(["--small", "--only", "torch", "--output", str(output)])
    (record,) = json.loads(output.read_text())["records"]
    assert record["case"] == "torch" and 0 < record["forward_us"] < record["gradient_us"]
    assert 3 < record["mean_assimilation"] < 15
    assert "with gradient" in capsys.readouterr().out


def test_a_case_that_is_not_installed_is_reported(tmp_path: Path) -> None:
    request = {"case": leaves.THEIRS, "leaves": 3, "repeats": 1, "diffecosys": str(tmp_path)}
    command = [sys.executable, leaves.__file__, "--one"]
    assert "auxiliary_fn" in measured_alone(command, request, 60.0)["status"]
