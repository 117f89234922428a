"""A balance by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from pydiffgeo.evaluation import Evaluation
from pydiffgeo.evaluation.panels.water_balance import balance_table, water_balance


def judged(**values: float) -> Evaluation:
    data = xr.Dataset(
        {n: (("site", "time"), np.full((2, 3), v), {"units": "mm d-1"}) for n, v in values.items()},
        {"site": ["01", "02"], "time": range(3), "judged": ("time", [False, True, True])},
    )
    data["inflow"][:, 0] = 99.0  # of the warm-up
    data["inflow"][1] += 1.0
    data.attrs["balance"] = json.dumps({"inflow": 1, "evapotranspiration": -1, "discharge": -1})
    return Evaluation(data)


def test_mean_fluxes_and_what_the_stores_gain() -> None:
    run = judged(inflow=6.0, evapotranspiration=2.0, discharge=3.0)
    table = balance_table(run)
    assert table.loc["01"].to_dict() == {
        "inflow": 6.0, "evapotranspiration": 2.0, "discharge": 3.0, "gain": 1.0,
    }  # fmt: skip
    panel = water_balance({"run": run, "lstm": judged(inflow=1.0)})
    assert panel.tables["balance_summary"].to_dict("records")[0]["gain"] == 1.5
    assert set(panel.files["balance"].run) == {"run"}
    pytest.importorskip("matplotlib")
    assert panel.figures["balance"][1]().axes[0].get_ylabel() == "mm d-1"


def test_discharge_counts_before_routing() -> None:
    run = judged(inflow=6.0, evapotranspiration=2.0, discharge=3.0, runoff=3.5)
    assert balance_table(run).gain["01"] == 0.5


def test_a_network_has_no_balance() -> None:
    assert "no run gives" in water_balance({"lstm": judged(inflow=1.0)}).nothing
