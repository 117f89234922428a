"""A multilayer perceptron of attributes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pydiffgeo.errors import lookup
from pydiffgeo.networks.base import Features, Network, Sizes

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU}


class MLP(Network):
    """Dense layers from attributes of a site, or of each soil layer of it.

    g_A of Tsai et al. (2021).

    Source: Tsai et al. (2021), doi:10.1038/s41467-021-26107-z.

    Parameters
    ----------
    hidden : sequence of int
        Widths of the hidden layers.
    dropout : float
        After each hidden layer.
    activation : {"relu", "tanh", "silu"}
        After each hidden layer.
    small_start : bool
        Whether the last layer begins near zero, so that every site begins with the same parameters.
    """

    remembers = False

    def __init__(
        self,
        reads: str | tuple[str, ...] = "attributes",
        hidden: Sequence[int] = (128, 128),
        dropout: float = 0.0,
        activation: str = "relu",
        per: str = "site",
        small_start: bool = False,
        seed: int = 0,
    ):
        super().__init__(reads, per, seed=seed)
        self.hidden, self.dropout, self.small_start = tuple(hidden), dropout, small_start
        self.activation = lookup(ACTIVATIONS, activation, "activation")

    def make(self, sizes: Sizes, outputs: int) -> None:
        """Make the layers."""
        widths = [sizes.attributes, *self.hidden]
        layers: list[nn.Module] = []
        for a, b in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(a, b), self.activation(), nn.Dropout(self.dropout)]
        last = nn.Linear(widths[-1], outputs)
        if self.small_start:
            with torch.no_grad():
                last.weight.mul_(1e-3)
                last.bias.zero_()
        self.layers = nn.Sequential(*layers, last)

    def forward(self, features: Features) -> Tensor:
        """Return [batch, outputs], or [batch, layer, outputs]; series are not looked at."""
        return self.layers(features.attributes)
