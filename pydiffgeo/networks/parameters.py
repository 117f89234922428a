"""From networks to the parameters of stages: inside their bounds, of a site, a soil layer, or varying in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pydiffgeo.data.batch import Batch
from pydiffgeo.errors import ParameterError, nearest
from pydiffgeo.networks.base import Network
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.networks.reading import Facts, Inputs, at_depths, taken
from pydiffgeo.networks.table import Given

Place = tuple[str, float, float]
Part = tuple[nn.Module, tuple[str, ...], Facts]


@dataclass(frozen=True)
class Learned:
    """What stages learn.

    Attributes
    ----------
    bounds : dict of str to Bounds
        Range of each parameter, in the order of the networks' outputs.
    begin : dict of str to float
        Where a parameter starts before training; the middle of its bounds where it is not given.
    places : dict of str to (str, float, float)
        Attribute, factor and offset from which a parameter starts in each site, in place of `begin`.
    layers : dict of str to sequence of float
        Parameters of soil layers, with the middle of each layer, cm.
    varying : tuple of str
        Parameters that differ from step to step; the others are those of the last step, where a network gives steps.
    units : (str, str)
        Length and time of a soil column.
    """

    bounds: dict[str, Bounds]
    begin: dict[str, float] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    layers: dict[str, tuple[float, ...]] = field(default_factory=dict)
    varying: tuple[str, ...] = ()
    units: tuple[str, str] = ("cm", "h")


class Parameters(nn.Module):
    """Parameters inside their bounds, for one or several parallel copies of the stages in each site.

    Parameters
    ----------
    parts : sequence of (Module, names, facts)
        Networks, the parameters that each gives, and what each reads (`fit_inputs`). A module that is no `Network` gets the
        scaled attributes and returns [batch, outputs].
    learned : Learned
    copies : int
        Parallel copies in a site.
    spread : float
        Standard deviation with which the copies start apart, in units of the unbounded scale.
    varying_dropout : float
        In training, the share of sites of a batch whose varying parameters are kept at those of the last step, as Feng et al.
        (2022, doi:10.1029/2022WR032404) do.
    seed : int
        Of the spread.
    dtype : torch.dtype

    Raises
    ------
    ParameterError
        A start outside the bounds, or a varying parameter that nobody learns.
    """

    offset: Tensor

    def __init__(
        self,
        parts: Sequence[Part],
        learned: Learned,
        copies: int = 1,
        spread: float = 0.5,
        varying_dropout: float = 0.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        self.learned, self.copies, self.varying_dropout = learned, copies, varying_dropout
        bounds = learned.bounds
        for name in (*learned.varying, *learned.begin):
            if name not in bounds:
                raise ParameterError(
                    f"no parameter {name!r} to learn{nearest(name, bounds)} Known: {', '.join(bounds)}."
                )
        zero = torch.zeros((), dtype=torch.float64)
        raw = []
        for name, b in bounds.items():
            middle = float(b.to_physical(zero))
            start = torch.as_tensor(learned.begin.get(name, middle), dtype=torch.float64)
            raw.append(b.from_physical(_inside(start, b, name)))
        random = torch.Generator().manual_seed(seed)
        apart = torch.randn(len(raw), copies, generator=random, dtype=torch.float64)
        offset = (torch.stack(raw) if raw else zero[None])[:, None] + apart * spread * (copies > 1)
        self.register_buffer("offset", offset.float())
        depths = next(iter(learned.layers.values()), ())
        self.names = [names for _, names, _ in parts]
        self.networks = nn.ModuleList()
        self.inputs = nn.ModuleList()
        for network, names, facts in parts:
            inputs = Inputs(facts, depths, dtype)
            if isinstance(network, Given):
                network.build_for(names)
            elif isinstance(network, Network):
                network.build(inputs.sizes, sum(self._widths(names, network)) * copies, seed)
            self.networks.append(network)
            self.inputs.append(inputs)
        self.to(dtype)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return each parameter: [batch, copy]; [batch, copy, time] of those that vary; [batch, layer] of soil layers.

        Raises
        ------
        ParameterError
            A network returned another shape, or no steps for parameters that vary.
        """
        found: dict[str, Tensor] = {}
        for network, inputs, names in zip(self.networks, self.inputs, self.names, strict=True):
            if isinstance(network, Given):
                given = network.parameters_of(batch, self.learned)
                found |= {
                    k: x if k in self.learned.layers else x[:, None] for k, x in given.items()
                }
                continue
            features = inputs(batch)
            out = network(features if isinstance(network, Network) else features.attributes)
            found |= self._bounded(batch, self._by_name(network, out, names, batch))
        return {name: found[name] for name in self.learned.bounds}

    def _widths(self, names: Sequence[str], network: nn.Module) -> list[int]:
        per_layer = getattr(network, "per", "site") == "layer"
        layers = self.learned.layers
        return [1 if per_layer or k not in layers else len(layers[k]) for k in names]

    def _by_name(
        self, network: nn.Module, out: Tensor, names: tuple[str, ...], batch: Batch
    ) -> dict[str, Tensor]:
        """Return outputs by name: [batch, copy], [batch, time, copy] of varying ones, [batch, layer, copy]."""
        widths, who = self._widths(names, network), type(network).__name__
        rows, steps, count = len(batch.site), batch.length, sum(widths) * self.copies
        per_layer = getattr(network, "per", "site") == "layer"
        if out.ndim not in (2, 3) or out.shape[0] != rows or out.shape[-1] != count:
            raise ParameterError(
                f"the network {who} returned {list(out.shape)}; it must return [{rows}, {count}] or [{rows}, time, {count}]: "
                f"{len(names)} parameters, {self.copies} copies."
            )
        varying = [k for k in names if k in self.learned.varying]
        if varying and (per_layer or out.ndim == 2 or out.shape[1] != steps):
            raise ParameterError(
                f"{', '.join(varying)} should vary from step to step, and the network {who} gives {list(out.shape)} for "
                f"series of {steps} steps; take an LSTM, or make them static."
            )
        parts = out.unflatten(-1, (sum(widths), self.copies)).split(widths, -2)
        found = {}
        for name, x in zip(names, parts, strict=True):
            if per_layer:
                found[name] = x[..., 0, :]
            elif name in self.learned.layers:
                found[name] = x if x.ndim == 3 else x[:, -1]
            elif name in self.learned.varying:
                found[name] = x[:, :, 0]
            else:
                found[name] = x[..., 0, :] if x.ndim == 3 else x[:, -1, 0]
        return found

    def _bounded(self, batch: Batch, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        place = {name: k for k, name in enumerate(self.learned.bounds)}
        found = {}
        for name in sorted(raw, key=place.__getitem__):
            x, offset, bounds = raw[name], self.offset[place[name]], self.learned.bounds[name]
            if name in self.learned.varying:
                x, offset = x.transpose(1, 2), offset[:, None]
                if self.training and self.varying_dropout > 0:
                    frozen = torch.rand(len(x), 1, 1, device=x.device) < self.varying_dropout
                    x = torch.where(frozen, x[..., -1:], x)
            x = x + offset
            if name in self.learned.places:
                x = x + self._place(batch, name, x.ndim).to(x)
            value = bounds.to_physical(x)
            layered = name in self.learned.layers
            found[name] = value[..., 0] if layered and self.copies == 1 else value
            if layered and self.copies > 1:
                found[name] = value.transpose(1, 2)
        return found

    def _place(self, batch: Batch, name: str, ndim: int) -> Tensor:
        """Return how far the start of each site is from the common one, on the unbounded scale."""
        attribute, factor, offset = self.learned.places[name]
        bounds, value = self.learned.bounds[name], taken(batch.attributes, attribute, "attribute")
        if value.ndim == 2:
            assert batch.depths is not None
            value = at_depths(value, batch.depths.tolist(), self.learned.layers[name])
        start = _moved(offset + factor * value.double(), bounds)
        middle = float(bounds.to_physical(torch.zeros((), dtype=torch.float64)))
        common = torch.as_tensor(self.learned.begin.get(name, middle), dtype=torch.float64)
        apart = bounds.from_physical(start) - bounds.from_physical(_inside(common, bounds, name))
        return apart.reshape(*apart.shape, *(1,) * (ndim - apart.ndim))


def _inside(value: Tensor, bounds: Bounds, name: str) -> Tensor:
    """Return a start that is on a bound, as some defaults are, moved 1 % of the interval inside."""
    if not bounds.lower <= float(value) <= bounds.upper:
        raise ParameterError(
            f"the start {float(value):g} of {name!r} is outside the bounds [{bounds.lower:g}, {bounds.upper:g}]."
        )
    return _moved(value, bounds, 0.01)


def _moved(value: Tensor, bounds: Bounds, share: float = 0.02) -> Tensor:
    """Return values moved inside the bounds by a share of their distance where they lie outside or close."""
    margin = share * (bounds.upper - bounds.lower)
    logarithmic = bounds.transform == "log"
    lower = (1 + share) * bounds.lower if logarithmic else bounds.lower + margin
    return value.clamp(lower, bounds.upper - margin)
