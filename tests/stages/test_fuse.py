"""Products of one forcing: weights on the simplex, to the bit, with gaps, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from hybrid_cases import basins

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.errors import DataError, SettingsError, UnitError
from pydiffgeo.stages.base import Series

F64 = torch.float64
PAIR = ("precipitation", "precipitation_era5")


def products(count: int = 3, days: int = 40) -> xr.Dataset:
    """Basins with three products of rain."""
    sites, random = basins(count, days), np.random.default_rng(5)
    for name in ("era5", "nldas"):
        values = sites.precipitation * random.uniform(0.5, 1.5, (count, days))
        sites[f"precipitation_{name}"] = values.assign_attrs(units="mm day-1")
    return sites


def fused(stage: stages.Fuse, sites: xr.Dataset, **weights: float | torch.Tensor):
    """Return what a stage gives of sites for given weights, by the ending of the products."""
    hybrid = pdg.Hybrid(pdg.MLP(hidden=(4,)), stage, dtype=F64)
    windows = pdg.Windows(sites, dtype=F64)
    hybrid.prepare(windows)
    read = windows.reading(hybrid.reads, ["discharge"], hybrid.needs, hybrid.optional)
    batch = read.batch(0)
    given = {k: torch.as_tensor(v, dtype=F64).expand(len(batch)) if not isinstance(v, torch.Tensor)
             else v for k, v in weights.items()}  # fmt: skip
    return stage(Series(batch.series), given, batch), batch


@pytest.mark.parametrize("sum_to_one", [True, False])
def test_one_weight_gives_the_single_product_to_the_bit(sum_to_one: bool) -> None:
    stage = stages.Fuse((*PAIR, "precipitation_nldas"), sum_to_one=sum_to_one)
    for one in stage.reads:
        weights = {f"{k}_weight": float(k == one) for k in stage.reads}
        found, batch = fused(stage, products(), **weights)
        assert torch.equal(found["precipitation"], batch.series[one])


def test_shares_lie_on_the_simplex_and_give_the_mean_by_hand() -> None:
    stage = stages.Fuse(PAIR, name="rain")
    daily = torch.rand(3, 40, dtype=F64, generator=torch.Generator().manual_seed(2)) + 0.01
    found, batch = fused(stage, products(), precipitation_weight=daily,
                         precipitation_era5_weight=0.3)  # fmt: skip
    shares = [found[f"{k}_share"] for k in PAIR]
    torch.testing.assert_close(shares[0] + shares[1], torch.ones(3, 40, dtype=F64))
    assert all(bool(((s >= 0) & (s <= 1)).all()) for s in shares)
    first, second = (batch.series[k] for k in PAIR)
    torch.testing.assert_close(found["rain"], (daily * first + 0.3 * second) / (daily + 0.3))


def test_free_weights_scale_the_sum() -> None:
    stage = stages.Fuse(PAIR, sum_to_one=False)
    assert stage.begin == dict.fromkeys(stage.learns, 0.5)
    found, batch = fused(stage, products(), precipitation_weight=0.9, precipitation_era5_weight=0.4)
    first, second = (batch.series[k] for k in PAIR)
    torch.testing.assert_close(found["precipitation"], 0.9 * first + 0.4 * second)


def test_fixed_weights_are_the_plain_mean_and_learn_nothing() -> None:
    stage = stages.Fuse(PAIR, weights=(0.5, 0.5))
    found, batch = fused(stage, products())
    first, second = (batch.series[k] for k in PAIR)
    torch.testing.assert_close(found["precipitation"], (first + second) / 2)
    assert not stage.learns


def test_weights_begin_equal() -> None:
    hybrid = pdg.Hybrid(pdg.MLP(hidden=(4,), small_start=True), stages.Fuse(PAIR), dtype=F64)
    windows = pdg.Windows(products(), dtype=F64)
    hybrid.prepare(windows)
    batch = windows.reading(hybrid.reads, ["discharge"], hybrid.needs).batch(0)
    share = hybrid(batch)["precipitation_share"].detach()
    torch.testing.assert_close(share, torch.full_like(share, 0.5), rtol=0, atol=0.01)


@pytest.mark.parametrize("sum_to_one", [True, False])
def test_gradients(sum_to_one: bool) -> None:
    sites = products(2, 6)
    sites["precipitation_era5"][0, 3] = np.nan  # which must not reach the gradient
    stage = stages.Fuse(PAIR, sum_to_one=sum_to_one, others=True)
    _, batch = fused(stage, sites, precipitation_weight=0.2, precipitation_era5_weight=0.6)
    random = torch.Generator().manual_seed(3)

    def mean(rain, other, first, second):
        given = {"precipitation_weight": first, "precipitation_era5_weight": second}
        return stage(Series({PAIR[0]: rain, PAIR[1]: other}), given, batch)["precipitation"]

    rain, second = (torch.rand(2, 6, dtype=F64, generator=random) + 0.1 for _ in range(2))
    first = torch.rand(2, dtype=F64, generator=random) + 0.1
    other = batch.series[PAIR[1]]
    tensors = [x.requires_grad_() for x in (rain, first, second)]
    assert torch.autograd.gradcheck(lambda a, b, c: mean(a, other, b, c), tensors)


def test_a_missing_product_leaves_its_weight_to_the_others() -> None:
    sites = products()
    sites["precipitation_era5"][1, 5] = np.nan
    stage = stages.Fuse((*PAIR, "precipitation_nldas"), others=True)
    weights = {f"{k}_weight": w for k, w in zip(stage.reads, (0.2, 0.5, 0.3), strict=True)}
    found, batch = fused(stage, sites, **weights)
    first, _, third = (batch.series[k] for k in stage.reads)
    by_hand = (0.2 * first[1, 5] + 0.3 * third[1, 5]) / 0.5
    torch.testing.assert_close(found["precipitation"][1, 5], by_hand)
    assert float(found["precipitation_era5_share"][1, 5]) == 0.0
    free = stages.Fuse(PAIR, sum_to_one=False, others=True)
    found, batch = fused(free, sites, precipitation_weight=0.9, precipitation_era5_weight=0.4)
    torch.testing.assert_close(found["precipitation"][1, 5], 1.3 * batch.series[PAIR[0]][1, 5])


def test_a_step_without_any_product_names_site_and_day() -> None:
    sites = products()
    for name in PAIR:
        sites[name][2, 7] = np.nan
    weights = {f"{k}_weight": 0.5 for k in PAIR}
    with pytest.raises(DataError, match="site b2 has none of precipitation, precipitation_era5 on "
                                        "2000-01-08"):  # fmt: skip
        fused(stages.Fuse(PAIR, others=True), sites, **weights)


def test_without_others_a_gap_is_missing_forcing() -> None:
    sites = products(3, 60)
    sites["precipitation_era5"][1, 30] = np.nan
    hybrid = pdg.Hybrid(pdg.MLP(hidden=(4,)), stages.Fuse(PAIR), dtype=F64)
    windows = pdg.Windows(sites, length=10, batch=20, dtype=F64)
    hybrid.prepare(windows)
    read = windows.reading(hybrid.reads, ["discharge"], hybrid.needs, hybrid.optional)
    for step in range(20):
        batch = read.batch(step)
        touched = (batch.site == 1) & (batch.start <= 30) & (batch.start + 10 > 30)
        assert not bool(touched.any())
    refused = pdg.Windows(sites, length=10, dtype=F64, missing="error")
    with pytest.raises(DataError, match="precipitation_era5 is missing in site b1"):
        refused.reading(hybrid.reads, ["discharge"], hybrid.needs).batch(0)


def test_with_others_windows_touch_gaps_and_records_are_judged() -> None:
    sites = products(3, 60)
    sites["precipitation_era5"][1, 30] = np.nan
    hybrid = pdg.Hybrid(pdg.MLP(reads="attributes", hidden=(4,)), stages.Fuse(PAIR, others=True),
                        stages.Process("hbv", engine="torch"), dtype=F64)  # fmt: skip
    windows = pdg.Windows(sites, length=30, batch=3, dtype=F64, missing="error")
    trainer = pdg.Trainer(hybrid, windows, pdg.losses.NSE("discharge"), epochs=1, steps_per_epoch=2)
    history = trainer.run(progress=False)
    assert np.isfinite(history[0]["loss"])
    found = pdg.evaluate(hybrid, sites, warm_up=10)
    assert found.scores.sizes["site"] == 3 and bool(found.scores.nse.notnull().all())


def test_a_network_must_not_read_what_may_be_missing() -> None:
    hybrid = pdg.Hybrid(pdg.LSTM(hidden=2), stages.Fuse(PAIR, others=True), dtype=F64)
    with pytest.raises(SettingsError, match="precipitation_era5.* may be missing"):
        hybrid.prepare(products())


def test_products_in_other_units_are_converted_or_refused() -> None:
    stage = stages.Fuse(("precipitation", "precipitation_m"), weights=(0, 1))
    sites = basins(2, 20)
    sites["precipitation_m"] = (sites.precipitation / 1000).assign_attrs(units="m d-1")
    found, batch = fused(stage, sites)
    torch.testing.assert_close(found["precipitation"], batch.series["precipitation"])
    sites["precipitation_m"].attrs["units"] = "degC"
    with pytest.raises(UnitError, match="precipitation_m"):
        fused(stage, sites)


def test_what_is_no_fusion_is_refused() -> None:
    for wrong in (("rain",), "rain", ("rain", "rain")):
        with pytest.raises(SettingsError, match="two or more different"):
            stages.Fuse(wrong)
    for weights in ((1.0,), (0.0, 0.0), (-1.0, 2.0), (float("nan"), 1.0)):
        with pytest.raises(SettingsError, match="weights="):
            stages.Fuse(PAIR, weights=weights)


def test_a_gap_is_filled_by_a_product_without_weight() -> None:
    sites = products()
    sites.precipitation[0, 3] = np.nan
    found, batch = fused(stages.Fuse(PAIR, weights=(1, 0), others=True), sites)
    expected = batch.series["precipitation"].clone()
    expected[0, 3] = batch.series["precipitation_era5"][0, 3]
    assert torch.equal(found["precipitation"], expected)
    assert found["precipitation_share"][0, :5].tolist() == [1, 1, 1, 0, 1]
