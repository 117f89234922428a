"""Settings of the soil-moisture experiment."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pydiffgeo.data import PET_METHODS, GapSettings
from pydiffgeo.models.soil_hydraulics.usda import USDA_SOILS
from pydiffgeo.settings import Settings


class PeriodSettings(Settings):
    """What is trained on, what chooses the epoch, and what is judged."""

    train_start: date = Field(
        date(2020, 1, 1), description="First day of training, and of every simulation."
    )
    train_end: date = Field(date(2020, 8, 31), description="Last day of training.")
    test_start: date = Field(date(2020, 9, 1), description="First day judged.")
    test_end: date = Field(date(2020, 12, 31), description="Last day judged.")
    warm_up_days: int = Field(
        15, ge=0, le=365, description="First days of training left out of the loss (days)."
    )
    validation_days: int = Field(
        45,
        ge=5,
        le=365,
        description="Last days of training that choose the epoch and are not fitted (days).",
    )

    @model_validator(mode="after")
    def _in_order(self) -> PeriodSettings:
        if not self.train_start < self.train_end < self.test_start < self.test_end:
            raise ValueError(
                "train_start, train_end, test_start, test_end must follow each other. Put them in order."
            )
        if (
            self.train_end - self.train_start
        ).days <= self.warm_up_days + self.validation_days + 10:
            raise ValueError(
                "the training period is too short for warm_up_days and validation_days. Shorten them."
            )
        return self


class ColumnSettings(Settings):
    """The soil column: grid, layers, what happens at its ends."""

    depth: float = Field(200.0, ge=150.0, le=1000.0, description="Depth of the column (cm).")
    cells: int = Field(20, ge=10, le=500, description="Number of cells.")
    top_cell: float = Field(
        2.5, gt=0.0, le=20.0, description="Thickness of the uppermost cell (cm)."
    )
    layers: tuple[float, ...] = Field(
        (0.0, 7.5, 15.0, 35.0, 75.0),
        description="Depth at which each soil layer begins (cm); the first is 0. The default gives each "
        "USCRN probe depth a layer of its own.",
    )
    entry_width: float = Field(
        1.0,
        gt=0.0,
        le=10.0,
        description="Suction (cm) below which the conductivity of van Genuchten's curve, infinitely steep at "
        "saturation, is bent to reach K_s smoothly.",
    )
    bottom: Literal["free_drainage", "seepage_face"] = Field(
        "free_drainage", description="Lower boundary."
    )
    face_mean: Literal["arithmetic", "geometric", "harmonic", "upstream"] = Field(
        "arithmetic", description="Mean of the conductivities at a face."
    )
    root_profile: Literal["exponential", "uniform", "linear"] = Field(
        "exponential", description="Root density."
    )
    default_class: str = Field(
        "loam", description="USDA class of the untrained columns and of a network's start."
    )
    candidate_classes: tuple[str, ...] = Field(
        tuple(USDA_SOILS),
        min_length=1,
        description="USDA classes among which the baseline 'best class' takes that of lowest training RMSE per station.",
    )
    snow_threshold: float = Field(
        0.0, ge=-5.0, le=5.0, description="Snow falls at or below this (degC)."
    )
    snow_factor: float = Field(
        3.0, gt=0.0, le=20.0, description="Snow melt per degree-day (mm degC-1 day-1)."
    )
    pet_method: Literal["priestley_taylor", "penman_monteith", "turc", "hargreaves", "oudin"] = (
        Field(
            "priestley_taylor",
            description=f"Potential evapotranspiration: {', '.join(PET_METHODS)}.",
        )
    )
    initial: Literal["profile", "head"] = Field(
        "profile",
        description="Initial state: the first observed profile, or `initial_head` everywhere.",
    )
    initial_head: float = Field(
        -330.0, ge=-15000.0, lt=0.0, description="Initial pressure head (cm)."
    )


class SolverSettings(Settings):
    """How the columns are solved."""

    method: Literal["implicit_euler", "sdirk2", "trbdf2", "kvaerno3"] = Field(
        "implicit_euler", description="Method."
    )
    rtol: float = Field(0.1, gt=0.0, le=0.1, description="Relative tolerance of a step.")
    max_steps: int = Field(
        5000, ge=100, description="Steps of a column before it counts as failed."
    )
    engine: Literal["auto", "torch", "julia"] = Field("torch", description="Engine.")
    max_failed: float = Field(
        0.1,
        ge=0.0,
        le=1.0,
        description="Share of failed columns above which training stops with an error.",
    )


class TrainingSettings(Settings):
    """One training: the optimiser and its budget."""

    epochs: int = Field(
        100, ge=1, le=100000, description="Epochs; each is one step on all stations and days."
    )
    learning_rate: float = Field(0.02, gt=0.0, le=1.0, description="Adam's step at the start.")
    final_rate: float = Field(
        0.1, gt=0.0, le=1.0, description="Share of it at the end of a cosine decay."
    )
    gradient_clip: float = Field(1.0, gt=0.0, description="Largest norm of a network's gradient.")
    weight_decay: float = Field(0.0, ge=0.0, le=1.0, description="Decoupled weight decay (AdamW).")
    bias_weight: float = Field(
        1.0, ge=0.0, description="Weight of the squared mean error of a series."
    )
    anomaly_weight: float = Field(
        1.0, ge=0.0, description="Weight of the variance of the error of a series."
    )


class NetworkSettings(TrainingSettings):
    """The network from a station's record summary to soil parameters, and its training."""

    hidden: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(
        (32, 32), description="Hidden layers."
    )


