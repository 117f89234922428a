"""Names of the variables and columns of reaches in the files of many, and their units."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import xarray as xr

from pydiffgeo.data.layouts.netcdf import LABELS
from pydiffgeo.data.layouts.source import Request
from pydiffgeo.units import conversion

# names in lower case: of identifiers, and of the reach below
IDS = ("comid", "link", "featureid", "feature_id", "hyriv_id", "rivid", "linkno", "reach_id",
       "seg_id", "segment_id", *LABELS, "id")  # fmt: skip
BELOW = ("down_index", "down_id", "downstream", "downstream_reach", "downstream_id",
         "downstream_gauge_id", "nextdownid", "next_down", "next_down_id", "dslinkno", "tocomid",
         "tosegment", "toid", "ds_id", "to")  # fmt: skip
# identifiers of no reach
NONE = ("", "0", "-1", "-99", "-999", "-9999")
# numbers that are identifiers of something else, which nobody can learn from
OTHER_IDS = re.compile(
    r"up\d+|main_riv|next_sink|hybas_.*|from|ascendingindex|fid|objectid|geom|geometry|shape"
)
# attributes that are text: identifiers of gauges and lakes
TEXT = {"gauge": "gauge", "gages": "gauge", "gage": "gauge", "waterbody": "waterbody",
        "nhdwaterbodycomid": "waterbody"}  # fmt: skip
# name of the site form by name in lower case
STANDARD = {
    **dict.fromkeys(("length", "dx", "len", "reach_length", "lengthm"), "length"),
    **dict.fromkeys(("slope", "so", "s0", "seg_slope"), "slope"),
    **dict.fromkeys(("width", "seg_width", "bankfull_width"), "width"),
    **dict.fromkeys(("n", "mann_n", "manning_n", "mannings_n", "roughness"), "n"),
    **dict.fromkeys(("depth", "seg_depth", "bankfull_depth"), "bankfull_depth"),
    **dict.fromkeys(("bw", "btmwdth", "bottom_width"), "bottom_width"),
    **dict.fromkeys(("tw", "topwdth", "top_width"), "top_width"),
    **dict.fromkeys(("twcc", "topwdthcc", "top_width_cc"), "top_width_cc"),
    **dict.fromkeys(("ncc", "n_cc"), "n_cc"),
    **dict.fromkeys(("cs", "chslp", "side_slope"), "side_slope"),
    **dict.fromkeys(("muskingum_k", "musk"), "muskingum_k"),
    **dict.fromkeys(("muskingum_x", "musx"), "muskingum_x"),
    **dict.fromkeys(("area", "catch", "unitarea"), "area"),
    **dict.fromkeys(("uparea", "upland", "totdasqkm"), "uparea"),
    **dict.fromkeys(("lat", "seg_lat", "reach_lat", "lat_degn", "latitude"), "lat"),
    **dict.fromkeys(("lon", "seg_lon", "reach_lon", "lon_dege", "longitude"), "lon"),
}
UNITS = {
    **dict.fromkeys(("length", "width", "bankfull_depth"), "m"),
    **dict.fromkeys(("bottom_width", "top_width", "top_width_cc"), "m"),
    **dict.fromkeys(("slope", "side_slope", "muskingum_x"), "1"),
    **dict.fromkeys(("area", "uparea"), "km2"),
    "muskingum_k": "s",
}
SQUARE = re.compile(r"(.+?)_?(?:skm|km2|sqkm)", re.IGNORECASE)
LONG = re.compile(r"(.+?)_?km", re.IGNORECASE)


@dataclass
class Reaches:
    """Reaches as they stand in a file.

    Attributes
    ----------
    ids, below : list of str
        Identifiers of the reaches, and of those below them.
    attributes : xarray.Dataset
        Numbers and text per reach, [site].
    file : xarray.Dataset
        The file, whose dimension of reaches is called site; nothing where it is a table.
    """

    ids: list[str]
    below: list[str]
    attributes: xr.Dataset
    file: xr.Dataset


def known_columns(names: Sequence[str], netcdf: bool = False) -> tuple[str | None, str | None]:
    """Return the column of identifiers and that of the reach below, None where none is known.

    In netCDF "to" and "id" may be anything.
    """
    lower = {name.lower(): name for name in reversed(names)}
    ids = (n for n in IDS if n in lower and not (netcdf and n == "id"))
    below = (n for n in BELOW if n in lower)
    found, down = next(ids, None), next(below, None)
    return lower.get(found or ""), lower.get(down or "")


def attribute_of(native: str, unit: str | None, request: Request) -> tuple[str, str | None, float]:
    """Return name, unit and factor of an attribute: those in km become m, km2 stay.

    Parameters
    ----------
    native : str
        Name in the file; an ending such as _km or _skm tells a unit.
    unit : str or None
        That the file states.
    request : Request
        Names and units that the caller tells.
    """
    bare, stated = native, unit
    if found := SQUARE.fullmatch(native):
        bare, stated = found[1], unit or "km2"
    elif found := LONG.fullmatch(native):
        bare, stated = found[1], unit or "km"
    request.seen.add(native)
    name = request.names.get(native, STANDARD.get(bare.lower(), bare))
    stated = request.units.get(native, request.units.get(name, stated))
    wanted = UNITS.get(name, "m" if stated == "km" else stated)
    change = None if stated is None or wanted is None else conversion(stated, wanted)
    if change is None:  # none stated, or a unit that nobody knows
        return name, stated or wanted, 1.0
    return name, wanted, change[0]
