"""The gradient of a Richards solve.

Against references, differences of frozen steps, and other solves.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from richards_cases import (
    F64,
    METHODS,
    NEW_MEXICO,
    NEW_MEXICO_REFERENCE,
    Small,
    new_mexico,
    resolved,
)
from torch import Tensor

from pydiffgeo import Solution, Solver, solve

pytestmark = pytest.mark.usefixtures("engine")

Find = Callable[[str], Path]
NAMES = ("alpha", "n", "K_s", "theta_s", "theta_r")

# ---- New Mexico: dL/dln(parameter) of L = mean(((psi - psi*) / 100)^2)
# --------------------------------

LOSS = 0.014302426
GRADIENT = np.array([-11.09414, -6.06185, 3.40542, -4.71126, 1.30584])


def new_mexico_loss(target: Tensor, logs: Tensor, **options: Any) -> tuple[Tensor, Solution]:
    """Loss at parameters exp(logs) and its solution."""
    values = dict(zip(NAMES, logs.exp().unbind(), strict=True))
    _, solution = new_mexico(100, values, **options)
    return (((solution.states[0, 0] - target) / 100) ** 2).mean(), solution


def new_mexico_logs() -> Tensor:
    return torch.tensor([NEW_MEXICO[k] for k in NAMES], dtype=F64).log().requires_grad_()


@pytest.fixture(scope="module")
def target(shared_data: Find) -> Tensor:
    content = json.loads(shared_data(NEW_MEXICO_REFERENCE).read_text())
    return torch.tensor(content["gradient"]["psi_target_cm"], dtype=F64)


@pytest.mark.parametrize(("rtol", "allowed"), [(1e-3, 3e-3), (1e-5, 3e-5)])
def test_gradient_of_new_mexico(rtol: float, allowed: float, target: Tensor) -> None:
    logs = new_mexico_logs()
    loss, _ = new_mexico_loss(target, logs, solver=Solver("kvaerno3", rtol=rtol))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(LOSS, rel=allowed)
    assert np.linalg.norm(logs.grad.numpy() - GRADIENT) / np.linalg.norm(GRADIENT) < allowed


def test_target_of_new_mexico_is_our_solution_too(target: Tensor) -> None:
    factors = torch.tensor([1.05, 0.97, 1.15, 1.02, 0.95], dtype=F64)
    values = dict(zip(NAMES, (new_mexico_logs().detach().exp() * factors).unbind(), strict=True))
    _, solution = new_mexico(100, values, solver=Solver(rtol=1e-6))
    assert solution.states[0, 0].numpy() == pytest.approx(target.numpy(), rel=3e-5)


@pytest.mark.parametrize("method", METHODS)
def test_gradient_of_frozen_steps(method: str, target: Tensor) -> None:
    # differences of solves that repeat the same accepted steps have no noise from the choice of
    # steps
    solver = resolved(method, rtol=1e-3)
    logs = new_mexico_logs()
    loss, frozen = new_mexico_loss(target, logs, solver=solver)
    loss.backward()
    differences = torch.zeros_like(logs)
    for i in range(len(NAMES)):
        values = []
        for shift in (1e-5, -1e-5):
            moved = logs.detach().clone()
            moved[i] += shift
            values.append(float(new_mexico_loss(target, moved, solver=solver, replay=frozen)[0]))
        differences[i] = (values[0] - values[1]) / 2e-5
    assert (logs.grad - differences).norm() / differences.norm() < 1e-6


# ---- what else is promised
# ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_checkpoints_give_the_same_solution_and_gradient(method: str) -> None:
    case = Small(method)
    times = torch.linspace(0, 4, 13, dtype=F64)
    results = []
    for checkpoints in (False, True):
        alpha, rain = (
            x.clone().requires_grad_() for x in (case.parameters["alpha"], case.forcing["rain"])
        )
        forcing = {k: v.repeat(1, 4) for k, v in {**case.forcing, "rain": rain}.items()}
        parameters = {**case.parameters, "alpha": alpha}
        solver = Solver(method, rtol=1e-3, checkpoints=checkpoints)
        solution = solve(case.model, forcing, parameters, case.initial, times, solver)
        loss = solution.states.square().mean() * 1e-4 + solution.fluxes["drainage"].sum()
        results.append([solution.states.detach(), *torch.autograd.grad(loss, [alpha, rain])])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_a_parameter_shared_by_the_batch_collects_all_columns() -> None:
    case = Small("kvaerno3", top="flux")
    case.solver = Solver("kvaerno3", rtol=1e-3)
    shared = torch.tensor([[0.05, 0.02]], dtype=F64, requires_grad=True)
    each = shared.detach().expand(2, -1).clone().requires_grad_()
    grads = []
    for x in (shared, each):
        grads += torch.autograd.grad(case.run(parameters={"alpha": x}).states.square().sum(), x)
    torch.testing.assert_close(grads[0], grads[1].sum(0, keepdim=True), rtol=1e-10, atol=1e-12)


def test_unused_outputs_and_inputs_have_zero_gradient() -> None:
    case = Small("trbdf2")
    rain = case.forcing["rain"].clone().requires_grad_()
    solution = case.run(forcing={"rain": rain})
    (g,) = torch.autograd.grad(solution.states[0, 0].sum(), rain)
    # what falls later, or on another column, cannot matter
    assert g[0, 0] != 0 and (g[0, 1:] == 0).all() and (g[1] == 0).all()


@pytest.mark.parametrize("power", [1, 2])  # of a plain sum the cotangents are constants
def test_double_backward_raises_a_clear_error(power: int) -> None:
    case = Small("kvaerno3")
    initial = case.initial.clone().requires_grad_()
    loss = case.run(initial=initial).states.pow(power).sum()
    with pytest.raises(RuntimeError, match="(?i)twice|second derivative|double backward"):
        (g,) = torch.autograd.grad(loss, initial, create_graph=True)
        g.sum().backward()


def test_an_input_changed_in_place_is_noticed() -> None:
    case = Small("kvaerno3")
    initial = case.initial.clone().requires_grad_()
    loss = case.run(initial=initial).states.sum()
    with torch.no_grad():
        initial += 1.0
    with pytest.raises(RuntimeError, match="inplace"):
        loss.backward()


def test_no_graph_is_kept_where_none_is_wanted() -> None:
    case = Small("kvaerno3")
    assert not case.run().states.requires_grad
    alpha = case.parameters["alpha"].clone().requires_grad_()
    with torch.no_grad():
        assert not case.run(parameters={"alpha": alpha}).states.requires_grad


def test_gradients_of_a_failed_column_do_not_spoil_the_others() -> None:
    case = Small("kvaerno3", top="flux")
    grads = []
    easy = case.forcing["top_flux"]
    flood = torch.stack([easy[0], torch.full_like(easy[1], 90.0)])
    case.solver = Solver("kvaerno3", rtol=1e-3, max_steps=60, on_failure="report")
    for top_flux in (easy, flood):
        alpha = case.parameters["alpha"].clone().requires_grad_()
        solution = case.run(parameters={"alpha": alpha}, forcing={"top_flux": top_flux})
        solution.states[0].square().sum().backward()
        grads.append((set(solution.failed), alpha.grad))
    assert grads[0][0] == set() and grads[1][0] == {1}
    assert torch.isfinite(grads[1][1]).all()
    torch.testing.assert_close(grads[1][1][0], grads[0][1][0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_gradients_have_the_dtype_of_their_input(dtype: torch.dtype) -> None:
    case = Small("kvaerno3")
    case.solver = Solver("kvaerno3", rtol=1e-3, dtype=dtype)
    alpha = case.parameters["alpha"].to(torch.float32).requires_grad_()
    case.run(parameters={"alpha": alpha}).states.sum().backward()
    assert alpha.grad.dtype == torch.float32 and torch.isfinite(alpha.grad).all()
