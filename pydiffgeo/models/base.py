"""The contract between a process model and an engine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pydiffgeo.errors import ModelError, ParameterError
from pydiffgeo.models.closures import JuliaClosure, NeuralClosure
from pydiffgeo.models.spec import ModelSpec
from pydiffgeo.recorded import Recorded
from pydiffgeo.units import Units

Values = Mapping[str, Tensor]
Entries = dict[tuple[int, int], Tensor]
"""Entries of a Jacobian by row and column, each `[...]`; those left out are zero everywhere."""


class Evaluation(NamedTuple):
    """Storage `m(u)`, rates `f(u)` and fluxes `[..., flux]` at a state.

    Without columns of fluxes where none were asked for.
    """

    storage: Tensor
    rates: Tensor
    fluxes: Tensor


class Linearisation(NamedTuple):
    """Storage, capacity (its derivative), rates, and their Jacobian in the declared structure.

    The Jacobian is a tuple of tensors `[..., size]`: for "tridiagonal" the diagonals (lower, main,
    upper), aligned by row, with the first lower and the last upper entry zero; for "banded" the
    diagonals from the lowest to the uppermost, aligned by row; for "dense" one tensor `[..., size,
    size]`; for "tridiagonal_rank_one" the diagonals, and a column and a row whose product is added
    to them.

    A model whose capacity may vanish gives `least_capacity`, `[..., size or 1]`: Newton's first
    update from a state of which nothing is known takes at least that. A saturated column, which
    stores nothing, leaves its state so.
    """

    storage: Tensor
    capacity: Tensor
    rates: Tensor
    jacobian: tuple[Tensor, ...]
    least_capacity: Tensor | None = None


class ProcessModel(Recorded):
    """A process model declares names and rates; it knows no solver.

    A subclass sets `spec`, `size` and `structure` and defines `rates`; `storage` (default: the
    state itself), `fluxes` and `linearise` as far as it has them. All functions take a state `[...,
    size]`, forcing and parameters as mappings from names to tensors `[..., 1]` or `[..., size]`
    that broadcast against the state, must work on any number of leading dimensions, and must be
    differentiable by torch in every argument.

    Attributes
    ----------
    spec : ModelSpec
        States, parameters, forcings, fluxes, closures.
    size : int
        Number of state values per column.
    structure : {"dense", "tridiagonal", "tridiagonal_rank_one", "banded"}
        Structure of the Jacobian of the rates. That of rank one needs `linearise`.
    bandwidth : tuple of int
        Lower and upper bandwidth, for "banded".
    closures : mapping of str to torch.nn.Module
        Networks in the slots of the specification, in its order.
    replaced : mapping of str to str
        Parameters that the model has no longer, since they belong to a formula whose slot a closure
        fills; and that slot.
    units : Units
        Length and time in `spec`, where they can be chosen.
    carries : (str, str)
        Of a reach of a river: flux that runs down the river, and forcing of the reach below that it
        is. See `pydiffgeo.stages.Downstream`.
    julia_file : str
        Julia file with the same equations, beside the Python file and with its TOML file beside it:
        the Julia engine solves the model then. "" where there is none. See docs/julia_models.md.
    """

    spec: ModelSpec
    size: int
    structure: str = "dense"
    bandwidth: tuple[int, int] = (0, 0)
    closures: Mapping[str, torch.nn.Module] = {}
    replaced: Mapping[str, str] = {}
    units: Units = Units()
    carries: tuple[str, str] = ("discharge", "inflow")
    julia_file: str = ""

    @property
    def core(self) -> ProcessModel:
        """The model that engines solve.

        This one, or its twin in cm and h where `units`, those of its inputs, are others.
        """
        return self

    def prepare(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """Turn parameters `[batch or 1, (time,) width]` into what the rates read.

        Must be differentiable; called once for each solve.
        """
        return parameters

    def start(self, parameters: Values) -> dict[str, Tensor]:
        """States near those that years of weather leave, for a short warm-up.

        Unless a model knows better, those of the specification's defaults, or else the typical
        magnitude.

        Parameters
        ----------
        parameters : mapping of str to float, [batch]
            Those not given have their default.

        Returns
        -------
        dict of str to Tensor, [] or [batch]
            Each state, as `solve` takes it for `initial_state`.
        """
        states = {
            k: s.scale if math.isnan(s.default) else s.default for k, s in self.spec.states.items()
        }
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in states.items()}

    def storage(self, state: Tensor, parameters: Values) -> Tensor:
        """Conserved storage `m(u)`, elementwise in the state."""
        return state

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        """Rate of change of the storage, `d m / dt`."""
        raise ModelError(
            f"{type(self).__name__} lacks `rates`: define rates(self, state, forcing, parameters), "
            "or evaluate."
        )

    def fluxes(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        """Fluxes `[..., flux]` in the order of the spec."""
        return state.new_zeros(*state.shape[:-1], 0)

    def evaluate(
        self, state: Tensor, forcing: Values, parameters: Values, fluxes: bool = False
    ) -> Evaluation:
        """Storage, rates and fluxes together; override where they share work."""
        return Evaluation(
            self.storage(state, parameters),
            self.rates(state, forcing, parameters),
            self.fluxes(state, forcing, parameters) if fluxes else state.new_empty(0),
        )

    linearise = None
    """`linearise(state, forcing, parameters) -> Linearisation` where a model has it; else it
    follows from `slopes`, or from coloured forward-mode AD.
    """

    slopes: Any = None
    """`slopes(state, forcing, parameters) -> (rates, entries)` where a model with few states has
    it: the rate of each state and the `Entries` of their Jacobian, each of the shape of a state
    `[...]`. All fixed steps and steps of error control are several times faster with it."""

    def drivers(self, forcing: Values, parameters: Values) -> dict[str, Tensor]:
        """Return what the rates need of forcing and parameters alone, by new names.

        A solver may compute it once and pass it with the forcing; `evaluate` and `slopes` compute
        it where it is absent.
        """
        return {}

    def bend(self, like: Tensor) -> Tensor | None:
        """Return states `[size]` just below zero where the storage bends sharply at zero.

        There an update of Newton's method stops before it crosses. NaN for states without a bend;
        None where no state has one.
        """
        return None

    guess: Any = None
    """`guess(forcing, parameters) -> state [..., size]` where a model that stores nothing has it:
    where the search for its states begins, in place of the initial state. The forcing comes with
    its drivers."""

    ahead: Any = None
    """`ahead(states, forcing, parameters, step, iterations) -> states` where a model with few
    states has it: states near those at the end of an implicit step from `states`, by so many
    iterations on the equation of each store; Newton's method begins there. States are given one by
    one, `[...]` each, as are the forcing with its drivers and parameters. What it returns decides
    how many iterations of the whole system are needed, never what is found."""

    doubtful: Any = None
    """`doubtful(state, fluxes, forcing, parameters) -> mask [...]` or None where a model that
    stores nothing has it: the stable states beside which there may be another that is meant."""

    preferred: Any = None
    """`preferred(state, forcing, parameters, search) -> state [..., size]` goes with it: near which
    state that other one is, NaN where there is none. `search(model, guess, forcing, parameters) ->
    state` solves another model that stores nothing."""

    def total_storage(self, storage: Tensor) -> Tensor:
        """Return the storage of a column `[...]`, in the unit of the fluxes times time.

        From `m(u)` `[..., size]`.
        """
        return storage.sum(-1)

    def derived(self, states: Tensor, parameters: Values) -> dict[str, tuple[Tensor, str, str]]:
        """Return series that follow from the states, with unit and description.

        `[batch, time, ...]` from states `[batch, time, size]`.

        They become variables of `Solution.to_xarray`. The parameters are those of a `Solution`.
        """
        return {}

    def check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Raise ParameterError for combinations that bounds alone do not exclude.

        The parameters are `[column or 1, width]`, or all `[column or 1, interval or 1, width]`
        where any varies in time.
        """

    def networks(self) -> dict[str, torch.nn.Module]:
        """Networks inside the equations by where they are: an attribute, or a slot."""
        own = {f"{k!r}": m for k, m in vars(self).items() if isinstance(m, torch.nn.Module)}
        return own | {
            f"in the slot {k!r}": m
            for k, m in self.closures.items()
            if isinstance(m, torch.nn.Module)
        }

    def closure_weights(self) -> list[torch.nn.Parameter]:
        """Weights of the networks inside the equations that gradients reach: those not frozen."""
        weights = (w for m in self.networks().values() for w in m.parameters() if w.requires_grad)
        return list({id(w): w for w in weights}.values())  # two slots may share a module

    def closure_vectors(self) -> list[Tensor]:
        """Return the weights of each closure, one vector `[weight]` each, with gradients.

        In the order in which the Julia engine reads them.
        """
        return [
            c.flat() for c in self.closures.values() if isinstance(c, NeuralClosure | JuliaClosure)
        ]


def not_negative(spec: ModelSpec, parameters: Mapping[str, Tensor], names: Iterable[str]) -> None:
    """Raise ParameterError where one of the named parameters, `[column or 1, ...]`, is negative.

    Those that the model does not have are passed over.
    """
    for name in (name for name in names if name in parameters):
        values = parameters[name].detach()
        if bool((values < 0).any()):
            at = (values < 0).nonzero()[0].tolist()
            raise ParameterError(
                f"parameter {name!r} is {float(values[tuple(at)]):g} at column {at[0]}; it must "
                f"not be negative ({spec.parameters[name].unit})."
            )


def not_above_one(spec: ModelSpec, parameters: Mapping[str, Tensor], names: Iterable[str]) -> None:
    """Raise ParameterError where one of the named parameters, `[column or 1, ...]`, exceeds 1.

    Those that the model does not have are passed over.
    """
    for name in (name for name in names if name in parameters):
        values = parameters[name].detach()
        if bool((values > 1).any()):
            at = (values > 1).nonzero()[0].tolist()
            raise ParameterError(
                f"parameter {name!r} is {float(values[tuple(at)]):g} at column {at[0]}; it must "
                f"not be above 1 ({spec.parameters[name].unit})."
            )
