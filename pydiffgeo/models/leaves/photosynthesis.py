"""Photosynthesis: assimilation, stomata and temperature of a leaf, solved together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from pydiffgeo.errors import ParameterError, lookup
from pydiffgeo.models.base import Entries, Evaluation, ProcessModel, Values, not_above_one
from pydiffgeo.models.elementwise import along
from pydiffgeo.models.leaves.biochemistry import limits_c3, limits_c4
from pydiffgeo.models.leaves.configuration import FED_BACK, Form, curvatures
from pydiffgeo.models.leaves.energy import (
    Heat,
    by_conductance,
    deficit,
    heat,
    latent_heat,
    transpiration,
)
from pydiffgeo.models.leaves.exchange import Exchange, exchange
from pydiffgeo.models.leaves.stomata import dryness, medlyn
from pydiffgeo.models.leaves.traits import at_temperature, of_pathway, stomata_at
from pydiffgeo.models.leaves.widest import widest
from pydiffgeo.models.slots import Formula, filled, formula_of, share
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
    energy_balance : bool
        The temperature of the leaf is a state, too: it absorbs `shortwave` and `longwave` and loses
        vapour and heat to the air. With `vapour_pressure` in place of the deficit.
    co2_at : {"air", "surface"}
        Where the forcing `co2` is: beyond the boundary layer, or at the surface of the leaf.
    humidity_at : {"air", "surface"}
        Whether the stomata see the deficit to the air or, as Ball and Berry's and Leuning's forms
        were published, that at the surface of the leaf, which is less by gb / (gs + gb).
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
        energy_balance: bool = False,
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
            pathway, stomata, mesophyll, energy_balance, co2_at, humidity_at, kinetics, ratios,
            product_limit, one, other,
        )  # fmt: skip
        spec = self.form.read(load_spec("photosynthesis"))
        self.spec, self.closures, self.replaced = filled(spec, closures)
        self.size = len(self.spec.states)

    def check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Raise ParameterError for shares above 1, and for leaves between the two pathways."""
        not_above_one(self.spec, parameters, ("theta_J", "absorptance"))
        if "c4" in parameters:
            c4 = parameters["c4"].detach()
            between = (c4 != 0) & (c4 != 1)
            if bool(between.any()):
                at = between.nonzero()[0].tolist()
                raise ParameterError(
                    f"parameter 'c4' is {float(c4[tuple(at)]):g} at column {at[0]}; a leaf is C4 "
                    "(1) or C3 (0): it cannot be learned or scaled, give it by an attribute."
                )

    def drivers(self, forcing: Values, parameters: Values) -> dict[str, Tensor]:
        """Capacities and constants at the temperature of the leaf, and what opens its stomata.

        Where the temperature is a state of the leaf itself, nothing is known before it.
        """
        if self.form.energy_balance:
            return {}
        return self._leaf(forcing, parameters)

    def guess(self, forcing: Values, parameters: Values) -> Tensor:
        """CO2 that Medlyn's form would keep in strong light, in a leaf as warm as the air."""
        if self.form.stomata == "measured_ci":
            return forcing["intercellular_co2"]
        kept = 1 - 1.6 / forcing["slope"].clamp_min(3.0) if "slope" in forcing else 0.7
        co2 = forcing["co2"] * kept * (0.8 if self.form.mesophyll else 1.0)
        if self.form.energy_balance:
            return torch.cat(torch.broadcast_tensors(co2, forcing["air_temperature"]), -1)
        return co2

    def doubtful(
        self, state: Tensor, fluxes: Tensor, forcing: Values, parameters: Values
    ) -> Tensor | None:
        """Return whether the stomata of a leaf may be open wider than at its state, `[...]`.

        They are nearly shut where it assimilates less than it respires.
        """
        if not self.form.energy_balance or self.form.stomata not in FED_BACK:
            return None
        net, respired = (
            fluxes[..., list(self.spec.fluxes).index(name)]
            for name in ("assimilation", "day_respiration")
        )
        return (net < respired) & (forcing["par"][..., 0] > 0)

    def preferred(
        self, state: Tensor, forcing: Values, parameters: Values, search: Callable[..., Tensor]
    ) -> Tensor:
        """CO2 and temperature near which the stomata are open widest; see `widest`."""
        told = self._told_temperature()

        def conductance(
            rows: Tensor, co2: Tensor | None, temperature: Tensor
        ) -> tuple[Tensor, Tensor]:
            f, p = (
                {k: v if len(v) == 1 else v[rows] for k, v in values.items()}
                for values in (forcing, parameters)
            )
            vpd = deficit(temperature[:, None], f["vapour_pressure"])
            f |= {"leaf_temperature": temperature[:, None], "vapour_pressure_deficit": vpd}
            f |= told.drivers(f, p)
            begin = told.guess(f, p) if co2 is None else co2[:, None]
            (inside,) = search(told, begin, f, p).unbind(-1)
            return inside, exchange(inside[:, None], f, told.form).stomata[:, 0]

        found = state[:, 1]
        f = {k: v.expand(len(found), -1)[:, 0] for k, v in forcing.items()}
        return torch.stack(widest(found, f, conductance)[::-1], -1)

    def _told_temperature(self) -> Photosynthesis:
        """Return the same leaf without an energy balance."""
        leaf = copy(self)
        leaf.form = replace(self.form, energy_balance=False)
        leaf.spec, leaf.size = leaf.form.read(load_spec("photosynthesis")), 1
        return leaf

    def evaluate(
        self, state: Tensor, forcing: Values, parameters: Values, fluxes: bool = False
    ) -> Evaluation:
        """Storage, rates and fluxes."""
        leaf, co2 = self._inputs(state, forcing, parameters), state[..., :1]
        e = exchange(co2, leaf, self.form)
        rates, warmth = [e.left], None
        if self.form.energy_balance:
            warmth = self._heat(e, leaf)
            rates.append(warmth.net_radiation - warmth.latent - warmth.sensible)
        out = state.new_empty(0)
        if fluxes:
            found = self._fluxes(co2, e, leaf, warmth)
            out = _stacked([found[name].expand_as(e.left) for name in self.spec.fluxes])
        return Evaluation(state, _stacked(rates), out)

    def slopes(
        self, state: Tensor, forcing: Values, parameters: Values
    ) -> tuple[list[Tensor], Entries]:
        """What is left of the equations, and their slopes."""
        if not self.form.energy_balance:
            e = exchange(state, self._inputs(state, forcing, parameters), self.form)
            return [e.left[..., 0]], {(0, 0): e.slope[..., 0]}
        co2, temperature = state[..., :1], state[..., 1:]

        def at(warm: Tensor) -> tuple[list[Tensor], list[Tensor]]:
            leaf = self._warm(warm, forcing, parameters)
            e = exchange(co2, leaf, self.form)
            warmth = self._heat(e, leaf)
            vapour = by_conductance(e.stomata, leaf["vapour_pressure_deficit"], leaf)
            left = warmth.net_radiation - warmth.latent - warmth.sensible
            by_co2 = -latent_heat(warm) * vapour * e.opening
            return [e.left, left], [e.slope, by_co2]

        found = along(at, temperature)
        left, by_temperature, by_co2 = ([x[..., 0] for x in values] for values in found)
        return left, {
            (0, 0): by_co2[0], (0, 1): by_temperature[0],
            (1, 0): by_co2[1], (1, 1): by_temperature[1],
        }  # fmt: skip

    def rates(self, state: Tensor, forcing: Values, parameters: Values) -> Tensor:
        """What is left of the equations: CO2 that diffusion would bring about less that assumed.

        With an energy balance also the radiation that neither vapour nor heat takes away.
        """
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

    def slot_inputs(self, slot: str, series: Values, parameters: Values) -> tuple[Tensor, ...]:
        """Inputs of a slot from states and forcing by name, and parameters, all `[...]`."""
        lookup(self.spec.slots, slot, f"slot of {self.spec.name}")
        if self.form.energy_balance:
            vpd = deficit(series["leaf_temperature"], series["vapour_pressure"])
        else:
            vpd = series["vapour_pressure_deficit"]
        return (_humidity(dryness(vpd)),)

    def _slope(self, p: Values) -> Callable[[Tensor], Tensor]:
        """Slope of the conductance by the network in its slot, from the deficit."""
        if "g1" in p or "g1_c4" in p:  # beside its formula
            p = {**p, "g1": of_pathway("g1", p, self.form)}
        return lambda vpd: share(
            self.spec.slots["stomata"], self.closures["stomata"], self.formulas["stomata"],
            (_humidity(vpd),), p, None,
        )  # fmt: skip

    def _inputs(self, state: Tensor, forcing: Values, parameters: Values) -> dict[str, Tensor]:
        """Forcing and what `drivers` gives, which a solver may have computed, `[..., 1]` each."""
        if "R" in forcing:
            return dict(forcing)
        if self.form.energy_balance:
            return self._warm(state[..., 1:], forcing, parameters)
        return {**forcing, **self._leaf(forcing, parameters)}

    def _warm(self, temperature: Tensor, f: Values, p: Values) -> dict[str, Tensor]:
        """Forcing and what a leaf can do at a temperature that is a state."""
        vpd = deficit(temperature, f["vapour_pressure"])
        f = {**f, "leaf_temperature": temperature, "vapour_pressure_deficit": vpd}
        return f | self._leaf(f, p)

    def _heat(self, e: Exchange, leaf: Values) -> Heat:
        vapour = transpiration(e.stomata, leaf["vapour_pressure_deficit"], leaf)
        return heat(leaf["leaf_temperature"], vapour, leaf)

    def _fluxes(
        self, co2: Tensor, e: Exchange, leaf: Values, warmth: Heat | None
    ) -> dict[str, Tensor]:
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
            out["transpiration"] = transpiration(e.stomata, leaf["vapour_pressure_deficit"], leaf)
        if warmth is not None:
            out["net_radiation"] = warmth.net_radiation
            out["latent_heat"] = warmth.latent
            out["sensible_heat"] = warmth.sensible
        return out


def _stacked(parts: list[Tensor]) -> Tensor:
    """Values `[..., 1]` as `[..., part]`, each part contiguous in memory; see `stacked`."""
    return torch.stack(parts).squeeze(-1).movedim(0, -1)


def _humidity(vpd: Tensor) -> Tensor:
    """Input of the slot of the stomata, from the deficit in kPa."""
    return 1 / (1 + vpd)
