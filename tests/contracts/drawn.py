"""Inputs of any model, drawn from its specification: what the contracts are tried at."""

from __future__ import annotations

import torch
from torch import Tensor

from pydiffgeo import Grid, NeuralClosure, ProcessModel, Richards, Roots, load_spec
from pydiffgeo.models import MODELS

F64 = torch.float64
COLUMN = Grid.from_faces([0.0, 2.0, 5.0, 9.0, 14.0, 20.0, 30.0], layers=[0.0, 9.0])

# Weather by unit, where the specification leaves it open
RANGES = {
    "mm d-1": (0.0, 15.0),
    "degC": (-12.0, 25.0),
    "cm h-1": (0.0, 0.5),
    "cm": (-200.0, -20.0),
    "W m-2": (0.0, 800.0),
    "umol m-2 s-1": (0.0, 1500.0),
    "umol mol-1": (200.0, 900.0),
    "mol m-2 s-1": (0.1, 2.0),
    "kPa": (0.2, 4.0),
}
NAMED = {"vapour_pressure": (300.0, 1000.0)}
# Ranges of parameters that are narrower than what may be learned: soils that a solver can take; the
# other parameters of such a model stay near their defaults
NARROW = {
    "richards": {
        "n": (1.2, 3.0),
        "theta_r": (0.02, 0.1),
        "theta_s": (0.35, 0.55),
        "K_s": (0.05, 0.5),
        "alpha": (0.01, 0.1),
        "specific_storage": (1e-6, 1e-4),
        "ponding_height": (1.5, 3.0),
    },
}
SWITCHES = ("c4",)  # parameters that are 0 or 1: nothing is learned through them


def networks(name: str, **options: object) -> dict[str, NeuralClosure]:
    """A network of random weights in every slot of a model."""
    out = {}
    for i, (slot, s) in enumerate(load_spec(name).slots.items()):
        given = {"monotone_in": (0,)} if s.must_rise else {}
        closure = NeuralClosure(len(s.inputs), (4,), output_range=s.range, seed=i, **given)
        with torch.no_grad():
            noise = torch.Generator().manual_seed(i)
            closure.weights.add_(0.3 * torch.randn(len(closure.weights), generator=noise))
        out[slot] = closure
    return out


# Models that cannot be made without arguments, and other forms of those that can; any other model
# of MODELS is found and made by itself. Networks as soil curves: see hydraulics/test_learned.py
FORMS = {
    "richards": lambda: Richards(COLUMN),
    "richards with a pond and roots": lambda: Richards(COLUMN, top="surface_layer", roots=Roots()),
    "hbv with a melt threshold": lambda: MODELS["hbv"](melt_threshold=True),  # type: ignore[call-arg]
    "hbv with networks": lambda: MODELS["hbv"](closures=networks("hbv")),  # type: ignore[call-arg]
    "photosynthesis of C4 leaves": lambda: MODELS["photosynthesis"](pathway="c4"),  # type: ignore[call-arg]
    "photosynthesis with more resistances": lambda: MODELS["photosynthesis"](  # type: ignore[call-arg]
        pathway="both", stomata="leuning", mesophyll=True, product_limit=True
    ),
    "photosynthesis with an energy balance": lambda: MODELS["photosynthesis"](  # type: ignore[call-arg]
        stomata="ball_berry", energy_balance=True
    ),
    "photosynthesis with networks": lambda: MODELS["photosynthesis"](  # type: ignore[call-arg]
        closures=networks("photosynthesis")
    ),
    "exp_hydro with networks": lambda: MODELS["exp_hydro"](closures=networks("exp_hydro")),  # type: ignore[call-arg]
    "stream_temperature by evaporation": lambda: MODELS["stream_temperature"]("evaporation"),  # type: ignore[call-arg]
    "stream_temperature with networks": lambda: MODELS["stream_temperature"](  # type: ignore[call-arg]
        closures=networks("stream_temperature")
    ),
    "air2stream with networks": lambda: MODELS["air2stream"](closures=networks("air2stream")),  # type: ignore[call-arg]
    "stream_oxygen with networks": lambda: MODELS["stream_oxygen"](  # type: ignore[call-arg]
        closures=networks("stream_oxygen")
    ),
    **{
        f"air2stream of {k} parameters": lambda k=k: MODELS["air2stream"](version=k)  # type: ignore[call-arg,misc]
        for k in (3, 5)
    },
}
CASES = {**{name: kind for name, kind in MODELS.items() if name not in FORMS}, **FORMS}


def uniform(
    shape: tuple[int, ...], low: float, high: float, log: bool, g: torch.Generator
) -> Tensor:
    x = torch.rand(shape, generator=g, dtype=F64)
    return low * (high / low) ** x if log else low + (high - low) * x


def parameters(model: ProcessModel, columns: int, seed: int = 0) -> dict[str, Tensor]:
    """Parameters `[column]`, or `[column, layer]`, anywhere within their bounds."""
    g = torch.Generator().manual_seed(seed)
    narrow = NARROW.get(model.spec.name, {})
    layers = model.grid.n_layers if isinstance(model, Richards) else 1
    out = {}
    for name, s in model.spec.parameters.items():
        low, high = narrow.get(name, (s.lower, s.upper))
        shape = (columns, layers) if s.per == "layer" else (columns,)
        if narrow and name not in narrow:
            low, high = sorted((0.98 * s.default, 1.02 * s.default))
        out[name] = uniform(shape, low, high, s.transform == "log" and low > 0, g)
        if name in SWITCHES:
            out[name] = out[name].round()
    return out


def forcing(model: ProcessModel, columns: int, steps: int, seed: int = 1) -> dict[str, Tensor]:
    """Weather `[column, step]` within the bounds of the specification."""
    g = torch.Generator().manual_seed(seed)
    out = {}
    for name, s in model.spec.forcings.items():
        around = s.typical - 0.5, s.typical + 0.5
        low, high = NAMED.get(name, RANGES.get(s.unit, around))
        low, high = max(low, s.lower), min(high, s.upper)
        out[name] = uniform((columns, steps), low, high, False, g)
    return out


def states(model: ProcessModel, given: dict[str, Tensor], columns: int, seed: int = 2) -> Tensor:
    """States `[column, size]` around those that the model begins with; stores are never empty."""
    g = torch.Generator().manual_seed(seed)
    begin, out = model.start(given), torch.empty(columns, model.size, dtype=F64)
    for name, place in model.spec.places(model.size).items():
        s = model.spec.states[name]
        shape = (columns, place.stop - place.start)
        around = begin[name].to(F64).expand(columns)[:, None] * uniform(shape, 0.5, 2.0, True, g)
        out[:, place] = torch.where(
            around == 0, uniform(shape, 0.1, 1.0, False, g) * s.scale, around
        )
    return out


def at_states(
    model: ProcessModel, columns: int
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """States, forcing and parameters `[column, width]`, as the equations of a model take them."""
    given = parameters(model, columns)
    weather = {k: v.contiguous() for k, v in forcing(model, columns, 1).items()}
    return (
        states(model, given, columns),
        weather,
        {k: v.reshape(columns, -1) for k, v in given.items()},
    )
