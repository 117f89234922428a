"""Parameters of process models: bounded transforms, and networks that stay inside the bounds."""

from pydiffgeo.parameters.networks import ParameterNetwork
from pydiffgeo.parameters.transforms import Bounds

__all__ = ["Bounds", "ParameterNetwork"]
