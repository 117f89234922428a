"""Steps: what is not a number is named by site and window, and columns that fail are left out and
counted.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import river_files
import torch
from training_cases import Runoff, column, trainer

from pydiffgeo.data import Windows
from pydiffgeo.errors import SettingsError, SolveFailed, TrainingFailed
from pydiffgeo.losses import NSE
from pydiffgeo.training.checkpoint import CHECKPOINT, load_checkpoint
from pydiffgeo.training.steps import Steps


def test_a_loss_that_is_no_number_names_site_and_window(sites, tmp_path):
    broken = trainer(sites, tmp_path)
    broken.windows[0].tensors._all[3, 0] = torch.nan
    words = (
        r"loss of step \d+ is not a number: site b0003, \d{4}-\d\d-\d\d to .*warm-up 10 .*\): "
        r"not finite from .*--resume"
    )
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


def test_a_solver_that_raises_ends_the_training_with_its_remedy_and_a_checkpoint(
    sites, tmp_path, monkeypatch
):
    broken = trainer(sites, tmp_path)
    simulated, steps = broken.model.forward, []

    def forward(batch):
        steps.append(1)
        if len(steps) == 3:
            raise SolveFailed("Process(hbv) failed for 1 of 4 rows.", {0: "too steep"})
        return simulated(batch)

    monkeypatch.setattr(broken.model, "forward", forward)
    words = (
        r'1 of 4 rows\. Or take Solver\(on_failure="report"\).*up to max_failed = 0\.1 of them\.'
    )
    with pytest.raises(SolveFailed, match=words):
        broken.run(progress=False)
    assert load_checkpoint(tmp_path / CHECKPOINT)["progress"]["step"] == 2


def test_a_river_is_trained_by_one_process():
    windows = Windows(river_files.river(), 10, batch=2, closed="upstream")
    group = SimpleNamespace(size=2)
    with pytest.raises(
        SettingsError, match="rivers .closed='upstream'. are trained by one process"
    ):
        Steps(torch.nn.Linear(1, 1), [], [], [windows], NSE(), group, 0.0)
