"""Networks inside the equations of a Julia model.

Gradients in their weights, and what is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from richards_cases import F64

from pydiffgeo import JuliaClosure, NeuralClosure, Solution, Solver, solve
from pydiffgeo.errors import ParameterError, PyDiffGeoError, UnknownName
from pydiffgeo.julia import load_model
from pydiffgeo.models.julia_model import JuliaModel

FIVE_STORES = Path(__file__).parents[2] / "pydiffgeo" / "examples" / "julia" / "five_stores.jl"
START, DAYS, BASINS = [30.0, 1.0, 120.0, 10.0, 30.0], 10, 3
SLOT = (
    '\n[closures.recharge]\ninputs = ["wetness"]\noutput = "share of the inflow that reaches '
    'the groundwater"\n'
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The five stores with a network in place of the power law."""
    out = tmp_path_factory.mktemp("learned")
    law, network = "power(wetness, p.BETA)", "p.recharge(wetness)"
    text = FIVE_STORES.read_text()
    assert text.count(law) == 1
    (out / "learned.jl").write_text(text.replace(law, network))
    (out / "learned.toml").write_text(FIVE_STORES.with_suffix(".toml").read_text() + SLOT)
    return out


@pytest.fixture(scope="module")
def model(folder: Path) -> JuliaModel:
    return load_model(
        folder / "learned.jl",
        closures={"recharge": NeuralClosure(1, (16,), output_range=(0.0, 1.0), seed=3)},
    )


def run(
    model: JuliaModel, solver: Solver, FC: Any = 200.0, replay: Solution | None = None
) -> Solution:
    seeded = torch.Generator().manual_seed(0)
    forcing = {
        "precipitation": 10 * torch.rand(BASINS, DAYS, dtype=F64, generator=seeded),
        "temperature": 4 + 4 * torch.randn(BASINS, DAYS, dtype=F64, generator=seeded),
        "potential_evapotranspiration": 1 + torch.rand(BASINS, DAYS, dtype=F64, generator=seeded),
    }
    return solve(
        model, forcing, {"FC": FC}, START, torch.arange(DAYS + 1.0), solver, "julia", replay=replay
    )


@pytest.mark.parametrize(
    ("method", "step"), [("implicit_euler", 1.0), ("sdirk2", 0.5), ("kvaerno3", None)]
)
def test_gradcheck_of_the_weights(
    julia: Any, model: JuliaModel, method: str, step: float | None
) -> None:
    tight = Solver(method, step=step, newton_tolerance=1e-11, max_newton=40)
    frozen = run(model, tight)
    assert float(frozen.balance_error().max()) < 1e-11
    weights = model.closures["recharge"].weights
    start = weights.detach().clone()
    pattern = torch.linspace(-1.0, 1.0, BASINS * DAYS, dtype=F64).view(BASINS, DAYS)

    def loss() -> torch.Tensor:
        s = run(model, tight, replay=None if step else frozen)
        return (pattern * s.fluxes["discharge"]).sum() + s.states[:, -1].sum()

    (gradient,) = torch.autograd.grad(loss(), weights)
    differences = torch.empty_like(gradient)
    with torch.no_grad():
        for i in range(len(weights)):
            ends = []
            for h in (1e-5, -1e-5):
                weights.copy_(start)
                weights[i] += h
                ends.append(float(loss()))
            differences[i] = (ends[0] - ends[1]) / 2e-5
        weights.copy_(start)
    assert float(gradient.abs().min()) > 0
    torch.testing.assert_close(gradient, differences, rtol=1e-6, atol=1e-8)


def test_float32(julia: Any, model: JuliaModel) -> None:
    found = []
    for dtype in (F64, torch.float32):
        s = run(model, Solver("implicit_euler", step=1.0, dtype=dtype))
        q = s.fluxes["discharge"]
        assert q.dtype == dtype
        found.append((q.detach().to(F64), *torch.autograd.grad(q.sum(), model.closure_weights())))
    (exact, gradient), (rough, single) = found
    assert float((rough - exact).abs().max()) < 1e-4 * float(exact.max())
    assert float((single - gradient).norm()) < 1e-3 * float(gradient.norm())


def test_both_languages_compute_the_same(julia: Any) -> None:
    x = torch.linspace(-3.0, 3.0, 12, dtype=F64).view(4, 3)
    for activation, bounds in (
        ("tanh", None),
        ("softplus", (-2.0, 5.0)),
        ("swish", None),
        ("sigmoid", (0.0, 1.0)),
    ):
        c = NeuralClosure(3, (5, 7), activation, bounds, seed=1)
        low, high = bounds or ("NaN", "NaN")
        code = (
            f'let D = pydiffgeo_package, c = D.Closure(D.Network((3, 5, 7, 1), "{activation}"; '
            f"low={low}, high={high})); "
            f"c.weights .= {c.weights.tolist()}; [c(r...) for r in "
            f"{[tuple(r) for r in x.tolist()]}] end"
        )
        found = torch.tensor(list(julia.main.seval(code)), dtype=F64)
        torch.testing.assert_close(c(*x.unbind(-1)), found, rtol=1e-13, atol=1e-14)


