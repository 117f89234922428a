"""The equations of a lake: its water and its heat."""

import torch

import pydiffgeo as pdg

EDGE = 1.0  # mm: over which the outflow begins at the sill, and evaporation ends in an empty lake


class Lake(pdg.ProcessModel):
    """A well mixed lake that loses water over a sill and exchanges heat with the air (mm, degC, d).

    d volume / dt = inflow - evaporation - rating (depth above the sill / 1 m)^1.5
    d heat / dt   = inflow x its temperature + exchange (air + warming - T)
                    - (evaporation + outflow) T

    T is heat / volume. Both are conserved, so that both are states, and T follows from them.
    """

    size = 2
    julia_file = "lake.jl"  # the same equations for the Julia engine

    def __init__(self) -> None:
        self.spec = pdg.load_spec("lake.toml")  # relative to this file

    def fluxes(self, state, forcing, parameters):
        """Return the fluxes in the order of lake.toml."""
        f = {name: value[..., 0] for name, value in forcing.items()}
        p = {name: value[..., 0] for name, value in parameters.items()}
        volume, heat = state.unbind(-1)
        temperature = heat / volume.clamp(min=EDGE)
        over = volume - p["sill"]
        depth = (over + (over * over + EDGE * EDGE).sqrt()) / 2000  # m, smooth, above 0
        evaporated = f["evaporation"] * volume / (volume + EDGE)
        outflow = p["rating"] * depth * depth.sqrt()
        heat_in = f["inflow"] * f["inflow_temperature"]
        heat_of_surface = p["exchange"] * (f["temperature"] + p["warming"] - temperature)
        heat_out = (evaporated + outflow) * temperature
        water = [f["inflow"], evaporated, outflow]
        found = [*water, heat_in, heat_of_surface, heat_out, temperature]
        return torch.stack(torch.broadcast_tensors(*found), -1)

    def rates(self, state, forcing, parameters):
        """Return the rates of change of volume and heat."""
        q = self.fluxes(state, forcing, parameters)
        return torch.stack(
            [q[..., 0] - q[..., 1] - q[..., 2], q[..., 3] + q[..., 4] - q[..., 5]], -1
        )

    def total_storage(self, storage):
        """Return what the balance of the specification is of: the water."""
        return storage[..., 0]

    def start(self, parameters):
        """Return a lake that stands 0.3 m above its sill, at 10 degC."""
        sill = parameters.get("sill", torch.tensor(3000.0, dtype=torch.float64))
        return {"volume": sill + 300, "heat": 10 * (sill + 300)}
