"""
# A hybrid on basins

A network learns from attributes of basins what the parameters of HBV are. Everything here is made
up, so that it runs in a minute and the truth is known; with records of your own only the first
part changes.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import xarray as xr

import pydiffgeo as pdg
from pydiffgeo import losses, stages

# %%
# ## Sites
#
# Records are an ordinary `xarray.Dataset`: attributes `[site]`, series `[site, time]`, each with
# its unit. `pdg.open_sites` reads it from files of many kinds; here it is drawn. Rain falls in
# showers, and soils hold more water where there is more clay.

rng = np.random.default_rng(0)
days = pd.date_range("2000-01-01", periods=3 * 365)
names = [f"basin {i}" for i in range(12)]
season = np.cos(2 * np.pi * (days.dayofyear.values - 200) / 365)
clay = rng.uniform(5, 45, 12)
rain = rng.gamma(0.3, 12.0, (12, len(days))) * rng.uniform(0.7, 1.5, (12, 1))
warmth = 9 + 10 * season + rng.normal(0, 2, (12, len(days)))
sites = xr.Dataset(
    {
        "clay": ("site", clay, {"units": "%"}),
        "mean_rain": ("site", rain.mean(1), {"units": "mm d-1"}),
        "precipitation": (("site", "time"), rain, {"units": "mm d-1"}),
        "tair_mean": (("site", "time"), warmth, {"units": "degC"}),
        "potential_evapotranspiration": (
            ("site", "time"),
            np.broadcast_to(2.5 + 2 * season, rain.shape),
            {"units": "mm d-1"},
        ),
    },
    coords={"site": names, "time": days},
)

# %%
# The truth is HBV itself, whose field capacity FC follows the clay. Its discharge, with errors of
# 10 %, is what was observed.

truth = pdg.solve(
    pdg.HBV(),
    {
        "precipitation": rain,
        "temperature": warmth,
        "potential_evapotranspiration": sites["potential_evapotranspiration"].values,
    },
    {"FC": torch.tensor(80 + 8 * clay), "BETA": 2.0},
    initial_state=pdg.HBV().start({}),
    times=range(len(days) + 1),
    solver=pdg.Solver("implicit_euler", step=1.0),
    engine="torch",
)
discharge = truth.fluxes["discharge"].numpy() * rng.normal(1, 0.1, rain.shape)
sites["discharge"] = (("site", "time"), discharge, {"units": "mm d-1"})
train, test = sites.sel(time=slice(None, "2001-12-31")), sites.sel(time=slice("2001-01-01", None))
print(sites)

# %%
# ## A hybrid
#
# A network and stages. The network reads attributes and gives the parameters of all stages; each
# stage reads series by name and adds series by name. `Scale` learns a factor of the precipitation,
# `Process` solves a model. Printed, a hybrid says what each stage reads, gives and learns.

hybrid = pdg.Hybrid(
    pdg.MLP(reads="attributes", hidden=(32,), seed=1),
    stages.Scale("precipitation", between=(0.8, 1.25)),
    stages.Process(
        pdg.HBV(),
        pdg.Solver("implicit_euler", step=1.0),
        engine="torch",
        learn=("FC", "BETA", "K1"),
    ),
)
print(hybrid)

# %%
# ## Training
#
# `Windows` draws pieces of the records: here 120 days, after 60 days that fill the stores and are
# not counted. The same seed draws the same windows. `Trainer` does the rest: it prepares the
# hybrid, so that scaling is that of the training period, and steps.

windows = pdg.Windows(train, length=120, warm_up=60, batch=6, seed=0)
trainer = pdg.Trainer(
    hybrid, windows, losses.NSE("discharge"), epochs=4, steps_per_epoch=12, learning_rate=0.02
)
history = trainer.run(progress=False)
print(pd.DataFrame(history)[["epoch", "loss", "seconds"]])

# %%
# ## What it is worth
#
# `evaluate` simulates the year that was not trained on, after a year of warm-up, and scores it.

result = pdg.evaluate(hybrid, test, warm_up=365)
print(result.scores[["nse", "kge"]].to_dataframe().round(2))

# %%
# The parameters that the network gives are a part of the result. Here the truth is known:

fig, ax = plt.subplots(figsize=(5, 4))
ax.scatter(80 + 8 * clay, result.parameters["FC"])
ax.plot([100, 450], [100, 450], color="0.5")
ax.set(xlabel="field capacity of the truth, mm", ylabel="given by the network, mm")
plt.show()

# %%
# ## In a loop of your own
#
# A hybrid is a `torch.nn.Module`: `hybrid(batch)` returns series by name. This is all that a
# training needs.

optimizer = torch.optim.AdamW(hybrid.parameters(), lr=1e-3)
loss = losses.NSE("discharge")
narrowed = windows.reading(hybrid.reads, ["discharge"], hybrid.needs)
for step in range(3):
    batch = narrowed.batch(step)
    value = loss(hybrid(batch), batch.observed, batch)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    print(f"step {step}: loss {float(value.detach()):.3f}")
