"""Error models: scales by hand, what training finds of a known truth, and what evaluation keeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hybrid_cases import basin_hybrid, basins

import pydiffgeo as pdg
from pydiffgeo import losses, stages
from pydiffgeo.distributions import LEVELS
from pydiffgeo.errors import DataError, ParameterError, UnknownName
from pydiffgeo.stages import Series

F64 = torch.float64


def test_the_scale_is_floor_and_share_of_the_flow() -> None:
    stage = stages.ErrorModel("discharge", "laplace")
    flow = torch.tensor([[0.0, 2.0, 10.0]], dtype=F64)
    given = {
        "discharge_error_floor": torch.tensor([0.1]),
        "discharge_error_share": torch.tensor([0.3]),
    }
    found = stage(Series({"discharge": flow}), given, None)["discharge_laplace"]
    assert torch.equal(found[..., 0], flow)
    assert np.allclose(found[..., 1], [[0.1, 0.7, 3.1]])
    fixed = stages.ErrorModel("discharge", scale=0.4)
    assert not fixed.learns and fixed.gives == ("discharge_gaussian",)
    assert np.allclose(
        fixed(Series({"discharge": flow}), {}, None)["discharge_gaussian"][..., 1], 0.4
    )


def test_training_finds_the_errors_of_a_known_truth() -> None:
    """Errors of N(0, 0.2 + 0.1 q) around a flow that is given as it is."""

    class Same(stages.Stage):
        reads, gives = ("truth",), ("discharge",)

        def forward(self, series, parameters, batch):
            return {"discharge": series["truth"]}

    random = np.random.default_rng(0)
    sites = basins(4, 3000)
    truth = 1.5 + random.gamma(0.5, 12.0, (4, 3000))
    sites["truth"] = ("site", "time"), truth, {"units": "mm d-1"}
    noise = (0.2 + 0.1 * truth) * random.normal(size=truth.shape)
    sites["discharge"] = ("site", "time"), truth + noise, {"units": "mm d-1"}
    hybrid = pdg.Hybrid(pdg.MLP(reads=(), hidden=()), Same(), stages.ErrorModel(), dtype=F64)
    windows = pdg.Windows(sites, dtype=F64)
    options = {"epochs": 150, "learning_rate": 0.05, "gradient_clip": 100.0}
    pdg.Trainer(hybrid, windows, losses.NLL(), **options).run(progress=False)
    found = pdg.evaluate(hybrid, sites, warm_up=0)
    assert np.allclose(found.parameters["discharge_error_floor"], 0.2, rtol=0.15)
    assert np.allclose(found.parameters["discharge_error_share"], 0.1, rtol=0.15)
    assert found.parameters["discharge_error_floor"].units == "mm d-1"
    for share in (50, 90, 95):
        assert np.allclose(found.scores[f"coverage_{share}"], share / 100, atol=0.02)
    density = -torch.distributions.Normal(
        torch.tensor(truth), torch.tensor(0.2 + 0.1 * truth)
    ).log_prob(torch.tensor(sites["discharge"].values))
    assert np.allclose(found.scores["nll"], density.mean(1), atol=0.01)


@pytest.mark.parametrize("distribution", ["gaussian", "laplace", "cmal"])
@pytest.mark.parametrize("network", ["mlp", "lstm"])
def test_networks_of_their_own(distribution: str, network: str) -> None:
    made = pdg.MLP(hidden=(4,)) if network == "mlp" else pdg.LSTM(hidden=3)
    hybrid = pdg.Hybrid(
        pdg.MLP(hidden=(4,)),
        stages.Process("hbv", engine="torch"),
        stages.ErrorModel("discharge", distribution, network=made, components=2),
    )
    windows = pdg.Windows(basins(3, 40), warm_up=5)
    batch = windows.batch(0)
    hybrid.prepare(windows)
    loss = losses.NLL()(hybrid(batch), batch.observed, batch)
    loss.backward()
    assert all(bool(torch.isfinite(w.grad).all()) for w in hybrid.parameters())
    assert any(bool((w.grad != 0).any()) for w in made.parameters())
    found = pdg.evaluate(hybrid, basins(3, 40), warm_up=5)
    quantiles = found.data["discharge_quantile"]
    assert quantiles.dims == ("site", "time", "quantile") and quantiles.units == "mm day-1"
    assert np.allclose(quantiles["quantile"], LEVELS) and (quantiles.diff("quantile") >= 0).all()
    assert (quantiles >= 0).all() and np.isfinite(found.scores["crps"]).all()


def test_a_sequence_with_a_distribution_gives_its_mean() -> None:
    sites = basins(3, 60)
    hybrid = pdg.Hybrid(None, stages.Sequence(pdg.LSTM(hidden=4), distribution="cmal"))
    windows = pdg.Windows(sites, warm_up=5)
    pdg.Trainer(hybrid, windows, losses.NLL(), epochs=3).run(progress=False)
    batch = windows.batch(0)
    series = hybrid.train()(batch)
    assert series["discharge_cmal"].shape == (3, 60, 12)
    from pydiffgeo.distributions import of_kind

    mean = of_kind("cmal", series["discharge_cmal"]).mean
    assert torch.allclose(series["discharge"], mean)
    found = pdg.evaluate(hybrid, sites, warm_up=5)
    assert np.isfinite(found.scores["nll"]).all()


def test_another_unit_of_the_observations() -> None:
    """Per day or per hour: the same intervals, in the unit of the observations."""
    stage = stages.ErrorModel()
    sites = basins(2, 30)
    hybrid = pdg.Hybrid(pdg.MLP(hidden=(4,)), stages.Process("hbv", engine="torch"), stage)
    day = pdg.evaluate(hybrid.prepare(sites), sites, warm_up=0).data
    sites["discharge"] = (sites["discharge"] / 24).assign_attrs(units="mm h-1")
    other = pdg.Hybrid(
        pdg.MLP(hidden=(4,)), stages.Process("hbv", engine="torch"), stages.ErrorModel()
    )
    hour = pdg.evaluate(other.prepare(sites), sites, warm_up=0).data
    assert np.allclose(hour["discharge_quantile"] * 24, day["discharge_quantile"], rtol=1e-4)
    nll = day["discharge_nll"] - np.log(24)
    assert np.allclose(hour["discharge_nll"], nll, rtol=1e-3, atol=1e-3, equal_nan=True)


def test_an_ensemble_has_the_spread_of_its_members() -> None:
    sites = basins(3, 40)
    hybrid = basin_hybrid(copies=1).prepare(sites)
    ensemble = hybrid.ensemble([0, 1, 2, 3])
    found = pdg.evaluate(ensemble, sites, warm_up=5)
    each = np.stack([pdg.evaluate(m, sites, warm_up=5).data["discharge"] for m in ensemble.members])
    middle = found.data["discharge_quantile"].sel(quantile=0.5, method="nearest")
    assert np.allclose(middle, np.median(each, 0), rtol=1e-5)
    assert "discharge_nll" not in found.data and "crps" in found.scores
    none = pdg.evaluate(ensemble, sites, warm_up=5, quantiles=())
    assert "discharge_quantile" not in none.data and "crps" not in none.scores


def test_without_observations_the_distribution_is_kept() -> None:
    """Of an error model, and of members: a scenario of forcing has the bands of the judged days."""
    sites = basins(2, 30)
    plain = basin_hybrid(copies=1).prepare(sites)
    made = pdg.Hybrid(
        pdg.MLP(hidden=(4,)), stages.Process("hbv", engine="torch"), stages.ErrorModel()
    )
    for one in (made.prepare(sites), plain.ensemble([0, 1])):
        judged = pdg.evaluate(one, sites, warm_up=5).data
        blind = pdg.evaluate(one, sites.drop_vars("discharge"), warm_up=5).data
        assert "discharge_nll" not in blind
        np.testing.assert_array_equal(blind["discharge_quantile"], judged["discharge_quantile"])


def test_an_ensemble_with_error_models_is_a_mixture() -> None:
    sites = basins(2, 30)
    made = pdg.Hybrid(
        pdg.MLP(hidden=(4,)), stages.Process("hbv", engine="torch"), stages.ErrorModel()
    )
    ensemble = made.prepare(sites).ensemble([0, 1])
    found = pdg.evaluate(ensemble, sites, warm_up=5).data
    each = [pdg.evaluate(member, sites, warm_up=5).data for member in ensemble.members]
    density = np.mean([np.exp(-one["discharge_nll"]) for one in each], 0)
    assert np.allclose(np.exp(-found["discharge_nll"]), density, rtol=1e-4, equal_nan=True)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ParameterError, match="needs a network of its own"):
        stages.ErrorModel(distribution="cmal")
    with pytest.raises(UnknownName, match="gaussian"):
        stages.ErrorModel(distribution="gauss")
    with pytest.raises(ParameterError, match="after Parallel"):
        stages.Parallel(2, stages.ErrorModel())
    sites = basins(2, 20)
    hybrid = basin_hybrid(copies=1).prepare(sites)
    batch = pdg.Windows(sites).batch(0)
    with pytest.raises(DataError, match="nobody gives a distribution of 'discharge'"):
        losses.NLL()(hybrid(batch), batch.observed, batch)
