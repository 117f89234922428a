"""Learned process functions: networks that stand inside the equations of a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pydiffgeo.errors import ParameterError, lookup

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": nn.functional.softplus,
    "swish": nn.functional.silu,
}


class NeuralClosure(nn.Module):
    """A function of one or more numbers, given by dense layers.

    Its weights are one vector, which lies in torch and which the Julia engine reads where it lies: of each layer the matrix
    (output, input), column by column, then the bias. This is the order of ComponentArrays for the parameters of
    `Lux.Chain(Dense(inputs => hidden, activation), ..., Dense(hidden => 1))`.

    Parameters
    ----------
    inputs : int
        Number of inputs.
    hidden : sequence of int
        Widths of the hidden layers.
    activation : {"tanh", "sigmoid", "softplus", "swish"}
        Applied after each hidden layer.
    output_range : pair of float, optional
        Bounds of the output, which a logistic function keeps.
    seed : int
        Seed of the initial weights; the global random state is left alone.

    Raises
    ------
    ParameterError, UnknownName
        A width that is not positive, a range without extent, an unknown activation.
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int] = (16,),
        activation: str = "tanh",
        output_range: tuple[float, float] | None = None,
        seed: int = 0,
    ):
        super().__init__()
        self.widths = (inputs, *hidden, 1)
        if min(self.widths) < 1:
            raise ParameterError(f"the layers of a closure need positive widths, got inputs={inputs}, hidden={tuple(hidden)}")
        if output_range is not None and not output_range[0] < output_range[1]:
            raise ParameterError(f"output_range={output_range}: give the lower bound, then a higher one")
        lookup(ACTIVATIONS, activation, "activation")
        self.activation, self.output_range = activation, output_range
        random = torch.Generator().manual_seed(seed)
        parts = []
        for a, b in zip(self.widths[:-1], self.widths[1:], strict=True):
            # uniform within 1 / sqrt(inputs), as torch.nn.Linear begins
            parts.append((2 * torch.rand((a + 1) * b, generator=random, dtype=torch.float64) - 1) / math.sqrt(a))
        self.weights = nn.Parameter(torch.cat(parts))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Output `[...]` at inputs `[...]` of shapes that broadcast."""
        if len(inputs) != self.widths[0]:
            raise ParameterError(f"a closure of {self.widths[0]} inputs was called with {len(inputs)}")
        x = torch.stack(torch.broadcast_tensors(*inputs), -1)
        at, act = 0, ACTIVATIONS[self.activation]
        weights = self.weights.to(x.dtype)
        for k, (a, b) in enumerate(zip(self.widths[:-1], self.widths[1:], strict=True)):
            x = x @ weights[at : at + a * b].view(a, b) + weights[at + a * b : at + (a + 1) * b]
            at += (a + 1) * b
            x = act(x) if k < len(self.widths) - 2 else x
        y = x[..., 0]
        if self.output_range is None:
            return y
        low, high = self.output_range
        return low + (high - low) * torch.sigmoid(y)
