"""
# A network in the equations

A process whose formula is in doubt can be learned: a network takes the place of the formula, and
the balance of water still closes. Here it is the recharge of HBV, the share of rain that passes
the soil.
"""

import matplotlib.pyplot as plt
import torch

import pydiffgeo as pdg

# %%
# ## A truth that HBV does not know
#
# HBV lets (soil / FC) to the power of BETA pass. The truth here is a soil that holds everything
# until it is half full.

generator = torch.Generator().manual_seed(0)
days = 300
wet = torch.rand(6, days, generator=generator) < 0.4
weather = {
    "precipitation": 15.0 * torch.rand(6, days, generator=generator) * wet,
    "temperature": 12.0,
    "potential_evapotranspiration": 2.5,
}
start = [0.0, 0.0, 120.0, 10.0, 20.0]  # snow, melt water, soil, upper and lower zone, mm
solver = pdg.Solver("implicit_euler", step=1.0)


class HalfFull(torch.nn.Module):
    """Share of recharge: none below half, then linear."""

    def forward(self, filling):
        return (2 * filling[..., 0] - 1).clamp(0, 1)


def simulate(network):
    model = pdg.HBV(closures={"recharge": network})
    times = range(days + 1)
    return pdg.solve(model, weather, {"FC": 200.0}, start, times, solver, engine="torch")


observed = simulate(HalfFull()).fluxes["discharge"].detach()

# %%
# ## Learn it from discharge
#
# `NeuralClosure` keeps its output in a range, and rises in its input whatever its weights. It
# begins as the formula: `fit_closure` trains it on the power law, and says what difference is left.

recharge = pdg.NeuralClosure(1, hidden=(16,), output_range=(0.0, 1.0), monotone_in=(0,))
filling = torch.linspace(0, 1, 101, dtype=torch.float64)
fit = pdg.fit_closure(recharge, pdg.HBV().formula("recharge", {"BETA": 2.0}), filling)
print(f"largest difference to the formula: {fit.largest:.2g}")
before = recharge(filling[:, None]).detach()

optimizer = torch.optim.Adam(recharge.parameters(), lr=0.1)
for step in range(60):
    solution = simulate(recharge)
    error = (solution.fluxes["discharge"] - observed)[:, 30:].square().mean()
    optimizer.zero_grad()
    error.backward()
    optimizer.step()
    if step % 15 == 0:
        print(f"step {step}: mean squared error {float(error.detach()):.4f} (mm/d)^2")

# %%
# Water is kept at every weight, since a share of the infiltration is what the network gives:

print("largest error of the balance:", float(simulate(recharge).balance_error().detach().max()))

# %%
fig, ax = plt.subplots(figsize=(5, 4))
ax.plot(filling, (2 * filling - 1).clamp(0, 1), "k", label="truth")
ax.plot(filling, before, "--", label="formula of HBV, BETA = 2")
ax.plot(filling, recharge(filling[:, None]).detach(), label="learned")
ax.set(xlabel="soil / FC", ylabel="share of recharge")
ax.legend()
plt.show()
