"""Specifications read from TOML: NAME.toml beside NAME.py, or a file of one's own."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any

from pydiffgeo.errors import SpecError, nearest
from pydiffgeo.models.spec import (
    ClosureSpec,
    ConstantSpec,
    FluxSpec,
    ForcingSpec,
    ModelSpec,
    ParameterSpec,
    SlotSpec,
    StateSpec,
)

SECTIONS: dict[str, type] = {
    "states": StateSpec,
    "parameters": ParameterSpec,
    "forcings": ForcingSpec,
    "fluxes": FluxSpec,
    "closures": ClosureSpec,
    "slots": SlotSpec,
    "constants": ConstantSpec,
}


@cache
def shipped_specs() -> dict[str, Path]:
    """Return the specifications of this package by name.

    Each TOML file beside the Python file of its model.
    """
    files = sorted(Path(__file__).parent.rglob("*.toml"))
    return {p.stem: p for p in files if p.with_suffix(".py").is_file()}


def load_spec(name: str | Path) -> ModelSpec:
    """Read a model specification.

    Parameters
    ----------
    name : str or Path
        Name of a specification shipped with the package ("richards"), or the path of a TOML file of
        one's own: absolute, or relative to the file that calls this function (in a notebook or at
        the prompt, to the working directory).

    Raises
    ------
    SpecError
        No such file; a key that no section knows, a missing key, or values that contradict each
        other; the message names them.
    """
    if str(name).endswith(".toml"):
        caller = sys._getframe(1).f_globals.get("__file__")
        path = (Path(caller).parent if caller else Path()).absolute() / name
        if not path.is_file():
            raise SpecError(
                f"there is no model specification {path}: give its path from the file that calls "
                "load_spec, or an absolute one."
            )
    else:
        shipped = shipped_specs()
        if str(name) not in shipped:
            raise SpecError(
                f"no model specification {str(name)!r}{nearest(str(name), shipped)} Shipped: "
                f"{', '.join(shipped)}; for your own give the path of a .toml file."
            )
        path = shipped[str(name)]
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path.name} is not valid TOML: {error}.") from error
    head = {k: raw.get(k, "") for k in ("name", "title", "time_unit", "source")}
    known_keys = [*head, *SECTIONS]
    for key in raw:
        if key not in known_keys:
            raise SpecError(
                f"{path.name}: unknown key {key!r}{nearest(key, known_keys)} Known: "
                f"{', '.join(known_keys)}."
            )
    for key, example in (("name", path.stem), ("time_unit", "d")):
        if not head[key] or not isinstance(head[key], str):
            raise SpecError(
                f'{path.name} lacks {key!r}: write {key} = "{example}" above the first table.'
            )
    sections = {section: _entries(path.name, section, raw.get(section, {})) for section in SECTIONS}
    return ModelSpec(**head, **sections)  # type: ignore[arg-type]


def load_constants(name: str | Path) -> dict[str, float]:
    """Return the constants of a shipped specification by name, each in its unit."""
    return {k: c.value for k, c in load_spec(name).constants.items()}


def _entries(file: str, section: str, tables: Any) -> dict[str, Any]:
    """The tables of a section, each as the dataclass of the section."""
    kind = SECTIONS[section]
    known = {f.name: f for f in fields(kind) if f.name != "name"}
    needed = [k for k, f in known.items() if f.default is MISSING]
    out = {}
    for name, table in tables.items() if isinstance(tables, dict) else [("NAME", tables)]:
        where = f"{file}: [{section}.{name}]"
        if not isinstance(table, dict):
            raise SpecError(
                f"{file}: [{section}] needs a table for each name, [{section}.NAME], but has "
                f"{table!r}."
            )
        if not name.isidentifier():
            raise SpecError(f"{where}: a name has letters, digits and underscores only.")
        for key in table:
            if key not in known:
                raise SpecError(
                    f"{where} has an unknown key {key!r}{nearest(key, known)} Known: "
                    f"{', '.join(known)}."
                )
        missing = [k for k in needed if k not in table]
        if missing:
            raise SpecError(
                f"{where} lacks {', '.join(map(repr, missing))}; it needs {', '.join(needed)}."
            )
        for key, value in table.items():
            if not _fits(value, str(known[key].type)):
                raise SpecError(
                    f"{where}: {key} = {value!r} must be {TYPES[str(known[key].type)]}."
                )
        out[name] = kind(
            name=name, **{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
        )
    return out


TYPES = {
    "str": "a text", "float": "a number", "int": "a whole number", "bool": "true or false",
    "tuple[str, ...]": "a list of texts", "tuple[float, float]": "a list of two numbers",
}  # fmt: skip


def _fits(value: Any, kind: str) -> bool:
    if kind.startswith("tuple"):
        return isinstance(value, list) and all(
            _fits(v, "str" if "str" in kind else "float") for v in value
        )
    if kind in ("float", "int"):
        return isinstance(value, int if kind == "int" else int | float) and not isinstance(
            value, bool
        )
    return isinstance(value, str if kind == "str" else bool)
