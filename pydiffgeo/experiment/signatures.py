"""Settings made from signatures: the keys of a section are the arguments of its class."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, ForwardRef, Literal, NamedTuple, Union

import torch
from pydantic import BeforeValidator, Discriminator, Field, Tag, create_model

from pydiffgeo.errors import PyDiffGeoError
from pydiffgeo.recorded import describe, signature_of
from pydiffgeo.settings import Location, Settings

SKIP = object()  # what cannot be written in settings, such as a function or a tensor
PLAIN = (bool, int, float, str, Path)
DTYPES = Literal["float32", "float64"]


class Section(Settings):
    """A section that makes an object: its keys are the arguments of `makes`."""

    makes: ClassVar[Callable[..., Any]]


def given_in(section: Section) -> dict[str, Any]:
    """Return the arguments that are not left at their defaults, without `kind`.

    No method of sections, which an argument of this name would hide.
    """
    fields = type(section).model_fields
    names = section.model_fields_set - {"kind"}
    return {n: v for n in names if (v := getattr(section, n)) != fields[n].default}


class Family(NamedTuple):
    """Classes that may stand in the same place of the settings."""

    bases: tuple[type, ...]  # an argument of one of these types is a section of this family
    kinds: Mapping[str, Callable[..., Any]]  # what makes the object, by `kind`
    default: str = ""  # kind of a section that does not say it; "" where it must


def descriptions(made: Callable[..., Any]) -> dict[str, str]:
    """Return the text of each parameter in a NumPy docstring, in one line each."""
    found: dict[str, str] = {}
    for part in reversed(made.__mro__) if isinstance(made, type) else [made]:
        doc = inspect.cleandoc(part.__doc__ or "")
        for title in ("Attributes", "Parameters"):
            body = re.search(rf"^{title}\n-+\n(.*?)(?=^[^\n]+\n---+\n|\Z)", doc, re.M | re.S)
            entry = r"^([*\w]+(?:, [*\w]+)*)(?: ?:[^\n]*)?\n((?:[ ]+[^\n]*\n?|\n)*)"
            for names, text in re.findall(entry, body.group(1) if body else "", re.M):
                line = " ".join(text.split())
                found |= {name.lstrip("*"): line for name in names.split(", ")}
    return found


def sections(families: Mapping[str, Family]) -> dict[str, Any]:
    """Return the annotation of each family: a union of one `Section` a kind, told apart by `kind`.

    Sections may hold sections of any family, themselves included.
    """
    names: dict[str, Any] = {}
    models: list[type[Section]] = []
    for name, family in families.items():
        own = {kind: section_of(made, families, kind) for kind, made in family.kinds.items()}
        models += own.values()
        union: Any = models[-1]
        if len(own) > 1:
            members = tuple(Annotated[m, Tag(kind)] for kind, m in own.items())  # type: ignore[misc]
            union = Annotated[Union[members], Discriminator(kind_in)]  # type: ignore[valid-type]  # noqa: UP007
        names[f"Any_{name}"] = Annotated[union, BeforeValidator(_with_kind(family))]
    for model in models:
        model.model_rebuild(force=True, _types_namespace=names)
    return names


def section_of(
    made: Callable[..., Any],
    families: Mapping[str, Family],
    kind: str = "",
    without: Iterable[str] = (),
    more: Mapping[str, Any] | None = None,
    names: Mapping[str, Any] | None = None,
) -> type[Section]:
    """Return the settings of a class or function: its arguments are the keys, and `kind` if given.

    What cannot be written in settings is left out, and what stands in `without`; `more` has other
    keys, as (annotation, pydantic.Field). `names` are those that `sections` gave.
    """
    fields: dict[str, Any] = {}
    if kind:
        fields["kind"] = (Literal[kind], Field(kind, description="Kind."))
    title: str = getattr(made, "__name__", "")
    hints, texts = _hints(made), descriptions(made)
    for name, parameter in signature_of(made).parameters.items():
        if name in without or parameter.kind is parameter.VAR_KEYWORD or name == "self":
            continue
        annotation = _plain(hints.get(name, Any), families)
        if annotation is SKIP:
            continue
        default: Any = ...
        if parameter.kind is parameter.VAR_POSITIONAL:
            annotation, default = tuple[annotation, ...], ()  # type: ignore[valid-type]
        elif parameter.default is not parameter.empty:
            default = describe(parameter.default)
        elif (title, name) in OPTIONAL:
            default = None
        if default is None:
            annotation = Union[annotation, None]  # noqa: UP007
        text = texts.get(name)
        fields[name] = (annotation, Field(default, description=text, validate_default=True))
    model = create_model(kind or title, __base__=Section, **(fields | dict(more or {})))
    model.__doc__ = inspect.cleandoc(made.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    model.makes = staticmethod(made)
    if names is not None:
        model.model_rebuild(force=True, _types_namespace=dict(names))
    return model


# may be left out in settings: a slot knows its inputs, and a hybrid may have no network
OPTIONAL = {("NeuralClosure", "inputs"), ("Hybrid", "network")}


def _hints(made: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a callable, but for names that only type checkers import."""
    function: Any = made.__init__ if isinstance(made, type) else made  # type: ignore[misc]
    found = {}
    for name, text in getattr(function, "__annotations__", {}).items():
        with suppress(NameError, TypeError):
            found[name] = eval(text, function.__globals__) if isinstance(text, str) else text
    return found


