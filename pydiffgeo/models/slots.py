"""Networks in the slots of a built-in model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from pydiffgeo.errors import ParameterError, UnknownName, listed, lookup
from pydiffgeo.models.base import Values
from pydiffgeo.models.closures import JuliaClosure, NeuralClosure, output_of
from pydiffgeo.models.spec import ModelSpec, SlotSpec
from pydiffgeo.models.spec_files import load_spec

Formula = Callable[..., Tensor]
"""`formula(parameters, *inputs)`: what a slot's formula gives at the inputs of the slot."""


@runtime_checkable
class Slotted(Protocol):
    """A model that tells what its slots read, so that a network there can be drawn."""

    spec: ModelSpec
    closures: Mapping[str, nn.Module]
    formulas: Mapping[str, Formula]

    def formula(
        self, slot: str, parameters: Mapping[str, float] | None = None
    ) -> Callable[..., Tensor]:
        """Return the formula of a slot as a function of its inputs."""

    def slot_inputs(self, slot: str, series: Values, parameters: Values) -> tuple[Tensor, ...]:
        """Inputs of a slot from states and forcing by name, and parameters."""


def filled(
    spec: ModelSpec, closures: Mapping[str, nn.Module] | None
) -> tuple[ModelSpec, dict[str, nn.Module], dict[str, str]]:
    """Check closures against the slots of a model.

    Returns
    -------
    ModelSpec
        The specification without the parameters that nothing reads any more.
    dict of str to nn.Module
        The closures in the order of the specification.
    dict of str to str
        Each parameter left out, and the slot it belonged to.

    Raises
    ------
    UnknownName, ParameterError
        No such slot; a network with another number of inputs; a range beyond that of the slot, or
        none.
    """
    given = dict(closures or {})
    if given and not spec.slots:
        raise UnknownName(
            f"{spec.name} in this form has no slot for a closure, given is {listed(given)}; "
            "docs/closures.md says which formulas have one."
        )
    for name, closure in given.items():
        _check(lookup(spec.slots, name, f"slot of {spec.name}"), closure)
    ordered = {k: given[k] for k in spec.slots if k in given}
    gone = {
        p: k
        for k, c in ordered.items()
        if not getattr(c, "residual", False)
        for p in spec.slots[k].replaces
    }
    return (
        replace(spec, parameters={k: v for k, v in spec.parameters.items() if k not in gone}),
        ordered,
        gone,
    )


def formula_of(
    name: str,
    formulas: Mapping[str, Formula],
    slot: str,
    parameters: Mapping[str, float] | None = None,
) -> Callable[..., Tensor]:
    """Return the formula of a slot as a function of its inputs, `[...]` each.

    Parameters
    ----------
    name : str
        Of the specification, which has the defaults of parameters that are not given.
    formulas : mapping of str to Formula
        By slot.
    slot : str
    parameters : mapping of str to float, optional
        In their units.
    """
    formula, known = lookup(formulas, slot, f"slot of {name}"), load_spec(name).parameters
    values = {k: s.default for k, s in known.items()}
    for k, v in (parameters or {}).items():
        lookup(known, k, f"parameter of {name}")
        values[k] = v
    p = {k: torch.as_tensor(v, dtype=torch.float64) for k, v in values.items()}
    return lambda *inputs: formula(p, *inputs)


def _check(slot: SlotSpec, closure: nn.Module) -> None:
    low, high = slot.range
    if isinstance(closure, JuliaClosure):
        raise ParameterError(
            f"a JuliaClosure is for a model from a Julia file; in the slot {slot.name!r} take a "
            "NeuralClosure."
        )
    if not isinstance(closure, nn.Module):
        raise ParameterError(
            f"the slot {slot.name!r} takes a NeuralClosure or a torch.nn.Module, got "
            f"{type(closure).__name__}."
        )
    if not isinstance(closure, NeuralClosure):
        return
    if closure.widths[0] != len(slot.inputs):
        names = ", ".join(slot.inputs)
        raise ParameterError(
            f"the slot {slot.name!r} has the inputs {names}, got a network of {closure.widths[0]}."
        )
    own = closure.output_range
    if own is None or own[0] < low or own[1] > high:
        raise ParameterError(
            f"the slot {slot.name!r} gives the {slot.output}: its closure needs an output_range "
            f"within ({low:g}, {high:g}), got {own}."
        )
    rising = tuple(i for i, name in enumerate(slot.inputs) if name in slot.monotone)
    if slot.must_rise and not set(rising) <= set(closure.monotone_in):
        raise ParameterError(
            f"the {slot.output} must rise with the {', '.join(slot.monotone)}, or the equations "
            f"have no solution: give the closure in the slot {slot.name!r} monotone_in={rising}."
        )


def share(
    slot: SlotSpec,
    closure: nn.Module,
    formula: Formula,
    inputs: tuple[Tensor, ...],
    p: Values,
    guard: Tensor | None,
) -> Tensor:
    """What a closure gives in its slot, `[...]`.

    A closure that stands in place of its formula is multiplied by `guard`; beside the formula that
    needs none.

    Raises
    ------
    ParameterError
        A torch module whose output leaves the range of its slot.
    """
    if isinstance(closure, NeuralClosure):
        if closure.residual:
            beside: Tensor = closure(*inputs, formula=formula(p, *inputs))
            return beside
        out: Tensor = closure(*inputs)
    else:
        out = output_of(closure, torch.stack(torch.broadcast_tensors(*inputs), -1))
        low, high = slot.range
        outside = (out < low) | (out > high)
        if bool(outside.any()):
            raise ParameterError(
                f"the module in the slot {slot.name!r} gave {float(out[outside][0]):g}, outside of "
                f"{low:g} to {high:g}: end it with a sigmoid, or take a NeuralClosure."
            )
    return out if guard is None else out * guard


def share_and_slope(
    slot: SlotSpec,
    closure: nn.Module,
    formula: Formula,
    x: Tensor,
    p: Values,
    guard: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `share`, for one input, with its slopes in the input and in the store.

    Outside of any graph.

    `guard` is a value and its slope in the store.
    """
    residual = isinstance(closure, NeuralClosure) and closure.residual
    if isinstance(closure, NeuralClosure) and not residual:
        y, slope = closure.with_slope(x)
    else:
        y, slope = with_slope(lambda z: share(slot, closure, formula, (z,), p, None), x)
    if guard is None or residual:
        return y, slope, torch.zeros_like(y)
    return y * guard[0], slope * guard[0], y * guard[1]


def with_slope(f: Callable[[Tensor], Tensor], store: Tensor) -> tuple[Tensor, Tensor]:
    """A function of one store, number by number, and its slope, both outside of any graph."""
    with torch.enable_grad():
        x = store.detach().requires_grad_()
        y = f(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
    return y.detach(), slope
