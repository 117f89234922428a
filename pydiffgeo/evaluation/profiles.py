"""Scores of simulated profiles: by depth and over all depths, each station and depth counting the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pydiffgeo.errors import DataError
from pydiffgeo.evaluation.metrics import score

SCORES = {"rmse": "min", "ubrmse": "min", "bias": None, "correlation": "max", "kge": "max"}


def series_scores(simulated: NDArray, observed: NDArray, days: NDArray) -> dict[str, NDArray]:
    """Return each score of each series, `[station, depth]`, NaN where nothing can be compared.

    Parameters
    ----------
    simulated, observed : ndarray, [station, day, depth]
        NaN where missing.
    days : ndarray of bool, [day]
        Days that are judged.
    """
    out = {name: np.full((observed.shape[0], observed.shape[2]), np.nan) for name in SCORES}
    for i in range(observed.shape[0]):
        for j in range(observed.shape[2]):
            try:
                scores = score(simulated[i, days, j], observed[i, days, j], SCORES)
            except DataError:  # a failed column: the caller reports it
                continue
            for name, value in scores.items():
                out[name][i, j] = value
    return out


def profile_table(
    models: Mapping[str, NDArray], observed: NDArray, days: NDArray, depths: Sequence[float]
) -> list[dict[str, str | float]]:
    """Return one row per model and depth, and one per model over all depths (depth "all").

    RMSE and unbiased RMSE are the root of the mean square over the series (stations and depths); bias and
    correlation their mean; KGE their median, since it has no lower end. A measure that is undefined for every
    series (the correlation of a constant) is NaN. `stations` counts the stations that were scored.

    Parameters
    ----------
    models : mapping of str to ndarray, [station, day, depth]
        Simulated soil moisture by name.
    observed : ndarray, [station, day, depth]
        NaN where missing.
    days : ndarray of bool, [day]
        Days that are judged.
    depths : sequence of float
        cm.
    """
    rows: list[dict[str, str | float]] = []
    for model, simulated in models.items():
        scores = series_scores(simulated, observed, days)
        groups = {f"{depth:g} cm": [j] for j, depth in enumerate(depths)} | {
            "all": list(range(len(depths)))
        }
        for depth, members in groups.items():
            part = {name: values[:, members] for name, values in scores.items()}
            counted = np.isfinite(part["rmse"]).all(1)
            rows.append(
                {
                    "model": model,
                    "depth": depth,
                    **{name: _gather(name, values) for name, values in part.items()},
                    "stations": int(counted.sum()),
                }
            )
    return rows


def _gather(name: str, values: NDArray) -> float:
    known = values[np.isfinite(values)]
    if not known.size:
        return float("nan")
    if name in ("rmse", "ubrmse"):
        return float(np.sqrt(np.mean(known**2)))
    return float(np.median(known) if name == "kge" else np.mean(known))
