"""A panel of a report: figures and tables on one question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from pydiffgeo.evaluation.judged import Judged

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Runs = Mapping[str, Judged]
"""Judged runs by name: panels show one or several."""


@dataclass
class Panel:
    """What a panel shows: figures (caption and a function that draws) and tables by name of their file, without suffix.

    `tables` are on the page, too, `files` are not; `nothing` is why there is nothing to show, "" where there is.
    """

    title: str
    text: str = ""
    figures: dict[str, tuple[str, Callable[[], Figure]]] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    files: dict[str, pd.DataFrame] = field(default_factory=dict)
    nothing: str = ""
