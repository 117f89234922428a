"""The Julia that runs inside this process: found, started once, and called by ctypes.

juliacall starts Julia and hands over the addresses of a few C functions of the Julia package; every
solve then goes through ctypes, which releases the interpreter lock, works from any thread and costs
less than a microsecond.
"""

from __future__ import annotations

import _signal  # the functions of `signal` without their enums, which cost more than a small solve
import atexit
import ctypes
import faulthandler
import importlib.util
import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydiffgeo.errors import (
    EngineUnavailable,
    ParameterError,
    PyDiffGeoError,
    SpecMismatch,
    UnknownName,
)

INSTALL = "run `pydiffgeo julia install`, which needs the internet once"
MESSAGE_BYTES = 16384
FAILED, STOPPED = -1, -2

_long, _pointer = ctypes.c_int64, ctypes.c_void_p
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "open": (ctypes.c_char_p, _pointer, _long),
    "close": (_long,),
    "forward": (_long, _long, _pointer, _pointer, _pointer, _long),
    "river": (_long, _long, _pointer, _pointer, _pointer, _pointer, _long),
    "evaluate": (_long, _long, _pointer, _pointer, _long),
    "weights": (_long, _long, _pointer, _pointer, _long),
    "steps": (_long, _pointer, _long, _pointer, _long),
    "backward": (_long, _pointer, _pointer, _long),
    "release": (_long,),
    "function_open": (ctypes.c_char_p, ctypes.c_char_p, _pointer, _long),
    "function_close": (_long,),
    "function_size": (_long, _long, _pointer, _long, _pointer, _long),
    "function_call": (_long, _long, _pointer, _pointer, _long),
    "nothing": (_pointer, _pointer, _pointer),
}


def sources() -> Path:
    """Folder of the Julia package: inside the installed package, or beside it in a source tree."""
    package = Path(__file__).parents[1]
    inside = package / "julia_src"
    return inside if inside.is_dir() else package.parent / "julia_src"


def installed() -> Path:
    """File in which `pydiffgeo julia install` writes which Julia and which project it prepared."""
    return Path(sys.prefix) / "pydiffgeo-julia.json"


def found() -> dict[str, str]:
    """Executable and project of Julia.

    Those of the environment variables, else those that were installed.

    Raises
    ------
    EngineUnavailable
        Neither is there; the message says what to do. Only files are looked at, and nothing is
        downloaded.
    """
    if importlib.util.find_spec("juliacall") is None:
        raise EngineUnavailable(
            f'the Julia engine needs juliacall: pip install "pydiffgeo[julia]", then {INSTALL}; '
            'or use engine="torch", which solves the same models.'
        )
    given = {k: os.environ.get(f"PYTHON_JULIACALL_{k.upper()}") for k in ("exe", "project")}
    if given["exe"] and given["project"]:
        for k, path in given.items():
            if not Path(str(path)).exists():
                raise EngineUnavailable(
                    f"PYTHON_JULIACALL_{k.upper()}={path} does not exist; correct it, or unset it."
                )
        return {k: str(v) for k, v in given.items()}
    if any(given.values()):
        raise EngineUnavailable(
            "set both PYTHON_JULIACALL_EXE and PYTHON_JULIACALL_PROJECT, or neither."
        )
    if "juliacall" in sys.modules:  # started by somebody else, with a project of theirs
        return {}
    try:
        written: dict[str, str] = json.loads(installed().read_text())
    except (OSError, ValueError):
        raise EngineUnavailable(
            f'no Julia was prepared for pydiffgeo: {INSTALL}; or use engine="torch", which solves '
            "the same models."
        ) from None
    for k in ("exe", "project"):
        if not Path(written.get(k, "")).exists():
            raise EngineUnavailable(
                f"the prepared Julia is gone ({k} {written.get(k)}): {INSTALL}."
            )
    return written


