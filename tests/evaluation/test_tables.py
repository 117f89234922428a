"""Tables that are printed, written and read back."""

from __future__ import annotations

import json

import pandas as pd
from rich.console import Console

from pydiffgeo.evaluation.tables import print_table, write_table


def test_table_is_printed_and_read_back(tmp_path):
    rows = [
        {"model": "a", "rmse": 0.2, "kge": float("nan")},
        {"model": "b", "rmse": 0.1, "kge": 0.5},
    ]
    console = Console(record=True, width=80, force_terminal=False)
    print_table(rows, "Scores", best={"rmse": "min"}, console=console)
    text = console.export_text()
    assert "Scores" in text and "0.100" in text and "-" in text
    csv, js = write_table(rows, tmp_path / "deep" / "table")
    assert pd.read_csv(csv).rmse.tolist() == [0.2, 0.1]
    assert json.loads(js.read_text())[0] == {"model": "a", "rmse": 0.2, "kge": None}
