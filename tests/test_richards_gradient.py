"""The gradient of a Richards solve: against references, differences of frozen steps, and gradcheck for every input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from richards_cases import F64, METHODS, NEW_MEXICO, NEW_MEXICO_REFERENCE, new_mexico, resolved
from torch import Tensor

from pydiffgeo import Grid, Richards, Roots, Solution, Solver, solve
from pydiffgeo.models.soil_hydraulics import UserHydraulics

Find = Callable[[str], Path]
NAMES = ("alpha", "n", "K_s", "theta_s", "theta_r")

# ---- New Mexico: dL/dln(parameter) of L = mean(((psi - psi*) / 100)^2) --------------------------------

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
    # differences of solves that repeat the same accepted steps have no noise from the choice of steps
    solver = resolved(method, rtol=1e-3)
    logs = new_mexico_logs()
    loss, frozen = new_mexico_loss(target, logs, solver=solver)
    loss.backward()
    differences = torch.zeros_like(logs)
    for i in range(len(NAMES)):
        values = []
        for shift in (2e-5, 1e-5, -1e-5, -2e-5):
            moved = logs.detach().clone()
            moved[i] += shift
            values.append(float(new_mexico_loss(target, moved, solver=solver, replay=frozen)[0]))
        # fourth order
        differences[i] = (8 * (values[1] - values[2]) - (values[0] - values[3])) / (12 * 1e-5)
    assert (logs.grad - differences).norm() / differences.norm() < 1e-6


# ---- gradcheck: every method, every kind of input, all outputs ----------------------------------------

TIMES = torch.tensor([0.0, 0.4, 1.0, 1.5], dtype=F64)


class Small:
    """Two columns of six cells and two soils, 1.5 hours; any of their inputs may be replaced."""

    def __init__(self, method: str, top: str = "atmospheric", bottom: str = "free_drainage", **model: Any):
        grid = Grid.from_faces([0.0, 2.0, 5.0, 9.0, 14.0, 20.0, 30.0], layers=[0.0, 9.0])
        self.model = Richards(grid, top=top, bottom=bottom, **model)
        self.solver = resolved(method, rtol=1e-2)
        weather = {
            "rain": [[3.0, 0.0, 0.2], [0.5, 0.0, 1.5]],
            "potential_evaporation": [[0.0, 0.05, 0.02], [0.01, 0.08, 0.0]],
            "potential_transpiration": [[0.02, 0.05, 0.04], [0.06, 0.03, 0.01]],
            "top_head": [[-30.0, -80.0, -10.0], [-5.0, 2.0, -40.0]],
            "top_flux": [[0.3, -0.02, 0.1], [0.8, 0.0, 0.2]],
            "bottom_head": [[-60.0, -40.0, -90.0], [-20.0, -15.0, -30.0]],
            "bottom_flux": [[0.02, -0.03, 0.0], [0.05, 0.01, -0.02]],
        }
        self.forcing = {k: torch.tensor(weather[k], dtype=F64) for k in self.model.spec.forcings}
        soils = {
            "theta_r": [[0.065, 0.095], [0.078, 0.034]],
            "theta_s": [[0.41, 0.41], [0.43, 0.46]],
            "alpha": [[0.075, 0.019], [0.036, 0.016]],
            "n": [[1.89, 1.31], [1.56, 1.37]],
            "K_s": [[4.42, 0.26], [1.04, 0.25]],
            "ponding_height": [0.3, 1.0],
        }
        self.parameters = {k: torch.tensor(v, dtype=F64) for k, v in soils.items() if k in self.model.spec.parameters}
        self.initial = torch.linspace(-60.0, -30.0, 6, dtype=F64) - torch.tensor([[0.0], [150.0]], dtype=F64)
        self.frozen = self.run()

    def run(self, initial: Tensor | None = None, parameters: Any = None, forcing: Any = None, **more: Any) -> Solution:
        return solve(
            self.model,
            forcing={**self.forcing, **(forcing or {})},
            parameters={**self.parameters, **(parameters or {})},
            initial_state=self.initial if initial is None else initial,
            times=TIMES,
            solver=self.solver,
            engine="torch",
            **more,
        )

    def outputs(self, **inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        """States, fluxes and storage of the frozen steps."""
        s = self.run(**inputs, replay=self.frozen)
        return s.states, torch.stack(list(s.fluxes.values())), s.storage

    def check(self, value: Tensor, inputs: Callable[[Tensor], dict[str, Any]]) -> bool:
        """Compare the gradient of every output in a value with central differences."""
        value = value.clone().requires_grad_()
        # relative steps: the inputs range from 1e-6 to 1e4
        size = value.detach().abs().clamp_min(1e-3)
        unit = (value.detach() / size).requires_grad_()
        return torch.autograd.gradcheck(
            lambda x: self.outputs(**inputs(x * size)), unit, eps=1e-6, atol=1e-7, rtol=1e-5, fast_mode=False
        )


@pytest.mark.parametrize("method", METHODS)
def test_gradcheck_initial_state(method: str) -> None:
    case = Small(method)
    assert case.check(case.initial, lambda x: {"initial": x})


@pytest.mark.parametrize("method", METHODS)
def test_gradcheck_static_parameter(method: str) -> None:
    case = Small(method, roots=Roots())
    for name, values in (("ponding_height", [0.3, 1.0]), ("root_depth", [20.0, 40.0])):
        assert case.check(torch.tensor(values, dtype=F64), lambda x, name=name: {"parameters": {name: x}})


@pytest.mark.parametrize("name", ["theta_r", "theta_s", "alpha", "n", "K_s", "specific_storage"])
@pytest.mark.parametrize("method", METHODS)
def test_gradcheck_layered_parameter(method: str, name: str) -> None:
    case = Small(method, top="head")
    value = case.parameters.get(name, torch.tensor([[1e-4, 2e-4], [5e-4, 1e-3]], dtype=F64))
    assert case.check(value, lambda x: {"parameters": {name: x}})


@pytest.mark.parametrize("method", METHODS)
def test_gradcheck_time_varying_parameter(method: str) -> None:
    case = Small(method, roots=Roots())
    for name, value in (
        ("root_depth", [[10.0, 15.0, 20.0], [30.0, 25.0, 20.0]]),
        ("feddes_3", [[-40.0, -50.0, -60.0], [-200.0, -150.0, -180.0]]),
        ("ponding_height", [[0.1, 0.2, 0.3], [1.0, 0.5, 0.2]]),
    ):
        assert case.check(torch.tensor(value, dtype=F64), lambda x, name=name: {"parameters": {name: x}})


COMBINATIONS = {
    "rain": ("atmospheric", "seepage_face"),
    "potential_evaporation": ("atmospheric", "free_drainage"),
    "potential_transpiration": ("flux", "free_drainage"),
    "top_head": ("head", "flux"),
    "top_flux": ("flux", "seepage_face"),
    "bottom_head": ("flux", "head"),
    "bottom_flux": ("head", "flux"),
}


@pytest.mark.parametrize("name", COMBINATIONS)
@pytest.mark.parametrize("method", METHODS)
def test_gradcheck_forcing(method: str, name: str) -> None:
    top, bottom = COMBINATIONS[name]
    case = Small(method, top, bottom, roots=Roots() if name == "potential_transpiration" else None)
    assert case.check(case.forcing[name], lambda x: {"forcing": {name: x}})


@pytest.mark.parametrize("face_mean", ["geometric", "harmonic", "upstream"])
def test_gradcheck_of_the_other_face_means(face_mean: str) -> None:
    case = Small("kvaerno3", face_mean=face_mean)
    assert case.check(case.parameters["alpha"], lambda x: {"parameters": {"alpha": x}})


@pytest.mark.parametrize(
    ("hydraulics", "name", "value"),
    [
        ("brooks_corey", "psi_b", [15.0, 25.0]),
        ("brooks_corey", "pore_index", [0.4, 0.7]),
        ("gardner", "alpha", [0.05, 0.02]),
        ("haverkamp", "A_theta", [1.6e6, 1e6]),
        ("haverkamp", "gamma", [4.7, 4.0]),
    ],
)
def test_gradcheck_of_the_other_soils(hydraulics: str, name: str, value: list[float]) -> None:
    case = Small("kvaerno3", hydraulics=hydraulics)
    given = torch.tensor(value, dtype=F64)[:, None]
    case.parameters = {"ponding_height": case.parameters["ponding_height"], name: given}
    case.frozen = case.run()
    assert case.check(given, lambda x: {"parameters": {name: x}})


class Conductivity(torch.nn.Module):
    """K = exp of a small network of asinh(psi); positive weights make it grow with psi."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = torch.nn.Parameter(0.3 * torch.randn(2, 4, dtype=F64))
        self.out = torch.nn.Parameter(0.3 * torch.randn(4, dtype=F64))

    def forward(self, psi: Tensor, p: Any) -> Tensor:
        x = torch.asinh(psi.clamp_max(0.0)).unsqueeze(-1)
        y = torch.tanh(0.2 * torch.exp(self.hidden[0]) * (x + 4) + self.hidden[1]) * torch.exp(self.out)
        return p["K_s"] * torch.exp(y.sum(-1) - torch.exp(self.out).sum())


