"""Networks as models, and climatologies, against what they are by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hybrid_cases import basins, stations

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.errors import DataError

F64 = torch.float64


def prepared(stage: stages.Stage, sites):
    hybrid = pdg.Hybrid(None, stage, dtype=F64)
    windows = pdg.Windows(sites, dtype=F64)
    hybrid.prepare(windows)
    return hybrid, windows.reading(hybrid.reads, list(stage.gives), hybrid.needs).batch(0)


def test_the_pure_lstm_gives_discharge_in_its_unit_and_none_below_zero() -> None:
    sites = basins(3, 30)
    stage = stages.Sequence(pdg.LSTM(hidden=4), "discharge")
    hybrid, batch = prepared(stage, sites)
    assert set(hybrid.reads) == {"precipitation", "tair_mean", "potential_evapotranspiration"}
    with torch.no_grad():
        stage.network.head.bias -= 1.0
    raw = hybrid.train()(batch)["discharge"]
    seen = sites.discharge.values
    out = stage.network(stage.inputs(batch))[..., 0] * np.nanstd(seen) + np.nanmean(seen)
    torch.testing.assert_close(raw, out, rtol=1e-12, atol=1e-12)
    assert bool((raw < 0).any())
    assert torch.equal(hybrid.eval()(batch)["discharge"], raw.clamp(min=0))


def test_profiles_may_be_scaled_by_attributes_of_the_site() -> None:
    sites = stations(3, 20)
    stage = stages.Sequence(
        pdg.LSTM(
            ("precipitation", "slope", "soil_moisture_q50"), hidden=4, logarithm=("precipitation",)
        ),
        ("soil_moisture",),
        centre="soil_moisture_q50",
        scale=("soil_moisture_q05", "soil_moisture_q95"),
    )
    hybrid, batch = prepared(stage, sites)
    found = hybrid(batch)["soil_moisture"]
    out = stage.network(stage.inputs(batch))
    centre = torch.tensor(sites.soil_moisture_q50.values)[:, None]
    scale = torch.tensor((sites.soil_moisture_q95 - sites.soil_moisture_q05).values)[:, None]
    expected = centre + scale.clamp_min(0.005) * out
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    other = pdg.Hybrid(
        None,
        stages.Sequence(
            pdg.LSTM(
                ("precipitation", "slope", "soil_moisture_q50"),
                hidden=4,
                logarithm=("precipitation",),
            ),
            ("soil_moisture",),
            centre="soil_moisture_q50",
            scale=("soil_moisture_q05", "soil_moisture_q95"),
        ),
        dtype=F64,
    )
    other.load_state_dict(hybrid.state_dict())
    assert torch.equal(other(batch)["soil_moisture"], found)
    plain, batch = prepared(stages.Sequence(pdg.LSTM(hidden=4), ("soil_moisture",)), sites)
    assert plain(batch)["soil_moisture"].shape == (3, 20, 3)


def test_members_of_an_ensemble_of_sequences_differ() -> None:
    hybrid, batch = prepared(stages.Sequence(pdg.LSTM(hidden=4)), basins(2, 15))
    ensemble = hybrid.ensemble([0, 1])
    both = ensemble(batch)["discharge"]
    assert torch.equal(both[0], hybrid(batch)["discharge"]) and not torch.equal(both[0], both[1])


@pytest.mark.parametrize("others", [False, True])
def test_climatology_is_the_mean_of_the_record_or_of_other_sites(others: bool) -> None:
    sites = stations(4, 12)
    sites["soil_moisture"][2, 3:6] = np.nan
    hybrid, batch = prepared(stages.Climatology("soil_moisture", of_others=others), sites)
    found = hybrid(batch)["soil_moisture"]
    mean = np.nanmean(sites.soil_moisture.values, 1)
    expected = (mean.sum(0) - mean) / 3 if others else mean
    np.testing.assert_allclose(found[:, 5].numpy(), expected, rtol=1e-12)
    new = sites.assign_coords(site=["x", "b1", "y", "z"])
    windows = pdg.Windows(new, dtype=F64).reading(hybrid.reads, ["soil_moisture"], hybrid.needs)
    found = hybrid(windows.batch(0))["soil_moisture"][:, 0].numpy()
    np.testing.assert_allclose(
        found, [mean.mean(0), expected[1], mean.mean(0), mean.mean(0)], rtol=1e-12
    )


def test_what_is_not_observed_cannot_be_simulated_by_a_network() -> None:
    with pytest.raises(
        DataError, match="gives 'dischage', which is not observed; did you mean 'discharge'"
    ):
        prepared(stages.Sequence(pdg.LSTM(), ("dischage",)), basins(2, 10))


def test_persistence_is_what_was_observed_before() -> None:
    sites = basins(3, 30)
    sites["discharge"][1, 7] = np.nan
    hybrid, batch = prepared(stages.Persistence("discharge", steps=2), sites)
    assert hybrid.recalls == ("discharge",)
    found, seen = hybrid(batch)["discharge"], torch.tensor(sites.discharge.values)[batch.site]
    expected = torch.cat([torch.full((3, 2), torch.nan, dtype=F64), seen[:, :-2]], 1)
    expected = torch.where(expected.isfinite(), expected, np.nanmean(sites.discharge.values))
    torch.testing.assert_close(found, expected)
    judged = pdg.evaluate(hybrid, sites, warm_up=5).data
    np.testing.assert_array_equal(judged.discharge[2, 3:], judged.discharge_observed[2, 1:-2])
    with pytest.raises(DataError, match="not of the past"):
        stages.Persistence(steps=0)
