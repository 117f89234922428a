"""Does the torch engine on a GPU give what the CPU gives, and how fast?

One command for any machine with CUDA and this package's environment, meant for less than four
minutes: parity of HBV, Richards' equation and an LSTM with the CPU (states 1e-8, gradients 1e-7 in
float64), a training step under NCCL with one rank, times beside the explicit loop of HBV on the
same card, and every test of the suite that needs CUDA. Prints and writes JSON; ends with 1 where
something differs.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu --small   # a dry run: the CPU against itself
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from hbv_rates import INITIAL, parameters, weather
from peers.hbv import by_loop
from torch import Tensor

from pydiffgeo import HBV, Grid, Richards, Solver, solve, usda_soil

HERE = Path(__file__).parent
STATES, GRADIENTS = 1e-8, 1e-7  # relative differences allowed in float64
F64 = torch.float64
Inputs = dict[str, Tensor]
Run = Callable[[torch.device], tuple[Tensor, Tensor]]
"""Results and gradient of one case on a device."""


@dataclass(frozen=True)
class Case:
    """What runs on both devices; `parity` where the results are compared."""

    run: Run
    columns: int
    steps: int
    parity: bool = True


def placed(values: Mapping[str, Any], device: torch.device) -> Inputs:
    """Return arrays as tensors on a device."""
    return {k: torch.as_tensor(v, dtype=F64, device=device) for k, v in values.items()}


def with_gradient(result: Callable[[Inputs], Tensor], given: Inputs) -> tuple[Tensor, Tensor]:
    """Return a result and the gradient of its mean square, times what is given."""
    x = {k: v.clone().requires_grad_() for k, v in given.items()}
    out = result(x)
    slopes = torch.autograd.grad(out.square().mean(), list(x.values()))
    return out.detach(), torch.stack([g * v for g, v in zip(slopes, given.values(), strict=True)])


def hbv(columns: int, days: int, loop: bool = False) -> Run:
    """HBV by implicit Euler, or by the explicit loop."""

    def run(device: torch.device) -> tuple[Tensor, Tensor]:
        f, state = placed(weather(columns, days), device), torch.tensor(INITIAL, device=device)

        def discharge(p: Inputs) -> Tensor:
            if loop:
                return by_loop(f, p)
            solver = Solver("implicit_euler", step=1.0)
            return solve(HBV(), f, p, state, range(days + 1), solver, "torch").fluxes["discharge"]

        return with_gradient(discharge, placed(parameters(columns), device))

    return run


def richards(columns: int, steps: int) -> Run:
    """Storms on soils of 2 m, by SDIRK2 with error control."""

    def run(device: torch.device) -> tuple[Tensor, Tensor]:
        spread = torch.linspace(0.7, 1.3, columns, dtype=F64, device=device)
        soil = {k: spread * v for k, v in usda_soil("loam").items() if k in ("alpha", "K_s")}
        fixed = {k: v for k, v in usda_soil("loam").items() if k not in soil}
        rain = torch.zeros(steps, dtype=F64, device=device)
        rain[::4] = 0.3  # cm h-1
        model = Richards(Grid.uniform(200, 40))
        names = {k: torch.zeros_like(rain) for k in model.spec.forcings}
        names["rain"] = rain
        start = torch.full((columns, 40), -150.0, dtype=F64, device=device)
        solver = Solver("sdirk2", rtol=1e-4, newton_tolerance=1e-6)
        times = [6.0 * i for i in range(steps + 1)]

        def heads(p: Inputs) -> Tensor:
            return solve(model, names, {**fixed, **p}, start, times, solver, "torch").states / 100

        return with_gradient(heads, soil)

    return run


def lstm(columns: int, days: int) -> Run:
    """The LSTM of networks, by torch."""

    def run(device: torch.device) -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        net = torch.nn.LSTM(5, 64, batch_first=True, dtype=F64)
        x = torch.randn(columns, days, 5, dtype=F64)
        net, x = net.to(device), x.to(device).requires_grad_()
        out, _ = net(x)
        (slope,) = torch.autograd.grad(out.square().mean(), [x])
        return out.detach(), slope

    return run


def training_step(columns: int, days: int) -> Run:
    """One step of Adam whose gradient went through the group of processes."""

    def run(device: torch.device) -> tuple[Tensor, Tensor]:
        backend = "nccl" if device.type == "cuda" else "gloo"
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", "29533")
        dist.init_process_group(backend, rank=0, world_size=1)
        try:
            f, state = placed(weather(columns, days), device), torch.tensor(INITIAL, device=device)
            values = torch.stack(list(placed(parameters(columns), device).values()))
            values = values.requires_grad_()
            adam = torch.optim.Adam([values], lr=1e-3)
            p = dict(zip(parameters(columns), values, strict=True))
            solver = Solver("implicit_euler", step=1.0)
            solution = solve(HBV(), f, p, state, range(days + 1), solver, "torch")
            solution.fluxes["discharge"].square().mean().backward()
            assert values.grad is not None
            dist.all_reduce(values.grad)
            slope = values.grad.clone()
            adam.step()
            return values.detach(), slope
        finally:
            dist.destroy_process_group()

    return run


def cases(small: bool) -> dict[str, Case]:
    """What is run, by name."""
    if small:
        columns, days, soils, wide = 12, 60, (4,), 12
    else:
        columns, days, soils, wide = 1600, 730, (1024, 16_384), 256
    found = {
        "HBV, implicit Euler": Case(hbv(columns, days), columns, days),
        "HBV, explicit loop": Case(hbv(columns, days, loop=True), columns, days),
        "LSTM": Case(lstm(wide, days), wide, days),
        "training step": Case(training_step(columns, 60), columns, 60),
    }
    for count in soils:
        # parity on the smaller batch; the CPU would take minutes for the larger
        found[f"Richards, {count} columns"] = Case(richards(count, 8), count, 8, count <= 1024)
    return found


def timed(case: Case, device: torch.device, repeats: int) -> tuple[float, tuple[Tensor, Tensor]]:
    """Least seconds of some runs, the first of which is not counted, and what was found."""
    found, least = case.run(device), float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        case.run(device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        least = min(least, time.perf_counter() - start)
    return least, found


def apart(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((a.cpu() - b.cpu()).abs().max() / b.abs().max())


def measure(name: str, case: Case, device: torch.device, repeats: int) -> dict[str, Any]:
    """Time of a case on the device, and how far its results are from those of the CPU."""
    seconds, (out, slope) = timed(case, device, repeats)
    row: dict[str, Any] = {
        "case": name,
        "us_per_column_step": 1e6 * seconds / (case.columns * case.steps),
        "finite": bool(torch.isfinite(out).all() and torch.isfinite(slope).all()),
    }
    if case.parity:
        right, right_slope = case.run(torch.device("cpu"))
        row |= {"states": apart(out, right), "gradients": apart(slope, right_slope)}
    row["ok"] = (
        row["finite"] and row.get("states", 0) <= STATES and row.get("gradients", 0) <= GRADIENTS
    )
    return row


def suite() -> dict[str, Any]:
    """Every test of the suite that needs CUDA: those that are skipped without."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-k",
        "cuda",
        "-p",
        "no:cacheprovider",
        "tests",
    ]
    ended = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
    last = (ended.stdout.strip().splitlines() or ["no output"])[-1]
    return {"case": "tests -k cuda", "ok": ended.returncode == 0, "says": last}


def main() -> None:
    """Run all cases, print and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cpu: a dry run")
    parser.add_argument("--small", action="store_true", help="a few columns and days")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--no-tests", action="store_true")
    parser.add_argument("--output", type=Path, help="results/gpu.json, or gpu_dry_run.json")
    given = parser.parse_args()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device; --device cpu --small is a dry run.")
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU: a dry run"
    report = {"torch": torch.__version__, "device": card, "cases": []}
    print(card)
    for name, case in cases(given.small).items():
        row = measure(name, case, device, given.repeats)
        report["cases"].append(row)
        told = "  ".join(f"{k} {v:.3g}" for k, v in row.items() if isinstance(v, float))
        print(f"{name:28s} {'ok' if row['ok'] else 'DIFFERS'}  {told}")
    if not given.no_tests:
        report["cases"].append(suite())
        print(f"tests: {report['cases'][-1]['says']}")
    dry = given.small or device.type == "cpu"  # its numbers must not stand for those of a card
    path = given.output or HERE / "results" / ("gpu_dry_run.json" if dry else "gpu.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1))
    print(f"written to {path}")
    if not all(row["ok"] for row in report["cases"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
