"""From networks to the parameters of stages.

Inside their bounds, of a site, a soil layer, or varying in time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pydiffgeo.data.batch import Batch
from pydiffgeo.errors import ParameterError, listed, nearest
from pydiffgeo.networks.base import Network
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.networks.reading import Facts, Inputs, at_depths, taken
from pydiffgeo.networks.table import Given

Place = tuple[str, float, float]
Part = tuple[nn.Module, tuple[str, ...], Facts]


@dataclass(frozen=True)
class Learned:
    """What stages learn, together: as the attributes of `Stage` of the same names.

    `varying` are the parameters that differ from step to step (the others are those of the last
    step, where a network gives steps), `units` those of length and time of a soil column.
    """

    bounds: dict[str, Bounds]
    begin: dict[str, float] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    layers: dict[str, tuple[float, ...]] = field(default_factory=dict)
    varying: tuple[str, ...] = ()
    units: tuple[str, str] = ("cm", "h")

    def start(self, name: str) -> float:
        """Return where a parameter begins before training.

        By default in the middle of its bounds.
        """
        middle = self.bounds[name].to_physical(torch.zeros((), dtype=torch.float64))
        return float(self.begin.get(name, middle))

    def raw_start(self, name: str) -> Tensor:
        """Return the start on the unbounded scale.

        ParameterError where it is outside of the bounds.
        """
        value, bounds = torch.tensor(self.start(name), dtype=torch.float64), self.bounds[name]
        return bounds.from_physical(_inside(value, bounds, name))

    def shaped(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return parameters of sites [batch] as those of one copy [batch, 1] or of all layers
        [batch, layer].
        """
        return {k: x[:, None].expand(-1, len(self.layers.get(k, (0,)))) for k, x in given.items()}


