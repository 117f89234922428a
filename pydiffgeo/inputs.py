"""Checks and shapes of everything that a user gives to `solve`, before any work is done."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pydiffgeo.errors import DataError, ParameterError, UnitError, UnknownName, nearest
from pydiffgeo.models.base import ProcessModel
from pydiffgeo.models.spec import ParameterSpec

HOURS = {"s": 1 / 3600, "min": 1 / 60, "h": 1.0, "d": 24.0}
SAME_UNITS = {
    "cm/h": "cm h-1", "cm/hr": "cm h-1", "cm hour-1": "cm h-1", "cm hr-1": "cm h-1", "1/cm": "cm-1", "m3 m-3": "1",
    "cm3 cm-3": "1", "m3/m3": "1", "cm3/cm3": "1", "-": "1", "": "1", "dimensionless": "1",
}  # fmt: skip


def read_times(times: Any, unit: str) -> tuple[Tensor, np.ndarray]:
    """Lengths of the intervals in the model's unit of time, and the labels of the times as given.

    Parameters
    ----------
    times : array-like, [time + 1]
        The start, then the end of each forcing interval: numbers in `unit`, or dates (datetime64).
    """
    labels = times.detach().cpu().numpy() if isinstance(times, Tensor) else np.asarray(times)
    if labels.ndim != 1 or labels.size < 2:
        raise DataError(f"times must be one-dimensional with the start and at least one interval end, got shape {labels.shape}")
    if labels.dtype.kind == "M":
        if np.isnat(labels).any():
            raise DataError(f"times[{int(np.isnat(labels).argmax())}] is not a date")
        seconds = (labels - labels[0]) / np.timedelta64(1, "ns") * 1e-9
        numbers = seconds / 3600 / HOURS[unit]
    else:
        numbers = labels.astype(float)
    lengths = numbers[1:] - numbers[:-1]
    if not 0 < lengths.min() <= lengths.max() < math.inf:
        bad = ~np.isfinite(numbers)
        if bad.any():
            raise DataError(f"times[{int(bad.argmax())}] is not finite")
        i = int((lengths <= 0).argmax())
        raise DataError(
            f"times must increase: times[{i}]={labels[i]} is followed by times[{i + 1}]={labels[i + 1]}; "
            "sort them and drop duplicates"
        )
    return torch.from_numpy(lengths), labels


def read_forcing(
    model: ProcessModel, forcing: Mapping[str, Any], labels: np.ndarray, dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    """Forcing as `[column or 1, interval, 1]`, in the order of the spec."""
    known = model.spec.forcings
    intervals = len(labels) - 1
    _names(forcing, known, "forcing", model)
    missing = [k for k in known if k not in forcing]
    if missing:
        need = ", ".join(f"{k} ({known[k].unit})" for k in missing)
        raise DataError(f"missing forcing of this {model.spec.name} model: {need}")
    out = {}
    for name, spec in known.items():
        given = forcing[name]
        if _is_number(given) and spec.lower <= given <= spec.upper:
            out[name] = torch.full((1, intervals, 1), given, dtype=dtype, device=device)
            continue
        _unit(given, spec.unit, f"forcing {name!r}")
        x = _tensor(given, dtype, device, f"forcing {name!r}")
        if x.ndim == 0:
            x = x.expand(1, intervals)
        elif x.ndim == 1:
            x = x[None]
        if x.ndim != 2 or x.shape[1] != intervals:
            raise DataError(
                f"forcing {name!r} has shape {list(np.shape(given))}; give a number, [time] or [batch, time] with "
                f"{intervals} intervals (times has the start and {intervals} ends)"
            )
        if not _between(x, spec.lower, spec.upper):
            bad = ~torch.isfinite(x) | (x < spec.lower) | (x > spec.upper)
            column, i = (int(v) for v in bad.nonzero()[0])
            raise DataError(
                f"forcing {name!r} is {float(x[column, i]):g} {spec.unit} at column {column}, in the interval that ends at "
                f"{_label(given, labels, i)}; allowed: {spec.lower:g} to {spec.upper:g}, no gaps; fill or correct it first"
            )
        out[name] = x[..., None]
    return out


def read_parameters(
    model: ProcessModel,
    parameters: Mapping[str, Any],
    intervals: int,
    layers: int,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Static parameters `[column or 1, width]` and time-varying ones `[column or 1, interval, width]`."""
    for name in model.replaced:
        if name in parameters:
            raise ParameterError(f"parameter {name!r} belongs to the formula that the closure in the slot "
                                 f"{model.replaced[name]!r} replaces: it would do nothing, leave it out")  # fmt: skip
    _names(parameters, model.spec.parameters, "parameter", model)
    static: dict[str, Tensor] = {}
    varying: dict[str, Tensor] = {}
    for name, spec in model.spec.parameters.items():
        given = parameters.get(name, spec.default)
        if _is_number(given) and given > spec.minimum:
            static[name] = torch.full((1, 1), given, dtype=dtype, device=device)
            continue
        _unit(given, spec.unit, f"parameter {name!r}")
        x = _tensor(given, dtype, device, f"parameter {name!r}")
        x, in_time = _shaped(x, spec, intervals, layers)
        if not _between(x, math.nextafter(spec.minimum, math.inf), math.inf):
            bad = ~torch.isfinite(x) | (x <= spec.minimum)
            at = bad.nonzero()[0].tolist()
            rule = "finite" if spec.minimum == -float("inf") else f"finite and above {spec.minimum:g}"
            raise ParameterError(
                f"parameter {name!r} is {float(x[tuple(at)]):g} at column {at[0]}; it must be {rule} ({spec.unit})"
            )
        (varying if in_time else static)[name] = x
    aligned = {k: v[:, None] for k, v in static.items()} if varying else static
    model.check_parameters({**aligned, **varying})
    return static, varying


