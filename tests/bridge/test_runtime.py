"""Julia inside Python: threads, garbage collection, Ctrl-C, forks, import orders.

Each in a process of its own.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from processes import PREAMBLE, python

pytestmark = pytest.mark.usefixtures("julia")


def test_threads_solve_while_julia_collects_garbage() -> None:
    """Forward and backward in several Python threads, the main one collecting garbage of both
    kinds, or waiting.
    """
    out = python(r"""
import gc
expected = column(0.01, columns=3, grad=True)
expected.states.sum().backward()
failures = []

def work():
    try:
        for _ in range(20):
            s = column(0.01, columns=3, grad=True)
            s.states.sum().backward()
            assert torch.equal(s.states, expected.states)
            assert torch.equal(s.K_s.grad, expected.K_s.grad)
        column(1e-5, grad=True)  # 100,000 recorded steps: Julia collects on its own
    except BaseException as error:
        failures.append(error)

for collect in (True, False):
    threads = [threading.Thread(target=work) for _ in range(3)]
    [t.start() for t in threads]
    while collect and any(t.is_alive() for t in threads):
        julia("GC.gc()")
        gc.collect()
    [t.join() for t in threads]
print(failures, julia("Base.gc_num().total_time > 0"))
""")
    assert out.split() == ["[]", "True"]


def test_faulthandler_leaves_julia_its_signals() -> None:
    """Julia stops its threads by SIGSEGV, for which pytest and `-X faulthandler` put back the
    handler from before it.
    """
    out = python(r"""
import faulthandler
faulthandler.enable()
column(0.01, columns=3, grad=True)
faulthandler.disable()

def work():
    for _ in range(10):
        column(0.01, columns=3, grad=True).states.sum().backward()

threads = [threading.Thread(target=work) for _ in range(2)]
[t.start() for t in threads]
while any(t.is_alive() for t in threads):
    julia("GC.gc()")
[t.join() for t in threads]
print("alive")
""")
    assert out.split() == ["alive"]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_python_runs_while_julia_solves(dtype: str) -> None:
    """The thread that interrupts can only do so, and count, if the solve has released the
    interpreter lock.
    """
    out = python(rf"""
column(dtype=torch.{dtype})
counted = 0
with Spy("forward") as spy:
    def count():
        global counted
        spy.entered.wait()
        while counted < 100_000:
            counted += 1
        os.kill(os.getpid(), signal.SIGINT)
    thread = threading.Thread(target=count)
    thread.start()
    try:
        column(1e-6, 1e4, dtype=torch.{dtype})  # 1e10 steps
    except KeyboardInterrupt:
        print(counted)
""")
    assert out.split() == ["100000"]


@pytest.mark.parametrize("threads", ["1", "2"])
def test_ctrl_c(threads: str) -> None:
    """Ends forward and backward within a second, leaves all usable, and works outside of solves as
    before.
    """
    out = python(
        r"""
# what has to be compiled for these types is compiled before
column(0.1, columns=3, grad=True).states.sum().backward()
column(0.1, columns=3, grad=True, checkpoints=True).states.sum().backward()
for columns in (1, 3):
    interrupted("forward", lambda: column(LONG, columns=columns))
    column()
    s = column(2e-6, columns=columns, grad=True)  # 500,000 steps each
    interrupted("backward", lambda: s.states.sum().backward())
s = column(grad=True)
s.states.sum().backward()
print(bool(s.K_s.grad.isfinite().all()))
try:
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(60)
except KeyboardInterrupt:
    print("outside")
""",
        PYTHON_JULIACALL_THREADS=threads,
    )
    assert out.split() == ["interrupted"] * 4 + ["True", "outside"]


def test_a_forked_child_is_refused_and_ends() -> None:
    out = python(r"""
alive = column(grad=True)  # its Julia side must not be freed by the child
child = os.fork()
if child == 0:
    try:
        column()
    except EngineUnavailable as error:
        print("fork" in str(error), column(engine="auto").engine, flush=True)
    del alive
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
alive.states.sum().backward()

class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, i):
        return torch.tensor(i)

forked = {"num_workers": 2, "multiprocessing_context": "fork"}
loader = torch.utils.data.DataLoader(Numbers(), batch_size=2, **forked)
print(sum(int(b.sum()) for b in loader), column().engine)
""")
    assert out.split() == ["True", "torch", "7", "28", "julia"]


@pytest.mark.parametrize("first", ["torch", "juliacall"])
def test_import_orders(first: str) -> None:
    out = python(
        r"""
s = column(grad=True, columns=2)
(s.states.sum() * s.K_s.sum()).backward()
print(bool((s.K_s.grad != 0).all()), threading.active_count())
""",
        preamble=f"import {first}\n" + PREAMBLE,
    )
    assert out.split()[0] == "True"


def test_the_end_of_the_process_with_a_live_graph() -> None:
    assert python("alive = column(grad=True); print('end')") == "end\n"


def test_read_only_depot(tmp_path: Path) -> None:
    """Julia writes into the first depot only; what is shared by many users comes after it."""
    depots = os.environ.get("JULIA_DEPOT_PATH") or str(Path.home() / ".julia") + os.pathsep
    assert (
        python("print(column().engine)", JULIA_DEPOT_PATH=f"{tmp_path}{os.pathsep}{depots}")
        == "julia\n"
    )


def test_what_install_wrote_is_started_without_juliapkg(tmp_path: Path) -> None:
    """Also offline: juliapkg, which would look for downloads, is not even imported."""
    place = {k.lower(): os.environ.get(f"PYTHON_JULIACALL_{k}") for k in ("EXE", "PROJECT")}
    if not all(place.values()):
        pytest.skip("needs PYTHON_JULIACALL_EXE and PYTHON_JULIACALL_PROJECT")
    (tmp_path / "pydiffgeo-julia.json").write_text(json.dumps(place))
    out = python(
        rf"""
import sys
sys.modules["juliapkg"] = None
sys.prefix = {str(tmp_path)!r}
"""
        + PREAMBLE
        + "print(column(engine='auto').engine)",
        preamble="",
        PYTHON_JULIACALL_EXE=None,
        PYTHON_JULIACALL_PROJECT=None,
        PYTHON_JULIAPKG_OFFLINE="yes",
    )
    assert out == "julia\n"


def test_starting_is_lazy_and_for_the_main_thread(tmp_path: Path) -> None:
    out = python(r"""
print("juliacall" in sys.modules)
said = []
def work():
    try:
        runtime.start()
    except EngineUnavailable as error:
        said.append(str(error))
thread = threading.Thread(target=work)
thread.start(); thread.join()
print("main thread" in said[0], "juliacall" in sys.modules)
first = runtime.start()
print(runtime.start() is first)
thread = threading.Thread(target=work)
thread.start(); thread.join()
print(len(said))
""")
    assert out.split() == ["False", "True", "False", "True", "1"]


def test_settings_of_the_user_win() -> None:
    out: Any = python(
        "print(runtime.start().threads, os.environ['PYTHON_JULIACALL_THREADS'])",
        JULIA_NUM_THREADS="1",
    )
    assert out.split() == ["1", "1"]
