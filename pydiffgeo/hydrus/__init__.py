"""HYDRUS-1D projects: read, rebuilt as a Richards model, and compared with what HYDRUS printed."""

from __future__ import annotations

from pydiffgeo.hydrus.output import read_levels, read_nodes
from pydiffgeo.hydrus.project import Project, read_project

__all__ = ["Project", "read_levels", "read_nodes", "read_project"]
