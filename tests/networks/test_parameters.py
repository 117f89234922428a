"""Parameters keep their bounds and shapes, begin where they shall, and differ from copy to copy and
layer to layer.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hybrid_cases import basins, stations

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.errors import DataError, ParameterError, UnknownName
from pydiffgeo.networks import LSTM, MLP, Bounds, Mixed
from pydiffgeo.networks.parameters import Learned, Parameters
from pydiffgeo.networks.reading import fit_inputs

F64 = torch.float64
BOUNDS = {"BETA": Bounds(1.0, 6.0), "FC": Bounds(50.0, 1000.0), "K2": Bounds(1e-3, 0.2, "log")}


def made(network, sites, learned: Learned, names=None, **options) -> Parameters:
    parts = network if isinstance(network, list) else [(network, tuple(names or learned.bounds))]
    layers = next(iter(learned.layers.values()), ())
    windows = pdg.Windows(sites)
    given = [(n, k, fit_inputs(n, windows, layers)) for n, k in parts]
    return Parameters(given, learned, dtype=F64, **options)


def batch_of(sites, **options):
    return pdg.Windows(sites, dtype=F64, **options).batch(0)


@pytest.mark.parametrize("copies", [1, 3])
def test_static_and_varying_parameters_keep_bounds_and_shapes(copies: int) -> None:
    sites = basins(4, 30)
    static = made(MLP(hidden=(8,)), sites, Learned(BOUNDS), copies=copies)
    daily = made(LSTM(hidden=8), sites, Learned(BOUNDS, varying=("BETA",)), copies=copies)
    batch = batch_of(sites)
    for module in (static, daily):
        with torch.no_grad():
            for weight in module.parameters():
                weight.mul_(5)
    found = static(batch), daily(batch)
    assert {v.shape for v in found[0].values()} == {(4, copies)}
    assert found[1]["BETA"].shape == (4, copies, 30) and found[1]["FC"].shape == (4, copies)
    assert bool((found[1]["BETA"].diff(dim=2) != 0).any())
    for parameters in found:
        for name, bounds in BOUNDS.items():
            assert ((parameters[name] >= bounds.lower) & (parameters[name] <= bounds.upper)).all()
    assert copies == 1 or bool((found[0]["FC"][:, 0] != found[0]["FC"][:, 1]).all())


def test_parameters_begin_at_their_start_and_may_begin_on_a_bound() -> None:
    sites = basins(2, 10)
    learned = Learned(BOUNDS, {"BETA": 1.0, "FC": 200.0})
    found = made(MLP(hidden=(4,), small_start=True), sites, learned)(batch_of(sites))
    for name, expected in (("BETA", 1.05), ("FC", 200.0), ("K2", (1e-3 * 0.2) ** 0.5)):
        wanted = torch.full((2, 1), expected, dtype=F64)
        torch.testing.assert_close(found[name], wanted, rtol=2e-3, atol=0)
    with pytest.raises(ParameterError, match="start 7 of 'BETA' is outside"):
        made(MLP(), sites, Learned(BOUNDS, {"BETA": 7.0}))


def test_varying_dropout_holds_a_share_of_the_sites_in_training_alone() -> None:
    sites = basins(5, 12)
    learned = Learned(BOUNDS, varying=("BETA",))
    module = made(LSTM(hidden=4), sites, learned, varying_dropout=0.5)
    torch.manual_seed(1)
    held = (module.train()(batch_of(sites))["BETA"].diff(dim=2) == 0).all(-1).flatten()
    assert 0 < int(held.sum()) < 5
    assert not (module.eval()(batch_of(sites))["BETA"].diff(dim=2) == 0).all(-1).any()


def test_a_mixed_network_gives_static_parameters_that_do_not_know_the_window() -> None:
    sites = basins(3, 20)
    learned = Learned(BOUNDS, varying=("BETA",))
    mixed = Mixed(MLP(hidden=(4,)), LSTM(hidden=4))
    parts = mixed.parts(tuple(BOUNDS), ("BETA",), ())
    assert [names for _, names in parts] == [("FC", "K2"), ("BETA",)]
    module = made(parts, sites, learned)
    windows = pdg.Windows(sites, length=10, batch=3, dtype=F64)
    one, other = (module(windows.batch(k)) for k in (0, 1))
    order = [windows.batch(k).site for k in (0, 1)]
    assert torch.equal(one["FC"][order[0].argsort()], other["FC"][order[1].argsort()])
    assert not torch.equal(one["BETA"][order[0].argsort()], other["BETA"][order[1].argsort()])


def test_a_parameter_may_have_a_network_of_its_own() -> None:
    """It reads other attributes, and nothing else depends on them."""
    sites = basins(3, 20)
    lstm = LSTM(reads=("precipitation",), hidden=4)
    mixed = Mixed(MLP(("slope",), (4,)), lstm, named={"K2": MLP(("clay",), ())})
    parts = mixed.parts(tuple(BOUNDS), ("BETA",), ())
    assert [names for _, names in parts] == [("FC",), ("K2",), ("BETA",)]
    module = made(parts, sites, Learned(BOUNDS, varying=("BETA",)))
    before = module(batch_of(sites))
    after = module(batch_of(sites.assign(clay=1.0 - sites.clay)))
    assert not torch.equal(before["K2"], after["K2"])
    assert torch.equal(before["FC"], after["FC"]) and torch.equal(before["BETA"], after["BETA"])
    with pytest.raises(UnknownName, match="'K3'; did you mean 'K2'"):
        Mixed(MLP(), named={"K3": MLP()}).parts(tuple(BOUNDS), (), ())


def test_layers_share_a_network_that_is_told_their_depth() -> None:
    sites = stations(3)
    middles = (7.5, 25.0, 57.5)
    learned = Learned(BOUNDS, {"FC": 200.0}, layers=dict.fromkeys(BOUNDS, middles))
    network = MLP(("slope", "soil_moisture_q50"), (5,), activation="tanh", per="layer")
    module = made(network, sites, learned)
    features = module.inputs[0](batch_of(sites)).attributes
    q50 = np.stack([np.interp(middles, [5, 20, 50], row) for row in sites.soil_moisture_q50.values])
    raw = np.stack(
        [np.repeat(sites.slope.values[:, None], 3, 1), np.log(middles) + 0 * q50, q50], -1
    )
    flat = raw.reshape(-1, 3)
    expected = (raw - flat.mean(0)) / flat.std(0)
    np.testing.assert_allclose(features.numpy(), expected, rtol=1e-9, atol=1e-12)
    found = module(batch_of(sites))
    assert found["FC"].shape == (3, 3) and bool((found["FC"].diff(dim=1) != 0).all())
    whole = made(MLP(("slope",), (5,)), sites, learned)(batch_of(sites))  # a network of sites
    assert whole["FC"].shape == (3, 3)
    learned = Learned(BOUNDS, layers={"FC": middles})
    with pytest.raises(ParameterError, match="BETA, K2 are those of a site; take Mixed"):
        made(network, sites, learned)


def test_observations_of_the_same_or_a_later_step_are_not_past() -> None:
    for steps in (0, -1):
        with pytest.raises(ParameterError, match=f"'discharge' of {steps} steps before"):
            LSTM(past={"discharge": steps})


def test_past_observations_come_with_a_feature_that_says_whether_there_is_one() -> None:
    sites = basins(2, 15)
    network = LSTM(
        ("precipitation",), hidden=3, past={"discharge": 2}, logarithm=("precipitation",)
    )
    module = made(network, sites, Learned(BOUNDS))
    batch = batch_of(sites)
    series = module.inputs[0](batch).series
    rain = np.log1p(sites.precipitation.values)
    np.testing.assert_allclose(
        series[..., 0], (rain - rain.mean()) / rain.std(), rtol=1e-9, atol=1e-12
    )
    seen = sites.discharge.values
    past = np.full_like(seen, np.nan)
    past[:, 2:] = (seen[:, :-2] - np.nanmean(seen)) / np.nanstd(seen)
    np.testing.assert_allclose(series[..., 1], np.nan_to_num(past), rtol=1e-9, atol=1e-12)
    assert torch.equal(series[..., 2], torch.tensor(np.isfinite(past)).double())


def test_names_that_nobody_has_are_answered_with_the_nearest() -> None:
    with pytest.raises(
        DataError, match="LSTM reads 'precipitaton', .*did you mean 'precipitation'"
    ):
        fit_inputs(LSTM(("precipitaton",)), pdg.Windows(basins(2, 10)), ())
    with pytest.raises(ParameterError, match="nobody learns .BETAA.; did you mean 'BETA'"):
        made(MLP(), basins(2, 10), Learned(BOUNDS, {"BETAA": 2.0}))
    with pytest.raises(ParameterError, match="neither 'site' nor 'layer'"):
        MLP(per="cell")


def test_attributes_that_tell_nothing_are_left_out_unless_they_are_named(caplog) -> None:
    caplog.set_level("INFO", "pydiffgeo")
    sites = basins(3, 10)
    sites["same"], sites["lost"] = ("site", [7.0] * 3), ("site", [1.0, np.nan, 2.0])
    windows = pdg.Windows(sites)
    assert fit_inputs(MLP(), windows, ())["attributes"] == ["slope", "forest", "clay"]
    for given in (sites, windows):
        hybrid = pdg.Hybrid(pdg.MLP(), stages.Scale("precipitation")).prepare(given)
        assert hybrid.needs == windows.attributes and set(windows.batch(0).attributes) == set(
            hybrid.needs
        )
    assert "same, lost" in caplog.text
    sites = sites.drop_vars("lost")
    with pytest.raises(DataError, match="'same' has the same value 7 everywhere"):
        fit_inputs(MLP(("same",)), pdg.Windows(sites), ())
