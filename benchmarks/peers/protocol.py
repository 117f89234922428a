"""What the runner asks of a peer, how a peer measures, and what it answers.

A peer process is started with a request as JSON in its only argument and prints one JSON line:
the request, the timings in seconds of CPU time, the errors of column 0, and the versions in use.
A solve that fails is an answer too.
"""

from __future__ import annotations

import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import numpy as np
from new_mexico import HORIZON, Reference, load_reference

Result = TypeVar("Result")
ATOL_PER_RTOL = 100.0  # cm: heads range from 75 to 1000 cm
# s: after the jump from -1000 to -75 cm at the top, a solver's own first guess can overshoot into
# psi > 0
FIRST_STEP = 1e-3


@dataclass
class Request:
    """One measurement: what to integrate, how, and how often.

    Attributes
    ----------
    method, sensitivity : names the peer gives its integrator and its gradient
    rtol : relative tolerance; the absolute one is 100 times that, in cm of head
    batch, cells : columns solved together, cells of each
    horizon : seconds of simulated time
    repeats : runs the median is taken over
    options : whatever else the peer understands
    """

    method: str
    sensitivity: str
    rtol: float
    batch: int = 1
    cells: int = 100
    horizon: float = HORIZON
    repeats: int = 3
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def atol(self) -> float:
        return self.rtol * ATOL_PER_RTOL


@dataclass
class Measurement:
    """What a peer found.

    Attributes
    ----------
    setup_s : CPU time before the first solve: building, tracing, compiling
    forward_s, total_s : CPU time of the batch, forward alone and forward with gradient
    psi : final heads of column 0, cm, [cells]
    gradient : dL/dln p of column 0, [5]
    stats : whatever the peer counts (steps, bytes)
    """

    setup_s: float
    forward_s: float
    total_s: float
    psi: np.ndarray
    gradient: np.ndarray
    stats: dict[str, Any] = field(default_factory=dict)


def timed(
    function: Callable[[], Result], repeats: int, clock: Callable[[], float] = time.process_time
) -> tuple[float, Result]:
    """Median time over `repeats` calls, of the CPU unless another clock is given, and what the last
    call returned.
    """
    seconds = []
    for _ in range(repeats):
        start = clock()
        result = function()
        seconds.append(clock() - start)
    return statistics.median(seconds), result


def yardstick() -> float:
    """CPU milliseconds of a fixed piece of work: how fast this machine is at this moment.

    CPU time grows, by up to two, while somebody else uses the other hardware thread of the core;
    two records compare only where their yardsticks do.
    """
    values = np.linspace(0.1, 1.0, 30_000)

    def work() -> int:
        for _ in range(200):
            np.cos(values, out=values)
        return sum(number * number for number in range(200_000))

    return 1e3 * timed(work, 3)[0]


def relative_error(gradient: np.ndarray, reference: Reference) -> float:
    """Norm of the error of dL/dln p over the norm of dL/dln p."""
    return float(np.linalg.norm(gradient - reference.gradient) / np.linalg.norm(reference.gradient))


def record(request: Request, measurement: Measurement, reference: Reference) -> dict[str, Any]:
    """Timings per column and errors.

    Errors only where the reference holds (100 cells, the whole day).
    """
    answer: dict[str, Any] = {
        "status": "ok",
        "setup_s": measurement.setup_s,
        "forward_ms_per_column": 1e3 * measurement.forward_s / request.batch,
        "total_ms_per_column": 1e3 * measurement.total_s / request.batch,
        "stats": measurement.stats,
    }
    if not (np.isfinite(measurement.psi).all() and np.isfinite(measurement.gradient).all()):
        answer["status"] = "nan"
    answer["gradient"] = [float(value) for value in measurement.gradient]
    if request.cells == len(reference.psi) and request.horizon == HORIZON:
        answer["gradient_error"] = relative_error(measurement.gradient, reference)
        answer["head_error_cm"] = float(np.abs(measurement.psi - reference.psi).max())
    return answer


def jsonable(value: Any) -> Any:
    """NaN and infinity are not JSON: None stands for them."""
    if isinstance(value, dict):
        return {key: jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [jsonable(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def versions(distributions: tuple[str, ...]) -> dict[str, str]:
    """Installed versions; a distribution that is not installed is left out."""
    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def serve(
    measure: Callable[[Request, Reference], Measurement], distributions: tuple[str, ...]
) -> None:
    """Answer the request in `sys.argv[1]` with one JSON line."""
    request = Request(**json.loads(sys.argv[1]))
    reference = load_reference()
    before = yardstick()
    try:
        answer = record(request, measure(request, reference), reference)
    except ModuleNotFoundError as error:
        answer = {"status": "not installed", "message": str(error)}
    except Exception as error:  # a peer that fails is data of the benchmark
        message = " ".join(str(error).split())  # on one line
        answer = {"status": "failed", "message": f"{type(error).__name__}: {message}"[:300]}
    answer["yardstick_ms"] = [before, yardstick()]
    answer["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    answer["versions"] = versions(distributions)
    print(json.dumps(jsonable({**asdict(request), **answer})), flush=True)
