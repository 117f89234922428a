"""Engines: how a model is solved, and how gradients come back."""

from __future__ import annotations

from pydiffgeo.engines.base import Engine, Result
from pydiffgeo.engines.julia_engine import solve_julia
from pydiffgeo.engines.torch_engine import solve_torch

ENGINES: dict[str, Engine] = {"torch": solve_torch, "julia": solve_julia}

__all__ = ["ENGINES", "Engine", "Result"]
