"""The trainer: it learns, resumes to the last bit, survives what goes wrong, and is the same over two processes."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import hybrid_cases
import numpy as np
import pandas as pd
import pytest
import torch
import training_cases
import xarray as xr
from training_cases import Runoff

from pydiffgeo import losses
from pydiffgeo.data import Windows
from pydiffgeo.errors import DataError, OutputError, SettingsError, SolveFailed, TrainingFailed
from pydiffgeo.networks import MLP, SoilClass
from pydiffgeo.training import interrupt
from pydiffgeo.training.checkpoint import (
    CHECKPOINT,
    chosen_weights,
    load_checkpoint,
    save_checkpoint,
)
from pydiffgeo.training.distributed import Group, process_group
from pydiffgeo.training.ensemble import twins
from pydiffgeo.training.trainer import Trainer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sites() -> xr.Dataset:
    return training_cases.sites()


def windows(sites: xr.Dataset, **changes) -> Windows:
    given = {"length": 50, "warm_up": 10, "batch": 4, "dtype": torch.float64, "end": "2000-06-30"}
    return Windows(sites, **given | changes)


def trainer(
    sites: xr.Dataset, folder: Path | None = None, loss=None, hybrid=None, make=windows, **changes
) -> Trainer:
    given = {"epochs": 2, "steps_per_epoch": 3, "learning_rate": 0.02, "settings": {"a": 1}}
    hybrid = hybrid or Runoff(dropout=0.2)
    return Trainer(hybrid, make(sites), loss or losses.NSE("discharge"), folder, **given | changes)


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def column(history, name: str = "loss") -> list[float]:
    return [row[name] for row in history]


def test_it_learns_and_tells_what_it_did(sites):
    done = trainer(sites, epochs=8, steps_per_epoch=10, learning_rate=0.05)
    history = done.run(progress=False)
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert column(history, "step") == [10 * k for k in range(1, 9)]
    assert column(history, "loss") == pytest.approx(column(history, "nse of discharge"))
    assert all(
        row["site_steps_per_second"] * row["seconds"] == pytest.approx(10 * 4 * 60)
        for row in history
    )
    assert not done.model.training and not any(column(history, "failed"))


def test_the_rate_rises_and_falls_along_a_cosine(sites):
    one = trainer(
        sites, epochs=10, steps_per_epoch=20, final_rate=0.1
    )  # 200 steps, of which 10 rise
    rates = []
    for one.step in range(200):
        rates.append(one.rate() / 0.02)
    share = [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * k / 200)) for k in range(200)]
    assert rates[:10] == pytest.approx([(k + 1) / 10 * share[k] for k in range(10)])
    assert rates[10:] == pytest.approx(share[10:])
    assert trainer(sites, rise=1).rate() == 0.02


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
    with pytest.raises(KeyboardInterrupt):
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


SCRIPT = """
import sys, torch
from test_trainer import long_run
torch.set_num_threads(1)
long_run(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])).run(progress=False)
"""


def long_run(
    folder: str | Path | None, epochs: int, dropout: float = 0.0, group: Group | None = None
) -> Trainer:
    sites = training_cases.sites()
    parts = [losses.NSE(), losses.KGE(weight=0.3), losses.RMSE(weight=0.2)]
    late = Windows(sites, start="2000-07-01", warm_up=10, batch=5, dtype=torch.float64)
    return trainer(
        sites,
        folder,
        parts,
        Runoff(dropout),
        epochs=epochs,
        steps_per_epoch=4,
        validation=late,
        group=group,
    )


def another_process(script: str, *arguments: Any, **environment: str) -> subprocess.Popen:
    paths = [ROOT, ROOT / "tests", ROOT / "tests" / "training"]
    given = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, paths)), **environment}
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], env=os.environ | given, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


TWO = """
import sys, torch
from test_trainer import long_run, process_group
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


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path):
    checkpoint = tmp_path / CHECKPOINT
    running = another_process(SCRIPT, tmp_path, 40, 0.2)
    while not checkpoint.exists() and running.poll() is None:
        time.sleep(0.01)
    running.kill()
    assert running.wait() == -signal.SIGKILL, running.stdout.read()
    assert 0 < load_checkpoint(checkpoint)["progress"]["step"] < 160
    straight, resumed = long_run(None, 40, 0.2), long_run(tmp_path, 40, 0.2)
    straight.run(progress=False)
    resumed.run(resume=True, progress=False)
    assert same_weights(resumed.model, straight.model) and resumed.step == 160


def test_a_batch_that_does_not_divide_over_the_processes_is_refused(sites):
    with pytest.raises(SettingsError, match="batch of 4 rows does not divide over 3 processes"):
        trainer(sites, group=Group(1, 3))


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


