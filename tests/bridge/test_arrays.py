"""The bridge to Julia in the process of the tests.

Shared memory, what is freed when, errors, the choice of an engine.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import PREAMBLE, python
from torch import Tensor

from pydiffgeo import Grid, Richards, Solution, Solver, solve, solving, usda_soil
from pydiffgeo.bridge import arrays, runtime
from pydiffgeo.bridge.models import HEAD
from pydiffgeo.errors import EngineUnavailable, PyDiffGeoError, SolveFailed

F64 = torch.float64


def column(engine: str = "julia", grad: bool = True, **changes: Any) -> tuple[Solution, Tensor]:
    K_s = torch.tensor([0.5, 1.0], dtype=F64, requires_grad=grad)
    inputs: dict[str, Any] = {
        "solver": Solver(rtol=1e-3),
        "times": torch.arange(4.0),
        "forcing": {"top_flux": 0.01},
    } | changes
    model = Richards(Grid.uniform(10.0, 5), top="flux")
    parameters = usda_soil("loam") | {"K_s": K_s}
    return solve(model, parameters=parameters, initial_state=-100.0, engine=engine, **inputs), K_s


def runs(julia: Any) -> int:
    """Solves that Julia keeps in memory."""
    gc.collect()
    return int(
        julia.main.seval(
            "length(only(m for m in values(Base.loaded_modules) if nameof(m) == :DiffGeo).RUNS)"
        )
    )


def test_julia_reads_and_writes_the_memory_of_torch(
    julia: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[int]] = []
    original = julia.functions["forward"]

    def spy(model: int, bits: int, call: bytes, *rest: Any) -> int:
        calls.append(list((ctypes.c_int64 * (len(call) // 8)).from_buffer_copy(call)))
        return int(original(model, bits, call, *rest))

    monkeypatch.setitem(julia.functions, "forward", spy)
    model = Richards(Grid.uniform(10.0, 5), top="flux", bottom="head")
    state = torch.full((2, 5), -100.0, dtype=F64, requires_grad=True)
    flux, head = torch.full((2, 3), 0.01, dtype=F64), torch.full((3,), -100.0, dtype=F64)
    soil = {
        k: torch.full((2, 1), v, dtype=F64, requires_grad=True)
        for k, v in usda_soil("loam").items()
    }
    s = solve(
        model,
        {"top_flux": flux, "bottom_head": head},
        soil,
        state,
        torch.arange(4.0),
        engine="julia",
    )
    (call,) = calls
    given = {
        "initial": state,
        **{k: soil.get(k) for k in model.spec.parameters},
        "top_flux": flux,
        "bottom_head": head,
    }
    addresses = dict(zip(given, call[HEAD::4], strict=True))
    for name, x in given.items():
        assert x is None or addresses[name] == x.data_ptr(), name
    first = next(iter(s.fluxes.values()))
    assert (call[5], call[7]) == (s.states.data_ptr(), first.data_ptr())


def test_memory_of_results_is_used_again_when_nobody_holds_it() -> None:
    shape = (3, arrays.REUSED_FROM // 16)
    a = arrays.results(*shape, dtype=F64)
    place, part = a.data_ptr(), a[1].fill_(7)
    del a
    gc.collect()
    b = arrays.results(*shape, dtype=F64)
    b.zero_()
    assert b.data_ptr() != place and bool((part == 7).all())
    del part
    gc.collect()
    assert arrays.results(*shape, dtype=F64).data_ptr() == place


def test_cotangents_of_a_flux_in_any_layout(julia: Any) -> None:
    solution, K_s = column()
    drainage = solution.fluxes["drainage"]
    weights = torch.rand(
        drainage.shape[::-1], dtype=F64, generator=torch.Generator().manual_seed(3)
    ).T

    def gradient(loss: Tensor) -> Tensor:
        return torch.autograd.grad(loss, K_s, retain_graph=True)[0]

    day_by_day = [gradient(x.sum()) for x in drainage.unbind(1)]
    assert all(bool((g != 0).all()) for g in day_by_day)
    torch.testing.assert_close(
        gradient(drainage.sum()), sum(day_by_day), rtol=1e-12, atol=0
    )  # one number, expanded
    weighted = sum(w * g for w, g in zip(weights.unbind(1), day_by_day, strict=True))
    torch.testing.assert_close(gradient((weights * drainage).sum()), weighted, rtol=1e-12, atol=0)


def test_a_run_is_freed_after_backward(julia: Any) -> None:
    """At once where torch frees the graph, though the solution is still there."""
    before = runs(julia)
    s, K_s = column()
    assert runs(julia) == before + 1
    s.states.sum().backward(retain_graph=True)
    assert runs(julia) == before + 1
    s.states.sum().backward()
    assert runs(julia) == before and bool(K_s.grad.isfinite().all())
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        s.states.sum().backward()


def test_a_run_is_freed_with_its_graph(julia: Any) -> None:
    before = runs(julia)
    s, _ = column()
    assert runs(julia) == before + 1
    del s
    assert runs(julia) == before
    column(grad=False)
    with torch.no_grad():
        column()
    assert runs(julia) == before


def test_an_input_changed_in_place_is_noticed(julia: Any) -> None:
    s, K_s = column()
    with torch.no_grad():
        K_s.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        s.states.sum().backward()


def test_second_derivatives_are_refused(julia: Any) -> None:
    s, K_s = column()
    (first,) = torch.autograd.grad(s.states.sum(), K_s, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        first.sum().backward()


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="reads the resident memory from /proc"
)
@pytest.mark.parametrize("backward", [True, False])
def test_memory_is_flat(julia: Any, backward: bool) -> None:
    """1,000 calls of about 80 kB each: 80 MB if they were kept."""

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

    def call() -> None:
        s, _ = column(times=torch.arange(101.0))
        if backward:
            s.states.sum().backward()

    kept, _ = column(times=torch.arange(101.0))
    del kept
    for _ in range(100):
        call()
    before, start = runs(julia), resident()
    for _ in range(1000):
        call()
    assert runs(julia) == before
    assert resident() - start < 25.0


def test_failures_name_column_time_and_reason(julia: Any) -> None:
    with pytest.raises(SolveFailed, match="2 of 2 columns of the richards model failed") as raised:
        column(solver=Solver(max_steps=3), grad=False)
    assert set(raised.value.failed) == {0, 1}
    assert raised.value.failed[0].startswith(
        "in the interval that ends at 1.0: 3 steps were not enough"
    )


def test_what_julia_throws_is_an_error_of_the_package(julia: Any) -> None:
    with pytest.raises(PyDiffGeoError, match="KeyError"):
        julia.call("steps", 10**9, None, 0)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As before the first solve, without PYDIFFGEO_ENGINE."""
    monkeypatch.delenv("PYDIFFGEO_ENGINE", raising=False)
    monkeypatch.setattr(solving, "_said", set())
    return monkeypatch


