"""TensorBoard's files: no step is lost or told twice, and a full disk does not end a training."""

from __future__ import annotations

import errno
import time

import pytest

from pydiffgeo.training.logs import TrainingLog

pytest.importorskip(
    "tensorboard", reason="tensorboard is not installed: pip install 'pydiffgeo[train]'"
)


def test_steps_after_the_checkpoint_are_dropped_when_a_run_goes_on(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for begin, last in ((0, 5), (3, 6)):
        log = TrainingLog(tmp_path, begin)
        for step in range(begin + 1, last + 1):
            log.scalars(step, {"step/loss": begin + step})
            log.flush()
        log.close()
        # files are read in the order of their names: the second, then a counter, by which 10 comes
        # before 9; a run that goes on begins later
        time.sleep(1.1)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    shown = [(e.step, e.value) for e in events.Scalars("step/loss")]
    assert shown == [(1, 1), (2, 2), (3, 3), (4, 7), (5, 8), (6, 9)]


def test_a_disk_that_is_full_for_tensorboard_does_not_end_the_training(
    tmp_path, monkeypatch, caplog, capfd
):
    from tensorboard.summary.writer import record_writer

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record_writer.RecordWriter, "flush", full)
    log = TrainingLog(tmp_path)
    for step in range(1, 4):
        log.scalars(step, {"step/loss": 1.0})
        log.flush()
    log.close()
    assert [r.message for r in caplog.records] == [
        "no more TensorBoard files (No space left on device): the training goes on without them."
    ]
    assert "Traceback" not in capfd.readouterr().err
