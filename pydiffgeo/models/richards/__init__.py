"""Richards' equation for columns of soil: grid, hydraulics, boundaries, roots."""

from pydiffgeo.models.richards.grid import Grid
from pydiffgeo.models.richards.richards import Richards
from pydiffgeo.models.richards.root_uptake import Roots

__all__ = ["Grid", "Richards", "Roots"]
