"""The trainer: it learns, resumes to the last bit, survives what goes wrong, and is the same over
two processes.
"""

from __future__ import annotations

import math
import signal
import time

import hybrid_cases
import pandas as pd
import pytest
import torch
import yaml
from training_cases import Runoff, another_process, column, long_run, same_weights, trainer, windows

from pydiffgeo import losses
from pydiffgeo.data import Windows
from pydiffgeo.errors import DataError, OutputError, SettingsError
from pydiffgeo.networks import MLP, SoilClass
from pydiffgeo.training.checkpoint import (
    CHECKPOINT,
    chosen_weights,
    load_checkpoint,
    save_checkpoint,
)
from pydiffgeo.training.ensemble import twins
from pydiffgeo.training.trainer import Trainer


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


SCRIPT = """
import sys, torch
from training_cases import long_run
torch.set_num_threads(1)
long_run(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])).run(progress=False)
"""


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path):
    checkpoint = tmp_path / CHECKPOINT
    running = another_process(SCRIPT, tmp_path, 20, 0.2)
    while not checkpoint.exists() and running.poll() is None:
        time.sleep(0.01)
    running.kill()
    assert running.wait() == -signal.SIGKILL, running.stdout.read()
    assert 0 < load_checkpoint(checkpoint)["progress"]["step"] < 80
    straight, resumed = long_run(None, 20, 0.2), long_run(tmp_path, 20, 0.2)
    straight.run(progress=False)
    resumed.run(resume=True, progress=False)
    assert same_weights(resumed.model, straight.model) and resumed.step == 80


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
            trainer(sites, tmp_path, hybrid=Runoff(hidden=4)),
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
    time.sleep(1.1)  # TensorBoard orders its files by the second in their names
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


def test_the_seeds_alone_say_what_is_learned():
    drawn = Windows(hybrid_cases.basins(3, 60), length=10, warm_up=10, batch=2, seed=3)

    def trained(seed: int, dropout_seed: int) -> torch.nn.Module:
        torch.rand(seed + 5)  # whatever was drawn before
        network = MLP(hidden=(4,), dropout=0.5, seed=seed)
        given = {"epochs": 1, "steps_per_epoch": 3, "seed": dropout_seed}
        hybrid = hybrid_cases.basin_hybrid(network)
        Trainer(hybrid, drawn, losses.NSE("discharge"), **given).run(progress=False)
        return hybrid

    first, again, *others = (trained(*seeds) for seeds in ((1, 2), (1, 2), (4, 2), (1, 4)))
    assert same_weights(first, again)
    assert not any(same_weights(first, other) for other in others)


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


def test_a_run_without_settings_describes_itself_and_is_resumed_only_as_it_was(tmp_path):
    drawn = Windows(hybrid_cases.basins(3, 60), length=10, warm_up=10, batch=2)

    def made(rate: float, hidden: int = 4) -> Trainer:
        hybrid = hybrid_cases.basin_hybrid(MLP(hidden=(hidden,)), copies=1)
        given = {"epochs": 1, "steps_per_epoch": 1, "learning_rate": rate}
        return Trainer(hybrid, drawn, losses.NSE("discharge"), tmp_path, **given)

    made(0.01).run(progress=False)
    kept = yaml.safe_load((tmp_path / "settings.yaml").read_text())
    assert kept["training"] == {"epochs": 1, "steps_per_epoch": 1, "learning_rate": 0.01}
    assert kept["hybrid"]["network"] == {"kind": "mlp", "hidden": [4]}
    made(0.01).run(resume=True, progress=False)
    for other, words in (
        (made(0.02), "'training.learning_rate' is 0.02, the run in the folder has 0.01"),
        (
            made(0.01, hidden=5),
            r"'hybrid.network.hidden' is \[5\], the run in the folder has \[4\]",
        ),
    ):
        with pytest.raises(SettingsError, match=words):
            other.run(resume=True, progress=False)
