"""Each state has its own scale, tolerance and lower bound.

The order of the states changes nothing, on either engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pydiffgeo import ProcessModel, Solution, Solver, solve
from pydiffgeo.errors import ParameterError, UnknownName
from pydiffgeo.julia import load_model
from pydiffgeo.models.base import Values
from pydiffgeo.models.spec_files import load_spec

F64 = torch.float64
DAYS = [0.0, 1.0, 2.5]
K, A, B = 0.7, 0.4, 0.02
START = {"water": 100.0, "solute": 1e-3, "warmth": -2.0}

STATE = (
    '[states.{name}]\nunit = "{unit}"\nscale = {scale}\n{lower}'
    'storage = "{name}"\nstorage_unit = "{unit}"\nstorage_scale = {scale}\n'
)
STATES = {
    "water": STATE.format(name="water", unit="mm", scale=100.0, lower="lower = 0.0\n"),
    "solute": STATE.format(name="solute", unit="kg m-2", scale=1e-3, lower="lower = 0.0\n"),
    "warmth": STATE.format(
        name="warmth", unit="K", scale=1.0, lower=""
    ),  # no store: it may have any sign
}
REST = (
    '[parameters.k]\nunit = "d-1"\nlower = 0.1\nupper = 2.0\ndefault = 0.7\n'
    '[forcings.rain]\nunit = "mm d-1"\n[fluxes.runoff]\nunit = "mm d-1"\nbalance = 0\n'
)
JULIA = """
function rates(u, f, p)
    {names} = u
    runoff = p.k * water
    water_, solute_, warmth_ = f.rain - runoff, -({A} + {B} * water) * solute, f.rain - warmth
    return SVector({changes}), SVector(runoff)
end
"""


class Tracer(ProcessModel):
    """A linear reservoir, a solute that decays the faster the more water there is, and a
    temperature that follows the rain.
    """

    def __init__(self, spec: Path) -> None:
        self.spec = load_spec(spec)
        self.order = list(self.spec.states)
        self.size = len(self.order)

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        u = dict(zip(self.order, state.unbind(-1), strict=True))
        rain = forcing["rain"][..., 0]
        out = {
            "water": rain - parameters["k"][..., 0] * u["water"],
            "solute": -(A + B * u["water"]) * u["solute"],
            "warmth": rain - u["warmth"],
        }
        return torch.stack([out[k].expand_as(u["water"]) for k in self.order], -1)

    def fluxes(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        return parameters["k"] * state[..., [self.order.index("water")]]


Model = Callable[[list[str]], ProcessModel]


@pytest.fixture(scope="module")
def model(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Model:
    @cache  # Julia compiles a model once
    def make(*order: str) -> ProcessModel:
        stem = tmp_path_factory.mktemp("tracer") / "_".join(order)
        stem.with_suffix(".toml").write_text(
            'name = "tracer"\ntime_unit = "d"\n' + "".join(STATES[k] for k in order) + REST
        )
        if engine == "torch":
            return Tracer(stem.with_suffix(".toml"))
        names = ", ".join(order)
        stem.with_suffix(".jl").write_text(
            JULIA.format(names=names, changes=names.replace(",", "_,") + "_", A=A, B=B)
        )
        return load_model(stem.with_suffix(".jl"))

    return lambda order: make(*order)


def exact(rain: list[float]) -> dict[str, list[float]]:
    """The analytic solution at the ends of the intervals."""
    w, c, t = START["water"], START["solute"], START["warmth"]
    out: dict[str, list[float]] = {k: [] for k in START}
    for r, h in zip(rain, [b - a for a, b in zip(DAYS, DAYS[1:], strict=False)], strict=True):
        fallen = (1 - math.exp(-K * h)) / K
        c *= math.exp(-A * h - B * (r / K * h + (w - r / K) * fallen))
        w, t = r / K + (w - r / K) * math.exp(-K * h), r + (t - r) * math.exp(-h)
        for name, value in (("water", w), ("solute", c), ("warmth", t)):
            out[name].append(value)
    return out


RAIN = [[0.0, 20.0], [30.0, 0.0]]


def run(model: ProcessModel, solver: Solver) -> tuple[Solution, dict[str, Tensor]]:
    """Solution, and the states by name."""
    order = list(model.spec.states)
    initial = torch.tensor([[START[k] for k in order]] * 2, dtype=F64)
    s = solve(
        model,
        {"rain": torch.tensor(RAIN, dtype=F64)},
        {"k": torch.full((2,), K, dtype=F64)},
        initial,
        DAYS,
        solver,
    )
    return s, dict(zip(order, s.states.unbind(-1), strict=True))


ORDERS = [
    ["water", "solute", "warmth"],
    ["warmth", "solute", "water"],
    ["solute", "water", "warmth"],
]
SOLVERS = [
    Solver("kvaerno3"),
    Solver("sdirk2"),
    Solver("trbdf2", rtol=1e-2, atol=1e-4),
    Solver("implicit_euler", step=0.25),
    Solver("sdirk2", step=0.25),
    Solver("implicit_euler", step=0.25, checkpoints=True),
    Solver("kvaerno3", step=0.25),
]


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: f"{s.method} {s.step}")
def test_the_order_of_the_states_changes_nothing(model: Model, solver: Solver) -> None:
    first, states = run(model(ORDERS[0]), solver)
    for order in ORDERS[1:]:
        other, moved = run(model(order), solver)
        for name in START:
            if first.engine == "torch":
                assert torch.equal(moved[name], states[name]), name
            torch.testing.assert_close(moved[name], states[name], rtol=1e-10, atol=0)
        for count in ("accepted", "rejected", "newton_iterations"):
            assert torch.equal(other.stats[count], first.stats[count])


@pytest.mark.parametrize("method", ["kvaerno3", "sdirk2", "trbdf2"])
def test_a_small_state_is_as_accurate_as_a_large_one(model: Model, method: str) -> None:
    _, states = run(model(ORDERS[0]), Solver(method, rtol=1e-4))
    for name, scale in (("water", 100.0), ("solute", 1e-3), ("warmth", 1.0)):
        true = torch.tensor([exact(r)[name] for r in RAIN], dtype=F64)
        error = (states[name] - true).abs() / (true.abs() + scale)
        assert float(error.max()) < 2e-3, (name, error)
        assert name == "warmth" or float(states[name].min()) >= 0.0


def test_a_tolerance_for_a_state_by_name(model: Model) -> None:
    tracer = model(ORDERS[0])
    loose, tight = (
        run(tracer, Solver("sdirk2", atol=atol))
        for atol in ({"warmth": 0.5}, {"solute": 1e-9, "warmth": 0.5})
    )
    assert int(tight[0].stats["accepted"].min()) > int(loose[0].stats["accepted"].max())
    true = torch.tensor([exact(r)["solute"] for r in RAIN], dtype=F64)
    errors = [float((s["solute"] - true).abs().max()) for _, s in (loose, tight)]
    assert errors[1] < 0.6 * errors[0], errors
    with pytest.raises(
        UnknownName, match="state of tracer in Solver.*'solut'; did you mean 'solute'"
    ):
        run(tracer, Solver(atol={"solut": 1e-9}))


def test_a_tolerance_is_positive() -> None:
    with pytest.raises(ParameterError, match="atol.*positive"):
        Solver(atol={"solute": 0.0})
