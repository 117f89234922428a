"""The one table of units.

How they are spelled, what converts into what, and the units that a user chooses for a column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from pydiffgeo.errors import UnitError, lookup
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
    **dict.fromkeys(("year", "years", "a"), "yr"),
    **dict.fromkeys(("millimeter", "millimeters", "millimetre", "millimetres"), "mm"),
    **dict.fromkeys(("centimeter", "centimeters", "centimetre", "centimetres"), "cm"),
    **dict.fromkeys(("meter", "meters", "metre", "metres"), "m"),
    **dict.fromkeys(("kilometer", "kilometers", "kilometre", "kilometres"), "km"),
    **dict.fromkeys(("inch", "inches"), "in"),
    **dict.fromkeys(("foot", "feet"), "ft"),
    **dict.fromkeys(("Celsius", "celsius", "deg_C", "degree_Celsius", "degrees_Celsius"), "degC"),
    **dict.fromkeys(("Fahrenheit", "deg_F", "degree_Fahrenheit", "degrees_Fahrenheit"), "degF"),
    **dict.fromkeys(("kelvin", "Kelvin"), "K"),
    **dict.fromkeys(("degree", "degrees", "degree_north", "degree_east"), "deg"),
    **dict.fromkeys(("degrees_north", "degrees_east"), "deg"),
    **dict.fromkeys(("pascal", "Pascal"), "Pa"),
    **dict.fromkeys(("watt", "w"), "W"),
    **dict.fromkeys(("joule", "j"), "J"),
    **dict.fromkeys(("litre", "liter", "litres", "liters", "l"), "L"),
}
"""Other spellings of a symbol."""
WRITTEN = {"%": "percent", "\N{DEGREE SIGN}": "deg", "\N{MICRO SIGN}": "u", "**": "^"}
"""Signs in units that are not letters, and what stands for them."""
NAMED = {"cfs": "ft3 s-1", "cms": "m3 s-1", "dimensionless": "1", "unitless": "1", "-": "1"}
"""Units with a name of their own."""
PART = re.compile(r"(/)|([A-Za-z_]+)\^?([+-]?\d+)?|\b1\b|[ .*\xb7]+")

_Dims = tuple[tuple[str, int], ...]
_JOULE: _Dims = (("kg", 1), ("m", 2), ("s", -2))
_PASCAL: _Dims = (("kg", 1), ("m", -1), ("s", -2))
_WATT: _Dims = (("kg", 1), ("m", 2), ("s", -3))
# symbol that takes a prefix of the SI -> how much it is of which base units
SCALED: dict[str, tuple[Fraction, _Dims]] = {
    "m": (Fraction(1), (("m", 1),)),
    "g": (Fraction(1, 1000), (("kg", 1),)),
    "s": (Fraction(1), (("s", 1),)),
    "K": (Fraction(1), (("K", 1),)),
    "Pa": (Fraction(1), _PASCAL),
    "bar": (Fraction(10**5), _PASCAL),
    "J": (Fraction(1), _JOULE),
    "W": (Fraction(1), _WATT),
    "N": (Fraction(1), (("kg", 1), ("m", 1), ("s", -2))),
    **{name: (Fraction(1, 1000), (("m", 3),)) for name in ("L", "l")},
    **{name: (Fraction(1), ((name, 1),)) for name in ("mol", "eq", "V", "A", "S")},
    **{name: (Fraction(1), (("s", -1),)) for name in ("Hz", "Bq")},
}
PREFIXES = {
    "": Fraction(1),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "c": Fraction(1, 100),
    "d": Fraction(1, 10),
    "h": Fraction(100),
    "k": Fraction(1000),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
}
SYMBOLS: dict[str, tuple[Fraction, _Dims]] = {
    **{
        prefix + symbol: (factor * size, dims)
        for symbol, (size, dims) in SCALED.items()
        for prefix, factor in PREFIXES.items()
    },
    **{name: (seconds, (("s", 1),)) for name, seconds in SECONDS.items()},
    "yr": (Fraction(31557600), (("s", 1),)),
    "in": (Fraction(254, 10**4), (("m", 1),)),
    "ft": (Fraction(3048, 10**4), (("m", 1),)),
    "ha": (Fraction(10**4), (("m", 2),)),
    "degC": (Fraction(1), (("K", 1),)),
    "degF": (Fraction(5, 9), (("K", 1),)),
    "rad": (Fraction(1), (("rad", 1),)),
    "sr": (Fraction(1), (("sr", 1),)),
    "deg": (Fraction(1), (("deg", 1),)),
    "percent": (Fraction(1, 100), ()),
    "ppm": (Fraction(1, 10**6), ()),
    "ppb": (Fraction(1, 10**9), ()),
}
"""Symbols of units: how much of which base units they are."""
ZEROS = {"degC": Fraction(27315, 100), "degF": Fraction(45967, 100) * Fraction(5, 9)}
ZERO_CELSIUS = float(ZEROS["degC"])  # K
"""Temperature of the zero of a scale, K."""
WATER = Fraction(1000)
"""kg m-3: a mass of water per area is a depth."""


@cache
def powers(unit: str) -> dict[str, int]:
    """Powers of the symbols in a unit.

    {"cm": 1, "h": -1} for "cm h-1", "cm/h" or "cm hour^-1"; none for "1" or "m3 m-3".

    A remark in brackets behind a unit does not count.
    """
    text = re.sub(r"(?<=\S)\s+[(\[].*[)\]]$", "", unit.strip())
    text = NAMED.get(text, text)
    for mark, word in WRITTEN.items():
        text = text.replace(mark, word)
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


def is_unit(text: str) -> bool:
    """Whether all symbols of a unit are known."""
    return powers(text).keys() <= SYMBOLS.keys()


@cache
def conversion(given: str, wanted: str) -> tuple[float, float] | None:
    """Return factor and offset that turn values of one unit into another.

    None where they do not convert.

    Temperatures convert with the zero of their scales, where they stand alone; a mass of water per
    area (kg m-2) is a depth.

    Examples
    --------
    >>> conversion("m s-1", "mm/day"), conversion("K", "degC"), conversion("mm", "mm d-1")
    ((86400000.0, 0.0), (1.0, -273.15), None)
    """
    if same_unit(given, wanted):
        return 1.0, 0.0
    if not is_unit(given) or not is_unit(wanted):
        return None
    (size, dims), (other, others) = _size(given), _size(wanted)
    # kg m-2 of water are mm, kg m-2 s-1 are mm s-1
    if _is_mass_per_area(dims) and "kg" not in others:
        size, dims = size / WATER, _added(dims, {"kg": -1, "m": 3})
    elif _is_mass_per_area(others) and "kg" not in dims:
        other, others = other / WATER, _added(others, {"kg": -1, "m": 3})
    if dims != others:
        return None
    zeros = [
        ZEROS.get(next(iter(powers(u)), ""), Fraction(0))
        if powers(u) in ({"degC": 1}, {"degF": 1})
        else Fraction(0)
        for u in (given, wanted)
    ]
    return float(size / other), float((zeros[0] - zeros[1]) / other)


def conversions(
    given: Mapping[str, tuple[str | None, str]], where: str, remedy: str = ""
) -> dict[str, tuple[float, float]]:
    """Return factor and offset for each of several variables.

    Parameters
    ----------
    given : mapping of str to (str or None, str)
        By variable: its unit, None where it has none; and the unit that it is wanted in.
    where : str
        Where the variables stand, for the message.
    remedy : str
        What else can be done about it.

    Raises
    ------
    UnitError
        Units that do not convert, or are not stated: all of these variables are named.
    """
    found, bad = {}, []
    for name, (unit, wanted) in given.items():
        change = None if unit is None else conversion(unit, wanted)
        if change is None:
            has = "no unit" if unit is None else f"unit {unit!r}"
            bad.append(f"{name!r} has {has}, expected {wanted!r} or one that converts to it")
        else:
            found[name] = change
    if bad:
        raise UnitError(
            f"{where}: {'; '.join(bad)}. Convert the values, or correct attrs['units']{remedy}."
        )
    return found


def _size(unit: str) -> tuple[Fraction, dict[str, int]]:
    """Return how much a unit is of its base units, and their powers."""
    size, dims = Fraction(1), dict[str, int]()
    for symbol, power in powers(unit).items():
        factor, base = SYMBOLS[symbol]
        size *= factor**power
        dims = _added(dims, {k: v * power for k, v in base})
    return size, dims


def _is_mass_per_area(dims: Mapping[str, int]) -> bool:
    return dims in ({"kg": 1, "m": -2}, {"kg": 1, "m": -2, "s": -1})


def _added(dims: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    total = {k: dims.get(k, 0) + more.get(k, 0) for k in {**dims, **more}}
    return {k: v for k, v in sorted(total.items()) if v}


@dataclass(frozen=True)
class Units:
    """Units of length and time of a user, in place of the cm and h of computation.

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
        """Return the factor to a unit of cm and h, such as 100 / 24 for "cm h-1"."""
        p = powers(unit)
        exact = LENGTHS[self.length] ** p.get("cm", 0) * (SECONDS[self.time] / 3600) ** p.get(
            "h", 0
        )
        return float(exact)
