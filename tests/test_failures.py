"""Columns that fail are told why: no number in the rates is not a matter of tolerances."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pydiffgeo import ProcessModel, Solver, load_spec, solve
from pydiffgeo.errors import SolveFailed
from pydiffgeo.models.base import Values

SPEC = """
name = "two_tanks"
title = "Two stores, of which the lower one leaks by a root that may not exist"
time_unit = "d"
[states.upper]
unit = "mm"
scale = 10.0
storage = "water"
storage_unit = "mm"
storage_scale = 10.0
[states.lower]
unit = "mm"
scale = 10.0
storage = "water"
storage_unit = "mm"
storage_scale = 10.0
[forcings.rain]
unit = "mm d-1"
lower = 0.0
[fluxes.leakage]
unit = "mm d-1"
balance = 0
"""


class TwoTanks(ProcessModel):
    """A model of which a user has not thought of rain above 5 mm/d."""

    size = 2

    def __init__(self, folder: Path):
        (folder / "two_tanks.toml").write_text(SPEC)
        self.spec = load_spec(folder / "two_tanks.toml")

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        rain = forcing["rain"].expand(*state.shape[:-1], 1)
        return torch.cat([rain - 0.1 * state[..., :1], -torch.sqrt(5.0 - rain)], -1)

    def fluxes(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        return -self.rates(state, forcing, parameters)[..., 1:]


@pytest.mark.parametrize(
    "solver", [Solver("trbdf2"), Solver("implicit_euler", step=0.5), Solver("sdirk2")]
)
def test_the_state_and_the_interval_without_a_rate_are_named(
    solver: Solver, tmp_path: Path
) -> None:
    rain = torch.tensor([[0.0, 1.0, 1.0], [0.0, 9.0, 1.0]], dtype=torch.float64)
    with pytest.raises(SolveFailed) as error:
        solve(TwoTanks(tmp_path), {"rain": rain}, {}, 50.0, range(4), solver)
    assert error.value.failed == {
        1: "in the interval that ends at 2: the rate of lower is not finite where this interval "
        "begins; look at the state, the forcing, the parameters and the closures there"
    }
    assert "1 of 2 columns" in str(error.value) and "No tolerance helps" in str(error.value)


def test_other_failures_keep_their_remedy(tmp_path: Path) -> None:
    rain = torch.tensor([[0.0, 1.0], [0.0, 9.0]], dtype=torch.float64)
    solver = Solver("implicit_euler", step=0.01, max_steps=50)
    with pytest.raises(SolveFailed, match="50 steps were not enough; .*Loosen rtol") as error:
        solve(TwoTanks(tmp_path), {"rain": rain}, {}, 50.0, range(3), solver)
    assert set(error.value.failed) == {0, 1}
