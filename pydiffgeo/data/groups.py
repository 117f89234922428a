"""Sites that windows take together: none, those of a river, or those of a cell of a satellite."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pydiffgeo.data import network, satellite_cells
from pydiffgeo.data.lazy import blocks


class Apart:
    """Sites by themselves. All positions are those of sites in the records."""

    needs_all = False  # whether a window needs the forcing of sites beside its own

    def starts(self, valid: NDArray, whole: NDArray) -> NDArray:
        """Return where windows may begin, [site, choice], true of the sites that stand for others.

        `valid`: a site has its forcing and an observation there; `whole`: it has its forcing.
        """
        return valid

    def without(self, counts: NDArray) -> NDArray:
        """Return the positions of the sites that no window has; `counts` are windows, [site]."""
        return np.flatnonzero(counts == 0)

    def members(self, rows: NDArray, begin: NDArray) -> tuple[NDArray, NDArray]:
        """Return the sites that come with some that are drawn, and where their windows begin."""
        return rows, begin

    def parts(self, rows: NDArray, size: int) -> list[NDArray]:
        """Return positions in parts of `size` sites or more, which keep sites together."""
        return [rows[part] for part in blocks(len(rows), size)]

    def complete(self, whole: NDArray) -> NDArray:
        """Return whether each site has all forcing, and those that it needs; `whole`: its own."""
        return whole

    def identity(self) -> bytes:
        """Return what tells these groups from others."""
        return b""


class Rivers(Apart):
    """Gauges, with all sites above them."""

    needs_all = True

    def __init__(self, below: NDArray):
        self.below = below

    def starts(self, valid: NDArray, whole: NDArray) -> NDArray:
        """See `Apart`. Where no site is observed at all, outlets stand for the sites above them."""
        if not valid.any():
            valid = whole & (self.below < 0)[:, None]
        if not whole.all():
            valid &= network.accumulated(self.below, (~whole).astype(np.int32)) == 0
        return valid

    def members(self, rows: NDArray, begin: NDArray) -> tuple[NDArray, NDArray]:
        """See `Apart`; all windows of a batch begin where the first does."""
        sites = network.upstream(self.below, rows)
        return sites, np.full(len(sites), begin[0] if len(begin) else 0)

    def parts(self, rows: NDArray, size: int) -> list[NDArray]:
        """See `Apart`."""
        return network.whole_rivers(self.below, rows, size)

    def complete(self, whole: NDArray) -> NDArray:
        """See `Apart`."""
        return network.accumulated(self.below, (~whole).astype(int)) == 0

    def identity(self) -> bytes:
        """See `Apart`."""
        return self.below.tobytes()


class Cells(Apart):
    """Sites of a cell, the first of which stands for all."""

    needs_all = True

    def __init__(self, cell: NDArray):
        self.cell = cell

    def starts(self, valid: NDArray, whole: NDArray) -> NDArray:
        """See `Apart`."""
        return satellite_cells.together(self.cell, valid, whole)

    def without(self, counts: NDArray) -> NDArray:
        """See `Apart`."""
        return np.flatnonzero(counts[self.cell] == 0)

    def members(self, rows: NDArray, begin: NDArray) -> tuple[NDArray, NDArray]:
        """See `Apart`."""
        sites, of = satellite_cells.members(self.cell, rows)
        return sites, begin[of]

    def parts(self, rows: NDArray, size: int) -> list[NDArray]:
        """See `Apart`."""
        firsts = np.unique(self.cell[rows])
        return [
            satellite_cells.members(self.cell, firsts[part])[0]
            for part in blocks(len(firsts), size)
        ]

    def complete(self, whole: NDArray) -> NDArray:
        """See `Apart`."""
        return np.bincount(self.cell[~whole], minlength=len(self.cell))[self.cell] == 0

    def identity(self) -> bytes:
        """See `Apart`."""
        return self.cell.tobytes()


def groups_of(closed: str | None, below: NDArray | None, cell: NDArray | None) -> Apart:
    """Return how sites belong together in windows that are `closed`.

    By the sites below them, or the first ones of their cells, [site], where they have them.
    """
    if closed == "cell" and cell is not None:
        return Cells(cell)
    if closed == "upstream" and below is not None:
        return Rivers(below)
    return Apart()