def test_auto_takes_julia_and_says_so_once(
    julia: Any, fresh: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pydiffgeo")
    assert [column("auto")[0].engine for _ in range(2)] == ["julia", "julia"]
    assert [r.message for r in caplog.records] == ["solving with the julia engine"]


class Own(Richards):
    """A model that exists in torch only."""


@pytest.mark.parametrize("what", ["options", "model", "variable"])
def test_auto_takes_torch_where_julia_has_it_not(
    what: str, fresh: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pydiffgeo")
    fresh.setattr(solving, "unavailable", lambda: "")
    fresh.setattr(solving, "start", lambda: pytest.fail("Julia was started"))
    if what == "variable":
        fresh.setenv("PYDIFFGEO_ENGINE", "torch")
    options = Solver(shared_step=True) if what == "options" else Solver()
    model = (Own if what == "model" else Richards)(Grid.uniform(10.0, 3), top="flux")
    for _ in range(2):
        s = solve(model, {"top_flux": 0.0}, usda_soil("loam"), -100.0, [0.0, 1.0], options, "auto")
        assert s.engine == "torch"
    (said,) = caplog.records
    assert {"options": "shared_step", "model": "Own", "variable": "PYDIFFGEO_ENGINE"}[
        what
    ] in said.message


def test_auto_warns_once_where_julia_does_not_start(
    fresh: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise EngineUnavailable("a broken Julia")

    fresh.setattr(solving, "unavailable", lambda: "")
    fresh.setattr(solving, "start", fail)
    assert [column("auto", grad=False)[0].engine for _ in range(2)] == ["torch", "torch"]
    (said,) = caplog.records
    assert said.levelno == logging.WARNING and "a broken Julia" in said.message


ABSENT = {
    "juliacall": "sys.modules['juliacall'] = None\n",
    "preparation": "sys.prefix = '/nowhere'\nimport importlib.util, importlib.machinery as m\nold "
    "= importlib.util.find_spec\nimportlib.util.find_spec = lambda name, *x: "
    "m.ModuleSpec(name, None) if name == 'juliacall' else old(name, *x)\n",
}


@pytest.mark.parametrize("missing", ABSENT)
def test_without_julia_the_remedy_comes_at_once(missing: str) -> None:
    """Nothing is started or downloaded.

    No process, no connection, no import of what could do so.
    """
    out = python(
        "import sys\n"
        + ABSENT[missing]
        + PREAMBLE
        + r"""
def watch(event, arguments):
    outside = ("subprocess.Popen", "os.system", "os.posix_spawn", "socket.connect")
    packages = ("juliapkg", "juliacall")
    if event in outside or event == "import" and arguments[0] in packages:
        print("event", event, arguments, flush=True)
sys.addaudithook(watch)
begin = time.perf_counter()
try:
    column()
except EngineUnavailable as error:
    took = time.perf_counter() - begin
    print(took < 1, "pydiffgeo julia install" in str(error), 'engine="torch"' in str(error))
print(column(engine="auto").engine)
""",
        preamble="",
        PYTHON_JULIACALL_EXE=None,
        PYTHON_JULIACALL_PROJECT=None,
    )
    assert out.split() == ["True", "True", "True", "torch"]


def test_variables_that_contradict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: sys)
    monkeypatch.delenv("PYTHON_JULIACALL_PROJECT", raising=False)
    monkeypatch.setenv("PYTHON_JULIACALL_EXE", str(tmp_path))
    with pytest.raises(EngineUnavailable, match="set both"):
        runtime.found()
    monkeypatch.setenv("PYTHON_JULIACALL_PROJECT", str(tmp_path / "gone"))
    with pytest.raises(EngineUnavailable, match="gone does not exist"):
        runtime.found()
