"""Curves of a column's soil for users, outside of a solve.

Water contents, conductivities and heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from pydiffgeo.errors import ParameterError, lookup
from pydiffgeo.models.base import ProcessModel, Values
from pydiffgeo.models.richards.grid import Grid
from pydiffgeo.models.richards.hydraulics import LearnedHydraulics, SoilHydraulics, formula_of_slot
from pydiffgeo.models.spec_files import load_spec

AT_MOST_ONE = {
    "theta_s": "a water content is a share of the volume, at most 1. Divide percent by 100",
    "omega_c": "it is a share of what roots without stress take up, at most 1, which is no "
    "compensation",
}


class SoilFunctions(ProcessModel):
    """Functions of the soil of a column, in the units of its grid.

    Attributes
    ----------
    grid : Grid
    hydraulics : SoilHydraulics
    """

    grid: Grid
    hydraulics: SoilHydraulics

    def check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Raise ParameterError for parameters that do not fit together, naming the column.

        theta_r >= theta_s, a share above 1, Feddes heads out of order.
        """
        for name, rule in AT_MOST_ONE.items():
            if name in parameters and bool((parameters[name] > 1).any()):
                at = tuple((parameters[name] > 1).nonzero()[0].tolist())
                value = float(parameters[name][at])
                raise ParameterError(
                    f"{name} is {value:g} at {_where(parameters[name], at)}: {rule}."
                )
        pairs = [("theta_r", "theta_s"), ("feddes_2", "feddes_1"), ("demand_low", "demand_high")]
        for dry in ("feddes_3", "feddes_3_high", "feddes_3_low"):
            pairs += [(dry, "feddes_2"), ("feddes_4", dry)]
        for low, high in pairs:
            if low not in parameters or high not in parameters:
                continue
            if bool((parameters[low] >= parameters[high]).any()):
                a, b = torch.broadcast_tensors(parameters[low], parameters[high])
                at = tuple((a >= b).nonzero()[0].tolist())
                raise ParameterError(
                    f"{low} must be below {high}: got {low}={float(a[at]):g}, "
                    f"{high}={float(b[at]):g} at {_where(a, at)}."
                )

    def formula(
        self, slot: str, parameters: Mapping[str, float] | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Return the formula that a closure in a slot replaces; see `pydiffgeo.fit_closure`.

        Parameters
        ----------
        slot : {"retention", "conductivity"}
        parameters : mapping of str to float, optional
            Of the soil hydraulics, in their units: those that the formula reads, or none of them
            for the defaults.

        Returns
        -------
        callable
            Takes the dryness log10(1 + suction / cm) `[...]`, above zero.
        """
        whole = load_spec("richards")
        lookup(whole.slots, slot, "slot of richards")
        formula = (
            self.hydraulics.formula
            if isinstance(self.hydraulics, LearnedHydraulics)
            else self.hydraulics
        )
        for k in parameters or {}:
            lookup(dict.fromkeys(formula.parameters), k, f"parameter of {formula.name}")
        known = {**whole.parameters, **formula.own}
        whole.check_groups(parameters or {}, formula.reads[slot])
        given = {k: v * self.units.factor(known[k].unit) for k, v in (parameters or {}).items()}
        return formula_of_slot(
            formula, slot, {k: known[k].default for k in formula.parameters} | given
        )

    def water_content(self, psi: Tensor | ArrayLike, parameters: Mapping[str, Any]) -> Tensor:
        """Return the water content (1) `[batch, (time,) cell]` at heads psi.

        The parameters are as given to `solve`. States with the depth of a pond before the heads
        will do as well, here and in `conductivity`.
        """
        psi = self._heads(_floating(psi, "psi"))
        soil = self.hydraulics.derive(self._soil_at_cells(psi, parameters, "retention"))
        return self.hydraulics.curves(psi * self.units.factor("cm"), soil)[0]

    def derived(self, states: Tensor, parameters: Values) -> dict[str, tuple[Tensor, str, str]]:
        """Volumetric water content."""
        return {
            "water_content": (
                self.water_content(states, parameters),
                "1",
                "volumetric water content",
            )
        }

    def conductivity(self, psi: Tensor | ArrayLike, parameters: Mapping[str, Any]) -> Tensor:
        """Return the conductivity `[batch, (time,) cell]`, in the grid's units, at heads psi.

        Parameters are as given to `solve`.
        """
        psi = self._heads(_floating(psi, "psi"))
        soil = self.hydraulics.derive(self._soil_at_cells(psi, parameters, "conductivity"))
        return self.hydraulics.curves(psi * self.units.factor("cm"), soil)[1] / self.units.factor(
            "cm h-1"
        )

    def head(
        self, theta: Tensor | ArrayLike, parameters: Mapping[str, Any], outside: str = "raise"
    ) -> Tensor:
        """Return the pressure head, in the grid's unit, at water contents.

        For initial states from measurements.

        Parameters
        ----------
        theta : Tensor or array, [batch, (time,) cell]
            Above theta_r, and at most theta_s (by more than a rounding of 1e-6 of their
            difference).
        parameters : mapping
            As given to `solve`; of the soil, those of its retention curve suffice.
        outside : {"raise", "nan"}
            What a water content outside of the retention curve gives.

        Returns
        -------
        Tensor, [batch, (time,) cell]

        Raises
        ------
        ParameterError
            A water content that no head has.
        """
        lookup({"raise": 0, "nan": 0}, outside, "choice for outside")
        theta = _floating(theta, "theta")
        soil = self._soil_at_cells(theta, parameters, "retention")
        bad, inside = torch.zeros_like(theta, dtype=torch.bool), theta
        if "theta_r" in soil and "theta_s" in soil:
            low, high = soil["theta_r"], soil["theta_s"]
            bad = ~((low < theta) & (theta <= high + 1e-6 * (high - low)))
            inside = torch.where(bad, 0.5 * (low + high), torch.minimum(theta, high))
        if outside == "raise":
            _on_curve(theta, soil, bad)
        psi = self.hydraulics.head(inside, soil) / self.units.factor("cm")
        bad = bad | ~torch.isfinite(psi)
        if outside == "raise":
            _on_curve(theta, soil, bad)
            return psi
        return torch.where(bad, torch.nan, psi)

    def _heads(self, state: Tensor) -> Tensor:
        """The cells' part of a state."""
        return state

    def _soil_at_cells(
        self, like: Tensor, parameters: Mapping[str, Any], curve: str
    ) -> dict[str, Tensor]:
        """What a curve reads of parameters as given to `solve` `[batch or 1, (time or 1,) cell or
        1]`, in cm and hours.
        """
        from pydiffgeo.inputs import read_parameters  # which imports the models
        from pydiffgeo.named import Names, parameters_without_names

        parameters = parameters_without_names(self, parameters, Names(None, self.spec.time_unit))
        intervals = like.shape[1] if like.ndim == 3 else 1
        needed = self.hydraulics.reads.get(curve, self.hydraulics.parameters)
        static, varying = read_parameters(
            self, parameters, intervals, self.grid.n_layers, like.dtype, like.device, needed=needed
        )
        if varying and like.ndim < 3:
            name = next(iter(varying))
            raise ParameterError(
                f"parameter {name!r} varies in time: give the state as [batch, time, cell], at "
                "these times."
            )
        if like.ndim == 3:
            static = {k: v.unsqueeze(1) for k, v in static.items()}
        layer = self.grid.layer.to(like.device)
        out = {}
        for k, v in {**static, **varying}.items():
            spec = self.spec.parameters[k]
            if spec.per == "layer" and k != "specific_storage":
                factor = (
                    1.0
                    if k in self.hydraulics.own
                    else self.units.factor(self.core.spec.parameters[k].unit)
                )
                out[k] = (v[..., layer] if v.shape[-1] > 1 else v) * factor
        return out


def _floating(x: Any, what: str) -> Tensor:
    """Arrays, lists and whole numbers as float64; a tensor with a point as it is."""
    from pydiffgeo.inputs import numeric  # which imports the models

    if isinstance(x, Tensor) and x.is_floating_point():
        return x
    return numeric(
        x, torch.float64, x.device if isinstance(x, Tensor) else torch.device("cpu"), what
    )


def _on_curve(theta: Tensor, soil: Values, bad: Tensor) -> None:
    """Raise ParameterError for the first water content that is bad."""
    if not bool(bad.any()):
        return
    at = tuple(bad.nonzero()[0].tolist())
    known = {"": theta, **{k: soil[k] for k in ("theta_r", "theta_s") if k in soil}}
    x = {k: v.detach().broadcast_to(bad.shape)[at].item() for k, v in known.items()}
    curve = f" from theta_r={x['theta_r']:g} to theta_s={x['theta_s']:g}" if len(x) == 3 else ""
    raise ParameterError(
        f"no head has the water content {x['']:g} at {list(at)}: correct it or the retention "
        f"curve{curve}, or ask for NaN "
        'there with outside="nan".'
    )


def _where(values: Tensor, at: tuple[int, ...]) -> str:
    """Return column, interval and layer of an index into parameters `[column, layer]` or `[column,
    interval, layer]`.
    """
    place = [f"column {at[0]}", *([f"interval {at[1]}"] if values.ndim == 3 else [])]
    return ", ".join([*place, *([f"layer {at[-1]}"] if values.shape[-1] > 1 else [])])
