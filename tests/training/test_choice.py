"""The choice of the epoch: validation, patience, the best weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_cases import Runoff, column, same_weights, trainer

from pydiffgeo import losses
from pydiffgeo.data import Windows
from pydiffgeo.errors import DataError
from pydiffgeo.training.checkpoint import (
    CHECKPOINT,
    chosen_weights,
    load_checkpoint,
)


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
    told = "best validation score 0.4000 in epoch 2, whose weights are kept"
    assert stopped.choice.told() == told
    assert torch.equal(stopped.model.net[0].bias, seen[1]) and not torch.equal(seen[3], seen[1])
    saved = load_checkpoint(tmp_path / CHECKPOINT)
    assert torch.equal(chosen_weights(saved)["net.0.bias"], seen[1])
    resumed = trainer(sites, tmp_path, epochs=9, patience=2, validation=judge)
    assert len(resumed.run(resume=True, progress=False)) == 4  # stopped stays stopped
    assert resumed.choice.told() == told
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


def test_validation_takes_every_series_of_the_loss(sites):
    class Two(Runoff):
        gives = ("discharge", "fast")

        def forward(self, batch):
            series = super().forward(batch)
            series["fast"] = 0.1 * series["discharge"]
            return series

    fast = (0.15 * sites.discharge).assign_attrs(role="observed", units="mm d-1")
    records = sites.assign(fast=fast)
    both = [losses.NSE("discharge"), losses.NSE("fast")]

    def score(loss, records=records):
        late = Windows(records, start="2000-07-01", warm_up=30, dtype=torch.float64)
        done = trainer(records, loss=loss, hybrid=Two(), validation=late, epochs=1)
        done.run(progress=False)
        done.choice.scores = []
        # of the same weights, whatever the loss was
        for hybrid in done.hybrids:
            hybrid.net.load_state_dict(Two().prepare(late).net.state_dict())
        done.choice.validate(1, done.loss.observed, done.group)
        return done.choice.scores[0]

    alone = [score(loss) for loss in both]
    assert alone[0] != alone[1]
    assert score(both) == score(both[::-1]) == pytest.approx(np.mean(alone), rel=1e-12)
    unseen = records.assign(fast=fast.where(fast.time < np.datetime64("2000-07-01")))
    with pytest.raises(DataError, match="too few observations of discharge or fast"):
        score(both, unseen)


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


def test_a_site_that_fails_in_the_validation_counts_as_worst(sites):
    late = Windows(sites, start="2000-07-01", warm_up=30, dtype=torch.float64)
    hybrid = Runoff()

    def score(failing: list[str]) -> float:
        hybrid.failing = failing
        done = trainer(sites, hybrid=hybrid, validation=late, max_failed=1.0, epochs=1)
        done.choice.validate(1, ("discharge",), done.group)
        return done.choice.scores[0]

    names = sites.site.values.tolist()
    assert score(names[:4]) < score(names[:2]) < score([])
    with pytest.raises(
        DataError, match="validation score is not a number.*too many of its sites fail"
    ):
        score(names[:6])
