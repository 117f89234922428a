"""Scripts in processes of their own: what must not disturb the process of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT = 240  # s; a hang is what many of these tests look for

# Every script may use these: a column whose steps are given, and Ctrl-C once a call has entered
# Julia
PREAMBLE = '''
import os, signal, sys, threading, time
from pathlib import Path
# it is ignored in what a shell runs in the background
signal.signal(signal.SIGINT, signal.default_int_handler)
from types import SimpleNamespace
import torch
from pydiffgeo import Grid, Richards, Solver, solve, usda_soil
from pydiffgeo.bridge import runtime
from pydiffgeo.errors import EngineUnavailable

torch.set_num_threads(1)
MODEL = Richards(Grid.uniform(10.0, 3), top="flux")
LONG = 1e-9  # a step that takes minutes

def column(step=0.1, hours=1.0, columns=1, grad=False, engine="julia", **options):
    K_s = torch.ones(columns, 1, dtype=torch.float64, requires_grad=grad)
    solver = Solver("kvaerno3", step=step, max_steps=10**12, **options)
    times = torch.linspace(0, hours, 4, dtype=torch.float64)
    soil = usda_soil("loam") | {"K_s": K_s}
    s = solve(MODEL, {"top_flux": 0.01}, soil, -100.0, times, solver, engine)
    return SimpleNamespace(states=s.states, engine=s.engine, K_s=K_s)

class Spy:
    """Tells when an entry point of Julia has been called."""
    def __init__(self, name):
        self.name, self.entered = name, threading.Event()
        self.call = runtime.start().functions[name]
    def __call__(self, *arguments):
        self.entered.set()
        return self.call(*arguments)
    def __enter__(self):
        runtime.start().functions[self.name] = self
        return self
    def __exit__(self, *_):
        runtime.start().functions[self.name] = self.call

def queued():
    """Seconds for which each thread waited for a processor, where Linux tells."""
    files = Path("/proc/self/task").glob("*/schedstat")
    return {f.parent.name: int(f.read_text().split()[1]) / 1e9 for f in files}

def interrupted(name, call, after=0.0):
    """Ctrl-C within the entry point `name` ends `call` within a second of processor time."""
    with Spy(name) as spy:
        sent = []
        def send():
            spy.entered.wait()
            time.sleep(after)
            sent.extend([queued(), time.perf_counter()])
            os.kill(os.getpid(), signal.SIGINT)
        thread = threading.Thread(target=send)
        thread.start()
        try:
            call()
        except KeyboardInterrupt:
            late = time.perf_counter() - sent[1]
            busy = max((t - sent[0].get(k, 0.0) for k, t in queued().items()), default=0.0)
            assert late - busy < 1, (name, late, busy)
            print("interrupted")
        else:
            raise AssertionError(name)
        thread.join()

def julia(code):
    return runtime.start().main.seval(code)

DIFFGEO = 'only(m for m in values(Base.loaded_modules) if nameof(m) == :DiffGeo)'
'''


def python(code: str, preamble: str = PREAMBLE, **environment: str | None) -> str:
    """Output of Python code in a new process, which must end by itself and well.

    None unsets a variable.
    """
    # what starting Julia in this process has set is not what a user sets
    variables = (
        os.environ | {"PYTHON_JULIACALL_THREADS": None, "PYDIFFGEO_ENGINE": None} | environment
    )
    done = subprocess.run(
        [sys.executable, "-c", preamble + code],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        cwd=ROOT,
        env={k: v for k, v in variables.items() if v is not None},
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
