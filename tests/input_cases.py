"""A solve with one bad input, which no engine may see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pydiffgeo import Grid, Richards, Roots, solve, usda_soil
from pydiffgeo.errors import (
    PyDiffGeoError,
)


class Untouched(Richards):
    """Fails the test if any engine asks it for rates."""

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the solve was started")

    linearise = rates = fluxes = evaluate


DATES = np.datetime64("2020-06-01") + np.arange(4) * np.timedelta64(1, "D")


def attempt(roots: Roots | None = None, layers: tuple[float, ...] = (0.0,), **given: Any) -> None:
    """Try to solve three days of two columns with one input replaced."""
    arguments: dict[str, Any] = {
        "forcing": {"rain": 0.1, "potential_evaporation": [0.01, 0.02, 0.01]},
        "parameters": usda_soil("loam"),
        "initial_state": -100.0,
        "times": [0.0, 24.0, 48.0, 72.0],
        "engine": "torch",
    }
    for key in ("forcing", "parameters"):
        given[key] = {**arguments[key], **given.get(key, {})}
    solve(Untouched(Grid.uniform(50.0, 10, layers=layers), roots=roots), **{**arguments, **given})


def check(kind: type[Exception], *words: str, **given: Any) -> None:
    """The attempt raises this error, of our own base class, and its message has the words."""
    with pytest.raises(kind) as error:
        attempt(**given)
    assert isinstance(error.value, PyDiffGeoError)
    for word in words:
        assert word in str(error.value), str(error.value)
