"""Soil water stress: its formula, its bounds, its derivatives, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.errors import DataError, ParameterError, UnitError

F64 = torch.float64
OPEN, CLOSED = -74000.0, -275000.0


def leaves(count: int = 6, points: int = 9, seed: int = 0) -> xr.Dataset:
    """Leaves with the wetness of two layers and attributes of their soil."""
    random = np.random.default_rng(seed)
    dims = ("site", "point")
    sites = xr.Dataset(
        {
            "top": (dims, random.uniform(0.05, 1.0, (count, points)), {"units": "1"}),
            "deep": (dims, random.uniform(5.0, 100.0, (count, points)), {"units": "percent"}),
            "clay": ("site", random.uniform(0, 1, count)),
            "shallow_roots": ("site", np.full(count, 0.6)),
            "deep_roots": ("site", np.full(count, 0.4)),
            "psi_open": ("site", np.full(count, OPEN / 1000), {"units": "m"}),
            "psi_closed": ("site", np.full(count, CLOSED), {"units": "mm"}),
            "b": ("site", random.uniform(0.1, 0.6, count)),
        },
        {"site": [f"leaf {k}" for k in range(count)]},
    )
    return sites


def stress(sites: xr.Dataset, **given: Any) -> torch.Tensor:
    """What a hybrid with the stage alone gives, [site, point]."""
    stage = stages.SoilWaterStress(**given)
    hybrid = pdg.Hybrid(pdg.MLP(hidden=(4,)) if stage.learns else None, stage, dtype=F64)
    hybrid.prepare(sites)
    read = pdg.Windows(sites, dtype=F64).reading(hybrid.reads, (), hybrid.needs)
    (batch,) = read.periods(len(sites.site))
    return hybrid(batch)["soil_water_stress"]


def rising(**options: Any) -> pdg.NeuralClosure:
    """A network that may take the place of the formula."""
    return pdg.NeuralClosure(1, (6,), output_range=(0.0, 1.0), monotone_in=(0,), **options)


def formula(wetness: np.ndarray, b: np.ndarray, saturated: float = OPEN) -> np.ndarray:
    """The formula as it is written down, [site, point]."""
    psi = np.maximum(saturated * wetness ** -b[:, None], CLOSED)
    return np.clip((CLOSED - psi) / (CLOSED - OPEN), 0.0, 1.0)


def test_two_layers_weigh_by_their_roots() -> None:
    sites = leaves()
    given: dict[str, Any] = {
        "wetness": ("top", "deep"), "roots": ("shallow_roots", "deep_roots"), "B": ("b", 0.3),
        "potential_open": "psi_open", "potential_closed": "psi_closed",
    }  # fmt: skip
    b = sites.b.values
    top = formula(sites.top.values, b)
    deep = formula(sites.deep.values / 100, np.full_like(b, 0.3))
    np.testing.assert_allclose(stress(sites, **given), 0.6 * top + 0.4 * deep, rtol=1e-12)


def test_saturated_soil_may_be_wetter_than_open_stomata_need() -> None:
    sites, given = leaves(), {"potential_open": OPEN, "potential_closed": CLOSED}
    found = stress(sites, wetness="top", B=8.0, potential_saturated=-200.0, **given)
    expected = formula(sites.top.values, np.full(6, 8.0), -200.0)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert (expected == 1.0).any() and (expected == 0.0).any()


def test_the_stress_is_between_zero_and_one_and_falls_with_dryness() -> None:
    wetness = np.r_[0.0, np.logspace(-8, 0, 400)]
    sites = xr.Dataset({"soil_wetness": (("site", "point"), wetness[None])}, {"site": ["a"]})
    for b in (0.0, 0.05, 0.4, 12.0):
        found = stress(sites, B=b)[0]
        assert float(found.min()) >= 0.0 and float(found[-1]) == pytest.approx(1.0, abs=1e-15)
        assert bool((found.diff() >= 0.0).all())
        assert float(found[0]) == (0.0 if b else 1.0)


def test_derivatives_in_wetness_and_exponent() -> None:
    stage = stages.SoilWaterStress(("top", "deep"), (0.7, 0.3), OPEN, CLOSED, depths=(5.0, 30.0))
    sites = leaves()
    hybrid = pdg.Hybrid(pdg.MLP(("clay",), hidden=(4,)), stage, dtype=F64)
    hybrid.prepare(sites)
    read = pdg.Windows(sites, dtype=F64).reading(hybrid.reads, (), hybrid.needs)
    (batch,) = read.periods(6)
    top, deep = (batch.series[name].clone().requires_grad_() for name in ("top", "deep"))
    b = (
        0.1 + 0.5 * torch.rand(6, 2, generator=torch.Generator().manual_seed(1), dtype=F64)
    ).requires_grad_()

    def given(top: torch.Tensor, deep: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        series = stages.Series({"top": top, "deep": deep})
        return stage(series, {"B": b}, batch)["soil_water_stress"]

    assert torch.autograd.gradcheck(given, (top, deep, b), eps=1e-7, atol=1e-5)
    # an empty layer is closed: no derivative, and no NaN
    (slope,) = torch.autograd.grad(given(torch.zeros_like(top), deep, b).sum(), b)
    assert bool(torch.isfinite(slope).all()) and bool((slope[:, 0] == 0).all())


def test_a_network_in_the_place_of_the_formula_needs_no_soil() -> None:
    """Its stress rises with wetness, and gradients reach its weights."""
    closure = rising(seed=1)
    stage = stages.SoilWaterStress(closure=closure)
    assert not stage.needs and not stage.learns
    wetness = np.linspace(0.0, 1.0, 30)[None]
    sites = xr.Dataset({"soil_wetness": (("site", "point"), wetness)}, {"site": ["a"]})
    hybrid = pdg.Hybrid(None, stage, dtype=F64).prepare(sites)
    (batch,) = pdg.Windows(sites, dtype=F64).reading(hybrid.reads, (), ()).periods(1)
    found = hybrid(batch)["soil_water_stress"][0]
    assert bool((found.diff() > 0).all()) and 0 < float(found[0].detach()) < 1
    found.sum().backward()
    assert [k for k, _ in hybrid.named_parameters()] == ["stages.0.closure.weights"]
    assert bool((closure.weights.grad != 0).all())


def test_a_network_beside_the_formula_begins_as_it() -> None:
    sites, given = leaves(), {"wetness": "top", "B": 0.3}
    closure = pdg.NeuralClosure(1, output_range=(0.0, 1.0), residual=True, monotone_in=(0,))
    found, alone = stress(sites, **given, closure=closure), stress(sites, **given)
    torch.testing.assert_close(found.detach(), alone, rtol=0, atol=5e-3)


def test_a_network_gives_an_exponent_for_each_layer() -> None:
    sites = leaves()
    given: dict[str, Any] = {"wetness": ("top", "deep"), "roots": (0.5, 0.5), "between": (0.1, 0.7)}
    for network in (pdg.MLP(("clay",), hidden=(4,)), pdg.MLP(("clay",), hidden=(4,), per="layer")):
        stage = stages.SoilWaterStress(**given, depths=(5.0, 40.0))
        hybrid = pdg.Hybrid(network, stage, dtype=F64).prepare(sites)
        read = pdg.Windows(sites, dtype=F64).reading(hybrid.reads, (), hybrid.needs)
        (batch,) = read.periods(6)
        b = hybrid.parameters_of(batch)["B"]
        assert b.shape == (6, 2) and bool(((b > 0.1) & (b < 0.7)).all())
        assert bool((b[:, 0] != b[:, 1]).all())
        hybrid(batch)["soil_water_stress"].sum().backward()
        assert all(bool((w.grad != 0).any()) for w in hybrid.parameters())


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"roots": (0.7, 0.2)}, "do not sum to 1; give those of all layers"),
        ({"roots": (1.2, -0.2)}, "a root fraction is negative"),
        ({"roots": (1.0,)}, r"has 2 layers \(top, deep\) and 1 numbers of roots"),
        ({"depths": (5.0,)}, "1 numbers of depths"),
        ({"potential_open": 66000.0}, "potential_open must be negative, in mm of water"),
        ({"potential_closed": -5.0}, "potential_closed must be more negative than potential_open"),
        ({"potential_saturated": 2.0}, "potential_saturated must be negative"),
        ({"B": -0.3}, "B is negative"),
        ({"between": (-1.0, 1.0)}, "B must not be negative"),
        ({"B": 0.3, "depths": (5.0, 9.0)}, "depths are for a learned B"),
        ({"closure": pdg.NeuralClosure(1)}, "must turn wetness into a share that rises"),
        ({"closure": pdg.NeuralClosure(1, output_range=(0, 1))}, "that rises from 0 to 1; take"),
        ({"closure": rising(), "B": 0.3}, "B and depths belong to the formula that the closure"),
    ],
)
def test_what_it_refuses_at_once(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        stages.SoilWaterStress(**{"wetness": ("top", "deep"), "roots": (0.5, 0.5), **given})


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("top", 1.2, "'top' must be the filled share of the pores, between 0 and 1"),
        ("top", -0.1, "'top' must be the filled share"),
        ("deep_roots", 0.5, "root fractions do not sum to 1"),
        ("psi_open", 74.0, "potential_open must be negative"),
        ("psi_closed", -10.0, "potential_closed must be more negative"),
        ("b", -0.2, "B is negative"),
    ],
)
def test_what_it_refuses_of_sites(name: str, value: float, text: str) -> None:
    sites = leaves()
    sites[name][3] = value
    given: dict[str, Any] = {
        "wetness": ("top", "deep"), "roots": ("shallow_roots", "deep_roots"), "B": "b",
        "potential_open": "psi_open", "potential_closed": "psi_closed",
    }  # fmt: skip
    with pytest.raises(DataError, match=f"site leaf 3, point 0 to point 8.*{text}"):
        stress(sites, **given)
    sites = leaves()
    sites.psi_open.attrs["units"] = "kPa"
    with pytest.raises(UnitError, match="psi_open"):
        stress(sites, **given)


def test_the_twin_of_the_paper(shared_data: Any) -> None:
    """The stress of 446 leaves as the code of Aboelyazeed et al. (2023) computes it."""
    file: Path = shared_data("photosynthesis/diffecosys_fates_twin_446.csv")
    table = pd.read_csv(file)
    sites = xr.Dataset(
        {
            "soil_wetness": (("site", "point"), table[["SMC_0"]].to_numpy()),
            **{n: ("site", table[n].to_numpy()) for n in ("epsi_o", "epsi_c", "B_synthetic")},
        },
        {"site": table.index.astype(str)},
    )
    found = stress(
        sites, potential_open="epsi_o", potential_closed="epsi_c", B="B_synthetic"
    )  # fmt: skip
    assert np.abs(found[:, 0].numpy() - table.btran_synthetic).max() < 1e-6


def test_made_up_sites_have_what_it_reads() -> None:
    given: dict[str, Any] = {
        "roots": ("shallow", "deep"),
        "potential_open": "open",
        "B": ("b", 2.0),
    }
    stage = stages.SoilWaterStress(("top", "deep_wetness"), **given)
    assert stage.typical == {"shallow": 0.5, "deep": 0.5, "open": -66000.0, "b": 0.3}
    assert set(stage.typical) == set(stage.needs)
