"""The two tables of `richards_peers.py`: what was measured, and the ratios that are aimed at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cases import CASES, COMPILED, DIFFRAX, ERROR_TARGET, FINE_BATCHES, FINE_CELLS, MEMORY_RTOL, OWN
from rich.console import Console
from rich.table import Table

Record = dict[str, Any]
Find = Callable[..., Record | None]


def finder(records: list[Record]) -> Find:
    """Look up the record of (case, batch, cells) at the tolerance chosen for case and cells, or at
    a given rtol.
    """
    chosen = {
        (entry["case"], entry["cells"]): entry["rtol"] for entry in records if entry.get("chosen")
    }

    def find(
        case: str, batch: int = 1, cells: int = 100, rtol: float | None = None
    ) -> Record | None:
        wanted = (case, batch, cells, chosen.get((case, cells)) if rtol is None else rtol)
        for entry in records:
            if (entry["case"], entry["batch"], entry["cells"], entry["rtol"]) == wanted:
                return entry
        return None

    return find


def number(value: float | None, form: str = ".3g") -> str:
    return "-" if value is None else format(value, form)


def print_results(records: list[Record]) -> None:
    """One line per case and batch, at the case's tolerance."""
    find = finder(records)
    table = Table(
        title="New Mexico infiltration, gradient: CPU milliseconds per column, one thread"
    )
    for heading in (
        "case",
        "batch",
        "cells",
        "rtol",
        "setup s",
        "forward",
        "with gradient",
        "gradient error",
        "head error cm",
        "peak MB",
        "remark",
    ):
        table.add_column(heading, justify="left" if heading in ("case", "remark") else "right")
    for case in CASES:
        sizes = [
            *((batch, 100) for batch in case.batches),
            *((batch, FINE_CELLS) for batch in case.fine),
        ]
        for batch, cells in sizes:
            entry = find(case.name, batch, cells)
            if entry is None:
                continue
            error = entry.get("gradient_error")
            remark = entry["status"] if entry["status"] != "ok" else ""
            if error is not None and error > ERROR_TARGET:
                remark = f"{remark} best error of the set".strip()
            if entry["status"] in ("failed", "not installed", "crashed"):
                remark = f"{remark}: {entry['message']}"[:90]
            table.add_row(
                case.name,
                str(batch),
                str(cells),
                f"{entry['rtol']:g}",
                number(entry.get("setup_s"), ".1f"),
                number(entry.get("forward_ms_per_column")),
                number(entry.get("total_ms_per_column")),
                number(error, ".1e"),
                number(entry.get("head_error_cm")),
                number(entry.get("peak_rss_mb"), ".0f"),
                remark,
            )
    Console(width=190).print(table)


@dataclass(frozen=True)
class Target:
    """A ratio, or an amount, and what it is to be: `least` True for at least, False for at most."""

    name: str
    value: Callable[[Find], float | None]
    bound: float
    least: bool


def costs(above: tuple[Any, ...], below: tuple[Any, ...]) -> Callable[[Find], float | None]:
    """Ratio of the costs of forward and gradient per column of two (case, batch, cells)."""

    def ratio(find: Find) -> float | None:
        first, second = ((find(*what) or {}).get("total_ms_per_column") for what in (above, below))
        return None if first is None or second is None else float(first / second)

    return ratio


def megabytes_per_column(find: Find) -> float | None:
    """Megabytes the adjoint keeps for one column."""
    entry = find(OWN, 1, rtol=MEMORY_RTOL)
    recorded = None if entry is None else entry.get("stats", {}).get("recorded_bytes")
    return None if recorded is None else recorded / 1e6


TARGETS: tuple[Target, ...] = (
    Target("speed at batch 1, diffrax at 1 = 1", costs((DIFFRAX, 1), (OWN, 1)), 3, True),
    Target("speed at batch 64, diffrax at 64 = 1", costs((DIFFRAX, 64), (OWN, 64)), 40, True),
    Target("speed at batch 256, diffrax at 64 = 1", costs((DIFFRAX, 64), (OWN, 256)), 80, True),
    Target("the same with the compiled step", costs((DIFFRAX, 64), (COMPILED, 256)), 110, True),
    Target("cost per column, batch 1024 over 256", costs((OWN, 1024), (OWN, 256)), 1.4, False),
    *(
        Target(
            f"cost per column, {FINE_CELLS} cells over 100, batch {b}",
            costs((OWN, b, FINE_CELLS), (OWN, b)),
            12,
            False,
        )
        for b in FINE_BATCHES
    ),
    Target("adjoint memory per column, MB, rtol 1e-3", megabytes_per_column, 0.6, False),
)


def print_targets(records: list[Record]) -> None:
    """The aims of the project beside what was measured."""
    find = finder(records)
    table = Table(title="Aims")
    for heading in ("aim", "bound", "measured", "met"):
        table.add_column(heading, justify="left" if heading == "aim" else "right")
    for target in TARGETS:
        value = target.value(find)
        met = (
            None
            if value is None
            else (value >= target.bound if target.least else value <= target.bound)
        )
        sign = ">=" if target.least else "<="
        verdict = {None: "not measured", True: "yes", False: "NO"}[met]
        table.add_row(target.name, f"{sign} {target.bound:g}", number(value), verdict)
    Console(width=110).print(table)
