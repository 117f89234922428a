"""The one schema of experiments.

Data, hybrid, loss, training, evaluation, and runs that change some of it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
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

from pydiffgeo.errors import SettingsError
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

TRAINING: dict[str, Any] = {
    "length": (
        int | None,
        Field(
            None, ge=1, description="Steps of a window after its warm-up; none: the whole period."
        ),
    ),
    "warm_up": (
        int,
        Field(0, ge=0, description="First steps of a window that the loss does not count."),
    ),
    "batch": (
        int | None,
        Field(None, ge=1, description="Windows of a step, over all processes; none: all sites."),
    ),
    "seeds": (
        tuple[int, ...],
        Field((), description="Train one member of an ensemble for each of these seeds."),
    ),
    "folds": (
        Literal["site"] | None,
        Field(None, description="site: train a member without each site, which judges it."),
    ),
}
EVALUATION: dict[str, Any] = {
    "panels": (
        dict[str, dict[str, Any]] | tuple[str, ...] | None,
        Field(None, description="Panels of the report, with their options; all by default."),
    ),
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
    search: Names = Field(
        (),
        description="Folders with own Python modules and Julia files; that of the file is added.",
    )

    @model_validator(mode="after")
    def _together(self) -> RunBase:
        for loss in self.loss:
            observed = getattr(loss, "observed", None)
            if observed is not None and observed not in self.data.observed:
                raise ValueError(
                    f"the loss is on {observed!r}, which is not among data.observed. Add it there."
                )
        if self.training.patience and not self.data.validation:
            raise ValueError(
                "training.patience needs data.validation, by which it stops a training. Give it "
                "start and end."
            )
        return self


FAMILIES = {
    "stage": Family((Stage,), STAGES),
    "model": Family((ProcessModel,), MODELS | {"julia_model": JuliaModel}),
    "hydraulics": Family((SoilHydraulics,), HYDRAULICS),
    "grid": Family(
        (Grid,),
        {"graded": Grid.graded, "uniform": Grid.uniform, "from_faces": Grid.from_faces},
        "graded",
    ),
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
    """Return the settings class of a run.

    Parameters
    ----------
    own : tuple of (kind, class)
        Own classes that the settings name, "my_package.my_module:MyStage".
    """
    families = dict(FAMILIES)
    for kind, made in own:
        of = next((n for n, f in families.items() if issubclass(made, f.bases)), "loss")
        families[of] = families[of]._replace(kinds={**families[of].kinds, kind: made})
    names = sections(families)
    losses: Any = names["Any_loss"]
    internal = {"hybrid", "windows", "loss", "folder", "validation", "members", "group", "settings",
                "free", "files"}  # fmt: skip
    judged = {"hybrid", "sites", "start", "end", "observed", "members", "groups", "group",
              "history", "left_out"}  # fmt: skip
    hybrid = section_of(Hybrid, families, names=names)
    training = section_of(Trainer, families, without=internal, more=TRAINING, names=names)
    evaluation = section_of(evaluate, families, without=judged, more=EVALUATION, names=names)
    one = BeforeValidator(lambda given: [given] if isinstance(given, (str, Mapping)) else given)
    made = create_model(
        "RunSettings",
        __base__=RunBase,
        hybrid=(hybrid, Field(description="The network of parameters and the stages.")),
        loss=(
            Annotated[tuple[losses, ...], one, Field(min_length=1)],
            Field(description="One loss, or several that are summed."),
        ),
        training=(training, Field(training(), description="The optimiser and its budget.")),
        evaluation=(evaluation, Field(evaluation(), description="How the run is judged.")),
    )
    made.__doc__ = RunBase.__doc__
    return made


@dataclass(frozen=True)
class Experiment:
    """An experiment: the settings of its runs by name, and the file that they stand in."""

    document: Document
    runs: dict[str, Any]

    def place(self, name: str, location: Location) -> Location:
        """Return where in the file a setting of a run stands.

        In the run's changes, or in what all runs share.
        """
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
        Every mistake, with its line and the remedy; keys of older forms with those that take their
        place.
    """
    document = Document.read(Path(path))
    _refuse_old(document)
    data = {str(key): value for key, value in document.data.items()}
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
    data["search"] = [*dict.fromkeys([*(data.get("search") or ()), folder])]
    with searching(data["search"]):
        settings = run_class(_own_kinds(document))
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
    """Return settings with changes.

    Sections are merged, all else is replaced; so is a section of another kind.
    """
    if not (isinstance(base, Mapping) and isinstance(change, Mapping)):
        return change
    if change.get("kind", base.get("kind")) != base.get("kind"):
        return change
    return {**base, **{key: merged(base.get(key), value) for key, value in change.items()}}


