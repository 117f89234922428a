"""Model specifications: what a process model declares, read from TOML.

The TOML files in `specs/` are the single source of names, order, units, bounds and defaults for every engine.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydiffgeo.errors import SpecError, lookup, nearest

SPEC_FOLDER = Path(__file__).parent / "specs"
TRANSFORMS = ("linear", "log")


@dataclass(frozen=True)
class StateSpec:
    """A state variable and the storage that the solver conserves.

    `scale` and `storage_scale` are typical magnitudes: the default absolute tolerances of this state are `rtol` times them.
    `lower` is where a store is empty: Newton's method comes near it in parts, and does not pass it where there is a solution
    above.
    """

    name: str
    unit: str
    scale: float
    storage: str
    storage_unit: str
    storage_scale: float
    lower: float = -math.inf
    description: str = ""


@dataclass(frozen=True)
class ParameterSpec:
    """A parameter: unit, default, range and transform for learning it, and whether each soil layer has its own.

    `lower` and `upper` bound what a network may learn; `minimum` is the value that physics requires it to exceed, and the
    only bound that is enforced on given values.
    """

    name: str
    unit: str
    lower: float
    upper: float
    default: float
    transform: str = "linear"
    per: str = "column"
    minimum: float = -math.inf
    description: str = ""
    source: str = ""


@dataclass(frozen=True)
class ForcingSpec:
    """A forcing, constant over the interval that ends at its time stamp, with the range that physics allows."""

    name: str
    unit: str
    lower: float = -math.inf
    upper: float = math.inf
    description: str = ""


@dataclass(frozen=True)
class FluxSpec:
    """A flux reported as interval mean; `balance` is +1 into the storage, -1 out of it, 0 elsewhere."""

    name: str
    unit: str
    balance: int
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

    The output lies in `range`; the formula rises in the inputs `monotone`, in which a network `must_rise` too where the
    equations need it; `replaces` are the parameters that nothing but the formula reads; `description` is the formula. `domain`
    is where the inputs usually lie, and `space` how a network is best fitted to the formula there: see `pydiffgeo.fit_closure`.
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

    def __post_init__(self) -> None:
        for p in self.parameters.values():
            if not p.lower < p.upper or not p.lower <= p.default <= p.upper:
                raise SpecError(
                    f"model {self.name!r}, parameter {p.name!r}: needs lower < upper and the default between them, "
                    f"got lower={p.lower}, default={p.default}, upper={p.upper}"
                )
            if p.transform not in TRANSFORMS:
                raise SpecError(
                    f"model {self.name!r}, parameter {p.name!r}: unknown transform {p.transform!r}"
                    f"{nearest(p.transform, TRANSFORMS)} Known: {', '.join(TRANSFORMS)}."
                )
            if p.transform == "log" and p.lower <= 0:
                raise SpecError(f"model {self.name!r}, parameter {p.name!r}: a log transform needs a positive lower bound")
        if not self.states:
            raise SpecError(f"model {self.name!r} declares no state")
        for slot in self.slots.values():
            if len(slot.units) != len(slot.inputs) or any(len(r) != 2 or not r[0] < r[1] for r in (slot.range, slot.domain)):
                raise SpecError(
                    f"model {self.name!r}, slot {slot.name!r}: needs a unit for each input, and range and domain = [low, high]"
                )
            for name in slot.monotone:
                lookup(dict.fromkeys(slot.inputs), name, f"input of the slot {slot.name!r}")

    def each_state(self, size: int) -> list[StateSpec]:
        """What each of the `size` values of a column is: the one state in all cells, or the states in their order."""
        states = list(self.states.values())
        if len(states) == 1:
            return states * size
        if len(states) != size:
            raise SpecError(
                f"model {self.name!r} declares the states {', '.join(self.states)}, but has a size of {size}: set `size` to "
                f"{len(states)}, or declare one state for all cells."
            )
        return states

    def select(
        self, *, parameters: list[str], forcings: list[str], extra: Mapping[str, ParameterSpec] | None = None
    ) -> ModelSpec:
        """Return the specification with only these parameters and forcings, in this order; `extra` adds parameters."""
        known = {**self.parameters, **(extra or {})}
        return replace(
            self,
            parameters={k: lookup(known, k, f"parameter of {self.name}") for k in parameters},
            forcings={k: lookup(self.forcings, k, f"forcing of {self.name}") for k in forcings},
        )


SECTIONS: dict[str, type] = {
    "states": StateSpec,
    "parameters": ParameterSpec,
    "forcings": ForcingSpec,
    "fluxes": FluxSpec,
    "closures": ClosureSpec,
    "slots": SlotSpec,
}


def load_spec(name: str | Path) -> ModelSpec:
    """Read a model specification.

    Parameters
    ----------
    name : str or Path
        Name of a specification shipped with the package ("richards"), or the path of a TOML file of one's own.

    Raises
    ------
    SpecError
        A key that no section knows, a missing key, or values that contradict each other; the message names them.
    """
    path = Path(name) if str(name).endswith(".toml") else SPEC_FOLDER / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in SPEC_FOLDER.glob("*.toml")))
        raise SpecError(f"no model specification {str(name)!r}; shipped: {known}; for your own give the path of a .toml file")
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path.name} is not valid TOML: {error}") from error
    head = {k: raw.get(k, "") for k in ("name", "title", "time_unit", "source")}
    if not head["name"] or not head["time_unit"]:
        raise SpecError(f"{path.name}: 'name' and 'time_unit' are required")
    known_keys = [*head, *SECTIONS]
    for key in raw:
        if key not in known_keys:
            raise SpecError(f"{path.name}: unknown key {key!r}{nearest(key, known_keys)}")
    sections = {section: _entries(path.name, section, raw.get(section, {})) for section in SECTIONS}
    return ModelSpec(**head, **sections)  # type: ignore[arg-type]


def _entries(file: str, section: str, tables: dict[str, dict[str, Any]]) -> dict[str, Any]:
    kind = SECTIONS[section]
    fields = kind.__dataclass_fields__  # type: ignore[attr-defined]
    out = {}
    for name, table in tables.items():
        for key in table:
            if key not in fields:
                raise SpecError(f"{file}: [{section}.{name}] has an unknown key {key!r}{nearest(key, fields)}")
        try:
            out[name] = kind(name=name, **{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()})
        except TypeError as error:
            raise SpecError(f"{file}: [{section}.{name}]: {error}") from error
    return out
