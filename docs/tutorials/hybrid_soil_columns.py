"""
# A hybrid on soil columns

The same words as for basins: a network gives parameters, stages add series by name. Here the
process is Richards' equation, and what is observed is soil moisture at three depths.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import xarray as xr

import pydiffgeo as pdg
from pydiffgeo import losses, stages

# %%
# ## Sites with depths
#
# An observed series may have one more dimension, `depth` (m, positive down). Three stations, with
# made-up weather.

rng = np.random.default_rng(1)
days = pd.date_range("2010-05-01", periods=40)
rain = rng.gamma(0.25, 14.0, (3, len(days)))
sites = xr.Dataset(
    {
        "sand": ("site", [20.0, 45.0, 70.0], {"units": "%"}),
        "precipitation": (("site", "time"), rain, {"units": "mm d-1"}),
        "tair_mean": (("site", "time"), np.full_like(rain, 14.0), {"units": "degC"}),
        "potential_evapotranspiration": (
            ("site", "time"),
            np.full_like(rain, 3.0),
            {"units": "mm d-1"},
        ),
        "soil_moisture": (
            ("site", "time", "depth"),
            np.full((3, len(days), 3), 0.2),
            {"units": "m3 m-3"},
        ),
    },
    coords={"site": ["silty", "mixed", "sandy"], "time": days, "depth": [0.05, 0.2, 0.5]},
)

# %%
# ## A hybrid
#
# Snow waits in a degree-day store, the canopy divides potential evapotranspiration, the column is
# solved with a step size that its error allows, and `Probes` takes the water content of its cells
# at the depths of the observations. Units are converted on the way: rain comes in mm per day, the
# column computes in cm and hours.


def make(seed):
    return pdg.Hybrid(
        pdg.MLP(reads=("sand",), hidden=(16,), activation="tanh", seed=seed),
        stages.DegreeDay(),
        stages.Canopy(),
        stages.Process(
            pdg.Richards(
                pdg.Grid.graded(80.0, 10, 4.0),
                top="atmospheric",
                bottom="free_drainage",
                roots=pdg.Roots("exponential"),
            ),
            pdg.Solver("implicit_euler", rtol=0.1, on_failure="report"),
            engine="torch",
            soil="loam",
            forcing={"rain": "rain_and_melt"},
            start=-200.0,
        ),
        stages.Probes(),
        dtype=torch.float64,
    )


truth = make(seed=5).prepare(sites)
print(truth)

# %%
# ## Observations
#
# What a hybrid with other weights simulates, with errors of 0.01, is taken for observations.

windows = pdg.Windows(sites, warm_up=5, dtype=torch.float64)  # the whole record, all sites
everything = windows.reading(truth.reads, ["soil_moisture"], truth.needs).batch(0)
with torch.no_grad():
    moisture = truth(everything)["soil_moisture"].numpy()
sites["soil_moisture"].values[:] = moisture + rng.normal(0, 0.01, moisture.shape)

# %%
# ## Training
#
# Without a length, windows are the whole record: one batch is one epoch. Columns whose solve fails
# are left out of the loss, counted and named.

hybrid = make(seed=0)
windows = pdg.Windows(sites, warm_up=5, dtype=torch.float64)
trainer = pdg.Trainer(
    hybrid, windows, losses.Profile("soil_moisture"), epochs=12, learning_rate=0.03, rise=1
)
history = pd.DataFrame(trainer.run(progress=False))
print(history[["epoch", "loss", "failed"]].iloc[::3])

# %%
result = pdg.evaluate(hybrid, sites, warm_up=5)
print(result.scores["rmse"].to_series().unstack().round(3))

# %%
fig, axes = plt.subplots(3, 1, figsize=(7, 6), sharex=True, layout="constrained")
for ax, site in zip(axes, sites.site.values, strict=True):
    at = {"site": site, "depth": 0.2}
    ax.plot(days, sites["soil_moisture"].sel(at), "k.", label="observed")
    simulated = result.series["soil_moisture"].sel(at)
    ax.plot(simulated.time, simulated, label="simulated")
    ax.set(title=str(site), ylabel="water content")
axes[0].legend()
plt.show()