def test_a_full_disk_leaves_the_old_checkpoint_and_a_training_that_goes_on(
    sites, tmp_path, full_disk, monkeypatch
):
    straight = trainer(sites, epochs=3)
    expected = straight.run(progress=False)
    cut, saves = trainer(sites, tmp_path, epochs=3), []
    inner = cut._save

    def filling():
        saves.append(1)
        if len(saves) == 3:
            with full_disk():
                inner()
        inner()

    monkeypatch.setattr(cut, "_save", filling)
    with pytest.raises(OutputError, match="No space left on device.*before it is intact.*--resume"):
        cut.run(progress=False)
    assert load_checkpoint(tmp_path / CHECKPOINT)["progress"]["step"] == 6
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    resumed = trainer(sites, tmp_path, epochs=3)
    assert column(resumed.run(resume=True, progress=False)) == column(expected)
    assert same_weights(resumed.model, straight.model)


def test_checkpoints_of_other_seeds_records_and_models_are_refused(sites, tmp_path):
    trainer(sites, tmp_path).run(progress=False)
    kept = (tmp_path / CHECKPOINT).read_bytes()
    more = sites.assign(precipitation=1.1 * sites.precipitation)
    for other, words in (
        (
            trainer(sites, tmp_path, make=lambda s: windows(s, seed=5)),
            "seed is 5, the checkpoint has 0",
        ),
        (trainer(more, tmp_path), "the records are not those of the run.*rain is"),
        (
            trainer(sites, tmp_path, hybrid=training_cases.Runoff(hidden=4)),
            "last.pt is of another model: it has 'net",
        ),
        (
            trainer(sites, tmp_path, settings={"a": 2}),
            "setting 'a' is 2, the run in the folder has 1",
        ),
    ):
        with pytest.raises(SettingsError, match=words):
            other.run(resume=True, progress=False)
    with pytest.raises(OutputError, match="holds a run already.*--resume.*--overwrite"):
        trainer(sites, tmp_path).run(progress=False)
    assert (tmp_path / CHECKPOINT).read_bytes() == kept
    (tmp_path / CHECKPOINT).write_bytes(kept[:100])
    with pytest.raises(DataError, match="cannot be read"):
        trainer(sites, tmp_path).run(resume=True, progress=False)
    save_checkpoint(tmp_path / CHECKPOINT, {"epoch": 3, "settings": {"a": 1}})
    with pytest.raises(DataError, match="of another kind of training: it has no 'members'"):
        trainer(sites, tmp_path).run(resume=True, progress=False)
    trainer(sites, tmp_path, settings={"a": 2}).run(progress=False, overwrite=True)
    assert load_checkpoint(tmp_path / CHECKPOINT)["settings"] == {"a": 2}


def test_exchanged_days_of_a_whole_period_are_refused(sites, tmp_path):
    def whole(sites):
        return Windows(sites, warm_up=10, dtype=torch.float64)

    trainer(sites, tmp_path, make=whole, steps_per_epoch=None).run(progress=False)
    flow = sites.discharge.copy(deep=True)  # of the same mean and standard deviation
    flow[:, 20:22] = sites.discharge[:, [21, 20]].values
    with pytest.raises(
        SettingsError, match="the records are not those.*values of the days trained on differ"
    ):
        other = trainer(sites.assign(discharge=flow), tmp_path, make=whole, steps_per_epoch=None)
        other.run(resume=True, progress=False)
    rounded = sites.assign(discharge=sites.discharge * (1 + 1e-15))  # as another machine may
    trainer(rounded, tmp_path, make=whole, steps_per_epoch=None).run(resume=True, progress=False)


def test_a_loss_that_is_no_number_names_site_and_window(sites, tmp_path):
    broken = trainer(sites, tmp_path)
    broken.windows[0].tensors._all[3, 0] = torch.nan
    words = r"loss of step \d+ is not a number: site b0003, \d{4}-\d\d-\d\d to .*warm-up 10 .*\): not finite from .*--resume"
    with pytest.raises(TrainingFailed, match=words):
        broken.run(progress=False)
    assert all(torch.isfinite(weight).all() for weight in broken.model.parameters())


def test_a_gradient_that_is_no_number_names_site_and_window(sites, monkeypatch):
    broken = trainer(sites)
    inner = broken.model.forward

    class Root(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, cotangent):
            return cotangent * torch.nan

    def forward(batch):
        series = inner(batch)
        wrong = (batch.site == 2)[:, None]
        flow = series["discharge"]
        series["discharge"] = torch.where(wrong, Root.apply(flow), flow) if wrong.any() else flow
        return series

    monkeypatch.setattr(broken.model, "forward", forward)
    with pytest.raises(
        TrainingFailed, match=r"the gradient of step \d+ is not a number: site b0002, "
    ):
        broken.run(progress=False)