def kind_in(given: Any) -> Any:
    """Return the kind of a section, before or after it was read."""
    kind = given.get("kind") if isinstance(given, Mapping) else getattr(given, "kind", None)
    return None if kind is None else str(kind)


def _with_kind(family: Family) -> Callable[[Any], Any]:
    """Return what lets a name alone stand for a section, and adds a kind that is understood."""

    def complete(given: Any) -> Any:
        whole = {"kind": given} if isinstance(given, str) else given
        if not isinstance(whole, Mapping):
            return whole
        kind = whole.get("kind", family.default)
        if str(kind).endswith(".jl"):  # the equations of a model in Julia
            return {**whole, "kind": "julia_model", "file": kind}
        return {**whole, "kind": kind} if kind else whole

    return complete


def _plain(annotation: Any, families: Mapping[str, Family]) -> Any:
    """Return what an annotation is in settings, or SKIP."""
    if annotation is None or annotation in (type(None), Any, object, *PLAIN):
        return annotation or type(None)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        plain = _plain(arguments[0], families)  # with the limits of numbers
        return SKIP if plain is SKIP else Annotated[(plain, *annotation.__metadata__)]
    if origin is Literal:
        return annotation
    if origin in (Union, types.UnionType):
        return _union([_plain(a, families) for a in arguments])
    inner = [a if a is ... else _plain(a, families) for a in arguments]
    if SKIP in inner or origin is Callable or origin is type:
        return SKIP
    if origin is tuple and arguments:
        return tuple[tuple(inner)]  # type: ignore[misc]
    kind = origin or annotation
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return dict[tuple(inner)] if inner else dict[str, Any]  # type: ignore[misc]
    if isinstance(kind, type) and issubclass(kind, (Sequence, set, frozenset)) or kind is Iterable:
        if issubclass(kind, tuple) and kind is not tuple:  # a named tuple
            return tuple[float | str, ...]
        return tuple[inner[0], ...] if inner else tuple[Any, ...]  # type: ignore[valid-type]
    if annotation is torch.dtype:
        return DTYPES
    for name, family in families.items():
        if isinstance(annotation, type) and issubclass(annotation, family.bases):
            return ForwardRef(f"Any_{name}")
    return SKIP


def _union(members: list[Any]) -> Any:
    """Return a union without what cannot be written; a text beside a family is a kind of it."""
    found = [m for m in dict.fromkeys(members) if m is not SKIP]
    if any(isinstance(m, ForwardRef) for m in found):
        found = [m for m in found if m is not str]
    if not found or found == [type(None)]:
        return SKIP
    return Union[tuple(found)]  # noqa: UP007


Adjust = Callable[[Section, dict[str, Any]], None]


def make(section: Any, adjust: Adjust | None = None, place: Location = ()) -> Any:
    """Make the object that a section describes, with all that it holds; lists of them, too.

    `adjust` may change the arguments of an object before it is made. An error says the place of the
    section in the settings, which stands at `place`.
    """
    if isinstance(section, (list, tuple)):
        return [make(part, adjust, (*place, i)) for i, part in enumerate(section)]
    if isinstance(section, Mapping):
        return {name: make(part, adjust, (*place, name)) for name, part in section.items()}
    if not isinstance(section, Section):
        return section
    given = given_in(section)
    try:
        if adjust is not None:
            adjust(section, given)
        return _call(section, given, adjust, place)
    except PyDiffGeoError as error:
        error.setting = error.setting or place
        raise


def _call(section: Section, given: dict[str, Any], adjust: Adjust | None, place: Location) -> Any:
    parameters = signature_of(section.makes).parameters
    fields = type(section).model_fields
    arguments: dict[str, Any] = {}
    for name, value in given.items():
        if name in parameters:
            arguments[name] = make(value, adjust, (*place, name))
            annotation: Any = fields[name].annotation
            if value is not None and annotation in (DTYPES, Union[DTYPES, None]):  # noqa: UP007
                arguments[name] = getattr(torch, value)
    rest = next((n for n, p in parameters.items() if p.kind is p.VAR_POSITIONAL), "")
    if not rest:
        return section.makes(**arguments)
    # what stands before the arguments without names is given by place, too
    first = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    values = [arguments.pop(n, fields[n].default) for n in first]
    return section.makes(*values, *arguments.pop(rest, ()), **arguments)
