"""HydroNODE: EXP-HYDRO, and networks in the place of its formulas, basin by basin.

    python hydro_node.py                          # 20 basins of CAMELS-US, half an hour
    python hydro_node.py --basins 1 --steps 20    # for a try
    python hydro_node.py --basins 40              # goes on: basins in the table are left out

After Hoege et al. (2022), doi:10.5194/hess-26-5085-2022: each basin has its own parameters and its
own networks. EXP-HYDRO is first trained for STEPS steps. From these parameters, with networks that
were fitted to its formulas, three models take STEPS steps more: EXP-HYDRO itself; M50, with
networks for evapotranspiration and discharge; M100, with networks for all of its rates. Parameters
are trained along with the networks. docs/hydro_node.md says what is not as in the paper, and what
came out.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pydiffgeo import Bounds, ExpHydro, NeuralClosure, Solver, descend, fit_slots, open_sites, solve
from pydiffgeo.data import find_data
from pydiffgeo.evaluation import cdf_figure, kge, new_figure, nse, print_table, save_figure

SLOTS = {
    "EXP-HYDRO": (),
    "M50": ("evapotranspiration", "base_flow", "spill"),
    "M100": ("rain", "melt", "evapotranspiration", "base_flow", "spill"),
}
SERIES = {"precipitation": "precipitation", "temperature": "tair_mean",
          "potential_evapotranspiration": "potential_evapotranspiration"}  # fmt: skip
TRAIN, TEST = ("1980-10-01", "1995-09-30"), ("1995-10-01", "2000-09-30")
# days before those that count; parts of the training period that are solved side by side
WARM_UP, WINDOWS = (365, 8)
RATE = {"parameters": 0.03, "networks": 0.01}  # of Adam, at the start


class Basin(nn.Module):
    """EXP-HYDRO of one basin, with its own parameters and networks."""

    def __init__(self, slots: tuple[str, ...], parameters: dict[str, float]):
        super().__init__()
        closures = {slot: NeuralClosure(1, (16,), output_range=(0.0, 1.0)) for slot in slots}
        self.model, self.closures = ExpHydro(closures), nn.ModuleDict(closures)
        fit_slots(self.model, parameters=parameters)
        self.bounds = {name: Bounds.of(p) for name, p in self.model.spec.parameters.items()}
        self.raw = nn.ParameterDict()
        for name, b in self.bounds.items():
            margin = 1e-3 * (b.upper - b.lower)
            inside = min(max(parameters[name], b.lower + margin), b.upper - margin)
            self.raw[name] = nn.Parameter(
                b.from_physical(torch.tensor([inside], dtype=torch.float64))
            )

    def parameters_now(self) -> dict[str, Tensor]:
        """Return parameters [1] in their units."""
        return {name: b.to_physical(self.raw[name]) for name, b in self.bounds.items()}

    def forward(self, forcing: dict[str, Tensor]) -> Tensor:
        """Return discharge [window, day], mm d-1, for forcing [window, day]."""
        windows, days = forcing["precipitation"].shape
        p = {name: value.expand(windows) for name, value in self.parameters_now().items()}
        solver = Solver("implicit_euler", step=1.0)
        return solve(self.model, forcing, p, self.model.start(p), range(days + 1), solver).fluxes[
            "discharge"
        ]


def train(
    basin: Basin, forcing: dict[str, Tensor], observed: Tensor, steps: int, label: str
) -> None:
    """Minimise 1 - NSE over all days that count; observed [window, day], NaN where they do not."""
    known = torch.isfinite(observed)
    spread = (observed[known] - observed[known].mean()).square().sum()
    rates = {
        RATE["parameters"]: basin.raw.parameters(),
        RATE["networks"]: basin.closures.parameters(),
    }
    descend(lambda: (basin(forcing) - observed)[known].square().sum() / spread, rates, steps, label)


def side_by_side(records: dict[str, Tensor], days: int) -> dict[str, Tensor]:
    """Cut series [day] of the training period into windows [window, day].

    Discharge that is not to count is NaN.
    """
    length = math.ceil((days - WARM_UP) / WINDOWS)
    # the last may overlap the one before
    first = [min(k * length, days - WARM_UP - length) for k in range(WINDOWS)]
    parts = {
        k: torch.stack([v[i : i + WARM_UP + length] for i in first]) for k, v in records.items()
    }
    parts["discharge"][:, :WARM_UP] = torch.nan
    parts["discharge"][-1, : WARM_UP + first[-2] + length - first[-1]] = torch.nan
    return parts


def run_basin(
    name: str, records: dict[str, Tensor], train_days: int, steps: int
) -> tuple[list[dict], list[dict]]:
    """Train the three models of a basin; return scores and what their networks learned."""
    parts = side_by_side(records, train_days)
    observed = parts.pop("discharge")
    tested = {k: v[None, train_days - WARM_UP :] for k, v in records.items()}
    truth = tested.pop("discharge")[0, WARM_UP:].numpy()
    calibrated = Basin((), {k: p.default for k, p in ExpHydro().spec.parameters.items()})
    train(calibrated, parts, observed, steps, f"{name} EXP-HYDRO")
    parameters = {k: float(v.detach()) for k, v in calibrated.parameters_now().items()}
    scores, functions = [], []
    for kind, slots in SLOTS.items():
        basin = Basin(slots, parameters)
        train(basin, parts, observed, steps, f"{name} {kind}")
        with torch.no_grad():
            seen, simulated = basin(parts), basin(tested)[0, WARM_UP:].numpy()
            now = {k: float(v) for k, v in basin.parameters_now().items()}
            scores.append(
                {
                    "basin": name,
                    "model": kind,
                    "nse_train": nse(seen, observed),
                    "nse_test": nse(simulated, truth),
                    "kge_test": kge(simulated, truth),
                    "steps": 2 * steps,
                    **now,
                }
            )
            for slot in slots:
                x = torch.linspace(*basin.model.spec.slots[slot].domain, 101, dtype=torch.float64)
                formula = basin.model.formula(slot, parameters)(x)
                columns = {"input": x, "learned": basin.closures[slot](x), "formula": formula}
                table = pd.DataFrame({k: v.numpy() for k, v in columns.items()})
                functions += table.assign(basin=name, model=kind, slot=slot).to_dict("records")
    return scores, functions


def draw(scores: pd.DataFrame, functions: pd.DataFrame, out: Path) -> None:
    """Draw the NSE of all basins, and the functions of the first one."""
    shown = {m: scores.nse_test[scores.model == m] for m in SLOTS}
    save_figure(cdf_figure(shown, "NSE, test period"), out / "nse.png")
    one = functions[functions.basin == functions.basin.iloc[0]]
    figure, axes = new_figure(1, len(SLOTS["M100"]), (14.0, 3.0))
    for axis, slot in zip(axes[0], SLOTS["M100"], strict=True):
        here = one[one.slot == slot]
        for model, colour in (("M50", "tab:orange"), ("M100", "tab:blue")):
            part = here[here.model == model]
            axis.plot(part.input, part.learned, color=colour, label=model)
        axis.plot(part.input, part.formula, color="black", linewidth=0.8, label="formula")
        axis.set(title=slot, xlabel=ExpHydro().spec.slots[slot].inputs[0])
        if slot == "base_flow":
            axis.set(yscale="log", ylim=(1e-6, 2))
    axes[0, 0].legend(title=f"basin {one.basin.iloc[0]}", fontsize=8, title_fontsize=8)
    save_figure(figure, out / "functions.png")


def main() -> None:
    """Read arguments and records, train what is missing, and judge it all."""
    read = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    read.add_argument(
        "--data",
        type=Path,
        default=Path("camels_us_daymet_500.nc"),
        help="here or in $PYDIFFGEO_DATA",
    )
    read.add_argument("--output", type=Path, default=Path("runs/hydro_node"))
    read.add_argument(
        "--basins", type=int, default=20, help="as many at random; fewer are a part of more"
    )
    read.add_argument(
        "--steps", type=int, default=1500, help="of EXP-HYDRO, and as many again of each model"
    )
    given = read.parse_args()
    torch.set_num_threads(1)
    given.output.mkdir(parents=True, exist_ok=True)
    derive = {"potential_evapotranspiration": "oudin"}
    opened = open_sites(find_data(given.data), derive=derive)
    order = np.random.default_rng(0).permutation(opened.sizes["site"])[: given.basins]
    records = opened.isel(site=order).sel(time=slice(TRAIN[0], TEST[1]))
    train_days = records.sel(time=slice(*TRAIN)).sizes["time"]
    files = given.output / "scores.csv", given.output / "functions.csv"
    # rows are written anew with each basin
    exact = {"dtype": {"basin": str}, "float_precision": "round_trip"}
    scores, functions = (pd.read_csv(f, **exact) if f.is_file() else pd.DataFrame() for f in files)
    if len(scores) and set(scores.steps) != {2 * given.steps}:
        read.error(
            f"{files[0]} has models of {scores.steps[0] // 2} steps; give --steps as there, or "
            "another --output"
        )
    for basin in tqdm([str(b) for b in records.site.values], unit="basin"):
        if len(scores) and basin in set(scores.basin):
            continue
        one = records.sel(site=basin)
        series = {
            k: torch.from_numpy(one[v].values.astype("float64"))
            for k, v in {**SERIES, "discharge": "discharge"}.items()
        }
        more, learned = run_basin(basin, series, train_days, given.steps)
        functions = pd.concat([functions, pd.DataFrame(learned)])
        scores = pd.concat([scores, pd.DataFrame(more)])
        functions.to_csv(files[1], index=False)
        scores.to_csv(files[0], index=False)  # last: a basin that is in it is done
    draw(scores, functions, given.output)
    medians = scores.groupby("model", sort=False)[["nse_train", "nse_test", "kge_test"]].median()
    print_table(
        medians.reset_index().to_dict("records"),
        f"Medians over {scores.basin.nunique()} basins",
        {"nse_test": "max"},
    )


if __name__ == "__main__":
    main()
