"""Least squares of leaves: parameters, their standard errors, and what is refused."""

from __future__ import annotations

import logging
from functools import cache

import hybrid_cases
import numpy as np
import pytest
import torch
import xarray as xr

import pydiffgeo as pdg
from pydiffgeo import stages
from pydiffgeo.errors import DataError, SettingsError
from pydiffgeo.training import calibrate
from pydiffgeo.training.gauss_newton import least_squares
from pydiffgeo.training.sce_ua import calibrated

TRUE = {"V_cmax25": [40.0, 80.0, 25.0], "J_max25": [80.0, 140.0, 45.0], "R_d25": [1.0, 1.6, 0.6]}
NOISE = 0.2  # umol m-2 s-1


def hybrid() -> pdg.Hybrid:
    model = pdg.Photosynthesis(stomata="measured_ci", ratios=False)
    bounds = {"V_cmax25": (2.0, 400.0), "J_max25": (5.0, 600.0), "R_d25": (0.01, 15.0)}
    leaf = stages.Process(model, engine="torch", learn=list(TRUE), bounds=bounds)
    return pdg.Hybrid(pdg.MLP(reads=(), hidden=()), leaf)


@cache
def curves(seed: int = 0, noise: float = NOISE) -> xr.Dataset:
    """Three curves of known parameters; the last has fewer points."""
    random = np.random.default_rng(seed)
    co2 = np.array([60.0, 100, 150, 220, 300, 400, 550, 700, 900, 1100, 1400, 1700])
    dims, shape = ("site", "point"), (3, len(co2))
    sites = xr.Dataset(
        {
            "intercellular_co2": (dims, np.tile(co2, (3, 1)), {"units": "umol mol-1"}),
            "par": (dims, np.full(shape, 1800.0), {"units": "umol m-2 s-1"}),
            "leaf_temperature": (dims, random.uniform(24, 27, shape), {"units": "degC"}),
            "pressure": (dims, np.full(shape, 1e5), {"units": "Pa"}),
            "assimilation": (dims, np.zeros(shape), {"units": "umol m-2 s-1"}),
        },
        {"site": ["a", "b", "c"]},
    )
    table = calibrated(hybrid(), ["a", "b", "c"]).prepare(sites)
    for k, site in enumerate(sites.site.values):
        table.network.set(str(site), {name: values[k] for name, values in TRUE.items()})
    windows = pdg.Windows(sites, dtype=torch.float64, attributes=[])
    truth = table(windows.reading(table.reads, (), ()).batch(0))["assimilation"].numpy()
    sites["assimilation"] = sites.assimilation.copy(data=truth + noise * random.normal(size=shape))
    for name in ("assimilation", "intercellular_co2", "par", "leaf_temperature", "pressure"):
        sites[name][2, -2:] = np.nan
    return sites


def windows(sites: xr.Dataset) -> pdg.Windows:
    return pdg.Windows(sites, dtype=torch.float64, attributes=[])


def test_exact_curves_give_their_parameters() -> None:
    _, table = calibrate(
        hybrid(), windows(curves(0, 0.0)), observed="assimilation", method="gauss_newton",
        progress=False,
    )  # fmt: skip
    assert table.converged.all() and table.points.tolist() == [12, 12, 10]
    for name, values in TRUE.items():
        np.testing.assert_allclose(table[name], values, rtol=1e-5)
    assert (table.rmse < 1e-6).all()


def test_errors_tell_how_far_parameters_are_from_the_truth() -> None:
    """Of 15 noisy records the distances in standard errors have a spread of about one."""
    apart = []
    for seed in range(15):
        fitted, table = calibrate(
            hybrid(), windows(curves(seed)), observed="assimilation", method="gauss_newton",
            progress=False,
        )  # fmt: skip
        for name, values in TRUE.items():
            apart.append((table[name] - values) / table[f"{name}_error"])
        assert table.rmse.max() < 2 * NOISE
    spread = np.sqrt(np.mean(np.square(apart)))
    assert 0.85 < spread < 1.3, spread  # Student's t of 7 to 9 degrees of freedom: 1.13 to 1.18


