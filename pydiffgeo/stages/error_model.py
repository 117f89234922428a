"""The distribution of a series around what the stages before simulate: a heteroscedastic head."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.windows import Windows
from pydiffgeo.distributions import KINDS, LEAST, outputs, shares
from pydiffgeo.errors import ParameterError, lookup
from pydiffgeo.networks.base import Network
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.networks.reading import Facts, Inputs, fit_inputs, seen
from pydiffgeo.stages.base import Known, Named, Range, Series, Stage, in_time

START = -1.5  # before the softplus: scales begin near 0.2 of their unit


class ErrorModel(Stage):
    """The distribution of what is observed around the simulated series, which stays as it is.

    Its scale is floor + share |simulated|: errors grow with the flow. Without a network of its own
    floor and share are parameters of the site, NAME_error_floor (in the unit of the series) and
    NAME_error_share, given by the network of the hybrid as others are. Train with `losses.NLL`.

    Sources: Schoups & Vrugt (2010), doi:10.1029/2009WR008933, eq. 8, for the scale; Klotz et al.
    (2022), doi:10.5194/hess-26-1673-2022, for mixtures of asymmetric Laplacians.

    Parameters
    ----------
    series : str
        Simulated series; its simulation is the mode of each component.
    distribution : {"gaussian", "laplace", "cmal"}
        Of "cmal", a mixture of asymmetric Laplacians, the network gives weights and asymmetries.
    network : Network, optional
        Gives floor and share of each component in its place, in standard deviations of the
        observations and as a share: of a site (`MLP`), or of each step (`LSTM`).
    components : int
        Of "cmal".
    floor, share : (float, float)
        Bounds of the two parameters, sampled on a logarithmic scale.
    scale : float, optional
        One scale for all sites and steps, in the unit of the series, and nothing is learned.
    """

    def __init__(
        self,
        series: str = "discharge",
        distribution: str = "gaussian",
        network: Network | None = None,
        components: int = 3,
        floor: Range = (1e-3, 10.0),
        share: Range = (1e-3, 2.0),
        scale: float | None = None,
    ):
        super().__init__()
        lookup(KINDS, distribution, "distribution")
        if distribution == "cmal" and network is None:
            raise ParameterError(
                "ErrorModel of 'cmal' needs a network of its own, which gives weights and "
                "asymmetries: ErrorModel(..., network=MLP())."
            )
        self.of, self.distribution, self.network, self.scale = series, distribution, network, scale
        self.components = components if distribution == "cmal" else 1
        self.reads, self.gives = (series,), (f"{series}_{distribution}",)
        if network is None and scale is None:
            self.learns = {
                f"{series}_error_floor": Bounds(*floor, "log"),
                f"{series}_error_share": Bounds(*share, "log"),
            }

    def fit(self, windows: Windows) -> Facts:
        """Return what the network reads, and the spread of the observations."""
        if self.network is None:
            return {}
        spread = float(np.nanstd(seen(windows, self.of, self.who)))
        return {"inputs": fit_inputs(self.network, windows, ()), "spread": spread}

    def build(self, facts: Facts, known: Known, dtype: torch.dtype) -> None:
        """Make the network."""
        if self.network is not None:
            self.spread, self.inputs = facts["spread"], Inputs(facts["inputs"], (), dtype)
            # floor and share, and of a mixture asymmetry and weight
            wanted = outputs(self.distribution, self.components)
            self.network.build(self.inputs.sizes, wanted, known.seed)
            self.network.to(dtype)

    def bind(self, known: Known) -> dict[str, str]:
        """Return the unit of the floor, which is that of the series."""
        return known.unit_of(self.of, tuple(self.learns)[:1])

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return the parameters of the distribution, [batch, time, ..., parameter]."""
        simulated = series[self.of]
        if self.scale is not None:
            parts = [simulated, torch.full_like(simulated, self.scale)]
        elif self.network is None:
            floor, share = (
                in_time(parameters[name].to(simulated), simulated) for name in self.learns
            )
            parts = [simulated, floor + share * simulated.abs()]
        else:
            return {self.gives[0]: self._by_network(self.network, simulated, batch)}
        return {self.gives[0]: torch.stack(parts, -1)}

    def _by_network(self, network: Network, simulated: Tensor, batch: Batch) -> Tensor:
        out = network(self.inputs(batch)).to(simulated)
        out = out if out.ndim == 3 else out[:, None]
        out = out.reshape(*out.shape[:2], *(1,) * (simulated.ndim - 2), -1)
        simulated = simulated[..., None]
        floor, share, *rest = out.unflatten(-1, (-1, self.components)).unbind(-2)
        scale = self.spread * (softplus(floor + START) + LEAST)
        scale = scale + simulated.abs() * softplus(share + START)
        parts = [simulated.expand_as(scale), scale]
        parts += [part.expand_as(scale) for part in shares(*rest)]
        return torch.cat(parts, -1)
