"""One case of a benchmark in a process of its own, on one thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from richards_peers import HERE, ONE_THREAD, Record, machine

ONE_JULIA_THREAD = {"JULIA_NUM_THREADS": "1", "PYTHON_JULIACALL_THREADS": "1"}


def measured_alone(command: list[str], request: Record, limit: float) -> Record:
    """Return the request with what a command, given it as JSON, prints; what goes wrong becomes
    its status.

    Parameters
    ----------
    command : list of str
        Without its last argument, the request.
    request : dict
    limit : float
        Seconds that it may take.
    """
    paths = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    found = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    environment = {**os.environ, **ONE_THREAD, **ONE_JULIA_THREAD, **found}
    try:
        done = subprocess.run(
            [*command, json.dumps(request)], env=environment, capture_output=True, text=True,
            timeout=limit,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {**request, "status": f"stopped after {limit:g} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {**request, "status": (done.stderr.strip().splitlines() or ["no answer"])[-1][:200]}
    return {**request, **json.loads(lines[-1])}


def measure_all(
    script: str, requests: Iterable[Record], limit: float, output: Path
) -> list[Record]:
    """Return the records of a script that measures one request, told by --one; each is written to
    `output` when it is there.
    """
    records: list[Record] = []
    output.parent.mkdir(parents=True, exist_ok=True)
    for request in requests:
        records.append(measured_alone([sys.executable, script, "--one"], request, limit))
        print(json.dumps(records[-1]), file=sys.stderr)
        output.write_text(json.dumps({"machine": machine(), "records": records}, indent=1))
    return records
