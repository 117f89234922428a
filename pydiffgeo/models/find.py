"""Models by name: those of the package, and those of users from outside of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydiffgeo.errors import SettingsError, lookup
from pydiffgeo.models import MODELS
from pydiffgeo.models.base import ProcessModel
from pydiffgeo.models.julia_model import JuliaModel
from pydiffgeo.recorded import class_of


def find_model(model: ProcessModel | str, **arguments: Any) -> ProcessModel:
    """Return a model by its name, its class or its Julia file; a model stays as it is.

    Parameters
    ----------
    model : ProcessModel or str
        A model, a name of `MODELS`, "my_package.my_module:MyModel" for a class of one's own, or
        "my_model.jl" for a Julia file beside its TOML file, from the working directory.
    **arguments
        What its class is called with.

    Raises
    ------
    UnknownName
        No such model.
    SettingsError
        A class that is not there or is no model, or arguments that do not fit.
    DataError
        No such Julia file, or no specification beside it.
    """
    if isinstance(model, ProcessModel):
        if arguments:
            given = ", ".join(arguments)
            raise SettingsError(
                f"{type(model).__name__} is made already: give {given} where it is made."
            )
        return model
    if Path(model).suffix == ".jl":
        if arguments.get("closures"):  # those that the file itself defines need Julia
            from pydiffgeo.julia import load_model

            return load_model(model, **arguments)
        return JuliaModel(model, **arguments)
    kind: type = class_of(model) if ":" in model else lookup(MODELS, model, "model")
    if not issubclass(kind, ProcessModel):
        raise SettingsError(f"{model!r} is no model. Make it a subclass of pydiffgeo.ProcessModel.")
    try:
        return kind(**arguments)
    except TypeError as error:
        raise SettingsError(
            f"the model {model!r} cannot be made of these arguments ({error}). Give what its class "
            "needs, or the model itself."
        ) from error
