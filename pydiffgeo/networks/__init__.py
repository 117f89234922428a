"""Networks: from what is known of a site to the parameters of its stages, or to series."""

from __future__ import annotations

from typing import Any

from pydiffgeo.networks.base import Features, Network, Sizes
from pydiffgeo.networks.bounds import Bounds
from pydiffgeo.networks.lstm import LSTM
from pydiffgeo.networks.mixed import Mixed
from pydiffgeo.networks.mlp import MLP
from pydiffgeo.networks.soil_class import SoilClass
from pydiffgeo.networks.step_mlp import StepMLP
from pydiffgeo.networks.table import Given, Table

NETWORKS: dict[str, Any] = {
    "mlp": MLP, "step_mlp": StepMLP, "lstm": LSTM, "mixed": Mixed, "table": Table,
    "soil_class": SoilClass,
}  # fmt: skip

__all__ = [
    "LSTM", "MLP", "NETWORKS", "Bounds", "Features", "Given", "Mixed", "Network", "Sizes",
    "SoilClass", "StepMLP", "Table",
]  # fmt: skip
