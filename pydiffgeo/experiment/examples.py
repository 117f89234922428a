"""The examples that come with the package."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from pydiffgeo.data import find_data
from pydiffgeo.errors import DataError, OutputError, lookup
from pydiffgeo.experiment.schema import Experiment, load_experiment
from pydiffgeo.files import write_file

FOLDER = Path(str(resources.files("pydiffgeo").joinpath("examples")))
EXAMPLES: dict[str, str] = {
    "camels_dpl": "HBV with learned parameters on CAMELS-US, beside LSTMs",
    "learned_recharge": "a network inside the equations of HBV",
    "forcing_fusion": "rain of two products, fused by what discharge tells",
    "uncertainty": "how sure models of basins are: ensembles, error models, CMAL, conformal",
    "two_teachers": "soil moisture from a satellite and from probes at once",
    "soil_moisture": "Richards columns trained on profiles of soil moisture",
    "river_roughness": "Manning's n of the reaches of a river from the discharge at its outlet",
    "river_gauges": "gauges of a river that were never seen, from 68 others",
    "river_severn": "runoff and routing learned together on nested gauges",
    "leaf_curves": "capacities of leaves from traits and climate, at species never seen",
    "leaf_temperature": "temperature responses of leaves with their standard errors",
    "flux_tower": "a canopy at flux towers: latent heat and CO2 with learned capacities",
    "swiss_rivers": "water temperature of rivers: air2stream, and a network that shifts it",
    "brandywine": "heat of a river with learned shade and groundwater, beside an LSTM",
    "stream_oxygen": "photosynthesis and respiration of a stream from its dissolved oxygen",
    "hydro_node": "networks for all fluxes of a bucket model, basin by basin (a script)",
    "soil_functions": "networks for retention and conductivity of a soil (a script)",
    "river_twin": "how many gauges make n of a river identifiable (a script)",
    "leaf_water_stress": "V_cmax25 of plants and B of soils, learned and by default",
    "photosynthesis_twin": "V_cmax25 of plants and B of soils from assimilation (a script)",
    "photosynthesis_functions": "networks for stomata and for dry soil (a script)",
}


def write_example(name: str, folder: Path, overwrite: bool = False) -> list[Path]:
    """Write an example into a folder and return its files, the one to run first.

    Where its data are not found, its line `path` becomes a comment: it runs on a synthetic truth.
    UnknownName for another name, OutputError for a file that is there and not to be replaced.
    """
    lookup(EXAMPLES, name, "example")
    sources = sorted(FOLDER.glob(f"{name}.*"), key=lambda path: path.suffix)
    targets = [folder / source.name for source in sources]
    for target in targets:
        if target.exists() and not overwrite:
            remedy = "Name another folder by --output, or replace it by --overwrite."
            raise OutputError(f"{target} exists already. {remedy}")
    for source, target in zip(sources, targets, strict=True):
        write_file(target, _without_absent_data(source.read_text(encoding="utf-8")))
    return targets


def demo_experiment(name: str) -> Experiment:
    """Return the short form of an example, on its data or else on a synthetic truth."""
    lookup(EXAMPLES, name, "example")
    path = FOLDER / f"{name}.yaml"
    if (FOLDER / f"{name}.py").exists():
        raise DataError(
            f"the example {name!r} is a script; `pydiffgeo init {name}` writes it, and it has "
            "options for a short form."
        )
    experiment = load_experiment(path, demo=True)
    for run, settings in experiment.runs.items():
        if settings.data.path is not None and not _there(settings.data.path):
            data = settings.data.model_copy(update={"path": None})
            experiment.runs[run] = settings.model_copy(update={"data": data})
    return experiment


def _there(path: Path) -> bool:
    try:
        find_data(path)
    except DataError:
        return False
    return True


def _without_absent_data(text: str) -> str:
    """Return an example whose paths that are not there are comments, in all of its runs."""

    def line(found: re.Match[str]) -> str:
        if found[2] == "null" or _there(Path(found[2])):
            return found[0]
        return f"{found[1]}# path: {found[2]}   # not found: the records are a synthetic truth"

    return re.sub(r"^( +)path: (\S+)$", line, text, flags=re.M)
