"""Comparison of a model's equations with its specification, before its first solve."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor

from pydiffgeo.bridge import models as julia_models
from pydiffgeo.bridge.runtime import start
from pydiffgeo.errors import ModelError, UnknownName, nearest
from pydiffgeo.models.base import Evaluation, ProcessModel, Values
from pydiffgeo.models.julia_model import JuliaModel
from pydiffgeo.models.spec import ModelSpec
from pydiffgeo.solvers.algebraic import only, storing
from pydiffgeo.solvers.linear import structure
from pydiffgeo.solvers.problem import Problem

ROWS = 4  # columns of a batch that are looked at
DRAWS = 12  # rows of states and forcing that are drawn

Inputs = tuple[Tensor, Values, Values]
"""State `[..., size]`, forcing and prepared parameters."""

_fitting: weakref.WeakSet[ProcessModel] = weakref.WeakSet()


def check_declared(model: Any) -> None:
    """Raise ModelError where a model lacks an attribute or contradicts its specification.

    Each model is looked at once.
    """
    if model in _fitting:
        return
    name = getattr(model, "__name__", type(model).__name__)
    if isinstance(model, type):
        raise ModelError(f"{name} is a class: give a model that it makes, such as {name}().")
    if not isinstance(model, ProcessModel):
        raise ModelError(
            f"a model is a ProcessModel, got {name}; see CONTRIBUTING.md, How to add a model."
        )
    if not isinstance(getattr(model, "spec", None), ModelSpec):
        raise ModelError(
            f'{name} lacks `spec`: set self.spec = load_spec("{name.lower()}.toml") in __init__.'
        )
    size, states = getattr(model, "size", None), model.spec.states
    if not isinstance(size, int) or size < 1:
        cells = ", or the number of cells" if len(states) == 1 else ""
        raise ModelError(
            f"{name} lacks `size`, the number of state values of a column: set size = "
            f"{len(states)}{cells}."
        )
    model.spec.each_state(size)
    structure(model.structure, model.bandwidth)


def check_equations(problem: Problem, engine: str) -> None:
    """Compare shapes and balance of a model's equations with its specification.

    Each model is looked at once, before its first solve.

    Raises
    ------
    ModelError
        A function that returns another shape or precision; fluxes that do not close the balance
        that the specification declares.
    UnknownName
        A function that reads a parameter or a forcing that the specification does not declare.
    """
    model = problem.model
    if model in _fitting:
        return
    if (engine == "julia") == isinstance(
        model, JuliaModel
    ):  # the built-in models in Julia have tests of their own
        with torch.random.fork_rng(
            devices=[]
        ):  # a network inside that draws numbers does not draw others for the check
            check_at(problem)
        _fitting.add(model)


@torch.no_grad()
def check_at(problem: Problem) -> float | None:
    """Compare shapes and balance in the first interval, and at drawn states and weather.

    Returns
    -------
    float, optional
        Relative error of the balance; None where nothing is declared, or where nothing is finite.
    """
    model, state, forcing, parameters = first_interval(problem)
    if not isinstance(model, JuliaModel):
        inputs = prepared(model, state, forcing, parameters)
        check_shapes(model, *inputs)
        check_leading(model, *inputs)

    def error(u: Tensor, f: Values, p: Values) -> float | None:
        return balance_error(model, u, f, values_at(model, u, f, p))

    errors = [error(state, forcing, parameters)]
    for given in (
        (drawn(model, state), forcing, parameters),
        _other_weather(problem, state, parameters),
    ):
        try:
            errors.append(error(*given))
        except (ModelError, UnknownName):
            raise
        except Exception:  # noqa: BLE001, S112  what is drawn may be what the equations do not allow
            continue
    return max((e for e in errors if e is not None), default=None)


def values_at(
    model: ProcessModel, state: Tensor, forcing: Values, parameters: Values
) -> Evaluation:
    """Storage, rates and fluxes at states `[column, size]`, in the language of the model."""
    if isinstance(model, JuliaModel):
        return julia_models.evaluate(start(), model, state, forcing, parameters)
    return model.evaluate(*prepared(model, state, forcing, parameters), fluxes=True)


def prepared(model: ProcessModel, state: Tensor, forcing: Values, parameters: Values) -> Inputs:
    """Inputs of a model's functions, which name what the specification does not declare."""
    name, spec = type(model).__name__, model.spec
    given = Declared(parameters, f"parameter that {name} reads", spec.parameters)
    p = model.prepare(given)
    f = {
        **forcing,
        **model.drivers(Declared(forcing, f"forcing that {name} reads", spec.forcings), p),
    }
    p = p if p is given else Declared(p, f"parameter that {name} reads", p)
    return state, Declared(f, f"forcing that {name} reads", f), p


