"""What a judged hybrid run says of variables that it was not trained on, in its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pydiffgeo.evaluation import untrained_summary, untrained_table, write_table
from pydiffgeo.files import write_file
from pydiffgeo.training.basins.data import BasinData
from pydiffgeo.training.basins.prediction import Periods

# flux of a process model by name; the discharge as it leaves the stores, before routing, is called runoff
FLUXES = {
    "evapotranspiration": "evapotranspiration",
    "base_flow": "base_flow",
    "runoff": "discharge",
    "inflow": "inflow",
}


def untrained_fluxes(targets: Sequence[str]) -> dict[str, str]:
    """Return `FLUXES` without those that are targets themselves: what was trained on is no check."""
    return {name: flux for name, flux in FLUXES.items() if name not in targets}


def check_untrained(
    out: Path, data: BasinData, periods: Mapping[str, Periods]
) -> list[dict[str, Any]]:
    """Write ``untrained.csv``, one row per basin, and ``untrained_summary.csv``, and return the rows of the summary.

    Parameters
    ----------
    out : Path
        Folder of the evaluation.
    data : BasinData
        Precipitation as measured.
    periods : mapping of str to Periods
        Simulations by group of basins, with the series of `untrained_fluxes`.

    Returns
    -------
    list of dict
        ``group`` and the columns of `pydiffgeo.evaluation.untrained_summary`. Empty, and nothing is written, where the model
        gives neither evapotranspiration nor base flow, as a pure LSTM, or the records lack discharge or precipitation.
    """
    tables, rows = [], list[dict[str, Any]]()
    for group, judged in periods.items():
        if "discharge_observed" not in judged.series or "precipitation" not in data.records:
            continue
        flow = judged.series.discharge_observed
        measured = (
            data.records.precipitation.sel(basin=flow.basin, time=flow.time)
            .transpose("basin", "time")
            .values
        )
        fluxes = {str(name): series.values for name, series in judged.also.items()}
        if "precipitation_factor" not in judged.parameters:
            fluxes.pop("inflow", None)  # it is what was measured
        basins = [str(basin) for basin in flow.basin.values]
        table = untrained_table(
            fluxes, flow.values, measured, pd.DatetimeIndex(flow.time.values), basins
        )
        table.insert(0, "group", group)
        tables.append(table)
        rows += [{"group": group, **row} for row in untrained_summary(table)]
    if rows:
        write_file(out / "untrained.csv", pd.concat(tables).to_csv(float_format="%.6g"))
        write_table(rows, out / "untrained_summary")
    return rows
