"""Forms of a leaf: which of the specification's entries each of them reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pydiffgeo.errors import ParameterError, listed, lookup
from pydiffgeo.models.spec import ModelSpec

PATHWAYS = {"c3": "C3 leaves", "c4": "C4 leaves", "both": "each column as its parameter c4 says"}
STOMATA = {
    "medlyn": ("g0", "g1"),
    "ball_berry": ("g0", "ball_berry_slope"),
    "leuning": ("g0", "leuning_slope", "D0"),
    "buckley_mott_farquhar": ("Em", "i0", "k", "b"),
    "measured": (),
    "measured_ci": (),
}
"""Forms of the stomata, and the parameters that each reads."""
FED_BACK = ("medlyn", "ball_berry", "leuning")
"""Those that open with assimilation."""
SMOOTHING = {"fates": (0.999, 0.999), "clm5": (0.98, 0.95)}
"""Curvatures of the smooth minima by name: of the first two rates, and of that and the third."""
SMOOTHING_C4 = {"fates": (0.999, 0.999), "clm5": (0.80, 0.95)}
CO2_AT = {"air": "forcing co2 is that of the air", "surface": "it is that at the leaf's surface"}
HUMIDITY_AT = {
    "air": "the deficit that opens the stomata is that to the air",
    "surface": "it is that at the leaf's surface, less by gb / (gs + gb)",
}
KINETICS = {
    "partial_pressure": "constants of Rubisco are partial pressures, in air of 101325 Pa",
    "mole_fraction": "they are mole fractions at any pressure, as in CLM and FATES",
}
C4_ONLY = ("quantum_yield_c4", "slope_ratio_c4", "R_d25_ratio_c4", "g0_c4", "g1_c4")


@dataclass(frozen=True)
class Form:
    """The options of a leaf, checked.

    `c3` and `c4` are the curvatures of the smooth minima of the pathways.
    """

    pathway: str = "c3"
    stomata: str = "medlyn"
    mesophyll: bool = False
    energy_balance: bool = False
    co2_at: str = "air"
    humidity_at: str = "air"
    kinetics: str = "partial_pressure"
    ratios: bool = True
    product_limit: bool = False
    c3: tuple[float, float] = SMOOTHING["fates"]
    c4: tuple[float, float] = SMOOTHING_C4["fates"]

    def __post_init__(self) -> None:
        lookup(PATHWAYS, self.pathway, "pathway")
        lookup(STOMATA, self.stomata, "stomata")
        lookup(CO2_AT, self.co2_at, "co2_at")
        lookup(HUMIDITY_AT, self.humidity_at, "humidity_at")
        lookup(KINETICS, self.kinetics, "kinetics")
        if self.humidity_at == "surface" and self.stomata not in FED_BACK:
            raise ParameterError(
                f'humidity_at="surface" is there for the stomata {listed(FED_BACK)}, not '
                f'{self.stomata!r}: take humidity_at="air".'
            )
        if self.energy_balance and self.stomata == "measured_ci":
            raise ParameterError(
                'stomata="measured_ci" knows no conductance and so no energy balance: take '
                "energy_balance=False."
            )

    @property
    def has_c3(self) -> bool:
        """Whether there are C3 leaves."""
        return self.pathway != "c4"

    @property
    def has_c4(self) -> bool:
        """Whether there are C4 leaves."""
        return self.pathway != "c3"

    def read(self, whole: ModelSpec) -> ModelSpec:
        """Return the specification of what this form reads and gives."""
        slotted = self.stomata == "medlyn" and self.humidity_at == "air"
        return replace(whole, slots=whole.slots if slotted else {}).select(
            states=[("Cc" if self.mesophyll else "Ci")]
            + (["leaf_temperature"] if self.energy_balance else []),
            parameters=_ordered(whole.parameters, self._parameters()),
            forcings=_ordered(whole.forcings, self._forcings()),
            fluxes=_ordered(whole.fluxes, self._fluxes()),
        )

    def _parameters(self) -> list[str]:
        peaked = ["V_cmax", "J_max", "TPU", "R_d", "gm"]
        drop = set()
        if not self.has_c3:
            drop |= {"V_cmax", "J_max", "R_d", "TPU"}
        if not self.product_limit:
            drop.add("TPU")
        if not self.mesophyll:
            drop.add("gm")
        end = "_ratio" if self.ratios else ""
        out = ["V_cmax25", f"R_d25{end}", *STOMATA[self.stomata]]
        for name in peaked:
            if name not in drop:
                out += [f"{name}_{what}" for what in ("activation", "deactivation", "entropy")]
        if self.mesophyll:
            out.append("gm25")
        if self.has_c3:
            out += [f"J_max25{end}", "absorptance", "theta_J"]
            out += [f"{k}{x}" for k in ("K_c", "K_o", "Gamma_star") for x in ("25", "_activation")]
            out += [f"TPU25{end}"] if self.product_limit else []
        elif self.stomata == "leuning":
            out += ["Gamma_star25", "Gamma_star_activation"]
        if self.has_c4:
            out += [k for k in C4_ONLY if k not in ("g0_c4", "g1_c4", "R_d25_ratio_c4")]
            out += [f"{k}_c4" for k in ("g0", "g1") if k in out]
            out += ["R_d25_ratio_c4"] if self.ratios else []
        if not self.has_c3:
            out = [k for k in out if f"{k}_c4" not in out]
        return out + (["c4"] if self.pathway == "both" else [])

    def _forcings(self) -> list[str]:
        weather = (
            ["air_temperature", "vapour_pressure", "shortwave", "longwave"]
            if self.energy_balance
            else ["leaf_temperature", "vapour_pressure_deficit"]
        )
        if self.stomata == "measured_ci":
            pressure = self.has_c3 and self.kinetics == "partial_pressure"
            return ["par", "leaf_temperature", "intercellular_co2"] + ["pressure"] * pressure
        measured = ["stomatal_conductance"] if self.stomata == "measured" else []
        return [
            "par", *weather, "co2", "pressure", "boundary_layer_conductance", "soil_water_stress",
            *measured,
        ]  # fmt: skip

    def _fluxes(self) -> list[str]:
        out = ["assimilation", "gross_assimilation", "day_respiration"]
        out += ["rubisco_limited", "light_limited"]
        if self.product_limit or not self.has_c3:
            out.append("product_limited")
        if self.mesophyll and self.stomata != "measured_ci":
            out.append("intercellular_co2")
        if self.stomata != "measured_ci":
            out.append("transpiration")
        if self.stomata not in ("measured", "measured_ci"):
            out.append("stomatal_conductance")
        if self.energy_balance:
            out += ["net_radiation", "latent_heat", "sensible_heat"]
        return out


def curvatures(smoothing: str | float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Curvatures of the smooth minima of C3 and of C4 leaves, from a name or a number."""
    if isinstance(smoothing, str):
        return lookup(SMOOTHING, smoothing, "smoothing"), SMOOTHING_C4[smoothing]
    if not 0.5 <= smoothing < 1:
        raise ParameterError(
            f"smoothing={smoothing}: give the curvature of the smooth minima, from 0.5 to 0.9999, "
            f"or one of {', '.join(SMOOTHING)}."
        )
    return (smoothing, smoothing), (smoothing, smoothing)


def _ordered(known: Iterable[str], wanted: list[str]) -> list[str]:
    """Wanted names in the order of the specification."""
    return [name for name in known if name in wanted]
