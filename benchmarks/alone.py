"""One case of a benchmark in a process of its own, on one thread."""

from __future__ import annotations

import json
import os
import subprocess

from richards_peers import HERE, ONE_THREAD, Record

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