class Declared(dict[str, Tensor]):
    """Values by name that answer an unknown name with the known ones."""

    def __init__(self, values: Values, what: str, known: Mapping[str, Any]):
        super().__init__(values)
        self.what, self.known = what, known

    def __missing__(self, name: str) -> Tensor:
        raise UnknownName(
            f"unknown {self.what}: {name!r}{nearest(name, self.known)} The specification declares: "
            f"{', '.join(self.known) or 'none'}."
        )


def check_shapes(model: ProcessModel, state: Tensor, forcing: Values, parameters: Values) -> None:
    """Raise ModelError where a function returns another shape, precision or device."""
    values, fluxes = tuple(state.shape), (*state.shape[:-1], model.spec.flux_values(model.size))
    names = f" ({', '.join(model.spec.fluxes) or 'none'} of the specification)"
    check = _Shapes(type(model).__name__, state)
    check("storage", model.storage(state, parameters), values)
    e = model.evaluate(state, forcing, parameters, fluxes=True)
    check("rates", e.rates, values)
    check("fluxes", e.fluxes, fluxes, names, exact=True)
    check("evaluate, whose storage", e.storage, values)
    if model.guess is not None:
        check("guess", model.guess(forcing, parameters), values)
    if model.slopes is not None:
        found = model.slopes(state, forcing, parameters)
        if not (isinstance(found, Sequence) and len(found) == 2 and found[1]):
            raise ModelError(
                f"{check.name}.slopes must return the rates and the entries of their Jacobian by "
                "(row, column), at least one: see `ProcessModel.slopes`."
            )
        rates, entries = found
        if len(rates) != model.size:
            raise ModelError(
                f"{check.name}.slopes returns {len(rates)} rates for {model.size} states; it must "
                "return one for each."
            )
        for i, rate in enumerate(rates):
            check(f"slopes, whose rate {i}", rate, values[:-1], exact=True)
        for (row, column), entry in entries.items():
            if not (0 <= row < model.size and 0 <= column < model.size):
                raise ModelError(
                    f"{check.name}.slopes has an entry ({row}, {column}), but there are "
                    f"{model.size} states."
                )
            check(f"slopes, whose entry ({row}, {column})", entry, values[:-1], exact=True)
    linearise: Any = model.linearise
    if linearise is not None:
        lin = linearise(state, forcing, parameters)
        for part in ("storage", "capacity", "rates"):
            check(f"linearise, whose {part}", getattr(lin, part), values)
        counts = {
            "dense": 1,
            "tridiagonal": 3,
            "tridiagonal_rank_one": 5,
            "banded": sum(model.bandwidth) + 1,
        }
        diagonals = counts[model.structure]
        if len(lin.jacobian) != diagonals:
            raise ModelError(
                f"{check.name}.linearise returns a Jacobian of {len(lin.jacobian)} tensors; that "
                f"of structure = {model.structure!r} has {diagonals}."
            )
        for part in lin.jacobian:
            check(
                "linearise, whose Jacobian",
                part,
                (*values, model.size) if model.structure == "dense" else values,
            )