def test_failed_columns_are_left_out_and_counted_and_too_many_stop_the_training(sites):
    def whole(sites):
        return Windows(sites, warm_up=10, dtype=torch.float64)

    hybrid = Runoff()
    hybrid.failing = ["b0001"]
    done = trainer(sites, hybrid=hybrid, make=whole, steps_per_epoch=None, max_failed=0.1)
    history = done.run(progress=False)
    assert column(history, "failed") == [1, 1]
    assert done.failures[1].startswith("epoch 2, site b0001, 1999-10-01 to ") and done.failures[
        1
    ].endswith("too steep")
    without = trainer(
        sites.drop_sel(site="b0001"),
        make=whole,
        steps_per_epoch=None,
        hybrid=Runoff().prepare(whole(sites)),
    )
    assert column(without.run(progress=False)) == pytest.approx(column(history))
    hybrid.failing = ["b0001", "b0002"]
    with pytest.raises(
        SolveFailed, match="2 of 10 columns failed in step 1.*max_failed = 0.1.*b0002.*too steep"
    ):
        trainer(sites, hybrid=hybrid, make=whole, steps_per_epoch=None).run(progress=False)


def test_early_stopping_keeps_the_best_weights(sites, tmp_path):
    scores, seen = iter([0.1, 0.4, 0.3, 0.2, 0.9]), []

    def judge(hybrid):
        assert not hybrid.training and not torch.is_grad_enabled()
        seen.append(hybrid.net[0].bias.clone())
        return next(scores)

    stopped = trainer(sites, tmp_path, epochs=9, patience=2, validation=judge)
    history = stopped.run(progress=False)
    assert (
        column(history, "validation") == [0.1, 0.4, 0.3, 0.2]
        and "best in epoch 2" in stopped.stopped
    )
    assert torch.equal(stopped.model.net[0].bias, seen[1]) and not torch.equal(seen[3], seen[1])
    saved = load_checkpoint(tmp_path / CHECKPOINT)
    assert torch.equal(chosen_weights(saved)["net.0.bias"], seen[1])
    resumed = trainer(sites, tmp_path, epochs=9, patience=2, validation=judge)
    assert len(resumed.run(resume=True, progress=False)) == 4  # stopped stays stopped
    assert same_weights(resumed.model, stopped.model)


def test_validation_by_windows_is_the_median_nse_of_the_period(sites):
    late = Windows(sites, start="2000-07-01", warm_up=30, batch=4, dtype=torch.float64)
    done = trainer(sites, validation=late)
    history = done.run(progress=False)
    whole = next(
        iter(
            late.reading(("precipitation",), ("discharge",), Runoff.needs).periods(
                10, "2000-07-01", None, 30
            )
        )
    )
    with torch.no_grad():
        simulated = done.model(whole)["discharge"][:, 30:].numpy()
    observed = whole.observed["discharge"][:, 30:].numpy()
    error, spread = (
        np.nansum((simulated - observed) ** 2, 1),
        np.nanvar(observed, 1) * np.isfinite(observed).sum(1),
    )
    assert max(column(history, "validation")) == pytest.approx(float(np.median(1 - error / spread)))
    dry = sites.assign(discharge=sites.discharge.where(sites.time < np.datetime64("2000-07-01")))
    late = Windows(
        dry.assign(discharge=dry.discharge.fillna(0.0)),
        start="2000-07-01",
        warm_up=30,
        dtype=torch.float64,
    )
    with pytest.raises(DataError, match="validation score is not a number"):
        trainer(sites, validation=late).run(progress=False)


def test_a_validation_that_fails_leaves_a_checkpoint_of_all_steps(sites, tmp_path):
    def fails(hybrid):
        raise DataError("site b0001 has no precipitation on 2001-01-02.")

    straight = trainer(sites, validation=lambda _: 0.5)
    expected = straight.run(progress=False)
    with pytest.raises(DataError, match="b0001"):
        trainer(sites, tmp_path, validation=fails).run(progress=False)
    assert load_checkpoint(tmp_path / CHECKPOINT)["progress"]["step"] == 3
    resumed = trainer(sites, tmp_path, validation=lambda _: 0.5)
    assert column(resumed.run(resume=True, progress=False)) == column(expected)
    assert same_weights(resumed.model, straight.model)


