"""Several processes train as one does."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import torch
from training_cases import another_process, column, long_run, trainer, windows

from pydiffgeo.errors import SettingsError
from pydiffgeo.training.distributed import Group, process_group

TWO = """
import sys, torch
from training_cases import long_run, process_group
torch.set_num_threads(1)
with process_group() as group:
    long_run(sys.argv[1], 3, group=group).run(progress=False)
"""


def test_two_processes_give_the_losses_of_one(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    other = another_process(TWO, tmp_path, RANK="1", **shared)
    for name, value in {**shared, "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    one = long_run(None, 3)
    one.run(progress=False)
    with process_group() as group:
        two = long_run(tmp_path, 3, group=group)
        two.run(progress=False)
    assert other.wait(timeout=60) == 0, other.stdout.read()
    for name in ("loss", "validation", "nse of discharge", "kge of discharge", "rmse of discharge"):
        np.testing.assert_allclose(column(two.history, name), column(one.history, name), rtol=1e-6)
    for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
    assert column(two.history, "step") == [4, 8, 12]


def test_a_batch_with_fewer_rows_than_processes_is_refused(sites):
    trainer(sites, group=Group(1, 3))  # a batch of 4 rows
    with pytest.raises(SettingsError, match="batch of 4 rows is too small for 5 processes; take"):
        trainer(sites, group=Group(1, 5))
    with pytest.raises(SettingsError, match="batch of 2 rows is too small for 3 processes"):
        whole = {"length": None, "end": None, "batch": 4}  # of 10 sites
        trainer(sites, make=lambda s: windows(s, **whole), group=Group(1, 3))


def test_a_gpu_is_taken_only_when_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with process_group() as group:
        assert group.device == torch.device("cpu")
    with process_group("cuda") as group:
        assert group.device == torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(
        SettingsError, match="needs a GPU for each of the 1 processes.*torch sees 0"
    ):
        with process_group("cuda"):
            pass
