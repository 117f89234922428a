"""Model specifications: what a process model declares, read from TOML.

NAME.toml, which stands beside NAME.py, is the single source of names, order, units, bounds and
defaults for every engine.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from typing import Any

from pydiffgeo.errors import ParameterError, SpecError, lookup, nearest
from pydiffgeo.times import SECONDS
from pydiffgeo.units import Units, is_unit

TRANSFORMS = ("linear", "log")
PLACES = {
    "state": ("column", "cell"),
    "parameter": ("column", "layer", "cell"),
    "forcing": ("column", "cell"),
    "flux": ("column", "cell"),
}
"""What an entry of a kind may have one value for: its `per`."""


@dataclass(frozen=True)
class StateSpec:
    """A state variable and the storage that the solver conserves.

    `scale` and `storage_scale` are typical magnitudes: the default absolute tolerances of this
    state are `rtol` times them. `lower` is where a store is empty: Newton's method comes near it in
    parts, and does not pass it where there is a solution above. `minimum`, where it is higher, is
    the least that an initial state may be: a bound that Newton's method does not know. `per` is
    "cell" for the state of every cell of a column beside states of the whole column; `default` is
    what a column begins with where its initial state leaves this one out.

    A state whose `storage` is "none" stores nothing: its rate is an equation that holds at all
    times, 0 = f(u); `storage_unit` and `storage_scale` are unit and typical magnitude of the terms
    of that equation, and an initial state is a guess.
    """

    name: str
    unit: str
    scale: float
    storage: str
    storage_unit: str
    storage_scale: float
    lower: float = -math.inf
    minimum: float = -math.inf
    per: str = "column"
    default: float = math.nan
    description: str = ""

    @property
    def algebraic(self) -> bool:
        """Whether the state stores nothing."""
        return self.storage == "none"

    @property
    def least(self) -> float:
        """The least that an initial state may be."""
        return max(self.lower, self.minimum)


@dataclass(frozen=True)
class ParameterSpec:
    """A parameter: unit, default, range, and transform for learning it.

    `lower` and `upper` bound what a network may learn; `minimum` is the value that physics requires
    it to exceed, and the only bound that is enforced on given values. Parameters of one `group` are
    given all or none: the defaults of a group belong together, and one of them beside values of the
    user would be no parameter of anything. `learn` says whether a network gives it unless told
    otherwise: a length is measured. `per` is "cell" for one value in each cell of a column, "layer"
    for one in each layer of a soil.
    """

    name: str
    unit: str
    lower: float
    upper: float
    default: float
    transform: str = "linear"
    per: str = "column"
    minimum: float = -math.inf
    group: str = ""
    learn: bool = True
    description: str = ""
    source: str = ""


@dataclass(frozen=True)
class ForcingSpec:
    """A forcing, constant over the interval that ends at its time, with its possible range.

    `per` is "cell" for one value in each cell of a column.
    """

    name: str
    unit: str
    lower: float = -math.inf
    upper: float = math.inf
    per: str = "column"
    description: str = ""

    @property
    def typical(self) -> float:
        """A value within the bounds: the middle, one unit from the only bound, or 1."""
        bounded = math.isfinite(self.lower) + 2 * math.isfinite(self.upper)
        return (1.0, self.lower + 1.0, self.upper - 1.0, (self.lower + self.upper) / 2)[bounded]


@dataclass(frozen=True)
class FluxSpec:
    """A flux, reported as interval mean.

    `balance` is +1 into the storage, -1 out of it, 0 elsewhere; of a flux with `per` "cell", which
    has one value in each cell of a column, each value counts.
    """

    name: str
    unit: str
    balance: int
    per: str = "column"
    description: str = ""


@dataclass(frozen=True)
class ClosureSpec:
    """A place in a user's equations where a network must stand."""

    name: str
    inputs: tuple[str, ...]
    output: str
    description: str = ""


@dataclass(frozen=True)
class SlotSpec:
    """A formula of a built-in model in whose place a network may stand.

    The output lies in `range`; the formula rises in the inputs `monotone`, in which a network
    `must_rise` too where the equations need it; `replaces` are the parameters that nothing but the
    formula reads; `description` is the formula. `domain` is where the inputs usually lie, and
    `space` how a network is best fitted to the formula there: see `pydiffgeo.fit_closure`.
    """

    name: str
    inputs: tuple[str, ...]
    units: tuple[str, ...]
    output: str
    unit: str
    range: tuple[float, float]
    domain: tuple[float, float]
    space: str = "output"
    monotone: tuple[str, ...] = ()
    must_rise: bool = False
    replaces: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class ConstantSpec:
    """A number of the equations, the same for every column, which both engines read."""

    name: str
    value: float
    unit: str
    description: str = ""


