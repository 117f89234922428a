"""A model whose equations are a Julia file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from pydiffgeo.errors import DataError, ParameterError, lookup
from pydiffgeo.models.base import ProcessModel
from pydiffgeo.models.closures import JuliaClosure, NeuralClosure
from pydiffgeo.models.spec_files import load_spec


class JuliaModel(ProcessModel):
    """Equations from a Julia file, names from a TOML file; runs on the Julia engine only.

    See `pydiffgeo.julia.load_model`.

    Attributes
    ----------
    file, spec_file : Path
        The equations and the specification.
    cells : int
        Number of cells of a column; 0 for a model with a few states.
    closures : dict of str to NeuralClosure or JuliaClosure
        The networks in its slots, in the order of the specification.
    """

    def __init__(
        self,
        file: str | Path,
        spec: str | Path | None = None,
        cells: int = 0,
        closures: Mapping[str, NeuralClosure | JuliaClosure] | None = None,
    ):
        self.file = Path(file).resolve()
        self.spec_file = (
            Path(spec).resolve() if spec is not None else self.file.with_suffix(".toml")
        )
        for path, what in ((self.file, "Julia file"), (self.spec_file, "specification")):
            if not path.is_file():
                raise DataError(f"there is no {what} {path}. Correct the path.")
        self.spec = load_spec(self.spec_file)
        if cells and len(self.spec.states) > 1:
            raise ParameterError(
                f"a column of {cells} cells has one state in each, but {self.spec_file.name} names "
                f"{', '.join(self.spec.states)}."
            )
        slots, given = self.spec.closures, dict(closures or {})
        for name, closure in given.items():
            wanted = lookup(slots, name, f"closure of {self.spec.name}").inputs
            if isinstance(closure, NeuralClosure) and closure.widths[0] != len(wanted):
                names = ", ".join(wanted)
                given_inputs = closure.widths[0]
                raise ParameterError(
                    f"the closure {name!r} has the inputs {names}, got a network of {given_inputs}."
                )
        if len(given) < len(slots):
            missing = ", ".join(k for k in slots if k not in given)
            raise ParameterError(
                f"{self.spec_file.name} declares closures that were not given: {missing}. Give "
                "closures=."
            )
        beside = ", ".join(k for k, c in given.items() if getattr(c, "residual", False))
        if beside:
            raise ParameterError(
                f"a residual closure ({beside}) needs a formula, which only the built-in models' "
                "slots have."
            )
        if self.spec.slots:
            raise ParameterError(
                f"{self.spec_file.name}: slots are for the built-in models; write [closures.NAME]."
            )
        if given and cells:
            raise ParameterError(
                "closures are for models with a few states, not for a column of cells."
            )
        self.closures = {k: given[k] for k in slots}
        self.cells = cells
        self.size = cells or len(self.spec.states)
        self.structure = "tridiagonal" if cells else "dense"

    def prepare(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """Raise ParameterError.

        The torch engine, which prepares parameters, has no equations to solve.
        """
        raise ParameterError(
            f'the equations of {self.file.name} are written in Julia: use engine="julia"; '
            "`pydiffgeo doctor` says what it "
            "needs."
        )
