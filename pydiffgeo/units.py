"""Units as text: whether two mean the same, and the length and time units that a user chooses for a column."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from pydiffgeo.errors import lookup
from pydiffgeo.times import SECONDS

LENGTHS: dict[str, Fraction] = {
    "mm": Fraction(1, 10),
    "cm": Fraction(1),
    "dm": Fraction(10),
    "m": Fraction(100),
}
"""Centimetres in each unit of length that a column may have."""
SPELLINGS = {
    **dict.fromkeys(("hour", "hours", "hr", "hrs"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("minute", "minutes", "mins"), "min"),
    **dict.fromkeys(("second", "seconds", "sec"), "s"),
    **dict.fromkeys(("millimeter", "millimeters", "millimetre", "millimetres"), "mm"),
    **dict.fromkeys(("centimeter", "centimeters", "centimetre", "centimetres"), "cm"),
    **dict.fromkeys(("meter", "meters", "metre", "metres"), "m"),
    **dict.fromkeys(("Celsius", "celsius", "deg_C", "degree_Celsius", "degrees_Celsius"), "degC"),
}
PART = re.compile(r"(/)|([A-Za-z_]+)\^?([+-]?\d+)?|\b1\b|[ .*·]+")


@cache
def powers(unit: str) -> dict[str, int]:
    """Powers of the symbols in a unit: {"cm": 1, "h": -1} for "cm h-1", "cm/h" or "cm hour^-1"; none for "1" or "m3 m-3"."""
    text = unit.strip().replace("**", "^")
    if text in ("", "-", "dimensionless"):
        return {}
    out: dict[str, int] = {}
    place, sign = 0, 1
    while place < len(text):
        part = PART.match(text, place)
        if part is None:
            return {unit: 1}  # a unit that nothing here knows equals itself only
        place = part.end()
        if part[1]:
            sign = -1
        elif part[2]:
            symbol = SPELLINGS.get(part[2], part[2])
            out[symbol] = out.get(symbol, 0) + sign * int(part[3] or 1)
            sign = 1
    return {k: v for k, v in out.items() if v}


def same_unit(one: str, other: str) -> bool:
    """Whether two texts are the same unit."""
    return one == other or powers(one) == powers(other)


def product(*units: str) -> str:
    """Return the product of units: "mm" for "mm d-1" and "d"."""
    out: dict[str, int] = {}
    for unit in units:
        for symbol, power in powers(unit).items():
            out[symbol] = out.get(symbol, 0) + power
    return " ".join(f"{k}{v if v != 1 else ''}" for k, v in out.items() if v) or "1"


SCALED = (
    "m",
    "g",
    "s",
    "K",
    "Pa",
    "bar",
    "J",
    "W",
    "N",
    "mol",
    "eq",
    "L",
    "l",
    "V",
    "A",
    "Hz",
    "S",
    "Bq",
)
"""Symbols that take a prefix of the SI."""
SYMBOLS = {
    *(prefix + symbol for prefix in ("", "n", "u", "m", "c", "d", "h", "k", "M", "G") for symbol in SCALED),
    "min", "h", "d", "a", "yr", "degC", "ha", "rad", "sr", "deg", "degree", "percent", "ppm",
}  # fmt: skip


def is_unit(text: str) -> bool:
    """Whether all symbols of a unit are known."""
    return text == "%" or powers(text).keys() <= SYMBOLS


PREFIXES = {"n": -9, "u": -6, "m": -3, "c": -2, "d": -1, "h": 2, "k": 3, "M": 6, "G": 9}
BASES: dict[str, tuple[float, dict[str, int]]] = {
    "m": (1.0, {"m": 1}),
    "g": (1e-3, {"kg": 1}),
    "s": (1.0, {"s": 1}),
    "min": (60.0, {"s": 1}),
    "h": (3600.0, {"s": 1}),
    "d": (86400.0, {"s": 1}),
    "ha": (1e4, {"m": 2}),
    "L": (1e-3, {"m": 3}),
    "l": (1e-3, {"m": 3}),
    "J": (1.0, {"kg": 1, "m": 2, "s": -2}),
    "W": (1.0, {"kg": 1, "m": 2, "s": -3}),
    "N": (1.0, {"kg": 1, "m": 1, "s": -2}),
    "Pa": (1.0, {"kg": 1, "m": -1, "s": -2}),
    "bar": (1e5, {"kg": 1, "m": -1, "s": -2}),
    "percent": (0.01, {}),
    "%": (0.01, {}),
    "ppm": (1e-6, {}),
}
"""Factor and powers in kg, m, s and whatever else of a symbol; symbols that are not here stand for themselves."""
TEMPERATURES = {"K": (1.0, 0.0), "degC": (1.0, 273.15), "degF": (5 / 9, 273.15 - 160 / 9)}


def conversion(unit: str, wanted: str) -> tuple[float, float] | None:
    """Return factor and offset from a unit to another of the same kind, None where there is no such.

    A mass of water per area counts as its depth, 1 kg m-2 as 1 mm.
    """
    if same_unit(unit, wanted):
        return 1.0, 0.0
    one, other = powers(unit), powers(wanted)
    kelvin = [TEMPERATURES.get(next(iter(p))) if len(p) == 1 else None for p in (one, other)]
    if kelvin[0] is not None and kelvin[1] is not None:
        (a, b), (c, d) = kelvin[0], kelvin[1]
        return a / c, (b - d) / c
    factors = [_in_bases(p) for p in (one, other)]
    if factors[0][1] != factors[1][1]:
        return None
    return factors[0][0] / factors[1][0], 0.0


def _in_bases(unit: dict[str, int]) -> tuple[float, dict[str, int]]:
    factor, found = 1.0, dict[str, int]()
    for symbol, power in unit.items():
        known, scale = symbol, 1.0
        if symbol not in BASES and symbol[0] in PREFIXES and symbol[1:] in BASES:
            known, scale = symbol[1:], 10.0 ** PREFIXES[symbol[0]]
        size, parts = BASES.get(known, (1.0, {known: 1}))
        factor *= (scale * size) ** power
        for base, times in parts.items():
            found[base] = found.get(base, 0) + times * power
    if found.get("kg") == 1 and found.get("m") == -2 and set(found) <= {"kg", "m", "s"}:
        if found.get("s", 0) in (0, -1):  # not a pressure, a force or an energy
            factor, found = factor * 1e-3, {"m": 1, "s": found.get("s", 0)}
    return factor, {k: v for k, v in found.items() if v}


@dataclass(frozen=True)
class Units:
    """Units of length and time that a user chooses, in place of the centimetres and hours in which a column is computed.

    Parameters
    ----------
    length : {"mm", "cm", "dm", "m"}
    time : {"s", "min", "h", "d"}

    Raises
    ------
    UnknownName
        Another unit.
    """

    length: str = "cm"
    time: str = "h"

    def __post_init__(self) -> None:
        for name, known, what in (("length", LENGTHS, "length"), ("time", SECONDS, "time")):
            symbol = SPELLINGS.get(getattr(self, name), getattr(self, name))
            lookup(known, symbol, f"unit of {what}")
            object.__setattr__(self, name, symbol)

    @property
    def computed(self) -> bool:
        """Whether these are the units in which columns are computed."""
        return (self.length, self.time) == ("cm", "h")

    def name(self, unit: str) -> str:
        """Name of a unit in which these stand for cm and h: "m d-1" for "cm h-1"."""
        if self.computed:
            return unit
        own = {"cm": self.length, "h": self.time}
        parts = [f"{own.get(k, k)}{v if v != 1 else ''}" for k, v in powers(unit).items()]
        return " ".join(parts) or "1"

    def factor(self, unit: str) -> float:
        """What a value in these units is multiplied by to be in a unit of cm and h, such as 100 / 24 for "cm h-1"."""
        p = powers(unit)
        exact = LENGTHS[self.length] ** p.get("cm", 0) * (SECONDS[self.time] / 3600) ** p.get(
            "h", 0
        )
        return float(exact)
