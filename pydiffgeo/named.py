"""Arrays with names (xarray, pandas): units, dimensions, dates and columns are compared."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pydiffgeo.errors import DataError, DataWarning, UnitError
from pydiffgeo.models.base import ProcessModel
from pydiffgeo.times import decoded, differing, intervals, parse_times
from pydiffgeo.units import conversion, same_unit

ROLES = {
    **dict.fromkeys(
        (
            "batch",
            "column",
            "site",
            "basin",
            "station",
            "gauge",
            "gauge_id",
            "member",
            "sample",
            "id",
            "catchment",
            "reach",
            "segment",
            "leaf",
            "curve",
            "tower",
            "location",
        ),
        "batch",
    ),
    **dict.fromkeys(("time", "t", "date", "dates", "datetime", "valid_time"), "time"),
    **dict.fromkeys(("state", "cell", "layer", "depth", "z"), "state"),
}
"""What a dimension of this name is; one whose coordinate has dates is time, whatever its name."""


@dataclass
class Names:
    """What the names of all inputs of one solve are compared with.

    Attributes
    ----------
    times : ndarray, [time + 1], optional
        As `parse_times` reads them.
    time_unit : str
        Of numbers among the times.
    columns : (str, ndarray), optional
        The first input that names its columns, and these names.
    """

    times: NDArray | None
    time_unit: str
    columns: tuple[str, NDArray] | None = None

    def drop(
        self, value: Any, axes: Sequence[str], unit: str, what: str, needs: str | None = None
    ) -> Any:
        """Return the values of an array with names, its dimensions in the order of `axes`.

        Anything else stays as it is.

        Parameters
        ----------
        axes : sequence of {"batch", "time", "state"}
            The order of dimensions that the input takes.
        needs : str, optional
            One of them that must not be missing.

        Raises
        ------
        UnitError, DataError
            A unit that does not convert; values still packed as in a file; a dimension that the
            input does not take, or as many columns as times and no name that tells which is which;
            dates that are not those of `times`; other columns than those of another input.
        """
        if not has_names(value):
            return value
        x, dims, coordinates = _parts(value)
        _refuse_packed(x, value.attrs, what)
        if "units" in value.attrs and not same_unit(str(value.attrs["units"]), unit):
            x = _converted(x, str(value.attrs["units"]), unit, what)
        order = _order(dims, coordinates, axes, needs, what)
        if order is None:
            if x.ndim > 1 and x.shape[0] == x.shape[1] > 1:
                raise DataError(
                    f"{what} has as many rows as columns, and its dimensions "
                    f"{', '.join(map(str, dims))} do not tell which are {' and '.join(axes[:2])}: "
                    "name one of them, or give an array without names in this order."
                )
            return x
        for role, coordinate in zip(order, coordinates, strict=True):
            if role == "time" and coordinate is not None:
                self._same_dates(coordinate, what)
            elif role == "batch" and coordinate is not None:
                self._same_columns(np.asarray(coordinate), what)
        x = x.transpose(sorted(range(x.ndim), key=lambda i: axes.index(order[i])))
        if "batch" not in order:
            x = x[None]
        return x[..., None] if "state" in axes and "state" not in order else x

    def _same_dates(self, coordinate: NDArray, what: str) -> None:
        if self.times is None:
            return
        given, ends = parse_times(coordinate, f"dates of {what}"), self.times[1:]
        numbers = given.dtype.kind not in "mM"
        if numbers and ends.dtype.kind in "mM":
            return  # counts of something: nothing that could be compared with dates
        if len(given) != len(ends):
            raise DataError(
                f"{what} has {len(given)} values from {given[0]} to {given[-1]}, but times has "
                f"{len(ends)} intervals that end at {ends[0]} to {ends[-1]}: give one value for "
                "each."
            )
        if given.dtype.kind != ends.dtype.kind and not (numbers and ends.dtype.kind in "iuf"):
            self._same_lengths(given, what)
            return
        i = differing(given, ends)
        if i is None:
            return
        if differing(given, self.times[:-1]) is None:
            raise DataError(
                f"{what} is dated by the starts of the intervals ({given[0]}, ...), but a value "
                "holds over the interval that ends at its date: assign_coords(time=times[1:]), or "
                "shift its index."
            )
        raise DataError(
            f"{what} has the time {given[i]} where the interval of times ends at {ends[i]} "
            f"(interval {i}): select the intervals of times, in their order."
        )

    def _same_lengths(self, given: NDArray, what: str) -> None:
        """Compare dates with times that are numbers or durations.

        No origin is known, but the steps are.
        """
        assert self.times is not None
        own, wanted = (
            intervals(x, self.time_unit, f"dates of {what}") for x in (given, self.times[1:])
        )
        away = ~np.isclose(own, wanted, rtol=1e-6)
        if away.any():
            i = int(away.argmax())
            raise DataError(
                f"{what} has {own[i]:g} {self.time_unit} from {given[i]} to {given[i + 1]} where "
                f"times has {wanted[i]:g} (interval {i + 1}): give times as dates, or the forcing "
                "of these intervals."
            )

    def _same_columns(self, coordinate: NDArray, what: str) -> None:
        if len(coordinate) < 2:
            return
        if self.columns is None:
            self.columns = what, coordinate
        other, names = self.columns
        if len(names) == len(coordinate) and not (names == coordinate).all():
            i = int((names != coordinate).argmax())
            raise DataError(
                f"{what} and {other} name different columns: column {i} is {coordinate[i]} and "
                f"{names[i]}; select the same, in one order."
            )


def without_names(
    model: ProcessModel,
    forcing: Mapping[str, Any],
    parameters: Mapping[str, Any],
    initial: Any,
    times: NDArray,
) -> tuple[Mapping[str, Any], Mapping[str, Any], Any]:
    """Return forcing, parameters and initial state without names.

    Unknown ones stay as they are, for the checks that follow.
    """
    by_state = initial if isinstance(initial, Mapping) else {"": initial}
    if not any(map(has_names, chain(forcing.values(), parameters.values(), by_state.values()))):
        return forcing, parameters, initial
    names, spec = Names(times, model.spec.time_unit), model.spec
    first = next(iter(spec.states.values()))
    _require_units(
        {
            f"forcing {k!r}": (v, spec.forcings[k].unit)
            for k, v in forcing.items()
            if k in spec.forcings
        }
        | {
            f"parameter {k!r}": (v, spec.parameters[k].unit)
            for k, v in parameters.items()
            if k in spec.parameters
        }
        | {
            f"initial_state {k}".strip(): (v, spec.states.get(k, first).unit)
            for k, v in by_state.items()
        }
    )
    forcing = {k: names.drop(v, _axes(spec.forcings[k].per), spec.forcings[k].unit,
    f"forcing {k!r}", needs="time")
               if k in spec.forcings else v for k, v in forcing.items()}  # fmt: skip
    parameters = parameters_without_names(model, parameters, names)
    by_state = {k: names.drop(v, ("batch", "state"), spec.states.get(k, first).unit,
    f"initial_state {k}".strip())
                for k, v in by_state.items()}  # fmt: skip
    return forcing, parameters, by_state if isinstance(initial, Mapping) else by_state[""]


def _require_units(given: Mapping[str, tuple[Any, str]]) -> None:
    """Refuse units that do not convert into those of the model, all at once."""
    bad = []
    for what, (value, unit) in given.items():
        stated = value.attrs.get("units") if has_names(value) else None
        if stated is not None and conversion(str(stated), unit) is None:
            bad.append(f"{what} has units {str(stated)!r}, the model needs {unit!r}")
    if bad:
        raise UnitError(f"{'; '.join(bad)}; convert the values and set attrs['units'].")


def _converted(x: NDArray, given: str, unit: str, what: str) -> NDArray:
    """Values in another unit; a warning says so."""
    change = conversion(given, unit)
    if change is None:
        raise UnitError(
            f"{what} has units {given!r}, the model needs {unit!r}; convert the values and set "
            "attrs['units']."
        )
    warnings.warn(f"{what} is converted from {given!r} to {unit!r}.", DataWarning, stacklevel=2)
    converted: NDArray = np.asarray(x, dtype=float) * change[0] + change[1]
    return converted


def _axes(per: str) -> tuple[str, ...]:
    """Dimensions that an input takes."""
    return ("batch", "time") if per == "column" else ("batch", "time", "state")


def parameters_without_names(
    model: ProcessModel, parameters: Mapping[str, Any], names: Names
) -> dict[str, Any]:
    """Parameters without names; unknown ones as they are."""
    out = dict(parameters)
    for name, spec in model.spec.parameters.items():
        if name in out:
            out[name] = names.drop(out[name], _axes(spec.per), spec.unit, f"parameter {name!r}")
    return out


def by_name(values: Any, what: str) -> Mapping[str, Any]:
    """Values by name: a mapping, a Dataset, or a table of pandas by its columns.

    Raises
    ------
    DataError
        No names.
    """
    if isinstance(values, dict):
        return values
    try:
        return dict(values)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{what} must be a mapping of names to values, got {type(values).__name__}."
        ) from error


def has_names(value: Any) -> bool:
    """Whether this is an array of xarray or pandas, which need not be imported for that.

    Whoever has one has done so.
    """
    if type(value) in (int, float, np.ndarray):
        return False
    xarray, pandas = sys.modules.get("xarray"), sys.modules.get("pandas")
    return (xarray is not None and isinstance(value, xarray.DataArray)) or (
        pandas is not None and isinstance(value, pandas.Series | pandas.DataFrame)
    )


def _parts(value: Any) -> tuple[NDArray, list[Any], list[Any]]:
    """Values, names of the dimensions, and their coordinates or None."""
    if hasattr(value, "coords"):
        return value.values, list(value.dims), [_coordinate(value, d) for d in value.dims]
    axes = value.axes
    # numbers in an index of pandas count rows, they name nothing
    return (
        value.to_numpy(),
        [axis.name for axis in axes],
        [None if axis.dtype.kind in "iuf" else axis for axis in axes],
    )


def _refuse_packed(x: NDArray, attributes: Mapping[Any, Any], what: str) -> None:
    """Refuse values that attributes of CF say to be packed, or to stand for none."""
    packed = [k for k in ("scale_factor", "add_offset") if k in attributes]
    fills = [k for k in ("_FillValue", "missing_value") if np.isin(x, attributes.get(k, ())).any()]
    if packed or fills:
        raise DataError(
            f"{what} is as it was packed in its file ({', '.join(packed + fills)}): decode it, "
            "as xarray.open_dataset does by itself and xarray.decode_cf afterwards."
        )


def _coordinate(value: Any, dim: Any) -> NDArray | None:
    values: NDArray | None = (
        decoded(value.coords[dim], f"dates of {dim!r}").values if dim in value.coords else None
    )
    return values


def _order(
    dims: list[Any], coordinates: list[Any], axes: Sequence[str], needs: str | None, what: str
) -> list[str] | None:
    """Which of the axes each dimension is; names that say nothing stand for the rest.

    None where no name says anything.
    """
    roles = [_role(name, c) for name, c in zip(dims, coordinates, strict=True)]
    if not any(roles):
        return None
    for name, role in zip(dims, roles, strict=True):
        if role is not None and (role not in axes or roles.count(role) > 1):
            raise DataError(
                f"{what} has the dimensions {', '.join(map(str, dims))}, but takes "
                f"{', '.join(axes)}: select one of {name!r}."
            )
    free = iter([a for a in axes if a not in roles])
    order = [role or next(free, axes[-1]) for role in roles]
    if needs is not None and needs not in order:
        raise DataError(
            f"{what} has the dimensions {', '.join(map(str, dims))}, but needs {needs}: name it or "
            "give its dates."
        )
    return order


def _role(name: Any, coordinate: Any) -> str | None:
    if coordinate is not None and len(coordinate):
        if (
            coordinate.dtype.kind in "mM"
            or hasattr(coordinate[0], "isoformat")
            or hasattr(coordinate[0], "to_timestamp")
        ):
            return "time"
        if name is None and isinstance(coordinate[0], str):  # an index of pandas
            return "batch"
    return ROLES.get(str(name).lower())
