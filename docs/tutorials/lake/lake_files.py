"""How the files are read: a folder with lakes.csv, and a file LAKE.txt for each lake."""

import pandas as pd

from pydiffgeo.data.layouts import Column, Source


def open_lakes(path, request):
    """Return the lakes of a folder as a source."""
    table = pd.read_csv(path / "lakes.csv", index_col="lake", dtype={"lake": str})

    def read(lake, wanted):
        """Return the wanted columns of a lake, on an index of days."""
        frame = pd.read_csv(path / f"{lake}.txt", sep=r"\s+", index_col="day", parse_dates=True)
        return frame[[name for name in frame if name in wanted]]

    def span(lake):
        """Return the first and the last day of a lake."""
        days = read(lake, ()).index
        return days[0], days[-1]

    columns = {
        "inflow": Column({"units": "mm d-1"}),
        "inflow_temperature": Column({"units": "degC"}),
        "tair_mean": Column({"units": "degC"}),
        "evaporation": Column({"units": "mm d-1"}),
        "outflow": Column({"units": "mm d-1", "role": "observed"}),
        "water_temperature": Column({"units": "degC"}),  # observed, as its name says
    }
    units = {"mean_depth": "m", "sill_width": "m", "wind": "m s-1"}
    return Source(request.sites or tuple(table.index), columns, read, span, table, units, {})