class LSTMSettings(TrainingSettings):
    """The LSTM baseline and its training."""

    epochs: int = Field(
        300, ge=1, le=100000, description="Epochs; each is one step on all stations and days."
    )
    learning_rate: float = Field(5e-3, gt=0.0, le=1.0, description="Adam's step at the start.")
    hidden: int = Field(64, ge=1, le=1024, description="Hidden state.")
    dropout: float = Field(
        0.2, ge=0.0, lt=1.0, description="Share of the hidden state dropped before the output."
    )


class SoilMoistureSettings(Settings):
    """Train Richards columns end to end on soil-moisture profiles, and compare them with baselines."""

    data: Path | None = Field(
        None,
        description="USCRN profile file (netCDF); without it $PYDIFFGEO_DATA, then ../shared/data is "
        "searched.",
    )
    source: Literal["auto", "file", "synthetic"] = Field(
        "auto",
        description="Records: the file, a synthetic truth with noise, or the file where there is one.",
    )
    stations: tuple[str, ...] | Annotated[int, Field(ge=2)] | None = Field(
        None,
        description="Stations of the file: WBAN numbers, or a number of stations spread over it; all by "
        "default.",
    )
    exclude: tuple[str, ...] = Field(
        (), description="Stations left out of everything: WBAN numbers, in quotes."
    )
    missing: Literal["error", "skip"] = Field(
        "error",
        description="Stations with a gap that may not be filled, or with too few observations: an error, or left out.",
    )
    impossible: Literal["error", "missing"] = Field(
        "error",
        description="Values that nature does not allow, such as a soil moisture of 25: an error, or missing.",
    )
    synthetic_stations: int = Field(5, ge=2, le=100, description="Number of synthetic stations.")
    synthetic_seed: int = Field(1, ge=0, description="Seed of the synthetic truth and its noise.")
    period: PeriodSettings = PeriodSettings()  # type: ignore[call-arg]
    gaps: GapSettings = GapSettings()  # type: ignore[call-arg]
    column: ColumnSettings = ColumnSettings()  # type: ignore[call-arg]
    bounds: dict[str, tuple[float, float]] = Field(
        default_factory=dict,
        description="Bounds (lower, upper) that replace the defaults of trained parameters: theta_r, "
        "theta_s (1), alpha (1/cm), n (1), K_s (cm/h), cover, crop_coefficient (1), root_depth "
        "(cm).",
    )
    solver: SolverSettings = SolverSettings()  # type: ignore[call-arg]
    summary: Literal["climate", "climate_and_moisture"] = Field(
        "climate_and_moisture",
        description="What the networks know of a station: statistics of the weather of the fitted period, "
        "or also quantiles of its soil moisture per depth.",
    )
    network: NetworkSettings = NetworkSettings()  # type: ignore[call-arg]
    lstm: LSTMSettings = LSTMSettings()  # type: ignore[call-arg]
    seeds: tuple[int, ...] = Field(
        (0, 1, 2), min_length=1, description="One network each; predictions are averaged."
    )
    leave_one_out: bool = Field(
        True,
        description="Also train without each station in turn and judge there; the networks still get its record "
        "summary, and the columns its first profile.",
    )
    leave_one_out_epochs: int | None = Field(
        None,
        ge=1,
        description="Epochs of the Richards columns in it; those of `network` by default.",
    )
    checkpoint_every: int = Field(10, ge=1, description="Epochs between checkpoints.")
    figures: bool = Field(True, description="Draw figures (needs matplotlib: the extra `plot`).")
