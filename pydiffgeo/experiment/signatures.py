"""Settings made from signatures.

The keys of a section are the arguments of the class that it makes.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    ForwardRef,
    Literal,
    NamedTuple,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import torch
from pydantic import BeforeValidator, Discriminator, Field, Tag, create_model

from pydiffgeo.errors import PyDiffGeoError
from pydiffgeo.recorded import describe, signature_of
from pydiffgeo.settings import Location, Settings

# an annotation of what cannot be written in settings, such as a function or a tensor
SKIP = object()
PLAIN = (bool, int, float, str, Path)
DTYPES = Literal["float32", "float64"]


class Section(Settings):
    """A section that makes an object: its keys are the arguments of `makes`."""

    makes: ClassVar[Callable[..., Any]]

    def given(self) -> dict[str, Any]:
        """Return the arguments that are not left at their defaults, without `kind`."""
        fields = type(self).model_fields
        names = self.model_fields_set - {"kind"}
        return {n: v for n in names if (v := getattr(self, n)) != fields[n].default}


class Family(NamedTuple):
    """Classes that may stand in the same place of the settings.

    Attributes
    ----------
    bases : tuple of type
        An argument of one of these types is a section of this family.
    kinds : mapping of str to callable
        What makes the object, by the name that `kind` gives.
    default : str
        Kind of a section that does not say it; "" where it must.
    """

    bases: tuple[type, ...]
    kinds: Mapping[str, Callable[..., Any]]
    default: str = ""


def descriptions(made: Callable[..., Any]) -> dict[str, str]:
    """Return the text of each parameter in a NumPy docstring, in one line each."""
    found: dict[str, str] = {}
    for part in reversed(made.__mro__) if isinstance(made, type) else [made]:
        doc = inspect.cleandoc(part.__doc__ or "")
        for title in ("Attributes", "Parameters"):
            body = re.search(rf"^{title}\n-+\n(.*?)(?=^[^\n]+\n---+\n|\Z)", doc, re.M | re.S)
            for names, text in re.findall(
                r"^([*\w]+(?:, [*\w]+)*)(?: ?:[^\n]*)?\n((?:[ ]+[^\n]*\n?|\n)*)",
                body.group(1) if body else "",
                re.M,
            ):
                line = " ".join(text.split())
                found |= {name.lstrip("*"): line for name in names.split(", ")}
    return found


def sections(families: Mapping[str, Family]) -> dict[str, Any]:
    """Return the annotation of each family: a union of one `Section` a kind, told apart by `kind`.

    Sections may hold sections of any family, themselves included.

    Parameters
    ----------
    families : mapping of str to Family
    """
    models: dict[str, dict[str, type[Section]]] = {}
    for name, family in families.items():
        models[name] = {
            kind: section_of(made, families, kind) for kind, made in family.kinds.items()
        }
    names: dict[str, Any] = {}
    for name, family in families.items():
        union: Any = next(iter(models[name].values()))
        if len(models[name]) > 1:
            members = tuple(Annotated[m, Tag(kind)] for kind, m in models[name].items())  # type: ignore[misc]
            union = Annotated[Union[members], Discriminator(kind_in)]  # type: ignore[valid-type]  # noqa: UP007
        names[f"Any_{name}"] = Annotated[union, BeforeValidator(_with_kind(family))]
    for model in (model for of_family in models.values() for model in of_family.values()):
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
    """Return the settings of one class or function.

    Parameters
    ----------
    made : callable
        Its arguments become keys; those that cannot be written in settings are left out.
    families : mapping of str to Family
        What an argument may be made of.
    kind : str
        The value of the key `kind`; without it there is no such key.
    without : iterable of str
        Arguments that are no keys.
    more : mapping of str to (annotation, pydantic.Field), optional
        Keys besides the arguments.
    names : mapping of str to annotation, optional
        As `sections` gives them, where they are known already.
    """
    fields: dict[str, Any] = (
        {"kind": (Literal[kind], Field(kind, description="Kind."))} if kind else {}
    )
    hints, texts = _hints(made), descriptions(made)
    for name, parameter in signature_of(made).parameters.items():
        if name in without or parameter.kind is parameter.VAR_KEYWORD or name == "self":
            continue
        annotation = _plain(hints.get(name, Any), families)
        if annotation is SKIP:
            continue
        text = texts.get(name)
        if parameter.kind is parameter.VAR_POSITIONAL:
            fields[name] = (tuple[annotation, ...], Field((), description=text))  # type: ignore[valid-type]
        elif parameter.default is parameter.empty:
            if (_title(made), name) in OPTIONAL:
                fields[name] = (Union[annotation, None], Field(None, description=text))  # noqa: UP007
            else:
                fields[name] = (annotation, Field(..., description=text))
        else:
            default = describe(parameter.default)
            optional = annotation if default is not None else Union[annotation, None]  # noqa: UP007
            fields[name] = (optional, Field(default, description=text, validate_default=True))
    model = create_model(kind or _title(made), __base__=Section, **(fields | dict(more or {})))
    model.__doc__ = inspect.cleandoc(made.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    model.makes = staticmethod(made)
    if names is not None:
        model.model_rebuild(force=True, _types_namespace=dict(names))
    return model


# arguments that may be left out in settings: a slot knows its inputs, and a hybrid may have no
# network
OPTIONAL = {("NeuralClosure", "inputs"), ("Hybrid", "network")}


def _title(made: Callable[..., Any]) -> str:
    return getattr(made, "__name__", type(made).__name__)


def _hints(made: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a callable; those that cannot be evaluated are left out."""
    function: Any = made.__init__ if isinstance(made, type) else made  # type: ignore[misc]
    try:
        return get_type_hints(function)
    except (NameError, TypeError):
        known = getattr(function, "__globals__", {})
        found = {}
        for name, text in getattr(function, "__annotations__", {}).items():
            try:
                found[name] = eval(text, dict(known)) if isinstance(text, str) else text
            except (NameError, TypeError):
                continue
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
    if annotation in (None, type(None)):
        return type(None)
    if annotation is Any or annotation is object or annotation in PLAIN:
        return annotation
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _plain(arguments[0], families)
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
    """Return a union without what cannot be written.

    A name in a union with a family is a kind of that family.
    """
    found = [m for m in dict.fromkeys(members) if m is not SKIP]
    if any(isinstance(m, ForwardRef) for m in found):
        found = [m for m in found if m is not str]
    if not found or found == [type(None)]:
        return SKIP
    return Union[tuple(found)]  # noqa: UP007


