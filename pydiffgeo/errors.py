"""Typed errors. Each message names the offending input and what to do about it."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


class PyDiffGeoError(Exception):
    """Base of every error that this package raises on purpose.

    Attributes
    ----------
    julia_backtrace : str
        Where in Julia an error came from that was not foreseen there; "" for all others.
    setting : tuple
        Place in the settings of what is wrong, such as ("data", "forcing", 2); () where it is no
        matter of settings.
    """

    julia_backtrace: str = ""
    setting: tuple[str | int, ...] = ()


class UnknownName(PyDiffGeoError, KeyError):
    """A name that no mapping of the package knows."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0])


class SpecError(PyDiffGeoError, ValueError):
    """A model specification that contradicts itself."""


class ModelError(PyDiffGeoError, ValueError):
    """A model whose equations do not fit its specification."""


class SpecMismatch(SpecError):
    """Two engines read different specifications of one model."""


class ParameterError(PyDiffGeoError, ValueError):
    """A parameter that is missing, of the wrong shape, or outside what physics allows."""


class PlacedError(PyDiffGeoError, ValueError):
    """An error that may say its place in the settings."""

    def __init__(self, message: str, setting: Sequence[str | int] = ()):
        super().__init__(message)
        self.setting = tuple(setting)


class DataError(PlacedError):
    """Forcing, observations or attributes that cannot be used as they are."""


class DataWarning(UserWarning):
    """Something in data that is taken for missing or converted, and is said."""


class UnitError(DataError):
    """A quantity in another unit than the model's."""


class GridError(PyDiffGeoError, ValueError):
    """A grid that no finite-volume scheme can use."""


class SettingsError(PlacedError):
    """A configuration file with an unknown key or an invalid value."""


class OutputError(PyDiffGeoError, OSError):
    """A file or folder that cannot be written, or may not be without the user's word."""


class EngineUnavailable(PyDiffGeoError, RuntimeError):
    """An engine that cannot run here."""


class SolveFailed(PyDiffGeoError, RuntimeError):
    """Columns of a batch whose solve did not reach the end.

    Attributes
    ----------
    failed : dict of int to str
        Index of the column in the batch and the reason.
    """

    def __init__(self, message: str, failed: Mapping[int, str] | None = None):
        super().__init__(message)
        self.failed = dict(failed or {})


class DerivativeError(PyDiffGeoError, RuntimeError):
    """A derivative that a function does not have.

    Second ones, forward mode, those of torch.func.
    """


class TrainingFailed(PyDiffGeoError, RuntimeError):
    """A training that cannot go on: a loss or a gradient that is not a number."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence: "; did you mean 'x'?", or "." where no name is close."""
    names = [str(k) for k in known]
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    if not close:  # in another case, such as beta for BETA
        lower = {k.lower(): k for k in reversed(names)}
        close = difflib.get_close_matches(str(name).lower(), list(lower), n=1, cutoff=0.5)
        close = [lower[k] for k in close]
    return f"; did you mean {close[0]!r}?" if close else "."


def listed(names: Iterable[object], shown: int = 12) -> str:
    """Return names in a row, of many the first ones and how many more there are; or "none"."""
    every = [str(name) for name in names]
    more = f" ... and {len(every) - shown} more" if len(every) > shown else ""
    return (", ".join(every[:shown]) or "none") + more


def repeated(names: Iterable[T]) -> list[T]:
    """Return the names that occur more than once, in order."""
    return [name for name, count in Counter(names).items() if count > 1]


def lookup(mapping: Mapping[str, T], name: str, what: str) -> T:
    """Return `mapping[name]`, or raise UnknownName with the known names and the nearest one."""
    if name in mapping:
        return mapping[name]
    raise UnknownName(
        f"unknown {what} {name!r}{nearest(name, mapping)} Known: {', '.join(sorted(mapping))}."
    )
