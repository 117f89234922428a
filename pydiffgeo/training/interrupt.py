"""Ctrl-C and SIGTERM at the end of a step instead of in the middle of one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SAME = 2.0  # s: signals this close are one request; Ctrl-C reaches a process from the terminal and from torchrun


class Interrupt:
    """Whether a stop was asked for."""

    asked = False


@contextmanager
def interrupt_between_steps() -> Iterator[Interrupt]:
    """Note the first SIGINT or SIGTERM for the caller to act on; a later one ends at once, as without this."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before: dict[int, Any] = {}
    first: list[float] = []

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    def note(number: int, frame: FrameType | None) -> None:
        interrupt.asked = True
        first.append(time.monotonic())
        if first[-1] - first[0] > SAME:
            restore()
            os.kill(os.getpid(), number)

    for each in (signal.SIGINT, signal.SIGTERM):
        before[each] = signal.signal(each, note)
    try:
        yield interrupt
    finally:
        restore()