@dataclass(frozen=True)
class ModelSpec:
    """Everything that a model declares; see `load_spec`."""

    name: str
    title: str
    time_unit: str
    states: dict[str, StateSpec]
    parameters: dict[str, ParameterSpec]
    forcings: dict[str, ForcingSpec]
    fluxes: dict[str, FluxSpec]
    closures: dict[str, ClosureSpec]
    source: str = ""
    slots: dict[str, SlotSpec] = field(default_factory=dict)
    constants: dict[str, ConstantSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for problem in chain(
            self._units(), self._per(), self._states(), self._parameters(), self._fluxes(),
            self._slots(),
        ):  # fmt: skip
            raise SpecError(f"model {self.name!r}{problem}.")
        for slot in self.slots.values():
            for name in slot.monotone:
                lookup(dict.fromkeys(slot.inputs), name, f"input of the slot {slot.name!r}")

    def _units(self) -> Iterator[str]:
        if self.time_unit not in SECONDS:
            yield f": time_unit {self.time_unit!r} is none of {', '.join(SECONDS)}"
        states = [
            (f"state {s.name!r}", u) for s in self.states.values() for u in (s.unit, s.storage_unit)
        ]
        kinds: dict[str, Mapping[str, Any]] = {
            "parameter": self.parameters,
            "forcing": self.forcings,
            "flux": self.fluxes,
            "constant": self.constants,
        }
        others = [
            (f"{kind} {name!r}", entry.unit)
            for kind, entries in kinds.items()
            for name, entry in entries.items()
        ]
        for what, unit in states + others:
            if not is_unit(unit):
                yield (
                    f", {what}: unknown unit {unit!r}; write units as 'mm d-1', 'm3 s-1', "
                    "'degC' or '1'"
                )

    def _per(self) -> Iterator[str]:
        kinds: dict[str, Mapping[str, Any]] = {
            "state": self.states, "parameter": self.parameters, "forcing": self.forcings,
            "flux": self.fluxes,
        }  # fmt: skip
        for kind, entries in kinds.items():
            for name, entry in entries.items():
                if entry.per not in PLACES[kind]:
                    known = " or ".join(f'"{p}"' for p in PLACES[kind])
                    yield f", {kind} {name!r}: per = {entry.per!r} must be {known}"

    def _states(self) -> Iterator[str]:
        if not self.states:
            yield " declares no state: write a table [states.NAME]"
        for s in self.states.values():
            for key in ("scale", "storage_scale"):
                value = getattr(s, key)
                if not 0 < value < math.inf:
                    yield (
                        f", state {s.name!r}: {key} = {value:g} must be the typical magnitude, "
                        "a positive number"
                    )
            if s.name in self.fluxes:
                yield f": {s.name!r} is the name of a state and of a flux; rename one"

    def _parameters(self) -> Iterator[str]:
        for p in self.parameters.values():
            if not p.lower < p.upper or not p.lower <= p.default <= p.upper:
                yield (
                    f", parameter {p.name!r}: needs lower < upper and the default between them, "
                    f"got lower={p.lower}, default={p.default}, upper={p.upper}"
                )
            if p.transform not in TRANSFORMS:
                yield (
                    f", parameter {p.name!r}: unknown transform "
                    f"{p.transform!r}{nearest(p.transform, TRANSFORMS)} Known: "
                    f"{', '.join(TRANSFORMS)}"
                )
            if p.transform == "log" and p.lower <= 0:
                yield f", parameter {p.name!r}: a log transform needs a positive lower bound"

    def _fluxes(self) -> Iterator[str]:
        for q in self.fluxes.values():
            if q.balance not in (-1, 0, 1):
                yield (
                    f", flux {q.name!r}: balance = {q.balance} must be 1 (into the storage), -1 "
                    "(out of it) or 0 (neither)"
                )
        units = {q.unit: q.name for q in self.fluxes.values() if q.balance}
        if len(units) > 1:
            listed = ", ".join(f"{name} in {unit}" for unit, name in units.items())
            yield (
                f": fluxes of one balance have one unit, but there are {listed}; give those of "
                "other quantities balance = 0"
            )

    def _slots(self) -> Iterator[str]:
        for slot in self.slots.values():
            if len(slot.units) != len(slot.inputs) or any(
                len(r) != 2 or not r[0] < r[1] for r in (slot.range, slot.domain)
            ):
                yield (
                    f", slot {slot.name!r}: needs a unit for each input, and range and domain = "
                    "[low, high]"
                )

    @property
    def algebraic(self) -> list[str]:
        """Names of the states that store nothing."""
        return [name for name, s in self.states.items() if s.algebraic]

    @property
    def stationary(self) -> bool:
        """Whether no state stores anything: each interval is a problem of its own."""
        return all(s.algebraic for s in self.states.values())

    def each_state(self, size: int) -> list[StateSpec]:
        """What each of the `size` values of a column is.

        The states in their order, one of which may be that of all cells.
        """
        return [
            s
            for name, place in self.places(size).items()
            for s in [self.states[name]] * (place.stop - place.start)
        ]

    def places(self, size: int) -> dict[str, slice]:
        """Where each state stands among the `size` values of a column."""
        names = list(self.states)
        in_cells = (
            names if len(names) == 1 else [k for k, s in self.states.items() if s.per == "cell"]
        )
        if (len(in_cells) != 1 and len(names) != size) or len(names) > size:
            raise SpecError(
                f"model {self.name!r} declares the states {', '.join(self.states)}, but has a size "
                f"of {size}: set `size` to {len(names)}, or declare one state for all cells."
            )
        out, first = {}, 0
        for name in names:
            out[name] = slice(first, first + (size - len(names) + 1 if name in in_cells else 1))
            first = out[name].stop
        return out

    def cells(self, size: int) -> int:
        """Return the number of cells of a column of `size` values; 1 where it has none."""
        return max(p.stop - p.start for p in self.places(size).values())

    def flux_places(self, size: int) -> dict[str, slice]:
        """Where each flux stands among those of a column: one value, or one for each cell."""
        out, first = {}, 0
        for name, flux in self.fluxes.items():
            out[name] = slice(first, first + (self.cells(size) if flux.per == "cell" else 1))
            first = out[name].stop
        return out

    def flux_values(self, size: int) -> int:
        """Number of values of all fluxes of a column."""
        return max((p.stop for p in self.flux_places(size).values()), default=0)

    def select(
        self,
        *,
        parameters: list[str],
        forcings: list[str],
        states: list[str],
        fluxes: list[str],
        extra: Mapping[str, ParameterSpec] | None = None,
    ) -> ModelSpec:
        """Return the specification of these entries, in this order; `extra` adds parameters."""
        known = {**self.parameters, **(extra or {})}
        return replace(
            self,
            states={k: lookup(self.states, k, f"state of {self.name}") for k in states},
            parameters={k: lookup(known, k, f"parameter of {self.name}") for k in parameters},
            forcings={k: lookup(self.forcings, k, f"forcing of {self.name}") for k in forcings},
            fluxes={k: lookup(self.fluxes, k, f"flux of {self.name}") for k in fluxes},
        )

    def check_groups(self, given: Container[str], needed: Container[str] | None = None) -> None:
        """Raise ParameterError for a group of parameters of which only some are given.

        Parameters
        ----------
        given : container of str
            Names.
        needed : container of str, optional
            Names without which a group is not complete; default: all.
        """
        members = {k: p.group for k, p in self.parameters.items() if p.group}
        begun = {group for k, group in members.items() if k in given}
        missing = [
            k
            for k, group in members.items()
            if group in begun and k not in given and (needed is None or k in needed)
        ]
        if missing:
            group = members[missing[0]]
            need = ", ".join(f"{k} ({self.parameters[k].unit})" for k in missing)
            raise ParameterError(
                f"missing {group} parameters: {need}; give all of "
                f"{', '.join(k for k, g in members.items() if g == group)}, or none of them for "
                "the defaults of the specification."
            )

    def in_units(self, units: Units, keep: Container[str] = ()) -> ModelSpec:
        """Return the specification in the user's units of length and time in place of cm and h.

        Every quantity follows from the text of its unit. Slots stay as they are: closures read what
        is computed.

        Parameters
        ----------
        units : Units
        keep : container of str
            Parameters that stay as they are.
        """
        if units.computed:
            return self

        def converted(table: dict[str, Any]) -> dict[str, Any]:
            return {k: v if k in keep else _converted(v, units) for k, v in table.items()}

        return replace(
            self, time_unit=units.name(self.time_unit), states=converted(self.states),
            forcings=converted(self.forcings),
            parameters=converted(self.parameters), fluxes=converted(self.fluxes),
            constants=converted(self.constants),
        )  # fmt: skip


def _converted(entry: Any, units: Units) -> Any:
    """An entry of a specification in other units."""
    storage = getattr(entry, "storage_unit", "1")
    out: dict[str, Any] = {"unit": units.name(entry.unit)} | (
        {"storage_unit": units.name(storage)} if storage != "1" else {}
    )
    for f in fields(entry):
        value = getattr(entry, f.name)
        if isinstance(value, int | float) and f.name not in ("balance", "learn"):
            out[f.name] = value / units.factor(
                storage if f.name.startswith("storage_") else entry.unit
            )
    return replace(entry, **out)
