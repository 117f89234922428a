"""Tables of scores: printed, and written as CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pydiffgeo.console import console as standard
from pydiffgeo.files import write_file

Row = Mapping[str, str | float | int | None]


def print_table(
    rows: Sequence[Row],
    title: str,
    best: Mapping[str, str] | None = None,
    console: Console | None = None,
) -> None:
    """Print rows as a table, the best number of some columns in bold; one that is too wide in parts, one below the other.

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
    frame = pd.DataFrame(list(rows))
    winners = {
        column: getattr(pd.to_numeric(frame[column]), "idx" + which)()
        for column, which in (best or {}).items()
        if column in frame and frame[column].notna().any()
    }
    names = [str(name) for name in frame.columns]
    cells = {name: [_text(value) for value in frame[name]] for name in names}
    out = console or standard()
    wide = {name: max(map(len, [name, *cells[name]])) for name in names}
    first = list(takewhile(lambda name: frame[name].dtype == object, names))
    # the columns of text that come first stand in every part, in no more than two thirds of the width
    caps = range(max(wide.values()), 0, -1)
    cap = next(
        w for w in caps if w < 8 or sum(3 + min(wide[n], w) for n in first) <= 2 * out.width // 3
    )
    wide |= {name: min(wide[name], cap) for name in first}
    for k, part in enumerate(_parts(first, names[len(first) :], wide, out.width)):
        table = Table(title=Text(title if k == 0 else f"{title} (continued)"), title_justify="left")
        for name in part:
            kind = frame[name].dtype == object
            table.add_column(
                Text(name),
                justify="left" if kind else "right",
                max_width=wide[name],
                overflow="fold",
            )
        for i in range(len(frame)):
            table.add_row(
                *(Text(cells[name][i], "bold" if winners.get(name) == i else "") for name in part)
            )
        out.print(table, soft_wrap=False)


def _parts(
    first: list[str], others: Sequence[str], wide: Mapping[str, int], width: int
) -> list[list[str]]:
    """Return the columns of each part: the first ones, and as many of the others as fit beside them."""
    parts = [list(first)]
    for name in others:
        if len(parts[-1]) > len(first) and 1 + sum(3 + wide[n] for n in [*parts[-1], name]) > width:
            parts.append(list(first))
        parts[-1].append(name)
    return parts


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
    clean = [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
        for row in rows
    ]
    return [
        write_file(
            stem.with_suffix(".csv"),
            pd.DataFrame(list(rows)).to_csv(index=False, float_format="%.6g"),
        ),
        write_file(stem.with_suffix(".json"), json.dumps(clean, indent=1) + "\n"),
    ]
