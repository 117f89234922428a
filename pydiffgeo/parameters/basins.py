"""Parameters of basins from what is known of them: attributes alone (g_A), or attributes and series (g_Z).

The names are those of Tsai et al. (2021, doi:10.1038/s41467-021-26107-z), who learn parameters through a process model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from pydiffgeo.errors import ParameterError, nearest
from pydiffgeo.parameters.recurrence import hidden_states
from pydiffgeo.parameters.transforms import Bounds

Named = dict[str, Tensor]


class AttributeNetwork(nn.Module):
    """g_A: a multilayer perceptron of attributes.

    Parameters
    ----------
    attributes, outputs : int
        Sizes.
    hidden : sequence of int
        Widths of the hidden layers (ReLU).
    dropout : float
        After each hidden layer.
    seed : int
        Seed of the initial weights; the global random state is left alone.
    """

    def __init__(
        self,
        attributes: int,
        outputs: int,
        hidden: Sequence[int] = (64, 64),
        dropout: float = 0.0,
        seed: int = 0,
    ):
        super().__init__()
        widths = [attributes, *hidden]
        layers: list[nn.Module] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for a, b in zip(widths[:-1], widths[1:], strict=True):
                layers += [nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout)]
            self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], outputs))

    def forward(self, attributes: Tensor, series: Tensor | None = None) -> Tensor:
        """Return outputs [batch, outputs] for attributes [batch, attribute]; series are not looked at."""
        return self.layers(attributes)


class SeriesNetwork(nn.Module):
    """g_Z: an LSTM of daily series and attributes, with a linear layer after it. Also the pure LSTM of the baselines.

    Attributes enter every day, as in Kratzert et al. (2019, doi:10.5194/hess-23-5089-2019). On CPU the recurrence is
    `recurrence.hidden_states`, elsewhere torch's own; the weights are those of `torch.nn.LSTM`.

    Parameters
    ----------
    series, attributes, outputs : int
        Sizes.
    hidden : int
        Size of the hidden state.
    dropout : float
        Between LSTM and linear layer.
    seed : int
        Seed of the initial weights; the global random state is left alone.
    """

    def __init__(
        self,
        series: int,
        attributes: int,
        outputs: int,
        hidden: int = 64,
        dropout: float = 0.0,
        seed: int = 0,
    ):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.lstm = nn.LSTM(series + attributes, hidden)
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Linear(hidden, outputs)
        with (
            torch.no_grad()
        ):  # remember for weeks from the start: a forget-gate bias of 3, as Kratzert et al. (2019)
            dict(self.lstm.named_parameters())["bias_hh_l0"][hidden : 2 * hidden] = 3.0

    def forward(
        self, attributes: Tensor, series: Tensor | None, keep: int = 0, gradient: int = 0
    ) -> Tensor:
        """Return outputs [batch, time - keep, outputs] for attributes [batch, attribute] and series [batch, time, feature].

        Parameters
        ----------
        keep : int
            First day whose output is wanted.
        gradient : int
            First day through which gradients flow back.

        Raises
        ------
        ParameterError
            There are no series.
        """
        if series is None:
            raise ParameterError(
                "this network reads series [batch, time, feature] and got none; take an AttributeNetwork."
            )
        w_in, w_state, b_in, b_state = self.lstm.parameters()
        features = series.shape[-1]
        if series.device.type != "cpu":
            static = attributes[:, None].expand(-1, series.shape[1], -1)
            states = self.lstm(torch.cat([series, static], -1).transpose(0, 1))[0]
        else:
            base = attributes @ w_in[:, features:].t() + b_in + b_state
            weight = torch.cat([w_state.t(), w_in[:, :features].t()])
            states = hidden_states(series.transpose(0, 1), base, weight, gradient)
        return self.head(self.dropout(states[keep:])).transpose(0, 1)


class MixedNetwork(nn.Module):
    """g_A for the parameters that are static, g_Z for those that vary: the former do not depend on the window.

    Parameters
    ----------
    static, daily : torch.nn.Module
        Networks of the static and of the varying parameters, each in the order of the bounds.
    """

    def __init__(self, static: nn.Module, daily: nn.Module):
        super().__init__()
        self.static, self.daily = static, daily

    def forward(self, attributes: Tensor, series: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return [batch, static outputs] and [batch, time, varying outputs]."""
        return self.static(attributes), self.daily(attributes, series)