def check_leading(model: ProcessModel, state: Tensor, forcing: Values, parameters: Values) -> None:
    """Raise ModelError where the functions need a state of two dimensions.

    Solvers give them several states of a column.
    """
    try:
        check_shapes(model, state.expand(2, *state.shape), forcing, parameters)
    except (RuntimeError, IndexError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"the equations of {type(model).__name__} work for a state of shape "
            f"{list(state.shape)}, but not for one of {[2, *state.shape]} ({error}): count "
            "dimensions from the right, as in state[..., 0] and torch.cat([...], -1)."
        ) from error


class _Shapes:
    """Compares what the functions of a model return with what they must return."""

    def __init__(self, name: str, state: Tensor):
        self.name, self.state = name, state

    def __call__(
        self,
        function: str,
        value: Any,
        wanted: tuple[int, ...],
        names: str = "",
        exact: bool = False,
    ) -> None:
        where = f"{self.name}.{function}{' returns' if ',' not in function else ' is'}"
        if not isinstance(value, Tensor):
            raise ModelError(
                f"{where} {type(value).__name__}; it must be a tensor of shape "
                f"{list(wanted)}{names}."
            )
        have = tuple(value.shape)
        fits = have == wanted or not exact and have[-1:] == wanted[-1:] and _expands(have, wanted)
        if not fits:
            raise ModelError(
                f"{where} a tensor of shape {list(have)} for a state of {list(self.state.shape)}; "
                f"it must be {list(wanted)}{names}."
            )
        kind, wanted_kind = (f"{x.dtype} on {x.device}" for x in (value, self.state))
        if kind != wanted_kind:
            raise ModelError(
                f"{where} {kind} for a state of {wanted_kind}; make tensors of your own with "
                "state.new_tensor(...), and keep the precision of the state."
            )


