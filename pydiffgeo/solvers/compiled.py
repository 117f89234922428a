"""A model whose rates and Jacobian run through torch.compile."""

from __future__ import annotations

import copy
from typing import Any

import torch

from pydiffgeo.models.base import ProcessModel

_cache: dict[int, tuple[ProcessModel, ProcessModel]] = {}


def compiled(model: ProcessModel) -> ProcessModel:
    """Return the model with compiled `evaluate` and `linearise`; compiled once per model."""
    if id(model) not in _cache or _cache[id(model)][0] is not model:
        twin: Any = copy.copy(model)
        twin.evaluate = torch.compile(model.evaluate, dynamic=True)
        if model.linearise is not None:
            twin.linearise = torch.compile(model.linearise, dynamic=True)
        _cache[id(model)] = model, twin
    return _cache[id(model)][1]
