"""Losses against the measures that they stand for, their gradients, and what does not count."""

from __future__ import annotations

import math

import numpy as np
import pytest
import site_files
import torch
from torch import Tensor

from pydiffgeo.data import load_tensors
from pydiffgeo.errors import DataError, UnknownName
from pydiffgeo.evaluation import metrics
from pydiffgeo.evaluation.losses import (
    LOSSES,
    Term,
    combined_loss,
    kge_loss,
    log_rmse_loss,
    mse_loss,
    nse_loss,
    rmse_loss,
)

STD = torch.tensor([1.5, 0.4, 3.0], dtype=torch.float64)
OPTIONS: dict[str, dict[str, Tensor]] = {"nse": {"std": STD}}


def series(batch: int = 3, days: int = 40) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    observed = torch.rand(batch, days, generator=random, dtype=torch.float64) * 5 + 0.1
    simulated = (
        observed + torch.randn(batch, days, generator=random, dtype=torch.float64)
    ).abs() + 0.05
    observed[0, 3:9] = torch.nan
    observed[1, ::4] = torch.nan
    return simulated, observed


def test_the_measures_of_the_same_name() -> None:
    simulated, observed = series()
    s, o = simulated.numpy(), observed.numpy()
    assert float(rmse_loss(simulated, observed)) == pytest.approx(metrics.rmse(s, o), rel=1e-12)
    assert float(mse_loss(simulated, observed)) == pytest.approx(metrics.rmse(s, o) ** 2, rel=1e-12)
    each = [1 - metrics.kge(s[i], o[i]) for i in range(3)]
    assert float(kge_loss(simulated, observed)) == pytest.approx(np.mean(each), rel=1e-12)
    for i in range(3):
        std = torch.tensor([np.nanstd(o[i])])
        loss = nse_loss(simulated[i : i + 1], observed[i : i + 1], std=std, offset=0.0)
        assert float(loss) == pytest.approx(1 - metrics.nse(s[i], o[i]), rel=1e-12)
    both = [np.log(np.sqrt(x) + 0.1) for x in (s, o)]
    assert float(log_rmse_loss(simulated, observed)) == pytest.approx(
        metrics.rmse(*both), rel=1e-12
    )


def test_nse_weighs_basins_by_their_spread() -> None:
    # Kratzert et al. 2019, eq. 1, by hand: errors of 1 in both basins, std 0.9 and 1.9, offset 0.1
    observed = torch.ones(2, 4, dtype=torch.float64)
    loss = nse_loss(observed + 1, observed, std=torch.tensor([0.9, 1.9], dtype=torch.float64))
    assert float(loss) == pytest.approx((1.0 + 0.25) / 2)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients(name: str) -> None:
    simulated, observed = series()
    mask = torch.arange(40) >= 5
    options = OPTIONS.get(name, {})
    assert torch.autograd.gradcheck(
        lambda s: LOSSES[name](s, observed, mask, **options), simulated.requires_grad_()
    )


@pytest.mark.parametrize("name", LOSSES)
def test_what_does_not_count_has_no_gradient_even_where_it_is_not_a_number(name: str) -> None:
    simulated, observed = series()
    mask = torch.arange(40) >= 5
    counts = torch.isfinite(observed) & mask
    options = OPTIONS.get(name, {})
    broken = torch.where(counts, simulated, torch.nan).requires_grad_()
    loss = LOSSES[name](broken, observed, mask, **options)
    assert loss.item() == LOSSES[name](simulated, observed, mask, **options).item()
    (gradient,) = torch.autograd.grad(loss, broken)
    assert (gradient[~counts] == 0).all() and (gradient[counts] != 0).all()
    observed = torch.where(counts, observed, torch.nan)
    assert LOSSES[name](simulated, observed, **options).item() == loss.item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_simulation_has_loss_and_gradient_zero(name: str, dtype: torch.dtype) -> None:
    observed = series()[1].to(dtype)
    simulated = torch.nan_to_num(observed, 1.0).requires_grad_()
    options = {key: value.to(dtype) for key, value in OPTIONS.get(name, {}).items()}
    loss = LOSSES[name](simulated, observed, **options)
    (gradient,) = torch.autograd.grad(loss, simulated)
    assert loss.item() == pytest.approx(0.0, abs=2e-3 if dtype == torch.float32 else 1e-7)
    assert torch.isfinite(gradient).all()


