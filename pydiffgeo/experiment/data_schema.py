"""Settings of data: records, and which sites and days are trained on and judged."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from pydiffgeo.data import GapRules
from pydiffgeo.errors import SettingsError
from pydiffgeo.experiment.signatures import section_of
from pydiffgeo.settings import Settings

Names = tuple[str, ...]
Values = dict[str, Any]  # attributes and the value or values that they must have


class Described(Settings):
    """Settings whose descriptions stand below the keys."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Period(Described):
    """First and last day; of records in hours, the steps that lie in these days."""

    start: date
    """First day."""
    end: date
    """Last day."""

    @model_validator(mode="after")
    def _in_order(self) -> Period:
        if self.end <= self.start:
            raise SettingsError(
                f"the period ends on {self.end}, not after its start on {self.start}. Exchange or "
                "correct them.",
                ("end",),
            )
        return self

    @property
    def days(self) -> tuple[str, str]:
        """First and last day as text."""
        return self.start.isoformat(), self.end.isoformat()

    def overlaps(self, other: Period) -> bool:
        """Return whether both have a day in common."""
        return self.start <= other.end and other.start <= self.end


def days_of(period: Period | None) -> tuple[str | None, str | None]:
    """Return first and last day as text; None of records of points, which have no days."""
    return (None, None) if period is None else period.days


class SyntheticSettings(Described):
    """Sites with a known truth: the hybrid's own stages with parameters drawn at random."""

    sites: Annotated[int, Field(ge=2, le=1000)] = 6
    """Number of sites."""
    seed: Annotated[int, Field(ge=0)] = 1
    """Of weather, parameters and noise."""
    noise: Annotated[float, Field(ge=0.0)] = 0.05
    """Noise of observations, as share of their spread."""
    hours: Annotated[float, Field(gt=0.0, le=12.0)] | None = None
    """Length of a step, of weather as flux towers measure it; days by default."""


GapSection = section_of(GapRules, {})


class DataSettings(Described):
    """Records, what is read of them, and which sites and days are trained on and judged."""

    path: Path | None = None
    """File or folder of records; looked for here, then in $PYDIFFGEO_DATA; none: a synthetic
    truth."""
    layout: str = "auto"
    """Layout of the files, where it is not recognised: a name, or a function of one's own,
    'module:function'."""
    product: str | None = None
    """Forcing product (CAMELS-US) or data set (Caravan)."""
    names: dict[str, str] = {}
    """Names of the package by names in the files."""
    units: dict[str, str] = {}
    """Units of variables whose files say none."""
    zone: str | None = None
    """Time zone of times that state none, such as America/Denver."""
    stamps: Literal["end", "start"] = "end"
    """Which end of its step a time in the files is."""
    options: dict[str, Any] = {}
    """Options of the layout, such as inflow: qlat.nc and least_slope: 0.0001 of river."""
    derive: dict[str, str | dict[str, Any]] = {}
    """What is computed from the records: a method by name, such as potential_evapotranspiration:
    oudin."""
    join: dict[str, Path | dict[str, Any]] = {}
    """Further forcing products of the same sites, by the ending of their names: a file, or path,
    layout, product, names, units, zone, stamps and options of one: era5: era5land_us.nc gives
    precipitation_era5."""
    append: dict[str, Path | dict[str, Any]] = {}
    """More sites, such as stations after the cells of a satellite, by the name that is their
    attribute source (that of the sites of path is data): a file, or path, shift (whole years added
    to its dates), layout, product, names, units, zone, stamps and options of one. evaluate and
    predict with --data take that file alone."""
    forcing: Names | None = None
    """Series that networks read; by default all that are not observed."""
    attributes: Names | None = None
    """Attributes that networks read; by default all that are numbers."""
    observed: Annotated[Names, Field(min_length=1)] = ("discharge",)
    """Observed series."""
    select: Values = {}
    """Attributes, and the values of those sites that are used at all, such as pathway: C3."""
    sites: Names | Annotated[int, Field(ge=1)] | Values | None = None
    """Sites trained on: identifiers, a number of them at random, or values of attributes, such as
    {split: train}; all that are not held out."""
    held_out: Names | Annotated[int, Field(ge=0)] | Values = 0
    """Sites only judged: identifiers, a number of them at random, or values of attributes."""
    validation_sites: Names | Annotated[int, Field(ge=0)] | Values = 0
    """Of records of points: sites that choose the epoch and are not trained on."""
    split_by: Names = ()
    """Attributes of text, such as [genus, species]: sites that share them are in one part alone,
    and sites, held_out and validation_sites speak of such groups."""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """Of both choices; fewer sites are a part of more."""
    exclude: Names = ()
    """Sites left out of everything: identifiers, in quotes."""
    train: Period | None = None
    """Days trained on; none of records of points, whose sites are parted in place of days."""
    validation: Period | None = None
    """Days that choose the epoch and stop a training early: before or after those of training,
    or its last ones, which a twin of each seed is then trained without."""
    test: Period | None = None
    """Days judged; none of records of points."""
    missing: Literal["error", "skip"] = "error"
    """Sites that lack forcing, attributes or observations: an error, or left out and listed; in
    training, windows keep clear of days without forcing."""
    impossible: Literal["error", "missing"] = "error"
    """Values that nature does not allow, such as a discharge of -999: an error, or missing."""
    gaps: GapSection | None = None  # type: ignore[valid-type]
    """How gaps of forcing are filled; they are not by default."""
    memory: Annotated[float, Field(gt=0.0)] = 4.0
    """Series kept in memory (GiB); what does not fit is read as needed."""
    synthetic: SyntheticSettings = SyntheticSettings()

    @model_validator(mode="after")
    def _apart(self) -> DataSettings:
        t = self.train
        if t is None or self.test is None:
            lost = "train" if t is None else "test"
            if (t is None) != (self.test is None) or self.validation is not None:
                raise SettingsError(
                    f"data.{lost} is missing. Give it start and end; of records of points leave "
                    "train, validation and test out.",
                    (lost,),
                )
            return self
        if self.validation_sites:
            raise SettingsError(
                "it is for records of points alone. Give data.validation, a period, in its place.",
                ("validation_sites",),
            )
        apart = f"shares days with data.train, {t.start} to {t.end}. End one before the other"
        if self.validation and self.validation.overlaps(t) and not self.held_days:
            raise SettingsError(f"it {apart}, or let both end on the same day.", ("validation",))
        if self.test.overlaps(t):
            raise SettingsError(f"it {apart}.", ("test",))
        return self

    @property
    def held_days(self) -> bool:
        """Whether the validation period is the last part of the training period."""
        v, t = self.validation, self.train
        return v is not None and t is not None and t.start < v.start and v.end == t.end

    @property
    def points(self) -> bool:
        """Whether the records are of points, which have no days."""
        return self.train is None
