"""Networks in the places of formulas come to them from assimilation alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).parents[2] / "pydiffgeo" / "examples" / "photosynthesis_functions.py"
spec = importlib.util.spec_from_file_location("photosynthesis_functions", FILE)
assert spec is not None and spec.loader is not None
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)


@pytest.mark.parametrize("case", example.LABELS)
def test_a_network_finds_the_formula(case: str) -> None:
    """It begins elsewhere, and V_cmax25 is learned with it."""
    sites = example.leaves(150, seed=4)
    with torch.no_grad():
        begun = example.compared(case, example.made(case, True, 0).prepare(sites))
    table, v = example.learned(case, sites)
    before, after = ((t["learned"] / t["formula"] - 1).abs() for t in (begun, table))
    assert before.median() > 0.2 and after.median() < 0.04
    assert v == pytest.approx(example.V, rel=0.03)
