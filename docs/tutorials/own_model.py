"""
# A model of your own

A model is a specification, which names its states, parameters, forcings and fluxes with units,
and a class with its equations. Nothing is registered: the class is used where it is.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr

import pydiffgeo as pdg
from pydiffgeo import losses, stages

# %%
# ## Specification and equations
#
# A lake loses water over its sill: the outflow grows with the power 1.5 of the depth above it.
# `balance` says which fluxes fill (1) and empty (-1) the storage. Bounds and defaults tell a
# network where to begin.

folder = Path(tempfile.mkdtemp())
(folder / "lake.toml").write_text("""
name = "lake"
title = "A lake above its sill"
time_unit = "d"

[states.depth]
unit = "mm"
scale = 100.0
lower = 0.0
storage = "water"
storage_unit = "mm"
storage_scale = 100.0

[parameters.sill]
unit = "mm d-1"
lower = 3.0
upper = 3000.0
default = 150.0
transform = "log"
description = "outflow at a depth of 1 m"

[forcings.inflow]
unit = "mm d-1"
lower = 0.0

[forcings.evaporation]
unit = "mm d-1"
lower = 0.0

[fluxes.inflow_total]
unit = "mm d-1"
balance = 1

[fluxes.evaporated]
unit = "mm d-1"
balance = -1

[fluxes.outflow]
unit = "mm d-1"
balance = -1
""")


class Lake(pdg.ProcessModel):
    """d depth / dt = inflow - evaporation - sill (depth / 1 m)^1.5 (mm, d)."""

    structure = "dense"
    size = 1

    def __init__(self):
        self.spec = pdg.load_spec(folder / "lake.toml")

    def fluxes(self, state, forcing, parameters):
        depth = state.clamp(min=0.0)
        inflow = forcing["inflow"].expand_as(state)
        evaporated = forcing["evaporation"] * depth / (depth + 1.0)  # an empty lake gives none
        outflow = parameters["sill"] * (depth / 1000) * (depth / 1000 + 1e-9).sqrt()
        return torch.cat([inflow, evaporated.expand_as(state), outflow], -1)

    def rates(self, state, forcing, parameters):
        inflow, evaporated, outflow = self.fluxes(state, forcing, parameters).unbind(-1)
        return (inflow - evaporated - outflow)[..., None]

    def start(self, parameters):
        return {"depth": torch.tensor(200.0, dtype=torch.float64)}


# %%
# ## Look at it before it is solved
#
# `check_model` compares shapes, balance and derivatives with the specification.

print(pdg.check_model(Lake()))

# %%
# ## Solve and differentiate
#
# Nothing else is needed: every method, batches, and gradients.

inflow = torch.tensor([0.0, 60.0, 20.0, 5.0, 0.0, 0.0, 0.0], dtype=torch.float64)
sill = torch.tensor([60.0, 240.0], dtype=torch.float64, requires_grad=True)
solution = pdg.solve(
    Lake(),
    {"inflow": inflow, "evaporation": 3.0},
    {"sill": sill},
    initial_state={"depth": 200.0},
    times=range(8),
    solver=pdg.Solver("kvaerno3", rtol=1e-5),
    engine="torch",
)
print(solution.to_xarray()["depth"].round(1).values)
solution.fluxes["outflow"][:, -1].sum().backward()
print("gradient of the last outflow in sill:", sill.grad)

# %%
# ## In a hybrid
#
# The model is a stage as any other is. In a settings file it is named by its module and class,
# `model: my_package.my_module:Lake`.

days = pd.date_range("2001-01-01", periods=200)
rng = np.random.default_rng(0)
width = np.array([1.0, 3.0, 5.0, 8.0])
dims = ("site", "time")
inflow = rng.gamma(0.3, 20.0, (4, len(days)))
lakes = xr.Dataset(
    {
        "width": ("site", width, {"units": "m"}),
        "inflow": (dims, inflow, {"units": "mm d-1"}),
        "evaporation": (dims, np.full_like(inflow, 2.0), {"units": "mm d-1"}),
    },
    coords={"site": ["a", "b", "c", "d"], "time": days},
)
made = pdg.solve(
    Lake(),
    {"inflow": inflow, "evaporation": 2.0},
    {"sill": torch.tensor(30 * width)},
    {"depth": 200.0},
    range(len(days) + 1),
    pdg.Solver("implicit_euler", step=1.0),
    engine="torch",
)
lakes["outflow"] = (dims, made.fluxes["outflow"].numpy(), {"units": "mm d-1", "role": "observed"})

hybrid = pdg.Hybrid(
    pdg.MLP(reads=("width",), hidden=(8,)),
    stages.Process(Lake(), pdg.Solver("implicit_euler", step=1.0), engine="torch"),
)
windows = pdg.Windows(lakes, length=60, warm_up=30, batch=4, observed=["outflow"])
trainer = pdg.Trainer(
    hybrid, windows, losses.NSE("outflow"), epochs=1, steps_per_epoch=40, learning_rate=0.03
)
trainer.run(progress=False)
result = pdg.evaluate(hybrid, lakes, warm_up=60)
print("learned:", result.parameters["sill"].values.round(1))
print("truth:  ", 30 * width)
