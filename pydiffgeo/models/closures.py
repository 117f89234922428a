"""Learned process functions: networks that stand inside the equations of a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from pydiffgeo.errors import ParameterError, lookup
from pydiffgeo.recorded import Recorded

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    # tanh(x) = 2 sigmoid(2 x) - 1 takes a quarter of the time; `_matrices` brings the numbers in
    "tanh": torch.sigmoid,
    "sigmoid": torch.sigmoid,
    "softplus": nn.functional.softplus,
    "swish": nn.functional.silu,
}
SLOPES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # of the argument and the value
    "tanh": lambda x, y: torch.addcmul(y, y, y, value=-1),
    "sigmoid": lambda x, y: torch.addcmul(y, y, y, value=-1),
    "softplus": lambda x, y: torch.sigmoid(x),
    "swish": lambda x, y: torch.sigmoid(x).mul_(1 - y).add_(y),
}
RISING = ("tanh", "sigmoid", "softplus")
SMALL = 1e-3  # weights that begin near zero, where a transform keeps them positive


class NeuralClosure(Recorded, nn.Module):
    """A function of one or more numbers, given by dense layers.

    Its weights are one vector, which lies in torch and which the Julia engine reads where it lies:
    of each layer the matrix (output, input), column by column, then the bias. This is the order of
    ComponentArrays for the parameters of `Lux.Chain(Dense(inputs => hidden, activation), ...,
    Dense(hidden => 1))`.

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
    monotone_in : sequence of int
        Numbers of the inputs, from 0, in which the output rises whatever the weights: the layers
        then have softplus(weight) for the weights on the ways from these inputs to the output,
        which is positive (Daniels & Velikova 2010, doi:10.1109/TNN.2010.2044803). "swish" does not
        rise, and is refused.
    residual : bool
        The network stands beside a formula, not in its place: its output is added to the logit of
        the formula's share of `output_range`, which is therefore kept. The last layer begins at
        zero, so that the formula alone is left (where it is monotone, at 0.001).

    Attributes
    ----------
    weights : nn.Parameter, [weight]
        The only entry of its `state_dict`.

    Raises
    ------
    ParameterError, UnknownName
        A width that is not positive, a range without extent, an unknown activation, or one that
        does not rise; inputs that do not exist; a residual without a range.
    """

    _positive: Tensor | None

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int] = (16,),
        activation: str = "tanh",
        output_range: tuple[float, float] | None = None,
        seed: int = 0,
        monotone_in: Sequence[int] = (),
        residual: bool = False,
    ):
        super().__init__()
        self.widths = (inputs, *hidden, 1)
        if min(self.widths) < 1:
            raise ParameterError(
                f"the layers of a closure need positive widths, got inputs={inputs}, "
                f"hidden={tuple(hidden)}."
            )
        if output_range is not None and not output_range[0] < output_range[1]:
            raise ParameterError(
                f"output_range={output_range}: give the lower bound, then a higher one."
            )
        if residual and output_range is None:
            raise ParameterError(
                "a closure beside a formula needs the range that both share: output_range=(low, "
                "high)."
            )
        lookup(ACTIVATIONS, activation, "activation")
        self.activation, self.output_range, self.residual = activation, output_range, residual
        self.monotone_in = tuple(monotone_in)
        if not set(self.monotone_in) <= set(range(inputs)):
            raise ParameterError(
                f"monotone_in={self.monotone_in}: a closure's inputs have the numbers 0 to "
                f"{inputs - 1}."
            )
        if self.monotone_in and activation not in RISING:
            raise ParameterError(
                f"monotone_in needs an activation that rises ({', '.join(RISING)}), not "
                f"{activation!r}."
            )
        random = torch.Generator().manual_seed(seed)
        parts = []
        for a, b in zip(self.widths[:-1], self.widths[1:], strict=True):
            # uniform within 1 / sqrt(inputs), as torch.nn.Linear begins
            parts.append(
                (2 * torch.rand((a + 1) * b, generator=random, dtype=torch.float64) - 1)
                / math.sqrt(a)
            )
        if residual:
            parts[-1].zero_()
        start, positive = torch.cat(parts), self._on_rising_ways()
        if self.monotone_in:
            start = torch.where(positive, start.abs().clamp_min(SMALL).expm1().log(), start)
        self.register_buffer("_positive", positive if self.monotone_in else None, persistent=False)
        self.weights = nn.Parameter(start)

    def flat(self) -> Tensor:
        """Weights of the layers `[weight]`, in the order of `weights`.

        Those that must be positive are softplus of these.
        """
        if self._positive is None:
            return self.weights
        return torch.where(self._positive, nn.functional.softplus(self.weights), self.weights)

    def forward(self, *inputs: Tensor, formula: Tensor | None = None) -> Tensor:
        """Output of the closure.

        Parameters
        ----------
        *inputs : Tensor, [...]
            One tensor for each input, of shapes that broadcast; or, of several inputs, one tensor
            `[..., input]`.
        formula : Tensor, [...], optional
            What the formula gives, for a closure that stands beside it; outside of the range it
            counts as its nearest bound.

        Returns
        -------
        Tensor, [...]
        """
        if len(inputs) == 1 < self.widths[0] and inputs[0].shape[-1:] == self.widths[:1]:
            inputs = inputs[0].unbind(-1)
        if len(inputs) != self.widths[0]:
            raise ParameterError(
                f"a closure of {self.widths[0]} inputs was called with {len(inputs)}. Give as many."
            )
        if self.residual and formula is None:
            raise ParameterError(
                "this closure stands beside a formula: give what that gives, formula=..."
            )
        y = self._layers(
            torch.stack(torch.broadcast_tensors(*inputs), -1)
            if len(inputs) > 1
            else inputs[0][..., None]
        )
        if self.output_range is None:
            return y
        low, high = self.output_range
        if self.residual and formula is not None:
            share = ((formula - low) / (high - low)).clamp(0.0, 1.0)
            y = y.clamp(-50.0, 50.0)  # 0 / 0 far beyond
            up = share * torch.sigmoid(y)  # logit^-1(logit(share) + y), also for a share of 0 or 1
            return low + (high - low) * up / (up + (1 - share) * torch.sigmoid(-y))
        return low + (high - low) * torch.sigmoid(y)

    @torch.no_grad()
    def with_slope(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return output and slope, `[...]` each, of a closure of one input that stands alone.

        Outside of any graph.

        The slope is carried from layer to layer along with the values, which costs less than a
        backward pass.
        """
        h, act, layers = x[..., None], ACTIVATIONS[self.activation], self._matrices(x.dtype)
        first = layers[0][0]  # slopes of the first layer, the same everywhere
        rise = first.expand(*x.shape, -1)
        for k, (matrix, bias) in enumerate(layers):
            a = torch.matmul(h, matrix).add_(bias) if k else torch.addcmul(bias, h, matrix)
            if k:
                rise = rise @ (first.T * matrix if k == 1 else matrix)
            if k < len(layers) - 1:
                h = act(a)
                unit = SLOPES[self.activation](a, h)
                rise = unit.mul_(rise) if k else unit
        y, slope = a[..., 0], rise[..., 0]
        if self.output_range is None:
            return y, slope
        low, high = self.output_range
        share = y.sigmoid_()
        return low + (high - low) * share, slope * ((high - low) * share * (1 - share))

    def _matrices(self, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
        """Return matrix `[input, output]` and bias of each layer, as `ACTIVATIONS` need them."""
        at, out = 0, []
        weights, last = self.flat().to(dtype), len(self.widths) - 2
        for k, (a, b) in enumerate(zip(self.widths[:-1], self.widths[1:], strict=True)):
            matrix, bias = (
                weights[at : at + a * b].view(a, b),
                weights[at + a * b : at + (a + 1) * b],
            )
            if self.activation == "tanh":
                if k > 0:
                    matrix, bias = 2 * matrix, bias - matrix.sum(0)
                if k < last:
                    matrix, bias = 2 * matrix, 2 * bias
            out.append((matrix, bias))
            at += (a + 1) * b
        return out

    def _layers(self, x: Tensor) -> Tensor:
        *hidden, (matrix, bias) = self._matrices(x.dtype)
        for m, b in hidden:
            x = ACTIVATIONS[self.activation](nn.functional.linear(x, m.T, b))
        return nn.functional.linear(x, matrix.T, bias)[..., 0]

    def _on_rising_ways(self) -> Tensor:
        """Which weights lie on a way from a monotone input to the output.

        Rows of the first matrix, all later matrices.
        """
        parts = []
        for k, (a, b) in enumerate(zip(self.widths[:-1], self.widths[1:], strict=True)):
            matrix = torch.ones(a, b, dtype=torch.bool)
            if k == 0:
                matrix[[i for i in range(a) if i not in self.monotone_in]] = False
            parts += [matrix.flatten(), torch.zeros(b, dtype=torch.bool)]
        return torch.cat(parts)


class JuliaClosure(Recorded, nn.Module):
    """Weights of a network that a Julia file defines, such as a model of Lux.

    Only Julia knows what it computes.

    Parameters
    ----------
    seed : int
        Of the first weights, which `pydiffgeo.julia.load_model` asks Julia for.

    Attributes
    ----------
    weights : nn.Parameter, [weight]
        The only entry of its `state_dict`; the parameters of the model of Lux one after another.
    """

    def __init__(self, seed: int = 0):
        super().__init__()
        self.seed = seed
        self.weights = nn.Parameter(torch.empty(0, dtype=torch.float64))

    def flat(self) -> Tensor:
        """Weights `[weight]`."""
        return self.weights


def check_modes(networks: Mapping[str, nn.Module]) -> None:
    """Raise ParameterError for a layer that changes from call to call, as Dropout does."""
    for name, network in networks.items():
        for layer in network.modules():
            if layer.training and _changes(layer):
                raise ParameterError(
                    f"the network {name} has {type(layer).__name__} in training mode, which makes "
                    "it another function at each call: the equations have no solution then, and "
                    "no gradient. Call module.eval() on it before the solve, and after every "
                    ".train()."
                )


def _changes(layer: nn.Module) -> bool:
    """Whether a layer in training mode draws numbers, or mixes the columns of a batch."""
    if isinstance(layer, nn.modules.dropout._DropoutNd):
        return layer.p > 0
    if isinstance(layer, nn.RNNBase):
        return layer.dropout > 0
    return isinstance(layer, nn.modules.batchnorm._BatchNorm | nn.RReLU)


def output_of(module: nn.Module, x: Tensor) -> Tensor:
    """Return the output `[...]` of a module at inputs `[..., input]`.

    The module may compute in another precision.
    """
    if isinstance(module, NeuralClosure):
        own: Tensor = module(*x.unbind(-1))
        return own
    first = next(module.parameters(), x)
    y: Tensor = module(x.to(first.dtype)).to(x.dtype)
    if y.shape == (*x.shape[:-1], 1):
        y = y[..., 0]
    if y.shape != x.shape[:-1]:
        raise ParameterError(
            "a closure must turn inputs [..., input] into [...] or [..., 1]; this one made "
            f"{list(x.shape)} into {list(y.shape)}."
        )
    return y
