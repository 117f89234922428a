"""An LSTM of series and attributes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pydiffgeo.errors import ParameterError
from pydiffgeo.networks.base import Features, Network, Sizes
from pydiffgeo.networks.recurrence import hidden_states

FORGET_BIAS = 3.0  # remember for weeks from the start, as Kratzert et al. (2019)


class LSTM(Network):
    """An LSTM of series and attributes, which enter every step, with a linear layer after it.

    g_Z of Tsai et al. (2021).

    On CPU the recurrence is `recurrence.hidden_states`, elsewhere torch's own; the weights are
    those of `torch.nn.LSTM`.

    Source: Kratzert et al. (2019), doi:10.5194/hess-23-5089-2019; Tsai et al. (2021),
    doi:10.1038/s41467-021-26107-z.

    Parameters
    ----------
    hidden : int
        Size of the hidden state.
    dropout : float
        Between LSTM and linear layer.
    warm_up_gradient : bool
        Whether gradients flow through the warm-up (on CPU; elsewhere they always do).
    """

    def __init__(
        self,
        reads: str | tuple[str, ...] = ("attributes", "series"),
        hidden: int = 64,
        dropout: float = 0.0,
        past: Mapping[str, int] | None = None,
        logarithm: tuple[str, ...] = (),
        warm_up_gradient: bool = True,
        seed: int = 0,
    ):
        super().__init__(reads, "site", past, logarithm, seed)
        self.hidden, self.dropout_share = hidden, dropout
        self.warm_up_gradient = warm_up_gradient

    def make(self, sizes: Sizes, outputs: int) -> None:
        """Make the layers."""
        self.lstm = nn.LSTM(sizes.series + sizes.attributes, self.hidden)
        self.dropout = nn.Dropout(self.dropout_share)
        self.head = nn.Linear(self.hidden, outputs)
        with torch.no_grad():
            bias = dict(self.lstm.named_parameters())["bias_hh_l0"]
            bias[self.hidden : 2 * self.hidden] = FORGET_BIAS

    def forward(self, features: Features) -> Tensor:
        """Return outputs [batch, time, outputs]; ParameterError where there are no series."""
        attributes, series = features.attributes, features.series
        if series is None:
            raise ParameterError("an LSTM reads series and got none; name some in `reads`.")
        if series.device.type != "cpu":
            static = attributes[:, None].expand(-1, series.shape[1], -1)
            states = self.lstm(torch.cat([series, static], -1).transpose(0, 1))[0]
        else:
            w_in, w_state, b_in, b_state = self.lstm.parameters()
            size = series.shape[-1]
            base = attributes @ w_in[:, size:].t() + b_in + b_state
            weight = torch.cat([w_state.t(), w_in[:, :size].t()])
            first = 0 if self.warm_up_gradient else features.warm_up
            states = hidden_states(series.transpose(0, 1), base, weight, first)
        return self.head(self.dropout(states)).transpose(0, 1)
