"""Results that HYDRUS-1D printed: OBS_NODE.OUT and T_LEVEL.OUT."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from pydiffgeo.errors import DataError
from pydiffgeo.hydrus.project_files import find

LEVELS = (
    "time", "rTop", "rRoot", "vTop", "vRoot", "vBot", "sum(rTop)", "sum(rRoot)", "sum(vTop)",
    "sum(vRoot)", "sum(vBot)", "hTop",
    "hRoot", "hBot", "RunOff", "sum(RunOff)", "Volume", "sum(Infil)", "sum(Evap)",
)  # fmt: skip


def read_nodes(folder: str | Path) -> pd.DataFrame:
    """Read OBS_NODE.OUT: heads and water contents of the observation nodes.

    Parameters
    ----------
    folder : str or Path
        Of the project.

    Returns
    -------
    DataFrame, [time]
        Columns (node, "h") and (node, "theta") with nodes counted from 1, in the units of the
        project.

    Raises
    ------
    DataError
        There is no such file, or it is none of HYDRUS-1D.
    """
    path, lines, head = _open(folder, "OBS_NODE.OUT", "time")
    nodes = [int(n) for n in re.findall(r"Node\(\s*(\d+)\)", "".join(lines[:head]))]
    names = lines[head].split()[1:]
    width = len(names) // max(len(nodes), 1)
    table = _numbers(path, lines, head + 1, 1 + len(names))
    columns = [
        (node, name) for i, node in enumerate(nodes) for name in names[i * width : (i + 1) * width]
    ]
    names_of = pd.MultiIndex.from_tuples(columns, names=("node", "name"))
    out = pd.DataFrame(table[:, 1:], pd.Index(table[:, 0], name="time"), names_of)
    return out[[c for c in columns if c[1] in ("h", "theta")]]


def read_levels(folder: str | Path) -> pd.DataFrame:
    """Read T_LEVEL.OUT: fluxes (upwards positive), their sums, boundary heads, water in the column.

    Parameters
    ----------
    folder : str or Path
        Of the project.

    Returns
    -------
    DataFrame, [time]
        Columns as in the file, from rTop to sum(Evap).

    Raises
    ------
    DataError
        There is no such file, or it is none of HYDRUS-1D.
    """
    path, lines, head = _open(folder, "T_LEVEL.OUT", "Time")
    table = _numbers(path, lines, head + 2, len(LEVELS))
    return pd.DataFrame(table[:, 1:], pd.Index(table[:, 0], name="time"), list(LEVELS[1:]))


def _open(folder: str | Path, name: str, first: str) -> tuple[Path, list[str], int]:
    """Return path and lines of a file, and the line at which its table begins."""
    path = find(Path(folder), name)
    lines = path.read_text(errors="replace").splitlines()
    for i, line in enumerate(lines):
        if line.split()[:1] == [first]:
            return path, lines, i
    raise DataError(
        f"{path} has no line that begins with {first!r}: it is no {name} of HYDRUS-1D; let HYDRUS "
        "write it again."
    )


def _numbers(path: Path, lines: list[str], first: int, width: int) -> np.ndarray:
    rows = []
    for i, line in enumerate(lines[first:], start=first + 1):
        words = line.split()
        if not words:
            continue
        if words[0] == "end":
            break
        try:
            rows.append([float(word) for word in words[:width]])
        except ValueError:
            raise DataError(
                f"{path}, line {i}: expected {width} numbers, got {line.strip()[:60]!r}."
            ) from None
    if not rows or any(len(row) != width for row in rows):
        raise DataError(
            f"{path}: expected rows of {width} numbers; HYDRUS may have stopped while it wrote "
            "them."
        )
    return np.array(rows)
