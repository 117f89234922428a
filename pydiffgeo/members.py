"""Members of an ensemble of hybrids, whose columns are solved in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pydiffgeo.data.batch import Batch, joined_below
from pydiffgeo.stages.base import Series

if TYPE_CHECKING:
    from pydiffgeo.hybrid import Hybrid


class Ensemble(nn.Module):
    """Hybrids with networks and scaling of their own, whose columns are solved together."""

    def __init__(self, members: Sequence[Hybrid]):
        super().__init__()
        self.members = nn.ModuleList(members)

    def only(self, indices: Sequence[int]) -> Ensemble:
        """Return some of the members."""
        return Ensemble([self[k] for k in indices])

    def __getitem__(self, k: int) -> Hybrid:
        return self.members[k]  # type: ignore[return-value]

    def __len__(self) -> int:
        return len(self.members)

    def forward(self, batch: Batch | Sequence[Batch]) -> Any:
        """Return the series [member, batch, ...] for one batch, or a list of those of each member
        for a batch each.

        Row m n + i of `failed` is row i of member m, where n are the rows of the one batch.
        """
        batches = [batch] * len(self) if isinstance(batch, Batch) else list(batch)
        members = [self[k] for k in range(len(self))]
        first = members[0]
        own_stages = any(True for _ in first.stages.parameters()) or any(first.facts["stages"])
        if own_stages or not first.learns:
            each = [member(own) for member, own in zip(members, batches, strict=True)]
        else:
            given = [m.parameters_of(own) for m, own in zip(members, batches, strict=True)]
            whole = {name: torch.cat([p[name] for p in given]) for name in first.learns}
            joined = batch.tiled(len(self)) if isinstance(batch, Batch) else _joined(batches)
            each = _split(first.run(joined, whole), [len(own.site) for own in batches])
        if not isinstance(batch, Batch):
            return each
        rows = len(batch.site)
        failed = {k * rows + i: why for k, s in enumerate(each) for i, why in s.failed.items()}
        return Series({name: torch.stack([s[name] for s in each]) for name in each[0]}, failed)


def _split(series: Series, counts: list[int]) -> list[Series]:
    """Return the series of each member from those of all rows."""
    found, first = [], 0
    for count in counts:
        rows = range(first, first + count)
        failed = {row - first: why for row, why in series.failed.items() if row in rows}
        found.append(Series({k: v[first : first + count] for k, v in series.items()}, failed))
        first += count
    return found


def _joined(batches: Sequence[Batch]) -> Batch:
    """Return the rows of several batches, which have the same steps, in one."""
    changed: dict[str, Any] = {}
    for part in ("series", "attributes", "observed", "spread"):
        values = [getattr(batch, part) for batch in batches]
        shared = [name for name in values[0] if all(name in own for own in values)]
        changed[part] = {name: torch.cat([own[name] for own in values]) for name in shared}
    sites: list[str] = []
    rows = []
    for batch in batches:
        rows.append(batch.site + len(sites))
        sites += batch.sites
    start = torch.cat([batch.start for batch in batches])
    for name in ("cell", "cell_size"):
        own = [getattr(batch, name) for batch in batches]
        changed[name] = None if any(values is None for values in own) else torch.cat(own)
    if changed["cell"] is not None:  # rows of members are no sites of one cell
        widths = torch.tensor([len(batch.sites) for batch in batches]).cumsum(0)
        firsts = (widths - len(batches[0].sites)).tolist()
        parts = [own.cell + first for own, first in zip(batches, firsts, strict=True)]
        changed["cell"] = torch.cat(parts)
    changed["below"] = below = joined_below(batches)
    if below is not None:
        counts = [own.tributaries for own in batches]
        changed["tributaries"] = torch.cat([n for n in counts if n is not None])
    return replace(batches[0], site=torch.cat(rows), start=start, sites=tuple(sites), **changed)
