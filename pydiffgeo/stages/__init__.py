"""Stages: each reads series by name and adds series by name."""

from __future__ import annotations

from pydiffgeo.stages.base import Known, Series, Stage
from pydiffgeo.stages.columns import Probes
from pydiffgeo.stages.delay import Delay
from pydiffgeo.stages.downstream import Downstream
from pydiffgeo.stages.error_model import ErrorModel
from pydiffgeo.stages.explicit_hbv import ExplicitHBV
from pydiffgeo.stages.fuse import Fuse
from pydiffgeo.stages.learned_memory import Memory
from pydiffgeo.stages.parallel import Parallel
from pydiffgeo.stages.process import Process
from pydiffgeo.stages.satellite import Satellite
from pydiffgeo.stages.sequence import Climatology, Persistence, Sequence
from pydiffgeo.stages.simple import Canopy, DegreeDay, Lateral, Scale, UnitHydrograph
from pydiffgeo.stages.soil_water_stress import SoilWaterStress, wilting_factor
from pydiffgeo.stages.steady_temperature import SteadyStreamTemperature
from pydiffgeo.stages.where_wet import WhereWet

STAGES: dict[str, type[Stage]] = {
    "process": Process, "parallel": Parallel, "scale": Scale, "unit_hydrograph": UnitHydrograph,
    "degree_day": DegreeDay, "canopy": Canopy, "probes": Probes, "sequence": Sequence,
    "climatology": Climatology, "persistence": Persistence, "explicit_hbv": ExplicitHBV,
    "downstream": Downstream, "lateral": Lateral, "soil_water_stress": SoilWaterStress,
    "steady_stream_temperature": SteadyStreamTemperature, "memory": Memory,
    "where_wet": WhereWet, "error_model": ErrorModel, "fuse": Fuse, "delay": Delay,
    "satellite": Satellite,
}  # fmt: skip

__all__ = [
    "STAGES", "Canopy", "Climatology", "DegreeDay", "Delay", "Downstream", "ErrorModel",
    "ExplicitHBV", "Fuse", "Known", "Lateral", "Memory", "Parallel", "Persistence", "Probes",
    "Process", "Satellite", "Scale", "Sequence", "Series", "SoilWaterStress", "Stage",
    "SteadyStreamTemperature",
    "UnitHydrograph", "WhereWet", "wilting_factor",
]  # fmt: skip
