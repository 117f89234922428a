"""Distributions against scipy and against integrals of their densities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import laplace_asymmetric, norm

from pydiffgeo.distributions import (
    LEVELS,
    AsymmetricLaplace,
    natural,
    of_kind,
    outputs,
    over_members,
    quantiles,
    rescaled,
)
from pydiffgeo.errors import UnknownName

F64 = torch.float64


def some(kind: str, rows: int = 5) -> torch.Tensor:
    """Random parameters of a kind, [row, parameter]."""
    random = torch.Generator().manual_seed(0)
    return natural(kind, torch.randn(rows, outputs(kind, 3), generator=random, dtype=F64))


def test_the_asymmetric_laplacian_is_that_of_scipy() -> None:
    """Whose kappa^2 is (1 - t) / t turned about, and scale b / sqrt(t (1 - t))."""
    y = torch.linspace(-3.0, 9.0, 25, dtype=F64)
    for m, b, t in ((1.0, 0.5, 0.3), (2.0, 1.5, 0.85)):
        ours = AsymmetricLaplace(*(torch.tensor(x, dtype=F64) for x in (m, b, t)))
        theirs = laplace_asymmetric(np.sqrt(t / (1 - t)), m, b / np.sqrt(t * (1 - t)))
        assert np.allclose(ours.log_prob(y), theirs.logpdf(y), rtol=1e-10)
        assert np.allclose(ours.cdf(y), theirs.cdf(y), rtol=1e-10)
        assert float(ours.mean) == pytest.approx(theirs.mean(), rel=1e-10)
        levels = torch.tensor(LEVELS, dtype=F64)
        assert np.allclose(ours.icdf(levels), theirs.ppf(LEVELS), rtol=1e-9)


@pytest.mark.parametrize("kind", ["gaussian", "laplace", "cmal"])
def test_density_distribution_function_mean_and_quantiles_agree(kind: str) -> None:
    distribution = of_kind(kind, some(kind))
    centre, y = distribution.mean, torch.linspace(-400.0, 400.0, 800_001, dtype=F64)
    for row in range(len(centre)):
        one = of_kind(kind, some(kind)[row])
        density = torch.exp(one.log_prob(y))
        assert float(torch.trapezoid(density, y)) == pytest.approx(1, abs=2e-5)
        assert float(torch.trapezoid(density * y, y)) == pytest.approx(float(one.mean), abs=2e-4)
        upto = float(torch.trapezoid(density[:400_401], y[:400_401]))
        assert float(one.cdf(y[400_400])) == pytest.approx(upto, abs=2e-5)
    found = quantiles(distribution, LEVELS)
    assert bool((found.diff(dim=-1) > 0).all())
    for k, level in enumerate(LEVELS):
        assert np.allclose(distribution.cdf(found[:, k]), level, atol=1e-9)


def test_members_are_mixed_with_the_same_weight() -> None:
    for kind in ("gaussian", "laplace", "cmal"):
        each = torch.stack([some(kind), some(kind) * 1.5 if kind != "cmal" else some(kind)])
        mixed, y = over_members(kind, each), torch.full((5,), 0.7, dtype=F64)
        cdf = (of_kind(kind, each[0]).cdf(y) + of_kind(kind, each[1]).cdf(y)) / 2
        assert np.allclose(mixed.cdf(y), cdf, rtol=1e-12)
        mean = (of_kind(kind, each[0]).mean + of_kind(kind, each[1]).mean) / 2
        assert np.allclose(mixed.mean, mean, rtol=1e-12)
    alone = over_members("gaussian", some("gaussian")[None])
    assert np.allclose(quantiles(alone, [0.9])[:, 0], norm.ppf(0.9, *some("gaussian").T.numpy()))


@pytest.mark.parametrize("kind", ["gaussian", "laplace", "cmal"])
def test_another_unit_changes_the_density_by_its_factor(kind: str) -> None:
    p, y = some(kind), torch.full((5,), 0.7, dtype=F64)
    changed = of_kind(kind, rescaled(kind, p, (2.5, 1.0)))
    same = of_kind(kind, p).log_prob(y) - np.log(2.5)
    assert np.allclose(changed.log_prob(2.5 * y + 1.0), same, rtol=1e-12)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UnknownName, match="gaussian"):
        outputs("normal", 1)
