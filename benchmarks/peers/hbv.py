"""One measurement of `hbv_peers.py`.

A request as JSON in the only argument, the answer as one JSON line.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from hbv_rates import BOUNDS, FORCING, INITIAL, parameters, rates, weather

Runs = tuple[Callable[[], Any], Callable[[], tuple[float, Any]]]
"""Forward alone, and forward with gradient: the loss and the gradient `[parameter, basin]`."""


def torch_runs(
    discharge: Callable[[dict[str, Any], dict[str, Any]], Any], batch: int, days: int
) -> Runs:
    """Runs of a torch function from weather and parameters to discharge `[basin, day]`."""
    import torch

    torch.set_num_threads(1)
    f = {k: torch.from_numpy(v) for k, v in weather(batch, days).items()}
    p = {k: torch.from_numpy(v) for k, v in parameters(batch).items()}

    def forward() -> Any:
        with torch.no_grad():
            return discharge(f, p)

    def gradient() -> tuple[float, Any]:
        x = {k: v.clone().requires_grad_() for k, v in p.items()}
        loss = discharge(f, x).square().mean()
        return float(loss.detach()), torch.stack(torch.autograd.grad(loss, list(x.values())))

    return forward, gradient


def states_and_discharge(f: dict[str, Any], p: dict[str, Any], start: Any) -> tuple[Any, Any]:
    """States `[basin, day, 5]` and discharge `[basin, day]` by the loop of published codes,
    on the weather's device.
    """
    from pydiffgeo.stages.explicit_hbv import explicit_hbv

    states, fluxes = explicit_hbv(f, p, start)
    return states, fluxes["discharge"]


def by_loop(f: dict[str, Any], p: dict[str, Any]) -> Any:
    """Discharge of the same, from `INITIAL`."""
    import torch

    return states_and_discharge(f, p, torch.from_numpy(INITIAL).to(f["precipitation"]))[1]


def loop(batch: int, days: int, options: dict[str, Any]) -> Runs:
    """The explicit loop of published codes."""
    return torch_runs(by_loop, batch, days)


def package(batch: int, days: int, options: dict[str, Any]) -> Runs:
    """The package: the discharge, and nothing else."""
    import torch

    from pydiffgeo import HBV, Solver, solve_fluxes

    solver = Solver(options["method"], step=1.0, compile=options.get("compile", False))
    model, state = HBV(), torch.from_numpy(INITIAL)
    return torch_runs(
        lambda f, p: solve_fluxes(
            ["discharge"], model, f, p, state, range(days + 1), solver, options["engine"]
        )[0]["discharge"],
        batch,
        days,
    )


def torchdiffeq(batch: int, days: int, options: dict[str, Any]) -> Runs:
    """A fixed step of one day, autograd through the solver.

    An explicit method needs its stores kept above zero.
    """
    import torch
    from torchdiffeq import odeint

    def discharge(f: dict[str, Any], p: dict[str, Any]) -> Any:
        drivers = [f[k].unbind(1) for k in FORCING]

        def rate(t: Any, y: Any) -> Any:
            day = min(days - 1, int(t))
            stores = y.clamp(min=1e-3).unbind(-1)
            return torch.stack(rates(stores, [d[day] for d in drivers], p, torch)[0], -1)

        start = torch.from_numpy(INITIAL).expand(batch, -1)
        states = odeint(
            rate, start, torch.arange(days + 1, dtype=start.dtype), method=options["method"]
        )[1:]
        forcing = [f[k].T for k in FORCING]
        return rates(states.clamp(min=1e-3).unbind(-1), forcing, p, torch)[1].T

    return torch_runs(discharge, batch, days)


def diffrax(batch: int, days: int, options: dict[str, Any]) -> Runs:
    """An adaptive implicit method that knows the ends of the days, with the checkpointed discrete
    adjoint.
    """
    import diffrax as dfx
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    names = list(BOUNDS)

    def loss(p: Any, f: Any) -> Any:
        values = dict(zip(names, p, strict=True))

        def rate(t: Any, y: Any, _: Any) -> Any:
            day = jnp.clip(jnp.floor(t).astype(int), 0, days - 1)
            return jnp.stack(rates(y, f[:, day], values, jnp)[0])

        ends = jnp.arange(1.0, days + 1)
        control = dfx.PIDController(rtol=options["rtol"], atol=options["atol"])
        control = dfx.ClipStepSizeController(control, jump_ts=jnp.arange(0.0, days + 1))
        solution = dfx.diffeqsolve(
            dfx.ODETerm(rate),
            dfx.Kvaerno3(),
            0.0,
            float(days),
            0.1,
            jnp.asarray(INITIAL),
            saveat=dfx.SaveAt(ts=ends),
            stepsize_controller=control,
            max_steps=16384,
        )
        return jnp.mean(rates(solution.ys.T, f, values, jnp)[1] ** 2)

    f = jnp.stack([jnp.asarray(weather(batch, days)[k]) for k in FORCING], 1)
    p = jnp.stack([jnp.asarray(v) for v in parameters(batch).values()], 1)
    return compiled(loss, p, f)


def hydrodl2(batch: int, days: int, options: dict[str, Any]) -> Runs:
    """HBV 1.0 of hydrodl2, an explicit loop in float32, with its routing.

    It has no BETAET, and wants its parameters as logits of their place between its bounds.
    """
    import torch
    from hydrodl2.models.hbv.hbv import Hbv

    model = Hbv({"dynamic_params": {"Hbv": []}}, torch.device("cpu"))

    def discharge(f: dict[str, Any], p: dict[str, Any]) -> Any:
        x = torch.stack([f[k].T for k in FORCING], -1).float()
        places = [
            (p[k[3:]] - low) / (high - low) for k, (low, high) in model.parameter_bounds.items()
        ]
        places += [torch.full_like(places[0], 0.5)] * 2  # of the routing
        logits = torch.stack(places, -1).logit().float()[None].expand(days, -1, -1)
        return model({"x_phy": x}, logits)["streamflow"][..., 0].T

    forward, _ = torch_runs(discharge, batch, days)
    p = {k: torch.from_numpy(v) for k, v in parameters(batch).items()}
    f = {k: torch.from_numpy(v) for k, v in weather(batch, days).items()}

    def gradient() -> tuple[float, Any]:
        x = {k: v.clone().requires_grad_() for k, v in p.items()}
        loss = discharge(f, x).square().mean()
        slopes = torch.autograd.grad(loss, list(x.values()), allow_unused=True)
        zero = torch.zeros(batch)
        return float(loss.detach()), torch.stack([zero if g is None else g for g in slopes])

    return forward, gradient


def jhbv(batch: int, days: int, options: dict[str, Any]) -> Runs:
    """HBV-96 of jhbv, an explicit scan in JAX, one basin per lane of `vmap`; with its routing."""
    import jax.numpy as jnp
    from jhbv.model import create_initial_state, simulate_jax
    from jhbv.parameters import DEFAULT_PARAMS, create_params_from_dict

    names = [k for k in BOUNDS if k.lower() in DEFAULT_PARAMS]
    snow, _, soil, upper, lower = INITIAL
    state = create_initial_state(snow, soil, upper, lower)

    def loss(p: Any, f: Any) -> Any:
        own = create_params_from_dict({k.lower(): v for k, v in zip(names, p, strict=True)})
        return jnp.mean(simulate_jax(*f, own, state)[0] ** 2)

    f = jnp.stack([jnp.asarray(weather(batch, days)[k]) for k in FORCING], 1)
    p = jnp.stack([jnp.asarray(parameters(batch)[k]) for k in names], 1)
    return compiled(loss, p, f)


def compiled(loss: Callable[[Any, Any], Any], p: Any, f: Any) -> Runs:
    """Return the runs of a loss in JAX, of parameters [basin, name] and forcing [basin, ...]."""
    import jax

    forward = jax.jit(jax.vmap(loss)).lower(p, f).compile()
    gradient = jax.jit(jax.vmap(jax.value_and_grad(loss))).lower(p, f).compile()

    def with_gradient() -> tuple[float, Any]:
        value, slopes = jax.block_until_ready(gradient(p, f))
        return float(value.mean()), np.asarray(slopes).T / len(p)

    return lambda: jax.block_until_ready(forward(p, f)), with_gradient


PEERS: dict[str, Callable[[int, int, dict[str, Any]], Runs]] = {
    "loop": loop, "package": package, "torchdiffeq": torchdiffeq, "diffrax": diffrax,
    "hydrodl2": hydrodl2, "jhbv": jhbv,
}  # fmt: skip


def median(function: Callable[[], Any], repeats: int) -> float:
    """Median CPU seconds."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def main() -> None:
    """Answer the request."""
    request = json.loads(sys.argv[1])
    batch, days = request["batch"], request["days"]
    try:
        forward, gradient = PEERS[request["peer"]](batch, days, request["options"])
        loss, slopes = gradient()  # compiles what is compiled at first use
        per = 1e6 / (batch * days)
        answer = {
            "status": "ok",
            "forward_us": median(forward, request["repeats"]) * per,
            "total_us": median(gradient, request["repeats"]) * per,
            "loss": loss,
            "gradient": np.asarray(slopes)[:, 0].tolist(),
        }
    except ModuleNotFoundError as error:
        answer = {"status": f"not installed: {error.name}"}
    except Exception as error:  # a peer that fails is data of the benchmark
        answer = {"status": f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
