"""Numerics of the torch engine: methods, Newton, linear systems, step control, discrete adjoint."""

from pydiffgeo.solvers.options import METHODS, Solver

__all__ = ["METHODS", "Solver"]
