"""A multilayer perceptron of each step by itself."""

from __future__ import annotations

import pytest
import torch

from pydiffgeo.errors import ParameterError
from pydiffgeo.networks import Features, Sizes, StepMLP


def test_a_step_knows_its_own_series_and_the_attributes_alone() -> None:
    network = StepMLP(hidden=(8,), seed=3)
    network.build(Sizes(2, 3), 1)
    random = torch.Generator().manual_seed(0)
    attributes, series = (torch.randn(shape, generator=random) for shape in ((4, 2), (4, 6, 3)))
    out = network(Features(attributes, series, 0))
    assert out.shape == (4, 6, 1)
    changed = series.clone()
    changed[:, 2] += 1.0
    same = (network(Features(attributes, changed, 0)) == out).all(2).all(0)
    assert same.tolist() == [True, True, False, True, True, True]
    order = torch.randperm(6, generator=random)
    torch.testing.assert_close(network(Features(attributes, series[:, order], 0)), out[:, order])
    with pytest.raises(ParameterError, match="reads series and got none"):
        network(Features(attributes, None, 0))