Adjust = Callable[[Section, dict[str, Any]], None]


def make(section: Any, adjust: Adjust | None = None, place: Location = ()) -> Any:
    """Make the object that a section describes, with all that it holds.

    Parameters
    ----------
    section : Section, or a list or mapping with sections, or a plain value
    adjust : callable(Section, arguments), optional
        Changes the arguments of an object before it is made.
    place : tuple
        Where the section stands in the settings, for errors.
    """
    if isinstance(section, (list, tuple)):
        return [make(part, adjust, (*place, i)) for i, part in enumerate(section)]
    if isinstance(section, Mapping):
        return {name: make(part, adjust, (*place, name)) for name, part in section.items()}
    if not isinstance(section, Section):
        return section
    given = section.given()
    try:
        if adjust is not None:
            adjust(section, given)
        return _call(section, given, adjust, place)
    except PyDiffGeoError as error:
        error.setting = error.setting or place
        raise


def _call(section: Section, given: dict[str, Any], adjust: Adjust | None, place: Location) -> Any:
    parameters = signature_of(section.makes).parameters
    arguments = {
        name: make(value, adjust, (*place, name))
        for name, value in given.items()
        if name in parameters
    }
    for name, value in arguments.items():
        annotation: Any = type(section).model_fields[name].annotation
        if value is not None and annotation in (DTYPES, Union[DTYPES, None]):  # noqa: UP007
            arguments[name] = getattr(torch, value)
    rest = next((n for n, p in parameters.items() if p.kind is p.VAR_POSITIONAL), "")
    if not rest:
        return section.makes(**arguments)
    # what stands before the arguments without names is given by place, too
    first = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    fields = type(section).model_fields
    values = [arguments.pop(n, fields[n].default) for n in first]
    return section.makes(*values, *arguments.pop(rest, ()), **arguments)
