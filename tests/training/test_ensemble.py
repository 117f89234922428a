"""Ensembles: twins choose the epoch, folds never see their sites, and all of it resumes to the last
bit.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import training_cases
import xarray as xr
from training_cases import Runoff

from pydiffgeo import losses
from pydiffgeo.data import Windows
from pydiffgeo.errors import DataError, SettingsError
from pydiffgeo.training.checkpoint import CHECKPOINT, chosen_weights, load_checkpoint
from pydiffgeo.training.choice import _held_score
from pydiffgeo.training.ensemble import Member, folds, twins
from pydiffgeo.training.steps import Simulated
from pydiffgeo.training.trainer import Trainer

DAYS, HELD, WARM_UP = 120, 30, 10


@pytest.fixture(scope="module")
def sites() -> xr.Dataset:
    return training_cases.sites(4, DAYS)


def whole(sites: xr.Dataset) -> Windows:
    return Windows(sites, warm_up=WARM_UP, dtype=torch.float64)


def trainer(sites, members, folder=None, hybrid=None, **changes) -> Trainer:
    given = {"epochs": 12, "learning_rate": 0.1, "rise": 1, "settings": {"a": 1}} | changes
    loss = losses.Profile("discharge", scale=1.0)
    return Trainer(hybrid or Runoff(), whole(sites), loss, folder, members=members, **given)


def weights(module: torch.nn.Module) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in module.parameters()]


def equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_twins_fit_and_are_judged_on_days_of_their_own(sites):
    pair = twins(sites, (3,), HELD, WARM_UP, whole)
    assert [(m.name, m.seed, m.judge, m.kept) for m in pair] == [
        ("seed 3", 3, 1, True),
        ("seed 3 (choice of epoch)", 3, None, False),
    ]
    full, twin = (torch.isfinite(m.windows.batch(0).observed["discharge"]) for m in pair)
    held = torch.isfinite(pair[1].held["discharge"])
    assert full[:, -HELD:].any() and not twin[:, -HELD:].any() and not held[:, :-HELD].any()
    assert torch.equal(twin | held, full) and not pair[0].held
    assert [m.seen.sites.sizes["time"] for m in pair] == [DAYS, DAYS - HELD]


def test_attributes_are_derived_from_the_days_that_a_member_may_see(sites):
    def seen(days: slice) -> xr.Dataset:
        return sites.assign(area=sites.precipitation.isel(time=days).mean("time"))

    for one, days in zip(
        twins(seen, (0,), HELD, WARM_UP, whole), (slice(0, 120), slice(0, 90)), strict=True
    ):
        expected = sites.precipitation.values[:, days].mean(1)
        np.testing.assert_allclose(one.windows.batch(0).attributes["area"], expected)
        np.testing.assert_allclose(one.seen.sites.area, expected)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_twin_chooses_the_epoch(sites, dropout):
    turned = sites.assign(discharge=sites.discharge.copy(deep=True))
    turned.discharge[:, -HELD:] *= 0.7  # what is learned late misleads there
    given = {"hybrid": Runoff(dropout)}
    done = trainer(turned, twins(turned, (0,), HELD, WARM_UP, whole), **given)
    kept, scores, before = done.choice.keep, [], []

    def noted(values, epoch):
        assert epoch == len(scores)
        scores.append(list(values))
        before.append([weights(one) for one in done.hybrids])
        kept(values, epoch)

    done.choice.keep = noted
    history = done.run(progress=False)
    best = int(np.argmax([score[1] for score in scores]))
    assert 0 < best < 11 and done.choice.best_epoch == [best, best]
    assert [row["validation"] for row in history] == [-score[1] for score in scores]
    # the score is that of the weights before the step of its epoch, which are kept
    assert len(done.model.members) == 1 and equal(weights(done.model.members[0]), before[best][0])
    twin = done.hybrids[1].eval()
    assert equal(weights(twin), before[best][1])
    batch = whole(turned).reading(("precipitation",), ("discharge",), Runoff.needs).batch(0)
    with torch.no_grad():
        error = (twin(batch)["discharge"] - batch.observed["discharge"])[:, -HELD:]
    assert history[best]["validation"] == pytest.approx(float(error.square().nanmean().sqrt()))


def test_members_are_trained_as_they_are_alone(sites):
    together = trainer(sites, twins(sites, (0, 5), HELD, WARM_UP, whole))
    together.run(progress=False)
    assert together.history[-1]["loss"] < 0.5 * together.history[0]["loss"]
    for k, seed in enumerate((0, 5)):
        alone = trainer(sites, twins(sites, (seed,), HELD, WARM_UP, whole))
        alone.run(progress=False)
        assert equal(weights(alone.model.members[0]), weights(together.model.members[k]))


def test_a_fold_never_sees_its_site(sites):
    def trained(records: xr.Dataset) -> Trainer:
        one = trainer(records, folds(records, HELD, WARM_UP, whole))
        one.run(progress=False)
        return one

    changed = sites.assign(
        discharge=sites.discharge.copy(deep=True), precipitation=sites.precipitation.copy(deep=True)
    )
    changed.discharge[2], changed.precipitation[2] = (
        3.0 * sites.discharge[1],
        sites.precipitation[0],
    )
    before, after = trained(sites), trained(changed)
    assert [m.left_out for m in before.members] == [("b0000",), ("b0001",), ("b0002",), ("b0003",)]
    same = [
        equal(*both)
        for both in zip(map(weights, before.hybrids), map(weights, after.hybrids), strict=True)
    ]
    assert same == [False, False, True, False]


def test_groups_of_folds_cover_all_sites_once(sites):
    plan = folds(sites, HELD, WARM_UP, whole, count=3, seed=1)
    assert sorted(site for m in plan for site in m.left_out) == list(sites.site.values)
    assert {len(m.left_out) for m in plan} == {1, 2}  # members with other numbers of sites
    assert trainer(sites, plan, epochs=1).run(progress=False)[0]["loss"] > 0
    with pytest.raises(DataError, match="5 folds of 4 sites cannot be made; take 2 to 4"):
        folds(sites, count=5)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_an_ensemble_resumes_to_the_last_bit(sites, tmp_path, monkeypatch, dropout):
    def made(folder=None) -> Trainer:
        return trainer(
            sites, twins(sites, (0, 1), HELD, WARM_UP, whole), folder, Runoff(dropout), epochs=6
        )

    straight = made()
    expected = straight.run(progress=False)
    cut = made(tmp_path)
    simulate = cut.steps.simulate

    def stops(step):
        if step == 3:
            raise KeyboardInterrupt
        return simulate(step)

    monkeypatch.setattr(cut.steps, "simulate", stops)
    with pytest.raises(KeyboardInterrupt):
        cut.run(progress=False)
    resumed = made(tmp_path)
    again = resumed.run(resume=True, progress=False)
    assert [row["loss"] for row in again] == [row["loss"] for row in expected]
    assert resumed.choice.best_epoch == straight.choice.best_epoch
    assert equal(weights(resumed.whole), weights(straight.whole))
    saved = load_checkpoint(tmp_path / CHECKPOINT)
    assert [(m["name"], m["kept"]) for m in saved["members"]][::2] == [
        ("seed 0", True),
        ("seed 1", True),
    ]
    state = resumed.model.state_dict()
    assert chosen_weights(saved).keys() == state.keys()
    assert all(
        torch.equal(v, state[k])
        for k, v in chosen_weights(saved).items()
        if isinstance(v, torch.Tensor)
    )
    other = trainer(
        sites, twins(sites, (0, 2), HELD, WARM_UP, whole), tmp_path, Runoff(dropout), epochs=6
    )
    with pytest.raises(
        SettingsError, match="has 4 networks, the settings ask for 4, or for other seeds"
    ):
        other.run(resume=True, progress=False)


def test_random_windows_of_members_are_judged_by_the_validation_without_the_sites_left_out(sites):
    def drawn(records: xr.Dataset) -> Windows:
        return Windows(records, length=30, warm_up=WARM_UP, batch=2, dtype=torch.float64)

    late = Windows(
        sites, start=str(sites.time.values[90])[:10], warm_up=WARM_UP, dtype=torch.float64
    )
    plan = folds(sites, 0, WARM_UP, drawn, count=2)
    done = trainer(sites, plan, validation=late, epochs=3, steps_per_epoch=4)
    done.run(progress=False)
    spoiled = sites.assign(discharge=sites.discharge.copy(deep=True))
    spoiled.discharge.loc[{"site": list(plan[0].left_out)}] = 5.0 * np.arange(DAYS)
    late = Windows(
        spoiled, start=str(sites.time.values[90])[:10], warm_up=WARM_UP, dtype=torch.float64
    )
    again = trainer(sites, plan, validation=late, epochs=3, steps_per_epoch=4)
    again.run(progress=False)
    assert again.choice.scores[0] == done.choice.scores[0]
    assert again.choice.scores[1] != done.choice.scores[1]


def test_patience_counts_epochs_that_days_held_out_have_judged(sites):
    """Days held out that are what the first weights give are never simulated better; those that
    follow the same law as the others are, and no training stops early."""

    def made(records: xr.Dataset, patience: int) -> Trainer:
        return trainer(
            records, twins(records, (0,), HELD, WARM_UP, whole), epochs=6, patience=patience
        )

    begun = made(sites, 1)
    first = weights(begun.hybrids[1])
    with torch.no_grad():
        simulated = begun.hybrids[1].eval()(begun.windows[1].batch(0))["discharge"].numpy()
    turned = sites.assign(discharge=sites.discharge.copy(deep=True))
    turned.discharge[:, -HELD:] = simulated[:, -HELD:]
    for patience in (1, 2):
        done = made(turned, patience)
        history = done.run(progress=False)
        assert len(history) == patience + 1 and done.stopped.endswith("best in epoch 0")
        assert history[0]["validation"] < 1e-6 < 0.01 < history[1]["validation"]
        assert equal(weights(done.hybrids[1]), first)
    done = made(sites, 1)
    assert len(done.run(progress=False)) == 6 and not done.stopped


def test_days_held_out_count_each_series_alike_whatever_its_unit(sites):
    windows = Windows(sites, dtype=torch.float64)
    batch, scores = windows.batch(0), []
    flow = torch.rand(batch.observed["discharge"].shape, dtype=torch.float64)
    for size in (1.0, 1000.0):
        held = {"discharge": flow, "level": size * flow.square()}
        series = {"discharge": flow + 0.1, "level": size * (flow.square() + 0.2)}
        one = Simulated(series, batch, torch.zeros(len(batch), dtype=torch.bool), [])
        member = Member("", 0, windows, held=held)
        scores.append(_held_score(member, one, ("discharge", "level")))
    assert scores[0] == pytest.approx(scores[1], rel=1e-9)
    assert _held_score(member, one, ("discharge",)) == pytest.approx(-0.1)


def test_held_days_need_windows_of_the_whole_period(sites):
    def drawn(records: xr.Dataset) -> Windows:
        return Windows(records, length=30, batch=2)

    with pytest.raises(
        SettingsError,
        match="days held out are judged .* needs windows of the whole",
    ):
        trainer(sites, twins(sites, (0,), HELD, 0, drawn))
    with pytest.raises(
        DataError, match="120 steps leave none between a warm-up of 60 and 60 that are held out"
    ):
        twins(sites, (0,), 60, 60)


def test_patience_waits_for_all_members(sites):
    plan = [Member(f"seed {k}", k, whole(sites)) for k in range(2)]
    scores = iter(
        [1, 1, 0, 2, 0, 1, 0, 1, 9, 9]
    )  # of the two members in turn: the second is best in epoch 2
    done = trainer(sites, plan, validation=lambda _: next(scores), patience=2)
    assert len(done.run(progress=False)) == 4
    assert done.choice.best_epoch == [1, 2] and done.stopped.endswith("best in epoch 2")
