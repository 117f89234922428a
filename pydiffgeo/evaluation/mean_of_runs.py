"""The mean of what several judged runs simulate: the hardest peer of fused forcing."""

from __future__ import annotations

from collections.abc import Sequence

from pydiffgeo.errors import DataError, listed
from pydiffgeo.evaluation.evaluate import Evaluation
from pydiffgeo.evaluation.simulate import OBSERVED


def mean_of_runs(runs: Sequence[Evaluation]) -> Evaluation:
    """Return the evaluation of the mean of what several runs simulate.

    Parameters
    ----------
    runs : sequence of Evaluation
        Of the same days and observations, such as two models with a forcing product each. Sites
        that one of them lacks are left out.

    Returns
    -------
    Evaluation
        Of the series that all of them compare. It has no parameters and no hybrid.

    Raises
    ------
    DataError
        Fewer than two runs, no site or series in common, or other days or observations.
    """
    if len(runs) < 2:
        raise DataError("a mean of runs needs two or more; name another.")
    first = runs[0]
    sites = [s for s in first.data.site.values if all(s in r.data.site.values for r in runs)]
    names = [name for name in first.observed if all(name in run.observed for run in runs)]
    if not sites or not names:
        raise DataError("the runs judge no site and no observed series in common; name others.")
    parts = [run.judged.sel(site=sites) for run in runs]
    for part in parts[1:]:
        for name in (first.axis, *(name + OBSERVED for name in names)):
            if not part[name].equals(parts[0][name]):
                raise DataError(
                    f"the runs judge other {'days' if name == first.axis else name}: judge them by "
                    "the same records, start and end."
                )
    data = parts[0][[n + end for n in names for end in ("", OBSERVED)]].copy()
    for name in names:
        total = sum(part[name] for part in parts[1:]) + parts[0][name]
        data[name] = (total / len(parts)).assign_attrs(parts[0][name].attrs)
    left_out = {site: why for run in runs for site, why in run.left_out.items()}
    for run in runs:
        gone = [str(site) for site in run.data.site.values if site not in sites]
        left_out |= dict.fromkeys(gone, "a run of the mean does not judge it")
    return Evaluation(data, first.measures, left_out, first.sites)


def mean_name(names: Sequence[str]) -> str:
    """Return the name of a mean of runs in tables and folders."""
    if len(set(names)) < len(names):
        raise DataError(f"the mean of {listed(names)} names a run twice; name each once.")
    return "mean_of_" + "_and_".join(names)
