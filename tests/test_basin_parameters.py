"""Networks of basins: the LSTM is torch's, parameters keep their bounds and shapes, and any module of the shape will do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pydiffgeo.errors import ParameterError
from pydiffgeo.parameters import (
    AttributeNetwork,
    BasinParameters,
    Bounds,
    MixedNetwork,
    SeriesNetwork,
)

BOUNDS = {"BETA": Bounds(1.0, 6.0), "FC": Bounds(50.0, 1000.0), "K2": Bounds(1e-3, 0.2, "log")}


def reference(
    network: SeriesNetwork, attributes: torch.Tensor, series: torch.Tensor
) -> torch.Tensor:
    static = attributes[:, None].expand(-1, series.shape[1], -1)
    return network.head(network.lstm(torch.cat([series, static], -1).transpose(0, 1))[0]).transpose(
        0, 1
    )


def test_the_lstm_and_its_gradient_are_those_of_torch():
    network = SeriesNetwork(3, 2, 4, hidden=5).double()
    attributes = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    series = torch.randn(6, 40, 3, dtype=torch.float64, requires_grad=True)
    inputs = [attributes, series, *network.parameters()]
    cotangent = torch.randn(6, 30, 4, dtype=torch.float64)
    out = network(attributes, series, keep=10)
    expected = reference(network, attributes, series)[:, 10:]
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(out, inputs, cotangent),
        torch.autograd.grad(expected, inputs, cotangent),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_gradients_stop_at_the_day_asked_for():
    network = SeriesNetwork(2, 1, 1, hidden=3).double()
    series = torch.randn(2, 12, 2, dtype=torch.float64, requires_grad=True)
    network(torch.ones(2, 1, dtype=torch.float64), series, gradient=5).sum().backward()
    assert (series.grad[:, :5] == 0).all() and (series.grad[:, 5:] != 0).all()


def test_work_space_is_used_again_and_two_graphs_do_not_share_it():
    network = SeriesNetwork(2, 1, 1, hidden=3).double()
    attributes, series = (
        torch.randn(4, 1, dtype=torch.float64),
        torch.randn(2, 4, 9, 2, dtype=torch.float64),
    )

    def gradient(*which: int) -> list[torch.Tensor]:
        outputs = [
            network(attributes, series[k]).square().sum() for k in which
        ]  # all forward, then all backward
        return [torch.autograd.grad(out, network.head.weight)[0] for out in outputs]

    alone = gradient(0) + gradient(1)
    for a, b in zip(alone, gradient(0, 1), strict=True):
        assert torch.equal(a, b)
    out = network(attributes, series[0]).sum()
    out.backward(retain_graph=True)
    with pytest.raises(ParameterError, match="one backward pass only"):
        out.backward()


@pytest.mark.parametrize("components", [1, 3])
def test_static_and_varying_parameters_keep_bounds_and_shapes(components):
    outputs = len(BOUNDS) * components
    attributes, series = 10 * torch.randn(4, 2), 10 * torch.randn(4, 7, 3)
    static = BasinParameters(AttributeNetwork(2, outputs, (8,)), BOUNDS, components=components)(
        attributes
    )
    network = SeriesNetwork(3, 2, outputs, 8)
    daily = BasinParameters(network, BOUNDS, varying=["BETA"], components=components)(
        attributes, series
    )
    assert {v.shape for v in static.values()} == {(4, components)}
    assert daily["BETA"].shape == (4, components, 7) and daily["FC"].shape == (4, components)
    assert (daily["BETA"].diff(dim=2) != 0).any()
    for found in (static, daily):
        for name, bounds in BOUNDS.items():
            assert ((found[name] >= bounds.lower) & (found[name] <= bounds.upper)).all()
    assert components == 1 or (static["FC"][:, 0] != static["FC"][:, 1]).all()


def test_parameters_start_at_their_default_and_may_start_on_a_bound():
    network = AttributeNetwork(2, 3, (4,))
    nn.init.zeros_(network.layers[-1].weight)
    nn.init.zeros_(network.layers[-1].bias)
    found = BasinParameters(network, BOUNDS, {"BETA": 1.0, "FC": 200.0})(torch.ones(2, 2))
    torch.testing.assert_close(found["BETA"], torch.full((2, 1), 1.05), rtol=1e-4, atol=0)
    torch.testing.assert_close(found["FC"], torch.full((2, 1), 200.0), rtol=1e-4, atol=0)
    torch.testing.assert_close(
        found["K2"], torch.full((2, 1), (1e-3 * 0.2) ** 0.5), rtol=1e-4, atol=0
    )


def test_varying_dropout_freezes_basins_in_training_only():
    parameters = BasinParameters(
        SeriesNetwork(3, 2, 3, 8), BOUNDS, varying=["BETA"], varying_dropout=0.5
    )
    attributes, series = torch.randn(40, 2), torch.randn(40, 7, 3)
    frozen = (parameters(attributes, series)["BETA"].diff(dim=2) == 0).all(2).sum()
    assert 5 < frozen < 35
    assert not (parameters.eval()(attributes, series)["BETA"].diff(dim=2) == 0).all(2).any()


def mixed(components: int = 2) -> BasinParameters:
    """FC and K2 from attributes, BETA from series, too."""
    network = MixedNetwork(
        AttributeNetwork(2, 2 * components, (8,)), SeriesNetwork(3, 2, components, 8)
    )
    return BasinParameters(network, BOUNDS, varying=["BETA"], components=components).double()


@pytest.mark.parametrize("components", [1, 2])
def test_a_mixed_network_gives_what_its_two_parts_give_alone(components):
    both = mixed(components)
    attributes, series = (
        torch.randn(4, 2, dtype=torch.float64),
        torch.randn(4, 7, 3, dtype=torch.float64),
    )
    found = both(attributes, series)
    fixed = BasinParameters(
        both.network.static, {n: BOUNDS[n] for n in ("FC", "K2")}, components=components
    ).double()
    daily = BasinParameters(
        both.network.daily, {"BETA": BOUNDS["BETA"]}, varying=["BETA"], components=components
    ).double()
    fixed.offset, daily.offset = (
        both.offset[1:],
        both.offset[:1],
    )  # the components start apart at random
    alone = fixed(attributes) | daily(attributes, series)
    assert found["BETA"].shape == (4, components, 7) and found["FC"].shape == found["K2"].shape == (
        4,
        components,
    )
    for name in BOUNDS:
        assert torch.equal(found[name], alone[name])


def test_static_parameters_of_a_mixed_network_do_not_see_the_series():
    both = mixed()
    attributes, series = (
        torch.randn(4, 2, dtype=torch.float64),
        torch.randn(2, 4, 7, 3, dtype=torch.float64),
    )
    a, b = (both(attributes, one) for one in series)
    assert torch.equal(a["FC"], b["FC"]) and torch.equal(a["K2"], b["K2"])
    assert (a["BETA"] != b["BETA"]).all()
    other = both(attributes + 1, series[0])
    assert all((other[name] != a[name]).any() for name in BOUNDS)


def test_gradients_reach_both_parts_of_a_mixed_network_and_each_only_its_own():
    both = mixed()
    attributes, series = (
        torch.randn(4, 2, dtype=torch.float64),
        torch.randn(4, 7, 3, dtype=torch.float64),
    )
    parts = {part: list(getattr(both.network, part).parameters()) for part in ("static", "daily")}
    for name, own, other in (("FC", "static", "daily"), ("BETA", "daily", "static")):
        value = both(attributes, series)[name].sum()
        reached = torch.autograd.grad(value, parts[own], retain_graph=True, allow_unused=True)
        assert all(g is not None and (g != 0).any() for g in reached)
        assert torch.autograd.grad(value, parts[other], allow_unused=True) == (None,) * len(
            parts[other]
        )


def test_pairs_of_another_shape_are_refused_with_both_shapes():
    class Pair(nn.Module):
        def __init__(self, *shapes):
            super().__init__()
            self.shapes = shapes

        def forward(self, attributes, series):
            return tuple(torch.zeros(shape) for shape in self.shapes)

    def given(*shapes) -> dict[str, torch.Tensor]:
        return BasinParameters(Pair(*shapes), BOUNDS, varying=["BETA"], components=2)(
            torch.zeros(4, 2), torch.zeros(4, 7, 3)
        )

    wanted = (
        r"it must return \[\[4, 4\], \[4, 7, 2\]\]: 2 static and 1 varying parameters, 2 components"
    )
    assert given((4, 4), (4, 7, 2))["BETA"].shape == (4, 2, 7)
    for shapes, words in (
        (((4, 6), (4, 7, 2)), r"\[\[4, 6\], \[4, 7, 2\]\]"),  # a static parameter too many
        (((4, 4), (4, 7, 3)), r"\[\[4, 4\], \[4, 7, 3\]\]"),
        (((4, 4), (4, 6, 2)), r"\[\[4, 4\], \[4, 6, 2\]\]"),  # a day too few
        (((4, 4), (4, 2)), r"\[\[4, 4\], \[4, 2\]\]"),  # no days
        (((4, 4),), r"\[\[4, 4\]\]"),  # one part
    ):
        with pytest.raises(ParameterError, match=rf"Pair returned {words}; {wanted}"):
            given(*shapes)


def test_any_module_of_the_right_shape_is_accepted_and_others_are_refused():
    class Own(nn.Module):
        def __init__(self, shape):
            super().__init__()
            self.shape = shape

        def forward(self, attributes, series):
            return torch.zeros(self.shape)

    series = torch.zeros(4, 7, 3)
    assert BasinParameters(Own((4, 3)), BOUNDS)(torch.zeros(4, 2))["FC"].shape == (4, 1)
    assert BasinParameters(Own((4, 7, 3)), BOUNDS, varying=["FC"])(torch.zeros(4, 2), series)[
        "FC"
    ].shape == (4, 1, 7)
    with pytest.raises(ParameterError, match=r"Own returned \(4, 5\); it must return \[4, 3\]"):
        BasinParameters(Own((4, 5)), BOUNDS)(torch.zeros(4, 2))
    with pytest.raises(ParameterError, match="FC should vary from day to day"):
        BasinParameters(Own((4, 3)), BOUNDS, varying=["FC"])(torch.zeros(4, 2), series)
    with pytest.raises(ParameterError, match="no parameter 'BETTA'.*did you mean 'BETA'"):
        BasinParameters(Own((4, 3)), BOUNDS, varying=["BETTA"])
    with pytest.raises(ParameterError, match="outside the bounds"):
        BasinParameters(Own((4, 3)), BOUNDS, {"FC": 2000.0})
    with pytest.raises(ParameterError, match="reads series"):
        SeriesNetwork(3, 2, 3)(torch.zeros(4, 2), None)
