"""Ctrl-C, SIGTERM and SIGHUP: one way to stop, at the end of a step where there are steps."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
# s: signals this close are one request; Ctrl-C reaches a process from the terminal and from
# torchrun
SAME = 2.0


class Interrupt:
    """Whether a stop was asked for."""

    asked = False


@contextmanager
def interrupt_between_steps() -> Iterator[Interrupt]:
    """Note the first of `SIGNALS` for the caller to act on.

    A later one ends at once, as without this.
    """
    interrupt = Interrupt()
    first: list[float] = []

    def note(number: int, frame: FrameType | None) -> None:
        interrupt.asked = True
        first.append(time.monotonic())
        if first[-1] - first[0] > SAME:
            restore()
            os.kill(os.getpid(), number)

    with _handled(note) as restore:
        yield interrupt


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Let each of `SIGNALS` raise KeyboardInterrupt, as Ctrl-C does.

    So a closed terminal, too, ends a command in order.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(stop):
        yield


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[Callable[[], None]]:
    """Handle the signals, in the main thread; one that is ignored stays so: nohup asks for that."""
    before: dict[int, Any] = {}

    def restore() -> None:
        for each, earlier in before.items():
            signal.signal(each, earlier)

    if threading.current_thread() is threading.main_thread():
        for each in SIGNALS:
            if signal.getsignal(each) is not signal.SIG_IGN:
                before[each] = signal.signal(each, handler)
    try:
        yield restore
    finally:
        restore()
