"""Ctrl-C and SIGTERM at the end of a step instead of in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupt:
    """Whether a stop was asked for."""

    asked = False


@contextmanager
def interrupt_between_steps() -> Iterator[Interrupt]:
    """Note the first SIGINT or SIGTERM for the caller to act on; a second one ends at once, as without this."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        interrupt.asked = True
        for each, handler in before.items():
            signal.signal(each, handler)

    for each in (signal.SIGINT, signal.SIGTERM):
        before[each] = signal.signal(each, note)
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
