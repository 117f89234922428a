"""The result of a solve."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pydiffgeo.models.base import ProcessModel

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Solution:
    """States, fluxes and storage of a batch of columns.

    Attributes
    ----------
    model : ProcessModel
    times : ndarray, [time]
        Ends of the intervals, as given.
    states : Tensor, [batch, time, state]
        State at the interval ends.
    initial_state : Tensor, [batch, state]
    fluxes : dict of Tensor, [batch, time]
        Means over the intervals, in the units of `model.spec.fluxes`.
    storage : Tensor, [batch, time + 1]
        Storage of the whole column at the start and at the interval ends.
    failed : dict of int to str
        Columns that did not reach the end, and why; their values are NaN from the interval of the failure on.
    stats : dict of Tensor
        `accepted`, `rejected`, `newton_iterations`, each `[batch]`; `recorded_bytes`, memory kept for the gradient.
    engine : str
    """

    model: ProcessModel
    times: np.ndarray
    lengths: Tensor
    states: Tensor
    initial_state: Tensor
    fluxes: dict[str, Tensor]
    storage: Tensor
    failed: dict[int, str]
    stats: dict[str, Tensor]
    engine: str
    steps: list[Tensor] = field(default_factory=list, repr=False)

    def balance_error(self) -> Tensor:
        """In minus out minus change of storage over the whole solve `[batch]`, relative to the water moved.

        The water moved is the sum of the magnitudes of all fluxes that enter the balance.
        """
        length = self.lengths.to(self.states)
        net, moved = torch.zeros_like(self.storage[:, 0]), torch.zeros_like(self.storage[:, 0])
        for name, spec in self.model.spec.fluxes.items():
            amount = self.fluxes[name].detach() * length
            net = net + spec.balance * amount.sum(-1)
            moved = moved + abs(spec.balance) * amount.abs().sum(-1)
        change = (self.storage[:, -1] - self.storage[:, 0]).detach()
        return (net - change).abs() / moved.clamp_min(torch.finfo(net.dtype).tiny)

    def to_xarray(self) -> xr.Dataset:
        """The solution as a Dataset with dimensions batch, time and the state's, units in the attributes."""
        import xarray as xr  # half a second, for those who ask for it

        spec = self.model.spec
        state = next(iter(spec.states.values()))
        axis = "cell" if hasattr(self.model, "grid") else "state"
        data: dict[str, Any] = {
            state.name: (
                ("batch", "time", axis),
                _numpy(self.states),
                {"units": state.unit, "long_name": state.description},
            )
        }
        for name, flux in spec.fluxes.items():
            data[name] = (
                ("batch", "time"),
                _numpy(self.fluxes[name]),
                {"units": flux.unit, "cell_methods": "time: mean"},
            )
        data["storage"] = (("batch", "time"), _numpy(self.storage[:, 1:]), {"long_name": "storage of the column"})
        coords: dict[str, Any] = {"time": self.times}
        if axis == "cell":
            coords["depth"] = ("cell", _numpy(self.model.grid.depth), {"units": "cm", "positive": "down"})  # type: ignore[attr-defined]
        return xr.Dataset(data, coords, {"model": spec.name, "engine": self.engine, "time_unit": spec.time_unit})


def _numpy(x: Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()
