"""The contract of stages, and the series that they add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor, nn

from pydiffgeo.data.batch import Batch
from pydiffgeo.errors import ParameterError, UnitError
from pydiffgeo.models.richards.grid import Grid
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.networks.reading import Facts, Training
from pydiffgeo.recorded import Recorded
from pydiffgeo.units import conversion

Named = Mapping[str, Tensor]


class Series(dict[str, Tensor]):
    """Series by name, [batch, time] or [batch, time, cell or depth].

    Attributes
    ----------
    failed : dict of int to str
        Rows of the batch whose solve failed, with site, dates and reason; their values are NaN.
    """

    def __init__(
        self, series: Mapping[str, Tensor] | None = None, failed: dict[int, str] | None = None
    ):
        super().__init__(series or {})
        self.failed = dict(failed or {})

    def added(self, other: Mapping[str, Tensor]) -> Series:
        """Return these series and others, which take the place of those of the same name."""
        return Series({**self, **other}, self.failed | getattr(other, "failed", {}))


@dataclass
class Known:
    """What is known of the series when a hybrid is prepared; stages add to it one after another.

    Attributes
    ----------
    units : dict of str to str
        Unit of each series and attribute that states one.
    step : pandas.Timedelta
        Of the series.
    depths : list of float
        Depths of observations, cm.
    observed : tuple of str
        Observed series.
    seed : int
        Of the hybrid, added to those of networks.
    grids : dict of str to Grid
        Grid of each series of cells.
    """

    units: dict[str, str]
    step: pd.Timedelta
    depths: list[float]
    observed: tuple[str, ...] = ()
    seed: int = 0
    grids: dict[str, Grid] = field(default_factory=dict)


class Stage(Recorded, nn.Module):
    """Reads series by name and adds series by name. A subclass sets the attributes that it needs, and defines `forward`.

    Attributes
    ----------
    reads, gives : tuple of str
        Series.
    needs : tuple of str
        Attributes of the sites.
    learns : dict of str to Bounds
        Parameters that a network gives, in this order.
    begin : dict of str to float
        Where they begin before training; the middle of the bounds by default.
    places : dict of str to (str, float, float)
        Attribute, factor and offset from which they begin in each site, in place of `begin`.
    layers : dict of str to tuple of float
        Parameters that each soil layer has for itself, with the middle of the layers, cm.
    """

    reads: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    learns: dict[str, Bounds] = {}
    begin: dict[str, float] = {}
    places: dict[str, tuple[str, float, float]] = {}
    layers: dict[str, tuple[float, ...]] = {}

    def fit(self, training: Training) -> Facts:
        """Return what this stage keeps of the sites trained on, in plain types; it is saved with the hybrid."""
        return {}

    def build(self, facts: Facts, known: Known, dtype: torch.dtype) -> None:
        """Make what depends on the sites trained on, from what `fit` returned."""

    def bind(self, known: Known) -> dict[str, str]:
        """Check the units of what is read, and return those of what is given: by default that of the series of this name."""
        return {name: known.units[name] for name in self.gives if name in known.units}

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return the series that this stage adds.

        Parameters
        ----------
        series : Series
            All that the data and earlier stages give.
        parameters : mapping of str to Tensor, [batch], [batch, time] or [batch, layer]
            Those of all stages.
        batch : Batch
        """
        raise ParameterError(f"{type(self).__name__} lacks `forward`: define it.")

    def extra_repr(self) -> str:
        """Return what `print` shows."""
        parts = [f"{what} {', '.join(names)}" for what, names in self.summary() if names]
        return "; ".join(parts)

    def summary(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return in words what this stage reads, gives and learns."""
        learned = tuple(f"{k} [{b.lower:g}, {b.upper:g}]" for k, b in self.learns.items())
        return [("reads", self.reads), ("gives", self.gives), ("learns", learned)]


def in_time(values: Tensor, like: Tensor) -> Tensor:
    """Return a parameter [batch] or [batch, time] so that it multiplies series [batch, time]."""
    return values if values.ndim == like.ndim else values[:, None]


def factor_between(name: str, unit: str | None, wanted: str, who: str) -> tuple[float, float]:
    """Return factor and offset that bring a series into the unit that a stage wants.

    Raises
    ------
    UnitError
        The units are not of one kind.
    """
    if unit is None:  # files of one's own may have none
        return 1.0, 0.0
    found = conversion(unit, wanted)
    if found is None:
        raise UnitError(
            f"{who} reads {name!r} in {wanted!r}, and it is given in {unit!r}, which does not convert; correct its unit."
        )
    return found


def converted(values: Tensor, factor: tuple[float, float]) -> Tensor:
    """Return values times a factor plus an offset; the very values where these are 1 and 0."""
    scale, offset = factor
    values = values if scale == 1.0 else values * scale
    return values if offset == 0.0 else values + offset
