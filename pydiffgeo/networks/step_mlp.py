"""A multilayer perceptron of each step by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pydiffgeo.errors import ParameterError
from pydiffgeo.networks.base import Features, Sizes
from pydiffgeo.networks.mlp import MLP


class StepMLP(MLP):
    """Dense layers from the attributes of a site and the series of one step: it has no memory.

    Of records of points a step is a point: what a plain network knows of a leaf.

    Its arguments are those of `MLP`.
    """

    def __init__(
        self,
        reads: str | tuple[str, ...] = ("attributes", "series"),
        hidden: Sequence[int] = (64, 64),
        dropout: float = 0.0,
        activation: str = "silu",
        small_start: bool = False,
        past: Mapping[str, int] | None = None,
        logarithm: tuple[str, ...] = (),
        seed: int = 0,
    ):
        super().__init__(reads, hidden, dropout, activation, "site", small_start, seed)
        self.past, self.logarithm = dict(past or {}), tuple(logarithm)

    @property
    def remembers(self) -> bool:  # type: ignore[override]
        """Whether it reads what was observed before."""
        return bool(self.past)

    def make(self, sizes: Sizes, outputs: int) -> None:
        """Make the layers."""
        super().make(Sizes(sizes.attributes + sizes.series, 0), outputs)

    def forward(self, features: Features) -> Tensor:
        """Return outputs [batch, time, outputs]; ParameterError where there are no series."""
        if features.series is None:
            raise ParameterError("a StepMLP reads series and got none; name some in `reads`.")
        static = features.attributes[:, None].expand(-1, features.series.shape[1], -1)
        return self.layers(torch.cat([static, features.series], -1))
