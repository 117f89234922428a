"""Losses against the measures that they stand for, their gradients, and what does not count."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from pydiffgeo.data.batch import Batch
from pydiffgeo.errors import DataError
from pydiffgeo.losses import (
    KGE,
    LOSSES,
    MSE,
    NLL,
    NNSE,
    NSE,
    RMSE,
    LogRMSE,
    Loss,
    Profile,
    Sum,
    as_sum,
)

STD = torch.tensor([1.5, 0.4, 3.0], dtype=torch.float64)


def batch_of(observed: dict[str, Tensor], warm_up: int = 0, std: Tensor = STD) -> Batch:
    rows = len(next(iter(observed.values())))
    times = pd.date_range("2000-01-01", periods=40)
    spread = {k: std.to(v.dtype) for k, v in observed.items()}
    return Batch(
        {}, {}, observed, spread, torch.arange(rows), torch.zeros(rows, dtype=torch.int64), warm_up,
        ("a", "b", "c")[:rows], times, pd.Timedelta(1, "D"), {},
    )  # fmt: skip


def value(loss: Loss, simulated: Tensor, observed: Tensor, warm_up: int = 0) -> Tensor:
    """The loss of series [batch, time] or [batch, time, depth]."""
    std = STD[: len(observed)] if observed.ndim == 2 else STD[: len(observed), None]
    std = std.expand(-1, observed.shape[2]) if observed.ndim == 3 else std
    name = loss.observed
    around = torch.stack([simulated, torch.full_like(simulated, (2 * math.pi) ** -0.5)], -1)
    given = {name: simulated, f"{name}_gaussian": around}  # whose density at its mode is one
    return loss(given, {name: observed}, batch_of({name: observed}, warm_up, std))


def series(days: int = 40) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    observed = torch.rand(3, days, generator=random, dtype=torch.float64) * 5 + 0.1
    noise = torch.randn(3, days, generator=random, dtype=torch.float64)
    observed[0, 3:9] = torch.nan
    observed[1, ::4] = torch.nan
    return (torch.nan_to_num(observed, 2.0) + noise).abs() + 0.05, observed


def rmse(s: np.ndarray, o: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean((s - o) ** 2)))


def kge(s: np.ndarray, o: np.ndarray) -> float:
    s, o = s[np.isfinite(o)], o[np.isfinite(o)]
    r = np.corrcoef(s, o)[0, 1]
    parts = (r - 1, s.std() / o.std() - 1, s.mean() / o.mean() - 1)
    return 1 - math.sqrt(sum(x**2 for x in parts))


def test_the_measures_of_the_same_name() -> None:
    simulated, observed = series()
    s, o = simulated.numpy(), observed.numpy()
    assert float(value(RMSE(), simulated, observed)) == pytest.approx(rmse(s, o), rel=1e-12)
    assert float(value(MSE(), simulated, observed)) == pytest.approx(rmse(s, o) ** 2, rel=1e-12)
    each = [1 - kge(s[i], o[i]) for i in range(3)]
    assert float(value(KGE(), simulated, observed)) == pytest.approx(np.mean(each), rel=1e-12)
    both = [np.log(np.sqrt(x + 1e-6) + 0.1) for x in (s, o)]
    assert float(value(LogRMSE(), simulated, observed)) == pytest.approx(rmse(*both), rel=1e-12)


def test_nse_weighs_sites_by_their_spread() -> None:
    # Kratzert et al. 2019, eq. 1, by hand: errors of 1 at both sites, spread 0.9 and 1.9, offset
    # 0.1
    observed = torch.ones(2, 4, dtype=torch.float64)
    std = torch.tensor([0.9, 1.9], dtype=torch.float64)
    loss = NSE()(
        {"discharge": observed + 1},
        {"discharge": observed},
        batch_of({"discharge": observed}, 0, std),
    )
    assert float(loss) == pytest.approx((1.0 + 0.25) / 2)


def test_the_normalised_nse_of_each_series_counts_alike() -> None:
    simulated, observed = series()
    s, o = simulated.numpy(), observed.numpy()
    shares = [(rmse(s[k], o[k]) / (STD[k].item() + 0.1)) ** 2 for k in range(3)]
    losses = [1 - 1 / (2 - (1 - share)) for share in shares]  # of NSE = 1 - share
    assert float(value(NNSE("q"), simulated, observed)) == pytest.approx(np.mean(losses))
    nothing = observed.clone()
    nothing[1] = torch.nan  # a site without a gauge counts for nothing
    expected = np.mean([losses[0], losses[2]])
    assert float(value(NNSE("q"), simulated, nothing)) == pytest.approx(expected)
    simulated[1] += 1e6  # a site that is lost adds its part, and no more
    expected = np.mean([losses[0], 1.0, losses[2]])
    assert float(value(NNSE("q"), simulated, observed)) == pytest.approx(expected)


def test_profiles_count_bias_and_anomaly_of_each_depth_apart() -> None:
    random = torch.Generator().manual_seed(2)
    observed, simulated = torch.rand(2, 3, 12, 2, generator=random, dtype=torch.float64)
    observed[0, 2:5, 1] = torch.nan
    observed[2, :, 0] = torch.nan  # a series without observations does not count
    loss = Profile(bias_weight=2.0, anomaly_weight=0.5, scale=0.1)
    expected = []
    for i in range(3):
        for d in range(2):
            e = (simulated - observed)[i, :, d].numpy()
            e = e[np.isfinite(e)]
            if e.size:
                expected.append((2.0 * e.mean() ** 2 + 0.5 * e.var()) / 0.01)
    assert float(value(loss, simulated, observed)) == pytest.approx(np.mean(expected), rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients(name: str) -> None:
    simulated, observed = series()
    loss = LOSSES[name]("discharge")
    assert torch.autograd.gradcheck(
        lambda s: value(loss, s, observed, warm_up=5), simulated.requires_grad_()
    )


@pytest.mark.parametrize("name", LOSSES)
def test_what_does_not_count_has_no_gradient_even_where_it_is_not_a_number(name: str) -> None:
    simulated, observed = series()
    counts = torch.isfinite(observed) & (torch.arange(40) >= 5)
    broken = torch.where(counts, simulated, torch.nan).requires_grad_()
    own = LOSSES[name]("discharge")
    loss = value(own, broken, observed, warm_up=5)
    assert loss.item() == value(own, simulated, observed, warm_up=5).item()
    (gradient,) = torch.autograd.grad(loss, broken)
    assert (gradient[~counts] == 0).all() and (gradient[counts] != 0).all()
    observed = torch.where(counts, observed, torch.nan)
    assert value(own, simulated, observed).item() == pytest.approx(loss.item(), rel=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_simulation_has_loss_and_gradient_zero(name: str, dtype: torch.dtype) -> None:
    observed = series()[1].to(dtype)
    simulated = torch.nan_to_num(observed, 1.0).requires_grad_()
    loss = value(LOSSES[name]("discharge"), simulated, observed)
    (gradient,) = torch.autograd.grad(loss, simulated)
    assert loss.item() == pytest.approx(0.0, abs=2e-3 if dtype == torch.float32 else 1e-7)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_a_dry_simulation_has_a_gradient_in_bounds(name: str, dtype: torch.dtype) -> None:
    """A flow of exactly zero, on a day or on all, pulls as a small one does: a step of the
    optimiser is possible, in single precision too."""
    observed = series()[1].to(dtype)
    wet = torch.nan_to_num(observed, 1.0) * 1.2
    for dry in (torch.arange(40) % 5 == 0, torch.ones(40, dtype=torch.bool)):
        simulated = torch.where(dry, torch.zeros_like(wet), wet).requires_grad_()
        loss = value(LOSSES[name]("discharge"), simulated, observed)
        (gradient,) = torch.autograd.grad(loss, simulated)
        assert torch.isfinite(loss) and gradient.abs().max() < 1e4
        counts = torch.isfinite(observed) & dry
        if name != "kge":  # whose part of the mean and of the spread may weigh more
            assert (gradient[counts] < 0).all(), "more flow is better"


def test_kge_leaves_out_what_has_none() -> None:
    simulated, observed = series()
    whole = value(KGE(), simulated[2:], observed[2:])
    observed[0] = 1.0
    observed[1, 5:] = torch.nan
    assert float(value(KGE(), simulated, observed)) == pytest.approx(float(whole), rel=1e-12)
    with pytest.raises(DataError, match="no series of the batch has 10 different observations"):
        value(KGE(), simulated[:2], observed[:2])
    flat = torch.ones(1, 40, dtype=torch.float64, requires_grad=True)  # a simulation without spread
    (gradient,) = torch.autograd.grad(value(KGE(), flat, series()[1][2:]), flat)
    assert torch.isfinite(gradient).all()


def test_sums_of_losses_and_variables() -> None:
    simulated, observed = series()
    seen = {"discharge": observed, "snow": observed.roll(1, 1)}
    batch = batch_of(seen, warm_up=5)
    both = {"discharge": simulated, "snow": 2 * simulated}
    parts = [NSE(weight=2.0), LogRMSE(weight=0.25), RMSE("snow", 0.5)]
    total, found = as_sum(parts).parts(both, seen, batch)
    expected = [float(loss(both, seen, batch)) for loss in parts]
    assert float(total) == pytest.approx(
        2 * expected[0] + 0.25 * expected[1] + 0.5 * expected[2], rel=1e-12
    )
    assert found == dict(
        zip(["nse of discharge", "log_rmse of discharge", "rmse of snow"], expected, strict=True)
    )
    assert as_sum(parts).observed == ("discharge", "snow") and as_sum(parts).needs_spread


def test_a_variable_that_is_not_observed_adds_nothing() -> None:
    simulated, observed = series()
    simulated.requires_grad_()
    seen = {"discharge": observed, "snow": torch.full_like(observed, torch.nan)}
    both = {"discharge": simulated, "snow": simulated * 1.0}
    loss, batch = Sum(MSE(), RMSE("snow")), batch_of(seen)
    total, parts = loss.parts(both, seen, batch)
    assert float(total) == float(MSE()(both, seen, batch)) and math.isnan(parts["rmse of snow"])
    with pytest.raises(DataError, match="none of discharge, snow is observed"):
        loss(both, {k: v * torch.nan for k, v in seen.items()}, batch)


def test_a_loss_of_ones_own_needs_the_name_of_a_series() -> None:
    class Own:
        observed = "discharge"

        def __call__(self, series, observed, batch):
            return (series["discharge"] - observed["discharge"]).nan_to_num().abs().sum()

    simulated, observed = series()
    seen = {"discharge": observed}
    total, parts = as_sum([Own()]).parts({"discharge": simulated}, seen, batch_of(seen))
    assert list(parts) == ["Own of discharge"] and float(total) > 0
    with pytest.raises(DataError, match="an attribute `observed`"):
        as_sum(lambda series, observed, batch: 0.0)


def test_mistakes_are_named() -> None:
    simulated, observed = series()
    seen = {"discharge": observed}
    batch = batch_of(seen)
    with pytest.raises(DataError, match=r"simulated \(3, 40\) and observed \(3, 39\)"):
        MSE()({"discharge": simulated}, {"discharge": observed[:, :39]}, batch)
    with pytest.raises(DataError, match="no 'discharge' of the batch is observed"):
        MSE()({"discharge": simulated}, {"discharge": observed * torch.nan}, batch)
    with pytest.raises(DataError, match=r"spread of 'discharge', \[2\], must be finite"):
        wrong = replace(batch, spread={"discharge": STD[:2]})
        NSE()({"discharge": simulated}, seen, wrong)
    with pytest.raises(DataError, match="did you mean 'discharge'"):
        MSE("dischage")({"discharge": simulated}, seen, batch)
    with pytest.raises(DataError, match="weight -1.0 .* must not be negative"):
        MSE(weight=-1.0)


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_nll_is_the_density_of_torch(kind: str) -> None:
    simulated, observed = series()
    scale = 0.1 + 0.3 * simulated
    made = {"gaussian": torch.distributions.Normal, "laplace": torch.distributions.Laplace}[kind]
    counts = torch.isfinite(observed) & (torch.arange(40) >= 5)
    expected = -made(simulated[counts], scale[counts]).log_prob(observed[counts]).mean()
    given = {f"q_{kind}": torch.stack([simulated, scale], -1)}
    batch = batch_of({"q": observed}, 5)
    assert float(NLL("q")(given, {"q": observed}, batch)) == pytest.approx(float(expected))
    assert as_sum(NLL("q")).reads(given) == ("q", f"q_{kind}")
    with pytest.raises(DataError, match="nobody gives a distribution of 'q'"):
        NLL("q")({"q": simulated}, {"q": observed}, batch)
