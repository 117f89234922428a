"""Canopies on both engines: states, fluxes and gradients agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from canopy_cases import weather
from engine_parity import Draw, Inputs, engines_apart, parameters_of_leaves, stomata_network
from torch import Tensor

from pydiffgeo import TwoBigLeaf, solve
from pydiffgeo.errors import ParameterError

COLUMNS, INTERVALS = 7, 3


FORMS: dict[str, Callable[[], TwoBigLeaf]] = {
    "c3": TwoBigLeaf,
    "two pathways, leuning, wind by the law of the wall": lambda: TwoBigLeaf(
        "log_law", pathway="both", stomata="leuning"
    ),
    "c4, ball and berry, light of global radiation": lambda: TwoBigLeaf(
        light="shortwave", pathway="c4", stomata="ball_berry"
    ),
    "buckley, mott and farquhar, capacities by themselves": lambda: TwoBigLeaf(
        stomata="buckley_mott_farquhar", ratios=False
    ),
    "network": lambda: TwoBigLeaf(closures=stomata_network(False)),
    "network beside the formula, two pathways": lambda: TwoBigLeaf(
        closures=stomata_network(True), pathway="both"
    ),
}


def inputs(model: TwoBigLeaf) -> Inputs:
    """Weather, and parameters of which one changes in time."""
    draw = Draw()
    drawn = weather(COLUMNS * INTERVALS, seed=5)
    drawn["vegetation_height"] = draw(0.5, 4.0, COLUMNS * INTERVALS)
    forcing = {k: drawn[k].reshape(COLUMNS, INTERVALS) for k in model.spec.forcings}
    parameters = parameters_of_leaves(model, draw, COLUMNS, INTERVALS)
    if "measurement_height" in parameters:
        parameters["measurement_height"] = draw(5.0, 40.0, COLUMNS)
    return forcing, parameters


@pytest.mark.parametrize("name", FORMS)
def test_engines_agree(julia: Any, name: str) -> None:
    model = FORMS[name]()
    assert not engines_apart(model, inputs(model), model.start({}))


def test_a_module_of_torch_is_refused(julia: Any) -> None:
    class Own(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 1.6 + 5 * x[..., 0]

    model = TwoBigLeaf(closures={"stomata": Own()})
    with pytest.raises(ParameterError, match="torch module Own"):
        solve(model, *inputs(model), model.start({}), range(INTERVALS + 1), engine="julia")
