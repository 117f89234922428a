"""SCE-UA finds the minimum of a function that has others."""

from __future__ import annotations

import numpy as np
import pytest

from pydiffgeo.errors import DataError
from pydiffgeo.networks import Bounds
from pydiffgeo.training.sce_ua import sce_ua

pytest.importorskip("spotpy", reason="spotpy is not installed: pip install 'pydiffgeo[calibrate]'")
BOUNDS = {"x": Bounds(-2.0, 2.0), "k": Bounds(1e-3, 1e1, "log")}


def wavy(p: dict[str, float]) -> float:
    away = p["x"] - 0.7
    return away**2 + 0.3 * np.sin(6 * away) ** 2 + (np.log10(p["k"]) + 1.0) ** 2


def test_the_global_minimum_is_found_and_evaluations_are_counted(capsys):
    calls = []
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    found = sce_ua(lambda p: calls.append(1) or wavy(p), BOUNDS, 600, complexes=3, seed=1)
    assert np.random.rand() == expected  # the global random state is put back
    assert found.parameters == pytest.approx({"x": 0.7, "k": 0.1}, rel=0.02) and found.loss < 1e-3
    assert found.evaluations == len(calls) == len(found.history) <= 700
    assert found.loss == found.history.min() == wavy(found.parameters)
    assert capsys.readouterr().out == ""
    again = sce_ua(wavy, BOUNDS, 600, complexes=3, seed=1)
    assert np.array_equal(again.history, found.history)


def test_each_parameter_is_made_once_not_in_every_run(monkeypatch):
    from spotpy import parameter

    made, make = [], parameter.Base.__init__
    monkeypatch.setattr(
        parameter.Base, "__init__", lambda self, *a, **k: made.append(a[2]) or make(self, *a, **k)
    )
    assert sce_ua(wavy, BOUNDS, 100, complexes=2).evaluations > 20
    assert made == ["x", "k"]  # each takes milliseconds, as long as a year of a model


def test_runs_that_fail_are_avoided_and_too_few_evaluations_refused():
    found = sce_ua(lambda p: wavy(p) if p["x"] > 0 else float("nan"), BOUNDS, 500, complexes=3)
    assert found.parameters["x"] == pytest.approx(0.7, abs=0.05)
    with pytest.raises(
        DataError, match="20 evaluations are fewer than the 25 .* 5 complexes of 5 points"
    ):
        sce_ua(wavy, BOUNDS, 20, complexes=5)
    with pytest.raises(DataError, match="none of .* runs gave a loss"):
        sce_ua(lambda p: float("inf"), BOUNDS, 60, complexes=2)
