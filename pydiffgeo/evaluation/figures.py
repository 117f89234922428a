"""Tools that all panels share. Figures need matplotlib (the extra `plot`)."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.files import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pydiffgeo.evaluation.evaluate import Evaluation
else:  # the one is optional, the other imports the panels
    Figure = Evaluation = Any

COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "0.55")
Runs = Mapping[str, "Evaluation"]  # judged runs by name: panels show one or several


@dataclass
class Panel:
    """What a panel shows: figures (caption and a function that draws) and tables by file stem.

    `tables` are on the page, too, `files` are not; `nothing` is why there is nothing to show.
    """

    title: str
    text: str = ""
    figures: dict[str, tuple[str, Callable[[], Figure]]] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    files: dict[str, pd.DataFrame] = field(default_factory=dict)
    nothing: str = ""


def matplotlib_missing() -> str | None:
    """Return why figures cannot be drawn and what to do, or None where they can."""
    if find_spec("matplotlib"):
        return None
    return "no figures: matplotlib is not installed; pip install 'pydiffgeo[plot]' brings it."


def new_figure(
    rows: int, columns: int, size: tuple[float, float], **kwargs: Any
) -> tuple[Figure, NDArray]:
    """Return a figure of `size` inches and its axes [rows, columns]."""
    # a figure of its own canvas needs no display, and leaves the caller's backend and figures alone
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure and return its path; the folder is created."""
    image = io.BytesIO()
    figure.savefig(image, dpi=110, format=path.suffix[1:])
    return write_file(path, image.getvalue())


def literal(text: str) -> str:
    """Return a name as matplotlib shows it as it is: a dollar would begin a formula."""
    return text.replace("$", r"\$")


def with_unit(name: object, values: xr.DataArray) -> str:
    """Return a name with the unit of its values, as matplotlib shows it."""
    unit = values.attrs.get("units", "1")
    return literal(str(name) if unit == "1" else f"{name} ({unit})")


def colour(position: int) -> str:
    """Return the colour of the run at a position: grey from the seventh on."""
    return COLOURS[min(position, len(COLOURS) - 1)]
