"""Several networks, each of which gives a part of the parameters."""

from __future__ import annotations

from torch import nn

from pydiffgeo.recorded import Recorded


class Mixed(Recorded, nn.Module):
    """Networks by what they give.

    Parameters of a site, those that vary in time, those of soil layers.

    Parameters
    ----------
    static : Network
        Gives the parameters of a site; they do not depend on the window.
    varying : Network, optional
        Gives the parameters that vary, named in `Hybrid(varying=...)`, such as an `LSTM`.
    layers : Network, optional
        Gives the parameters of soil layers, such as `MLP(per="layer")`.
    """

    def __init__(
        self, static: nn.Module, varying: nn.Module | None = None, layers: nn.Module | None = None
    ):
        super().__init__()
        self.static, self.varying, self.layers = static, varying, layers

    def parts(
        self, names: tuple[str, ...], varying: tuple[str, ...], layered: tuple[str, ...]
    ) -> list[tuple[nn.Module, tuple[str, ...]]]:
        """Return each network with the parameters that it gives, in their order."""
        left, found = names, []
        for network, wanted in ((self.varying, varying), (self.layers, layered)):
            if network is not None:
                found.append((network, tuple(name for name in left if name in wanted)))
                left = tuple(name for name in left if name not in wanted)
        return [(network, own) for network, own in [(self.static, left), *found] if own]
