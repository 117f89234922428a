"""Methods and sensitivities of SciML.

Gradients against the discrete adjoint, and what is refused.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from processes import python
from richards_cases import F64, NEW_MEXICO
from torch import Tensor

from pydiffgeo import Grid, Richards, Solution, Solver, solve, usda_soil
from pydiffgeo.errors import ParameterError, SolveFailed, UnknownName
from pydiffgeo.solvers.sciml import REFUSED, SCIML_METHODS, SENSITIVITIES, allowed, refusal

COMBINATIONS = [
    ("FBDF", "GaussAdjoint"),
    ("FBDF", "ForwardDiff"),
    ("KenCarp4", "InterpolatingAdjoint"),
    ("Rodas5P", "QuadratureAdjoint"),
    ("QNDF", "ForwardSensitivity"),
]


def infiltration(logs: Tensor, solver: Solver, engine: str = "julia") -> Solution:
    """Three changes of the head at the top of a dry column, 20 cells."""
    model = Richards(Grid.uniform(50.0, 20), top="head", bottom="head")
    values = dict(zip(NEW_MEXICO, logs.exp().unbind(), strict=True))
    forcing = {"top_head": torch.tensor([-75.0, -300.0, -100.0], dtype=F64), "bottom_head": -1000.0}
    return solve(
        model,
        forcing,
        values,
        -1000.0,
        torch.tensor([0.0, 6.0, 12.0, 18.0], dtype=F64),
        solver=solver,
        engine=engine,
    )


def gradient(solver: Solver, engine: str = "julia") -> tuple[Solution, Tensor]:
    logs = torch.tensor(list(NEW_MEXICO.values()), dtype=F64).log().requires_grad_()
    solution = infiltration(logs, solver, engine)
    loss = solution.states.square().mean() / 1e4
    (loss + solution.fluxes["drainage"].mean() + solution.fluxes["infiltration"].mean()).backward()
    return solution, logs.grad


@pytest.fixture(scope="module")
def exact() -> tuple[Solution, Tensor]:
    return gradient(Solver(rtol=1e-7), "torch")


@pytest.mark.parametrize(("method", "sensitivity"), COMBINATIONS)
def test_gradient(
    method: str, sensitivity: str, exact: tuple[Solution, Tensor], julia: Any
) -> None:
    solution, found = gradient(Solver(method, sensitivity=sensitivity, rtol=1e-7))
    reference, expected = exact
    assert solution.states.detach().numpy() == pytest.approx(
        reference.states.detach().numpy(), rel=1e-3
    )
    assert (found - expected).norm() / expected.norm() < 1e-3


@pytest.mark.parametrize("sensitivity", ["GaussAdjoint", "QuadratureAdjoint", "ForwardDiff"])
def test_ctrl_c(sensitivity: str, julia: Any) -> None:
    """Ends forward and backward within a second, in the middle of one interval, and leaves all
    usable.
    """
    out = python(rf'''
def soil(cells, rtol):
    model = Richards(Grid.uniform(100.0, cells), top="head", bottom="head")
    K_s = torch.ones(1, dtype=torch.float64, requires_grad=True)
    solver = Solver("FBDF", sensitivity="{sensitivity}", rtol=rtol)
    heads = {{"top_head": -75.0, "bottom_head": -1000.0}}
    soil = usda_soil("loam") | {{"K_s": K_s}}
    return K_s, solve(model, heads, soil, -1000.0, [0.0, 24.0], solver, "julia").states.sum()

soil(4, 1e-4)[1].backward()  # what has to be compiled is compiled before
interrupted("forward", lambda: soil(20_000, 1e-9), 0.5)
interrupted("backward", soil(4000, 1e-9)[1].backward, 0.5)
K_s, loss = soil(4, 1e-4)
loss.backward()
print(bool(K_s.grad.isfinite().all()))
''')
    assert out.split() == ["interrupted"] * 2 + ["True"]


def test_failed_columns_are_named(julia: Any) -> None:
    model = Richards(Grid.uniform(20.0, 4), top="flux", bottom="free_drainage")
    soil = {**usda_soil("loam"), "specific_storage": 0.0}
    start = torch.tensor(
        [[-100.0] * 4, [50.0] * 4], dtype=F64
    )  # the second column is saturated: its heads have no rate
    arguments = (model, {"top_flux": 0.01}, soil, start, torch.arange(3.0))
    solver = Solver("FBDF", sensitivity="GaussAdjoint", on_failure="report")
    solution = solve(*arguments, solver=solver, engine="julia")
    assert list(solution.failed) == [1]
    assert solution.states[1].isnan().all() and not solution.states[0].isnan().any()
    with pytest.raises(SolveFailed, match="FBDF"):
        solve(*arguments, solver=Solver("FBDF", sensitivity="GaussAdjoint"), engine="julia")


REFUSALS = [(m, s) for m in SCIML_METHODS for s in SENSITIVITIES if s not in allowed(m)]


@pytest.mark.parametrize(("method", "sensitivity"), REFUSALS)
def test_refused_combinations_say_why(method: str, sensitivity: str) -> None:
    with pytest.raises(ParameterError) as error:
        Solver(method, sensitivity=sensitivity)
    reason = REFUSED.get((method, sensitivity), "no discrete adjoint")
    assert reason in str(error.value)


def test_refused_options() -> None:
    with pytest.raises(ParameterError, match="has the discrete adjoint"):
        Solver("kvaerno3", sensitivity="GaussAdjoint")
    with pytest.raises(ParameterError, match="too loose"):
        Solver("FBDF", sensitivity="GaussAdjoint", rtol=1e-3)
    with pytest.raises(ParameterError, match="chooses its steps"):
        Solver("FBDF", sensitivity="GaussAdjoint", step=0.1)
    with pytest.raises(ParameterError, match="float64"):
        Solver("FBDF", sensitivity="GaussAdjoint", dtype=torch.float32)
    with pytest.raises(UnknownName, match="FBDF"):
        Solver("FBDG")
    with pytest.raises(UnknownName, match="GaussAdjoint"):
        Solver("FBDF", sensitivity="Gauss")


def test_default_tolerance_is_tighter() -> None:
    assert Solver().rtol == 1e-3
    assert Solver("FBDF", sensitivity="GaussAdjoint").rtol == 1e-6


def test_torch_engine_says_where_the_method_is() -> None:
    logs = torch.tensor(list(NEW_MEXICO.values()), dtype=F64).log()
    with pytest.raises(ParameterError, match='engine="julia"'):
        infiltration(logs, Solver("FBDF", sensitivity="GaussAdjoint"), engine="torch")


def test_table_names_what_there_is() -> None:
    """Each entry of the table that both languages read."""
    for method, sensitivity in REFUSED:
        assert method in SCIML_METHODS and sensitivity in SENSITIVITIES[1:]
    assert allowed("FBDF") == list(SENSITIVITIES[1:]) and not allowed("TRBDF2")


def test_both_languages_refuse_the_same(julia: Any) -> None:
    package = julia.main.pydiffgeo_package
    assert tuple(map(str, package.SCIML_METHODS)) == SCIML_METHODS
    assert tuple(map(str, package.SENSITIVITIES)) == SENSITIVITIES
    for method in SCIML_METHODS:
        for sensitivity in SENSITIVITIES:
            assert str(package.refusal(method, sensitivity)) == refusal(method, sensitivity)
