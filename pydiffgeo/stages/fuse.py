"""Several products of one forcing: their weighted mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.form import stamp
from pydiffgeo.errors import DataError, SettingsError
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.stages.base import (
    Known,
    Named,
    Range,
    Series,
    Stage,
    converted,
    in_time,
    nearest_inside,
)

LEAST = 1e-3  # of a learned weight before all are divided by their sum


class Fuse(Stage):
    """The weighted mean of several products of one forcing.

    The network of the hybrid gives the weight of each product, PRODUCT_weight: one number for each
    site, or one for each step where they are in `varying`. With `sum_to_one` they are divided by
    their sum. What each product counts is given, too, as PRODUCT_share [batch, time].

    Source: Sawadekar et al. (2025), J. Hydrol. 659, 133320, for weights that streamflow tells.

    Parameters
    ----------
    products : sequence of str
        Series of one quantity, two or more, such as ("precipitation", "precipitation_era5"); each
        is brought into the unit of the first.
    name : str, optional
        What the mean is given as; by default the name of the first, whose place it takes.
    weights : sequence of float, optional
        Fixed weight of each product, such as (0.5, 0.5) for the plain mean; nothing is learned.
    sum_to_one : bool
        Whether the weights sum to one in each step. Without it they may also correct a bias.
    between : (float, float)
        Bounds of each weight without `sum_to_one`; it begins at one over the number of products.
    others : bool
        Whether a product that is missing on a step leaves its weight to the others there (also to
        those whose fixed weight is zero: (1, 0) fills gaps of the first by the second). Without
        it a step that lacks one is missing forcing, which `Windows(missing=...)` and data.missing
        skip or refuse.

    Raises
    ------
    SettingsError
        Fewer than two different products.
    DataError
        With `others`: a step that no product has; site and date are named.
    """

    remembers = False

    def __init__(
        self,
        products: Sequence[str],
        name: str | None = None,
        weights: Sequence[float] | None = None,
        sum_to_one: bool = True,
        between: Range = (0.0, 1.5),
        others: bool = False,
    ):
        super().__init__()
        self.reads = tuple(products)
        if isinstance(products, str) or len(set(self.reads)) < max(2, len(self.reads)):
            raise SettingsError(
                f"Fuse({products!r}) needs two or more different products; take Scale for one."
            )
        self.name, self.sum_to_one, self.others = name or self.reads[0], sum_to_one, others
        self.gives = (self.name, *(f"{product}_share" for product in self.reads))
        self.weights = None if weights is None else tuple(float(w) for w in weights)
        fixed = self.weights or (1.0,) * len(self.reads)
        if len(fixed) != len(self.reads) or min(fixed) < 0 or not 0 < sum(fixed) < math.inf:
            raise SettingsError(
                f"Fuse: weights={weights!r} must be {len(self.reads)} numbers, none below zero and "
                "not all zero."
            )
        self.optional = self.reads if others else ()
        if self.weights is not None:
            return
        bounds = Bounds(LEAST, 1.0, "log") if sum_to_one else Bounds(*between)
        self.learns = {f"{product}_weight": bounds for product in self.reads}
        if not sum_to_one:
            self.begin = nearest_inside(
                dict.fromkeys(self.learns, 1 / len(self.reads)), self.learns
            )

    def bind(self, known: Known) -> dict[str, str]:
        """Check the units; return that of the first product, and 1 for the shares."""
        unit = next((known.units[name] for name in self.reads if name in known.units), None)
        none = (1.0, 0.0)
        self.factors = [
            none if unit is None else known.factor(name, unit, self.who) for name in self.reads
        ]
        shares = dict.fromkeys(self.gives[1:], "1")
        return shares if unit is None else {self.name: unit} | shares

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return the mean, and what each product counts."""
        read = zip(self.reads, self.factors, strict=True)
        values = torch.stack([converted(series[name], factor) for name, factor in read])
        weights = self._weights(values, parameters)
        whole = torch.ones_like(weights[0]) if self.sum_to_one else weights.sum(0)
        there = torch.isfinite(values) if self.others else torch.ones_like(values, dtype=torch.bool)
        if not bool(there.any(0).all()):
            self._refuse(~there.any(0), batch)
        if self.sum_to_one or not bool(there.all()):
            weights = torch.where(there, weights, 0.0)
            total = weights.sum(0)
            # where only products without weight are there, they count the same
            alike = there.to(weights) / there.sum(0)
            weights = torch.where(total > 0, weights / torch.where(total > 0, total, 1.0), alike)
            weights = weights * whole
        mean = (weights * torch.where(there, values, 0.0)).sum(0)
        return dict(zip(self.gives, (mean, *weights), strict=True))

    def _weights(self, values: Tensor, parameters: Named) -> Tensor:
        """Return the weight of each product, [product, batch, time]."""
        if self.weights is not None:
            return values.new_tensor(self.weights)[:, None, None].expand_as(values)
        given = (parameters[f"{product}_weight"].to(values) for product in self.reads)
        return torch.stack([in_time(w, values[0]).expand_as(values[0]) for w in given])

    def _refuse(self, none: Tensor, batch: Batch) -> None:
        """Raise DataError for the first step that no product has."""
        row, step = (int(k) for k in none.nonzero()[0])
        site, day = batch.names[row], stamp(batch.dates(row)[step])
        raise DataError(
            f"site {site} has none of {', '.join(self.reads)} on {day}; fill one of them "
            "(data.gaps, `fill_forcing`), or leave the site out."
        )
