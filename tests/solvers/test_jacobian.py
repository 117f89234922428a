"""Analytic Jacobians against coloured forward-mode differentiation, and models that have no
Jacobian of their own.
"""

import pytest
import torch
from torch import Tensor

from pydiffgeo import Grid, MuskingumCunge, ProcessModel, Richards, Roots, Solver, solve
from pydiffgeo.models.base import Values
from pydiffgeo.models.richards.boundaries import BOUNDARIES
from pydiffgeo.models.richards.face_means import FACE_MEANS
from pydiffgeo.models.spec import FluxSpec, ForcingSpec, ModelSpec, ParameterSpec, StateSpec
from pydiffgeo.solvers.jacobian import coloured

SCALES = {
    "top_head": -50.0, "bottom_head": -90.0, "top_flux": 0.1, "bottom_flux": 0.1,
    "rain": 0.8, "potential_evaporation": 0.04, "potential_transpiration": 0.04,
}  # fmt: skip
TOPS = [k for k, b in BOUNDARIES.items() if b.top_allowed]
BOTTOMS = [k for k, b in BOUNDARIES.items() if b.bottom_allowed]


@pytest.mark.parametrize("layers", [(0.0,), (0.0, 40.0, 70.0)])
@pytest.mark.parametrize("bottom", BOTTOMS)
@pytest.mark.parametrize("top", TOPS)
def test_richards_jacobian(top: str, bottom: str, layers: tuple[float, ...]) -> None:
    g = torch.Generator().manual_seed(7)

    def random(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g, dtype=torch.float64)

    for face_mean in FACE_MEANS:
        model = Richards(
            Grid.uniform(100, 10, layers=layers),
            top=top,
            bottom=bottom,
            roots=Roots(),
            face_mean=face_mean,
        )
        raw = {
            k: torch.full((1, 1), s.default, dtype=torch.float64)
            for k, s in model.spec.parameters.items()
        }
        n = len(layers)
        raw |= {
            "K_s": random(2, n) + 0.5,
            "n": 1.3 + random(2, n),
            "alpha": 0.02 + 0.02 * random(2, n),
        }
        p = model.prepare(raw)
        forcing = {k: random(2, 1) * SCALES[k] for k in model.spec.forcings}
        psi = -torch.exp(random(2, 10) * 8 - 1)
        psi[0, -2:] = 3.0  # a saturated bottom
        if model.size > 10:  # a pond, and a dry surface
            psi = torch.cat([torch.tensor([[0.5], [0.004]], dtype=torch.float64), psi], -1)
        own, other = model.linearise(psi, forcing, p), coloured(model, psi, forcing, p)
        for a, b in zip((*own[:3], *own.jacobian), (*other[:3], *other.jacobian), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
        evaluated = model.evaluate(psi, forcing, p, fluxes=True)
        torch.testing.assert_close(evaluated.rates, own.rates, rtol=1e-12, atol=1e-15)
        # the rates of all cells add up to the fluxes that enter the balance
        signs = torch.tensor([f.balance for f in model.spec.fluxes.values()], dtype=torch.float64)
        net = (evaluated.fluxes * signs).sum(-1)
        torch.testing.assert_close(model.total_storage(own.rates), net, rtol=1e-10, atol=1e-12)


def chain_spec(n: int) -> ModelSpec:
    return ModelSpec(
        name="chain",
        title="chain of linear stores",
        time_unit="d",
        states={"S": StateSpec("S", "mm", 10.0, "S", "mm", 10.0)},
        parameters={"k": ParameterSpec("k", "d-1", 0.01, 2.0, 0.3, "log")},
        forcings={"rain": ForcingSpec("rain", "mm d-1", 0.0)},
        fluxes={
            "rain_in": FluxSpec("rain_in", "mm d-1", 1),
            "outflow": FluxSpec("outflow", "mm d-1", -1),
        },
        closures={},
    )


class Chain(ProcessModel):
    """Linear stores that spill half to the next and half to the one after it.

    Lower bandwidth 2, no Jacobian given.
    """

    def __init__(self, structure: str, n: int = 6):
        self.spec, self.size, self.structure, self.bandwidth = chain_spec(n), n, structure, (2, 0)

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        out = parameters["k"] * state
        into = torch.zeros_like(out)
        into = (
            into
            + torch.nn.functional.pad(0.5 * out[..., :-1], (1, 0))
            + torch.nn.functional.pad(0.5 * out[..., :-2], (2, 0))
        )
        first = torch.zeros(self.size, dtype=state.dtype)
        first[0] = 1.0
        return forcing["rain"] * first + into - out

    def fluxes(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        out = parameters["k"] * (state[..., -1:] + 0.5 * state[..., -2:-1])
        return torch.cat([forcing["rain"].expand_as(out), out], -1)


@pytest.mark.parametrize("method", ["implicit_euler", "sdirk2", "trbdf2", "kvaerno3"])
@pytest.mark.parametrize("structure", ["dense", "banded"])
def test_a_model_without_jacobian_against_the_matrix_exponential(
    structure: str, method: str
) -> None:
    model = Chain(structure)
    k = torch.tensor([0.4, 0.9], dtype=torch.float64, requires_grad=True)
    start = torch.arange(6.0, dtype=torch.float64) + 1
    times = [0.0, 1.0, 3.0]

    def exact(rate: Tensor) -> Tensor:
        M = torch.zeros(6, 6, dtype=torch.float64)
        for i in range(6):
            M[i, i] = -1
            for j in (1, 2):
                if i + j < 6:
                    M[i + j, i] = 0.5
        steady = -torch.linalg.solve(M, torch.eye(6, dtype=torch.float64)[0])  # times rain / k
        rain = 2.0
        return steady * rain / rate + torch.linalg.matrix_exp(M * rate * 3.0) @ (
            start - steady * rain / rate
        )

    rtol = 1e-4 if method == "implicit_euler" else 1e-6
    s = solve(
        model, {"rain": 2.0}, {"k": k}, start, times, Solver(method, rtol=rtol, atol=rtol * 1e-2)
    )
    expected = torch.stack([exact(r) for r in k])
    size = 5e-3 if method == "implicit_euler" else 2e-4
    torch.testing.assert_close(s.states[:, -1], expected, rtol=size, atol=size)
    assert float(s.balance_error().max()) < 1e-12
    (g,) = torch.autograd.grad(s.states[:, -1].square().sum(), k, retain_graph=True)
    (h,) = torch.autograd.grad(expected.square().sum(), k)
    torch.testing.assert_close(g, h, rtol=10 * size, atol=0)


def test_slopes_take_the_place_of_automatic_differentiation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Steps of error control, too: forward-mode differentiation costs several times as much."""
    monkeypatch.setattr("pydiffgeo.solvers.jacobian.coloured", None)
    model = MuskingumCunge()
    forcing = {"inflow": torch.full((2, 3), 20.0), "lateral_inflow": torch.ones(2, 3)}
    times, start = torch.arange(4) * 86400.0, torch.full((2, 1), 1000.0)
    solution = solve(model, forcing, {}, start, times, "kvaerno3", "torch")
    assert float(solution.fluxes["discharge"][:, -1].min()) == pytest.approx(21.0, rel=1e-3)
