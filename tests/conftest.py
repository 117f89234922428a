"""Shared by all tests: one thread, a seed, real data where it is, and the engines to test with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pydiffgeo.doctor import julia_finding

torch.set_num_threads(1)

DATA = Path(os.environ.get("PYDIFFGEO_DATA") or Path(__file__).parents[1] / ".." / "shared" / "data")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Give the path of a real data file, named relative to the data folder; skip where it is absent."""

    def find(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            pytest.skip(f"no real data file {name} in {DATA}; set PYDIFFGEO_DATA to the folder that has it")
        return path

    return find


@pytest.fixture(params=["torch", "julia"])
def engine(request: pytest.FixtureRequest) -> str:
    """Name of each engine in turn; skips where one cannot run, saying why."""
    if request.param == "julia":
        from pydiffgeo.engines import ENGINES

        finding = julia_finding(os.environ)
        if "julia" not in ENGINES:
            pytest.skip("this version of the package has no Julia engine")
        if finding.state != "ok":
            pytest.skip(f"Julia cannot start ({finding.found}): {finding.remedy}")
    return str(request.param)