@dataclass(frozen=True)
class Julia:
    """The running Julia.

    Attributes
    ----------
    main : juliacall module Main
    functions : dict of str to ctypes function
        Entry points of the Julia package DiffGeo.
    version : str
    threads : int
    """

    main: Any
    functions: dict[str, Any]
    version: str
    threads: int

    def call(self, name: str, *arguments: Any) -> int:
        """Call an entry point that reports failures, and return its result.

        A negative result is a failure, whose message is raised.

        Raises
        ------
        SpecMismatch, UnknownName, PyDiffGeoError
            What Julia reported; with Julia's backtrace as a note and as `julia_backtrace`, where
            the error was not foreseen.
        """
        message = _message()
        status = int(self.functions[name](*arguments, message, MESSAGE_BYTES))
        if status == FAILED:
            reported, trace, *_ = (*message.raw.decode(errors="replace").split("\0", 2), "", "")
            kind, _, text = reported.partition(": ")
            known: dict[str, type[PyDiffGeoError]] = {
                "SpecMismatch": SpecMismatch,
                "UnknownName": UnknownName,
                "Refused": ParameterError,
            }
            if kind in known:
                raise known[kind](text)
            error = PyDiffGeoError(f"Julia: {reported}")
            if trace:
                error.julia_backtrace = trace
                error.add_note(f"In Julia:\n{trace}")
            raise error
        return status

    def forget(self, name: str, number: int) -> None:
        """Call "close" or "release", unless Julia is no more.

        In a forked child, and at the end of the process.
        """
        if not (_forked or _ended):
            self.functions[name](number)


class _Messages(threading.local):
    """A buffer for each thread: making one for each call costs more than the call."""

    buffer: ctypes.Array[ctypes.c_char] | None = None


_messages = _Messages()


def _message() -> ctypes.Array[ctypes.c_char]:
    if _messages.buffer is None:
        _messages.buffer = ctypes.create_string_buffer(MESSAGE_BYTES)
    return _messages.buffer


_julia: Julia | None = None
_failure: EngineUnavailable | None = None
_forked = _ended = False
_lock = threading.RLock()
_exit_hooks: list[Callable[..., Any]] = []


@contextmanager
def _remembering_exit_hooks() -> Iterator[None]:
    """Remember the functions that are registered inside to run at the end of the process.

    juliacall hides its own.
    """
    register = atexit.register

    def remember(f: Callable[..., Any], *arguments: Any, **named: Any) -> Callable[..., Any]:
        _exit_hooks.append(f)
        return register(f, *arguments, **named)

    atexit.register = remember  # type: ignore[assignment]
    try:
        yield
    finally:
        atexit.register = register


def _after_fork() -> None:
    global _forked
    _forked = _julia is not None
    for hook in _exit_hooks:  # what ends Julia would wait for threads that the child does not have
        atexit.unregister(hook)


os.register_at_fork(after_in_child=_after_fork)


def unavailable() -> str:
    """Return why Julia cannot start here without a download, "" where it can.

    It is looked up once for each environment.
    """
    return (
        ""
        if _julia is not None
        else _unavailable(*(os.environ.get(f"PYTHON_JULIACALL_{k}") for k in ("EXE", "PROJECT")))
    )


@cache
def _unavailable(exe: str | None, project: str | None) -> str:
    try:
        found()
    except EngineUnavailable as error:
        return str(error)
    return ""


def start() -> Julia:
    """Start Julia, or return the one that runs.

    Raises
    ------
    EngineUnavailable
        Julia is missing or cannot start, this is a forked child, or not the main thread.
    """
    global _julia, _failure
    if _forked:
        raise EngineUnavailable(
            "Julia does not survive a fork: solve in the parent, or let multiprocessing spawn "
            "processes."
        )
    if _julia is not None:
        return _julia
    with _lock:
        if _julia is None:
            place = found()
            if threading.current_thread() is not threading.main_thread():
                raise EngineUnavailable(
                    "Julia must be started from the main thread: call pydiffgeo.julia.start() "
                    "there first."
                )
            if _failure is not None:  # Julia starts once, or not at all
                raise _failure
            try:
                _julia = _start(place)
            except EngineUnavailable as error:
                _failure = error
                raise
    return _julia


def _start(place: dict[str, str]) -> Julia:
    for k, value in place.items():
        os.environ.setdefault(f"PYTHON_JULIACALL_{k.upper()}", value)
    # a user's own settings win
    os.environ.setdefault("PYTHON_JULIACALL_THREADS", os.environ.get("JULIA_NUM_THREADS", "auto"))
    os.environ.setdefault("PYTHON_JULIACALL_HANDLE_SIGNALS", "yes")
    # Julia stops its threads for its collector by SIGSEGV. Where faulthandler ends, as it does in
    # pytest before the process, it would put back the handler from before Julia, and the next stop
    # would be a crash
    faulthandler.disable()
    blocked, interrupt = (
        signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        signal.getsignal(signal.SIGINT),
    )
    try:
        with warnings.catch_warnings(), _remembering_exit_hooks():
            # both orders of importing torch and juliacall are tested
            warnings.filterwarnings("ignore", "torch was imported before juliacall")
            from juliacall import Main  # starts Julia
    except Exception as error:
        raise EngineUnavailable(f"Julia did not start: {error}. See `pydiffgeo doctor`.") from error
    # Julia takes Ctrl-C for itself: give it back to Python
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    if interrupt is not None:
        signal.signal(signal.SIGINT, interrupt)
    answer, *rest = _evaluate(_LOAD % json.dumps(str(sources()))).split("\n")
    if answer != "ok":
        reason = answer.partition("Stacktrace:")[0].strip()
        raise EngineUnavailable(
            f"the Julia package DiffGeo does not load: {reason}. To repair its project {INSTALL}."
        )
    version, threads, *lines = rest
    functions = {}
    for line in lines:
        name, address = line.split()
        functions[name] = ctypes.CFUNCTYPE(_long, *SIGNATURES[name])(int(address))
    # While Python runs, Julia's collector of garbage need not wait for this thread
    ctypes.PyDLL(None).jl_gc_safe_enter()
    _exit_hooks.append(atexit.register(_end))  # runs before juliacall ends Julia
    return Julia(Main, functions, version, int(threads))