def _shaped(x: Tensor, spec: ParameterSpec, intervals: int, layers: int) -> tuple[Tensor, bool]:
    per_layer = spec.per == "layer"
    if x.ndim == 0:
        return x.view(1, 1), False
    if x.ndim == 1:
        if per_layer and layers > 1 and len(x) == layers:
            raise ParameterError(
                f"parameter {spec.name!r} of shape [{len(x)}] could mean {layers} columns or {layers} layers; give "
                f"[1, {layers}] for layers or [{len(x)}, 1] for columns"
            )
        return x[:, None], False
    if x.ndim == 2 and per_layer and x.shape[1] in (1, layers):
        return x, False
    if x.ndim == 2 and x.shape[1] == intervals and (not per_layer or layers == 1):
        return x[..., None], True
    if x.ndim == 3 and per_layer and x.shape[1] == intervals and x.shape[2] in (1, layers):
        return x, True
    allowed = "a number, [batch], [batch, layer] or [batch, time, layer]" if per_layer else "a number, [batch] or [batch, time]"
    raise ParameterError(
        f"parameter {spec.name!r} has shape {list(x.shape)}; give {allowed}, here with {intervals} intervals"
        + (f" and {layers} layers" if per_layer else "")
    )


def read_state(model: ProcessModel, initial: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Initial state `[column or 1, size]`."""
    if _is_number(initial):
        return torch.full((1, model.size), initial, dtype=dtype, device=device)
    state = next(iter(model.spec.states.values()))
    _unit(initial, state.unit, "initial_state")
    x = _tensor(initial, dtype, device, "initial_state")
    if x.ndim == 0:
        x = x.expand(model.size)
    if x.ndim == 1 and len(x) == model.size:
        x = x[None]
    if x.ndim != 2 or x.shape[1] != model.size:
        raise DataError(
            f"initial_state has shape {list(x.shape)}; give a number, [{model.size}] or [batch, {model.size}] ({state.unit})"
        )
    if not _between(x, -math.inf, math.inf):
        at = (~torch.isfinite(x)).nonzero()[0].tolist()
        raise DataError(f"initial_state is not finite at column {at[0]}, cell {at[1]}")
    return x


def _is_number(value: Any) -> bool:
    """Whether this is a plain finite number, which needs none of the work below: in a small solve every operation counts."""
    return type(value) in (int, float) and math.isfinite(value)


def _between(x: Tensor, lower: float, upper: float) -> bool:
    """Whether all values are finite and within the bounds; a NaN anywhere makes both extremes NaN."""
    if x.numel() == 0:
        return True
    if x.numel() == 1:
        low = high = x.item()
    else:
        low, high = (v.item() for v in torch.aminmax(x.detach()))
    return lower <= low and high <= upper and -math.inf < low and high < math.inf


def batch_size(tensors: Mapping[str, Tensor]) -> int:
    """Number of columns that all inputs agree on."""
    sizes = {k: v.shape[0] for k, v in tensors.items() if v.shape[0] != 1}
    if len(set(sizes.values())) > 1:
        raise DataError("inputs disagree on the number of columns: " + ", ".join(f"{k} has {n}" for k, n in sizes.items()))
    return next(iter(sizes.values()), 1)


def _names(given: Mapping[str, Any], known: Mapping[str, Any], what: str, model: ProcessModel) -> None:
    for name in given:
        if name not in known:
            raise UnknownName(
                f"unknown {what} {name!r}{nearest(str(name), known)} "
                f"This {model.spec.name} model has: {', '.join(known) or 'none'}."
            )


def _tensor(value: Any, dtype: torch.dtype, device: torch.device, what: str) -> Tensor:
    if isinstance(value, Tensor):
        return value if value.dtype == dtype and value.device == device else value.to(dtype=dtype, device=device)
    try:
        # a copy: an array that changes after the solve must not change its gradient
        return torch.as_tensor(np.array(value, dtype=float), dtype=dtype, device=device)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} is not numeric: {error}") from error


def _is_data_array(value: Any) -> bool:
    xarray = sys.modules.get("xarray")  # half a second to import: whoever has a DataArray has done so
    return xarray is not None and isinstance(value, xarray.DataArray)


def _unit(value: Any, unit: str, what: str) -> None:
    if _is_data_array(value) and "units" in value.attrs:
        given = str(value.attrs["units"]).strip()
        if SAME_UNITS.get(given, given) != unit:
            raise UnitError(f"{what} has units {given!r}, the model needs {unit!r}; convert the values and set attrs['units']")


def _label(given: Any, labels: np.ndarray, i: int) -> str:
    if _is_data_array(given) and "time" in given.coords:
        return str(given["time"].values[i])
    return str(labels[i + 1])