class BasinParameters(nn.Module):
    """Parameters inside their bounds, static or daily, for one or several parallel components of each basin.

    Parameters
    ----------
    network : torch.nn.Module
        Any module with ``network(attributes, series)`` -> [batch, outputs] or [batch, time, outputs], where outputs is
        ``len(bounds) * components``; attributes are [batch, attribute], series [batch, time, feature] or None. Or a pair, as
        `MixedNetwork`: [batch, static outputs] and [batch, time, varying outputs].
    bounds : mapping of str to Bounds
        Range of each parameter (`Bounds.of` takes that of a specification).
    default : mapping of str to float, optional
        Where a parameter starts before training; the middle of its bounds where it is not given.
    varying : iterable of str
        Parameters that differ from day to day; the others are those of the last day, where the network gives days.
    components : int
        Parallel models per basin.
    spread : float
        Standard deviation with which the components start apart, in units of the unbounded scale.
    varying_dropout : float
        In training, the share of basins of a batch whose varying parameters are kept at those of the last day, as Feng et al.
        (2022, doi:10.1029/2022WR032404) do.
    seed : int
        Of the spread.

    Raises
    ------
    ParameterError
        A name without bounds, a default outside them, or a network of another shape.
    """

    offset: Tensor

    def __init__(
        self,
        network: nn.Module,
        bounds: Mapping[str, Bounds],
        default: Mapping[str, float] | None = None,
        varying: Iterable[str] = (),
        components: int = 1,
        spread: float = 0.5,
        varying_dropout: float = 0.0,
        seed: int = 0,
    ):
        super().__init__()
        self.network, self.bounds, self.varying = network, dict(bounds), tuple(varying)
        self.components, self.varying_dropout = components, varying_dropout
        for name in (*self.varying, *(default or {})):
            if name not in self.bounds:
                raise ParameterError(
                    f"no parameter {name!r} to learn{nearest(name, self.bounds)} Known: {', '.join(bounds)}."
                )
        middle = {
            name: b.to_physical(torch.zeros((), dtype=torch.float64))
            for name, b in self.bounds.items()
        }
        start = {
            name: torch.as_tensor((default or {}).get(name, middle[name]), dtype=torch.float64)
            for name in self.bounds
        }
        raw = torch.stack(
            [b.from_physical(_inside(start[name], b)) for name, b in self.bounds.items()]
        )
        random = torch.Generator().manual_seed(seed)
        apart = (
            torch.randn(len(raw), components, generator=random, dtype=torch.float64)
            * spread
            * (components > 1)
        )
        self.register_buffer("offset", (raw[:, None] + apart).float())

    def forward(self, attributes: Tensor, series: Tensor | None = None) -> dict[str, Tensor]:
        """Return each parameter: [batch, component], or [batch, component, time] for those that vary.

        Raises
        ------
        ParameterError
            The network returned another shape, or no days for parameters that vary.
        """
        days = None if series is None else series.shape[1]
        static, daily = self._outputs(self.network(attributes, series), len(attributes), days)
        found = {}
        for k, (name, bounds) in enumerate(self.bounds.items()):
            if name in self.varying:
                x = daily[name].transpose(1, 2)
                if self.training and self.varying_dropout > 0:
                    frozen = torch.rand(len(x), 1, 1, device=x.device) < self.varying_dropout
                    x = torch.where(frozen, x[..., -1:], x)
            else:
                x = static[name]
            found[name] = bounds.to_physical(
                x + (self.offset[k] if x.ndim == 2 else self.offset[k][:, None])
            )
        return found

    def _outputs(
        self, raw: Tensor | tuple[Tensor, Tensor], batch: int, days: int | None
    ) -> tuple[Named, Named]:
        """Return outputs by name, [batch, component] of static and [batch, time, component] of varying parameters."""
        names = tuple(self.bounds)
        if isinstance(raw, tuple):
            fixed, varying = (
                tuple(n for n in names if n not in self.varying),
                tuple(n for n in names if n in self.varying),
            )
            wanted = [
                [batch, len(fixed) * self.components],
                [batch, days, len(varying) * self.components],
            ]
            if [list(part.shape) for part in raw] != wanted:
                raise ParameterError(
                    f"the network {type(self.network).__name__} returned {[list(part.shape) for part in raw]}; it must return "
                    f"{wanted}: {len(fixed)} static and {len(varying)} varying parameters, {self.components} components."
                )
            return self._by_name(raw[0], fixed), self._by_name(raw[1], varying)
        count = len(names) * self.components
        if raw.ndim not in (2, 3) or raw.shape[0] != batch or raw.shape[-1] != count:
            raise ParameterError(
                f"the network {type(self.network).__name__} returned {tuple(raw.shape)}; it must return [{batch}, "
                f"{count}] or [{batch}, time, {count}]: {len(names)} parameters, {self.components} components."
            )
        if self.varying and (raw.ndim == 2 or raw.shape[1] != days):
            raise ParameterError(
                f"{', '.join(self.varying)} should vary from day to day, and the network {type(self.network).__name__} gives "
                f"{tuple(raw.shape)} for series of {days} days; take a SeriesNetwork, or make them static."
            )
        return self._by_name(raw if raw.ndim == 2 else raw[:, -1], names), self._by_name(
            raw, names
        ) if raw.ndim == 3 else {}

    def _by_name(self, raw: Tensor, names: tuple[str, ...]) -> Named:
        return dict(
            zip(names, raw.unflatten(-1, (len(names), self.components)).unbind(-2), strict=True)
        )


def _inside(value: Tensor, bounds: Bounds) -> Tensor:
    """Return a start that is on a bound, as some defaults are, moved 1 % of the interval inside."""
    if not bounds.lower <= float(value) <= bounds.upper:
        raise ParameterError(
            f"default {float(value):g} is outside the bounds [{bounds.lower:g}, {bounds.upper:g}]."
        )
    margin = 0.01 * (bounds.upper - bounds.lower)
    lower = 1.01 * bounds.lower if bounds.transform == "log" else bounds.lower + margin
    return value.clamp(lower, bounds.upper - margin)
