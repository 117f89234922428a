"""What a leaf can do at its temperature, in its light and its air.

Everything here follows from forcing and parameters, so that it is computed once for a solve where
the temperature of the leaf is given.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pydiffgeo.models.base import Values
from pydiffgeo.models.leaves.biochemistry import electron_transport
from pydiffgeo.models.leaves.configuration import Form
from pydiffgeo.models.leaves.stomata import (
    CONSTANTS,
    LEAST_CONDUCTANCE,
    ball_berry,
    buckley_mott_farquhar,
    dryness,
    leuning,
    medlyn,
    relative_humidity,
)
from pydiffgeo.models.leaves.temperature import (
    arrhenius,
    distance,
    doubling,
    limited_c4,
    peaked,
    respiration_c4,
)

STANDARD_PRESSURE = CONSTANTS["STANDARD_PRESSURE"]
OXYGEN = CONSTANTS["OXYGEN"]
SYSTEM_SHARE = CONSTANTS["SYSTEM_SHARE"]
PRODUCT_RATIO = CONSTANTS["PRODUCT_RATIO"]


def at_temperature(temperature: Tensor, f: Values, p: Values, form: Form) -> dict[str, Tensor]:
    """Return capacities and constants of a leaf at its temperature, `[...]` each.

    Parameters
    ----------
    temperature : Tensor, [...]
        Of the leaf, degC.
    f : mapping of str to Tensor, [...]
        par (umol m-2 s-1), and pressure (Pa) and soil_water_stress where they are read.
    p : mapping of str to Tensor, [...]
        Parameters.
    form : Form

    Returns
    -------
    dict of str to Tensor
        R (day respiration) and, as far as the form has them, V, J, product, compensation and
        michaelis of C3 leaves, V_c4, light_c4 and slope_c4 of C4 leaves, is_c4, and gm.
    """
    stress = f.get("soil_water_stress")
    capacity = p["V_cmax25"] if stress is None else p["V_cmax25"] * stress
    far = distance(temperature)
    out: dict[str, Tensor] = {}
    if form.has_c3:
        out["V"] = capacity * _peaked("V_cmax", far, p)
        most = _at_25("J_max25", p, form) * _peaked("J_max", far, p)
        light = SYSTEM_SHARE * p["absorptance"] * f["par"]
        out["J"] = electron_transport(light, most, p["theta_J"])
        out["compensation"] = compensation_point(far, f, p, form)
        out["michaelis"] = michaelis(far, f, p, form)
        out["R"] = _at_25("R_d25", p, form) * _peaked("R_d", far, p)
        if form.product_limit:
            capacity = _at_25("TPU25", p, form) * _peaked("TPU", far, p)
            out["product"] = PRODUCT_RATIO * capacity
    if form.has_c4:
        out["V_c4"] = p["V_cmax25"] * limited_c4(temperature)
        if stress is not None:
            out["V_c4"] = out["V_c4"] * stress
        out["light_c4"] = p["quantum_yield_c4"] * f["par"]
        out["slope_c4"] = p["slope_ratio_c4"] * p["V_cmax25"] * doubling(temperature)
        respiration = _at_25("R_d25", p, form, "_c4") * respiration_c4(temperature)
        if form.has_c3:
            out["is_c4"] = p["c4"] > 0.5
            respiration = torch.where(out["is_c4"], respiration, out["R"])
        out["R"] = respiration
    if form.mesophyll:
        out["gm"] = p["gm25"] * _peaked("gm", far, p)
    return out


def stomata_at(
    temperature: Tensor,
    vpd: Tensor,
    f: Values,
    p: Values,
    form: Form,
    closure: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return what the conductance of the stomata needs, `[...]` each; see `stomata.conductance`.

    Parameters
    ----------
    temperature, vpd : Tensor, [...]
        Of the leaf, degC; vapour pressure deficit, kPa.
    closure : callable, optional
        Slope of the conductance, in place of Medlyn's.
    """
    kind, vpd = form.stomata, dryness(vpd)
    if kind == "measured":
        return {"least": f["stomatal_conductance"]}
    if kind == "buckley_mott_farquhar":
        fraction = 1e6 * vpd / f["pressure"]
        opened = buckley_mott_farquhar(f["par"], fraction, p) * f["soil_water_stress"]
        return {"least": opened + LEAST_CONDUCTANCE}
    least = of_pathway("g0", p, form) * f["soil_water_stress"] + LEAST_CONDUCTANCE
    if form.humidity_at == "surface" and kind == "ball_berry":
        humidity = relative_humidity(vpd, temperature)
        return {"least": least, "slope": p["ball_berry_slope"], "humidity": humidity}
    if kind == "ball_berry":
        return {"least": least, "slope": ball_berry(vpd, temperature, p)}
    if kind == "leuning":
        base = compensation_point(distance(temperature), f, p, form)
        if form.humidity_at == "surface":
            excess = 1 + vpd / p["D0"]
            return {"least": least, "slope": p["leuning_slope"], "excess": excess, "base": base}
        return {"least": least, "slope": leuning(vpd, p), "base": base}
    if closure is not None:
        return {"least": least, "slope": closure(vpd)}
    g1 = of_pathway("g1", p, form)
    if form.humidity_at == "surface":
        return {"least": least, "g1": g1, "dryness": vpd}
    return {"least": least, "slope": medlyn(vpd, g1)}


def compensation_point(far: Tensor, f: Values, p: Values, form: Form) -> Tensor:
    """CO2 at which carboxylation and photorespiration are equal, umol mol-1, at a `distance`.

    References
    ----------
    Bernacchi et al. (2001), doi:10.1111/j.1365-3040.2001.00668.x.
    """
    point = p["Gamma_star25"] * arrhenius(far, p["Gamma_star_activation"])
    return point * _standard(f, form)


def michaelis(far: Tensor, f: Values, p: Values, form: Form) -> Tensor:
    """Michaelis constant of Rubisco for CO2 in air, K_c (1 + O / K_o), umol mol-1.

    At a `distance`.
    """
    standard = _standard(f, form)
    for_co2 = p["K_c25"] * arrhenius(far, p["K_c_activation"]) * standard
    for_oxygen = p["K_o25"] * arrhenius(far, p["K_o_activation"]) * standard
    return for_co2 * (1 + OXYGEN / for_oxygen)


def _standard(f: Values, form: Form) -> Tensor | float:
    """Mole fraction of a gas in parts of that with the same partial pressure at 101325 Pa."""
    return 1.0 if form.kinetics == "mole_fraction" else STANDARD_PRESSURE / f["pressure"]


def _peaked(name: str, far: Tensor, p: Values) -> Tensor:
    parts = (p[f"{name}_{what}"] for what in ("activation", "deactivation", "entropy"))
    return peaked(far, *parts)


def _at_25(name: str, p: Values, form: Form, end: str = "") -> Tensor:
    """A rate at 25 degC, given or in parts of V_cmax25."""
    return p[f"{name}_ratio{end}"] * p["V_cmax25"] if form.ratios else p[name]


def of_pathway(name: str, p: Values, form: Form) -> Tensor:
    """A parameter that C3 and C4 leaves have each of their own."""
    if form.pathway == "both":
        return torch.where(p["c4"] > 0.5, p[f"{name}_c4"], p[name])
    return p[name] if form.has_c3 else p[f"{name}_c4"]
