"""Checks and shapes of everything that a user gives to `solve`, before any work is done."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pydiffgeo.errors import DataError, ParameterError, UnitError, UnknownName, nearest
from pydiffgeo.models.base import ProcessModel
from pydiffgeo.models.spec import ForcingSpec, ParameterSpec
from pydiffgeo.times import intervals, parse_times
from pydiffgeo.units import same_unit

# of the range of a forcing: so far beyond its bounds a value is taken for the bound
ROUNDING = 1e-12
# times that all are above are no min, h or d, and no s: the last begins in the year 5138
LATEST, LATEST_SECONDS = (1e8, 1e11)
FLOAT32_MAX = torch.finfo(torch.float32).max


def read_times(times: Any, unit: str) -> tuple[Tensor, np.ndarray]:
    """Return the lengths of the intervals in the model's unit of time, and the parsed times.

    Parameters
    ----------
    times : array-like, [time + 1]
        The start, then the end of each forcing interval: dates, durations since any instant, or
        numbers in `unit`.

    Raises
    ------
    DataError
        Fewer than two times, a gap, times that do not increase, or numbers that are dates:
        20000101, or seconds since 1970.
    UnitError
        Numbers whose attribute `units` has another unit of time.
    """
    labels = parse_times(times)
    if labels.dtype.kind in "iuf":
        _no_other_unit(times, labels, unit)
    if labels.size < 2:
        raise DataError(
            f"times must have the start and at least one end, got {labels.size}; give n + 1 for n "
            "intervals."
        )
    return torch.from_numpy(intervals(labels, unit)), labels


def _no_other_unit(times: Any, numbers: np.ndarray, unit: str) -> None:
    """Refuse numbers that are not in the model's unit of time, by their attributes or size."""
    named = (getattr(times, "attrs", None) or {}).get("units")
    if named is not None and not same_unit(str(named), unit):
        raise UnitError(
            f"times has units {str(named)!r}, the model needs {unit!r}; convert them, or give "
            "dates or durations."
        )
    if numbers.size and abs(numbers).min() > (LATEST_SECONDS if unit == "s" else LATEST):
        raise DataError(
            f"times begin with {numbers[0]:g} {unit}, by its size a count of seconds or "
            "milliseconds since 1970: give the "
            'dates, times.astype("datetime64[s]") or "datetime64[ms]", or, if they are numbers in '
            "this unit, times - times[0]."
        )


def read_forcing(
    model: ProcessModel,
    forcing: Mapping[str, Any],
    labels: np.ndarray,
    dtype: torch.dtype,
    device: torch.device,
) -> dict[str, Tensor]:
    """Forcing as `[column or 1, interval, 1 or cell]`, in the order of the spec."""
    known = model.spec.forcings
    intervals = len(labels) - 1
    _names(forcing, known, "forcing", model)
    missing = [k for k in known if k not in forcing]
    if missing:
        need = ", ".join(f"{k} ({known[k].unit})" for k in missing)
        raise DataError(
            f"missing forcing of this {model.spec.name} model: {need}; give each, 0.0 for none."
        )
    out = {}
    for name, spec in known.items():
        given = forcing[name]
        if _is_number(given) and spec.lower <= given <= spec.upper:
            out[name] = torch.full((1, intervals, 1), given, dtype=dtype, device=device)
            continue
        x = numeric(given, dtype, device, f"forcing {name!r}")
        if x.ndim == 0:
            x = x.expand(1, intervals)
        elif x.ndim == 1:
            x = x[None]
        cells = model.spec.cells(model.size) if spec.per == "cell" else 0
        of_cells = x.ndim == 3
        if x.ndim == 2:
            x = x[..., None]
        fits = x.ndim == 3 and x.shape[1] == intervals and x.shape[2] in (1, cells)
        if not fits or (of_cells and not cells):
            shapes = "[time] or [batch, time]"
            if cells:
                shapes = f"[time], [batch, time] or [batch, time, cell] of {cells} cells"
            raise DataError(
                f"forcing {name!r} has shape {list(np.shape(given))}; give a number, {shapes} with "
                f"{intervals} intervals (times has the start and {intervals} ends)."
            )
        if not _between(x, spec.lower, spec.upper):
            x = _rounded(x, spec)
        if not _between(x, spec.lower, spec.upper):
            bad = ~torch.isfinite(x) | (x < spec.lower) | (x > spec.upper)
            column, i, cell = (int(v) for v in bad.nonzero()[0])
            place = f"column {column}" + (f", cell {cell}" if x.shape[2] > 1 else "")
            raise DataError(
                f"forcing {name!r} is {float(x[column, i, cell]):g} {spec.unit} at {place}, in "
                f"the interval that ends at {labels[i + 1]}; allowed: {spec.lower:g} to "
                f"{spec.upper:g}, no gaps; fill or correct it first."
            )
        out[name] = x
    return out


