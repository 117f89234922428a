"""Photosynthesis: assimilation, stomata and temperature of a leaf, solved together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from pydiffgeo.models.base import Entries, Evaluation, ProcessModel, Values
from pydiffgeo.models.leaves.biochemistry import limits_c3, limits_c4
from pydiffgeo.models.leaves.configuration import Form, curvatures
from pydiffgeo.models.leaves.exchange import Exchange, exchange
from pydiffgeo.models.leaves.stomata import medlyn
from pydiffgeo.models.leaves.traits import at_temperature, stomata_at
from pydiffgeo.models.slots import Formula, filled, formula_of, share
from pydiffgeo.models.smooth import stacked
from pydiffgeo.models.spec_files import load_spec


class Photosynthesis(ProcessModel):
    """Photosynthesis of a leaf that takes its CO2 through stomata; see docs/photosynthesis.md.

    A leaf stores nothing: its CO2 is where demand and supply meet. Rates in umol m-2 s-1, CO2 in
    umol mol-1, conductances to water vapour in mol m-2 s-1. Rates are limited by smooth minima,
    whose width is stated, so that every result can be differentiated.

    Sources: Farquhar, von Caemmerer & Berry (1980), doi:10.1007/BF00386231; Collatz et al. (1992),
    doi:10.1071/PP9920519; Medlyn et al. (2011), doi:10.1111/j.1365-2486.2010.02375.x; those of the
    parts stand with them.

    Parameters
    ----------
    pathway : {"c3", "c4", "both"}
        "both" reads the parameter `c4` of each column, 1 or 0.
    stomata : str
        "medlyn", "ball_berry", "leuning", "buckley_mott_farquhar"; "measured" takes the
        conductance from the forcing `stomatal_conductance`, "measured_ci" the CO2 between the cells
        from `intercellular_co2`, as curves of A over Ci need it.
    mesophyll : bool
        CO2 has a resistance between the cells: the state is that of the chloroplasts, Cc, and Ci a
        result.
    co2_at : {"air", "surface"}
        Where the forcing `co2` is: beyond the boundary layer, or at the surface of the leaf.
    humidity_at : {"air", "surface"}
        Whether Medlyn's form sees the deficit to the air or that at the surface, which is less by
        gb / (gs + gb).
    kinetics : {"partial_pressure", "mole_fraction"}
        What the constants of Rubisco are when the pressure is not 101325 Pa; "mole_fraction" as in
        CLM and FATES.
    smoothing : {"fates", "clm5"} or float
        Curvature of the smooth minima; where two rates are equal, a curvature of 0.999 gives 3 %
        less than either, 0.98 gives 12 %.
    ratios : bool
        J_max25, R_d25 and TPU25 are given in parts of V_cmax25, or by themselves.
    product_limit : bool
        Triose phosphate use limits C3 leaves, too.
    closures : mapping of str to NeuralClosure or torch.nn.Module, optional
        A network in the slot "stomata" of Medlyn's form; see docs/closures.md.

    Raises
    ------
    UnknownName, ParameterError
        An option that is not there, or that does not go with another; a network that does not fit.
    """

    structure = "dense"
    formulas: ClassVar[Mapping[str, Formula]] = {
        "stomata": lambda p, humidity: medlyn(1 / humidity - 1, p["g1"])
    }

    def __init__(
        self,
        pathway: str = "c3",
        stomata: str = "medlyn",
        mesophyll: bool = False,
        co2_at: str = "air",
        humidity_at: str = "air",
        kinetics: str = "partial_pressure",
        smoothing: str | float = "fates",
        ratios: bool = True,
        product_limit: bool = False,
        closures: Mapping[str, nn.Module] | None = None,
    ) -> None:
        one, other = curvatures(smoothing)
        self.form = Form(
            pathway, stomata, mesophyll, False, co2_at, humidity_at, kinetics, ratios,
            product_limit, one, other,
        )  # fmt: skip
        spec = self.form.read(load_spec("photosynthesis"))
        self.spec, self.closures, self.replaced = filled(spec, closures)
        self.size = len(self.spec.states)

    def drivers(self, forcing: Values, parameters: Values) -> dict[str, Tensor]:
        """Capacities and constants at the temperature of the leaf, and what opens its stomata."""
        f, p = ({k: v[..., 0] for k, v in values.items()} for values in (forcing, parameters))
        return {k: v[..., None] for k, v in self._leaf(f, p).items()}

    def guess(self, forcing: Values, parameters: Values) -> Tensor:
        """CO2 that Medlyn's form would keep in strong light."""
        if self.form.stomata == "measured_ci":
            return forcing["intercellular_co2"]
        kept = 1 - 1.6 / forcing["slope"].clamp_min(3.0) if "slope" in forcing else 0.7
        return forcing["co2"] * kept * (0.8 if self.form.mesophyll else 1.0)

    def evaluate(
        self, state: Tensor, forcing: Values, parameters: Values, fluxes: bool = False
    ) -> Evaluation:
        """Storage, rates and fluxes."""
        leaf = self._inputs(forcing, parameters)
        e = exchange(state[..., 0], leaf, self.form)
        out = state.new_empty(0)
        if fluxes:
            found = self._fluxes(state[..., 0], e, leaf)
            out = stacked([found[name].expand_as(e.left) for name in self.spec.fluxes])
        return Evaluation(state, e.left[..., None], out)

    def slopes(
        self, state: Tensor, forcing: Values, parameters: Values
    ) -> tuple[list[Tensor], Entries]:
        """What is left of the equation, and its slope."""
        e = exchange(state[..., 0], self._inputs(forcing, parameters), self.form)
        return [e.left], {(0, 0): e.slope}

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        """What is left of the equation: CO2 that diffusion would bring about less that assumed."""
        return self.evaluate(state, forcing, parameters).rates

    def fluxes(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        """The fluxes of the specification."""
        return self.evaluate(state, forcing, parameters, fluxes=True).fluxes

    def formula(
        self, slot: str, parameters: Mapping[str, float] | None = None
    ) -> Callable[..., Tensor]:
        """Return the formula of a slot as a function of its input; see `pydiffgeo.fit_closure`."""
        return formula_of("photosynthesis", self.formulas, slot, parameters)

    def _leaf(self, f: Values, p: Values) -> dict[str, Tensor]:
        temperature, form = f["leaf_temperature"], self.form
        leaf = at_temperature(temperature, f, p, form)
        if form.stomata == "measured_ci":
            return leaf
        closure = self._slope(p) if "stomata" in self.closures else None
        return leaf | stomata_at(temperature, f["vapour_pressure_deficit"], f, p, form, closure)

    def _slope(self, p: Values) -> Callable[[Tensor], Tensor]:
        """Slope of the conductance by the network in its slot."""
        return lambda vpd: share(
            self.spec.slots["stomata"], self.closures["stomata"], self.formulas["stomata"],
            (1 / (1 + vpd),), p, None,
        )  # fmt: skip

    def _inputs(self, forcing: Values, parameters: Values) -> dict[str, Tensor]:
        """Forcing and the drivers, which a solver may have computed."""
        if "R" not in forcing:
            forcing = {**forcing, **self.drivers(forcing, parameters)}
        return {k: v[..., 0] for k, v in forcing.items()}

    def _fluxes(self, co2: Tensor, e: Exchange, leaf: Values) -> dict[str, Tensor]:
        form = self.form
        out = {
            "assimilation": e.net,
            "gross_assimilation": e.gross,
            "day_respiration": leaf["R"],
            "stomatal_conductance": e.stomata,
            "intercellular_co2": e.inside,
        }
        names = ("rubisco_limited", "light_limited", "product_limited")
        limits = limits_c3(co2, leaf) if form.has_c3 else limits_c4(co2, leaf)
        if form.pathway == "both":
            other = limits_c4(co2, leaf)
            limits = tuple(  # type: ignore[assignment]
                torch.where(leaf["is_c4"], b, a) for a, b in zip(limits, other, strict=False)
            )
        out |= dict(zip(names, limits, strict=False))
        if form.stomata != "measured_ci":
            gb = leaf["boundary_layer_conductance"]
            total = e.stomata * gb / (e.stomata + gb)
            out["transpiration"] = total * leaf["vapour_pressure_deficit"] * 1000 / leaf["pressure"]
        return out
