"""Leaves on both engines: states, fluxes and gradients agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pydiffgeo import NeuralClosure, Photosynthesis, solve

F64 = torch.float64
COLUMNS, INTERVALS = 21, 3
WEATHER = {
    "par": (0.0, 2000.0), "leaf_temperature": (-5.0, 50.0), "vapour_pressure_deficit": (0.01, 8.0),
    "co2": (20.0, 2000.0), "pressure": (6e4, 1.02e5), "boundary_layer_conductance": (0.1, 3.0),
    "soil_water_stress": (0.05, 1.0), "stomatal_conductance": (0.01, 0.5),
    "intercellular_co2": (20.0, 1500.0), "air_temperature": (-5.0, 45.0),
    "vapour_pressure": (200.0, 3000.0), "shortwave": (0.0, 600.0), "longwave": (200.0, 450.0),
}  # fmt: skip


def network() -> dict[str, NeuralClosure]:
    bounds = {"output_range": (1.6, 60.0), "monotone_in": (0,)}
    return {"stomata": NeuralClosure(1, (4,), seed=1, residual=True, **bounds)}  # type: ignore[arg-type]


FORMS: dict[str, Callable[[], Photosynthesis]] = {
    "c3": Photosynthesis,
    "two pathways, leuning, every resistance": lambda: Photosynthesis(
        "both", "leuning", mesophyll=True, product_limit=True
    ),
    "c4, humidity at the surface": lambda: Photosynthesis(
        "c4", humidity_at="surface", co2_at="surface", kinetics="mole_fraction"
    ),
    "energy balance": lambda: Photosynthesis(energy_balance=True, ratios=False, smoothing="clm5"),
    "network beside the formula": lambda: Photosynthesis(closures=network()),
    "ball_berry": lambda: Photosynthesis(stomata="ball_berry", mesophyll=True),
    "buckley_mott_farquhar": lambda: Photosynthesis(stomata="buckley_mott_farquhar"),
    "measured": lambda: Photosynthesis(stomata="measured", mesophyll=True),
    "measured Ci": lambda: Photosynthesis(stomata="measured_ci", mesophyll=True, ratios=False),
    "ball_berry with an energy balance": lambda: Photosynthesis(
        "both", "ball_berry", energy_balance=True, mesophyll=True
    ),
}


def inputs(model: Photosynthesis) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Forcing, and parameters of which one changes in time."""
    generator = torch.Generator().manual_seed(3)

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=F64)

    forcing = {k: between(*WEATHER[k], COLUMNS, INTERVALS) for k in model.spec.forcings}
    parameters = {}
    for k, s in model.spec.parameters.items():
        low, high = s.lower, s.upper
        if k.endswith(("activation", "entropy")):
            low, high = 0.98 * s.default, 1.02 * s.default
        parameters[k] = between(low, high, COLUMNS)
        if k == "c4":
            parameters[k] = parameters[k].round()
        if k == "V_cmax25":
            parameters[k] = between(low, high, COLUMNS, INTERVALS)
    return forcing, parameters


def solved(model: Photosynthesis, engine: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """States and fluxes, and the gradient of a sum of them in every input."""
    forcing, parameters = inputs(model)
    x = {k: v.requires_grad_() for k, v in {**forcing, **parameters}.items()}
    solution = solve(
        model, {k: x[k] for k in forcing}, {k: x[k] for k in parameters}, 20.0,
        range(INTERVALS + 1), engine=engine,
    )  # fmt: skip
    assert not solution.failed
    values = {"state": solution.states, **solution.fluxes}
    generator = torch.Generator().manual_seed(7)
    weights = [torch.randn(v.shape, generator=generator, dtype=F64) for v in values.values()]
    loss = sum((w * v).sum() for w, v in zip(weights, values.values(), strict=True))
    leaves = {**x, **{k: c.weights for k, c in model.closures.items()}}  # type: ignore[dict-item]
    found = torch.autograd.grad(loss, list(leaves.values()))
    return {k: v.detach() for k, v in values.items()}, dict(zip(leaves, found, strict=True))


@pytest.mark.parametrize("name", FORMS)
def test_engines_agree(julia: Any, name: str) -> None:
    model = FORMS[name]()
    (ours, slopes), (theirs, other_slopes) = (solved(model, e) for e in ("torch", "julia"))
    for k, one in ours.items():
        torch.testing.assert_close(
            theirs[k], one, rtol=1e-10, atol=1e-10 * float(one.abs().max()), msg=k
        )
    for k, one in slopes.items():
        torch.testing.assert_close(
            other_slopes[k], one, rtol=1e-8, atol=1e-9 * float(one.abs().max()), msg=k
        )
