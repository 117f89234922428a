"""Training on basins: it learns, resumes to the last bit, survives what goes wrong, and is the same over two processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import basin_runs
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from pydiffgeo.errors import DataError, OutputError, SettingsError, TrainingFailed
from pydiffgeo.models import MODELS
from pydiffgeo.training import interrupt
from pydiffgeo.training.basins import models
from pydiffgeo.training.basins.data import load_basins, make_sampler
from pydiffgeo.training.basins.experiment import evaluate, load_run, train_run
from pydiffgeo.training.basins.models import build_model, process_of
from pydiffgeo.training.basins.prediction import predict
from pydiffgeo.training.basins.settings import BasinRun
from pydiffgeo.training.basins.trainer import CHECKPOINT, BasinTrainer
from pydiffgeo.training.checkpoint import load_checkpoint, save_checkpoint
from pydiffgeo.training.distributed import process_group

ROOT = Path(__file__).parents[1]
SHORT = {"epochs": 2, "steps_per_epoch": 2, "batch_size": 4, "window": 16, "warm_up": 6}


@pytest.fixture(scope="module")
def basins(tmp_path_factory) -> Path:
    return basin_runs.write_data(tmp_path_factory.mktemp("data"))


def settings(basins: Path, name: str = "lstm", **changes) -> BasinRun:
    return basin_runs.experiment(basins, name, **changes).run("run")


def trainer(run: BasinRun, folder: Path | None = None) -> BasinTrainer:
    process = process_of(run)
    data = load_basins(run, () if process is None else tuple(process.forcing.values()))
    sampler, std = make_sampler(run, data.tensors)
    return BasinTrainer(
        build_model(run, data.tensors, data.scaling, process), sampler, std, run, folder=folder
    )


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(
        torch.equal(x, y)
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def losses(history) -> list[float]:
    return [row["loss"] for row in history]


def test_the_lstm_learns(basins):
    run = settings(basins, training={"epochs": 8, "steps_per_epoch": 10, "learning_rate": 0.02})
    history = trainer(run).run(progress=False)
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert [row["step"] for row in history] == [10 * k for k in range(1, 9)]
    assert all(row["basin_days_per_second"] > 0 for row in history)


@pytest.mark.parametrize(
    "network", [{"kind": "attributes"}, {"kind": "series", "past_discharge": 3}]
)
def test_a_hybrid_model_learns(basins, network, monkeypatch):
    monkeypatch.setattr(models, "build_process", lambda settings: basin_runs.FastReservoir())
    model = {"network": {"hidden": [8], **network}, "process": {"engine": "torch", "components": 2}}
    training = SHORT | {
        "epochs": 5,
        "batch_size": 12,
        "window": 24,
        "warm_up": 14,
        "learning_rate": 0.2,
    }
    hybrid = trainer(settings(basins, "reservoir", model=model, training=training))
    unseen = hybrid.sampler.batch(1000)
    before = float(hybrid._loss(unseen)[0].detach())
    hybrid.run(progress=False)
    assert float(hybrid._loss(unseen)[0].detach()) < 0.7 * before


@pytest.mark.parametrize(
    ("kind", "name"), [("series", "head"), ("mixed", "daily.head"), ("mixed", "static.layers.0")]
)
def test_gradients_reach_the_network_through_a_solved_process_with_daily_parameters(
    basins, tmp_path, monkeypatch, kind, name
):
    monkeypatch.setitem(MODELS, "reservoir", basin_runs.reservoir(tmp_path))
    network = {"kind": kind, "hidden": [8, 8], "varying": ["loss"], "dropout": 0.0}
    model = {"network": network, "process": {"engine": "torch", "components": 2}}
    hybrid = trainer(
        settings(basins, "reservoir", model=model, training=SHORT | {"dtype": "float64"})
    )
    batch, weight = (
        hybrid.sampler.batch(0),
        hybrid.model.get_parameter(f"learned.network.{name}.weight"),
    )
    loss = hybrid._loss(batch)[0]
    gradient = torch.autograd.grad(loss, weight)[0]
    step = 1e-3 * gradient / gradient.norm()
    with torch.no_grad():
        weight.add_(step)
        above = hybrid._loss(batch)[0]
        weight.sub_(2 * step)
        below = hybrid._loss(batch)[0]
    assert float((above - below) / 2e-3) == pytest.approx(float(gradient.norm()), rel=1e-4)


@pytest.fixture
def from_a_terminal():
    """Ctrl-C as a terminal gives it; a shell starts what runs in the background with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("from_a_terminal")
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_in_an_epoch_leaves_a_checkpoint_and_the_rest_is_the_same_to_the_last_bit(
    basins, tmp_path, monkeypatch, signal_number
):
    run = settings(basins)
    straight = trainer(run)
    expected = straight.run(progress=False)
    cut = trainer(run, tmp_path)
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
    assert load_checkpoint(tmp_path / CHECKPOINT)["sampler"]["step"] == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    torch.rand(7)  # dropout does not depend on what was drawn before
    resumed = trainer(run, tmp_path)
    assert losses(resumed.run(resume=True, progress=False)) == losses(expected)
    assert same_weights(resumed.model, straight.model)
    again = trainer(run, tmp_path)  # a finished run is left as it is
    assert losses(again.run(resume=True, progress=False)) == losses(expected) and again.step == 6


