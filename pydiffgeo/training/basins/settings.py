"""Settings of training on basins: data, models, losses, the optimiser, evaluation."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pydiffgeo.settings import Settings

# those of Kratzert et al. (2019, doi:10.5194/hess-23-5089-2019) without the share of carbonate rocks, mostly zero
ATTRIBUTES = (
    "elev_mean", "slope_mean", "area_gages2", "frac_forest", "lai_max", "lai_diff", "gvf_max", "gvf_diff",
    "soil_depth_pelletier", "soil_depth_statsgo", "soil_porosity", "soil_conductivity", "max_water_content", "sand_frac",
    "silt_frac", "clay_frac", "geol_permeability", "p_mean", "pet_mean", "p_seasonality", "aridity", "frac_snow",
    "high_prec_freq", "high_prec_dur", "low_prec_freq", "low_prec_dur",
)  # fmt: skip
FORCING = ("precipitation", "tair_min", "tair_max", "shortwave_down", "vapour_pressure")
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class Period(Settings):
    """First and last day."""

    start: date = Field(description="First day.")
    end: date = Field(description="Last day.")

    @model_validator(mode="after")
    def _in_order(self) -> Period:
        if self.end <= self.start:
            raise ValueError(
                f"the period ends on {self.end}, not after its start on {self.start}. Exchange or correct them."
            )
        return self


class DataSettings(Settings):
    """Records, what is read of them, and which basins and days are trained on and judged."""

    path: Path = Field(
        description="File or folder of basins; looked for here, then in $PYDIFFGEO_DATA."
    )
    format: str = Field("auto", description="Layout, where it is not recognised.")
    product: str | None = Field(
        None, description="Forcing product (CAMELS-US) or data set (Caravan)."
    )
    forcing: tuple[str, ...] = Field(
        FORCING, min_length=1, description="Series that networks read."
    )
    attributes: tuple[str, ...] = Field(ATTRIBUTES, description="Attributes that networks read.")
    targets: tuple[str, ...] = Field(("discharge",), min_length=1, description="Observed series.")
    pet: Literal["oudin", "hamon", "hargreaves", "priestley_taylor", "penman_monteith"] | None = (
        Field(
            "oudin",
            description="Potential evapotranspiration to compute; none where the records have it.",
        )
    )
    basins: tuple[str, ...] | Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Basins trained on: identifiers, or a number of them at random; all that are not held out.",
    )
    held_out: tuple[str, ...] | Annotated[int, Field(ge=0)] = Field(
        0, description="Basins only judged: identifiers, or a number of them at random."
    )
    split_seed: int = Field(
        0, ge=0, description="Seed of both choices; fewer basins are a part of more."
    )
    train: Period
    validation: Period | None = Field(
        None, description="Days that choose the epoch and stop a training early."
    )
    test: Period
    exclude: tuple[str, ...] = Field(
        (), description="Basins left out of everything: identifiers, in quotes."
    )
    missing: Literal["error", "skip"] = Field(
        "error", description="Basins that lack forcing, attributes or observations: an error, or left out and listed; in "
        "training, windows keep clear of days without forcing."
    )  # fmt: skip
    impossible: Literal["error", "missing"] = Field(
        "error",
        description="Values that nature does not allow, such as a discharge of -999: an error, or missing.",
    )
    memory: float = Field(
        4.0, gt=0.0, description="Series kept in memory (GiB); what does not fit is read as needed."
    )

    @model_validator(mode="after")
    def _apart(self) -> DataSettings:
        if (
            self.validation
            and self.validation.start <= self.train.end
            and self.train.start <= self.validation.end
        ):
            raise ValueError(
                "the validation period shares days with the training period; end one before the other."
            )
        if self.test.start <= self.train.end and self.train.start <= self.test.end:
            raise ValueError(
                "the test period shares days with the training period; end one before the other."
            )
        return self


class LSTMSettings(Settings):
    """A pure LSTM from forcing and attributes to the targets."""

    hidden: int = Field(64, ge=1, description="Size of the hidden state.")
    dropout: Share = Field(0.1, description="Before the output layer.")


class NetworkSettings(Settings):
    """The network of parameters."""

    kind: Literal["attributes", "series", "mixed"] = Field(
        "attributes",
        description="g_A: attributes; g_Z: series, too; mixed: g_Z for `varying`, g_A for the others.",
    )
    hidden: tuple[int, ...] = Field(
        (128, 128),
        min_length=1,
        description="Hidden layers of g_A; g_Z has the first; mixed: that of g_Z, then those of g_A.",
    )
    dropout: Share = Field(0.0, description="After hidden layers.")
    varying: tuple[str, ...] = Field(
        (), description="Parameters that differ from day to day (series)."
    )
    varying_dropout: Share = Field(
        0.0, description="Share of basins per batch whose varying parameters are held."
    )
    past_discharge: int | None = Field(
        None,
        ge=1,
        description="The network also reads discharge this many days before; not where it has no record.",
    )

    @model_validator(mode="after")
    def _series(self) -> NetworkSettings:
        if self.kind == "attributes" and (self.varying or self.past_discharge):
            raise ValueError(
                "varying parameters and past_discharge need `kind: series` or `mixed`."
            )
        if self.kind == "mixed" and not self.varying:
            raise ValueError(
                "`kind: mixed` is for varying parameters, and `varying` names none; take `kind: attributes`."
            )
        return self


class ClosureSettings(Settings):
    """A network in the place of a formula of the process model, or beside it; see docs/closures.md."""

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field((16,), description="Hidden layers.")
    activation: Literal["tanh", "sigmoid", "softplus", "swish"] = Field(
        "tanh", description="After each of them."
    )
    output_range: tuple[float, float] = Field(
        (0.0, 1.0), description="Bounds of the output, within those of the slot."
    )
    monotone_in: tuple[int, ...] = Field(
        (), description="Numbers of the inputs, from 0, in which the output rises."
    )
    residual: bool = Field(False, description="Beside the formula, not in its place.")
    initial: Literal["formula", "random"] = Field(
        "formula",
        description="Whether training begins with the formula, at its default parameters, or with random weights.",
    )
    seed: int = Field(0, ge=0, description="Of the first weights.")

    @model_validator(mode="after")
    def _beside(self) -> ClosureSettings:
        if self.residual and self.initial == "random":
            raise ValueError(
                "a closure with `residual: true` begins as its formula; leave `initial: random` out."
            )
        return self


class ProcessSettings(Settings):
    """The process model and how it is solved."""

    solver: str = Field(
        "implicit_euler", description="A method of the engine, or explicit_loop (HBV only)."
    )
    step: float | None = Field(
        1.0, gt=0.0, description="Fixed step (days); none for adaptive ones."
    )
    engine: Literal["auto", "torch", "julia"] = Field("auto", description="Engine.")
    dtype: Literal["float32", "float64"] = Field("float64", description="Of the solver.")
    components: int = Field(
        1, ge=1, le=64, description="Parallel models per basin, whose mean is the basin's."
    )
    routing: bool = Field(True, description="Gamma unit hydrograph of its own for each basin.")
    correct_precipitation: bool = Field(False, description="Learn a factor of precipitation, too.")
    bounds: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="Bounds that replace those of the specification."
    )
    outputs: dict[str, str] = Field(
        default_factory=dict, description="Flux or state of each target, where it has another name."
    )
    closures: dict[str, ClosureSettings] = Field(
        default_factory=dict, description="Networks in the equations, by slot."
    )


class ModelSettings(Settings):
    """What is trained."""

    name: str = Field("lstm", description="lstm, or a process model: hbv, exp_hydro.")
    lstm: LSTMSettings = LSTMSettings()  # type: ignore[call-arg]
    network: NetworkSettings = NetworkSettings()  # type: ignore[call-arg]
    process: ProcessSettings = ProcessSettings()  # type: ignore[call-arg]

    @model_validator(mode="after")
    def _closures(self) -> ModelSettings:
        if self.process.closures and self.name == "lstm":
            raise ValueError(
                "process.closures: a pure LSTM has no equations to put networks in; name a process model."
            )
        if self.process.closures and self.process.solver == "explicit_loop":
            raise ValueError(
                "process.closures: the explicit loop has formulas alone; take another process.solver."
            )
        return self


class TermSettings(Settings):
    """One part of the loss."""

    loss: Literal["mse", "rmse", "log_rmse", "nse", "kge"] = Field("nse", description="Kind.")
    target: str = Field("discharge", description="Observed series.")
    weight: float = Field(1.0, gt=0.0, description="Factor.")


class OptimiserSettings(Settings):
    """The optimiser and its budget."""

    epochs: int = Field(30, ge=1, description="Epochs.")
    steps_per_epoch: int | None = Field(
        None, ge=1, description="Batches; by default as many days as the basins have."
    )
    batch_size: int = Field(256, ge=1, description="Windows per step, over all processes.")
    window: int = Field(730, ge=2, description="Days of a window, with the warm-up.")
    warm_up: int = Field(365, ge=0, description="First days of it that the loss does not count.")
    warm_up_gradient: bool = Field(
        True, description="Whether gradients of LSTMs flow back through the warm-up."
    )
    learning_rate: float = Field(3e-3, gt=0.0, le=1.0, description="Adam's step at its highest.")
    final_rate: float = Field(
        0.03, gt=0.0, le=1.0, description="Share of it at the end of a cosine."
    )
    weight_decay: float = Field(0.0, ge=0.0, le=1.0, description="Decoupled weight decay (AdamW).")
    gradient_clip: float = Field(1.0, gt=0.0, description="Largest norm of the gradient.")
    patience: int | None = Field(
        None, ge=1, description="Epochs without a better validation NSE before stopping."
    )
    seed: int = Field(0, ge=0, description="Of weights, batches and dropout.")
    dtype: Literal["float32", "float64"] = Field("float32", description="Of networks.")
    threads: int = Field(1, ge=1, description="Threads of each process.")
    checkpoint_every: int | None = Field(
        None, ge=1, description="Steps between checkpoints; by default each epoch."
    )

    @model_validator(mode="after")
    def _window(self) -> OptimiserSettings:
        if self.window <= self.warm_up:
            raise ValueError(
                f"windows of {self.window} days have no day after a warm-up of {self.warm_up}. Take longer ones."
            )
        return self


class EvaluationSettings(Settings):
    """How a trained model is judged."""

    warm_up: int = Field(365, ge=0, description="Days simulated before the first judged one.")
    batch_size: int = Field(128, ge=1, description="Basins simulated at a time.")
    mapped: str | None = Field(
        None, description="Parameter, attribute or measure on the map; the NSE by default."
    )


class RunSettings(Settings):
    """One model and its training."""

    model: ModelSettings = ModelSettings()  # type: ignore[call-arg]
    loss: tuple[TermSettings, ...] = Field((TermSettings(),), min_length=1)  # type: ignore[call-arg]
    training: OptimiserSettings = OptimiserSettings()  # type: ignore[call-arg]


class BasinRun(RunSettings):
    """All settings of one run, as they are kept in its folder."""

    data: DataSettings
    evaluation: EvaluationSettings = EvaluationSettings()  # type: ignore[call-arg]

    @model_validator(mode="after")
    def _together(self) -> BasinRun:
        for term in self.loss:
            if term.target not in self.data.targets:
                raise ValueError(
                    f"the loss is on {term.target!r}, which is not among data.targets. Add it there."
                )
        if self.training.patience and not self.data.validation:
            raise ValueError(
                "training.patience needs data.validation, by which it stops a training. Give it start and end."
            )
        return self


class BasinExperiment(Settings):
    """Models trained on the same basins and days, and compared."""

    data: DataSettings
    evaluation: EvaluationSettings = EvaluationSettings()  # type: ignore[call-arg]
    runs: dict[str, RunSettings] = Field(min_length=1, description="Models by name.")
    device: Literal["cpu", "cuda"] = Field(
        "cpu", description="Where each process trains; cuda needs a GPU for each."
    )

    @field_validator("runs")
    @classmethod
    def _names(cls, runs: dict[str, RunSettings]) -> dict[str, RunSettings]:
        for name in runs:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
                raise ValueError(
                    f"{name!r} cannot be the name of a folder; take letters, digits, _ and -."
                )
        return runs

    @model_validator(mode="after")
    def _each(self) -> BasinExperiment:
        for name in self.runs:
            self.run(name)
        return self

    def run(self, name: str) -> BasinRun:
        """Return all settings of one run."""
        return BasinRun(data=self.data, evaluation=self.evaluation, **dict(self.runs[name]))
