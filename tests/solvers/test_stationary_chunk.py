"""Leaves whose search and gradient are compiled."""

from __future__ import annotations

import gc
import pickle
import weakref
from copy import copy, deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from leaf_cases import FORMS, at, leaves
from torch import Tensor

from pydiffgeo import NeuralClosure, Photosynthesis, Solver, solve
from pydiffgeo.solvers.stationary_chunk import KEPT

ONE_STATE = [name for name, form in FORMS.items() if not form.get("energy_balance")]


def both(model: Photosynthesis, count: int, seed: int = 3) -> list[dict[str, Tensor]]:
    """States, fluxes and gradients of random leaves, each operation by itself and compiled."""
    out = []
    for compile in (False, True):
        weather, given = leaves(model, count, seed)
        inputs = weather | {k: v for k, v in given.items() if k != "c4"}
        for x in inputs.values():
            x.requires_grad_()
        solver = Solver(compile=compile)
        s = solve(model, weather, given, 300.0, range(2), solver, engine="torch")
        total = s.states.log().mean() + s.fluxes["assimilation"].square().mean()
        weights = list(model.closure_weights())
        grads = torch.autograd.grad(total, [*inputs.values(), *weights])
        names = [f"d {k}" for k in inputs] + [f"weights {i}" for i in range(len(weights))]
        out.append(
            {"states": s.states.detach()}
            | {k: v.detach() for k, v in s.fluxes.items()}
            | dict(zip(names, grads, strict=True))
        )
    return out


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names of the values that differ by more than 1e-10 of themselves, or 1e-11 of the largest."""
    size = {name: 1e-10 * x.abs() + 1e-11 * x.abs().max() for name, x in one.items()}
    return [k for k, x in one.items() if not bool(((other[k] - x).abs() <= size[k]).all())]


@pytest.mark.parametrize("name", ONE_STATE)
def test_as_many_iterations_for_all_rows_give_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be compiled, operation by operation; some of 3000 leaves need the slow way."""
    monkeypatch.setattr(torch, "compile", lambda f, dynamic: f)
    model = Photosynthesis(**FORMS[name])
    assert apart(*both(model, 3000)) == []
    assert KEPT in vars(model), "nothing was compiled"


def test_one_graph_without_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch's compiler sees it, which is not asked for machine code: that takes a minute."""
    to_graph: Any = partial(torch.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr(torch, "compile", to_graph)
    model = Photosynthesis()
    assert apart(*both(model, 40)) == []
    with torch.compiler.set_stance("fail_on_recompile"):  # for other numbers of leaves
        assert apart(*both(model, 50, seed=4)) == []


def test_weights_of_a_network_beside_what_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda f, dynamic: f)
    net = NeuralClosure(1, (4,), output_range=(2.0, 20.0), monotone_in=(0,)).double()
    model = Photosynthesis(closures={"stomata": net})
    assert apart(*both(model, 200)) == []
    assert KEPT in vars(model), "nothing was compiled"


def test_leaves_over_time_that_share_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers, series of all leaves, and leaves that a loss does not look at."""
    monkeypatch.setattr(torch, "compile", lambda f, dynamic: f)
    model, found = Photosynthesis(), []
    weather = {
        "par": at(0.0, 200.0, 1500.0), "leaf_temperature": at(10.0, 20.0, 30.0),
        "vapour_pressure_deficit": 1.0, "co2": 400.0, "pressure": 1e5,
        "boundary_layer_conductance": 2.0, "soil_water_stress": 0.8,
    }  # fmt: skip
    for compile in (False, True):
        capacity, slope = at(20.0, 50.0, 80.0, 110.0).requires_grad_(), at(4.0).requires_grad_()
        s = solve(
            model, weather, {"V_cmax25": capacity, "g1": slope}, 300.0, range(4),
            Solver(compile=compile, chunk=5), engine="torch",
        )  # fmt: skip
        total = s.fluxes["assimilation"][:3].square().sum()
        found.append(dict(enumerate(torch.autograd.grad(total, [capacity, slope]))))
    assert float(found[0][0][3]) == 0 and float(found[0][0][0]) != 0
    for k, x in found[0].items():
        torch.testing.assert_close(found[1][k], x, rtol=1e-10, atol=0)


def test_what_is_compiled_lives_as_long_as_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    # holds the function, as torch's compiler does
    monkeypatch.setattr(torch, "compile", lambda f, dynamic: lambda *given: f(*given))
    model, made = Photosynthesis(), []
    first = both(model, 5)[1]
    kept = vars(model)[KEPT]
    both(model, 5)
    assert vars(model)[KEPT] is kept
    for twin in (deepcopy(model), copy(model), pickle.loads(pickle.dumps(model))):
        assert apart(first, both(twin, 5)[1]) == []
        assert vars(twin)[KEPT].model is twin
        made.append(weakref.ref(twin))
    made.append(weakref.ref(model))
    del model, twin, kept
    gc.collect()
    assert [x() for x in made] == [None] * 4
