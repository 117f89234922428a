"""The folder of a run: nothing in it is lost, mixed, or taken for what it is not."""

from __future__ import annotations

import errno
import json
import shutil
from html import escape
from pathlib import Path
from typing import Any

import basin_runs
import pandas as pd
import pytest
import torch
import xarray as xr
import yaml

from pydiffgeo.errors import DataError, DataWarning, OutputError, SettingsError
from pydiffgeo.files import require_room
from pydiffgeo.training.basins.experiment import evaluate, load_run, train, train_run
from pydiffgeo.training.basins.report import compare_runs
from pydiffgeo.training.basins.trainer import CHECKPOINT
from pydiffgeo.training.checkpoint import (
    chosen_weights,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    weights_hash,
)
from pydiffgeo.training.run_folder import JUDGED, check_judged, check_run, judging, run_folder

SETTINGS = {"model": {"hidden": 8}, "evaluation": {"warm_up": 3}}


@pytest.fixture(scope="module")
def basins(tmp_path_factory) -> Path:
    return basin_runs.write_data(tmp_path_factory.mktemp("data"), 5)


def tiny(basins: Path, **changes: Any):
    training = {"epochs": 2, "steps_per_epoch": 2, "window": 40, "warm_up": 10} | changes.pop(
        "training", {}
    )
    return basin_runs.experiment(basins, training=training, **changes)


