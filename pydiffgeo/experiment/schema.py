"""The one schema of experiments: data, hybrid, loss, training, evaluation, and runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    create_model,
    model_validator,
)
from torch import nn

from pydiffgeo.errors import SettingsError, nearest
from pydiffgeo.evaluation import evaluate
from pydiffgeo.experiment.data_schema import DataSettings, Names
from pydiffgeo.experiment.signatures import Family, Section, section_of, sections
from pydiffgeo.hybrid import Hybrid
from pydiffgeo.losses import LOSSES, Loss
from pydiffgeo.models import MODELS, ProcessModel
from pydiffgeo.models.closures import JuliaClosure, NeuralClosure
from pydiffgeo.models.julia_model import JuliaModel
from pydiffgeo.models.richards import Grid, Roots
from pydiffgeo.models.richards.hydraulics import HYDRAULICS, SoilHydraulics
from pydiffgeo.networks import NETWORKS
from pydiffgeo.recorded import class_of
from pydiffgeo.settings import Document, Location, Settings, complaint, problems
from pydiffgeo.solvers import Solver
from pydiffgeo.stages import STAGES, Stage
from pydiffgeo.training.trainer import Trainer

LAYOUT = ("data", "layout")  # names a function of one's own, not a class


def key(annotation: Any, default: Any, text: str, **limits: Any) -> tuple[Any, Any]:
    """Return the annotation and the field of a key that is no argument of a class."""
    return annotation, Field(default, description=text, **limits)


LENGTH = "Steps of a window after its warm-up; none: the whole period."
BATCH = "Windows of a step, over all processes; none: all sites."
FOLDS = "site: train a member without each site, which judges it."
CONFORMAL = "Intervals as wide as errors of the validation period were: see pydiffgeo.conformal."
TRAINING: dict[str, Any] = {
    "length": key(int | None, None, LENGTH, ge=1),
    "warm_up": key(int, 0, "First steps of a window that the loss does not count.", ge=0),
    "batch": key(int | None, None, BATCH, ge=1),
    "seeds": key(tuple[int, ...], (), "Train one member of an ensemble for each of these seeds."),
    "folds": key(Literal["site"] | None, None, FOLDS),
}
PANELS = dict[str, dict[str, Any]] | tuple[str, ...] | None
EVALUATION: dict[str, Any] = {
    "conformal": key(bool, False, CONFORMAL),
    "panels": key(PANELS, None, "Panels of the report, with their options; all by default."),
}


class RunBase(Settings):
    """All settings of one run, as they are kept in its folder."""

    data: DataSettings
    hybrid: Any
    loss: Any
    training: Any
    evaluation: Any
    device: Literal["cpu", "cuda"] = Field(
        "cpu", description="Where each process trains; cuda needs a GPU for each."
    )
    search: Names = Field((), description="Folders with own modules, Julia files and records.")

    @model_validator(mode="after")
    def _together(self) -> RunBase:
        for k, loss in enumerate(self.loss):
            observed = getattr(loss, "observed", None)
            if observed is not None and observed not in self.data.observed:
                known = self.data.observed
                raise SettingsError(
                    f"{observed!r} is not in data.observed{nearest(observed, known)} It has "
                    f"{', '.join(known)}. Add it there.",
                    ("loss", k, "observed"),
                )
        if self.training.patience and not (self.data.validation or self.data.validation_sites):
            what = "validation_sites" if self.data.points else "validation"
            how = "Name some" if self.data.points else "Give it start and end"
            raise SettingsError(
                f"it needs data.{what}, by which it stops a training. {how}.",
                ("training", "patience"),
            )
        return self


GRIDS = ("graded", "uniform", "from_faces")
FAMILIES = {
    "stage": Family((Stage,), STAGES),
    "model": Family((ProcessModel,), MODELS | {"julia_model": JuliaModel}),
    "hydraulics": Family((SoilHydraulics,), HYDRAULICS),
    "grid": Family((Grid,), {n: getattr(Grid, n) for n in GRIDS}, "graded"),
    "solver": Family((Solver,), {"solver": Solver}, "solver"),
    "roots": Family((Roots,), {"roots": Roots}, "roots"),
    "closure": Family(
        (NeuralClosure, JuliaClosure), {"neural_closure": NeuralClosure}, "neural_closure"
    ),
    "loss": Family((Loss,), LOSSES),
    "network": Family((nn.Module,), NETWORKS),
}


@cache
def run_class(own: tuple[tuple[str, type], ...] = ()) -> type[RunBase]:
    """Return the settings class of a run, for own classes by kind, "my_module:MyStage"."""
    families = dict(FAMILIES)
    for kind, made in own:
        of = next((n for n, f in families.items() if issubclass(made, f.bases)), "loss")
        families[of] = families[of]._replace(kinds={**families[of].kinds, kind: made})
    names = sections(families)
    losses: Any = names["Any_loss"]
    internal = {"hybrid", "windows", "loss", "folder", "validation", "members", "group", "settings",
                "free", "files"}  # fmt: skip
    judged = {"hybrid", "sites", "start", "end", "observed", "members", "groups", "group",
              "history", "left_out", "missing"}  # fmt: skip
    hybrid = section_of(Hybrid, families, names=names)
    training = section_of(Trainer, families, without=internal, more=TRAINING, names=names)
    evaluation = section_of(evaluate, families, without=judged, more=EVALUATION, names=names)
    one = BeforeValidator(lambda given: [given] if isinstance(given, (str, Mapping)) else given)
    several = Annotated[tuple[losses, ...], one, Field(min_length=1)]
    made = create_model(
        "RunSettings",
        __base__=RunBase,
        hybrid=key(hybrid, ..., "The network of parameters and the stages."),
        loss=key(several, ..., "One loss, or several that are summed."),
        training=key(training, training(), "The optimiser and its budget."),
        evaluation=key(evaluation, evaluation(), "How the run is judged."),
    )
    made.__doc__ = RunBase.__doc__
    return made


def _class_for(data: Any, search: Iterable[str], document: Document | None = None) -> type[RunBase]:
    """Return the settings class of a run for data that name own classes."""
    own: dict[str, type] = {}
    with searching(search):
        for place, value in _entries(data):
            if place[-2:] == LAYOUT:
                continue
            if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", value):
                try:
                    own[value] = class_of(value)
                except SettingsError as error:
                    if document is None:
                        raise
                    where = f"{document.path}, line {document.line(place)}"
                    raise SettingsError(f"{where}: {error}") from error
    return run_class(tuple(own.items()))


@dataclass(frozen=True)
class Experiment:
    """An experiment: the settings of its runs by name, and the file that they stand in."""

    document: Document
    runs: dict[str, Any]

    def place(self, name: str, location: Location) -> Location:
        """Return where a setting of a run stands: in its changes, or in what all runs share."""
        own = ("runs", name, *location)
        if self.document.depth(own) - 2 >= max(1, self.document.depth(location)):
            return self.document.without_tags(own)
        return location


def load_experiment(path: str | Path, demo: bool = False) -> Experiment:
    """Read an experiment from a YAML file.

    Parameters
    ----------
    path : str or Path
    demo : bool
        With the changes and the runs of the section `demo`: a short form.

    Raises
    ------
    SettingsError
        Every mistake, with its line and the remedy; of older forms, the keys that take their place.
    """
    document = Document.read(Path(path))
    _refuse_old(document)
    data = {str(key): value for key, value in document.data.items()}
    if not data.keys() & {"data", "hybrid", "loss", "training", "runs"}:
        script = Path(path).with_suffix(".py")
        how = f"python {script} reads them" if script.is_file() else "`pydiffgeo init` writes one"
        raise SettingsError(
            f"{path}, line 1: these are not the settings of an experiment, which has the sections "
            f"data, hybrid and loss; {how}."
        )
    short = data.pop("demo", None) or {}
    changes = data.pop("runs", None) or {"run": {}}
    if not isinstance(changes, Mapping):
        raise SettingsError(
            f"{path}, line {document.line(('runs',))}: runs are sections, such as 'hbv: "
            "{training: {epochs: 5}}'."
        )
    if demo:
        last = short.get("runs") or changes
        data = merged(data, {key: value for key, value in short.items() if key != "runs"})
        changes = {name: merged(changes.get(name) or {}, last[name] or {}) for name in last}
    folder = str(Path(path).resolve().parent)
    # evaluate and predict may run in another folder than the training
    data["search"] = [*dict.fromkeys([*(data.get("search") or ()), folder, str(Path.cwd())])]
    settings = _class_for(document.data, data["search"], document)
    experiment = Experiment(document, {})
    found: list[tuple[int, str]] = []
    for name, change in changes.items():
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", str(name)):
            text = f"{name!r} cannot be the name of a folder; take letters, digits, _ and -."
            found.append((document.line(("runs", name)), text))
        try:
            experiment.runs[str(name)] = settings.model_validate(merged(data, change or {}))
        except ValidationError as error:
            found += problems(document, error, settings, partial(experiment.place, str(name)))
    if found:
        raise complaint(document, found)
    return experiment


def merged(base: Any, change: Any) -> Any:
    """Return settings with changes: sections of one kind are merged, all else is replaced."""
    if not (isinstance(base, Mapping) and isinstance(change, Mapping)):
        return change
    if change.get("kind", base.get("kind")) != base.get("kind"):
        return change
    return {**base, **{key: merged(base.get(key), value) for key, value in change.items()}}


def run_settings(kept: Mapping[str, Any]) -> Any:
    """Return the settings of one run from plain types, as its folder keeps them.

    pydantic.ValidationError where they are not those of a run.
    """
    return _class_for(kept, kept.get("search") or ()).model_validate(kept)


def plain_settings(settings: BaseModel) -> dict[str, Any]:
    """Return settings in plain types, with all defaults, as they are kept in a run's folder."""
    return settings.model_dump(mode="json")


