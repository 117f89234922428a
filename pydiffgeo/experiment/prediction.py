"""Trained runs that simulate new sites, other years and scenarios, of any number."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pydiffgeo.console import progress_bar
from pydiffgeo.data import network, satellite_cells
from pydiffgeo.data.form import DAY, positions, step_of, times_of
from pydiffgeo.data.groups import groups_of
from pydiffgeo.errors import DataError, OutputError, SettingsError, listed
from pydiffgeo.evaluation import Evaluation, conformal, evaluate
from pydiffgeo.evaluation.simulate import NoCompleteSite
from pydiffgeo.experiment.judge import calibration_of
from pydiffgeo.experiment.new_records import completed, new_records, opened
from pydiffgeo.experiment.trained import TrainedRun, load_run
from pydiffgeo.files import held, remove_parts, require_room, write_file, write_netcdf
from pydiffgeo.training.distributed import Group, process_group

log = logging.getLogger("pydiffgeo")

INDEX = "prediction.json"
LEFT_OUT = "left_out"  # attribute of a part: sites that are not in its file, and why, as JSON


def predict(
    folder: Path,
    data: Path,
    output: Path,
    start: str | None = None,
    end: str | None = None,
    sites: Sequence[str] | None = None,
    layout: str | None = None,
    overwrite: bool = False,
    layout_options: Mapping[str, Any] | None = None,
    series: Sequence[str] | None = None,
) -> Evaluation:
    """Simulate new records with a trained run; write series, states and parameters as netCDF.

    Parameters
    ----------
    folder : Path
        Of the run.
    data : Path
        Records of other sites or years, or a scenario of forcing; with or without observations.
    output : Path
        NetCDF file.
    start, end : str, optional
        First and last day; by default all after the warm-up.
    sites : sequence of str, optional
        All by default.
    layout, overwrite
        Of the files, that of the run by default; replace the file, where there is one.
    layout_options : mapping of str to object, optional
        Options of the layout that differ from those of the run.
    series : sequence of str, optional
        What is written beside the observed series and parameters: all that the hybrid gives by
        default.

    Raises
    ------
    DataError, OutputError
        The records lack what the run reads; the file is there already, or cannot be written.
    """
    if output.exists() and not overwrite:
        remedy = "Name another file, or replace it by --overwrite."
        raise OutputError(f"{output} exists already. {remedy}")
    run = _loaded(folder)
    records = new_records(run, data, sites, layout, layout_options)
    found = _simulated(run, records, start, end, series, calibration_of(run))
    _tell_failed(found)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_netcdf(found.data, output)
    return found


def predict_parts(
    folder: Path,
    data: Path,
    output: Path,
    shard: int = 1000,
    steps: int | None = None,
    start: str | None = None,
    end: str | None = None,
    sites: Sequence[str] | None = None,
    layout: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    layout_options: Mapping[str, Any] | None = None,
    series: Sequence[str] | None = None,
    progress: bool = True,
) -> list[Path]:
    """Simulate any number of sites with a trained run, part by part, a netCDF file each.

    Memory holds one part. A part is written whole or not at all; those that are there are not
    simulated again. The processes of torchrun share the parts. `open_prediction` reads them.

    Parameters
    ----------
    folder, data, start, end, sites, layout, overwrite, layout_options, series
        As for `predict`.
    output : Path
        Folder of the parts; ``prediction.json`` in it lists them.
    shard : int
        Sites of a part; of rivers and cells whole ones, and as many as the largest has.
    steps : int, optional
        Steps of a part, for a river too large for all of its days. Each part begins with the
        warm-up of the run's settings anew: what a model remembers longer is lost. All by default.
    resume : bool
        Go on with what is in the folder.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    DataError
        The records lack what the run reads.
    OutputError
        The folder holds a prediction, of other weights, records or arguments where it is to go on,
        or cannot be written.
    """
    for name, given in (("shard", shard), ("steps", steps)):
        if given is not None and given < 1:
            raise SettingsError(f"{name} {given} must be at least 1; give another number.")
    run = _loaded(folder)
    records, settings = opened(run, data, sites, layout, layout_options)
    if settings.points and steps:
        raise SettingsError("records of points have no steps of time; leave steps out.")
    names = [str(name) for name in records.site.values]
    parts = list(_parts(run, records, settings.points, shard, steps, start, end))
    warm_up = run.settings.evaluation.warm_up
    if steps and warm_up is None:
        log.warning(
            "each part in time is simulated from the first day of the records on, since the run "
            "has no evaluation.warm_up: nothing is lost, but late parts take long."
        )
    elif steps:
        log.warning(
            "each part in time begins anew with %d steps of warm-up (evaluation.warm_up of the "
            "run): what the model remembers longer than that is lost.",
            warm_up,
        )
    plan = {
        "weights": run.weights,
        "data": str(data),
        "layout": json.loads(json.dumps([settings.layout, settings.options], default=str)),
        "records": _digest(settings.path, output, records),
        "series": sorted(series) if series else None,
        "parts": [[len(rows), names[rows[0]], *days] for rows, *days in parts],
    }
    with process_group() as group:
        if group.first:
            require_room(output)
        with held(output) if group.first else nullcontext():
            if group.first:
                _begin(output, plan, resume, overwrite)
            group.collect(None)  # the others wait for the folder
            return _simulate_parts(run, records, settings, parts, output, series, progress, group)


def open_prediction(
    folder: str | Path, sites: Sequence[str] | None = None, series: Sequence[str] | None = None
) -> xr.Dataset:
    """Return what `predict_parts` has written of some sites, in the order of the records.

    Parameters
    ----------
    folder : str or Path
        Folder of the parts.
    sites, series : sequence of str, optional
        All by default, which memory has to hold.

    Raises
    ------
    DataError
        No prediction, parts that are not there yet, or an unknown site or series.
    """
    folder = Path(folder)
    try:
        plan = json.loads((folder / INDEX).read_text(encoding="utf-8"))["parts"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder} holds no prediction ({INDEX} is not there).") from error
    found: dict[str, list[xr.Dataset]] = {}
    left_out: dict[str, str] = {}
    lacking = [k for k in range(len(plan)) if not _file(folder, k).is_file()]
    if lacking:
        raise DataError(
            f"{len(lacking)} of {len(plan)} parts of {folder} are not simulated yet; go on with "
            "`pydiffgeo predict ... --resume`."
        )
    for k, (_, _, *days) in enumerate(plan):
        with xr.open_dataset(_file(folder, k)) as part:
            left_out |= json.loads(part.attrs.get(LEFT_OUT, "{}"))
            if "site" not in part.dims:  # all of its sites were left out
                continue
            own = part.site.values.astype(str)
            wanted = own if sites is None else list(sites)
            rows = np.flatnonzero(np.isin(own, wanted))
            for name in series or ():
                if name not in part:
                    raise DataError(
                        f"no series {name!r} in {folder}, which has {listed(part.data_vars)}."
                    )
            chosen = part if series is None else part[list(series)]
            if len(rows):
                found.setdefault(str(days), []).append(chosen.isel(site=rows).load())
    known = {site for some in found.values() for part in some for site in part.site.values}
    missing = [site for site in sites or () if site not in known]
    if told := [f"site {site}: {left_out[site]}" for site in missing if site in left_out]:
        raise DataError(f"{folder} was predicted without {listed(told, 3)}.")
    if missing or not found:
        raise DataError(f"the sites {listed(missing, 5)} are not in {folder}.")
    left_out = left_out if sites is None else {}
    blocks = [xr.concat(some, "site") for some in found.values()]
    whole = blocks[0] if len(blocks) == 1 else xr.concat(blocks, "time", data_vars="minimal")
    whole.attrs[LEFT_OUT] = json.dumps(left_out)
    return whole


def _digest(path: Path, output: Path, records: xr.Dataset) -> str:
    """Return a digest of the names of all sites, of the sizes and times of all files, and of what
    three sites have.

    Files that were written anew show by it, without a look at all of a continent.
    """
    digest = hashlib.sha256("\n".join(map(str, records.site.values)).encode())
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file() and output not in file.parents:
            told = file.stat()
            digest.update(f"{file.name} {told.st_size} {told.st_mtime_ns}\n".encode())
    rows = np.unique(np.linspace(0, records.sizes["site"] - 1, 3).round().astype(int))
    some = records.isel(site=rows)
    for name in sorted(map(str, some.variables)):
        values = np.asarray(some[name].values)
        digest.update(name.encode())
        digest.update(str(values.tolist()).encode() if values.dtype == "O" else values.tobytes())
    return digest.hexdigest()[:16]


def _loaded(folder: Path) -> TrainedRun:
    run = load_run(folder)
    for note in run.notes:
        log.warning(note)
    return run


def _simulated(
    run: TrainedRun, records: xr.Dataset, start: Any, end: Any, series: Sequence[str] | None,
    calibration: Evaluation | None, scored: bool = True,
) -> Evaluation:  # fmt: skip
    observed = [name for name in run.settings.data.observed if name in records]
    e, gives = run.settings.evaluation, run.hybrid.gives
    found = evaluate(
        run.model, records, start, end, warm_up=e.warm_up, batch=e.batch, observed=observed,
        also=[name for name in (series or gives) if name not in observed],
        missing=run.settings.data.missing, quantiles=e.quantiles,
        measures={} if scored else dict.fromkeys(observed, ()),
    )  # fmt: skip
    names = [name for name in observed if name in found.data]
    return found if calibration is None or not names else conformal(calibration, found, e.quantiles)


def _tell_failed(found: Evaluation) -> None:
    for site, why in json.loads(found.data.attrs["failed"]).items():
        log.warning("site %s is left out: the solve failed: %s", site, why)


def _parts(
    run: TrainedRun, records: xr.Dataset, points: bool, shard: int, steps: int | None,
    start: str | None, end: str | None,
) -> Iterator[tuple[NDArray, str | None, str | None]]:  # fmt: skip
    """Yield positions of the sites of each part, and its first and last day."""
    closed = run.hybrid.closed
    below = network.below(records) if closed == "upstream" else None
    cell = satellite_cells.cells(records) if closed == "cell" else None
    groups = groups_of(closed, below, cell).parts(np.arange(records.sizes["site"]), shard)
    days: list[tuple[str | None, str | None]] = [(start, end)]
    if steps:
        times = times_of(records)
        first, last = positions(times, start, end)
        first += (run.settings.evaluation.warm_up or 0) if start is None else 0
        begins = range(first, last, steps)
        form = "%Y-%m-%d" if step_of(times) >= DAY else "%Y-%m-%d %H:%M:%S"
        texts = pd.DatetimeIndex(times).strftime(form)
        days = [(texts[a], texts[min(a + steps, last) - 1]) for a in begins]
    yield from ((rows, a, b) for rows in groups for a, b in days)


def _begin(output: Path, plan: Mapping[str, Any], resume: bool, overwrite: bool) -> None:
    """Check that a prediction may begin in a folder, or go on there, and write its index."""
    if resume and overwrite:
        raise SettingsError(
            "--resume goes on with what is in the folder, --overwrite removes it. Give one of them."
        )
    index = output / INDEX
    remove_parts(output)
    if index.is_file():
        if not (resume or overwrite):
            raise OutputError(
                f"{output} holds a prediction already. Go on with it by --resume, remove it by "
                "--overwrite, or name another folder with --output."
            )
        before = json.loads(index.read_text(encoding="utf-8"))
        differs = [key for key in plan if plan[key] != before.get(key)]
        if resume and differs:
            raise OutputError(
                f"cannot resume: {listed(differs)} differ from those of the prediction in "
                f"{output}. Give the same run, records and options, or begin anew by --overwrite."
            )
    if overwrite:
        for old in output.glob("part_*.nc"):
            old.unlink()
    elif not index.is_file() and any(output.glob("part_*.nc")):
        raise OutputError(
            f"{output} has parts of a prediction, but no {INDEX}; remove them by --overwrite."
        )
    write_file(index, json.dumps(plan, indent=1) + "\n")


def _simulate_parts(
    run: TrainedRun, records: xr.Dataset, settings: Any, parts: Sequence[Any], output: Path,
    series: Sequence[str] | None, progress: bool, group: Group,
) -> list[Path]:  # fmt: skip
    mine = list(enumerate(parts))[group.rank :: group.size]
    done = [k for k, _ in mine if _file(output, k).is_file()]
    calibration = calibration_of(run)
    bar = progress_bar(progress and group.first, total=len(mine), initial=len(done), unit="part")
    for k, (rows, start, end) in mine:
        if k in done:
            continue
        some = records.isel(site=rows)
        part = _simulated_part(run, some, settings, start, end, series, calibration, k)
        packed = {
            str(name): {"dtype": "float32", "zlib": True, "complevel": 1}
            for name, values in part.data_vars.items()
            if values.dtype.kind == "f"
        }
        write_netcdf(part, _file(output, k), encoding=packed)
        del part  # before the next one is simulated
        bar.update()
    bar.close()
    group.collect(None)
    return [_file(output, k) for k in range(len(parts))]


def _simulated_part(
    run: TrainedRun, records: xr.Dataset, settings: Any, start: str | None, end: str | None,
    series: Sequence[str] | None, calibration: Evaluation | None, number: int,
) -> xr.Dataset:  # fmt: skip
    """Return the simulation of a part; nothing but why, where none of its sites has forcing."""
    try:
        some = completed(run, records, settings)
        found = _simulated(run, some, start, end, series, calibration, scored=False)
    except NoCompleteSite as error:
        log.warning("part %d: %s", number, error)
        gone = dict.fromkeys(records.site.values.astype(str).tolist(), str(error))
        return xr.Dataset(attrs={LEFT_OUT: json.dumps(gone)})
    _tell_failed(found)
    return found.data


def _file(folder: Path, part: int) -> Path:
    return folder / f"part_{part:05d}.nc"