def test_tensorboard_has_each_step_once_after_a_kill_and_a_resume(sites, tmp_path, monkeypatch):
    pytest.importorskip(
        "tensorboard", reason="tensorboard is not installed: pip install 'pydiffgeo[train]'"
    )
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    given = {"epochs": 3, "steps_per_epoch": 2, "checkpoint_every": 3}
    killed = trainer(sites, tmp_path, **given)
    step = killed._step

    class Killed(BaseException):
        pass

    def dies(noted):
        if killed.step == 5:  # checkpoints are of steps 2, 3 and 4
            raise Killed
        return step(noted)

    monkeypatch.setattr(killed, "_step", dies)
    with pytest.raises(Killed):
        killed.run(progress=False)
    trainer(sites, tmp_path, **given).run(resume=True, progress=False)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("step/loss")] == [1, 2, 3, 4, 5, 6]
    assert [e.step for e in events.Scalars("epoch/loss")] == [2, 4, 6]


def test_the_folder_holds_what_it_was_given(sites, tmp_path):
    trainer(sites, tmp_path, files={"data_report.csv": "site\n"}).run(progress=False)
    assert {p.name for p in tmp_path.iterdir()} >= {
        "settings.yaml",
        "provenance.json",
        "checkpoints",
        "history.csv",
        "data_report.csv",
    }
    assert len(pd.read_csv(tmp_path / "history.csv")) == 2


def test_the_bar_shows_epoch_loss_validation_and_speed(sites, capsys):
    trainer(sites, validation=lambda _: 0.25).run()
    shown = capsys.readouterr().err
    assert "epoch 2/2, loss" in shown and "validation 0.25" in shown and "site-steps/s" in shown


def test_the_steps_are_those_of_a_plain_loop():
    sites = hybrid_cases.basins(6, 80)
    drawn = Windows(sites, length=20, warm_up=20, batch=4, seed=3, dtype=torch.float64)
    hybrids = [
        hybrid_cases.basin_hybrid(MLP(hidden=(8,), dropout=0.2), dtype=torch.float64)
        for _ in range(2)
    ]
    loss = losses.NSE("discharge")
    done = Trainer(hybrids[0], drawn, loss, epochs=2, steps_per_epoch=3, learning_rate=0.05)
    history = done.run(progress=False)
    plain = hybrids[1].prepare(drawn)
    optimiser, values = torch.optim.AdamW(plain.parameters(), 0.05, weight_decay=0.0), []
    for step in range(6):
        torch.manual_seed(step)
        optimiser.param_groups[0]["lr"] = 0.05 * (
            0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / 6))
        )
        batch = drawn.batch(step)
        value = loss(plain(batch), batch.observed, batch)
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimiser.step()
        values.append(float(value.detach()))
    assert column(history) == [sum(values[:3]) / 3, sum(values[3:]) / 3]
    assert same_weights(hybrids[0], plain)


def test_soil_columns_train_as_twins_and_resume(tmp_path):
    sites = hybrid_cases.stations(3, 24)

    def made(folder=None) -> Trainer:
        plan = twins(sites, (0,), 8, 4, lambda s: Windows(s, warm_up=4, dtype=torch.float64))
        hybrid = hybrid_cases.column_hybrid()
        loss = losses.Profile("soil_moisture")
        return Trainer(
            hybrid,
            plan[0].windows,
            loss,
            folder,
            epochs=3,
            learning_rate=0.05,
            members=plan,
            settings={"a": 1},
        )

    straight, cut, resumed = made(), made(tmp_path), made(tmp_path)
    history = straight.run(progress=False)
    assert history[-1]["loss"] < history[0]["loss"] and all(
        row["validation"] < 0.5 for row in history
    )
    cut.epochs = 2
    cut.run(progress=False)
    assert column(resumed.run(resume=True, progress=False)) == column(history)
    assert same_weights(resumed.model, straight.model) and len(resumed.model.members) == 1


def test_a_hybrid_without_weights_chooses_and_is_kept(tmp_path):
    sites = hybrid_cases.stations(3, 24)
    whole = Windows(sites, warm_up=4, dtype=torch.float64)
    hybrid = hybrid_cases.column_hybrid(SoilClass("loam", best=True, candidates=["sand", "clay"]))
    done = Trainer(hybrid, whole, losses.Profile("soil_moisture"), tmp_path, settings={"a": 1})
    assert done.run(progress=False) == [] and "no weights" in done.stopped
    assert set(hybrid.network.chosen) == {"b0", "b1", "b2"}
    fresh = hybrid_cases.column_hybrid(SoilClass("loam", best=True, candidates=["sand", "clay"]))
    fresh.load_state_dict(chosen_weights(load_checkpoint(tmp_path / CHECKPOINT)))
    assert fresh.network.chosen == hybrid.network.chosen