def test_training_reaches_a_known_law(julia: Any, model: JuliaModel) -> None:
    truth = run(load_model(FIVE_STORES), Solver("implicit_euler", step=1.0)).fluxes["discharge"]
    start = model.closures["recharge"].weights.detach().clone()
    optimiser = torch.optim.LBFGS(
        model.closure_weights(), max_iter=60, line_search_fn="strong_wolfe"
    )
    losses = []

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (
            (run(model, Solver("implicit_euler", step=1.0)).fluxes["discharge"] - truth)
            .square()
            .mean()
        )
        loss.backward()
        losses.append(float(loss.detach()))
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        model.closures["recharge"].weights.copy_(start)
    assert losses[-1] < 1e-3 * losses[0]


def test_what_does_not_fit_is_refused(folder: Path) -> None:
    with pytest.raises(ParameterError, match=r"inputs wetness, got a network of 2"):
        load_model(folder / "learned.jl", closures={"recharge": NeuralClosure(2)})
    with pytest.raises(ParameterError, match=r"not given: recharge"):
        load_model(folder / "learned.jl")
    with pytest.raises(UnknownName, match=r"recharg.*did you mean 'recharge'"):
        load_model(folder / "learned.jl", closures={"recharg": NeuralClosure(1)})
    with pytest.raises(UnknownName, match="tanh"):
        NeuralClosure(1, activation="tahn")
    with pytest.raises(ParameterError, match="output_range"):
        NeuralClosure(1, output_range=(1.0, 0.0))
    with pytest.raises(ParameterError, match="positive widths"):
        NeuralClosure(1, hidden=(0,))
    with pytest.raises(ParameterError, match="2 inputs was called with 1"):
        NeuralClosure(2)(torch.zeros(3))


def test_state_dict_holds_all(folder: Path, model: JuliaModel) -> None:
    c = NeuralClosure(1, (16,), output_range=(0.0, 1.0), seed=9)
    c.load_state_dict(model.closures["recharge"].state_dict())
    x = torch.linspace(0.0, 1.0, 5, dtype=F64)
    assert torch.equal(c(x), model.closures["recharge"](x))


LUX = {
    "layers": "Chain(Dense(1 => 5, tanh), Dense(5 => 1, sigmoid))",
    "others": "Chain(Dense(1 => 4, gelu), SkipConnection(Dense(4 => 4, swish), +), Dense(4 => 1, "
    "sigmoid))",
}


def with_lux(folder: Path, name: str) -> JuliaModel:
    """The five stores, whose file defines the network."""
    code = (folder / "learned.jl").read_text()
    file = folder / f"lux_{name}.jl"
    file.write_text(f"using Lux\n{code}\nnetworks = (; recharge={LUX[name]})\n")
    file.with_suffix(".toml").write_text((folder / "learned.toml").read_text())
    try:
        return load_model(file, closures={"recharge": JuliaClosure(seed=4)})
    except PyDiffGeoError as error:
        if "Package Lux not found" in str(error):
            pytest.skip("the project of Julia has no Lux")
        raise


def test_a_model_of_lux_in_the_file(julia: Any, folder: Path) -> None:
    """The layers that a NeuralClosure has too.

    The same discharge and gradients with the same weights.
    """
    lux = with_lux(folder, "layers")
    own = load_model(
        folder / "learned.jl",
        closures={"recharge": NeuralClosure(1, (5,), output_range=(0.0, 1.0))},
    )
    weights = lux.closures["recharge"].weights
    assert (
        len(weights) == len(own.closures["recharge"].weights) == 16
        and float(weights.detach().std()) > 0.1
    )
    own.closures["recharge"].load_state_dict(lux.closures["recharge"].state_dict())
    found = []
    for model in (lux, own):
        s = run(model, Solver("implicit_euler", step=1.0, newton_tolerance=1e-11))
        loss = s.fluxes["discharge"].square().sum()
        found.append(
            (s.fluxes["discharge"].detach(), torch.autograd.grad(loss, model.closure_weights())[0])
        )
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-8, atol=1e-12)


def test_any_model_of_lux(julia: Any, folder: Path) -> None:
    """Layers that only Lux has, against central differences."""
    model = with_lux(folder, "others")
    weights = model.closures["recharge"].weights
    solver = Solver("sdirk2", step=0.5, newton_tolerance=1e-11, max_newton=40)
    (gradient,) = torch.autograd.grad(run(model, solver).fluxes["discharge"].sum(), weights)
    with torch.no_grad():
        for i in range(0, len(weights), 5):
            ends = []
            for h in (1e-5, -2e-5):
                weights[i] += h
                ends.append(float(run(model, solver).fluxes["discharge"].sum()))
            weights[i] += 1e-5
            assert float(gradient[i]) == pytest.approx(
                (ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-7
            )
    again = with_lux(folder, "others")
    torch.testing.assert_close(
        again.closures["recharge"].weights, weights, rtol=0, atol=1e-15
    )  # moved there and back


def test_a_network_that_the_file_lacks(julia: Any, folder: Path) -> None:
    with pytest.raises(
        ParameterError,
        match=r"learned.jl defines no network recharge: write networks = \(; recharge = ...\)",
    ):
        load_model(folder / "learned.jl", closures={"recharge": JuliaClosure()})
