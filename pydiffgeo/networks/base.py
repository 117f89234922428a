"""The contract of networks: what they are told, and what they give."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pydiffgeo.errors import ParameterError
from pydiffgeo.recorded import Recorded


class Features(NamedTuple):
    """Scaled inputs of a batch."""

    attributes: Tensor  # [batch, attribute], of networks of soil layers [batch, layer, attribute]
    series: Tensor | None  # [batch, time, feature]
    warm_up: int  # first steps of the window, which no loss counts


class Sizes(NamedTuple):
    """Number of attributes and of series in `Features`."""

    attributes: int
    series: int


class Network(Recorded, nn.Module):
    """A network of attributes and series; a subclass defines `make` and `forward`.

    Parameters
    ----------
    reads : "attributes", "series", or names of attributes and series
        What it is told. A network of layers is told the depth of the layer, too.
    per : {"site", "layer"}
        Whether it gives numbers for a site, or for each soil layer, which share the network.
    past : mapping of str to int, optional
        Observed series that it reads as they were so many steps before, such as {"discharge": 1}; 0
        where there is none, and a feature that says so.
    logarithm : sequence of str
        Series of which it reads log(1 + x), for rain and what else is skewed.
    seed : int
        Seed of the initial weights; the global random state is left alone.
    """

    remembers = True  # whether its outputs may depend on steps before

    def __init__(
        self,
        reads: str | tuple[str, ...] = "attributes",
        per: str = "site",
        past: Mapping[str, int] | None = None,
        logarithm: tuple[str, ...] = (),
        seed: int = 0,
    ):
        super().__init__()
        if per not in ("site", "layer"):
            raise ParameterError(f"per={per!r} is neither 'site' nor 'layer'.")
        for name, steps in (past or {}).items():
            if steps < 1:
                raise ParameterError(
                    f"past: {name!r} of {steps} steps before is not of the past; give at least 1."
                )
        self.reads = (reads,) if isinstance(reads, str) else tuple(reads)
        self.per, self.past, self.logarithm = per, dict(past or {}), tuple(logarithm)
        self.seed = seed

    def build(self, sizes: Sizes, outputs: int, seed: int = 0) -> None:
        """Make the layers for inputs of these sizes.

        `seed`, that of the hybrid, is added to that of the network.
        """
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # a network that reads nothing gives constants
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            torch.manual_seed(self.seed + seed)
            self.make(sizes, outputs)

    def make(self, sizes: Sizes, outputs: int) -> None:
        """Make the layers; called by `build` with the random numbers of the seed."""
        raise ParameterError(f"{type(self).__name__} lacks `make(sizes, outputs)`: define it.")

    def forward(self, features: Features) -> Tensor:
        """Return [batch, outputs], [batch, layer, outputs] or [batch, time, outputs]."""
        raise ParameterError(f"{type(self).__name__} lacks `forward(features)`: define it.")
