"""What gradients keep to, whatever the engine: inputs as they were, columns that failed, fluxes that are given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from richards_cases import F64
from torch import Tensor

from pydiffgeo import Grid, Richards, solve

pytestmark = pytest.mark.usefixtures("engine")

LOAM = {"theta_r": 0.078, "theta_s": 0.43, "alpha": 0.036, "n": 1.56, "K_s": 1.04}


@pytest.mark.parametrize("changed", ["rain", "K_s", "initial_state", "times"])
def test_an_array_that_changes_after_the_solve_changes_nothing(changed: str) -> None:
    def gradient(change: bool) -> tuple[Tensor, Tensor]:
        given = {
            "rain": np.array([[0.5, 0.0, 0.2], [0.0, 1.0, 0.1]]),
            "K_s": np.array([1.0, 2.0]),
            "initial_state": np.full(10, -300.0),
            "times": np.arange(4.0),
        }
        alpha = torch.tensor(0.036, dtype=F64, requires_grad=True)
        s = solve(
            Richards(Grid.uniform(100.0, 10)), {"rain": given["rain"], "potential_evaporation": 0.01},
            {**LOAM, "K_s": given["K_s"], "alpha": alpha}, given["initial_state"], given["times"],
        )  # fmt: skip
        if change:
            given[changed] *= 5.0
        s.states.square().sum().backward()
        assert s.times.tolist() == [1.0, 2.0, 3.0] and bool((s.initial_state == -300).all())
        return s.states.detach(), alpha.grad

    for a, b in zip(gradient(False), gradient(True), strict=True):
        assert torch.equal(a, b)