def test_kge_leaves_out_what_has_none() -> None:
    simulated, observed = series()
    whole = kge_loss(simulated[2:], observed[2:])
    observed[0] = 1.0
    observed[1, 5:] = torch.nan
    assert float(kge_loss(simulated, observed)) == pytest.approx(float(whole), rel=1e-12)
    with pytest.raises(DataError, match="no series of the batch has 10 different observations"):
        kge_loss(simulated[:2], observed[:2])
    flat = torch.ones(1, 40, dtype=torch.float64, requires_grad=True)  # a simulation without spread
    (gradient,) = torch.autograd.grad(kge_loss(flat, series()[1][2:]), flat)
    assert torch.isfinite(gradient).all()


def test_combinations_of_losses_and_variables() -> None:
    simulated, observed = series()
    both = torch.stack([simulated, 2 * simulated], -1).requires_grad_()
    seen = torch.stack([observed, observed.roll(1, 1)], -1)
    terms = [Term("nse", weight=2.0), Term("log_rmse", weight=0.25), Term("rmse", "snow", 0.5)]
    std = torch.stack([STD, STD], -1)
    mask = torch.arange(40)[None, :, None] >= 5
    total, parts = combined_loss(both, seen, terms, ("discharge", "snow"), mask, std)
    days = torch.arange(40) >= 5
    expected = [nse_loss(simulated, observed, days, std=STD), log_rmse_loss(simulated, observed, days),
                rmse_loss(2 * simulated, seen[..., 1], days)]  # fmt: skip
    assert float(total) == pytest.approx(
        sum(w * float(e) for w, e in zip((2, 0.25, 0.5), expected, strict=True)), rel=1e-12
    )
    assert list(parts) == ["nse of discharge", "log_rmse of discharge", "rmse of snow"]
    assert list(parts.values()) == pytest.approx([float(e) for e in expected])
    assert torch.autograd.gradcheck(
        lambda s: combined_loss(s, seen, terms, ("discharge", "snow"), mask, std)[0], both
    )


def test_a_variable_that_is_not_observed_adds_nothing() -> None:
    simulated, observed = series()
    both = torch.stack([simulated, simulated], -1).requires_grad_()
    seen = torch.stack([observed, torch.full_like(observed, torch.nan)], -1)
    total, parts = combined_loss(
        both, seen, [Term("mse"), Term("rmse", "snow")], ("discharge", "snow")
    )
    assert float(total) == float(mse_loss(simulated, observed)) and math.isnan(
        parts["rmse of snow"]
    )
    (gradient,) = torch.autograd.grad(total, both)
    assert (gradient[..., 1] == 0).all()
    with pytest.raises(DataError, match="none of discharge, snow is observed"):
        combined_loss(both, seen * torch.nan, [Term("mse")], ("discharge", "snow"))


def test_mistakes_are_named() -> None:
    simulated, observed = series()
    three = simulated[..., None]
    with pytest.raises(DataError, match=r"simulated \(3, 40\) and observed \(3, 39\)"):
        mse_loss(simulated, observed[:, :39])
    with pytest.raises(DataError, match="no day of the batch is observed"):
        mse_loss(simulated, observed * torch.nan)
    with pytest.raises(DataError, match="std .2,. must be finite and .batch."):
        nse_loss(simulated, observed, std=STD[:2])
    with pytest.raises(DataError, match="'nse' needs the standard deviations"):
        combined_loss(three, observed[..., None], [Term("nse")])
    with pytest.raises(DataError, match="on 'snow', which is none of the targets discharge"):
        combined_loss(three, observed[..., None], [Term("mse", "snow")])
    with pytest.raises(DataError, match="weight -1.0 .* must not be negative"):
        combined_loss(three, observed[..., None], [Term("mse", weight=-1.0)])
    with pytest.raises(UnknownName, match="did you mean 'nse'"):
        combined_loss(three, observed[..., None], [Term("nsse")])
    with pytest.raises(DataError, match="for the targets discharge"):
        combined_loss(simulated, observed, [Term("mse")])


def test_a_loss_that_is_not_a_number_names_basin_and_window() -> None:
    tensors = load_tensors(site_files.records(), ["precipitation"])
    batch = tensors.windows([2, 0, 1], [40, 60, 80], 50, warm_up=10)
    simulated = torch.ones_like(batch.observed)
    simulated[1, 30:] = torch.nan
    simulated[2, :10] = torch.inf  # in the warm-up only
    assert torch.isnan(mse_loss(simulated[..., 0], batch.observed[..., 0], batch.scored))
    assert batch.not_finite(simulated) == [
        "basin b0000, 1999-11-30 to 2000-01-18 (warm-up 10 days): not finite from 1999-12-30"
    ]
    assert batch.not_finite(simulated[..., 0]) == batch.not_finite(simulated)
