"""The twin of leaves: V_cmax25 of types and B of soils are found, with honest standard errors."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import pydiffgeo as pdg

FILE = Path(__file__).parents[2] / "pydiffgeo" / "examples" / "photosynthesis_twin.py"
spec = importlib.util.spec_from_file_location("photosynthesis_twin", FILE)
assert spec is not None and spec.loader is not None
twin = importlib.util.module_from_spec(spec)
sys.modules["photosynthesis_twin"] = twin  # where dataclasses look for their names
spec.loader.exec_module(twin)
TYPES = {"Crop R": 100.0, "C3 grass": 75.0, "C4 grass": 50.0}
LEAVES = 90
NOISE = 0.1  # umol m-2 s-1


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Leaves of three types on nine soils, without and with noise, written as the file is."""
    random = np.random.default_rng(2)
    pft = random.choice(list(TYPES), LEAVES)
    soil = random.integers(0, 9, LEAVES)
    clay, sand, organic = (random.uniform(a, b, 9)[soil]
                           for a, b in ((5, 45), (15, 70), (0.01, 0.2)))  # fmt: skip
    table = pd.DataFrame(
        {
            "Pathway": np.where(pft == "C4 grass", "C4", "C3"),
            "Tleaf": random.uniform(15, 32, LEAVES),
            "PARin": random.uniform(600, 1800, LEAVES),
            "Patm": random.uniform(95, 101, LEAVES),
            "CO2S": random.uniform(340, 400, LEAVES),
            "VPD": random.uniform(0.5, 2.5, LEAVES),
            "BLCond": 3.0,
            "PFT": pft,
            "vcmax_CLM45": [TYPES[name] for name in pft],
            "epsi_o": -74000.0,
            "epsi_c": -275000.0,
            "soil_clay_0": clay,
            "soil_sand_0": sand,
            "soil_OM_0": organic,
            "SMC_0": random.uniform(0.25, 0.9, LEAVES),
            "medslope": np.where(pft == "C4 grass", 1.62, 4.5),
            "B_synthetic": 1 / (1 + np.exp(2.3 - (2 * sand + 2 * clay) / 100 - organic)),
            "true": 0.0,
        }
    )
    file: Path = tmp_path_factory.mktemp("leaves") / "leaves.csv"
    table.to_csv(file, index=False)
    sites = twin.leaves(file, "true")
    hybrid = twin.made(sites, None, None).prepare(sites)
    names = {"V_cmax25": "vcmax_CLM45", "B": "B_synthetic"}
    given = {k: torch.tensor(sites[v].values)[:, None] for k, v in names.items()}
    with torch.no_grad():
        table["true"] = hybrid.run(twin.batch_of(hybrid, sites), given)["assimilation"][:, 0]
    table["noisy"] = table["true"] + NOISE * random.normal(size=LEAVES)
    table.to_csv(file, index=False)
    return file


@pytest.fixture(scope="module")
def sites(path: Path) -> xr.Dataset:
    return twin.leaves(path, "true")


def test_both_are_found_where_nothing_is_noise(sites: xr.Dataset) -> None:
    fit = twin.fitted(sites, None, None)
    assert twin.of_types(sites, fit)["error"].abs().max() < 0.01
    found = twin.parameters_of(fit.hybrid, sites)["B"]
    np.testing.assert_allclose(found, sites.B_synthetic.values, atol=1e-4)
    assert fit.error < 0.001


def test_standard_errors_are_those_of_repeated_noise(sites: xr.Dataset, path: Path) -> None:
    known, random = sites.B_synthetic.values, np.random.default_rng(5)
    fit = twin.fitted(twin.leaves(path, "noisy"), None, None)
    errors = []
    for _ in range(6):
        noise = NOISE * random.normal(size=(LEAVES, 1))
        again = twin.fitted(sites.assign(assimilation=sites.assimilation + noise), None, None)
        found = twin.parameters_of(again.hybrid, sites)
        errors.append([found["V_cmax25"] - sites.vcmax_CLM45.values, found["B"] - known])
    size = np.sqrt(np.mean(np.square(errors), axis=(0, 2)))
    told = [np.sqrt(np.mean(fit.spread[name] ** 2)) for name in ("V_cmax25", "B")]
    np.testing.assert_allclose(size, told, rtol=0.5)


def without(sites: xr.Dataset, left: np.ndarray, decay: float) -> torch.Tensor:
    """Errors of leaves that a hybrid was trained without, with the scaling of all."""
    hybrid = twin.made(sites, None, None).prepare(sites)
    batch, weights = twin.batch_of(hybrid, sites), hybrid.network.named["B"].layers[0].weight
    seen = {"assimilation": batch.observed["assimilation"].clone()}
    seen["assimilation"][torch.tensor(left)] = torch.nan
    optimiser = torch.optim.LBFGS(
        hybrid.parameters(), max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-8
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = twin.LOSS(hybrid(batch), seen, batch) + decay * weights.square().sum()
        value.backward()
        return value

    optimiser.step(closure)
    with torch.no_grad():
        error = hybrid(batch)["assimilation"] - batch.observed["assimilation"]
    return error[torch.tensor(left)]


def test_cross_validation_is_that_of_fits_without_the_fold(path: Path) -> None:
    sites = twin.leaves(path, "noisy")
    fold = np.random.default_rng(0).permutation(np.arange(LEAVES) % twin.FOLDS)
    errors = torch.cat([without(sites, fold == k, 1e-3) for k in range(twin.FOLDS)])
    expected = float(errors.square().mean().sqrt())
    fit = twin.fitted(sites, None, None, 1e-3)
    assert fit.error == pytest.approx(expected, rel=0.02)
    assert fit.error > 1.02 * twin.scores("", fit.hybrid, sites, sites)[0]["rmse"]


def test_the_table_of_runs(sites: xr.Dataset) -> None:
    default = twin.made(sites, "V_default", "clapp_hornberger_b").prepare(sites)
    learned = twin.fitted(sites, None, "clapp_hornberger_b").hybrid
    rows = [twin.scores(name, hybrid, sites, sites)[1] for name, hybrid in
            (("default", default), ("learned", learned))]  # fmt: skip
    assert isinstance(default, pdg.Hybrid) and rows[0]["points"] == LEAVES
    assert rows[1]["rmse"] < rows[0]["rmse"]
