"""Process models: what is solved."""

from pydiffgeo.models.base import ProcessModel
from pydiffgeo.models.canopies.two_big_leaf import TwoBigLeaf
from pydiffgeo.models.exp_hydro import ExpHydro
from pydiffgeo.models.hbv import HBV
from pydiffgeo.models.leaves.photosynthesis import Photosynthesis
from pydiffgeo.models.richards.richards import Richards
from pydiffgeo.models.rivers.kinematic_wave import KinematicWave
from pydiffgeo.models.rivers.level_pool import LevelPool
from pydiffgeo.models.rivers.muskingum import Muskingum
from pydiffgeo.models.rivers.muskingum_cunge import MuskingumCunge
from pydiffgeo.models.streams.air2stream import Air2Stream
from pydiffgeo.models.streams.stream_oxygen import StreamOxygen
from pydiffgeo.models.streams.stream_temperature import StreamTemperature
from pydiffgeo.models.two_layer_bucket import TwoLayerBucket

MODELS: dict[str, type[ProcessModel]] = {
    "richards": Richards,
    "hbv": HBV,
    "exp_hydro": ExpHydro,
    "two_layer_bucket": TwoLayerBucket,
    "muskingum": Muskingum,
    "muskingum_cunge": MuskingumCunge,
    "kinematic_wave": KinematicWave,
    "level_pool": LevelPool,
    "stream_temperature": StreamTemperature,
    "photosynthesis": Photosynthesis,
    "two_big_leaf": TwoBigLeaf,
    "air2stream": Air2Stream,
    "stream_oxygen": StreamOxygen,
}

__all__ = [
    "HBV",
    "MODELS",
    "Air2Stream",
    "ExpHydro",
    "KinematicWave",
    "LevelPool",
    "Muskingum",
    "MuskingumCunge",
    "Photosynthesis",
    "ProcessModel",
    "Richards",
    "TwoBigLeaf",
    "TwoLayerBucket",
    "StreamOxygen",
    "StreamTemperature",
]
