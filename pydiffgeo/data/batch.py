"""A batch: windows of some sites, their series, attributes and observations by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from pydiffgeo.data.form import stamp
from pydiffgeo.errors import DataError


@dataclass(frozen=True, repr=False)
class Batch:
    """Windows of some sites.

    Attributes
    ----------
    series : dict of str to Tensor, [batch, time]
        Forcing by name, in the units of `units`.
    attributes : dict of str to Tensor, [batch] or [batch, depth]
        Attributes of the site of each row.
    observed : dict of str to Tensor, [batch, time] or [batch, time, depth]
        NaN where nothing was observed.
    spread : dict of str to Tensor, [batch] or [batch, depth]
        Standard deviation of each observed series over the training period, NaN where it has fewer
        than two values.
    site : Tensor of int64, [batch]
        Positions in `sites`.
    start : Tensor of int64, [batch]
        Positions of the first step in `times`.
    warm_up : int
        First steps of a window that no loss should count.
    sites : tuple of str
        Identifiers of all sites of the record.
    times : pandas.DatetimeIndex
        Steps of the whole record; a RangeIndex for records of points without dates.
    step : pandas.Timedelta
        Length of a step; zero for points.
    units : dict of str to str
        Unit of each series, attribute and observed series that states one.
    depths : Tensor, [depth], optional
        Depths of observations, cm.
    below : Tensor of int64, [batch], optional
        Of rivers: the row of the batch that is the site below, in the same window of time; -1 at an
        outlet, and where that site is not in the batch.
    tributaries : Tensor of int64, [batch], optional
        Of rivers: the number of sites of the record that flow into the site of each row.
    cell : Tensor of int64, [batch], optional
        A number for the cell of a satellite that the site of each row lies in.
    cell_size : Tensor of int64, [batch], optional
        The number of sites of the record in that cell.
    """

    series: dict[str, Tensor]
    attributes: dict[str, Tensor]
    observed: dict[str, Tensor]
    spread: dict[str, Tensor]
    site: Tensor
    start: Tensor
    warm_up: int
    sites: tuple[str, ...]
    times: pd.Index
    step: pd.Timedelta
    units: dict[str, str]
    depths: Tensor | None = None
    below: Tensor | None = None
    tributaries: Tensor | None = None
    cell: Tensor | None = None
    cell_size: Tensor | None = None

    @property
    def length(self) -> int:
        """Steps of a window, warm-up included."""
        return next(iter((self.series or self.observed).values())).shape[1]

    @property
    def scored(self) -> Tensor:
        """Steps that a loss may count, those after the warm-up: bool, [time]."""
        return torch.arange(self.length, device=self.site.device) >= self.warm_up

    @property
    def names(self) -> list[str]:
        """Identifier of the site of each row."""
        return [self.sites[k] for k in self.site.tolist()]

    def __len__(self) -> int:
        return len(self.site)

    def __repr__(self) -> str:
        """Return names and shapes, not thousands of numbers."""
        dates = stamp(self.times[int(self.start[0])]) if len(self) else "none"
        lines = [
            f"Batch of {len(self)} rows, {self.length} steps of which {self.warm_up} are warm-up; "
            f"the first from {dates}"
        ]
        for what in ("series", "attributes", "observed"):
            shapes = [f"{k} {list(v.shape)}" for k, v in getattr(self, what).items()]
            lines += [f"  {what:<10} {', '.join(shapes)}"] if shapes else []
        return "\n".join(lines)

    def dates(self, row: int) -> pd.Index:
        """Return the times of a row."""
        first = int(self.start[row])
        return self.times[first : first + self.length]

    def where(self, row: int) -> str:
        """Return site and dates of a row in words, for messages."""
        dates = self.dates(row)
        name = self.sites[int(self.site[row])]
        warm_up = f"warm-up {self.warm_up} steps"
        return f"site {name}, {stamp(dates[0])} to {stamp(dates[-1])} ({warm_up})"

    def not_finite(self, simulated: Tensor) -> list[str]:
        """Return where simulations [batch, time, ...] are not finite after the warm-up, by row."""
        scored = torch.isfinite(simulated[:, self.warm_up :])
        bad = ~scored.reshape(*scored.shape[:2], -1).all(2)
        found = []
        for row in bad.any(1).nonzero().flatten().tolist():
            date = self.dates(row)[self.warm_up + int(bad[row].nonzero()[0])]
            found.append(f"{self.where(row)}: not finite from {stamp(date)}")
        return found

    def require_whole_rivers(self, who: str) -> Tensor:
        """Return `below`, if all sites that flow into one of the batch are in the batch, too.

        DataError: they are not, or the sites have no attribute ``downstream``; `who` needs them.
        """
        if self.below is None or self.tributaries is None:
            raise DataError(
                f"{who} needs the attribute 'downstream' of the sites, the identifier of the site "
                "below; add it ('' for none)."
            )
        inner = (self.below >= 0).nonzero().flatten()
        # each site once, whatever rows come twice
        pairs = self.below[inner] * len(self.sites) + self.site.to(inner)[inner]
        there = (pairs.unique() // len(self.sites)).bincount(minlength=len(self))
        short = (there != self.tributaries).nonzero().flatten().tolist()
        if short:
            row = short[0]
            raise DataError(
                f"{who} needs all that flows into site {self.sites[int(self.site[row])]}: "
                f"{int(there[row])} of {int(self.tributaries[row])} sites are in the batch, and so "
                f'it is in {len(short)} rows; take Windows(..., closed="upstream").'
            )
        return self.below

    def mean_of_cells(self, values: Tensor, who: str) -> Tensor:
        """Return for each row of values [batch, ...] the mean over the sites of its cell.

        Of those in the same window. DataError: some of them are not in the batch, or the sites have
        no attribute ``cell``; `who` needs them.
        """
        if self.cell is None or self.cell_size is None:
            raise DataError(
                f"{who} needs the attribute 'cell' of the sites, the name of the cell of the "
                "satellite that each lies in; add it (one of its own for each site that is alone)."
            )
        window = torch.stack([self.cell, self.start], 1)
        kinds, group = window.unique(dim=0, return_inverse=True)
        # each site once, whatever rows come twice
        pairs = torch.stack([group, self.site.to(group)], 1).unique(dim=0)
        there = pairs[:, 0].bincount(minlength=len(kinds))[group]
        short = (there != self.cell_size).nonzero().flatten().tolist()
        if short:
            row = short[0]
            raise DataError(
                f"{who} needs all sites in the cell of {self.sites[int(self.site[row])]}: "
                f"{int(there[row])} of {int(self.cell_size[row])} are in the batch; take "
                'Windows(..., closed="cell").'
            )
        shape = (-1, *(1,) * (values.ndim - 1))
        total = values.new_zeros(len(kinds), *values.shape[1:]).index_add(0, group, values)
        count = group.bincount(minlength=len(kinds)).to(values)
        return (total / count.view(shape))[group]

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with its tensors on a device."""
        return self._mapped(lambda tensor: tensor.to(device), depths=True)

    def only(self, rows: Tensor) -> Batch:
        """Return some rows, which know no site below or above."""
        return replace(self._mapped(lambda tensor: tensor[rows]), below=None, tributaries=None)

    def repeated(self, count: int) -> Batch:
        """Return the batch with each row `count` times, one copy after the other."""
        changed = self._mapped(lambda tensor: tensor.repeat_interleave(count, 0))
        if changed.cell is not None:  # each copy has cells of its own
            own = torch.arange(count, device=changed.cell.device).repeat(len(self))
            changed = replace(changed, cell=changed.cell * count + own)
        if changed.below is None:
            return changed
        copy = torch.arange(count, device=changed.below.device).repeat(len(self))
        return replace(changed, below=_moved(changed.below, count, copy))

    def tiled(self, count: int) -> Batch:
        """Return the whole batch `count` times, one batch after the other."""
        changed = self._mapped(lambda tensor: tensor.repeat(count, *(1,) * (tensor.dim() - 1)))
        if changed.cell is not None:
            own = torch.arange(count, device=changed.cell.device).repeat_interleave(len(self))
            changed = replace(changed, cell=changed.cell + own * len(self.sites))
        if changed.below is None:
            return changed
        first = torch.arange(count, device=changed.below.device) * len(self)
        return replace(changed, below=_moved(changed.below, 1, first.repeat_interleave(len(self))))

    def _mapped(self, change: Any, depths: bool = False) -> Batch:
        """Return the batch with its tensors changed.

        The depths, which are none of a row, only on demand.
        """
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "depths" and not depths:
                continue
            if isinstance(value, Tensor):
                changed[field.name] = change(value)
            elif field.name in ("series", "attributes", "observed", "spread"):
                changed[field.name] = {name: change(tensor) for name, tensor in value.items()}
        return replace(self, **changed)


def joined_below(batches: Sequence[Batch]) -> Tensor | None:
    """Return `below` for the rows of several batches one after the other; None if one has none."""
    found, first = list[Tensor](), 0
    for batch in batches:
        if batch.below is None:
            return None
        found.append(_moved(batch.below, 1, first))
        first += len(batch)
    return torch.cat(found)


def _moved(below: Tensor, factor: int, offset: Tensor | int) -> Tensor:
    """Return rows times a factor plus an offset; -1, which is none, stays."""
    return torch.where(below < 0, below, below * factor + offset)
