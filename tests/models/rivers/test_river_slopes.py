"""Hand-written slopes of reaches are those of automatic differentiation of their rates."""

from __future__ import annotations

import pytest
import torch

from pydiffgeo import KinematicWave, LevelPool, Muskingum, MuskingumCunge
from pydiffgeo.models.rivers.reach import Reach
from pydiffgeo.solvers.jacobian import coloured

MODELS = {
    "muskingum": Muskingum(),
    "muskingum, linear": Muskingum(positive=False),
    "kinematic wave, trapezoid": KinematicWave(),
    "kinematic wave, power law": KinematicWave("power_law"),
    "muskingum cunge, trapezoid": MuskingumCunge(),
    "muskingum cunge, power law": MuskingumCunge("power_law"),
    "level pool": LevelPool(),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_slopes_of_reaches_are_those_of_their_rates(model: Reach) -> None:
    """At full and empty reaches, in front of waves and behind them, with loss to the bed."""
    g = torch.Generator().manual_seed(0)
    steps, reaches = 40, 60

    def between(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(*shape, 1, generator=g, dtype=torch.float64)

    given = {
        "n": between(0.02, 0.1, 1, reaches), "slope": 10 ** between(-5, -1, 1, reaches),
        "length": 10 ** between(2, 4.5, 1, reaches), "width": between(1, 200, 1, reaches),
        "side_slope": between(0, 4, 1, reaches), "p": between(1, 100, 1, reaches),
        "q": between(0, 1.5, 1, reaches), "K": 10 ** between(3, 5, 1, reaches),
        "X": between(0, 0.5, 1, reaches), "step": 10 ** between(2, 4, 1, reaches),
        "leakance": between(0, 1e-4, 1, reaches), "lake_area": 10 ** between(2, 6, 1, reaches),
        "shape": between(0, 3, 1, reaches), "crest": between(0, 9, 1, reaches),
        "weir_coefficient": between(0.3, 0.8, 1, reaches),
        "weir_width": between(1, 100, 1, reaches), "orifice_area": between(0, 9, 1, reaches),
        "orifice_height": between(0, 1, 1, reaches),
        "orifice_coefficient": between(0.3, 1, 1, reaches),
    }  # fmt: skip
    parameters = {k: v for k, v in given.items() if k in model.spec.parameters}
    forcing = {
        "inflow": 10 ** between(-2, 3, steps, reaches),
        "lateral_inflow": between(0, 5, steps, reaches),
    }
    volume = 10 ** between(-3, 7, steps, reaches)
    volume[:3] *= -1e-3  # where Newton's method may pass
    found, entries = model.slopes(volume, forcing, parameters)
    wanted = coloured(model, volume, forcing, parameters)
    torch.testing.assert_close(found[0], wanted.rates[..., 0], rtol=1e-10, atol=0.0)
    slopes = wanted.jacobian[0][..., 0, 0]
    assert (found[0] > 0).any() and (found[0] < 0).any()
    torch.testing.assert_close(entries[0, 0], slopes, rtol=1e-9, atol=1e-14)
