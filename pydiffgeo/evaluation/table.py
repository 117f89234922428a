"""Tables of scores: printed, and written as CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

Row = Mapping[str, str | float | int | None]


def print_table(
    rows: Sequence[Row], title: str, best: Mapping[str, str] | None = None, console: Console | None = None
) -> None:
    """Print rows as a table, the best number of some columns in bold.

    Parameters
    ----------
    rows : sequence of mappings
        Column name to text or number; all rows have the columns of the first.
    title : str
        Printed above.
    best : mapping of str to {"min", "max"}, optional
        Columns whose best number is set in bold.
    console : rich.console.Console, optional
        Where to print; standard output by default.
    """
    table = Table(title=title, title_justify="left")
    frame = pd.DataFrame(list(rows))
    winners = {
        column: getattr(pd.to_numeric(frame[column]), "idx" + which)()
        for column, which in (best or {}).items()
        if column in frame and frame[column].notna().any()
    }
    for column in frame.columns:
        table.add_column(column, justify="left" if frame[column].dtype == object else "right")
    for i, row in enumerate(frame.itertuples(index=False)):
        cells = [_text(value) for value in row]
        for j, column in enumerate(frame.columns):
            if winners.get(column) == i:
                cells[j] = f"[bold]{cells[j]}[/bold]"
        table.add_row(*cells)
    (console or Console()).print(table)


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def write_table(rows: Sequence[Row], path: str | Path) -> list[Path]:
    """Write rows as `path`.csv and `path`.json and return both paths; undefined numbers are empty and null.

    Parameters
    ----------
    rows : sequence of mappings
        Column name to text or number.
    path : str or Path
        Without suffix; its folder is created.
    """
    stem = Path(path)
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = [stem.with_suffix(".csv"), stem.with_suffix(".json")]
    pd.DataFrame(list(rows)).to_csv(written[0], index=False, float_format="%.6g")
    clean = [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows
    ]
    written[1].write_text(json.dumps(clean, indent=1) + "\n", encoding="utf-8")
    return written
