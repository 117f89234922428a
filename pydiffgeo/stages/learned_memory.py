"""Series with a memory of learned length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.form import axis_of
from pydiffgeo.data.windows import Windows
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.networks.reading import Facts
from pydiffgeo.stages.base import Known, Named, Range, Series, Stage, nearest_inside

YEAR = 365.25  # d
WAVE = 2 * np.pi / YEAR


class Memory(Stage):
    """Exponential mean of a series over its past, with a learned time for each site.

    Such is the temperature of groundwater, which follows that of the air by months. Before a window
    a series of the records is taken for the mean and the wave of a year that it had at the site
    until the end of training, so that windows need no year of warm-up; one of an earlier stage for
    the mean of its first year. The parameter is NAME_days.

    Parameters
    ----------
    series : str
        What is remembered, such as "tair_mean".
    name : str
        What the mean is given as, such as "groundwater_temperature".
    between : (float, float)
        Bounds of the time, in days, after which a value counts 1/e; learned on a logarithmic scale.
    begin : float
        Where it begins, d.
    """

    def __init__(
        self, series: str, name: str, between: Range = (2.0, 400.0), begin: float = 45.0
    ) -> None:
        super().__init__()
        self.of, self.time = series, f"{name}_days"
        self.reads, self.gives = (series,), (name,)
        self.learns = {self.time: Bounds(*between, "log")}
        self.begin = nearest_inside({self.time: begin}, self.learns)

    def fit(self, windows: Windows) -> Facts:
        """Return mean, cosine and sine of a year of each site, and of all together."""
        sites, last = windows.sites, windows.last
        if self.of not in sites:  # of an earlier stage
            return {"sites": [], "rows": [], "whole": []}
        values = sites[self.of].isel({axis_of(sites): slice(last)}).transpose("site", ...)
        days = _days(windows.times[:last])
        rows = np.array([_wave(row, days) for row in values.values.astype(float)])
        names = [str(site) for site in sites.site.values]
        return {"sites": names, "rows": rows.tolist(), "whole": rows.mean(0).tolist()}

    def build(self, facts: Facts, known: Known, dtype: torch.dtype) -> None:
        """Keep these."""
        self.known = {site: k for k, site in enumerate(facts["sites"])}
        rows = torch.tensor([*facts["rows"], facts["whole"] or [0.0] * 3], dtype=torch.float64)
        self.measured = bool(facts["rows"])
        self.register_buffer("waves", rows)

    def bind(self, known: Known) -> dict[str, str]:
        """Take the step, and return the unit of the series."""
        self.step = known.length()
        return known.unit_of(self.of, self.gives)

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return the mean, in the unit of the series."""
        values = series[self.of].double()
        days = parameters[self.time].double()
        days = days if days.ndim == 2 else days[:, None].expand(values.shape)
        year = values[:, : max(1, round(YEAR / self.step))]
        mean = self._before(days[:, 0], batch) if self.measured else year.mean(1)
        found: list[Tensor] = []
        for now, share in zip(
            values.unbind(1), torch.exp(-self.step / days).unbind(1), strict=True
        ):
            mean = now + share * (mean - now)
            found.append(mean)
        return {self.gives[0]: torch.stack(found, 1).to(series[self.of].dtype)}

    def _before(self, days: Tensor, batch: Batch) -> Tensor:
        """Return what the past before a window leaves, [batch]: the answer of an exponential memory
        to a mean and a wave.
        """
        rows = [self.known.get(name, -1) for name in batch.names]
        mean, a, b = self.get_buffer("waves")[rows].unbind(1)
        first = [_days(batch.dates(row)[:1])[0] - self.step for row in range(len(batch))]
        angle = WAVE * torch.tensor(first, dtype=torch.float64, device=days.device)
        sine, cosine, slow = torch.sin(angle), torch.cos(angle), WAVE * days
        wave = a * cosine + b * sine + slow * (a * sine - b * cosine)
        return mean + wave / (1 + slow * slow)


def _days(times: Any) -> Any:
    """Return days since 2000; from 0 on where there are no dates."""
    if isinstance(times, pd.DatetimeIndex):
        return ((times - pd.Timestamp("2000-01-01")) / pd.Timedelta(1, "d")).to_numpy(float)
    return np.arange(len(times), dtype=float)


def _wave(values: Any, days: Any) -> Any:
    """Return mean, cosine and sine by least squares; the mean alone of less than half a year."""
    there = np.isfinite(values)
    if not there.any():
        return np.zeros(3)
    if np.ptp(days[there]) < YEAR / 2:
        return np.array([values[there].mean(), 0.0, 0.0])
    matrix = np.stack([np.ones_like(days), np.cos(WAVE * days), np.sin(WAVE * days)], 1)
    return np.linalg.lstsq(matrix[there], values[there], rcond=None)[0]
