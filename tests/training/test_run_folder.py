"""The folder of a run: nothing in it is lost, mixed, or taken for what it is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import training_cases
import yaml
from training_cases import Runoff

from pydiffgeo import losses
from pydiffgeo.data import Windows
from pydiffgeo.errors import DataError, OutputError, SettingsError
from pydiffgeo.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint, weights_hash
from pydiffgeo.training.run_folder import (
    JUDGED,
    check_judged,
    check_run,
    judging,
    run_folder,
    stale_evaluations,
)
from pydiffgeo.training.trainer import Trainer

SETTINGS = {"model": {"hidden": 8}, "evaluation": {"warm_up": 3}}


def train(folder: Path, rate: float = 0.01, **options: bool) -> Trainer:
    windows = Windows(training_cases.sites(4, 60), length=20, batch=2, dtype=torch.float64)
    given = {"epochs": 2, "steps_per_epoch": 2, "learning_rate": rate}
    settings = {"training": {"learning_rate": rate}, "evaluation": {"warm_up": 3}}
    trainer = Trainer(
        Runoff(), windows, losses.NSE(), folder, **given, settings=settings, free={"evaluation"}
    )
    trainer.run(progress=False, **options)
    return trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    digest = weights_hash(train(out).model.state_dict())
    with judging(out / "evaluation_test", digest):
        (out / "evaluation_test" / "scores.csv").write_text("nse")
    return out


@pytest.fixture
def done(trained, tmp_path) -> Path:
    """The folder of a run that was trained and judged."""
    return shutil.copytree(trained, tmp_path / "run")


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_run_is_overwritten_only_when_asked_and_its_evaluation_goes_with_it(done):
    (done / "notes.txt").write_text("mine")
    before = content(done)
    with pytest.raises(
        OutputError,
        match=r"holds a run already, last written on 20.*--resume.*--overwrite.*--output\.",
    ):
        train(done)
    with pytest.raises(SettingsError, match="Give one of them"):
        train(done, resume=True, overwrite=True)
    assert content(done) == before
    train(done, 0.02, overwrite=True)
    assert not (done / "evaluation_test").exists() and (done / "notes.txt").read_text() == "mine"
    assert load_checkpoint(done / CHECKPOINT)["settings"]["training"] == {"learning_rate": 0.02}


def test_an_evaluation_says_which_weights_it_judged(done):
    out, saved = done / "evaluation_test", load_checkpoint(done / CHECKPOINT)
    digest = weights_hash(saved["model"])
    assert json.loads((out / JUDGED).read_text()) == {"weights": digest}
    check_judged(out, digest)
    assert stale_evaluations(done, digest) == []
    saved["model"]["net.0.bias"] += 1e-6
    other = weights_hash(saved["model"])
    assert stale_evaluations(done, other) == [out]
    with pytest.raises(
        DataError,
        match=rf"judged other weights \({digest[:8]}\) than the run has \({other[:8]}\)"
        r".*evaluate .*run`\.",
    ):
        check_judged(out, other)
    with pytest.raises(KeyboardInterrupt), judging(out, other):
        raise KeyboardInterrupt
    assert [
        p.name for p in out.iterdir()
    ] == []  # that of other weights is gone, and the new one was not finished
    with pytest.raises(DataError, match="is not whole"):
        check_judged(out, other)


@pytest.mark.parametrize("damage", ["missing", "empty", "torn"])
def test_resume_without_settings_keeps_the_checkpoints(done, damage):
    weights = (done / CHECKPOINT).read_bytes()
    path = done / "settings.yaml"
    path.unlink() if damage == "missing" else path.write_text(
        "" if damage == "empty" else "data: {path"
    )
    with pytest.raises(
        SettingsError, match="'training.learning_rate' is 0.5, the run in the folder has 0.01"
    ):
        train(done, 0.5, resume=True)
    train(done, resume=True)  # the checkpoint knows its settings
    assert (done / CHECKPOINT).read_bytes() == weights
    assert yaml.safe_load(path.read_text())["training"] == {"learning_rate": 0.01}


def test_settings_that_are_free_may_change(tmp_path):
    with run_folder(tmp_path, SETTINGS):
        pass
    changed = {**SETTINGS, "evaluation": {"warm_up": 9}}
    check_run(tmp_path, changed, resume=True, free={"evaluation"})
    check_run(tmp_path, changed, resume=True, free={"evaluation.warm_up"})
    with pytest.raises(
        SettingsError, match="'evaluation.warm_up' is 9, the run in the folder has 3"
    ):
        check_run(tmp_path, changed, resume=True)


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


def test_a_folder_that_cannot_be_written_is_said_before_training(tmp_path, full_disk):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Choose a folder whose parents are all folders"):
        train(tmp_path / "file" / "out")
    with full_disk(), pytest.raises(OutputError, match="Make room"):
        train(tmp_path / "out")
