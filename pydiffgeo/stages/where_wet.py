"""What water had where there is none: missing."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from pydiffgeo.data.batch import Batch
from pydiffgeo.stages.base import Known, Named, Series, Stage

log = logging.getLogger("pydiffgeo")


class WhereWet(Stage):
    """Series of the water, missing where a reach has run dry.

    The temperature of a dry reach is nothing that could be judged: it is NaN, and a line of the log
    says of how many steps. In training the series keep their values, so that a loss on an
    observation there has a number and a gradient.

    Parameters
    ----------
    names : sequence of str
        Series, such as "water_temperature".
    by : str
        Series that tells how much water there is.
    least : float
        What is dry has less of it, in its unit: 1 m3 of volume, below which `StreamTemperature` no
        longer counts.
    """

    def __init__(
        self,
        names: Sequence[str] = ("water_temperature",),
        by: str = "volume",
        least: float = 1.0,
    ) -> None:
        super().__init__()
        self.gives = (names,) if isinstance(names, str) else tuple(names)
        self.by, self.least = by, least
        self.reads = (*self.gives, by)

    def bind(self, known: Known) -> dict[str, str]:
        """Return the units of the series."""
        return {k: known.units[k] for k in self.gives if k in known.units}

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return the series, NaN where dry."""
        dry = series[self.by].detach() < self.least
        count = int(dry.sum())
        if count:
            log.warning(
                "%s: %d of %d steps are dry, at %d of %d sites (%s below %g): %s %s",
                self.who, count, dry.numel(), int(dry.any(1).sum()), len(dry), self.by, self.least,
                " and ".join(self.gives), "keep their values" if self.training else "are missing",
            )  # fmt: skip
        other = 0.0 if self.training else torch.nan
        kept = dry & (not self.training)
        return {k: torch.where(kept, other, series[k]) for k in self.gives}
