"""Models as the Julia engine opens them: a description in TOML.

A description in TOML, checked against the specification that Julia reads.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import sys
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pydiffgeo.bridge.arrays import field
from pydiffgeo.bridge.runtime import Julia
from pydiffgeo.errors import DataError, ParameterError
from pydiffgeo.models.base import Evaluation, ProcessModel
from pydiffgeo.models.canopies.two_big_leaf import TwoBigLeaf
from pydiffgeo.models.closures import JuliaClosure, NeuralClosure
from pydiffgeo.models.exp_hydro import ExpHydro
from pydiffgeo.models.hbv import HBV
from pydiffgeo.models.julia_model import JuliaModel
from pydiffgeo.models.leaves.photosynthesis import Photosynthesis
from pydiffgeo.models.richards.hydraulics import (
    BrooksCorey,
    Gardner,
    Haverkamp,
    LearnedHydraulics,
    SoilHydraulics,
    VanGenuchten,
    VanGenuchtenVogel,
)
from pydiffgeo.models.richards.richards import Richards
from pydiffgeo.models.rivers.kinematic_wave import KinematicWave
from pydiffgeo.models.rivers.level_pool import LevelPool
from pydiffgeo.models.rivers.muskingum import Muskingum
from pydiffgeo.models.rivers.muskingum_cunge import MuskingumCunge
from pydiffgeo.models.spec_files import shipped_specs
from pydiffgeo.models.streams.air2stream import Air2Stream
from pydiffgeo.models.streams.stream_oxygen import StreamOxygen
from pydiffgeo.models.streams.stream_temperature import StreamTemperature
from pydiffgeo.models.two_layer_bucket import TwoLayerBucket

HYDRAULICS: dict[type[SoilHydraulics], Callable[[Any], dict[str, Any]]] = {
    VanGenuchten: lambda h: {"entry_width": h.entry_width},
    VanGenuchtenVogel: lambda h: {"entry_width": h.entry_width},
    BrooksCorey: lambda h: {"conductivity": h.conductivity, "entry_width": h.entry_width},
    Gardner: lambda h: {},
    Haverkamp: lambda h: {"entry_width": h.entry_width},
}

# numbers of a forward call before those of its inputs: CALL_HEAD in julia_src/src/entry.jl
HEAD = 16


def _richards(model: Richards) -> dict[str, Any]:
    hydraulics = (
        model.hydraulics.formula
        if isinstance(model.hydraulics, LearnedHydraulics)
        else model.hydraulics
    )
    if type(hydraulics) not in HYDRAULICS:
        raise ParameterError(
            f"the Julia engine cannot call the torch functions of {type(hydraulics).__name__}; "
            'use engine="torch", or one of the soil hydraulics '
            f"{', '.join(sorted(h.name for h in HYDRAULICS))}."
        )
    faces = model.grid.faces
    out = {
        "faces": faces.tolist(),
        "layers": [
            float(faces[0]),
            *(float(faces[i + 1]) for i in model.grid.layer.diff().nonzero()[:, 0]),
        ],
        "top": model.top_name,
        "bottom": model.bottom_name,
        "face_mean": model.face_mean_name,
        "hydraulics": {"name": hydraulics.name, **HYDRAULICS[type(hydraulics)](hydraulics)},
        "networks": _networks(model),
    }
    return out | ({"roots": _roots(model)} if model.roots else {})


def _roots(model: Richards) -> dict[str, Any]:
    roots = model.roots
    assert roots is not None
    density = roots.given_density(model.grid.faces).tolist() if roots.profile == "given" else []
    options = {"demand_dependent": roots.demand_dependent, "compensated": roots.compensated}
    return {"profile": roots.profile, "density": density, **options}


def _networks(model: ProcessModel) -> list[dict[str, Any]]:
    out = []
    for name, c in model.closures.items():
        if isinstance(c, JuliaClosure):
            continue  # the Julia file defines it
        if not isinstance(c, NeuralClosure):
            raise ParameterError(
                f"the Julia engine cannot call the torch module {type(c).__name__} in the slot "
                f"{name!r}; "
                'use engine="torch", or a NeuralClosure.'
            )
        low, high = c.output_range or (math.nan, math.nan)
        layers = {"widths": list(c.widths), "activation": c.activation, "low": low, "high": high}
        out.append({"name": name, **layers, "residual": c.residual})
    return out


def _from_file(model: ProcessModel) -> dict[str, Any]:
    file, spec_file = _files(model)
    cells = model.size if model.size > len(model.spec.states) else 0
    cells = model.cells if isinstance(model, JuliaModel) else cells
    files = {"file": str(file), "spec_file": str(spec_file)}
    own = {k: c.seed for k, c in model.closures.items() if isinstance(c, JuliaClosure)}
    return {"kind": "user", **files, "cells": cells, "networks": _networks(model), "own": own}


def _files(model: ProcessModel) -> tuple[Path, Path]:
    """Return the Julia file of a user's model, and the specification beside it."""
    if isinstance(model, JuliaModel):
        return model.file, model.spec_file
    # in a notebook and at the prompt there is no file: as for `load_spec`, the working directory
    python = getattr(sys.modules.get(type(model).__module__), "__file__", None)
    file = (Path(python).parent if python else Path()).absolute() / model.julia_file
    spec_file = file.with_suffix(".toml")
    for path in (file, spec_file):
        if not path.is_file():
            raise DataError(
                f"{type(model).__name__}.julia_file is {model.julia_file!r}, but there is no "
                f"{path}. Correct the name, or leave it out."
            )
    return file, spec_file


