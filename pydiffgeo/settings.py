"""Settings from YAML: pydantic validates, and every complaint names the line of the file.

The settings are ordinary pydantic models, declared beside what they configure, with
`extra="forbid"`.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from .errors import PyDiffGeoError, SettingsError, nearest

__all__ = ["Settings", "load_settings"]

M = TypeVar("M", bound=BaseModel)
Location = tuple[int | str, ...]
SHOWN = 20  # problems that are listed
_DAY = "it is a day, such as 2000-01-31"
PLAIN = {  # pydantic's kinds of errors whose words name Python's types -> what is allowed
    "tuple_type": "it is a list, such as [a, b]",
    "list_type": "it is a list, such as [a, b]",
    "dict_type": "it is a section of 'name: value' lines",
    "path_type": "it is the name of a file or folder",
    "date_type": _DAY,
    "date_parsing": _DAY,
    "date_from_datetime_parsing": _DAY,
    "date_from_datetime_inexact": _DAY,
}


class Settings(BaseModel):
    """Base of all settings.

    An unknown key is an error, no truth value is a number, and settings do not change once read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="wrap")
    @classmethod
    def _no_truth_value_as_number(cls, given: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        made = handler(given)
        if _truth_value_as_number(given, made):
            raise ValueError(
                "it takes numbers, and yes, no, on, off, true and false are truth values"
            )
        return made


def _truth_value_as_number(given: Any, made: Any) -> bool:
    """Return whether a truth value, or one in a list or section, became a number."""
    if isinstance(given, bool):
        return isinstance(made, (int, float)) and not isinstance(made, bool)
    if isinstance(given, Mapping) and isinstance(made, Mapping):
        return any(_truth_value_as_number(value, made.get(key)) for key, value in given.items())
    if isinstance(given, (list, tuple)) and isinstance(made, (list, tuple)):
        return any(map(_truth_value_as_number, given, made))
    return False


def load_settings(path: str | Path, model_class: type[M]) -> M:
    """Read a YAML file into a settings model.

    Parameters
    ----------
    path : str or Path
        The YAML file, UTF-8.
    model_class : type of pydantic.BaseModel
        The settings to read; nested models should set `extra="forbid"` so that mistyped keys are
        noticed.

    Returns
    -------
    BaseModel
        An instance of `model_class`.

    Raises
    ------
    SettingsError
        The file cannot be read, or holds an unknown, missing, duplicate or invalid entry. All
        entries at fault are listed, each with its line.
    """
    return validated(Document.read(Path(path)), model_class)


@dataclass
class Document:
    """A parsed YAML file: its data, and its nodes, which know their lines."""

    path: Path
    data: dict[Hashable, Any]
    root: yaml.MappingNode

    @classmethod
    def read(cls, path: Path) -> Document:
        try:
            loader = _Loader(path.read_text(encoding="utf-8"))
            root = loader.get_single_node()
            if root is None:
                raise SettingsError(
                    f"{path}: the file is empty. Write the settings as 'key: value' lines."
                )
            if not isinstance(root, yaml.MappingNode):
                raise SettingsError(
                    f"{path}, line {_line(root)}: not settings but a {root.id}. "
                    "Write them as 'key: value' lines."
                )
            _refuse_duplicates(path, root)
            # this also merges '<<: *anchor' entries into the nodes, so that their keys have lines
            # too
            data = loader.construct_document(root)
        except FileNotFoundError:
            raise SettingsError(
                f"{path}: no such file, looked for from {Path.cwd()}. Correct the path."
            ) from None
        except OSError as error:
            raise SettingsError(
                f"{path}: cannot be read: {error.strerror}. Name a file that you may read."
            ) from error
        except UnicodeDecodeError as error:
            raise SettingsError(
                f"{path}: not UTF-8 text (byte {error.start}). Save it as UTF-8."
            ) from error
        except _Trap as error:
            raise SettingsError(
                f"{path}, line {error.problem_mark.line + 1}: {error.problem}."
            ) from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            text = "; ".join(part for part in (error.context, error.problem) if part)
            if "'\\t'" in text:
                raise SettingsError(
                    f"{path}{where}: a tab, which YAML does not allow there. Use spaces."
                ) from error
            raise SettingsError(
                f"{path}{where}: not valid YAML: {text}. Correct it there."
            ) from error
        except yaml.YAMLError as error:
            raise SettingsError(
                f"{path}: not valid YAML: {' '.join(str(error).split())}. Save it as plain text."
            ) from error
        return cls(path, data, root)

    def line(self, location: Location) -> int:
        """Line (from 1) of the entry at `location`, or of the innermost entry around it."""
        return self.place(location)[0]

    def without_tags(self, location: Location) -> Location:
        """Return a location without pydantic's names of members of unions, which stand for no
        entry.
        """
        node: yaml.Node | None = self.root
        found: list[int | str] = []
        for i, part in enumerate(location):
            inside = None
            if isinstance(node, yaml.MappingNode):
                inside = next((v for k, v in reversed(node.value) if str(part) == k.value), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                inside = node.value[part] if part < len(node.value) else None
            last = i == len(location) - 1 and isinstance(node, yaml.MappingNode)
            if inside is not None or last or node is None:
                found.append(part)
                node = inside
        return tuple(found)

    def depth(self, location: Location) -> int:
        """Return how many parts of a location lead to an entry of the file."""
        data: Any = self.data
        found = 0
        for part in self.without_tags(location):
            if isinstance(data, Mapping) and part in data:
                data = data[part]
            elif isinstance(data, (list, tuple)) and isinstance(part, int) and part < len(data):
                data = data[part]
            else:
                break
            found += 1
        return found

    def place(self, location: Location) -> tuple[int, str]:
        """Line (from 1) and text of the entry at `location`, or of the innermost around it.

        "" for what is no single value.
        """
        node: yaml.Node = self.root
        line = _line(node)
        for part in location:
            if isinstance(node, yaml.MappingNode):
                # the last match: an own key follows the merged one that it overrides
                match = [(k, v) for k, v in node.value if str(part) == k.value]
                if match:
                    line, node = _line(match[-1][0]), match[-1][1]
            elif (
                isinstance(node, yaml.SequenceNode)
                and isinstance(part, int)
                and part < len(node.value)
            ):
                node = node.value[part]
                line = _line(node)
            # any other part is pydantic's name of a union member and stands for no entry
        return line, node.value if isinstance(node, yaml.ScalarNode) else ""


class _Trap(yaml.constructor.ConstructorError):
    """A word that YAML would silently take for something else, or that is nothing."""

    def __init__(self, problem: str, node: yaml.Node):
        super().__init__(None, None, problem, node.start_mark)


class _Loader(yaml.SafeLoader):
    """YAML without the numbers that YAML 1.1 makes of identifiers and times.

    Impossible dates are answered with their line.
    """


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    number = loader.construct_yaml_int(node)
    octal, sixty = re.fullmatch(r"[-+]?0[0-7_]+", node.value), ":" in node.value
    if octal or sixty:
        kind = f"the octal number {number}" if octal else f"{number}, a number in base 60"
        remedy = ", or write a number without leading zeros" if octal else ""
        raise _Trap(
            f"{node.value} would be {kind}. Put identifiers in quotes, '{node.value}'{remedy}", node
        )
    return number


def _date(loader: _Loader, node: yaml.ScalarNode) -> Any:
    try:
        return loader.construct_yaml_timestamp(node)
    except ValueError as error:
        raise _Trap(f"{node.value} is no date: {error}; correct it", node) from error


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _date)


def line_of(path: Path, location: Location) -> int | None:
    """Line of an entry of a settings file, or of the innermost entry around it.

    None where the file cannot be read.
    """
    try:
        return Document.read(path).line(location)
    except SettingsError:
        return None


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _refuse_duplicates(path: Path, root: yaml.Node) -> None:
    """Raise on a key given twice in one mapping: YAML would silently keep the last."""
    stack, seen = [root], set()
    while stack:
        node = stack.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            stack += node.value
        elif isinstance(node, yaml.MappingNode):
            first: dict[str, int] = {}
            for key, value in node.value:
                stack.append(value)
                if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                    continue
                if key.value in first:
                    raise SettingsError(
                        f"{path}, line {_line(key)}: the key {key.value!r} was already given "
                        f"in line {first[key.value]}. Keep one of them."
                    )
                first[key.value] = _line(key)


def validated(document: Document, model_class: type[M]) -> M:
    """Return the settings of a document; see `load_settings`."""
    try:
        return model_class.model_validate(document.data)
    except ValidationError as error:
        raise complaint(document, problems(document, error, model_class)) from None
    except PyDiffGeoError as error:  # a validator that calls the package: it names the input
        raise SettingsError(f"{document.path}: {error}") from error


def problems(
    document: Document,
    error: ValidationError,
    model_class: type[BaseModel],
    at: Callable[[Location], Location] = lambda location: location,
) -> list[tuple[int, str]]:
    """Return line and sentence of each problem that pydantic found.

    Parameters
    ----------
    document : Document
        The file.
    error : pydantic.ValidationError
        Of `model_class`.
    model_class : type of pydantic.BaseModel
    at : callable, optional
        Place in the file of a place in what was validated, where they differ.
    """
    found: list[dict[str, Any]] = [dict(e) for e in error.errors()]
    for e in found:  # a check of several keys says which one is wrong
        e["loc"] += getattr(e.get("ctx", {}).get("error"), "setting", ())
    # of a list that may also be a number, what is wrong inside of the list is said, not that a list
    # is no number
    deeper = {e["loc"][:k] for e in found for k in range(len(e["loc"]))}
    found = [
        e
        for e in found
        if not (
            isinstance(e["input"], list) and e["type"] == "int_type" and e["loc"][:-1] in deeper
        )
    ]
    return [(document.line(at(e["loc"])), _explain(e, document, model_class, at)) for e in found]


def complaint(document: Document, found: Iterable[tuple[int, str]]) -> SettingsError:
    """Return the error that lists problems of a file, each of them once."""
    listed = sorted(set(found))
    if len(listed) == 1:
        return SettingsError("{}, line {}: {}".format(document.path, *listed[0]))
    lines = "\n".join(f"  line {line}: {text}" for line, text in listed[:SHOWN])
    lines += f"\n  and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return SettingsError(f"{document.path}: {len(listed)} problems\n{lines}")


def _explain(
    error: dict[str, Any],
    document: Document,
    model_class: type[BaseModel],
    at: Callable[[Location], Location],
) -> str:
    """One sentence on a pydantic error: where, what was given, what is allowed."""
    place, kind, given = error["loc"], error["type"], error["input"]
    location = document.without_tags(at(place))
    own = error.get("ctx", {}).get("error")
    if isinstance(own, SettingsError):  # of several keys
        return f"{_dotted(location)}: {own}" if location else str(own)
    *parents, last = location
    inside = f" in {'.'.join(map(str, parents))!r}" if parents else ""
    if kind in ("extra_forbidden", "invalid_key"):
        return f"unknown key{inside}: {_instead(last, _keys(_models_at(place[:-1], model_class)))}"
    if kind == "union_tag_invalid":
        known = re.findall(r"'([^']*)'", error["ctx"]["expected_tags"])
        return f"{_dotted(location)}: unknown kind {_instead(error['ctx']['tag'], known)}"
    if kind == "union_tag_not_found":
        return f"{_dotted(location)}: the key 'kind' is missing, which says what it is. Add it."
    if kind == "missing":
        return f"the key {str(last)!r} is missing{inside}. Add it."
    message = PLAIN.get(kind, str(error["msg"]).removeprefix("Value error, "))
    if kind == "model_type":
        known = _keys(_models_at(place, model_class))
        message = f"it is a section with the keys: {', '.join(known)}"
    text = document.place(location)[1]
    if kind == "string_type" and text:  # a number, date or truth value in the place of a name
        return f"{_dotted(location)}: {text} is read as {_kind(given)}. Put it in quotes: '{text}'."
    choices = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
    hint = nearest(given, choices) if isinstance(given, str) else "."
    as_it_stands = text if isinstance(given, (date, bool)) else ""
    shown = "a section" if isinstance(given, dict) else as_it_stands or reprlib.repr(given)
    return (
        f"{_dotted(location)}: {shown} is not allowed: "
        f"{message[:1].lower()}{message[1:].rstrip('.')}{hint}"
    )


def _dotted(location: Location) -> str:
    """A location as it stands in the file, without pydantic's names of the members of a union."""
    return ".".join(
        str(part)
        for part in location
        if not re.match(r"(tuple|list|dict)\[|constrained-", str(part))
    )


def _kind(given: Any) -> str:
    """What YAML made of a plain word."""
    names = {bool: "a truth value", int: "a number", float: "a number", type(None): "nothing"}
    return names.get(type(given), "a date")


def _instead(given: Any, known: Iterable[str]) -> str:
    """The name that was given, the nearest valid one, and all valid ones."""
    names = sorted(known)
    return f"{reprlib.repr(given)}{nearest(str(given), names)} Known: {', '.join(names)}."


def _keys(models: list[type[BaseModel]]) -> list[str]:
    return sorted(
        {field.alias or name for model in models for name, field in model.model_fields.items()}
    )


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The settings models that an annotation such as `list[A] | dict[str, B] | None` mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _models_at(parents: Location, model_class: type[BaseModel]) -> list[type[BaseModel]]:
    """The settings models whose keys are allowed at a location."""
    models = [model_class]
    for part in parents:
        fields = [
            f for m in models for name, f in m.model_fields.items() if part in (name, f.alias)
        ]
        if fields:
            models = [inner for field in fields for inner in _models_in(field.annotation)]
        elif any(part == m.__name__ for m in models):  # pydantic names the member of a union
            models = [m for m in models if part == m.__name__]
    return models