def run_settings(kept: Mapping[str, Any]) -> Any:
    """Return the settings of one run from plain types, as its folder keeps them.

    Raises
    ------
    pydantic.ValidationError
        They are not those of a run.
    """
    with searching(kept.get("search") or ()):
        kinds = dict.fromkeys(kind for kind, place in _kinds(kept) if place != LAYOUT)
        return run_class(tuple((kind, class_of(kind)) for kind in kinds)).model_validate(kept)


def plain_settings(settings: BaseModel) -> dict[str, Any]:
    """Return settings in plain types, with all defaults, as they are kept in a run's folder."""
    return settings.model_dump(mode="json")


def hybrid_section(kept: Mapping[str, Any], search: Names = ()) -> Section:
    """Return the settings of a hybrid from plain types, such as `describe(hybrid)` gives."""
    with searching(search):
        own = tuple(dict.fromkeys((kind, class_of(kind)) for kind, _ in _kinds(kept)))
        section: Any = run_class(own).model_fields["hybrid"].annotation
        return section.model_validate({k: v for k, v in kept.items() if k != "kind"})


@contextmanager
def searching(folders: Any) -> Iterator[None]:
    """Look for own Python modules in the working directory and in some folders, too."""
    before = list(sys.path)
    sys.path[:0] = [str(Path.cwd()), *map(str, folders)]
    try:
        yield
    finally:
        sys.path[:] = before


def _kinds(data: Any, place: Location = ()) -> Iterator[tuple[str, Location]]:
    """Give the own classes that settings name, "module:Class", and where."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from _kinds(value, (*place, key))
    elif isinstance(data, (list, tuple)):
        for i, value in enumerate(data):
            yield from _kinds(value, (*place, i))
    elif isinstance(data, str) and re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", data):
        yield data, place


def _own_kinds(document: Document) -> tuple[tuple[str, type], ...]:
    found: dict[str, type] = {}
    for kind, place in _kinds(document.data):
        if place[-2:] == LAYOUT:
            continue
        try:
            found[kind] = class_of(kind)
        except SettingsError as error:
            raise SettingsError(f"{document.path}, line {document.line(place)}: {error}") from error
    return tuple(found.items())


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
    for place in _entries(data):
        inside = place[2:] if place[0] == "runs" else place
        shared = len(place) - len(inside)
        for end in range(len(inside), 0, -1):
            key = ".".join(map(str, inside[:end]))
            if key in known:
                line = document.line(place[: shared + end])
                lines[key] = min(line, lines.get(key, line))
                break
    told = {key: "stays as it is" if known[key] == key else known[key] for key in lines}
    listed = "\n".join(
        f"  line {lines[k]}: {k}: {told[k]}" for k in sorted(lines, key=lines.__getitem__)
    )
    raise SettingsError(
        f"{document.path}: settings of an older form. `pydiffgeo init` writes examples of the new "
        f"one, `pydiffgeo settings` shows its keys; what was there is now here:\n{listed}"
    )


def _entries(data: Any, place: Location = ()) -> Iterator[Location]:
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from _entries(value, (*place, str(key)))
    elif place:
        yield place
