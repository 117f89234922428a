"""Files are written whole or not at all, folders by one process at a time, and what is printed
survives its reader.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from pydiffgeo.console import Steady
from pydiffgeo.errors import OutputError
from pydiffgeo.evaluation import (
    cdf_figure,
    matplotlib_missing,
    print_table,
    save_figure,
    write_table,
)
from pydiffgeo.evaluation.page import Page
from pydiffgeo.files import LOCK, file_name, held, replacing, write_file, write_netcdf
from pydiffgeo.training.checkpoint import save_checkpoint
from pydiffgeo.training.logs import write_history

needs_matplotlib = pytest.mark.skipif(
    matplotlib_missing() is not None, reason=str(matplotlib_missing())
)


HOLDER = """
import sys, time, pathlib
from pydiffgeo.files import held
with held(pathlib.Path(sys.argv[1])):
    print(1, flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_who_holds_the_folder_and_a_dead_one_holds_nothing(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline()
        with pytest.raises(
            OutputError,
            match=rf"by process {other.pid} on {socket.gethostname()} since 20.*another folder\.",
        ):
            with held(tmp_path):
                pass
        assert [p.name for p in tmp_path.iterdir()] == [LOCK]
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert (tmp_path / LOCK).exists()
    with held(tmp_path), pytest.raises(OutputError, match=f"process {os.getpid()}"), held(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()


def test_a_disk_without_locks_is_said_and_used(tmp_path, monkeypatch, caplog):
    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("pydiffgeo.files.fcntl.flock", none)
    with held(tmp_path):
        assert (
            f"{tmp_path} cannot be locked (No locks available)" in caplog.text
            and (tmp_path / LOCK).exists()
        )
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_file_leave_it_whole(tmp_path):
    path = tmp_path / "x"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        first.write_text("a" * 100)
        second.write_text("b" * 50)
    assert path.read_text() == "a" * 100 and [p.name for p in tmp_path.iterdir()] == ["x"]


WRITERS = {
    "text": lambda path: write_file(path, "new"),
    "table": lambda path: write_table([{"a": 1}], path.with_suffix("")),
    "page": lambda path: Page("new").write(path),
    "netCDF": lambda path: write_netcdf(xr.Dataset({"a": ("x", np.zeros(3))}), path),
    "figure": lambda path: save_figure(cdf_figure({"a": [0.5]}, "NSE"), path.with_suffix(".png")),
    "checkpoint": lambda path: save_checkpoint(path, {"a": 1}),
    "history": lambda path: write_history(path.parent, [{"epoch": 1}]),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_leaves_every_file_as_it_was(tmp_path, full_disk, writer):
    if writer == "figure" and matplotlib_missing():
        pytest.skip(str(matplotlib_missing()))
    names = {"table": "f.csv", "figure": "f.png", "history": "history.csv"}
    path = tmp_path / names.get(writer, "f.txt")
    path.write_text("old")
    words = rf"{path} cannot be written \(No space left on device; .*Make room, then .*\."
    with full_disk(), pytest.raises(OutputError, match=words):
        WRITERS[writer](path)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == [path.name]
    WRITERS[writer](path)
    assert path.read_bytes() != b"old"


def test_netcdf_that_the_system_cuts_off_is_one_line(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(
            OutputError, match=r"a.nc cannot be written \(.*; .* MiB are free there\)"
        ):
            write_netcdf(
                xr.Dataset({"a": ("x", np.random.default_rng(0).random(10_000))}), tmp_path / "a.nc"
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_ends_nothing(caplog):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        out = Console(file=Steady(stream))  # type: ignore[arg-type]
        for _ in range(3):
            out.print("a line")
    told = ["the output can no longer be written (Broken pipe); the work goes on without it."]
    assert [r.message for r in caplog.records] == told


@needs_matplotlib
def test_a_dollar_in_a_name_is_a_dollar(tmp_path):
    name = r"a$b^$_\frac{$"
    assert save_figure(cdf_figure({name: [0.1]}, name), tmp_path / "c.png").is_file()
    assert file_name("a/b$c") == "a%2Fb%24c" and file_name("01013500") == "01013500"


def test_wide_tables_fit_the_terminal_and_brackets_stay(tmp_path):
    names = [f"measure_{k:02d}" for k in range(12)]
    rows = [
        {"run": f"pydiffgeo[{r}]", "target": "discharge"}
        | {n: r + k / 7 for k, n in enumerate(names)}
        for r in (1, 2)
    ]
    with (tmp_path / "t.txt").open("w") as file:
        print_table(rows, "Medians [bold]", {"measure_03": "max"}, Console(file=file, width=80))
    text = (tmp_path / "t.txt").read_text()
    assert max(map(len, text.splitlines())) <= 80 and text.count("Medians [bold]") > 1
    parts = text.count("discharge") // 2
    assert text.count("pydiffgeo[1]") == parts > 1 and all(
        f"{r + k / 7:.3f}" in text for r in (1, 2) for k in range(12)
    )
    assert all(name in text for name in names)
    page = Page("p")
    page.table(rows)
    html = page.write(tmp_path / "p.html").read_text()
    assert '<div class="wide"><table>' in html and "div.wide { overflow-x: auto }" in html
