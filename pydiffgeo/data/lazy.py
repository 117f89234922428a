"""Arrays [site, time, ...] whose rows are read when they are needed.

Memory does not grow with the number of sites.

They are xarray backend arrays, as those of an opened netCDF file: selecting stays lazy, `.values`
reads. No dask is needed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from pydiffgeo.errors import DataError

Rows = NDArray[np.int64]
BLOCK = 16  # sites that are read together
CACHE_BYTES = 128 * 2**20
BLOCK_BYTES = 4 * 2**20  # of a series that is read together, where one file has all sites


class SiteArray(BackendArray):
    """An array [site, time, ...] that calls `read` for rows, and cuts the days afterwards.

    Parameters
    ----------
    read : callable
        Takes site positions [row] and returns values [row, time, ...].
    shape : tuple of int
        Sites, times and what else there is.
    dtype : dtype
        Of the values.
    block : int
        Rows that are read together.
    """

    def __init__(
        self,
        read: Callable[[Rows], NDArray],
        shape: tuple[int, ...],
        dtype: Any = np.float64,
        block: int = BLOCK,
    ):
        self.read, self.shape, self.dtype, self.block = read, shape, np.dtype(dtype), block

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._get
        )

    def _get(self, key: tuple[Any, ...]) -> NDArray:
        rows, *others = key
        if isinstance(rows, (int, np.integer)):
            return _outer(self.read(np.array([rows]))[0], others)
        wanted = np.arange(self.shape[0])[rows]
        if not wanted.size:
            return _outer(np.empty((0, *self.shape[1:]), self.dtype), [slice(None), *others])
        parts = (self.read(wanted[part]) for part in blocks(len(wanted), self.block))
        return np.concatenate([_outer(part, [slice(None), *others]) for part in parts])


def _outer(values: NDArray, key: list[Any]) -> NDArray:
    """Return values by an index of each dimension on its own, the last one first.

    An integer takes its dimension away.
    """
    for axis in reversed(range(len(key))):
        values = values[(slice(None),) * axis + (key[axis],)]
    return values


class Reader:
    """Reads the variables of one site at a time, and keeps the last ones read, up to `CACHE_BYTES`
    or `BLOCK` sites; or those of several sites at once, where the files have them together.

    Parameters
    ----------
    read : callable
        Takes a site's position and returns each variable over all days, [time].
    bytes_per_site : int
        Size of what it returns.
    block : callable, optional
        Takes positions of sites and names of variables and returns these, [site, time], or None
        where sites have to be read one at a time.
    """

    def __init__(
        self,
        read: Callable[[int], Mapping[str, NDArray]],
        bytes_per_site: int,
        block: Callable[[Rows, Collection[str]], Mapping[str, NDArray] | None] | None = None,
    ):
        self._read, self._block = read, block
        self._kept: OrderedDict[int, Mapping[str, NDArray]] = OrderedDict()
        self._most = max(BLOCK, CACHE_BYTES // max(bytes_per_site, 1))

    def site(self, row: int) -> Mapping[str, NDArray]:
        """Return the variables of the site at position `row`."""
        if row in self._kept:
            self._kept.move_to_end(row)
        else:
            self._kept[row] = self._read(row)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return self._kept[row]

    def variable(self, name: str, shape: Mapping[str, int], dtype: Any = np.float64) -> xr.Variable:
        """Return variable `name` of all sites, of this size by dimension, lazily."""
        row = int(np.prod([*shape.values()][1:])) * np.dtype(dtype).itemsize
        block = BLOCK if self._block is None else max(BLOCK, BLOCK_BYTES // max(row, 1))

        def rows(wanted: Rows) -> NDArray:
            at_once = None if self._block is None else self._block(wanted, [name])
            if at_once is not None:
                return at_once[name]
            return np.stack([self.site(int(row))[name] for row in wanted])

        return lazy_variable(rows, shape, dtype, block)


def lazy_variable(
    read: Callable[[Rows], NDArray],
    shape: Mapping[str, int],
    dtype: Any = np.float64,
    block: int = BLOCK,
) -> xr.Variable:
    """Return a variable whose rows `read` provides when they are needed, `block` at a time.

    `shape` is its size by dimension, site first.
    """
    array = SiteArray(read, tuple(shape.values()), dtype, block)
    found = xr.Variable(tuple(shape), indexing.LazilyIndexedArray(array))
    found.encoding["preferred_chunks"] = {"site": block}
    return found


def together(series: Iterable[xr.DataArray | xr.Variable]) -> int:
    """Return how many sites of all these series are best read together."""
    lazy = [v.encoding.get("preferred_chunks", {}).get("site", BLOCK) for v in series]
    return min(lazy, default=BLOCK)


class SiteBySite:
    """The series of one site after the other, [time] or [time, depth] by name.

    Read in blocks, where one file has all sites; else one by one, so that what is said when a site
    is read is said of this site.
    """

    def __init__(self, records: xr.Dataset, names: Iterable[str]):
        axis = "point" if "point" in records.dims else "time"
        # without coordinates, indexing is faster
        self._known = {n: records[n].variable.transpose("site", axis, ...) for n in names}
        self._rows, self._block = slice(0, 0), dict[str, NDArray]()
        size = together(self._known.values())
        self._size = size if size > BLOCK else 1

    def __call__(self, row: int) -> dict[str, NDArray]:
        """Return copies, of which impossible values may be taken out.

        DataError where this site cannot be read.
        """
        if not self._rows.start <= row < self._rows.stop:
            try:
                self._read(slice(row, row + self._size))
            except DataError:  # of some site: each by itself
                self._read(slice(row, row + 1))
        return {name: values[row - self._rows.start].copy() for name, values in self._block.items()}

    def _read(self, rows: slice) -> None:
        known = self._known.items()
        self._block = {name: v[{"site": rows}].values.astype(float) for name, v in known}
        self._rows = rows


def mapped(values: xr.DataArray, change: Callable[[Rows, NDArray], NDArray]) -> xr.Variable:
    """Return a series [site, ...] of which `change` makes another from rows and their values.

    What is lazy stays so.
    """
    given = values.variable.transpose("site", ...)
    if not is_lazy(values):
        return given.copy(data=change(np.arange(len(given)), given.values))
    found = lazy_variable(
        lambda rows: change(rows, given[{"site": rows}].values),
        {str(dim): size for dim, size in given.sizes.items()},
        block=together([given]),
    )
    found.attrs.update(given.attrs)
    return found


def seen_at(values: xr.DataArray, sites: NDArray) -> xr.Variable:
    """Return a series [site, ...] that is missing but for some sites, marked in bool [site]."""

    def change(rows: Rows, known: NDArray) -> NDArray:
        return np.where(sites[rows].reshape(-1, *(1,) * (known.ndim - 1)), known, np.nan)

    return mapped(values, change)


def joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return the records of other sites as one, part after part.

    What is lazy stays so.
    """
    lazy = [name for name in parts[0].data_vars if any(is_lazy(part[name]) for part in parts)]
    found = xr.concat([part.drop_vars(lazy) for part in parts], "site")
    if not lazy:
        return found
    ends = np.cumsum([part.sizes["site"] for part in parts])

    def of(series: list[xr.Variable]) -> Callable[[Rows], NDArray]:
        def read(rows: Rows) -> NDArray:
            which = np.searchsorted(ends, rows, "right")
            values = np.empty((len(rows), *series[0].shape[1:]), series[0].dtype)
            for k in np.unique(which):
                own = which == k
                begin = ends[k] - len(series[k])
                values[own] = series[k][{"site": rows[own] - begin}].values
            return values

        return read

    for name in lazy:
        series = [part[name].variable for part in parts]
        shape = {**series[0].sizes, "site": found.sizes["site"]}
        size = {str(dim): n for dim, n in shape.items()}
        found[name] = lazy_variable(of(series), size, series[0].dtype, together(series))
        found[name].attrs.update(series[0].attrs)
    return found[list(parts[0].data_vars)]


def is_lazy(values: xr.DataArray) -> bool:
    """Return whether the values are still to be read."""
    return not isinstance(values.variable._data, np.ndarray)


def in_memory(records: xr.Dataset) -> xr.Dataset:
    """Return records with all lazy series read, some sites at a time.

    Each file once, whatever the number of its series.
    """
    lazy = {name: values for name, values in records.data_vars.items() if is_lazy(values)}
    read = {
        name: xr.Variable(v.dims, np.empty(v.shape, v.dtype), v.attrs) for name, v in lazy.items()
    }
    for rows in blocks(records.sizes.get("site", 0)):
        for name, values in lazy.items():
            read[name].values[rows] = values.isel(site=rows).values
    return records.assign(read)


def blocks(sites: int, size: int = BLOCK) -> Iterator[slice]:
    """Return slices that cover `sites` positions in steps of `size`."""
    return (slice(start, min(start + size, sites)) for start in range(0, sites, size))
