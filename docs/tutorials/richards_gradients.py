"""
# Richards' equation and its gradients

One call solves a batch of soil columns; PyTorch differentiates through it. This tutorial looks at
a storm on three loams, checks the balance of water and a gradient, and fits a conductivity.
"""

import matplotlib.pyplot as plt
import torch

from pydiffgeo import Grid, Richards, Solver, solve, usda_soil

# %%
# ## A model and a solve
#
# A model says what is solved. It knows its states, parameters, forcing and fluxes, with their
# units: here centimetres and hours.

model = Richards(Grid.uniform(depth=100.0, cells=20), top="atmospheric", bottom="free_drainage")
print({name: parameter.unit for name, parameter in model.spec.parameters.items()})

# %%
# Ten days with rain on the third. A forcing value holds over the interval that ends at its time.
# A parameter with three values makes a batch of three columns, which are solved together.

hours = 24.0 * torch.arange(11)
rain = torch.zeros(10)
rain[2] = 0.1  # cm/h
soil = usda_soil("loam")
soil["K_s"] = torch.tensor([0.2, 1.0, 5.0], dtype=torch.float64, requires_grad=True)  # cm/h


def simulate(soil):
    return solve(
        model,
        forcing={"rain": rain, "potential_evaporation": 0.01},
        parameters=soil,
        initial_state=-300.0,  # pressure head, cm
        times=hours,
        solver=Solver("kvaerno3", rtol=1e-4),
        engine="torch",
    )


solution = simulate(soil)
print(solution)

# %%
# `to_xarray` gives every state and flux its name and unit. Water content is derived from heads.

record = solution.to_xarray()
print(record)

# %%
fig, ax = plt.subplots(figsize=(6, 4))
for column, conductivity in enumerate([0.2, 1.0, 5.0]):
    after_rain = record["water_content"].isel(time=3, batch=column)
    ax.plot(after_rain, record["depth"], label=f"{conductivity} cm/h")
ax.invert_yaxis()
ax.set(xlabel="water content", ylabel="depth, cm", title="After the rain")
ax.legend(title="K_s")
plt.show()

# %%
# ## Water is conserved
#
# The solver integrates the fluxes itself. What went in, less what went out, less the change of
# storage is zero to rounding, whatever the tolerance of the solver.

print("largest error of the balance, relative:", float(solution.balance_error().detach().max()))

# %%
# ## A gradient, and a check of it
#
# `backward` gives the exact gradient of what the solver computed. A central difference over the
# same steps must agree: `replay` takes the steps of an earlier solve.

drainage = solution.fluxes["drainage"].sum()
drainage.backward()
print("gradient of the drainage in K_s:", soil["K_s"].grad)

change = 1e-5
sums = []
for sign in (1, -1):
    moved = {**soil, "K_s": soil["K_s"].detach() * (1 + sign * change)}
    again = solve(
        model,
        {"rain": rain, "potential_evaporation": 0.01},
        moved,
        -300.0,
        hours,
        Solver("kvaerno3", rtol=1e-4, newton_tolerance=1e-9),
        engine="torch",
        replay=solution,
    )
    sums.append(again.fluxes["drainage"].sum(-1))
difference = (sums[0] - sums[1]) / (2 * change * soil["K_s"].detach())
print("central difference:              ", difference)
assert torch.allclose(difference, soil["K_s"].grad, rtol=1e-3)

# %%
# ## Fit a parameter
#
# Water contents of the second column are taken for observations, and K_s is found from a wrong
# first guess. The logarithm of K_s is learned, so that K_s stays positive.

observed = model.water_content(solution.states, soil).detach()[1:2]
log_K = torch.tensor([1.5], dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.LBFGS([log_K], max_iter=8, line_search_fn="strong_wolfe")


def misfit():
    optimizer.zero_grad()
    trial = {**usda_soil("loam"), "K_s": log_K.exp()}
    error = (model.water_content(simulate(trial).states, trial) - observed).square().mean()
    error = 1e6 * error
    error.backward()
    print(f"K_s = {float(log_K.detach().exp()):.3f} cm/h, error {float(error.detach()):.3g}")
    return error


optimizer.step(misfit)
print(f"found K_s = {float(log_K.detach().exp()):.3f} cm/h; the truth is 1")