class Parameters(nn.Module):
    """Parameters inside their bounds, for all parallel copies of the stages in each site.

    `parts` are networks, the parameters that each gives, and what each reads (`fit_inputs`); a
    module that is no `Network` gets the scaled attributes and returns [batch, outputs]. The other
    arguments are those of `Hybrid`.
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
        known = learned.bounds
        for name in (*learned.varying, *learned.begin):
            if name not in known:
                close = nearest(name, known)
                raise ParameterError(f"nobody learns {name!r}{close} Known: {', '.join(known)}.")
        random = torch.Generator().manual_seed(seed)
        apart = torch.randn(len(known), copies, generator=random, dtype=torch.float64)
        start = torch.tensor([learned.raw_start(name) for name in known], dtype=torch.float64)
        offset = start[:, None] + apart * spread * (copies > 1)
        self.register_buffer("offset", offset.float())
        self.place = {name: k for k, name in enumerate(known)}
        depths = next(iter(learned.layers.values()), ())
        self.names = [names for _, names, _ in parts]
        self.networks, self.inputs = nn.ModuleList(), nn.ModuleList()
        for network, names, facts in parts:
            self.networks.append(network)
            inputs = None if isinstance(network, Given) else Inputs(facts, depths, dtype)
            self.inputs.append(inputs or nn.Identity())
            if isinstance(network, Given):
                network.build_for(names)
            elif isinstance(network, Network) and inputs is not None:
                network.build(inputs.sizes, sum(self._widths(names, network)) * copies, seed)
        self.to(dtype)
        for network, names, facts in parts:
            if facts and not isinstance(network, Network | Given):
                self._try(network, names, facts, dtype)

    @torch.no_grad()
    def _try(
        self, network: nn.Module, names: tuple[str, ...], facts: Facts, dtype: torch.dtype
    ) -> None:
        """Raise ParameterError where somebody else's network does not take the attributes."""
        width, who = len(facts["mean"]), type(network).__name__
        count = sum(self._widths(names, network)) * self.copies
        first = next(network.parameters(), torch.empty(0, dtype=dtype))
        training, told = network.training, ""
        try:
            shape = list(network.eval()(torch.zeros(2, width).to(first)).shape)
            if len(shape) not in (2, 3) or shape[0] != 2 or shape[-1] != count:
                told = f"returned {shape} for 2 sites"
        except RuntimeError as error:
            told = f"failed ({(str(error).splitlines() or ['no message'])[0]})"
        finally:
            network.train(training)
        if told:
            given = listed((*facts["attributes"], *facts["profiles"]))
            raise ParameterError(
                f"the network {who} {told}: it gets {width} attributes ({given}) and must return "
                f"{count} values, {len(names)} parameters ({', '.join(names)}) x {self.copies} "
                "copies. Choose attributes by Windows(..., attributes=[...]) or "
                "hybrid.prepare(..., attributes=[...]), or change its layers."
            )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return each parameter.

        [batch, copy]; [batch, copy, time] of those that vary; [batch, layer] of soil layers.

        ParameterError: a network returned another shape, or no steps for parameters that vary.
        """
        found: dict[str, Tensor] = {}
        for network, inputs, names in zip(self.networks, self.inputs, self.names, strict=True):
            if isinstance(network, Given):
                found |= self.learned.shaped(network.parameters_of(batch, self.learned))
                continue
            features = inputs(batch)
            out = network(features if isinstance(network, Network) else features.attributes)
            parts = self._by_name(network, out, names, batch)
            found |= {name: self._bounded(batch, name, x) for name, x in parts.items()}
        return {name: found[name] for name in self.place}

    def _widths(self, names: Sequence[str], network: nn.Module) -> list[int]:
        """Return outputs of each parameter.

        A network of layers gives one, a network of sites those of all layers.
        """
        layers = self.learned.layers
        if getattr(network, "per", "site") != "layer":
            return [len(layers.get(name, (0,))) for name in names]
        whole = [name for name in names if name not in layers]
        if whole:
            raise ParameterError(
                f"{type(network).__name__}(per='layer') gives parameters of soil layers, and "
                f"{', '.join(whole)} are those of a site; take Mixed(MLP(), "
                "layers=MLP(per='layer'))."
            )
        return [1] * len(names)

    def _by_name(
        self, network: nn.Module, out: Tensor, names: tuple[str, ...], batch: Batch
    ) -> dict[str, Tensor]:
        """Return outputs by name.

        [batch, copy], [batch, time, copy] of varying ones, [batch, layer, copy].
        """
        widths, who = self._widths(names, network), type(network).__name__
        rows, steps, count = len(batch.site), batch.length, sum(widths) * self.copies
        per_layer = getattr(network, "per", "site") == "layer"
        if out.ndim not in (2, 3) or out.shape[0] != rows or out.shape[-1] != count:
            raise ParameterError(
                f"the network {who} returned {list(out.shape)}; it must return [{rows}, {count}] "
                f"or [{rows}, time, {count}]: {len(names)} parameters, {self.copies} copies."
            )
        varying = [k for k in names if k in self.learned.varying]
        if varying and (per_layer or out.ndim == 2 or out.shape[1] != steps):
            raise ParameterError(
                f"{', '.join(varying)} should vary from step to step, and the network {who} gives "
                f"{list(out.shape)} for series of {steps} steps; take an LSTM, or make them static."
            )
        parts = out.unflatten(-1, (sum(widths), self.copies)).split(widths, -2)
        found = {}
        for name, x in zip(names, parts, strict=True):
            if x.ndim == 4 and not per_layer and name not in varying:
                x = x[:, -1]
            found[name] = x if name in self.learned.layers and not per_layer else x[..., 0, :]
        return found

    def _bounded(self, batch: Batch, name: str, x: Tensor) -> Tensor:
        """Return a parameter in its unit from outputs as `_by_name` gives them."""
        offset, bounds = self.offset[self.place[name]], self.learned.bounds[name]
        if name in self.learned.varying:
            x, offset = x.transpose(1, 2), offset[:, None]
            if self.training and self.varying_dropout > 0:
                frozen = torch.rand(len(x), 1, 1, device=x.device) < self.varying_dropout
                x = torch.where(frozen, x[..., -1:], x)
        x = x + offset
        if name in self.learned.places:
            apart = self._apart(batch, name)
            x = x + apart.reshape(*apart.shape, *(1,) * (x.ndim - apart.ndim)).to(x)
        value = bounds.to_physical(x)
        if name not in self.learned.layers:
            return value
        return value[..., 0] if self.copies == 1 else value.transpose(1, 2)

    def _apart(self, batch: Batch, name: str) -> Tensor:
        """Return how far the start of each site is from the common one, on the unbounded scale."""
        attribute, factor, offset = self.learned.places[name]
        bounds, value = self.learned.bounds[name], taken(batch.attributes, attribute, "attribute")
        if value.ndim == 2:
            assert batch.depths is not None
            value = at_depths(value, batch.depths.tolist(), self.learned.layers[name])
        start = bounds.from_physical(_moved(offset + factor * value.double(), bounds))
        return start - self.learned.raw_start(name)


def _inside(value: Tensor, bounds: Bounds, name: str) -> Tensor:
    """Return a start that is on a bound, as some defaults are, moved 1 % of the interval inside."""
    if not bounds.lower <= float(value) <= bounds.upper:
        ends = f"[{bounds.lower:g}, {bounds.upper:g}]"
        raise ParameterError(f"the start {float(value):g} of {name!r} is outside {ends}; move it.")
    return _moved(value, bounds, 0.01)


def _moved(value: Tensor, bounds: Bounds, share: float = 0.02) -> Tensor:
    """Return values moved inside the bounds by a share of their distance where they lie outside or
    close.
    """
    margin = share * (bounds.upper - bounds.lower)
    log = bounds.transform == "log"
    lower = (1 + share) * bounds.lower if log else bounds.lower + margin
    return value.clamp(lower, bounds.upper - margin)
