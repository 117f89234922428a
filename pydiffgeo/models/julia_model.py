"""A model whose equations are a Julia file."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from pydiffgeo.errors import DataError, ParameterError
from pydiffgeo.models.base import ProcessModel
from pydiffgeo.models.spec import load_spec


class JuliaModel(ProcessModel):
    """Equations from a Julia file, names from a TOML file; runs on the Julia engine only. See `pydiffgeo.julia.load_model`.

    Attributes
    ----------
    file, spec_file : Path
        The equations and the specification.
    cells : int
        Number of cells of a column; 0 for a model with a few states.
    """

    def __init__(self, file: str | Path, spec: str | Path | None = None, cells: int = 0):
        self.file = Path(file).resolve()
        self.spec_file = Path(spec).resolve() if spec is not None else self.file.with_suffix(".toml")
        for path, what in ((self.file, "Julia file"), (self.spec_file, "specification")):
            if not path.is_file():
                raise DataError(f"there is no {what} {path}")
        self.spec = load_spec(self.spec_file)
        if cells and len(self.spec.states) > 1:
            raise ParameterError(f"a column of {cells} cells has one state in each, but {self.spec_file.name} names "
                                 f"{', '.join(self.spec.states)}")  # fmt: skip
        self.cells = cells
        self.size = cells or len(self.spec.states)
        self.structure = "tridiagonal" if cells else "dense"

    def prepare(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """Raise ParameterError: the torch engine, which prepares parameters, has no equations to solve."""
        raise ParameterError(
            f'the equations of {self.file.name} are written in Julia: use engine="julia"; `pydiffgeo doctor` says what it needs'
        )
