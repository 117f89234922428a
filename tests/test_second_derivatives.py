"""Second derivatives: our own error on every road where gradients are written by hand, right where
torch computes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from richards_cases import F64
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.functional import hessian, hvp, jacobian, jvp, vhp

from pydiffgeo import (
    HBV,
    ExpHydro,
    Grid,
    NeuralClosure,
    Photosynthesis,
    Richards,
    Solver,
    solve,
    usda_soil,
)
from pydiffgeo.errors import DerivativeError
from pydiffgeo.julia import function
from pydiffgeo.networks import LSTM, Features, Sizes
from pydiffgeo.routing import route

Loss = Callable[[Tensor], Tensor]

RAIN = torch.tensor([[9.0, 0.0, 4.0, 20.0]], dtype=F64)
NETWORK = LSTM(hidden=4)
NETWORK.build(Sizes(1, 1), 1)
NETWORK.double()
CLOSURE = NeuralClosure(1, hidden=(8,), output_range=(0.0, 1.0))


def bucket(solver: Solver, engine: str, **model: Any) -> Callable[[Tensor], Tensor]:
    """Discharge of HBV as a function of its field capacity and its rain."""

    def run(x: Tensor) -> Tensor:
        days = {
            "precipitation": RAIN * x[1],
            "temperature": 5.0,
            "potential_evapotranspiration": 1.0,
        }
        return solve(HBV(**model), days, {"FC": x[:1]}, 20.0, range(5), solver, engine).fluxes[
            "discharge"
        ][0]

    return run


def soil(engine: str) -> Callable[[Tensor], Tensor]:
    """Heads of a column as a function of alpha and the head at the top.

    And the storage at its start, which torch computes.
    """

    def run(x: Tensor) -> Tensor:
        model = Richards(Grid.uniform(20.0, 4), top="head", bottom="head")
        top = {"top_head": -75.0 * x[1], "bottom_head": -1000.0}
        loam = usda_soil("loam") | {"alpha": 1e-4 * x[0]}
        s = solve(model, top, loam, -1000.0, [0.0, 0.1, 0.2], Solver("trbdf2", rtol=1e-2), engine)
        return torch.cat([s.states.flatten(), s.storage.flatten()]) / 100

    return run


def leaf(engine: str) -> Callable[[Tensor], Tensor]:
    """Every state and flux of a leaf, whose states store nothing, by its capacity and its light."""

    def run(x: Tensor) -> Tensor:
        model = Photosynthesis()
        air = {k: f.typical for k, f in model.spec.forcings.items()} | {"par": 900.0 * x[1:]}
        given = {"V_cmax25": x[:1] / 4}
        solver = Solver("implicit_euler", step=1.0)
        s = solve(model, air, given, model.start(given), range(2), solver, engine)
        return torch.cat([s.states.flatten(), *[q.flatten() for q in s.fluxes.values()]])

    return run


def lstm(x: Tensor) -> Tensor:
    """Outputs of an LSTM on a CPU."""
    return NETWORK(Features(x[:1, None], (RAIN * x[1])[..., None], 0)).flatten()


def unknown(name: str, engine: str) -> Callable[[Tensor], Tensor]:
    """What is to be differentiated; a function of two numbers."""
    if name == "steps":
        return bucket(Solver("kvaerno3", rtol=1e-2), engine)
    if name == "windows":
        return bucket(Solver("implicit_euler", step=1.0), engine)
    if name == "routed":
        return lambda x: route(
            bucket(Solver("implicit_euler", step=1.0), engine)(x)[None], x[:1] / 200, x[1:]
        ).flatten()
    return {"soil": soil, "leaf": leaf}[name](engine)


START = torch.tensor([200.0, 1.1], dtype=F64)


def loss_of(run: Callable[[Tensor], Tensor], power: int = 2) -> Loss:
    return lambda x: run(x).pow(power).sum()


def twice(f: Loss, x: Tensor) -> None:
    """Double backward, through a plain sum of the gradient."""
    (g,) = torch.autograd.grad(f(x), x, create_graph=True)
    g.sum().backward()


def of_logarithms(f: Loss) -> Loss:
    return lambda x: f(x.log().exp())


def behind_a_layer(f: Loss) -> Loss:
    layer = torch.nn.Linear(2, 2, bias=False).double()
    torch.nn.init.eye_(layer.weight)
    return lambda x: f(layer(x))


def pushed(f: Loss, x: Tensor) -> None:
    """Forward mode."""
    with forward_ad.dual_level():
        f(forward_ad.make_dual(x.detach(), torch.ones_like(x)))


ROADS: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Any]] = {
    "hessian": lambda run, x: hessian(loss_of(run), x),
    "hessian of a plain sum": lambda run, x: hessian(loss_of(run, 1), x),
    "hessian of logarithms": lambda run, x: hessian(of_logarithms(loss_of(run)), x),
    "hessian, vectorised": lambda run, x: hessian(loss_of(run), x, vectorize=True),
    "hessian, forward": lambda run, x: hessian(
        loss_of(run), x, vectorize=True, outer_jacobian_strategy="forward-mode"
    ),
    "hvp": lambda run, x: hvp(loss_of(run), x, torch.ones_like(x)),
    "vhp": lambda run, x: vhp(loss_of(run, 1), x, torch.ones_like(x)),
    "jvp": lambda run, x: jvp(run, x, torch.ones_like(x)),
    "double backward": lambda run, x: twice(loss_of(run), x),
    "double backward of a plain sum": lambda run, x: twice(loss_of(run, 1), x),
    "double backward behind a layer": lambda run, x: twice(behind_a_layer(loss_of(run, 1)), x),
    "gradgradcheck": lambda run, x: torch.autograd.gradgradcheck(run, x),
    "forward mode": lambda run, x: pushed(loss_of(run), x),
    "func.grad": lambda run, x: torch.func.grad(loss_of(run))(x),
    "func.vjp": lambda run, x: torch.func.vjp(run, x),
    "func.jvp": lambda run, x: torch.func.jvp(run, (x,), (x,)),
    "func.jacrev": lambda run, x: torch.func.jacrev(run)(x),
    "func.jacfwd": lambda run, x: torch.func.jacfwd(run)(x),
    "func.hessian": lambda run, x: torch.func.hessian(loss_of(run))(x),
    "func.vmap": lambda run, x: torch.func.vmap(run)(x[None]),
}


CASES = [("windows", road) for road in ROADS] + [
    (name, road)
    for name in ("steps", "soil", "routed", "leaf")
    for road in ROADS
    if "double" in road
    or road in ("hessian", "hessian of logarithms", "hvp", "func.jacrev", "forward mode")
]


@pytest.mark.parametrize(("name", "road"), CASES)
def test_a_solve_has_none(name: str, road: str, engine: str) -> None:
    with pytest.raises(DerivativeError, match=r"^solve .*Gauss-Newton.*\.$"):
        ROADS[road](unknown(name, engine), START.clone().requires_grad_())


@pytest.mark.parametrize("road", ROADS)
def test_the_lstm_has_none(road: str) -> None:
    with pytest.raises(DerivativeError, match=r"^the LSTM .*Gauss-Newton.*\.$"):
        ROADS[road](lstm, START.clone().requires_grad_())


@pytest.mark.parametrize("road", ROADS)
def test_a_function_of_julia_has_none(road: str, julia: Any) -> None:
    f = function("x -> [x[1] * x[2], x[2]^3]")
    with pytest.raises(DerivativeError, match=r"^a Julia function .*Gauss-Newton.*\.$"):
        ROADS[road](f, START.clone().requires_grad_())


@pytest.mark.parametrize(
    "solver", [Solver("kvaerno3", rtol=1e-2), Solver("implicit_euler", step=1.0)]
)
def test_weights_inside_the_equations_have_none(solver: Solver, engine: str) -> None:
    if engine == "julia" and solver.step is None:
        pytest.skip("Julia would compile another method, whose gradient takes the same way back")
    run = bucket(solver, engine, closures={"recharge": CLOSURE})
    (g,) = torch.autograd.grad(run(START).sum(), CLOSURE.weights, create_graph=True)
    assert bool((g != 0).any())
    with pytest.raises(DerivativeError, match="solve has no second derivatives"):
        torch.autograd.grad(g.sum(), CLOSURE.weights)


@pytest.mark.parametrize("name", ["steps", "windows", "soil", "routed"])
def test_first_derivatives_by_every_road(name: str, engine: str) -> None:
    run, x = unknown(name, engine), START.clone().requires_grad_()
    y = run(x)
    rows = torch.stack([torch.autograd.grad(y[i], x, retain_graph=True)[0] for i in range(len(y))])
    for create_graph in (False, True):
        torch.testing.assert_close(
            jacobian(run, x, create_graph).detach(), rows, rtol=1e-12, atol=1e-14
        )
    with pytest.raises(DerivativeError, match="solve has no vectorised gradients"):
        jacobian(run, x, vectorize=True)
    with pytest.raises(DerivativeError, match="solve has no vectorised gradients"):
        torch.func.vmap(lambda v: torch.autograd.grad(y, x, v, retain_graph=True)[0])(
            torch.eye(len(y), dtype=F64)
        )
    # the road that the errors name: J^T J against the differences of gradients of a sum of squares,
    # at its least value
    target = y.detach()

    def gradient(at: Tensor) -> Tensor:
        at = at.clone().requires_grad_()
        return torch.autograd.grad(0.5 * (run(at) - target).square().sum(), at)[0]

    if name != "steps" and name != "soil":  # whose steps are chosen anew
        shifts = torch.diag(START * 1e-5)
        differences = torch.stack(
            [(gradient(START + d) - gradient(START - d)) / (2 * d.sum()) for d in shifts]
        )
        torch.testing.assert_close(rows.T @ rows, differences, rtol=1e-5, atol=1e-9)


def test_what_torch_computes_keeps_them() -> None:
    flow, a, b = (
        x.requires_grad_()
        for x in (torch.rand(2, 5, dtype=F64), torch.rand(2, dtype=F64), torch.rand(2, dtype=F64))
    )
    assert torch.autograd.gradgradcheck(lambda *x: route(*x, 3), (flow, a, b))
    wetness = torch.rand(3, dtype=F64, requires_grad=True)

    def closure(x: Tensor, weights: Tensor) -> Tensor:
        return torch.func.functional_call(CLOSURE, {"weights": weights}, (x,))

    assert torch.autograd.gradgradcheck(
        closure, (wetness, CLOSURE.weights.detach().requires_grad_())
    )
    shape = torch.rand(2, dtype=F64)
    by_backward = hessian(lambda x: route(flow.detach(), x, x, 3).square().sum(), shape)
    by_func = torch.func.hessian(lambda x: route(flow.detach(), x, x, 3).square().sum())(shape)
    torch.testing.assert_close(by_func, by_backward, rtol=1e-10, atol=1e-12)


def test_storage_at_the_start_counts() -> None:
    """It is a result like the others: neither a constant nor a second way to half a Hessian."""
    start = torch.tensor([30.0, 200.0], dtype=F64, requires_grad=True)
    days = {"precipitation": RAIN, "temperature": 5.0, "potential_evapotranspiration": 1.0}
    s = solve(ExpHydro(), days, {}, start, range(5), Solver("kvaerno3", rtol=1e-2), "torch")
    (g,) = torch.autograd.grad(s.storage[0, 0], start)
    assert g.tolist() == [1.0, 1.0]
