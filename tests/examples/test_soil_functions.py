"""The example that finds soil curves: its settings, its searches, and going on after a stop."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "pydiffgeo" / "examples" / "soil_functions.yaml"
SMALL = """
soil: loam
begin: sandy clay loam
cells: 4
water_table: 150.0
evaporation: 0.012
interval: 6.0
days: 2
storms: [{day: 0.5, hours: 6, rain: 1.0}]
test_storm: {day: 0.5, hours: 6, rain: 2.0}
depths: [12, 62]
every: 6.0
noise: 0.01
seeds: [0]
units: 3
steps: 8
lstm: {hidden: 3, steps: 5}
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("soil_functions", SETTINGS.with_suffix(".py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where pydantic looks for the classes
    spec.loader.exec_module(module)
    return module


def test_its_settings(script: ModuleType) -> None:
    x = script.load_settings(SETTINGS, script.Experiment)
    assert len(x.depths) == 5 and len(x.storms) == 3
    assert x.test_storm.rain == 2 * max(s.rain for s in x.storms)


def test_it_runs_and_goes_on(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every search ends nearer to the observations than the soil at which it began.

    A second call adds nothing.
    """
    config, out = tmp_path / "small.yaml", tmp_path / "out"
    config.write_text(SMALL)
    monkeypatch.setattr(
        sys, "argv", ["soil_functions.py", "--config", str(config), "--output", str(out)]
    )
    column = script.Column(script.load_settings(config, script.Experiment))
    wanted = column.moisture(column.model, column.soil, column.truth["observed"])
    start = script.Searcher(column, "van_genuchten", 0)
    before = column.moisture(
        start.model, start.soil(), column.solve(start.model, start.soil(), column.wet)
    ).detach()
    script.main()
    scores = pd.read_csv(out / "scores.csv").set_index("model")
    assert list(scores.index) == ["networks", "van_genuchten", "brooks_corey", "gardner", "lstm"]
    for family in ("networks", "van_genuchten"):
        assert scores.loc[family, "theta, observed"] < script.rmse(before, wanted)
    assert (out / "soil_functions.png").stat().st_size > 10_000
    written = (out / "scores.csv").read_bytes()
    script.main()
    assert (out / "scores.csv").read_bytes() == written
