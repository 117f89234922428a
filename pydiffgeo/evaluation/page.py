"""A report in one HTML file: text, tables and figures inside it, nothing to load from elsewhere."""

from __future__ import annotations

import base64
import math
from html import escape
from pathlib import Path

import pandas as pd

from pydiffgeo.evaluation.tables import Rows
from pydiffgeo.files import write_file

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 60em; margin: 2em auto }
body { padding: 0 1em } caption { text-align: left; color: #555 }
table { border-collapse: collapse; margin: 1em 0 } div.wide { overflow-x: auto }
th, td { padding: .2em .8em; border-bottom: 1px solid #ddd; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums } img { max-width: 100% }
pre { background: #f5f5f5; padding: 1em; overflow-x: auto; font-size: 13px }"""


class Page:
    """Collects the parts of a page in order, below its title."""

    def __init__(self, title: str):
        self.title, self.parts = title, [f"<h1>{escape(title)}</h1>"]

    def add(self, tag: str, *texts: str) -> None:
        """Add texts as elements: h2, p, or pre for text as it is, such as settings."""
        self.parts += [f"<{tag}>{escape(text)}</{tag}>" for text in texts]

    def figure(self, path: Path, caption: str) -> None:
        """Add a PNG image."""
        content = base64.b64encode(path.read_bytes()).decode()
        image = f'<img alt="{escape(caption)}" src="data:image/png;base64,{content}">'
        self.parts.append(f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>")

    def table(self, rows: Rows, caption: str = "") -> None:
        """Add a table, where it has rows; numbers that are not finite are left empty."""
        table = pd.DataFrame(rows)
        if table.empty:
            return
        lines = ["".join(f"<th>{escape(str(name))}</th>" for name in table)]
        lines += ["".join(map(_cell, row)) for row in table.itertuples(index=False)]
        body = "\n".join(f"<tr>{line}</tr>" for line in lines)
        text = f"<table><caption>{escape(caption)}</caption>{body}</table>"
        self.parts.append(f'<div class="wide">{text}</div>')

    def write(self, path: Path) -> Path:
        """Write the page and return its path."""
        head = f'<meta charset="utf-8"><title>{escape(self.title)}</title><style>{STYLE}</style>'
        body = "\n".join(self.parts)
        page = f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'
        return write_file(path, page)


def _cell(value: object) -> str:
    if isinstance(value, int | float):
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        return f'<td class="number">{text}</td>' if math.isfinite(value) else "<td></td>"
    return f"<td>{'' if value is None else escape(str(value))}</td>"
