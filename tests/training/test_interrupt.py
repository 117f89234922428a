"""Ctrl-C and other signals: a training ends after its step, and goes on to the last bit."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from training_cases import column, same_weights, trainer

from pydiffgeo import interrupt
from pydiffgeo.training.checkpoint import (
    CHECKPOINT,
    load_checkpoint,
)


@pytest.fixture
def from_a_terminal():
    """Ctrl-C as a terminal gives it; a shell starts what runs in the background with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("from_a_terminal")
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_in_an_epoch_leaves_a_checkpoint_and_the_rest_is_the_same_to_the_last_bit(
    sites, tmp_path, monkeypatch, signal_number
):
    straight = trainer(sites)
    expected = straight.run(progress=False)
    cut = trainer(sites, tmp_path)
    taken, step = [], cut._step

    def interrupted(noted):
        taken.append(1)
        if len(taken) == 4:  # the first step of the second epoch: it is finished, and then kept
            os.kill(os.getpid(), signal_number)
            os.kill(
                os.getpid(), signal.SIGINT
            )  # as torchrun passes Ctrl-C on to those who had it from the terminal
        return step(noted)

    monkeypatch.setattr(cut, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"step 4 of 6; .*last\.pt .* run\(resume=True\)"):
        cut.run(progress=False)
    assert load_checkpoint(tmp_path / CHECKPOINT)["progress"]["step"] == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    torch.rand(7)  # dropout does not depend on what was drawn before
    resumed = trainer(sites, tmp_path)
    assert column(resumed.run(resume=True, progress=False)) == column(expected)
    assert same_weights(resumed.model, straight.model)
    again = trainer(sites, tmp_path)  # a finished run is left as it is
    assert column(again.run(resume=True, progress=False)) == column(expected) and again.step == 6


@pytest.mark.usefixtures("from_a_terminal")
def test_an_interrupt_in_the_middle_of_a_step_keeps_the_step_before(sites, tmp_path, monkeypatch):
    straight = trainer(sites)
    straight.run(progress=False)
    for where in ("simulate", "update"):
        cut = trainer(sites, tmp_path / where, checkpoint_every=1)
        inner = cut.steps.simulate if where == "simulate" else cut.optimiser.step

        def stops(*given, cut=cut, inner=inner, where=where):
            if where == "update":
                inner()  # the weights have changed, and the step is not counted
            if cut.step == 3:
                raise KeyboardInterrupt
            return inner(*given) if where == "simulate" else None

        owner, name = (cut.steps, "simulate") if where == "simulate" else (cut.optimiser, "step")
        monkeypatch.setattr(owner, name, stops)
        with pytest.raises(KeyboardInterrupt):
            cut.run(progress=False)
        resumed = trainer(sites, tmp_path / where, checkpoint_every=1)
        resumed.run(resume=True, progress=False)
        assert same_weights(resumed.model, straight.model)


@pytest.mark.usefixtures("from_a_terminal")
def test_a_second_interrupt_does_not_wait_for_the_step(monkeypatch):
    monkeypatch.setattr(interrupt, "SAME", 0.0)
    with pytest.raises(KeyboardInterrupt), interrupt.interrupt_between_steps() as noted:
        os.kill(os.getpid(), signal.SIGINT)
        assert noted.asked
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
