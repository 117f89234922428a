"""How fast is the gradient of a stiff Richards solve, at equal gradient error, against other
solvers?

Every case of `cases.py` runs in a process of its own on one CPU thread; the clock is CPU time, the
median of three. The tolerance of each is the loosest of a fixed set at which the relative error of
the gradient is at most 3e-3; where none reaches it, the best is shown, marked. Prints two tables
and writes JSON.

    python benchmarks/richards_peers.py --python .venv-peers/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from math import dist, hypot
from pathlib import Path
from typing import Any

from cases import CASES, CELLS, ERROR_TARGET, FINE_CELLS, REFERENCE_RTOL, TOLERANCES, Case
from new_mexico import load_reference
from peers.protocol import Request
from report import print_results, print_targets

HERE = Path(__file__).resolve().parent
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "CUDA_VISIBLE_DEVICES": "",
}

Record = dict[str, Any]


def pinned(cpu: int | None) -> Callable[[], None] | None:
    """What a child does before it starts: stay on one core, where the system can."""
    if cpu is None or not hasattr(os, "sched_setaffinity"):
        return None
    return lambda: os.sched_setaffinity(0, {cpu})


def ask(case: Case, request: Request, python: str, cpu: int | None, limit: float) -> Record:
    """Run one measurement in a process of its own; a crash or a timeout becomes its record."""
    paths = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    threads = case.options.get("threads", 1)
    environment = {
        **os.environ,
        **ONE_THREAD,
        "PYTHON_JULIACALL_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    cpu = cpu if threads == 1 else None
    command = [python, "-m", f"peers.{case.peer}", json.dumps(asdict(request))]
    date = datetime.now(UTC).isoformat(timespec="seconds")
    answer: Record = {**asdict(request), "case": case.name, "date": date}
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit,
            preexec_fn=pinned(cpu),
        )
    except subprocess.TimeoutExpired:
        return {**answer, "status": "timeout", "message": f"stopped after {limit:g} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        return {**answer, "status": "crashed", "message": done.stderr.strip()[-500:]}
    return {**answer, **json.loads(lines[-1])}


def error_of(record: Record) -> float:
    """Gradient error of a record, infinite where there is none."""
    error = record.get("gradient_error")
    return float("inf") if record["status"] != "ok" or error is None else float(error)


def measure(case: Case, arguments: argparse.Namespace) -> Iterator[Record]:
    """All records of a case.

    The search for its tolerance, then its other batches at that tolerance.
    """
    python = sys.executable if case.own else arguments.python

    def one(rtol: float, batch: int, cells: int = CELLS) -> Record:
        request = Request(
            case.method,
            case.sensitivity,
            rtol,
            batch,
            cells,
            repeats=arguments.repeats,
            options=case.options,
        )
        answer = ask(case, request, python, arguments.cpu, arguments.limit)
        detail = answer.get("total_ms_per_column", answer.get("message"))
        what = f"{case.name}: rtol {rtol:g}, batch {batch}, {cells} cells"
        print(f"{what}: {answer['status']}, {detail}", file=sys.stderr)
        return answer

    def search(cells: int, error: Callable[[Record], float]) -> Iterator[Record]:
        """Tighter and tighter at the first batch until the error is small enough.

        Marks the best.
        """
        tried = []
        for rtol in TOLERANCES:
            tried.append(one(rtol, case.batches[0], cells))
            if error(tried[-1]) <= ERROR_TARGET or tried[-1]["status"] in (
                "timeout",
                "not installed",
            ):
                break  # tighter tolerances would only be slower
        best = min(tried, key=error)
        best["chosen"] = True
        yield from tried
        if error(best) <= ERROR_TARGET:
            batches = case.batches if cells == CELLS else case.fine
            yield from (
                one(best["rtol"], batch, cells) for batch in batches if batch != case.batches[0]
            )

    measured = set()
    for entry in search(CELLS, error_of):
        measured.add(entry["rtol"])
        yield entry
    yield from (one(rtol, case.batches[0]) for rtol in case.also if rtol not in measured)
    if case.fine:
        # no independent reference there: the case itself, with an error of the time stepping that
        # no longer matters
        exact = one(REFERENCE_RTOL, case.batches[0], FINE_CELLS)
        yield exact
        yield from search(FINE_CELLS, lambda entry: error_against(exact, entry))


def error_against(exact: Record, entry: Record) -> float:
    """Gradient error of a record relative to another record."""
    if exact["status"] != "ok" or entry["status"] != "ok":
        return float("inf")
    entry["gradient_error"] = dist(exact["gradient"], entry["gradient"]) / hypot(*exact["gradient"])
    return float(entry["gradient_error"])


def machine() -> Record:
    """Where the numbers come from."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def parse() -> argparse.Namespace:
    """Command line."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter of the peers' environment"
    )
    parser.add_argument(
        "--only",
        default="",
        help="run the cases whose name contains one of these, separated by commas",
    )
    parser.add_argument("--limit", type=float, default=600.0, help="seconds a process may take")
    parser.add_argument("--repeats", type=int, default=3, help="runs the median is taken over")
    parser.add_argument("--cpu", type=int, default=0, help="core the processes are pinned to")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "richards_peers.json")
    return parser.parse_args()


def main() -> None:
    """Measure, keeping the records of cases not asked for, then print what the file holds."""
    arguments = parse()
    load_reference()
    selected = [
        case for case in CASES if any(part in case.name for part in arguments.only.split(","))
    ]
    if not selected:
        sys.exit(
            f"no case contains {arguments.only!r}; known: " + "; ".join(case.name for case in CASES)
        )
    records: list[Record] = []
    if arguments.output.exists():
        names = {case.name for case in selected}
        before = json.loads(arguments.output.read_text())["records"]
        records = [entry for entry in before if entry["case"] not in names]
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    for case in selected:
        for entry in measure(case, arguments):
            records.append(entry)
            content = {"machine": machine(), "tolerances": TOLERANCES, "records": records}
            arguments.output.write_text(json.dumps(content, indent=1))
    print_results(records)
    print_targets(records)
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