@pytest.mark.parametrize("method", METHODS)
def test_gradcheck_closure_weights(method: str) -> None:
    torch.manual_seed(0)
    network = Conductivity()
    hydraulics = UserHydraulics(
        lambda psi, p: 0.05 + 0.4 / (1 + (0.03 * (-psi).clamp_min(0.0)) ** 2) ** 0.4,
        network,
        parameters=["K_s"],
    )
    case = Small(method, top="flux", hydraulics=hydraulics)
    assert len(case.model.closure_weights()) == 2
    weights = tuple(network.parameters())
    # gradcheck moves the weights in place, where the network sees it
    assert torch.autograd.gradcheck(lambda *_: case.outputs(), weights, eps=1e-6, atol=1e-7, rtol=1e-5)


# ---- what else is promised ----------------------------------------------------------------------------


def test_checkpoints_give_the_same_gradient() -> None:
    grads = []
    for checkpoints in (False, True):
        case = Small("kvaerno3")
        case.solver = Solver("kvaerno3", rtol=1e-3, checkpoints=checkpoints)
        alpha, rain = (x.clone().requires_grad_() for x in (case.parameters["alpha"], case.forcing["rain"]))
        times = torch.linspace(0, 4, 13, dtype=F64)
        forcing = {k: v.repeat(1, 4) for k, v in {**case.forcing, "rain": rain}.items()}
        solution = solve(
            case.model, forcing, {**case.parameters, "alpha": alpha}, case.initial, times, case.solver, engine="torch"
        )
        loss = solution.states.square().mean() * 1e-4 + solution.fluxes["drainage"].sum()
        grads.append(torch.autograd.grad(loss, [alpha, rain]))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_a_parameter_shared_by_the_batch_collects_all_columns() -> None:
    case = Small("kvaerno3", top="flux")
    case.solver = Solver("kvaerno3", rtol=1e-3)
    shared = torch.tensor([[0.05, 0.02]], dtype=F64, requires_grad=True)
    each = shared.detach().expand(2, -1).clone().requires_grad_()
    grads = [
        torch.autograd.grad(case.run(parameters={"alpha": x}).states.square().sum(), x)[0] for x in (shared, each)
    ]
    torch.testing.assert_close(grads[0], grads[1].sum(0, keepdim=True), rtol=1e-10, atol=1e-12)