def _by_name(model: ProcessModel) -> dict[str, Any]:
    return {"networks": _networks(model)}


def _leaf(model: Photosynthesis) -> dict[str, Any]:
    form = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(model.form).items()}
    return {**_by_name(model), **form}


DESCRIPTIONS: dict[type[ProcessModel], Callable[[Any], dict[str, Any]]] = {
    Richards: _richards,
    HBV: lambda model: {**_by_name(model), "melt_threshold": model.melt_threshold},
    ExpHydro: _by_name,
    TwoLayerBucket: lambda model: {},
    Muskingum: lambda model: {"positive": model.positive},
    MuskingumCunge: lambda model: {"section": model.section_name},
    KinematicWave: lambda model: {"section": model.section_name},
    LevelPool: lambda model: {},
    Air2Stream: lambda model: {**_by_name(model), "version": model.version},
    StreamOxygen: _by_name,
    StreamTemperature: lambda model: {**_by_name(model), "exchange": model.exchange},
    Photosynthesis: _leaf,
    TwoBigLeaf: lambda model: {
        **_leaf(model.leaf),
        "friction": model.friction,
        "light": model.light,
    },
    JuliaModel: _from_file,
}

_open: weakref.WeakKeyDictionary[ProcessModel, int] = weakref.WeakKeyDictionary()
_missing: weakref.WeakKeyDictionary[ProcessModel, str] = weakref.WeakKeyDictionary()


def description(model: ProcessModel) -> dict[str, Any]:
    """What Julia needs to build the model.

    Raises
    ------
    ParameterError
        The model, or a part of it, exists in torch only.
    """
    described = DESCRIPTIONS.get(type(model), _from_file if model.julia_file else None)
    if described is None:
        raise ParameterError(
            f'the model {type(model).__name__} exists in torch only: use engine="torch", or write '
            "its equations in Julia, too, and name the file in its class: julia_file = "
            '"my_model.jl".'
        )
    spec = model.spec
    file = _files(model)[1] if described is _from_file else shipped_specs()[spec.name]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    names = {
        "states": [*spec.states],
        "parameters": [*spec.parameters],
        "forcings": [*spec.forcings],
        "fluxes": [*spec.fluxes],
    }
    return {
        "kind": spec.name,
        **described(model),
        "spec": {"digest": digest, **names},
    }


def missing(model: ProcessModel) -> str:
    """Why the model does not exist in Julia, "" where it does."""
    if model not in _missing:
        try:
            description(model)
            _missing[model] = ""
        except ParameterError as error:
            _missing[model] = str(error)
    return _missing[model]


def number(julia: Julia, model: ProcessModel) -> int:
    """Number under which Julia knows the model, which it forgets when the model is gone.

    Raises
    ------
    SpecMismatch
        Julia reads another specification of the model.
    """
    if model not in _open:
        _open[model] = julia.call("open", _toml(description(model)).encode())
        weakref.finalize(model, julia.forget, "close", _open[model]).atexit = False
    return _open[model]


def first_weights(julia: Julia, model: JuliaModel) -> None:
    """Give closures that the Julia file defines the weights that Julia begins with.

    Raises
    ------
    ParameterError
        The file defines no such network.
    """
    for place, closure in enumerate(model.closures.values(), start=1):
        if isinstance(closure, JuliaClosure):
            count = julia.call("weights", number(julia, model), place, 0)
            weights = torch.empty(count, dtype=torch.float64)
            julia.call("weights", number(julia, model), place, weights.data_ptr())
            closure.weights = torch.nn.Parameter(weights)


def evaluate(
    julia: Julia,
    model: ProcessModel,
    state: Tensor,
    forcing: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
) -> Evaluation:
    """Storage, rates and fluxes at states `[column, size]`, as Julia computes them.

    For comparing the engines.

    Parameters
    ----------
    forcing : mapping of str to Tensor, [column or 1, 1]
    parameters : mapping of str to Tensor, [column or 1, width]
        As `solve` passes them to an engine.
    """
    columns, size = state.shape
    out = (
        state.new_empty(columns, size),
        state.new_empty(columns, size),
        state.new_empty(columns, model.spec.flux_values(size)),
    )
    lengths = state.new_ones(1)
    weights = [w.detach()[None].to(state) for w in model.closure_vectors()]
    inputs = [
        state,
        *(parameters[k] for k in model.spec.parameters),
        *(forcing[k] for k in model.spec.forcings),
        *weights,
    ]
    head = [columns, 1, 0, 1, lengths.data_ptr(), *(x.data_ptr() for x in out)]
    numbers = [*head, *[0] * (HEAD - len(head)), *(v for x in inputs for v in field(x))]
    call = struct.pack(f"{len(numbers)}q", *numbers)
    julia.call("evaluate", number(julia, model), 64 if state.dtype == torch.float64 else 32, call)
    return Evaluation(*out)


def _toml(value: Any) -> str:
    """Write a nested dict of strings, numbers and lists as TOML.

    JSON writes strings and numbers as TOML does.
    """
    lines = [f"{k} = {_inline(v)}" for k, v in value.items()]
    return "\n".join(lines) + "\n"


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_inline(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return json.dumps(value)
