"""Values of neuralhydrology's metrics that ours are compared with.

Run as a script it writes them anew.

    python -m venv /tmp/nh && /tmp/nh/bin/pip install neuralhydrology   # 1.13.0, with its torch
    PYTHONPATH=tests /tmp/nh/bin/python tests/neuralhydrology_metrics.py

The made-up series are drawn again by the test from their seeds; of real ones the script writes the
values only, and the test reads the series from the shared data.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr

FILE = Path(__file__).parent / "data" / "neuralhydrology_metrics.json"
# the last is dry on four days of five
REAL = ("01022500", "02064000", "03015500", "14400000", "07226500")
# the name in neuralhydrology to ours
NAMES = {
    "NSE": "nse",
    "KGE": "kge",
    "Alpha-NSE": "alpha_nse",
    "Beta-NSE": "beta_nse",
    "Beta-KGE": "beta_kge",
    "Pearson-r": "pearson_r",
    "FHV": "fhv",
    "FMS": "fms",
    "FLV": "flv",
    "Peak-Timing": "peak_timing",
    "Missed-Peaks": "missed_peaks",
    "Peak-MAPE": "peak_mape",
    "MSE": "mse",
    "RMSE": "rmse",
}


def made_up(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return simulated and observed discharge.

    Storms and recession, errors of size and day, zeros, gaps, negative values.
    """
    random = np.random.default_rng(seed)
    days = 400 + 300 * seed
    rain = random.gamma(0.2, 20.0, days) * (random.random(days) < 0.3)
    flow = np.zeros(days)
    for day in range(1, days):
        flow[day] = (0.8 + 0.03 * (seed % 5)) * flow[day - 1] + 0.2 * rain[day]
    observed = flow * np.exp(random.normal(0, 0.05, days))
    simulated = (
        np.roll(flow, seed % 3) * np.exp(random.normal(0, 0.2, days)) * random.uniform(0.7, 1.3)
    )
    if seed % 2:
        observed[observed < np.quantile(observed, 0.1)] = 0.0
        simulated[random.random(days) < 0.02] = -0.01
    if seed % 3:
        observed[random.random(days) < 0.03] = np.nan
        observed[days // 2 : days // 2 + 25] = np.nan
        simulated[random.random(days) < 0.01] = np.nan
    return simulated, observed


def real(file: Path, basin: str) -> tuple[np.ndarray, np.ndarray]:
    """Return observed discharge of a year and more before as a simulation of the later one.

    Right in season, wrong in days.
    """
    with xr.open_dataset(file) as opened:
        flow = opened.qobs.sel(basin=basin).values.astype(float)
    return 0.9 * flow[365:-365], flow[730:]


def main() -> None:
    """Write the file."""
    from neuralhydrology.evaluation import metrics

    file = Path(os.environ.get("PYDIFFGEO_DATA") or "../shared/data", "camels_us_daymet_500.nc")
    series = {f"seed {seed}": made_up(seed) for seed in range(12)} | {
        basin: real(file, basin) for basin in REAL
    }
    values = {}
    for name, (simulated, observed) in series.items():
        days = np.datetime64("1990-10-01", "ns") + np.arange(len(observed)) * np.timedelta64(1, "D")
        s, o = (
            xr.DataArray(x.copy(), dims="date", coords={"date": days})
            for x in (simulated, observed)
        )
        found = metrics.calculate_metrics(o, s, list(NAMES), resolution="1D", datetime_coord="date")
        values[name] = {
            NAMES[key]: None if np.isnan(value) else float(value) for key, value in found.items()
        }
    versions = {"neuralhydrology": version("neuralhydrology"), "numpy": np.__version__}
    FILE.write_text(json.dumps({"versions": versions, "values": values}, indent=1) + "\n")
    print(FILE, versions)


if __name__ == "__main__":
    main()