@pytest.mark.usefixtures("from_a_terminal")
def test_a_second_interrupt_does_not_wait_for_the_step(monkeypatch):
    monkeypatch.setattr(interrupt, "SAME", 0.0)
    with pytest.raises(KeyboardInterrupt), interrupt.interrupt_between_steps() as noted:
        os.kill(os.getpid(), signal.SIGINT)
        assert noted.asked
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def command(*arguments: str, processes: int = 1, **options) -> subprocess.Popen:
    several = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        if processes > 1
        else []
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *several, "-m", "pydiffgeo.cli", *arguments], env=environment, cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, **options,
    )  # fmt: skip


def write_config(path: Path, experiment) -> str:
    content = {"experiment": "basins", **experiment.model_dump(mode="json")}
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_a_killed_run_goes_on_to_the_same_weights(basins, tmp_path):
    experiment = basin_runs.experiment(basins, training={"epochs": 150, "steps_per_epoch": 1})
    config = write_config(tmp_path / "c.yaml", experiment)
    running = command("train", config, "--output", str(tmp_path / "killed"), "--quiet")
    checkpoint = tmp_path / "killed" / "run" / CHECKPOINT
    for _ in range(600):
        if checkpoint.exists() or running.poll() is not None:
            break
        time.sleep(0.05)
    running.kill()
    assert running.wait() == -signal.SIGKILL, running.stdout.read()
    done = load_checkpoint(checkpoint)["sampler"]["step"]
    assert 0 < done < 150
    short = basin_runs.experiment(basins, training={"epochs": 150, "steps_per_epoch": 1}).run("run")
    straight = trainer(short)
    straight.run(progress=False)
    resumed = train_run(short, tmp_path / "killed" / "run", resume=True, progress=False)
    assert same_weights(resumed.model, straight.model) and resumed.step == 150


def test_two_processes_give_the_losses_of_one(basins, tmp_path):
    loss = [{"loss": "nse"}, {"loss": "kge", "weight": 0.3}, {"loss": "rmse", "weight": 0.2}]
    experiment = basin_runs.experiment(
        basins, loss=loss, model={"lstm": {"hidden": 8, "dropout": 0.0}},
        training={"dtype": "float64", "epochs": 3, "steps_per_epoch": 4},
        data={"validation": {"start": "2001-01-01", "end": "2001-03-31"}, "test": {"start": "2001-04-01", "end": "2001-06-30"}},
    )  # fmt: skip
    config = write_config(tmp_path / "c.yaml", experiment)
    running = command("train", config, "--output", str(tmp_path / "two"), processes=2)
    output, _ = running.communicate(timeout=120)
    assert running.returncode == 0, output
    assert "2 processes" in output
    one = train_run(experiment.run("run"), tmp_path / "one", progress=False).history
    two = pd.read_csv(tmp_path / "two" / "run" / "history.csv")
    for name in ("loss", "validation", "nse of discharge", "kge of discharge"):
        np.testing.assert_allclose(two[name], [row[name] for row in one], rtol=1e-6)
    saved = load_checkpoint(tmp_path / "two" / "run" / CHECKPOINT)
    for name, value in load_checkpoint(tmp_path / "one" / CHECKPOINT)["model"].items():
        torch.testing.assert_close(saved["model"][name], value, rtol=1e-6, atol=1e-9)


def test_a_batch_that_does_not_divide_over_the_processes_is_refused(basins):
    from pydiffgeo.training.distributed import Group

    run = settings(basins)
    data = load_basins(run)
    sampler, std = make_sampler(run, data.tensors)
    with pytest.raises(SettingsError, match="batch_size 4 does not divide over 3 processes"):
        BasinTrainer(
            build_model(run, data.tensors, data.scaling, None), sampler, std, run, Group(1, 3)
        )


def test_a_gpu_is_taken_only_when_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with process_group() as group:
        assert group.device == torch.device("cpu")
    with process_group("cuda") as group:
        assert group.device == torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with (
        pytest.raises(SettingsError, match="needs a GPU for each of the 1 processes.*torch sees 0"),
        process_group("cuda"),
    ):
        pass


def test_a_full_disk_leaves_the_old_checkpoint(basins, tmp_path, full_disk):
    save_checkpoint(tmp_path / CHECKPOINT, {"step": 1})
    before = (tmp_path / CHECKPOINT).read_bytes()
    with (
        full_disk(),
        pytest.raises(OutputError, match="No space left on device.*before it is intact.*--resume"),
    ):
        trainer(settings(basins), tmp_path).run(progress=False)
    assert (tmp_path / CHECKPOINT).read_bytes() == before and len(
        list((tmp_path / "checkpoints").iterdir())
    ) == 1


