"""Tables of scores: printed, and written as CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TypeAlias

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pydiffgeo.console import console as standard
from pydiffgeo.files import write_file

Rows: TypeAlias = pd.DataFrame | Sequence[Mapping[str, str | float | int | None]]


def print_table(
    rows: Rows, title: str, best: Mapping[str, str] | None = None, console: Console | None = None
) -> None:
    """Print a table, the `best` ("min" or "max") number of some columns in bold.

    One that is too wide is printed in parts, one below the other, on standard output by default.
    """
    frame = pd.DataFrame(rows).rename(columns=str).reset_index(drop=True)
    winners = {
        column: getattr(pd.to_numeric(frame[column]), "idx" + which)()
        for column, which in (best or {}).items()
        if column in frame and frame[column].notna().any()
    }
    words = {name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])}
    cells = {name: [_text(value) for value in frame[name]] for name in frame}
    wide = {name: max(map(len, [name, *cells[name]])) for name in frame}
    out = console or standard()
    # the columns of text that come first stand in every part, in two thirds of the width at most
    first = list(takewhile(words.__contains__, frame))
    while sum(3 + wide[n] for n in first) > 2 * out.width // 3:
        widest = max(first, key=wide.__getitem__)
        if wide[widest] < 8:
            break
        wide[widest] -= 1
    parts = [list(first)]
    for name in list(frame)[len(first) :]:
        full = 1 + sum(3 + wide[n] for n in [*parts[-1], name]) > out.width
        if full and len(parts[-1]) > len(first):
            parts.append(list(first))
        parts[-1].append(name)
    for k, part in enumerate(parts):
        # not as the title of the table, which would be folded to the width of a narrow one
        out.print(Text(title if k == 0 else f"{title} (continued)", "italic"))
        table = Table()
        for name in part:
            table.add_column(Text(name), max_width=wide[name], overflow="fold")
            table.columns[-1].justify = "left" if name in words else "right"
        for i in range(len(frame)):
            styles = ["bold" if winners.get(name) == i else "" for name in part]
            table.add_row(*(Text(cells[n][i], s) for n, s in zip(part, styles, strict=True)))
        out.print(table, soft_wrap=False)


def _text(value: object) -> str:
    return "-" if pd.isna(value) else f"{value:.3f}" if isinstance(value, float) else str(value)


def write_table(rows: Rows, path: str | Path) -> list[Path]:
    """Write a table as `path`.csv and `path`.json and return both paths.

    The path has no suffix; its folder is created. Undefined numbers are empty and null.
    """
    table, stem = pd.DataFrame(rows), Path(path)
    known = table.astype(object).where(table.notna(), None).to_dict("records")
    return [
        write_file(stem.with_suffix(".csv"), table.to_csv(index=False, float_format="%.6g")),
        write_file(stem.with_suffix(".json"), json.dumps(known, indent=1) + "\n"),
    ]
