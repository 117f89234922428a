"""A solve that gets nowhere is told soon, and names what to look at.

One that is slow for a while goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pydiffgeo import Grid, ProcessModel, Richards, Solver, load_spec, solve, usda_soil
from pydiffgeo.models.base import Linearisation, Values
from pydiffgeo.solvers.control import patience, stalled

F64 = torch.float64


def test_a_drying_flux_that_the_soil_cannot_give(engine: str) -> None:
    """The heads run away; 100,000 attempts took half an hour. The columns beside it are solved."""
    model = Richards(Grid.uniform(40.0, 8), top="flux", bottom="flux")
    flux = torch.tensor([[0.0, -0.1], [0.0, -1e-4]], dtype=F64)
    inputs: Any = (
        {"top_flux": flux, "bottom_flux": 0.0},
        usda_soil("loam"),
        -100.0,
        [0.0, 5.0, 480.0],
    )
    solution = solve(model, *inputs, Solver(on_failure="report"))
    assert list(solution.failed) == [0]
    why = solution.failed[0]
    assert why.startswith("in the interval that ends at 480.0: no ")
    assert "no progress" in why or "no step above" in why  # which comes first is chance
    attempts = solution.stats["accepted"] + solution.stats["rejected"]
    assert int(attempts[0]) <= 4 * patience(8) and int(attempts[1]) < patience(8)
    alone = solve(model, {"top_flux": flux[1:], "bottom_flux": 0.0}, *inputs[1:])
    torch.testing.assert_close(solution.states[1:], alone.states, rtol=1e-9, atol=1e-9)


class Steep(ProcessModel):
    """d water / dt = rain - 5 |water|^0.2 sign(water), whose slope is infinite at zero."""

    size = 1

    def __init__(self, folder: Path) -> None:
        file = folder / "steep.toml"
        file.write_text(
            'name = "steep"\ntime_unit = "d"\n[states.water]\nunit = "mm"\nscale = 10.0\nstorage '
            '= "water"\nstorage_unit = "mm"\nstorage_scale = 10.0\n[forcings.rain]\nunit = "mm '
            'd-1"\n[fluxes.rain_in]\nunit = "mm d-1"\nbalance = 1\n[fluxes.runoff]\nunit = "mm '
            'd-1"\nbalance = -1\n'
        )
        self.spec = load_spec(file)

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        return forcing["rain"] - 5 * state.sign() * state.abs() ** 0.2

    def linearise(self, state: Tensor, forcing: Values, parameters: Values) -> Linearisation:  # type: ignore[override]
        rates = self.rates(state, forcing, parameters)
        return Linearisation(
            state, torch.ones_like(state), rates, (-(state.abs()[..., None] ** -0.8),)
        )

    def fluxes(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        rain = forcing["rain"].expand_as(state)
        return torch.cat([rain, rain - self.rates(state, forcing, parameters)], -1)


def test_a_store_whose_outflow_has_an_infinite_slope(tmp_path: Path) -> None:
    """Newton goes to and fro about an empty store, so a fixed step is halved again and again."""
    rain = torch.zeros(1, 100, dtype=F64)
    rain[:, ::7] = 20.0
    solver = Solver("implicit_euler", step=1.0, on_failure="report")
    solution = solve(Steep(tmp_path), {"rain": rain}, {}, [10.0], range(101), solver, "torch")
    assert "no progress" in solution.failed[0] and "infinite slope" in solution.failed[0]
    assert int(solution.stats["accepted"][0] + solution.stats["rejected"][0]) <= 6 * patience(40)


def test_slow_is_not_stalled() -> None:
    length, reached = torch.tensor([[10.0]]), torch.tensor([[2.0]])
    # a hundredth of the rest in 500 steps: 50,000 for all of it
    for share, expected in ((0.0101, False), (0.0099, True)):
        assert bool(stalled(reached + 8 * share, reached, length, 500, 100_000)) is expected
    assert not bool(
        stalled(reached + 0.01, reached, length, 500, 10_000_000)
    )  # whoever raises max_steps waits longer
    assert not bool(
        stalled(reached + 0.1, reached, length, 500, 2_000)
    )  # and a small one ends the solve by itself
