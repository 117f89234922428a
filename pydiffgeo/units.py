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