def test_peaked_responses_are_recovered_within_their_errors() -> None:
    """Curves of one plant from 17.5 to 40 degC, with noise of 1 umol m-2 s-1."""
    true = {
        "V_cmax25": 70.0, "J_max25": 115.0, "R_d25": 1.0, "V_cmax_activation": 55000.0,
        "V_cmax_entropy": 640.0, "J_max_activation": 40000.0, "J_max_entropy": 645.0,
    }  # fmt: skip
    model = pdg.Photosynthesis(stomata="measured_ci", ratios=False)
    leaf = stages.Process(
        model, engine="torch", learn=list(true),
        bounds={"R_d25": (0.01, 15.0), "V_cmax_entropy": (600, 700), "J_max_entropy": (600, 700)},
        given={"V_cmax_deactivation": 2e5, "J_max_deactivation": 2e5},
        begin={"V_cmax_entropy": 650.0, "J_max_entropy": 650.0},
    )  # fmt: skip
    warm = np.repeat(np.arange(17.5, 41.0, 2.5), 12)
    co2 = np.tile(np.linspace(60.0, 1400.0, 12), 10)
    dims, shape = ("site", "point"), (1, 120)
    sites = xr.Dataset(
        {
            "intercellular_co2": (dims, co2[None], {"units": "umol mol-1"}),
            "leaf_temperature": (dims, warm[None], {"units": "degC"}),
            "par": (dims, np.full(shape, 1500.0), {"units": "umol m-2 s-1"}),
            "pressure": (dims, np.full(shape, 85e3), {"units": "Pa"}),
            "assimilation": (dims, np.zeros(shape), {"units": "umol m-2 s-1"}),
        },
        {"site": ["plant"]},
    )
    table = calibrated(pdg.Hybrid(pdg.MLP(), leaf), ["plant"]).prepare(sites)
    table.network.set("plant", true)
    batch = windows(sites).reading(table.reads, ("assimilation",), ()).batch(0)
    noise = np.random.default_rng(5).normal(size=shape)
    sites["assimilation"] += table(batch)["assimilation"].numpy() + noise
    batch = windows(sites).reading(table.reads, ("assimilation",), ()).batch(0)
    found = least_squares(table, batch, "assimilation")
    for name, value in true.items():
        away = abs(found.parameters[name][0] - value) / found.errors[name][0]
        assert away < 3.0, f"{name} is {away:.1f} standard errors from the truth"
    assert found.errors["V_cmax25"][0] < 3.0 and found.errors["V_cmax_entropy"][0] < 12.0


def test_a_parameter_on_its_bound_has_no_error() -> None:
    sites = curves(1).copy(deep=True)
    sites["assimilation"] += 3.0  # as if nothing were respired
    _, table = calibrate(
        hybrid(), windows(sites), observed="assimilation", method="gauss_newton", progress=False
    )
    assert (table.R_d25 < 0.02).all() and table.R_d25_error.isna().all()
    assert table.V_cmax25_error.gt(0).all()


def test_curves_of_too_few_points_are_named(caplog: pytest.LogCaptureFixture) -> None:
    sites = curves(1).copy(deep=True)
    sites["assimilation"][1, 3:] = np.nan
    with caplog.at_level(logging.WARNING):
        _, table = calibrate(
            hybrid(), windows(sites), observed="assimilation", method="gauss_newton", progress=False
        )
    assert "1 of 3 sites have no more observations of assimilation than the 3" in caplog.text
    assert caplog.text.rstrip().endswith("b.") and table.V_cmax25_error.isna().tolist() == [0, 1, 0]


def test_no_neighbour_is_better() -> None:
    sites = curves(3)
    model = calibrated(hybrid(), ["a", "b", "c"]).prepare(sites)
    batch = windows(sites).reading(model.reads, ("assimilation",), ()).batch(0)
    found = least_squares(model, batch, "assimilation")
    assert found.converged.all() and found.correlation.shape == (3, 3, 3)
    np.testing.assert_allclose(np.diagonal(found.correlation, axis1=1, axis2=2), 1.0)
    for name in TRUE:
        for factor in (0.998, 1.002):
            for k, site in enumerate("abc"):
                values = {
                    n: v[k] * (factor if n == name else 1) for n, v in found.parameters.items()
                }
                model.network.set(site, values)
            error = model(batch)["assimilation"] - batch.observed["assimilation"]
            rmse = error.square().nanmean(1).sqrt().numpy()
            assert (rmse > found.rmse).all()


def test_what_is_refused() -> None:
    basins = hybrid_cases.basins()
    process = stages.Process(pdg.HBV(), engine="torch")
    named = {"method": "gauss_newton", "progress": False}
    with pytest.raises(SettingsError, match="hbv has states that do; take SCE-UA"):
        calibrate(pdg.Hybrid(pdg.MLP(), process), windows(basins), observed="discharge", **named)
    with pytest.raises(pdg.errors.UnknownName, match="did you mean 'gauss_newton'"):
        calibrate(hybrid(), windows(curves()), observed="assimilation", method="gauss_newtn")
    sites = curves().copy(deep=True)
    sites["assimilation"][1] = np.nan
    model = calibrated(hybrid(), ["a", "b", "c"]).prepare(sites)
    reading = windows(sites).reading(model.reads, ("assimilation",), ())
    with pytest.raises(DataError, match="site b has no observation"):
        least_squares(model, reading.tensors.windows([0, 1], [0, 0], 12), "assimilation")
