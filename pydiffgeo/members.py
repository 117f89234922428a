"""Members of an ensemble of hybrids, whose columns are solved in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pydiffgeo.data.batch import Batch
from pydiffgeo.stages.base import Series

if TYPE_CHECKING:
    from pydiffgeo.hybrid import Hybrid


class Ensemble(nn.Module):
    """Members of one hybrid, whose columns are solved together.

    Attributes
    ----------
    members : torch.nn.ModuleList of Hybrid
        Each has networks and scaling of its own.
    """

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
        """Return the series of all members.

        Parameters
        ----------
        batch : Batch or sequence of Batch
            One for all, or one for each member.

        Returns
        -------
        Series or list of Series
            [member, batch, ...] for one batch, where row m n + i of `failed` is row i of member m,
            n the rows of the batch; else the series of each member.
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
    first = batches[0]
    offsets = [sum(len(b.sites) for b in batches[:k]) for k in range(len(batches))]

    def together(part: str) -> dict[str, Tensor]:
        values = [getattr(b, part) for b in batches]
        shared = [name for name in values[0] if all(name in v for v in values)]
        return {name: torch.cat([v[name] for v in values]) for name in shared}

    return replace(
        first,
        series=together("series"),
        attributes=together("attributes"),
        observed=together("observed"),
        spread=together("spread"),
        site=torch.cat([b.site + k for b, k in zip(batches, offsets, strict=True)]),
        start=torch.cat([b.start for b in batches]),
        sites=tuple(site for b in batches for site in b.sites),
    )