def test_a_checkpoint_that_is_cut_off_or_of_other_data_is_refused(basins, tmp_path):
    trainer(settings(basins), tmp_path).run(progress=False)
    with pytest.raises(SettingsError, match="seed is 5, the checkpoint has 0"):
        trainer(settings(basins, training={"seed": 5}), tmp_path).run(resume=True, progress=False)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="cannot be read"):
        trainer(settings(basins), tmp_path).run(resume=True, progress=False)


def test_a_loss_that_is_no_number_names_basin_and_window(basins, tmp_path):
    broken = trainer(settings(basins), tmp_path)
    series = broken.sampler.tensors
    series._all[3, :, 0] = torch.nan
    with pytest.raises(
        TrainingFailed,
        match=r"the loss of step \d+ is not a number: basin b0003, \d{4}-\d\d-\d\d to .*"
        r"warm-up 30 days\): not finite from .*--resume",
    ):
        broken.run(progress=False)
    assert not any(
        torch.isnan(weight).any() for weight in broken.model.parameters()
    )  # the weights were left as they were


def test_a_gradient_that_is_no_number_names_basin_and_window(basins, monkeypatch):
    broken = trainer(settings(basins))
    inner = broken.model.forward

    class Root(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, cotangent):
            return cotangent * torch.nan

    def forward(batch, gradient=0):
        out = inner(batch, gradient)
        wrong = (batch.basin == 2)[:, None, None]
        return torch.where(wrong, Root.apply(out), out) if wrong.any() else out

    monkeypatch.setattr(broken.model, "forward", forward)
    with pytest.raises(
        TrainingFailed, match=r"the gradient of step \d+ is not a number: basin b0002, "
    ):
        broken.run(progress=False)


def test_early_stopping_keeps_the_best_weights(basins, tmp_path):
    periods = {
        "validation": {"start": "2001-01-01", "end": "2001-03-31"},
        "test": {"start": "2001-04-01", "end": "2001-06-30"},
    }
    run = settings(basins, data=periods, training={"epochs": 9, "patience": 2})
    scores = iter([0.1, 0.4, 0.3, 0.2, 0.9])
    stopped = trainer(run, tmp_path)
    seen = []
    stopped.validate = lambda: (
        seen.append(stopped.model.state_dict()["network.head.bias"].clone()) or next(scores)
    )
    history = stopped.run(progress=False)
    assert [row["validation"] for row in history] == [
        0.1,
        0.4,
        0.3,
        0.2,
    ] and "best in epoch 2" in stopped.stopped
    assert torch.equal(stopped.model.state_dict()["network.head.bias"], seen[1])
    resumed = trainer(run, tmp_path)
    assert len(resumed.run(resume=True, progress=False)) == 4  # stopped stays stopped
    assert same_weights(resumed.model, stopped.model)


def test_a_run_folder_has_everything_and_gives_the_model_back(basins, tmp_path):
    run = settings(basins, data={"held_out": 3, "basins": 6})
    done = train_run(run, tmp_path / "run", progress=False)
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {
        "settings.yaml", "provenance.json", "scaling.json", "checkpoints", "history.csv",
    }  # fmt: skip
    kept, data, model = load_run(tmp_path / "run")
    assert kept == run and data.held_out is not None and same_weights(model, done.model)
    assert len(data.tensors.basins) == 6 and not set(data.tensors.basins) & set(
        data.held_out.basins
    )
    with pytest.raises(
        SettingsError, match="'training.learning_rate' is 0.5, the run in the folder has 0.02"
    ):
        train_run(
            settings(basins, data={"held_out": 3, "basins": 6}, training={"learning_rate": 0.5}),
            tmp_path / "run",
            True,
        )
    more = settings(basins, data={"held_out": 3, "basins": 6}, evaluation={"batch_size": 2})
    assert (
        train_run(more, tmp_path / "run", True, progress=False).step == 6
    )  # how it is judged may change
    with pytest.raises(DataError, match="no trained run in"):
        evaluate([tmp_path / "checkpoints"])


def test_simulations_do_not_depend_on_how_many_basins_go_together(basins):
    run = settings(basins)
    built = trainer(run)
    a, b = (
        predict(built.model, built.sampler.tensors, "2001-01-01", "2001-02-01", 60, size).series
        for size in (12, 5)
    )
    np.testing.assert_allclose(a.discharge_simulated, b.discharge_simulated, rtol=1e-5, atol=1e-6)
    assert a.sizes == {"basin": 12, "time": 32} and np.isfinite(a.discharge_observed).all()
    assert (a.discharge_simulated >= 0).all()
