"""The LSTM is torch's, its gradient too; gradients may stop at the warm-up."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pydiffgeo.errors import ParameterError
from pydiffgeo.networks import LSTM, Features, Sizes

F64 = torch.float64


def built(series: int, attributes: int, outputs: int, **options) -> LSTM:
    network = LSTM(**options)
    network.build(Sizes(attributes, series), outputs)
    return network.double()


def reference(network: LSTM, attributes: torch.Tensor, series: torch.Tensor) -> torch.Tensor:
    static = attributes[:, None].expand(-1, series.shape[1], -1)
    states = network.lstm(torch.cat([series, static], -1).transpose(0, 1))[0]
    return network.head(states).transpose(0, 1)


def test_it_and_its_gradient_are_those_of_torch() -> None:
    network = built(3, 2, 4, hidden=5)
    random = torch.Generator().manual_seed(0)
    attributes = torch.randn(6, 2, dtype=F64, generator=random, requires_grad=True)
    series = torch.randn(6, 40, 3, dtype=F64, generator=random, requires_grad=True)
    inputs = [attributes, series, *network.parameters()]
    cotangent = torch.randn(6, 40, 4, dtype=F64, generator=random)
    out = network(Features(attributes, series, 10))
    expected = reference(network, attributes, series)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(out, inputs, cotangent),
        torch.autograd.grad(expected, inputs, cotangent),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_gradients_stop_at_the_warm_up() -> None:
    network = built(2, 1, 1, hidden=3, warm_up_gradient=False)
    series = torch.randn(2, 12, 2, dtype=F64, requires_grad=True)
    network(Features(torch.ones(2, 1, dtype=F64), series, 5)).sum().backward()
    assert (series.grad[:, :5] == 0).all() and (series.grad[:, 5:] != 0).all()


def test_work_space_is_used_again_and_two_graphs_do_not_share_it() -> None:
    network = built(2, 1, 1, hidden=3)
    attributes, series = torch.randn(4, 1, dtype=F64), torch.randn(2, 4, 9, 2, dtype=F64)

    def gradient(*which: int) -> list[torch.Tensor]:
        outputs = [network(Features(attributes, series[k], 0)).square().sum() for k in which]
        return [torch.autograd.grad(out, network.head.weight)[0] for out in outputs]

    alone = gradient(0) + gradient(1)
    for a, b in zip(alone, gradient(0, 1), strict=True):  # all forward, then all backward
        assert torch.equal(a, b)
    out = network(Features(attributes, series[0], 0)).sum()
    out.backward(retain_graph=True)
    with pytest.raises(ParameterError, match="one backward pass only"):
        out.backward()


def test_its_weights_are_those_of_torch_with_a_forget_bias() -> None:
    network = LSTM(hidden=4, seed=7)
    state = torch.random.get_rng_state()
    network.build(Sizes(1, 2), 3)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(7)
    lstm, head = nn.LSTM(3, 4), nn.Linear(4, 3)
    own = dict(network.lstm.named_parameters())
    for name, weight in lstm.named_parameters():
        expected = weight.detach().clone()
        if name == "bias_hh_l0":
            expected[4:8] = 3.0
        assert torch.equal(own[name], expected)
    assert torch.equal(network.head.weight, head.weight)


def test_it_needs_series() -> None:
    with pytest.raises(ParameterError, match="reads series and got none"):
        built(1, 1, 1)(Features(torch.ones(1, 1, dtype=F64), None, 0))
