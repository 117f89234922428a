"""Standardisation of forcing and attributes, fitted on the training period."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from pydiffgeo.data.form import Day, axis_of, positions, stamp, times_of
from pydiffgeo.data.lazy import blocks, together
from pydiffgeo.data.problems import absent, attribute_problems
from pydiffgeo.errors import DataError, listed

log = logging.getLogger("pydiffgeo")


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of variables.

    Of forcing over sites and days, of attributes over sites.

    Attributes
    ----------
    mean, std : dict of str to float
        By name, in the unit of the variable.
    start, end : str
        First and last day of the period that forcing was fitted on.
    sites : int
        Number of sites that it was fitted on.
    """

    mean: dict[str, float]
    std: dict[str, float]
    start: str
    end: str
    sites: int


def fit_scaling(
    records: xr.Dataset,
    forcing: Sequence[str],
    attributes: Sequence[str] = (),
    start: Day = None,
    end: Day = None,
) -> Scaling:
    """Return mean and standard deviation over a period, reading some sites at a time.

    Parameters
    ----------
    records : xarray.Dataset
        Site form, of the training sites only.
    forcing : sequence of str
        Variables in time; missing values do not count.
    attributes : sequence of str
        Numbers per site; missing values do not count.
    start, end : str, optional
        First and last day of training; the whole record by default.

    Raises
    ------
    DataError
        A variable is absent, is text, is constant or has no values, or the record has no days in
        the period. Attributes that are 0, or 1, at all sites may be classes, and are scaled by 1.
    """
    axis, times = axis_of(records), times_of(records)
    span = slice(*positions(times, start, end, "the training period"))
    for name in [*forcing, *attributes]:
        dims = set(records[name].dims) if name in records else set()
        if dims - {"depth"} != ({"site", axis} if name in forcing else {"site"}):
            raise DataError(
                f"no {'forcing' if name in forcing else 'attribute'} {name!r} in the records."
            )
        if records[name].dtype.kind not in "fiu":
            raise DataError(
                f"{name!r} is text and cannot be standardised; leave it out, or encode it as "
                "numbers."
            )
    # count, mean, sum of squared deviations
    sums = {name: np.zeros(3) for name in [*forcing, *attributes]}
    for rows in blocks(records.sizes["site"], together(records[name] for name in forcing)):
        for name in forcing:
            sums[name] = _merge(sums[name], records[name].isel({"site": rows, axis: span}).values)
    for name in attributes:
        sums[name] = _merge(sums[name], records[name].values)
    mean, std = {}, {}
    for name, (count, centre, squares) in sums.items():
        spread = float(np.sqrt(squares / count)) if count else 0.0
        if name in attributes and count and spread == 0 and centre in (0.0, 1.0):
            # a class of which none, or only these, are trained on: 0 or 1 elsewhere
            log.info("%s is %g at all sites trained on: nothing is learned of it", name, centre)
            spread = 1.0
        if spread <= 1e-12 * max(1.0, abs(centre)):
            what = "no values" if not count else f"the same value {centre:g} everywhere"
            raise DataError(
                f"{name!r} has {what} in the training period and cannot be standardised; leave it "
                "out."
            )
        mean[name], std[name] = float(centre), spread
    first, last = (stamp(times[i]) for i in (span.start, span.stop - 1))
    return Scaling(mean, std, first, last, records.sizes["site"])


def attribute_values(
    sites: xr.Dataset, names: Sequence[str], dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Return attributes by name, [site] or [site, depth].

    Raises
    ------
    DataError
        An attribute is absent or text, or is missing or impossible for a site; both are named.
    """
    ids = [str(site) for site in sites.site.values]
    found = {}
    for name in names:
        numbers = name in sites and sites[name].dtype.kind in "fiub"  # a flag is 0 or 1
        if not numbers or set(sites[name].dims) not in ({"site"}, {"site", "depth"}):
            raise DataError(
                f"no attribute {name!r} with numbers in the records; leave it out, or encode it as "
                "numbers."
            )
        values = sites[name].transpose("site", ...).values.astype(float)
        flat = values.reshape(len(ids), -1)
        if (lost := absent(flat).any(1)).any():
            which = [ids[i] for i in np.flatnonzero(lost)]
            raise DataError(
                f"attribute {name!r} is missing for {len(which)} sites: {listed(which, 10)}; "
                "fill it, or leave out the attribute or the sites."
            )
        columns = (attribute_problems({name: column}, ids, ()) for column in flat.T)
        wrong = [problem for found in columns for problem in found]
        if wrong:
            more = f" So it is in {len(wrong) - 1} more sites." if len(wrong) > 1 else ""
            raise DataError(wrong[0].message + more)
        found[name] = torch.as_tensor(values, dtype=dtype)
    return found


def _merge(total: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Add values to (count, mean, sum of squared deviations), without cancellation (Chan et al.
    1983).
    """
    known = values[np.isfinite(values)].astype(float)
    if not known.size:
        return total
    count, mean, squares = total
    difference, number = known.mean() - mean, count + known.size
    squares += ((known - known.mean()) ** 2).sum() + difference**2 * count * known.size / number
    return np.array([number, mean + difference * known.size / number, squares])
