"""Settings of data: records, and which sites and days are trained on and judged."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pydiffgeo.data import GapRules
from pydiffgeo.experiment.signatures import section_of
from pydiffgeo.settings import Settings

Names = tuple[str, ...]


class Period(Settings):
    """First and last day."""

    start: date = Field(description="First day.")
    end: date = Field(description="Last day.")

    @model_validator(mode="after")
    def _in_order(self) -> Period:
        if self.end <= self.start:
            raise ValueError(
                f"the period ends on {self.end}, not after its start on {self.start}. Exchange or "
                "correct them."
            )
        return self

    @property
    def days(self) -> tuple[str, str]:
        """First and last day as text."""
        return self.start.isoformat(), self.end.isoformat()

    def overlaps(self, other: Period) -> bool:
        """Return whether both have a day in common."""
        return self.start <= other.end and other.start <= self.end


class SyntheticSettings(Settings):
    """Sites with a known truth: the hybrid's own stages with parameters drawn at random."""

    sites: int = Field(6, ge=2, le=1000, description="Number of sites.")
    seed: int = Field(1, ge=0, description="Of weather, parameters and noise.")
    noise: float = Field(
        0.05, ge=0.0, description="Noise of observations, as share of their spread."
    )


GapSection = section_of(GapRules, {})


class DataSettings(Settings):
    """Records, what is read of them, and which sites and days are trained on and judged."""

    path: Path | None = Field(
        None,
        description="File or folder of records; looked for here, then in $PYDIFFGEO_DATA; none: a "
        "synthetic truth.",
    )
    layout: str = Field(
        "auto",
        description="Layout of the files, where it is not recognised: a name, or a function of "
        "one's own, 'module:function'.",
    )
    product: str | None = Field(
        None, description="Forcing product (CAMELS-US) or data set (Caravan)."
    )
    names: dict[str, str] = Field({}, description="Names of the package by names in the files.")
    units: dict[str, str] = Field({}, description="Units of variables whose files say none.")
    zone: str | None = Field(
        None, description="Time zone of times that state none, such as America/Denver."
    )
    stamps: Literal["end", "start"] = Field(
        "end", description="Which end of its step a time in the files is."
    )
    derive: dict[str, str | dict[str, Any]] = Field(
        {},
        description="What is computed from the records: a method by name, such as "
        "potential_evapotranspiration: oudin.",
    )
    forcing: Names | None = Field(
        None, description="Series that networks read; by default all that are not observed."
    )
    attributes: Names | None = Field(
        None, description="Attributes that networks read; by default all that are numbers."
    )
    observed: Names = Field(("discharge",), min_length=1, description="Observed series.")
    sites: Names | Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Sites trained on: identifiers, or a number of them at random; all that are "
        "not held out.",
    )
    held_out: Names | Annotated[int, Field(ge=0)] = Field(
        0, description="Sites only judged: identifiers, or a number of them at random."
    )
    split_seed: int = Field(0, ge=0, description="Of both choices; fewer sites are a part of more.")
    exclude: Names = Field((), description="Sites left out of everything: identifiers, in quotes.")
    train: Period
    validation: Period | None = Field(
        None,
        description="Days that choose the epoch and stop a training early: before or after those "
        "of training, or its last ones, which a twin of each seed is then trained "
        "without.",
    )
    test: Period
    missing: Literal["error", "skip"] = Field(
        "error",
        description="Sites that lack forcing, attributes or observations: an error, or left out "
        "and listed; in training, windows keep clear of days without forcing.",
    )
    impossible: Literal["error", "missing"] = Field(
        "error",
        description="Values that nature does not allow, such as a discharge of -999: an error, or "
        "missing.",
    )
    gaps: GapSection | None = Field(  # type: ignore[valid-type]
        None, description="How gaps of forcing are filled; they are not by default."
    )
    memory: float = Field(
        4.0, gt=0.0, description="Series kept in memory (GiB); what does not fit is read as needed."
    )
    synthetic: SyntheticSettings = SyntheticSettings()  # type: ignore[call-arg]

    @model_validator(mode="after")
    def _apart(self) -> DataSettings:
        if self.validation and self.validation.overlaps(self.train) and not self.held_days:
            raise ValueError(
                "the validation period shares days with the training period; end one before the "
                "other, or let both end on the same day."
            )
        if self.test.overlaps(self.train):
            raise ValueError(
                "the test period shares days with the training period; end one before the other."
            )
        return self

    @property
    def held_days(self) -> bool:
        """Whether the validation period is the last part of the training period."""
        v, t = self.validation, self.train
        return v is not None and t.start < v.start and v.end == t.end
