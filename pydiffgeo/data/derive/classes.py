"""Classes as numbers: an attribute of text, such as the plant functional type, for networks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from pydiffgeo.errors import DataError, listed, nearest


def class_name(of: str, value: str) -> str:
    """Return the attribute that tells one class: ``pft_c3_grass`` of the class "C3 grass"."""
    return f"{of}_{re.sub('[^0-9a-z]+', '_', value.lower()).strip('_')}"


def add_classes(sites: xr.Dataset, of: str, values: Sequence[str] | None = None) -> xr.Dataset:
    """Return records with an attribute for each class: 1 at the sites of this class, else 0.

    A network that reads them, without hidden layers, is a table: a row of parameters for each
    class.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form.
    of : str
        Attribute of text, [site]: ``pft`` gives ``pft_c3_grass`` and so on.
    values : sequence of str, optional
        All classes; those of the records by default. Settings need them, and records that may lack
        a class.

    Raises
    ------
    DataError
        No such attribute, a site without a class, or one of another class; the site is named.
    """
    texts = [str(n) for n, v in sites.variables.items() if v.dims == ("site",)]
    if of not in texts or of == "site":
        raise DataError(f"classes: no attribute {of!r} in the records{nearest(of, texts)}")
    found = np.array([str(value).strip() for value in sites[of].values])
    ids, absent = sites.site.values, np.isin(found, ("", "nan", "None"))
    if absent.any():
        raise DataError(f"classes: {of!r} of site {ids[int(absent.argmax())]} is missing; add it.")
    known = list(dict.fromkeys(found) if values is None else map(str, values))
    other = ~np.isin(found, known)
    if other.any():
        row = int(other.argmax())
        value = str(found[row])
        raise DataError(
            f"classes: {of!r} of site {ids[row]} is {value!r}{nearest(value, known)} The "
            f"classes are {listed(known)}; correct it, or add it to them."
        )
    names = [class_name(of, value) for value in known]
    if len(set(names)) < len(names):
        raise DataError(f"classes: two of {listed(known)} of {of!r} have one name; rename one.")
    told = {"units": "1"}
    shares = [
        ("site", (found == value).astype(float), {**told, "long_name": f"whether {of} is {value}"})
        for value in known
    ]
    return sites.assign(dict(zip(names, shares, strict=True)))


def add_class_values(
    sites: xr.Dataset, of: str, table: Mapping[str, Mapping[str, float]]
) -> xr.Dataset:
    """Return records with numbers that are known of classes, such as defaults by functional type.

    Parameters
    ----------
    sites : xarray.Dataset
        Site form.
    of : str
        Attribute of text, [site].
    table : mapping of str to mapping of str to float
        Of each class its numbers by name: ``{"C3_herb": {"V_cmax25_of_pft": 78.2}}`` gives the
        attribute ``V_cmax25_of_pft``.

    Raises
    ------
    DataError
        No such attribute, a site of a class that is not in the table, or a class without a number.
    """
    add_classes(sites, of, list(table))  # refuses missing and unknown classes
    found = {}
    for name in class_numbers(table):
        lacking = [value for value, numbers in table.items() if name not in numbers]
        if lacking:
            raise DataError(f"class_values: {name!r} of the class {lacking[0]!r} is missing.")
        values = [float(table[str(value).strip()][name]) for value in sites[of].values]
        found[name] = ("site", np.array(values), {"long_name": f"{name}, by {of}"})
    return sites.assign(found)


def class_numbers(table: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the names of the numbers that a table of classes has."""
    return list(dict.fromkeys(str(name) for numbers in table.values() for name in numbers))
