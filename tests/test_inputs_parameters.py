"""Bad parameters: a typed error that names them and the remedy, before any solving."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from input_cases import Untouched, check

from pydiffgeo import Grid, Roots, solve, usda_soil
from pydiffgeo.errors import (
    DataError,
    ParameterError,
    PyDiffGeoError,
    UnknownName,
)


def test_residual_above_saturated_water_content() -> None:
    check(
        ParameterError, "theta_r", "theta_s", "0.5", "0.43", "column 0", parameters={"theta_r": 0.5}
    )
    percent = {"theta_s": torch.tensor([0.43, 43.0])}
    check(
        ParameterError,
        "theta_s is 43 at column 1",
        "share of the volume",
        "Divide percent by 100",
        parameters=percent,
    )
    check(ParameterError, "theta_r", "column 1", parameters={"theta_r": torch.tensor([0.05, 0.43])})
    soil = {"theta_r": torch.tensor([[0.05, 0.44]]), "theta_s": torch.tensor([[0.4, 0.4]])}
    check(ParameterError, "theta_r", "layer 1", layers=(0.0, 20.0), parameters=soil)


def test_parameters_beyond_physics() -> None:
    check(ParameterError, "'n'", "column 1", parameters={"n": torch.tensor([1.5, 0.9])})
    check(ParameterError, "'alpha'", "-0.01", parameters={"alpha": -0.01})
    check(ParameterError, "'K_s'", "nan", parameters={"K_s": float("nan")})
    check(ParameterError, "'K_s'", parameters={"K_s": 0.0})


def test_feddes_heads_out_of_order() -> None:
    check(
        ParameterError,
        "feddes_3",
        "feddes_2",
        roots=Roots(),
        forcing=PLANTS,
        parameters={"feddes_3": -5.0},
    )


def test_parameters_varying_in_time_are_checked_too() -> None:
    varying = {"theta_r": torch.tensor([[0.05, 0.05, 0.6]])}
    check(ParameterError, "theta_r", "theta_s", parameters=varying)


def test_soil_parameters_are_given_all_or_none() -> None:
    model, weather = Untouched(Grid.uniform(50.0, 10)), {"rain": 0.0, "potential_evaporation": 0.0}
    loam = usda_soil("loam")
    for name, unit in (("K_s", "cm h-1"), ("theta_r", "1"), ("alpha", "cm-1")):
        with pytest.raises(
            ParameterError,
            match=rf"missing soil parameters: {name} \({unit}\); give all of theta_r, theta_s",
        ):
            solve(
                model,
                weather,
                {k: v for k, v in loam.items() if k != name},
                -100.0,
                [0.0, 1.0],
                engine="torch",
            )
    with pytest.raises(ParameterError, match="K_s"):
        model.conductivity(
            torch.full((1, 10), -10.0), {k: v for k, v in loam.items() if k != "K_s"}
        )
    for whole in ({}, {"ponding_height": 1.0}, loam, loam | {"specific_storage": 1e-5}):
        with pytest.raises(AssertionError, match="the solve was started"):
            solve(model, weather, whole, -100.0, [0.0, 1.0], engine="torch")


PLANTS = {"potential_transpiration": 0.01}


def test_unknown_names() -> None:
    check(UnknownName, "theta_sat", "did you mean 'theta_s'", parameters={"theta_sat": 0.4})
    check(UnknownName, "'Ks'", "did you mean 'K_s'", parameters={"Ks": 1.0})
    check(UnknownName, "rainfall", "did you mean 'rain'", forcing={"rainfall": 1.0})
    # known to the model elsewhere, not in this configuration
    check(UnknownName, "root_depth", parameters={"root_depth": 30.0})
    check(UnknownName, "potential_transpiration", forcing=PLANTS)


def test_missing_forcing() -> None:
    check(DataError, "missing", "potential_transpiration", "cm h-1", roots=Roots())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(2, 2), ["'ponding_height'", "[2, 2]", "[batch, time]"]),
        (torch.zeros(1, 3, 2), ["'ponding_height'", "[1, 3, 2]"]),
        ("much", ["'ponding_height'", "much"]),
    ],
)
def test_parameters_of_the_wrong_shape(value: Any, words: list[str]) -> None:
    check(PyDiffGeoError, *words, parameters={"ponding_height": value})


def test_layers_that_could_be_columns() -> None:
    two = torch.tensor([0.02, 0.03])
    check(
        ParameterError,
        "'alpha'",
        "layers",
        "columns",
        layers=(0.0, 20.0),
        parameters={"alpha": two},
    )
    check(
        ParameterError,
        "'alpha'",
        "[2, 5]",
        layers=(0.0, 20.0),
        parameters={"alpha": torch.ones(2, 5)},
    )