def test_unused_outputs_and_inputs_have_zero_gradient() -> None:
    case = Small("trbdf2")
    rain = case.forcing["rain"].clone().requires_grad_()
    solution = case.run(forcing={"rain": rain})
    (g,) = torch.autograd.grad(solution.states[0, 0].sum(), rain)
    # what falls later, or on another column, cannot matter
    assert g[0, 0] != 0 and (g[0, 1:] == 0).all() and (g[1] == 0).all()


def test_double_backward_raises_a_clear_error() -> None:
    case = Small("kvaerno3")
    initial = case.initial.clone().requires_grad_()
    loss = case.run(initial=initial).states.square().sum()
    (g,) = torch.autograd.grad(loss, initial, create_graph=True)
    with pytest.raises(RuntimeError, match="(?i)twice|second derivative|double backward"):
        torch.autograd.grad(g.sum(), initial)


def test_no_graph_is_kept_where_none_is_wanted() -> None:
    case = Small("kvaerno3")
    assert not case.run().states.requires_grad
    alpha = case.parameters["alpha"].clone().requires_grad_()
    with torch.no_grad():
        assert not case.run(parameters={"alpha": alpha}).states.requires_grad


def test_gradients_of_a_failed_column_do_not_spoil_the_others() -> None:
    case = Small("kvaerno3", top="flux")
    solver = Solver("kvaerno3", rtol=1e-3, max_steps=60, on_failure="report")
    grads = []
    for top_flux in (case.forcing["top_flux"], torch.stack([case.forcing["top_flux"][0], torch.full((3,), 90.0)])):
        case.solver = solver
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
