"""Process models: what is solved."""

from pydiffgeo.models.base import ProcessModel
from pydiffgeo.models.richards import Richards

MODELS: dict[str, type[ProcessModel]] = {"richards": Richards}

__all__ = ["MODELS", "ProcessModel", "Richards"]
