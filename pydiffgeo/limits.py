"""Numbers that arguments may be, said once: in the signature, and so for settings, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le

from pydiffgeo.errors import SettingsError

Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]


def require_within(function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Raise SettingsError for a number outside of what the signature of a function allows."""
    for name, hint in get_type_hints(function, include_extras=True).items():
        value = given.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        parts = [hint, *get_args(hint)]
        for part in (p for p in parts if get_origin(p) is Annotated):
            wrong = [text for fits, text in map(_rule, part.__metadata__) if not fits(value)]
            if wrong:
                raise SettingsError(
                    f"{name}={value!r} must be {' and '.join(wrong)}; give another number."
                )


def _rule(limit: Any) -> tuple[Callable[[float], bool], str]:
    """Return what a limit asks of a number, NaN included, in words, too."""
    if isinstance(limit, Ge):
        return lambda x: bool(x >= limit.ge), f"at least {limit.ge}"
    if isinstance(limit, Gt):
        return lambda x: bool(x > limit.gt), f"more than {limit.gt}"
    return lambda x: bool(x <= limit.le), f"at most {limit.le}"
