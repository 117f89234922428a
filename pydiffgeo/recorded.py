"""Objects that remember their arguments, so that settings can describe them and make them again."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, Self

import torch

from pydiffgeo.errors import SettingsError


class Recorded:
    """Base of what settings can make: a stage, a network, a loss, a model.

    It remembers the arguments of its constructor; `describe` turns them into plain types.
    """

    _given: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **keywords: Any) -> Self:
        made = super().__new__(cls)
        made.__dict__["_given"] = (args, keywords)  # not setattr: torch modules begin later
        return made


def kind_of(cls: type) -> str:
    """Return the name of a class in settings.

    Snake case for those of the package, else "module:Class".
    """
    if cls.__module__.startswith("pydiffgeo."):
        words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__)
        return words.lower()
    module = cls.__module__
    if module == "__main__":  # a script is found again by the name of its file
        file = getattr(sys.modules["__main__"], "__file__", None)
        module = Path(file).stem if file else module
    return f"{module}:{cls.__qualname__}"


def class_of(reference: str) -> type:
    """Return the class that a text of the form "my_package.my_module:MyClass" names.

    Raises
    ------
    SettingsError
        There is no such module or class; see `object_of`.
    """
    made = object_of(reference)
    if not isinstance(made, type):
        raise SettingsError(f"{reference!r} is no class. Name a model, stage, network or loss.")
    return made


def object_of(reference: str) -> Any:
    """Return what a text of the form "my_package.my_module:name" names: a class or a function.

    Parameters
    ----------
    reference : str
        Module and name; modules are found as Python finds them, and in the working directory.

    Raises
    ------
    SettingsError
        There is no such module or name.
    """
    module, _, name = reference.partition(":")
    known = list(sys.path)
    sys.path.append(str(Path.cwd()))
    try:
        made: Any = import_module(module)
        for part in name.split("."):
            made = getattr(made, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            f"{reference!r} cannot be imported: {error}. Write 'module:name' of a file in the "
            "working directory or of an installed package."
        ) from error
    finally:
        sys.path[:] = known
    return made


def signature_of(made: Callable[..., Any]) -> Signature:
    """Return the signature of a class or function; that of a class without a constructor has no
    parameters.
    """
    if isinstance(made, type) and made.__init__ is object.__init__:  # type: ignore[misc]
        return Signature()
    return signature(made)


def arguments_of(made: Recorded) -> dict[str, Any]:
    """Return the arguments that a recorded object was made with, by name; defaults are left out."""
    args, keywords = made._given
    bound = signature_of(type(made)).bind(*args, **keywords)
    known = signature_of(type(made)).parameters
    found: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        if known[name].kind is Parameter.VAR_KEYWORD:
            found |= value
        else:
            found[name] = value
    return found


def describe(value: Any) -> Any:
    """Return a value in plain types, as it would stand in settings.

    Parameters
    ----------
    value : object
        A recorded object, a dataclass of options such as `Solver`, or numbers, texts, lists and
        mappings of them.

    Raises
    ------
    SettingsError
        The value cannot be written down, such as a function or a network of another package.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "as_settings"):  # what knows better
        return describe(value.as_settings())
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Recorded):
        return {"kind": kind_of(type(value))} | describe(arguments_of(value))
    if is_dataclass(value) and not isinstance(value, type):
        given = {f.name: (getattr(value, f.name), f.default) for f in fields(value) if f.init}
        return {name: describe(v) for name, (v, default) in given.items() if v is not default}
    if isinstance(value, Mapping):
        return {str(name): describe(part) for name, part in value.items()}
    if isinstance(value, torch.Tensor) or type(value).__module__ == "numpy":
        return value.tolist()
    if isinstance(value, list | tuple | set | frozenset):
        return [describe(part) for part in value]
    raise SettingsError(
        f"{type(value).__qualname__} cannot be written into settings. Make it a subclass of Stage, "
        "Network, Loss or ProcessModel in a module of your own, so that it can be found again."
    )


def written(value: Any) -> Any:
    """Return what `describe` gives, with a note in the place of what cannot be described.

    An object of somebody else's class that has no attributes of its own is written by the name of
    its class, where that can be imported.
    """
    try:
        return describe(value)
    except SettingsError:
        pass
    if isinstance(value, Recorded):
        parts = {name: written(part) for name, part in arguments_of(value).items()}
        return {"kind": kind_of(type(value))} | parts
    if isinstance(value, list | tuple):
        return [written(part) for part in value]
    plain = hasattr(value, "__qualname__")  # a function or a class, which is its own name
    name = kind_of(value if plain else type(value))
    note = f"{name} cannot be made again from settings; give it when the run is loaded."
    try:
        found = object_of(name)
    except SettingsError:
        return {"note": note}
    if plain:
        return name if found is value else {"note": note}
    return {"kind": name} if not getattr(value, "__dict__", {}) else {"note": note}
