"""The example HydroNODE: what is trained on, and what it writes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import site_files
import torch

from pydiffgeo.data import write_sites

FILE = Path(__file__).parents[2] / "pydiffgeo" / "examples" / "hydro_node.py"


@pytest.fixture
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hydro_node", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("days", [365 + 80, 365 + 75, 5478])
def test_each_day_after_the_first_year_counts_once(example: ModuleType, days: int) -> None:
    day = torch.arange(6000, dtype=torch.float64)
    parts = example.side_by_side({"precipitation": day, "discharge": day.clone()}, days)
    counted = torch.isfinite(parts["discharge"])
    assert torch.equal(parts["discharge"][counted].sort().values, day[365:days])
    assert torch.equal(
        parts["discharge"][counted], parts["precipitation"][counted]
    )  # forcing of the same day
    assert not counted[:, :365].any() and bool((parts["precipitation"].diff() == 1).all())


def test_a_stopped_run_goes_on_with_the_next_basin(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "fit_slots", lambda model, parameters: None)  # tested elsewhere
    monkeypatch.setattr(example, "TRAIN", ("1999-10-01", "2000-12-31"))
    monkeypatch.setattr(example, "TEST", ("2001-01-01", "2001-03-31"))
    data = write_sites(site_files.records(3, 700), tmp_path / "sites.nc")
    table = tmp_path / "out" / "scores.csv"
    first = pd.DataFrame()
    for basins in (1, 2):
        arguments = ["--data", data, "--output", tmp_path / "out", "--basins", basins, "--steps", 1]
        monkeypatch.setattr("sys.argv", ["hydro_node.py", *map(str, arguments)])
        example.main()
        scores = pd.read_csv(table, dtype={"basin": str}, float_precision="round_trip")
        assert (
            list(scores.model) == ["EXP-HYDRO", "M50", "M100"] * basins
            and scores.basin.nunique() == basins
        )
        assert scores[["nse_train", "nse_test", "kge_test"]].notna().all().all()
        assert first.empty or scores[:3].equals(first)
        first = scores
    functions = pd.read_csv(tmp_path / "out" / "functions.csv")
    assert functions.groupby("model").slot.nunique().to_dict() == {"M100": 5, "M50": 3}
    assert (
        functions[["learned", "formula"]].notna().all().all()
        and functions.learned.between(0, 1).all()
    )
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {"nse.png", "functions.png"}
    monkeypatch.setattr("sys.argv", ["hydro_node.py", *map(str, arguments[:-1]), "2"])
    with pytest.raises(SystemExit):
        example.main()
