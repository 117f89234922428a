"""Copies are solved apart and averaged, with parameters and factors of their own."""

from __future__ import annotations

import pytest
import torch
from hybrid_cases import basins

import pydiffgeo as pdg
from pydiffgeo import stages

F64 = torch.float64


def inner(kind: str) -> list[stages.Stage]:
    hbv = stages.ExplicitHBV() if kind == "explicit" else stages.Process("hbv", engine="torch")
    return [stages.Scale("precipitation"), hbv]


@pytest.mark.parametrize("kind", ["implicit", "explicit"])
@pytest.mark.parametrize("daily", [False, True])
def test_copies_are_those_of_hybrids_with_one(kind: str, daily: bool) -> None:
    sites = basins(2, 25)
    both = pdg.Hybrid(pdg.MLP(hidden=(4,)), stages.Parallel(2, *inner(kind)), dtype=F64)
    one = pdg.Hybrid(pdg.MLP(hidden=(4,)), *inner(kind), dtype=F64)
    both.prepare(sites)
    one.prepare(sites)
    batch = pdg.Windows(sites, dtype=F64).batch(0)
    with torch.no_grad():
        p = both.parameters_of(batch)
        if daily:
            random = torch.Generator().manual_seed(1)
            p["precipitation_factor"] = 0.5 + torch.rand(2, 2, 25, generator=random, dtype=F64)
        found = both.run(batch, p)
        each = [one.run(batch, {k: v[:, [c]] for k, v in p.items()}) for c in (0, 1)]
    for name in ("discharge", "snow", "precipitation"):
        mean = 0.5 * (each[0][name] + each[1][name])
        torch.testing.assert_close(found[name], mean, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(each[0]["discharge"], each[1]["discharge"])


def test_the_gradient_of_a_hybrid_is_that_of_central_differences() -> None:
    sites = basins(2, 12)
    hybrid = pdg.Hybrid(
        pdg.MLP(hidden=(3,), activation="tanh"),
        stages.Parallel(2, *inner("implicit")),
        stages.UnitHydrograph(),
        dtype=F64,
    ).prepare(sites)
    batch = pdg.Windows(sites, dtype=F64).batch(0)
    weights = [w for w in hybrid.parameters() if w.ndim == 2][0]

    def value() -> torch.Tensor:
        return hybrid(batch)["discharge"][:, 4:].square().mean()

    (gradient,) = torch.autograd.grad(value(), weights)
    for place in ((0, 0), (1, 2), (2, 1)):
        ends = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weights[place] += step
                ends.append(float(value()))
                weights[place] -= step
        expected = (ends[0] - ends[1]) / 2e-5
        assert float(gradient[place]) == pytest.approx(expected, rel=1e-5, abs=1e-9)
