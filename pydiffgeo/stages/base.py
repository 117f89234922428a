"""The contract of stages, and the series that they add."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import pandas as pd
import torch
from torch import Tensor, nn

from pydiffgeo.data.batch import Batch
from pydiffgeo.data.windows import Windows
from pydiffgeo.errors import DataError, ParameterError, lookup
from pydiffgeo.models.richards.grid import Grid
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.networks.reading import Facts
from pydiffgeo.recorded import Recorded
from pydiffgeo.units import conversion

Named = Mapping[str, Tensor]
Range = tuple[float, float]
Module = TypeVar("Module", bound=nn.Module)


class Series(dict[str, Tensor]):
    """Series by name, [batch, time] or [batch, time, cell or depth].

    `failed` are the rows of the batch whose solve failed, with site, dates and reason; their values
    are NaN.
    """

    def __init__(self, series: Named | None = None, failed: dict[int, str] | None = None):
        super().__init__(series or {})
        self.failed = dict(failed or {})

    def filled(self, value: float, names: Iterable[str]) -> Series:
        """Return these series with a number in the rows that failed of some of them."""
        if not self.failed:
            return self
        found = dict(self)
        for name in (name for name in names if name in self):
            bad = torch.zeros(len(self[name]), dtype=torch.bool, device=self[name].device)
            bad[list(self.failed)] = True
            shape = (-1, *(1,) * (self[name].ndim - 1))
            found[name] = torch.where(bad.view(shape), value, self[name])
        return Series(found, self.failed)

    def added(self, other: Named) -> Series:
        """Return these series and others, which take the place of those of the same name.

        Rows that failed are zero for what reads them: NaN would be the gradient of its parameters.
        """
        failed: dict[int, str] = getattr(other, "failed", {})
        return Series({**self, **Series(other, failed).filled(0.0, other)}, self.failed | failed)


@dataclass
class Known:
    """What is known of the series when a hybrid is prepared; stages add to it one after another."""

    units: dict[str, str]  # of each series and attribute that states one
    step: pd.Timedelta  # zero for points without dates
    depths: list[float]  # of observations, cm
    observed: tuple[str, ...] = ()
    seed: int = 0  # of the hybrid, added to those of networks
    grids: dict[str, Grid] = field(default_factory=dict)  # of each series of cells
    wrong: list[str] = field(default_factory=list)  # units that do not convert, in words

    def unit_of(self, name: str, gives: tuple[str, ...]) -> dict[str, str]:
        """Return the unit of a series, if it states one, for others."""
        return dict.fromkeys(gives, self.units[name]) if name in self.units else {}

    def length(self, unit: str = "d") -> float:
        """Return the length of a step in a unit of time; points are one unit each."""
        return self.step / pd.Timedelta(1, unit) or 1.0  # type: ignore[call-overload]

    def factor(self, name: str, wanted: str, who: str) -> tuple[float, float]:
        """Return factor and offset that bring a series into the unit that a stage wants.

        Where there are none it is noted in `wrong`: the hybrid then names all of these at once.
        """
        unit = self.units.get(name, wanted)  # files of one's own may state none
        found = conversion(unit, wanted)
        if found is None:
            self.wrong.append(f"{who} reads {name!r} in {wanted!r}, and it is given in {unit!r}")
        return found or (1.0, 0.0)


class Stage(Recorded, nn.Module):
    """Reads series by name and adds series by name.

    A subclass sets the attributes that it needs, and defines `forward`.
    """

    reads: tuple[str, ...] = ()  # series
    gives: tuple[str, ...] = ()  # series
    optional: tuple[str, ...] = ()  # of the series read: those that may be missing on some steps
    needs: tuple[str, ...] = ()  # attributes of the sites
    learns: dict[str, Bounds] = {}  # parameters that a network gives, in this order
    begin: dict[str, float] = {}  # where they begin, by default in the middle of the bounds
    places: dict[str, tuple[str, float, float]] = {}  # or attribute, factor and offset for it
    layers: dict[str, tuple[float, ...]] = {}  # middles of layers (cm) of parameters that have them
    whole_rivers = False  # whether a batch must hold all sites above each of its sites
    whole_cells = False  # whether it must hold all sites of the cell of each
    remembers = True  # whether a step may depend on steps before it

    @property
    def who(self) -> str:
        """Name of the stage in messages."""
        return type(self).__name__

    @property
    def takes(self) -> tuple[str, ...]:
        """What is read of the sites, in words for `print(hybrid)`."""
        return self.needs

    def fit(self, windows: Windows) -> Facts:
        """Return what this stage keeps of the sites trained on, in plain types.

        It is saved with the hybrid.
        """
        return {}

    def build(self, facts: Facts, known: Known, dtype: torch.dtype) -> None:
        """Make what depends on the sites trained on, from what `fit` returned."""

    def bind(self, known: Known) -> dict[str, str]:
        """Check the units of what is read, and return those of what is given.

        By default those of the series of this name.
        """
        return {}

    def forward(self, series: Series, parameters: Named, batch: Batch) -> Named:
        """Return the series that this stage adds to all that the data and earlier stages give.

        The parameters are those of all stages, [batch], [batch, time] or [batch, layer].
        """
        raise ParameterError(f"{type(self).__name__} lacks `forward`: define it.")


def with_bounds(
    known: Mapping[str, Bounds], given: Mapping[str, Range] | None
) -> dict[str, Bounds]:
    """Return bounds with those that are given in their place, on the same scale."""
    found = dict(known)
    for name, (low, high) in (given or {}).items():
        own = lookup(known, name, "learned parameter")
        try:
            found[name] = replace(own, lower=low, upper=high)
        except ParameterError as error:
            raise ParameterError(f"bounds of {name!r}: {error}") from error
    return found


def nearest_inside(values: Mapping[str, float], bounds: Mapping[str, Bounds]) -> dict[str, float]:
    """Return where each parameter begins: its value, or the bound that is nearest to it."""
    return {k: min(max(float(values[k]), b.lower), b.upper) for k, b in bounds.items()}


def stages_of(hybrid: nn.Module, kind: type[Module]) -> list[Module]:
    """Return the stages of one kind of a hybrid, those inside of other stages, too."""
    return [stage for stage in hybrid.modules() if isinstance(stage, kind)]


@contextmanager
def naming_sites(batch: Batch) -> Iterator[None]:
    """Let errors in what a solve is given name the site and dates in place of the column."""
    try:
        yield
    except (ParameterError, DataError) as error:
        found = re.search(r"at column (\d+)", str(error))
        if found is None or int(found[1]) >= len(batch):
            raise
        where = f"at {batch.where(int(found[1]))}"
        raise type(error)(str(error).replace(found[0], where)) from error


def in_time(values: Tensor, like: Tensor) -> Tensor:
    """Return a parameter [batch] or [batch, time] so that it multiplies series [batch, time]."""
    return values if values.ndim == like.ndim else values[:, None]


def converted(values: Tensor, factor: tuple[float, float]) -> Tensor:
    """Return values times a factor plus an offset; the very values where these are 1 and 0."""
    scale, offset = factor
    values = values if scale == 1.0 else values * scale
    return values if offset == 0.0 else values + offset
