"""Julia from Python: models written in Julia, and the Julia that runs them.

model = pydiffgeo.julia.load_model("my_model.jl")
solution = pydiffgeo.solve(model, forcing, parameters, initial_state, times)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from pydiffgeo.models.closures import JuliaClosure, NeuralClosure
    from pydiffgeo.models.julia_model import JuliaModel


def start() -> None:
    """Start Julia; otherwise the first solve does.

    Needed once in the main thread if only other threads solve.

    Raises
    ------
    EngineUnavailable
        Julia cannot run here; the message says what to do.
    """
    from pydiffgeo.bridge import runtime

    runtime.start()


def set_threads(count: int) -> None:
    """Let solves use this many of Julia's threads, or all of them for 0.

    Julia has as many threads as PYTHON_JULIACALL_THREADS or JULIA_NUM_THREADS said when it started,
    by default one per core.
    """
    from pydiffgeo.engines import julia_engine

    julia_engine.set_threads(count)


def load_model(
    file: str | Path,
    spec: str | Path | None = None,
    cells: int = 0,
    closures: Mapping[str, NeuralClosure | JuliaClosure] | None = None,
) -> JuliaModel:
    """Load a model from a Julia file, for `solve` on the Julia engine, gradients included.

    Parameters
    ----------
    file : str or Path
        Defines `rates(u, f, p)`, with the state as an SVector and forcing and parameters as
        NamedTuples, and, where the model has them, `fluxes(u, f, p)`, `storage(u, p)` and
        `jacobian(u, f, p)`; or, for a column of cells, `flux(above, below, f, p)` between
        neighbours, or `rates!(out, u, f, p)` of all cells. The functions must work for numbers of
        any kind: derivatives that are not given come from ForwardDiff. See docs/julia_models.md.
    spec : str or Path, optional
        Names, units and bounds, as in the specifications of this package; default: the TOML file of
        the same name.
    cells : int
        Number of cells of a column.
    closures : mapping of str to NeuralClosure or JuliaClosure, optional
        A network for each `[closures.*]` of the specification; the equations call it like a
        function among the parameters, `p.recharge(wetness)`, at most once. Gradients reach its
        weights. A `JuliaClosure` stands for one that the file itself defines, such as a model of
        Lux: Julia is started, and gives its first weights.

    Returns
    -------
    JuliaModel

    Raises
    ------
    DataError, SpecError
        A file that is missing, or a specification that contradicts itself. Errors in the Julia file
        appear at the first solve, or here where a closure is a `JuliaClosure`.
    """
    from pydiffgeo.models.closures import JuliaClosure
    from pydiffgeo.models.julia_model import JuliaModel

    model = JuliaModel(file, spec, cells, closures)
    if any(isinstance(c, JuliaClosure) for c in model.closures.values()):
        from pydiffgeo.bridge import models, runtime

        models.first_weights(runtime.start(), model)
    return model


def function(f: Any, backend: str = "ForwardDiff") -> Callable[[Tensor], Tensor]:
    """Make a Julia array function a function of tensors, differentiable by torch.

    Parameters
    ----------
    f : str, or a function of juliacall
        Julia code whose value is a function from a vector to a vector or a number, such as `"x -> x
        .^ 2"`, or the function itself. It must be pure: the rows of a batch are computed on several
        threads.
    backend : {"ForwardDiff", "ReverseDiff", "Zygote"}
        Package that differentiates it: ForwardDiff for few inputs, the others for many.

    Returns
    -------
    callable
        From tensors `[..., n]`, float64 or float32 on the CPU, to `[..., m]`, or `[...]` where f
        gives a number. Each last dimension is one vector; the gradient is that of the given
        backend, computed when torch asks for it.

    Raises
    ------
    EngineUnavailable
        Julia cannot run here.
    UnknownName
        A backend that is not one of these.
    PyDiffGeoError
        What Julia says of the code, or of its evaluation.
    """
    from pydiffgeo.bridge.functions import JuliaFunction

    return JuliaFunction(f, backend)
