"""All reaches of a river in one call are the reaches level by level, on both engines."""

from __future__ import annotations

import pytest
import torch
from whole_river_cases import by_levels, gradients, inputs, problem, results, together, tree

from pydiffgeo.solving import solve_river_fluxes


@pytest.fixture(autouse=True)
def _by_fronts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The torch engine takes fronts here, too, where levels one by one would be faster."""
    monkeypatch.setattr("pydiffgeo.engines.torch_river.FRONT", 0.0)


@pytest.mark.parametrize("delay", [False, True])
def test_all_reaches_in_one_call_are_the_levels_one_by_one(engine: str, delay: bool) -> None:
    """Values and gradients; one way to solve a level of one reach differs by rounding."""
    x, below = inputs(), tree()
    wanted, solution = by_levels(x, below, engine, delay), together(x, below, engine, delay)
    assert solution is not None
    found = results(solution)
    for name, value in wanted.items():
        # on torch storage is an integral of rates, which gathers what Newton's method leaves: 2e-9,
        # since a column of a front ends with its own last update, and not with that of the slowest
        rtol = 4e-9 if (engine, name) == ("torch", "storage") else 1e-11
        torch.testing.assert_close(found[name], value, rtol=rtol, atol=1e-9)
    for a, b in zip(gradients(found, x), gradients(wanted, x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11 * float(b.abs().max()) + 1e-300)


@pytest.mark.parametrize("checkpoints", [False, True])
def test_fluxes_alone_are_those_of_a_river_solved_whole(engine: str, checkpoints: bool) -> None:
    """To the last digit, with their gradients."""
    options = {"checkpoints": True} if checkpoints and engine == "julia" else {}
    x, below = inputs(), tree()
    solution = together(x, below, engine, delay=True, **options)
    assert solution is not None
    slopes = gradients({"discharge": solution.fluxes["discharge"]}, x)
    for names in (["discharge"], ["loss", "discharge"]):
        *given, _, river = problem(x, below, engine, delay=True, **options)
        alone = solve_river_fluxes(names, *given, engine=engine, river=river)
        assert alone is not None and list(alone[0]) == names and not alone[1]
        for name in names:
            assert torch.equal(alone[0][name], solution.fluxes[name])
        some = gradients({"discharge": alone[0]["discharge"]}, x)
        for a, b in zip(some, slopes, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14 * float(b.abs().max()))


def test_water_of_a_river_is_conserved(engine: str) -> None:
    """What enters all reaches leaves at the outlets, or is stored."""
    x, below = inputs(), tree()
    solution = together(x, below, engine, delay=False)
    assert solution is not None
    out = solution.fluxes["discharge"][below < 0].sum() + solution.fluxes["loss"].sum()
    stored = (solution.storage[:, -1] - solution.storage[:, 0]).sum()
    entered = 86400 * (x["lateral_inflow"] + x["inflow"]).detach().sum()
    assert abs(float((entered - 86400 * out - stored).detach())) < 1e-12 * float(entered)
    assert float(stored.detach().abs()) > 1e-3 * float(entered)


def test_a_river_that_cannot_go_in_one_call_says_so(engine: str) -> None:
    """With steps of their own, or a reach that fails: level by level, which tells what failed."""
    x, below = inputs(), tree()
    assert together(x, below, engine, delay=False, step=None) is None
    assert together(x, below, engine, delay=False, max_steps=3) is None
