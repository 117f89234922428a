"""What all commands share."""

from __future__ import annotations

import pytest
import typer

from pydiffgeo.errors import DataError
from pydiffgeo.reporting import next_command, reporting


def test_commands_are_told_as_they_are_typed(capsys, monkeypatch) -> None:
    next_command(False, ["evaluate", "a b"])
    assert capsys.readouterr().out == "Next: pydiffgeo evaluate 'a b'\n"
    monkeypatch.setenv("RANK", "1")  # only the first of several processes speaks
    next_command(False, ["evaluate", "a"])
    assert not capsys.readouterr().out


def test_several_processes_go_on_by_torchrun(capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(typer.Exit), reporting(False, tmp_path, ["train", "a.yaml", "--resume"]):
        raise KeyboardInterrupt
    words = "torchrun --nproc-per-node 2 -m pydiffgeo.cli train a.yaml --resume"
    assert words in capsys.readouterr().err


def test_errors_of_the_package_end_with_1(capsys) -> None:
    with pytest.raises(typer.Exit) as caught, reporting(False):
        raise DataError("no [rain].")
    assert caught.value.exit_code == 1 and capsys.readouterr().err == "error: no [rain].\n"
    with pytest.raises(DataError), reporting(True):
        raise DataError("no [rain].")
