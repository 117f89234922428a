"""What does pywatershed's stream temperature cost as its users run it?

PRMSStreamTemp of pywatershed 3.0 on the 456 segments of the Delaware that its wheel has: through
its processes and files. First all processes before it are run and write what it reads (minutes);
then solar geometry, channel width and stream temperature with files as input. CPU time of one
thread after the first days, in which numba compiles: the whole run, with and without files as
output; of it the method `_calculate` of PRMSStreamTemp, and of that its compiled kernel
`_compute_water_temp`. In an environment of its own with Python 3.12 or later:

    pip install pywatershed
    python benchmarks/peers/pywatershed_streams.py --folder SCRATCH --days 300
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pywatershed as pws

DOMAIN = Path(pws.__file__).parent / "data" / "drb_2yr"
BEFORE = ("PRMSSolarGeometry", "PRMSAtmosphere", "PRMSCanopy", "PRMSSnow", "PRMSRunoff",
          "PRMSSoilzone", "PRMSGroundwater", "PRMSChannel")  # fmt: skip
COMPILING = 5  # days before the clock runs


def control(folder: Path, output: Path) -> Any:
    """Return pywatershed's settings of the Delaware, with input from a folder."""
    found = pws.Control.load_prms(DOMAIN / "nhm_stream_temp.control", warn_unused_options=False)
    found.options = found.options | {
        "input_dir": folder, "netcdf_output_dir": output, "imbalance_behavior": None,
        "calc_method": "numba",
    }  # fmt: skip
    return found


def stream_temperature(folder: Path, parameters: Any) -> Any:
    """Return the model of what is timed."""

    def part(name: str, **options: Any) -> dict[str, Any]:
        return {"class": getattr(pws, name), "parameters": parameters, "dis": "dis", **options}

    return pws.Model({
        "control": control(folder, folder / "timed"),
        "dis": parameters,
        "model_order": ["sun", "width", "water"],
        "sun": part("PRMSSolarGeometry"),
        "width": part("PRMSHydraulicGeometryWidthOnly"),
        "water": part(
            "PRMSStreamTemp", calc_method="numba", imbalance_behavior=None,
            stream_shade_class=pws.PRMSStreamShadeDynamic, stream_shade_parameters=parameters,
            track_energy_fluxes=False,
        ),
    })  # fmt: skip


def timed(model: Any, days: int) -> dict[str, float]:
    """Return CPU seconds of a run, of the method and of the kernel."""
    water, seconds = model.processes["water"], {"_calculate": 0.0, "_compute_water_temp": 0.0}
    for name in seconds:
        method = getattr(water, name)

        def watched(*given: Any, _name: str = name, _method: Any = method) -> Any:
            begin = time.process_time()
            out = _method(*given)
            seconds[_name] += time.process_time() - begin
            return out

        setattr(water, name, watched)
    model.run(n_time_steps=COMPILING, finalize=False)
    seconds |= dict.fromkeys(seconds, 0.0)
    begin = time.process_time()
    model.run(n_time_steps=days, finalize=False)
    return {"run": time.process_time() - begin, **seconds}


def main() -> None:
    """Run all and print million reach-days a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="for the files in between")
    parser.add_argument("--days", type=int, default=300)
    chosen = parser.parse_args()
    parameters = pws.parameters.PrmsParameters.load(DOMAIN / "myparam.param")
    if not (chosen.folder / "seg_outflow.nc").exists():
        chosen.folder.mkdir(parents=True)
        for file in ("prcp.nc", "tmax.nc", "tmin.nc"):
            shutil.copy(DOMAIN / file, chosen.folder)
        processes = [getattr(pws, name) for name in BEFORE]
        first = control(DOMAIN, chosen.folder)
        model = pws.Model(processes, control=first, parameters=parameters)
        model.initialize_netcdf(output_dir=chosen.folder, separate_files=True)
        model.run(finalize=True)
    found, count = {}, len(parameters.parameters["seg_length"]) * chosen.days
    for written in (False, True):
        model = stream_temperature(chosen.folder, parameters)
        if written:
            shutil.rmtree(chosen.folder / "timed", ignore_errors=True)
            model.initialize_netcdf(output_dir=chosen.folder / "timed", separate_files=True)
        seconds = timed(model, chosen.days)
        found["with output" if written else "without output"] = seconds
        print(f"output {written}:", {k: f"{count / s / 1e6:.3g}" for k, s in seconds.items()})
    (chosen.folder / "pywatershed_streams.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
