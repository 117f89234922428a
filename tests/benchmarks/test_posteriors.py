"""The benchmark of posteriors, in its short form."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import posteriors  # noqa: E402


@pytest.mark.filterwarnings("ignore::pydiffgeo.errors.DataWarning")
def test_the_twin_finds_parameters_that_were_made_up(tmp_path: Path) -> None:
    posteriors.main(["twin", "--short", "--output", str(tmp_path)])
    found = json.loads((tmp_path / "posteriors_twin_laplace.json").read_text())
    assert found["count"] == 10
    assert all(share >= 0.5 for share in found["inside"].values()), found  # of 90 % intervals
