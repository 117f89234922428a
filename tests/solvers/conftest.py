"""What tests of solvers share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of what was called of that which torch's compiler gave.

    The compiler itself takes a minute: something that holds functions stands in its place.
    """
    called: set[str] = set()

    def compiler(function: Callable, dynamic: bool) -> Callable:
        def held(*given, **named):
            called.add(function.__name__)
            return function(*given, **named)

        return held

    monkeypatch.setattr(torch, "compile", compiler)
    return called
