"""Sites that cannot be used: refused, or left out with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydiffgeo.data.problems import Problem
from pydiffgeo.errors import DataError

OBSERVATION = {"no variance", "no observation"}  # that an observed series lacks
SHOWN = 10  # sites named in a message or on the screen; files have all


def left_out_lines(left_out: Mapping[str, Mapping[str, str]], shown: int = SHOWN) -> list[str]:
    """Return how many sites are left out of what, and a reason for each of the first."""
    lines: list[str] = []
    for scope, reasons in left_out.items():
        if reasons:
            count = f"{len(reasons)} site{'s are' if len(reasons) > 1 else ' is'} left out"
            lines.append(f"{count}:" if scope == "all" else f"{count} of the {scope} period:")
            lines += [f"  {site}: {why}" for site, why in list(reasons.items())[:shown]]
            lines += [f"  and {len(reasons) - shown} more"] if len(reasons) > shown else []
    return lines


def left_or_refused(
    found: Mapping[str, Sequence[Problem]],
    count: int,
    missing: Literal["error", "skip"],
    river: bool = False,
) -> dict[str, str]:
    """Return why sites are left out, for their problems.

    Parameters
    ----------
    found : mapping of str to sequence of Problem
        Problems of the sites that have some.
    count : int
        All sites.
    missing : {"error", "skip"}
        As in `select_sites`.
    river : bool
        Whether water flows through the sites, so that none can be left out.

    Raises
    ------
    DataError
        An impossible value, or any problem where it is an error; or no site is left.
    """
    wrong = [
        p
        for those in found.values()
        for p in those
        if river or missing == "error" or p.kind == "impossible value"
    ]
    if wrong:
        raise DataError(_refusal(wrong, count, river))
    reasons = {site: reason(those) for site, those in found.items()}
    if len(reasons) == count:
        raise DataError("\n".join(["no site can be used.", *left_out_lines({"all": reasons})]))
    return reasons


def reason(problems: Sequence[Problem]) -> str:
    """Return the first problem in words, and how many more there are."""
    text = problems[0].message.rsplit(";", 1)[0].rstrip(".")
    return text + (f", and {len(problems) - 1} more" if len(problems) > 1 else "")


def _refusal(wrong: Sequence[Problem], count: int, river: bool) -> str:
    by_site: dict[str, list[Problem]] = {}
    for problem in wrong:
        by_site.setdefault(problem.site, []).append(problem)
    reasons = {site: reason(those) for site, those in by_site.items()}
    lines = [f"  {site}: {why}" for site, why in list(reasons.items())[:SHOWN]]
    more = [f"  and {len(reasons) - SHOWN} more sites"] if len(reasons) > SHOWN else []
    kinds = {p.kind for p in wrong}
    title = f"{len(reasons)} of {count} sites cannot be used as they are:"
    ways = ["correct the records, leave these sites out by name (`exclude`)"]
    if river:
        title = f"{title[:-1]}, and water flows through each to those below:"
        ways = ["correct the records and fill what is missing"]
    if "impossible value" in kinds:
        ways.append("let impossible values count as missing (`impossible: missing`)")
    if river and kinds & OBSERVATION:
        ways.append("let series with too few observations count as none (`missing: skip`)")
    elif not river and kinds - {"impossible value"}:
        ways.append("let sites that lack something be left out (`missing: skip`)")
    return "\n".join([title, *lines, *more, f"Remedy: {', or '.join(ways)}."])