def hybrid_section(kept: Mapping[str, Any], search: Names = ()) -> Section:
    """Return the settings of a hybrid from plain types, such as `describe(hybrid)` gives."""
    section: Any = _class_for(kept, search).model_fields["hybrid"].annotation
    made: Section = section.model_validate({k: v for k, v in kept.items() if k != "kind"})
    return made


@contextmanager
def searching(folders: Any) -> Iterator[None]:
    """Look for own Python modules in the working directory and in some folders, too."""
    before = list(sys.path)
    sys.path[:0] = [str(Path.cwd()), *map(str, folders)]
    try:
        yield
    finally:
        sys.path[:] = before


def _entries(data: Any, place: Location = ()) -> Iterator[tuple[Location, Any]]:
    """Give what settings hold that is no section and no list, and where."""
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from _entries(value, (*place, key))
    elif isinstance(data, (list, tuple)) and data:
        for i, value in enumerate(data):
            yield from _entries(value, (*place, i))
    elif place:
        yield place, data


def _refuse_old(document: Document) -> None:
    """Raise SettingsError for settings of the forms before, with the new key for each old one."""
    data = document.data
    kind = data.get("experiment")
    if kind is None and any(key in data for key in ("period", "column", "stations")):
        kind = "soil_moisture"
    runs = data.get("runs")
    old_runs = isinstance(runs, Mapping) and any("model" in (run or {}) for run in runs.values())
    if kind is None and not old_runs:
        return
    text = resources.files(__package__).joinpath("old_keys.yaml").read_text(encoding="utf-8")
    known = yaml.safe_load(text)["soil_moisture" if kind == "soil_moisture" else "basins"]
    lines: dict[str, int] = {}
    for place, _ in _entries(data):
        shared = 2 if place[0] == "runs" else 0
        for end in range(len(place), shared, -1):
            old = ".".join(map(str, place[shared:end]))
            if old in known:
                lines.setdefault(old, document.line(place[:end]))
                break
        else:
            lines.setdefault(".".join(map(str, place[shared:])), document.line(place))
    told = {old: known.get(old, "is no key of that form; leave it out") for old in lines}
    told = {old: "stays as it is" if new == old else new for old, new in told.items()}
    listed = [f"  line {lines[old]}: {old}: {told[old]}" for old in sorted(lines, key=lines.get)]  # type: ignore[arg-type]
    raise SettingsError(
        f"{document.path}: settings of an older form. `pydiffgeo init` writes examples of the new "
        "one, `pydiffgeo settings` shows its keys; what was there is now here:\n"
        + "\n".join(listed)
    )
