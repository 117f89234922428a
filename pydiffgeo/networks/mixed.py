"""Several networks, each of which gives a part of the parameters."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from pydiffgeo.errors import lookup
from pydiffgeo.recorded import Recorded


class Mixed(Recorded, nn.Module):
    """Networks by what they give.

    Parameters of a site, those that vary in time, those of soil layers, and some by name.

    Parameters
    ----------
    static : Network
        Gives the parameters of a site; they do not depend on the window.
    varying : Network, optional
        Gives the parameters that vary, named in `Hybrid(varying=...)`, such as an `LSTM`.
    layers : Network, optional
        Gives the parameters of soil layers, such as `MLP(per="layer")`.
    named : mapping of str to Network, optional
        Networks of single parameters, which read what the others need not know: {"B": MLP(reads=
        ("sand_frac", "clay_frac"))}. UnknownName where no stage learns a parameter of this name.
    """

    def __init__(
        self,
        static: nn.Module,
        varying: nn.Module | None = None,
        layers: nn.Module | None = None,
        named: Mapping[str, nn.Module] | None = None,
    ):
        super().__init__()
        self.static, self.varying, self.layers = static, varying, layers
        self.named = nn.ModuleDict(dict(named or {}))

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks by what they give."""
        roles = {"static": self.static, "varying": self.varying, "layers": self.layers}
        return {k: v for k, v in roles.items() if v is not None} | dict(self.named.items())

    def parts(
        self, names: tuple[str, ...], varying: tuple[str, ...], layered: tuple[str, ...]
    ) -> list[tuple[nn.Module, tuple[str, ...]]]:
        """Return each network with the parameters that it gives, in their order."""
        for name in self.named:
            lookup(dict.fromkeys(names), name, "learned parameter of a network")
        left, found = names, []
        of: list[tuple[nn.Module | None, tuple[str, ...]]]
        of = [(network, (name,)) for name, network in self.named.items()]
        for network, wanted in (*of, (self.varying, varying), (self.layers, layered)):
            if network is not None:
                found.append((network, tuple(name for name in left if name in wanted)))
                left = tuple(name for name in left if name not in wanted)
        return [(network, own) for network, own in [(self.static, left), *found] if own]