def _end() -> None:
    global _ended
    _ended = True
    ctypes.PyDLL(None).jl_gc_safe_leave(ctypes.c_int8(0))


# The answer is a string that Julia keeps; errors are its first line
_LOAD = """pydiffgeo_answer = try
    Base.find_package("DiffGeo") === nothing && push!(LOAD_PATH, %s)
    global pydiffgeo_package = Base.require(Main, :DiffGeo)
    entries = Base.invokelatest(() -> pydiffgeo_package.entry_points_text())
    join(("ok", string(VERSION), string(Threads.nthreads()), entries), "\\n")
catch error
    replace(sprint(showerror, error), "\\n" => " ")
end
UInt(pointer(pydiffgeo_answer))"""


_sciml_loaded = False

_LOAD_SCIML = """pydiffgeo_answer = try
    Base.invokelatest(pydiffgeo_package.load_sciml)
    "ok"
catch error
    replace(sprint(showerror, error), "\\n" => " ")
end
UInt(pointer(pydiffgeo_answer))"""


def load_sciml() -> None:
    """Load SciML's packages into the running Julia, once.

    Raises
    ------
    EngineUnavailable
        The project of Julia lacks them, or this is not the main thread.
    """
    global _sciml_loaded
    if _sciml_loaded:
        return
    with _lock:
        if threading.current_thread() is not threading.main_thread():
            raise EngineUnavailable(
                "SciML must be loaded from the main thread: solve once there with a method of "
                "SciML first."
            )
        library = ctypes.PyDLL(None)
        library.jl_gc_safe_leave(ctypes.c_int8(0))
        try:
            answer = _evaluate(_LOAD_SCIML)
        finally:
            library.jl_gc_safe_enter()
        if answer != "ok":
            raise EngineUnavailable(
                f"the methods of SciML do not load: {answer}. To repair the project of Julia "
                f"{INSTALL}."
            )
        _sciml_loaded = True


def _evaluate(code: str) -> str:
    """Evaluate Julia code whose value is the address of a string.

    juliacall's own way costs seconds of compilation.
    """
    library = ctypes.PyDLL(None)
    library.jl_eval_string.restype, library.jl_eval_string.argtypes = _pointer, (ctypes.c_char_p,)
    library.jl_unbox_uint64.restype, library.jl_unbox_uint64.argtypes = ctypes.c_uint64, (_pointer,)
    value = library.jl_eval_string(code.encode())
    if not value:
        raise EngineUnavailable("Julia does not evaluate code; see `pydiffgeo doctor`.")
    return ctypes.string_at(library.jl_unbox_uint64(value)).decode()


SIGINT = int(signal.SIGINT)


class _Interrupt:
    """Ctrl-C while Julia solves: remembered here, asked for by Julia."""

    def __init__(self) -> None:
        self.pending = False
        # running any Python lets the interpreter call handlers of signals that have arrived
        self.ask = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: int(self.pending))
        self.address = ctypes.cast(self.ask, _pointer).value or 0

    def note(self, signum: int, frame: Any) -> None:
        self.pending = True


_interrupt = _Interrupt()


@contextmanager
def interruptible() -> Iterator[int]:
    """Let Ctrl-C stop the solve inside, in the main thread.

    Gives the address of a C function by which Julia asks whether to stop.
    """
    handler: Callable[..., Any] | int | None = None
    if threading.current_thread() is threading.main_thread():
        handler = _signal.getsignal(SIGINT)
    if not callable(handler):
        yield 0
        return
    _signal.signal(SIGINT, _interrupt.note)
    try:
        yield _interrupt.address
    finally:
        _signal.signal(SIGINT, handler)
        if _interrupt.pending:
            _interrupt.pending = False
            handler(signal.SIGINT, sys._getframe())
