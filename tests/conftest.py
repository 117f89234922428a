"""Shared by all tests: one thread, a seed, real data where it is, and the engines to test with."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from pydiffgeo.bridge.runtime import unavailable

torch.set_num_threads(1)

DATA = Path(
    os.environ.get("PYDIFFGEO_DATA") or Path(__file__).parents[1] / ".." / "shared" / "data"
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test be solved by the engine that others before it asked for, which stands in the
    environment.
    """
    if "engine" not in request.fixturenames:
        monkeypatch.delenv("PYDIFFGEO_ENGINE", raising=False)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Give the path of a real data file, named relative to the data folder.

    Skip where it is absent.
    """

    def find(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            pytest.skip(
                f"no real data file {name} in {DATA}; set PYDIFFGEO_DATA to the folder that has it"
            )
        return path

    return find


@pytest.fixture(scope="session", params=["torch", "julia"])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Name of each engine in turn, which `solve` takes by default.

    Skips where one cannot run, saying why.
    """
    reason = _unavailable(request.param)
    if reason:
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYDIFFGEO_ENGINE", request.param)
        yield request.param


@pytest.fixture
def julia() -> Any:
    """The running Julia; skips where there is none, saying why."""
    reason = _unavailable("julia")
    if reason:
        pytest.skip(reason)
    from pydiffgeo.bridge.runtime import start

    return start()


@pytest.fixture
def torch_only(engine: str) -> None:
    """Skip what only the torch engine can do."""
    if engine != "torch":
        pytest.skip("torch functions and options of the torch engine")


@cache
def _unavailable(engine: str) -> str:
    """Why an engine is not there; "" where it is.

    One that is there and does not work fails the tests that need it.
    """
    return unavailable() if engine == "julia" else ""


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Give a context in which the disk is full, which the last step of every writing finds out."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            yield

    return context