def _expands(have: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(have) <= len(wanted) and all(
        a in (1, b) for a, b in zip(have[::-1], wanted[::-1], strict=False)
    )


def balance_error(
    model: ProcessModel, state: Tensor, forcing: Values, e: Evaluation
) -> float | None:
    """Largest relative difference between the balance of the fluxes and the change of the storage.

    Raises
    ------
    ModelError
        It is more than rounding; fluxes that are no numbers where the rates are. Rows whose rates
        are not finite do not count.
    """
    declared = {k: (i, q) for i, (k, q) in enumerate(model.spec.fluxes.items()) if q.balance}
    if not declared:
        return None
    places = model.spec.flux_places(model.size)  # of a flux of cells the sum counts
    fluxes = torch.stack([e.fluxes[..., p].sum(-1) for p in places.values()], -1)
    stored = storing(model, state)
    rates, storage = (only(stored, x.expand_as(state)) for x in (e.rates, e.storage))
    signed = torch.stack([q.balance * fluxes[..., i] for i, q in declared.values()], -1)
    change, size = _total(model, storage, rates), _total(model, storage, rates.abs()).abs()
    left = signed.sum(-1) - change
    error = left.abs() / (signed.abs().sum(-1) + size).clamp_min(torch.finfo(left.dtype).tiny)
    whole = torch.isfinite(change)
    if bool((whole & ~torch.isfinite(left)).any()):
        k = int((whole & ~torch.isfinite(left)).int().argmax())
        names = ", ".join(n for n, (i, _) in declared.items() if not fluxes[k, i].isfinite())
        raise ModelError(
            f"{type(model).__name__}.fluxes: {names} is no number with "
            f"{_shown(list(model.spec.states), state[k])}, where the rates are finite; mend the "
            "equations."
        )
    error = torch.where(whole, error, 0.0)
    k = int(error.argmax())
    if float(error[k]) > torch.finfo(error.dtype).eps ** 0.5:
        unit = next(q.unit for _, q in declared.values())
        sums = " ".join(
            f"{'+' if q.balance > 0 else '-'} {name}" for name, (_, q) in declared.items()
        ).removeprefix("+ ")
        states, weather = (
            list(model.spec.states),
            [forcing[f].expand(len(state), -1)[k, 0] for f in model.spec.forcings],
        )
        shown = ", ".join(
            x for x in (_shown(states, state[k]), _shown(model.spec.forcings, weather)) if x
        )
        raise ModelError(
            f"the fluxes of {type(model).__name__} do not close the balance that its specification "
            f"declares: with {shown}, {sums} is {float(signed[k].sum()):g} {unit} "
            f"({_shown(declared, fluxes[k, [i for i, _ in declared.values()]])}), but the "
            f"storage changes by {float(change[k]):g} (rates: {_shown(states, rates[k])}), so that "
            f"{float(left[k]):g} is left. Mend rates or fluxes, declare the flux that is missing, "
            "or its `balance` (1 into the storage, -1 out of it, 0 neither); where not all states "
            "hold what is balanced, define total_storage."
        )
    return float(error[k])


def _shown(names: Iterable[str], values: Iterable[Tensor]) -> str:
    pairs = [f"{name} = {float(v):g}" for name, v in zip(names, values, strict=False)]
    return ", ".join(pairs[:6]) + (", ..." if len(pairs) > 6 else "")


def _total(model: ProcessModel, storage: Tensor, rates: Tensor) -> Tensor:
    """Rate of change of the total storage `[...]`."""
    with forward_ad._set_fwd_grad_enabled(True), forward_ad.dual_level():
        total = forward_ad.unpack_dual(
            model.total_storage(forward_ad.make_dual(storage.contiguous(), rates.contiguous()))
        )
    return torch.zeros_like(total.primal) if total.tangent is None else total.tangent


def drawn(model: ProcessModel, state: Tensor) -> Tensor:
    """States of the shape of `state`, drawn in the range of the specification.

    Stores filled to a part of their magnitude.
    """
    states = model.spec.each_state(model.size)
    lower, scale = (state.new_tensor([getattr(s, k) for s in states]) for k in ("lower", "scale"))
    share = torch.rand(state.shape, generator=torch.Generator().manual_seed(0)).to(state)
    return torch.where(
        lower.isfinite(), lower + (0.2 + 0.8 * share) * scale, state + 0.2 * (share - 0.5) * scale
    )


def _other_weather(problem: Problem, state: Tensor, parameters: Values) -> Inputs:
    """States and forcing that are drawn.

    Each forcing between its extremes in the problem, and a typical value besides.

    Fluxes may be wrong only when it rains, or only where it freezes, and the first interval may be
    dry and warm.
    """
    model, rows = problem.model, torch.arange(DRAWS)
    shares = torch.rand(
        DRAWS, len(problem.forcing), generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    shares[0], shares[1] = 0, 1
    forcing = {}
    for i, (name, x) in enumerate(problem.forcing.items()):
        typical = model.spec.forcings[name].typical
        low, high = min(float(x.min()), typical), max(float(x.max()), typical)
        forcing[name] = (low + shares[:, i : i + 1] * (high - low)).to(x)
    taken: Callable[[Tensor], Tensor] = lambda x: x if len(x) == 1 else x[rows % len(x)]  # noqa: E731
    return (
        drawn(model, state[rows % len(state)]),
        forcing,
        {k: taken(v) for k, v in parameters.items()},
    )


def first_interval(
    problem: Problem,
) -> tuple[ProcessModel, Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Model, states, forcing and parameters of some columns in the first interval."""
    cut: Callable[[Tensor], Tensor] = lambda x: x[:ROWS].detach().contiguous()  # noqa: E731
    varying, forcing = (
        {k: cut(v[:, 0]) for k, v in g.items()} for g in (problem.varying, problem.forcing)
    )
    static = {k: cut(v) for k, v in problem.static.items()}
    return (
        problem.model,
        cut(problem.initial),
        forcing,
        {k: {**static, **varying}[k] for k in problem.model.spec.parameters},
    )
