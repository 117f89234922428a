"""Networks from what is known of a place to the parameters of its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pydiffgeo.errors import DataError, ParameterError, nearest
from pydiffgeo.parameters.transforms import Bounds


class ParameterNetwork(nn.Module):
    """A multilayer perceptron whose outputs are named parameters inside their bounds.

    Before training every output equals its default, whatever the input: the last layer starts with the
    default as bias and with small weights.

    Parameters
    ----------
    features : int
        Number of input features; scale them to about zero mean and unit variance.
    bounds : mapping of str to Bounds
        Range of each parameter, in the order of the outputs.
    default : mapping of str to float
        Initial value of each parameter, strictly inside its bounds.
    hidden : sequence of int
        Widths of the hidden layers (tanh).
    seed : int
        Seed of the initial weights; the global random state is left alone.

    Raises
    ------
    ParameterError
        A default is missing, unknown, or outside its bounds.
    """

    def __init__(
        self,
        features: int,
        bounds: Mapping[str, Bounds],
        default: Mapping[str, float],
        hidden: Sequence[int] = (32, 32),
        seed: int = 0,
    ):
        super().__init__()
        self.bounds, self.default = dict(bounds), dict(default)
        for name in [*bounds, *default]:
            if name not in default:
                raise ParameterError(f"no default for parameter {name!r}{nearest(name, default)}")
            if name not in bounds:
                raise ParameterError(
                    f"default for unknown parameter {name!r}{nearest(name, bounds)}"
                )
        widths = [features, *hidden, len(self.bounds)]
        layers: list[nn.Module] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for a, b in zip(widths[:-1], widths[1:], strict=True):
                layers += [nn.Linear(a, b, dtype=torch.float64), nn.Tanh()]
        self.layers = nn.Sequential(*layers[:-1])
        last = layers[-2]
        assert isinstance(last, nn.Linear)
        start = [
            b.from_physical(torch.tensor(default[name], dtype=torch.float64))
            for name, b in self.bounds.items()
        ]
        with torch.no_grad():
            last.weight.mul_(1e-3)
            last.bias.copy_(torch.stack(start))

    def raw(self, inputs: Tensor) -> Tensor:
        """Return the unbounded outputs `[..., parameter]` for inputs `[..., features]`.

        Raises
        ------
        DataError
            A feature is not finite.
        """
        if not torch.isfinite(inputs).all():
            index = tuple((~torch.isfinite(inputs)).nonzero()[0].tolist())
            raise DataError(
                f"input feature at index {index} is {inputs[index].item()}; fill or drop it before the "
                "network."
            )
        return self.layers(inputs)

    def forward(
        self, inputs: Tensor, start: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return each parameter `[...]` for inputs `[..., features]`: `[batch]`, or `[batch, layer]`.

        Parameters
        ----------
        inputs : Tensor, [..., features]
            What is known of each place.
        start : mapping of str to Tensor, [...], optional
            Values, strictly inside the bounds, that replace the default of a parameter place by place.
        """
        raw = self.raw(inputs)
        out = {}
        for i, (name, bounds) in enumerate(self.bounds.items()):
            x = raw[..., i]
            if start is not None and name in start:
                default = torch.tensor(self.default[name], dtype=torch.float64)
                x = x + bounds.from_physical(start[name]) - bounds.from_physical(default)
            out[name] = bounds.to_physical(x)
        return out
