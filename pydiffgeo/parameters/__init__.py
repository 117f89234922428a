"""Parameters of process models: bounded transforms, and networks that stay inside the bounds."""

from pydiffgeo.parameters.basins import (
    AttributeNetwork,
    BasinParameters,
    MixedNetwork,
    SeriesNetwork,
)
from pydiffgeo.parameters.networks import ParameterNetwork
from pydiffgeo.parameters.transforms import Bounds

__all__ = [
    "AttributeNetwork",
    "BasinParameters",
    "Bounds",
    "MixedNetwork",
    "ParameterNetwork",
    "SeriesNetwork",
]
