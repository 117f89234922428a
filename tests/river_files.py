"""A small river in the site form."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr


def river(days: int = 40, seed: int = 0) -> xr.Dataset:
    """Five reaches: a and b flow into c, c and d into e; gauges at c and e.

    Discharge is the sum of the lateral inflow above.
    """
    random = np.random.default_rng(seed)
    inflow = random.gamma(2.0, 1.0, (5, days))
    above = np.array([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 0], [1] * 5])
    flow = np.where(np.array([0, 0, 1, 0, 1])[:, None] == 1, above @ inflow, np.nan)
    dims = ("site", "time")
    return xr.Dataset(
        {
            "lateral_inflow": (dims, inflow, {"units": "m3 s-1"}),
            "discharge": (dims, flow, {"units": "m3 s-1"}),
            "length": ("site", random.uniform(1e3, 1e4, 5), {"units": "m"}),
            "slope": ("site", random.uniform(1e-4, 1e-2, 5), {"units": "1"}),
            "downstream": ("site", np.array(["c", "c", "e", "e", ""])),
        },
        {"site": list("abcde"), "time": pd.date_range("2000-01-01", periods=days)},
    )