def read_parameters(
    model: ProcessModel,
    parameters: Mapping[str, Any],
    intervals: int,
    layers: int,
    dtype: torch.dtype,
    device: torch.device,
    needed: Collection[str] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return static parameters `[column or 1, width]` and time-varying ones.

    The latter are `[column or 1, interval, width]`.

    `needed` are those without which a group is not complete; default: all of the group.
    """
    for name in model.replaced:
        if name in parameters:
            raise ParameterError(
                f"parameter {name!r} belongs to the formula that the closure in the slot "
                f"{model.replaced[name]!r} replaces: it would do nothing, leave it out."
            )
    _names(parameters, model.spec.parameters, "parameter", model)
    model.spec.check_groups(parameters, needed)
    static: dict[str, Tensor] = {}
    varying: dict[str, Tensor] = {}
    for name, spec in model.spec.parameters.items():
        given = parameters.get(name, spec.default)
        if _is_number(given) and given > spec.minimum:
            static[name] = torch.full((1, 1), given, dtype=dtype, device=device)
            continue
        x = numeric(given, dtype, device, f"parameter {name!r}")
        parts = model.spec.cells(model.size) if spec.per == "cell" else layers
        x, in_time = _shaped(x, spec, intervals, parts)
        if not _between(x, math.nextafter(spec.minimum, math.inf), math.inf):
            bad = ~torch.isfinite(x) | (x <= spec.minimum)
            at = bad.nonzero()[0].tolist()
            rule = (
                "finite" if spec.minimum == -float("inf") else f"finite and above {spec.minimum:g}"
            )
            raise ParameterError(
                f"parameter {name!r} is {float(x[tuple(at)]):g} at column {at[0]}; it must be "
                f"{rule} ({spec.unit})."
            )
        (varying if in_time else static)[name] = x
    aligned = {k: v[:, None] for k, v in static.items()} if varying else static
    model.check_parameters({**aligned, **varying})
    return static, varying


def _shaped(x: Tensor, spec: ParameterSpec, intervals: int, layers: int) -> tuple[Tensor, bool]:
    per_layer, part = spec.per != "column", spec.per
    if x.ndim == 0:
        return x.view(1, 1), False
    if x.ndim == 1:
        if per_layer and layers > 1 and len(x) == layers:
            raise ParameterError(
                f"parameter {spec.name!r} of shape [{len(x)}] could mean {layers} columns or "
                f"{layers} {part}s; give [1, {layers}] for {part}s or [{len(x)}, 1] for columns."
            )
        return x[:, None], False
    if x.ndim == 2 and per_layer and x.shape[1] in (1, layers):
        return x, False
    if x.ndim == 2 and x.shape[1] == intervals and (not per_layer or layers == 1):
        return x[..., None], True
    if x.ndim == 3 and per_layer and x.shape[1] == intervals and x.shape[2] in (1, layers):
        return x, True
    allowed = (
        f"a number, [batch], [batch, {part}] or [batch, time, {part}]"
        if per_layer
        else "a number, [batch] or [batch, time]"
    )
    raise ParameterError(
        f"parameter {spec.name!r} has shape {list(x.shape)}; give {allowed}, here with {intervals} "
        "intervals" + (f" and {layers} {part}s." if per_layer else ".")
    )


def read_state(
    model: ProcessModel, initial: Any, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return the initial state `[column or 1, size]`, from an array or from values by state.

    A store that is less than empty by up to one `scale` of its specification is left as it is: a
    method such as sdirk2 may end there, and a solve that goes on from its last state must begin
    there. What lies further below is a gap or a mistake.

    Raises
    ------
    DataError
        Another shape, a value that is not finite, or one below the least of its state.
    """
    if isinstance(initial, Mapping):
        initial = _by_state(model, initial, dtype, device)
    states = model.spec.states
    left_out = [s.default for s in states.values() if not math.isnan(s.default)]  # these come first
    given = model.size - len(left_out)
    least = max(s.least - s.scale for s in states.values())
    if _is_number(initial) and not left_out and initial >= least:
        return torch.full((1, model.size), initial, dtype=dtype, device=device)
    state = list(states.values())[len(left_out)]
    x = numeric(initial, dtype, device, "initial_state")
    if x.ndim == 0:
        x = x.expand(given)
    if x.ndim == 1 and len(x) in (given, model.size):
        x = x[None]
    if left_out and x.ndim == 2 and x.shape[1] == given:
        x = torch.cat([x.new_tensor(left_out).expand(len(x), -1), x], -1)
    if x.ndim != 2 or x.shape[1] != model.size:
        names = (
            f"{', '.join(model.spec.states)}; or a mapping by name"
            if len(model.spec.states) > 1
            else state.unit
        )
        raise DataError(
            f"initial_state has shape {list(x.shape)}; give a number, [{model.size}] or [batch, "
            f"{model.size}] ({names})."
        )
    if not _between(x, -math.inf, math.inf):
        at = (~torch.isfinite(x)).nonzero()[0].tolist()
        name, place = next(
            (k, p) for k, p in model.spec.places(model.size).items() if p.start <= at[1] < p.stop
        )
        cell = f", cell {at[1] - place.start}" if place.stop - place.start > 1 else ""
        raise DataError(
            f"initial_state is not finite at column {at[0]}{cell} (state {name!r}): fill or "
            "correct it."
        )
    if not _between(
        x, least, math.inf
    ):  # below the bound of some state: perhaps of one that has none
        _not_below(model, x)
    return x


def _not_below(model: ProcessModel, x: Tensor) -> None:
    """Raise DataError where a state `[column, size]` is below its bound by more than its scale."""
    for name, place in model.spec.places(model.size).items():
        state = model.spec.states[name]
        bad = x[:, place] < state.least - state.scale
        if bool(bad.any()):
            column, i = bad.nonzero()[0].tolist()
            cell = f", cell {i}" if place.stop - place.start > 1 else ""
            raise DataError(
                f"initial_state: {name!r} is {float(x[:, place][column, i]):g} {state.unit} at "
                f"column {column}{cell}, below its least of {state.least:g} {state.unit}: fill the "
                f"gap or correct it; an empty store is {state.least:g}."
            )


def _by_state(
    model: ProcessModel, given: Mapping[str, Any], dtype: torch.dtype, device: torch.device
) -> Any:
    """States by name as one array `[column or 1, size]`."""
    states = model.spec.states
    _names(given, states, "state", model)
    missing = ", ".join(
        f"{k} ({s.unit})" for k, s in states.items() if k not in given and math.isnan(s.default)
    )
    if missing:
        raise DataError(
            f"initial_state lacks the states {missing}; give each state of this {model.spec.name} "
            "model."
        )
    if len(states) == 1:
        x = given[next(iter(states))]
        if model.size == 1 and not _is_number(x):
            x = numeric(x, dtype, device, "initial_state")
            return x[:, None] if x.ndim == 1 else x
        return x
    rows: dict[str, Tensor] = {}
    for name, place in model.spec.places(model.size).items():
        x = numeric(given.get(name, states[name].default), dtype, device, f"initial_state {name!r}")
        width = place.stop - place.start
        if width == 1 and x.ndim < 2:
            x = x.reshape(-1, 1)
        elif x.ndim < 2 and x.shape in ((), (width,)):
            x = x.expand(1, width)
        if x.ndim != 2 or x.shape[1] != width:
            shape, unit = list(x.shape), states[name].unit
            allowed = (
                "a number or [batch]" if width == 1 else f"a number, [{width}] or [batch, {width}]"
            )
            raise DataError(f"initial_state {name!r} has shape {shape}; give {allowed} ({unit}).")
        rows[name] = x
    columns = batch_size({f"initial_state {k!r}": x for k, x in rows.items()})
    return torch.cat([x.expand(columns, -1) for x in rows.values()], -1)


def _is_number(value: Any) -> bool:
    """Whether this is a plain finite number, which needs none of the work below.

    In a small solve every operation counts.
    """
    return type(value) in (int, float) and abs(value) < FLOAT32_MAX


def _between(x: Tensor, lower: float, upper: float) -> bool:
    """Return whether all values are finite and within the bounds."""
    if x.numel() == 0:
        return True
    if x.numel() == 1:
        low = high = x.item()
    else:
        low, high = (v.item() for v in torch.aminmax(x.detach()))
    return lower <= low and high <= upper and -math.inf < low and high < math.inf


def _rounded(x: Tensor, forcing: ForcingSpec) -> Tensor:
    """Return forcing with rounding errors beyond its bounds, as a rain of -1e-18, set to the bound.

    Gradients pass.
    """
    margin = ROUNDING * (forcing.upper - forcing.lower)
    if not 0 < margin < math.inf:
        return x
    at_bound = x.detach().clamp(forcing.lower, forcing.upper)
    away = at_bound - x.detach()
    return x + torch.where(away.abs() <= margin, away, 0.0)


def batch_size(tensors: Mapping[str, Tensor]) -> int:
    """Number of columns that all inputs agree on."""
    sizes = {k: v.shape[0] for k, v in tensors.items() if v.shape[0] != 1}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{k} has {n}" for k, n in sizes.items())
        raise DataError(
            f"inputs disagree on the number of columns: {found}; give each for all columns, or for "
            "one."
        )
    return next(iter(sizes.values()), 1)


def _names(
    given: Mapping[str, Any], known: Mapping[str, Any], what: str, model: ProcessModel
) -> None:
    for name in given:
        if name not in known:
            raise UnknownName(
                f"unknown {what} {name!r}{nearest(str(name), known)} "
                f"This {model.spec.name} model has: {', '.join(known) or 'none'}."
            )


def numeric(value: Any, dtype: torch.dtype, device: torch.device, what: str) -> Tensor:
    """Real numbers as a tensor; gaps under a mask are NaN.

    Raises
    ------
    DataError
        Dates, complex numbers, text; lists of tensors whose gradients would be lost.
    """
    if isinstance(value, Tensor):
        if value.is_complex():
            raise DataError(f"{what} is of type {value.dtype}: give real numbers.")
        return (
            value
            if value.dtype == dtype and value.device == device
            else value.to(dtype=dtype, device=device)
        )
    kind = getattr(getattr(value, "dtype", None), "kind", "f")
    if kind in "mMc":
        raise DataError(f"{what} is of type {value.dtype}: give real numbers.")
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = value.tolist()
    members = _types(value)
    if any(issubclass(k, Tensor) for k in members) and any(x.requires_grad for x in _flat(value)):
        raise DataError(
            f"{what} is a list of tensors that require gradients, which would be lost: give "
            "torch.stack([...])."
        )
    try:
        if any(issubclass(k, np.ma.MaskedArray) for k in members):
            value = _filled(value)
        # a copy: an array that changes after the solve must not change its gradient
        return torch.as_tensor(np.array(value, dtype=float), dtype=dtype, device=device)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{what} is not numeric: {str(error).rstrip('.')}; give numbers."
        ) from error


def _types(value: Any) -> set[type]:
    """Types of a value, or of the members of lists in lists."""
    if not isinstance(value, list | tuple):
        return {type(value)}
    kinds = set(map(type, value))
    nested = any(issubclass(k, list | tuple) for k in kinds)
    return kinds.union(*map(_types, value)) if nested else kinds


def _flat(value: Any) -> Iterator[Tensor]:
    """Tensors in lists in lists."""
    if isinstance(value, list | tuple):
        for member in value:
            yield from _flat(member)
    elif isinstance(value, Tensor):
        yield value


def _filled(value: Any) -> Any:
    """A masked array, as netCDF4 returns it, or lists of such, with NaN under the mask.

    What lies there is no number.
    """
    if isinstance(value, list | tuple):
        return [_filled(v) for v in value]
    return (
        np.ma.filled(value.astype(float), np.nan) if isinstance(value, np.ma.MaskedArray) else value
    )