@pytest.fixture(scope="module")
def trained(basins, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    train(tiny(basins), out, progress=False)
    evaluate([out / "run"], progress=False, figures=False)
    return out


@pytest.fixture
def done(trained, tmp_path) -> Path:
    """The folder of a run that was trained and judged."""
    return shutil.copytree(trained, tmp_path / "out") / "run"


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_run_is_overwritten_only_when_asked_and_its_evaluation_goes_with_it(basins, done):
    (done / "notes.txt").write_text("mine")
    (done.parent / "comparison_test.csv").write_text("of this run and others")
    before = content(done)
    with pytest.raises(
        OutputError,
        match=r"holds a run already, last written on 20.*--resume.*--overwrite.*--output\.",
    ):
        train(tiny(basins), done.parent, progress=False)
    with pytest.raises(SettingsError, match="Give one of them"):
        train(tiny(basins), done.parent, resume=True, progress=False, overwrite=True)
    with pytest.raises(
        DataError, match="absent.nc"
    ):  # what is wrong with the data is said before anything is removed
        train(tiny(basins, data={"path": "absent.nc"}), done.parent, progress=False, overwrite=True)
    assert content(done) == before
    train(tiny(basins, training={"seed": 1}), done.parent, progress=False, overwrite=True)
    assert (
        not (done / "evaluation_test").exists()
        and not (done.parent / "comparison_test.csv").exists()
    )
    assert (done / "notes.txt").read_text() == "mine"
    assert load_checkpoint(done / CHECKPOINT)["sampler"]["seed"] == 1


def test_all_runs_are_checked_before_the_first_is_trained(basins, done):
    one = tiny(basins)
    both = one.model_copy(update={"runs": {"new": one.runs["run"], "run": one.runs["run"]}})
    with pytest.raises(OutputError, match="run holds a run already"):
        train(both, done.parent, progress=False)
    assert not (done.parent / "new" / "settings.yaml").exists()
    train(both, done.parent, resume=True, progress=False)  # trains the new one and leaves the other
    assert load_checkpoint(done.parent / "new" / CHECKPOINT) is not None


def test_a_run_that_went_on_says_that_its_evaluation_is_of_before(basins, tmp_path, caplog):
    from test_basin_training import trainer

    run = tiny(basins, training={"epochs": 3})
    cut = trainer(run.run("run"), tmp_path / "run")
    cut.t = cut.t.model_copy(update={"epochs": 2})
    cut.run(progress=False)
    with run_folder(tmp_path / "run", run.run("run").model_dump(mode="json"), resume=True):
        pass
    evaluate([tmp_path / "run"], progress=False, figures=False)
    said = f"{tmp_path}/run is not trained to its end: 2 of 3 epochs are done."
    assert (
        said in caplog.text
        and said in (tmp_path / "run" / "evaluation_test" / "report.html").read_text()
    )
    train(run, tmp_path, resume=True, progress=False)
    assert [r.message for r in caplog.records if "judged" in r.message] == [
        f"{tmp_path}/run/evaluation_test judged other weights than the run has now: judge it again with `pydiffgeo evaluate`."
    ]


def test_settings_and_records_changed_since_the_training_are_said(
    basins, done, tmp_path, caplog, capsys
):
    shutil.copytree(done, done.parent / "as_it_was")
    settings = yaml.safe_load((done / "settings.yaml").read_text())
    end, path = settings["data"]["test"]["end"], tmp_path / "other.nc"
    xr.load_dataset(basins).assign(discharge=lambda r: 2 * r.discharge).to_netcdf(path)
    settings["data"] |= {
        "path": str(path),
        "test": settings["data"]["test"] | {"end": "2001-06-01"},
    }
    settings["evaluation"]["batch_size"] = 2  # changes no number
    (done / "settings.yaml").write_text(yaml.safe_dump(settings))
    with pytest.warns(DataWarning, match="same days"):
        evaluate([done, done.parent / "as_it_was"], figures=False)
    changed, records = (r.message for r in caplog.records if r.levelname == "WARNING")
    assert changed == (
        f"{done}/settings.yaml was changed since the training: data.path is {str(path)!r}, the run was trained with "
        f"{str(basins)!r}; data.test.end is '2001-06-01', the run was trained with {end!r}. What stands there now is taken."
    )
    assert (
        records.startswith(f"The records are not those that {done} was trained on: ")
        and "target_mean" in records
    )
    comparison = done.parent / "comparison_test.html"
    for page in (done / "evaluation_test" / "report.html", comparison):
        assert all(escape(text) in page.read_text() for text in (changed, records))
    assert f"Comparison: {comparison}" in capsys.readouterr().out.replace("\n", "")


def test_an_evaluation_says_which_weights_it_judged(done):
    out = done / "evaluation_test"
    digest = weights_hash(load_run(done)[2].state_dict())
    assert digest in (out / "report.html").read_text()
    assert json.loads((out / JUDGED).read_text()) == {"weights": digest}
    saved = load_checkpoint(done / CHECKPOINT)
    assert digest == weights_hash(chosen_weights(saved))
    check_judged(out, digest)
    saved["model"]["network.head.bias"] += 1e-6
    save_checkpoint(done / CHECKPOINT, saved)
    with pytest.raises(
        DataError,
        match=rf"judged other weights \({digest[:8]}\) than the run has .*evaluate .*run`\.",
    ):
        compare_runs([done], "test", progress=False, figures=False)
    with pytest.raises(KeyboardInterrupt), judging(out, weights_hash(saved["model"])):
        raise KeyboardInterrupt
    assert [
        p.name for p in out.iterdir()
    ] == []  # that of other weights is gone, and the new one was not finished
    with pytest.raises(DataError, match="is not whole"):
        compare_runs([done], "test", progress=False, figures=False)


@pytest.mark.parametrize("damage", ["missing", "empty", "torn"])
def test_resume_without_settings_keeps_the_checkpoints(basins, done, damage):
    weights = (done / CHECKPOINT).read_bytes()
    path = done / "settings.yaml"
    path.unlink() if damage == "missing" else path.write_text(
        "" if damage == "empty" else "data: {path"
    )
    with pytest.raises(
        SettingsError, match="'training.learning_rate' is 0.5, the run in the folder has 0.02"
    ):
        train(
            tiny(basins, training={"learning_rate": 0.5}), done.parent, resume=True, progress=False
        )
    train(
        tiny(basins), done.parent, resume=True, progress=False
    )  # the checkpoint knows its settings
    assert (done / CHECKPOINT).read_bytes() == weights and yaml.safe_load(path.read_text())[
        "training"
    ]["epochs"] == 2


def test_checkpoints_of_unknown_settings_are_neither_resumed_nor_removed(tmp_path):
    save_checkpoint(tmp_path / CHECKPOINT, {"model": {}})
    for given in (None, ""):
        if given is not None:
            (tmp_path / "settings.yaml").write_text(given)
        with pytest.raises(
            SettingsError,
            match=r"settings.yaml is (missing|damaged).*Nothing was changed.*--overwrite\.",
        ):
            check_run(tmp_path, SETTINGS, resume=True)
        assert (tmp_path / CHECKPOINT).is_file()
    with run_folder(tmp_path, SETTINGS, overwrite=True):
        assert not (tmp_path / CHECKPOINT).exists()


def test_an_empty_settings_file_alone_is_no_run(tmp_path):
    (tmp_path / "settings.yaml").write_text("")
    for resume in (False, True):
        with run_folder(tmp_path, SETTINGS, resume):
            pass
        assert yaml.safe_load((tmp_path / "settings.yaml").read_text()) == SETTINGS


def test_results_without_a_checkpoint_are_not_resumed_over(tmp_path):
    (tmp_path / "evaluation_test").mkdir()
    with pytest.raises(
        OutputError, match="no checkpoint to go on from, but results such as evaluation_test"
    ):
        check_run(tmp_path, SETTINGS, resume=True)


def test_what_killed_processes_left_is_removed_and_links_stay_links(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".last.pt.1-0.part").write_text("half")
    (tmp_path / "real.yaml").write_text("{}")
    (tmp_path / "settings.yaml").symlink_to("real.yaml")
    with run_folder(tmp_path, SETTINGS):
        assert list((tmp_path / "checkpoints").iterdir()) == []
    assert (tmp_path / "settings.yaml").is_symlink() and yaml.safe_load(
        (tmp_path / "real.yaml").read_text()
    ) == SETTINGS


def test_a_folder_that_cannot_be_written_is_said_before_training(
    basins, tmp_path, full_disk, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(
        "pydiffgeo.training.basins.experiment.load_basins",
        lambda *_: pytest.fail("it reads the data first"),
    )
    with pytest.raises(OutputError, match="Choose a folder whose parents are all folders"):
        train(tiny(basins), tmp_path / "file" / "out", progress=False)
    with full_disk(), pytest.raises(OutputError, match="Make room"):
        train(tiny(basins), tmp_path / "out", progress=False)
    with pytest.raises(OutputError):
        require_room(tmp_path / "file")


def test_a_disk_that_fills_up_in_a_training_loses_nothing(basins, tmp_path, full_disk):
    run = tiny(basins, training={"epochs": 3}).run("run")
    straight = train_run(run, tmp_path / "a", progress=False)
    with pytest.MonkeyPatch.context() as patch:
        from pydiffgeo.training.basins import trainer

        inner, saves = trainer.save_checkpoint, []

        def filling(path: Path, state: dict[str, Any]) -> None:
            saves.append(path)
            if len(saves) == 3:
                with full_disk():
                    inner(path, state)
            inner(path, state)

        patch.setattr(trainer, "save_checkpoint", filling)
        with pytest.raises(OutputError, match=r"checkpoint before it is intact.*--resume\."):
            train_run(run, tmp_path / "b", progress=False)
    resumed = train_run(run, tmp_path / "b", resume=True, progress=False)
    assert weights_hash(resumed.model.state_dict()) == weights_hash(straight.model.state_dict())
    a, b = (pd.read_csv(tmp_path / name / "history.csv")["loss"] for name in "ab")
    assert a.equals(b)


def test_a_validation_that_fails_leaves_a_checkpoint_of_all_steps(basins, tmp_path):
    from test_basin_training import same_weights, trainer

    run = tiny(basins).run("run")
    straight, cut, resumed = (trainer(run, tmp_path / name) for name in ("a", "b", "b"))
    for each in (straight, resumed):
        each.validate = lambda: 0.5
    expected = straight.run(progress=False)

    def fails() -> float:
        raise DataError("basin b0001 has no precipitation on 2001-01-02.")

    cut.validate = fails
    with pytest.raises(DataError, match="b0001"):
        cut.run(progress=False)
    assert load_checkpoint(tmp_path / "b" / CHECKPOINT)["sampler"]["step"] == 2
    history = resumed.run(resume=True, progress=False)
    assert [row["loss"] for row in history] == [row["loss"] for row in expected] and same_weights(
        resumed.model, straight.model
    )


def test_a_checkpoint_of_another_model_or_training_is_one_line(basins, done):
    other = tiny(basins, model={"lstm": {"hidden": 4, "dropout": 0.2}})
    train(other, done.parents[1] / "other", progress=False)
    before = content(done)
    (done / CHECKPOINT).write_bytes((done.parents[1] / "other" / "run" / CHECKPOINT).read_bytes())
    for call in (
        lambda: train(tiny(basins), done.parent, resume=True, progress=False),
        lambda: load_run(done),
    ):
        with pytest.raises(
            SettingsError,
            match=r"last.pt is of another model: it has '.*' of shape .*--overwrite\.",
        ) as caught:
            call()
        assert "\n" not in str(caught.value)
    save_checkpoint(done / CHECKPOINT, {"epoch": 3, "weights": []})
    with pytest.raises(DataError, match="of another kind of training: it has no 'model'"):
        train(tiny(basins), done.parent, resume=True, progress=False)
    (done / CHECKPOINT).write_bytes(before["checkpoints/last.pt"][:500])
    with pytest.raises(DataError, match=r"cannot be read \(.*\)\. Put a copy of it back") as torn:
        train(tiny(basins), done.parent, resume=True, progress=False)
    assert "\n" not in str(torn.value)
    after = content(done)
    assert {name for name in before if before[name] != after[name]} == {"checkpoints/last.pt"}


def test_load_weights_changes_nothing_where_one_differs():
    module = torch.nn.Linear(2, 1)
    before = module.weight.detach().clone()
    with pytest.raises(
        SettingsError,
        match=r"it has no 'bias', the model of the settings has 'bias' of shape \[1\], and",
    ):
        load_weights(module, {"weight": torch.zeros(1, 2)}, Path("last.pt"))
    assert torch.equal(module.weight, before)


def test_tensorboard_has_each_step_once_after_a_kill_and_a_resume(basins, tmp_path):
    pytest.importorskip(
        "tensorboard", reason="tensorboard is not installed: pip install 'pydiffgeo[train]'"
    )
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from test_basin_training import trainer

    run = tiny(basins, training={"epochs": 3, "checkpoint_every": 3}).run("run")
    killed = trainer(run, tmp_path)
    step = killed._step

    class Killed(BaseException):
        pass

    def dies(noted: Any) -> bool:
        if killed.step == 5:  # checkpoints are of steps 2, 3 and 4
            raise Killed
        return step(noted)

    killed._step = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        killed.run(progress=False)
    trainer(run, tmp_path).run(resume=True, progress=False)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("step/loss")] == [1, 2, 3, 4, 5, 6]
    assert [e.step for e in events.Scalars("epoch/loss")] == [2, 4, 6]


def test_a_disk_that_is_full_for_tensorboard_does_not_end_the_training(
    basins, tmp_path, monkeypatch, caplog, capfd
):
    writers = pytest.importorskip(
        "tensorboard.summary.writer.record_writer", reason="tensorboard is not installed"
    )
    from test_basin_training import trainer

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writers.RecordWriter, "flush", full)
    history = trainer(tiny(basins).run("run"), tmp_path).run(progress=False)
    assert len(history) == 2 and len(pd.read_csv(tmp_path / "history.csv")) == 2
    assert [r.message for r in caplog.records] == [
        "no more TensorBoard files (No space left on device): the training goes on without them."
    ]
    assert "Traceback" not in capfd.readouterr().err
