"""Training of closures on the formulas that they replace, before they are trained on data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from pydiffgeo.errors import ParameterError, SettingsError, lookup
from pydiffgeo.models.buckets import Buckets
from pydiffgeo.models.closures import NeuralClosure, output_of
from pydiffgeo.models.leaves.photosynthesis import Photosynthesis
from pydiffgeo.models.richards.richards import Richards
from pydiffgeo.models.spec import ModelSpec, SlotSpec

NEAREST = 1e-6  # to a bound of the range, in parts of it, that a logit is taken
SAMPLES = 201  # of the domain of a slot


@dataclass(frozen=True)
class Fit:
    """What is left between a closure and a formula at the samples, in the unit of the output.

    Attributes
    ----------
    rms, largest : float
        Root of the mean square, and largest absolute value, of the differences.
    iterations : int
        Evaluations of the loss.
    """

    rms: float
    largest: float
    iterations: int


def fit_closure(
    closure: nn.Module,
    formula: Callable[..., Tensor],
    samples: Tensor,
    iterations: int = 500,
    space: str = "output",
    tolerance: float | None = None,
) -> Fit:
    """Train a closure on a formula, so that a training on data starts from physics.

    The weights are changed in place, by L-BFGS on all samples at once: the same start gives the
    same result.

    Parameters
    ----------
    closure : nn.Module
        A `NeuralClosure`, or any module `[..., input] -> [...]` or `[..., 1]`.
    formula : callable
        Takes one tensor `[sample]` for each input and returns the output `[sample]`, as
        `model.formula(slot)` does.
    samples : Tensor, [sample] or [sample, input]
        Inputs at which both are compared: where the closure will be called.
    iterations : int
        Most evaluations of the loss.
    space : {"output", "logit"}
        Whether the mean square of the differences is that of the output, or of its logit within
        `output_range`: the latter weighs small shares by their ratio, as discharge over several
        orders of magnitude needs.
    tolerance : float, optional
        Largest difference that is accepted.

    Returns
    -------
    Fit
        The remaining error, whatever `space`.

    Raises
    ------
    ParameterError
        A closure that stands beside its formula and so needs no training; samples of the wrong
        shape; a remaining error above `tolerance`.
    """
    bounds = getattr(closure, "output_range", None)
    lookup({"output": 1, "logit": 1}, space, "space")
    if getattr(closure, "residual", False):
        raise ParameterError("a residual closure begins as its formula: there is nothing to fit.")
    if space == "logit" and bounds is None:
        raise ParameterError('space="logit" needs a closure with an output_range.')
    x = samples.detach()[:, None] if samples.ndim == 1 else samples.detach()
    if x.ndim != 2 or (isinstance(closure, NeuralClosure) and x.shape[1] != closure.widths[0]):
        raise ParameterError(
            f"samples have the shape {list(samples.shape)}; give [sample, input], one column for "
            "each input."
        )
    low, high = bounds or (0.0, 1.0)

    def scaled(y: Tensor) -> Tensor:
        return (
            y
            if space == "output"
            else ((y - low) / (high - low)).clamp(NEAREST, 1 - NEAREST).logit()
        )

    with torch.no_grad():
        wanted = formula(*x.unbind(-1))
        target = scaled(wanted)
    optimiser = torch.optim.LBFGS(
        closure.parameters(), max_iter=iterations, max_eval=iterations, history_size=20,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-10, tolerance_change=1e-14,
    )  # fmt: skip
    count = 0

    def loss() -> Tensor:
        nonlocal count
        count += 1
        optimiser.zero_grad()
        value = (scaled(output_of(closure, x)) - target).square().mean()
        value.backward()
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call,arg-type]
    optimiser.zero_grad()
    with torch.no_grad():
        left = output_of(closure, x) - wanted
    fit = Fit(float(left.square().mean().sqrt()), float(left.abs().max()), count)
    if tolerance is not None and not fit.largest <= tolerance:
        raise ParameterError(
            f"the closure is up to {fit.largest:.2g} away from its formula after {count} "
            f"evaluations, more than tolerance={tolerance:g}: give it more hidden units, or more "
            "iterations."
        )
    return fit


def fit_slots(
    model: Buckets | Richards | Photosynthesis,
    slots: Iterable[str] | None = None,
    parameters: Mapping[str, float] | None = None,
    iterations: int = 500,
) -> dict[str, Fit]:
    """Train closures of a model on the formulas that they replace.

    Over the domain of each slot in the specification.

    Parameters
    ----------
    model : HBV, ExpHydro, Richards or Photosynthesis
        Its closures are changed in place.
    slots : iterable of str, optional
        Whose closures; by default all that do not stand beside their formula.
    parameters : mapping of str to float, optional
        Of the formulas; those not given take their default.
    iterations : int
        As `fit_closure`.

    Returns
    -------
    dict of str to Fit
        By slot.

    Raises
    ------
    UnknownName, ParameterError
        No closure there, or one that stands beside its formula.
    """
    if slots is None:
        slots = [name for name, c in model.closures.items() if not getattr(c, "residual", False)]
    fits = {}
    for name in slots:
        closure, slot = (
            lookup(model.closures, name, f"slot of this {model.spec.name} with a closure"),
            model.spec.slots[name],
        )
        samples = _samples(slot)
        fits[name] = fit_closure(
            closure, model.formula(name, parameters), samples, iterations, slot.space
        )
    return fits


def _samples(slot: SlotSpec) -> Tensor:
    """Return inputs over the domain of a slot: on a line, or at random where there are several."""
    if len(slot.inputs) == 1:
        return torch.linspace(*slot.domain, SAMPLES, dtype=torch.float64)
    low, high = slot.domain
    shape, random = (5 * SAMPLES, len(slot.inputs)), torch.Generator().manual_seed(0)
    return low + (high - low) * torch.rand(shape, generator=random, dtype=torch.float64)


def make_closures(
    spec: ModelSpec, options: Mapping[str, Mapping[str, Any]]
) -> dict[str, NeuralClosure]:
    """Return a closure with random weights for each slot.

    Parameters
    ----------
    spec : ModelSpec
    options : mapping of str to mapping
        Arguments of `NeuralClosure` but `inputs`, by slot; and "initial", see `begun_slots`.

    Raises
    ------
    UnknownName
        The model has no such slot.
    SettingsError
        Options that contradict each other, or a range beyond that of the slot.
    """
    closures = {}
    for name, given in options.items():
        slot = lookup(spec.slots, name, f"slot of {spec.name}")
        low, high = slot.range
        chosen = {"output_range": slot.range} | {k: v for k, v in given.items() if k != "initial"}
        if chosen["output_range"][0] < low or chosen["output_range"][1] > high:
            raise SettingsError(
                f"closures.{name}.output_range {chosen['output_range']}: the slot gives the "
                f"{slot.output}, from {low:g} to {high:g}; stay within that."
            )
        try:
            closures[name] = NeuralClosure(len(slot.inputs), **chosen)
        except ParameterError as error:
            raise SettingsError(f"closures.{name}: {error}") from error
        except TypeError as error:
            known = ", ".join([*signature(NeuralClosure).parameters][1:])
            raise SettingsError(f"closures.{name}: {error}; it takes {known}.") from error
    return closures


def begun_slots(options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the slots whose closures begin as their formulas: those whose "initial" is not
    "random", but for those that stand beside their formula.
    """
    formula = [name for name, given in options.items() if given.get("initial") != "random"]
    return [name for name in formula if not options[name].get("residual")]
