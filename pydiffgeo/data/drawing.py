"""Where windows may begin, and which are drawn: for sites by themselves, and for rivers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pydiffgeo.data.groups import Apart
from pydiffgeo.data.tensors import SiteTensors


def valid_starts(
    tensors: SiteTensors,
    first: int,
    choices: int,
    warm_up: int,
    days: int,
    groups: Apart | None = None,
) -> NDArray[np.bool_]:
    """Return from which positions a window of each site has all forcing and an observation.

    Parameters
    ----------
    tensors : SiteTensors
        The records.
    first, choices : int
        First position of a window, and how many there are.
    warm_up, days : int
        Steps of a window before and after its warm-up is over.
    groups : Apart, optional
        Sites whose forcing must be there, too.

    Returns
    -------
    ndarray of bool, [site, choice]
        Whether a window may begin there.
    """
    groups = groups or Apart()
    valid = np.empty((len(tensors.names), choices), bool)
    whole = np.empty_like(valid) if groups.needs_all else valid
    for row in range(len(valid)):
        complete, seen = tensors.complete(slice(row, row + 1))[0], tensors.seen(row)
        gaps = np.concatenate(([0], np.cumsum(~complete)))
        observed = np.concatenate(([0], np.cumsum(seen)))
        begin = first + np.arange(choices)
        scored, end = begin + warm_up, begin + warm_up + days
        there = gaps[end] == gaps[begin]
        valid[row] = there & (observed[end] > observed[scored])
        if groups.needs_all:
            whole[row] = there
    return groups.starts(valid, whole)


def windows_of_sites(
    random: np.random.Generator, sites: NDArray, bits: NDArray, size: int, choices: int
) -> tuple[NDArray, NDArray]:
    """Return sites and beginnings of windows, each site with its own.

    Parameters
    ----------
    random : Generator
        What draws.
    sites : ndarray of int
        Positions of the sites that have a window.
    bits : ndarray of uint8, [site, choices / 8]
        `valid_starts` of all sites, packed.
    size : int
        Windows wanted; a site comes several times where there are fewer.
    choices : int
        Positions to begin at.
    """

    def allowed() -> NDArray:
        return (bits[rows, choice >> 3] >> (7 - (choice & 7)) & 1).astype(bool)

    rows = random.choice(sites, size, replace=size > len(sites))
    choice = random.integers(choices, size=size)
    for _ in range(30):
        bad = np.flatnonzero(~allowed())
        if not bad.size:
            break
        choice[bad] = random.integers(choices, size=bad.size)
    for i in np.flatnonzero(~allowed()):  # a site with few windows
        choice[i] = random.choice(np.flatnonzero(np.unpackbits(bits[rows[i]], count=choices)))
    return rows, choice


def windows_of_gauges(
    random: np.random.Generator, gauges: NDArray, bits: NDArray, size: int, choices: int
) -> tuple[NDArray, NDArray]:
    """Return gauges and the one beginning of their windows; takes what `windows_of_sites` does.

    A gauge is drawn, then one of its windows, then other gauges that have this window, too: as many
    as are wanted or as there are.
    """
    first, begin = windows_of_sites(random, gauges, bits, 1, choices)
    k = int(begin[0])
    there = gauges[(bits[gauges, k >> 3] >> (7 - (k & 7)) & 1).astype(bool)]
    others = random.permutation(there[there != first[0]])[: size - 1]
    rows = np.concatenate((first, others))
    return rows, np.full(len(rows), k)


def sites_in_turn(sites: NDArray, size: int | None, seed: int, epoch: int, turn: int) -> NDArray:
    """Return all sites in order, or those of a random order of an epoch whose turn it is."""
    if size is None or size >= len(sites):
        return sites
    order = np.random.default_rng([seed, epoch]).permutation(sites)
    return order[turn * size : (turn + 1) * size]
