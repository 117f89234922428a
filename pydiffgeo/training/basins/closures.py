"""Networks in the equations of a process model of basins, as the settings declare them."""

from __future__ import annotations

from collections.abc import Mapping

from pydiffgeo.closures import NeuralClosure
from pydiffgeo.errors import ParameterError, SettingsError, lookup
from pydiffgeo.models import ProcessModel
from pydiffgeo.models.buckets import Buckets
from pydiffgeo.models.spec import ModelSpec
from pydiffgeo.pretraining import Fit, fit_slots
from pydiffgeo.training.basins.settings import ClosureSettings, ModelSettings


def make_closures(
    spec: ModelSpec, settings: Mapping[str, ClosureSettings]
) -> dict[str, NeuralClosure]:
    """Return the closures of `model.process.closures` by slot, with random weights.

    Raises
    ------
    UnknownName
        The model has no such slot.
    SettingsError
        Options that contradict each other, or a range beyond that of the slot.
    """
    closures = {}
    for name, given in settings.items():
        slot = lookup(spec.slots, name, f"slot in model.process.closures of {spec.name}")
        low, high = slot.range
        if given.output_range[0] < low or given.output_range[1] > high:
            raise SettingsError(
                f"model.process.closures.{name}.output_range {given.output_range}: the slot gives the {slot.output}, from "
                f"{low:g} to {high:g}; stay within that."
            )
        options = given.model_dump(exclude={"initial"})
        try:
            closures[name] = NeuralClosure(len(slot.inputs), **options)
        except ParameterError as error:
            raise SettingsError(f"model.process.closures.{name}: {error}") from error
    return closures


def check_replaced(model: ProcessModel, settings: ModelSettings) -> None:
    """Raise SettingsError where settings name a parameter of a formula that a closure replaces."""
    for where, names in (
        ("network.varying", settings.network.varying),
        ("process.bounds", settings.process.bounds),
    ):
        for name in names:
            if (slot := model.replaced.get(name)) is not None:
                raise SettingsError(
                    f"model.{where}: {name!r} belongs to the formula that model.process.closures.{slot} replaces; take it out, "
                    "or let the network stand beside the formula (residual: true)."
                )


def begin_as_formulas(
    model: ProcessModel, settings: Mapping[str, ClosureSettings]
) -> dict[str, Fit]:
    """Train closures whose `initial` is `formula` on it, with its default parameters; those beside it are it already."""
    if not isinstance(model, Buckets):
        return {}
    return fit_slots(
        model,
        [
            name
            for name, given in settings.items()
            if given.initial == "formula" and not given.residual
        ],
    )
