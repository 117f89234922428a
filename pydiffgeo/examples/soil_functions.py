"""Which curves has a soil?

Retention and conductivity found from noisy moisture at five depths, without a formula.

    python soil_functions.py                        # soil_functions.yaml beside it; half an hour
    python soil_functions.py --steps 20 --output runs/try

Three storms wet a column of known soil. From the moisture at five depths, with noise, several
searchers must find the curves: networks in the slots of Richards' equation; the parameters of van
Genuchten's formulas, the right family; those of Brooks and Corey, and of Gardner, which are wrong;
and an LSTM from weather to moisture. All that solve the equation begin at another soil and take the
same steps. They are judged by the curves, and by a storm twice as strong. The same command goes on
after a stop.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from pydiffgeo import (
    Bounds,
    Grid,
    NeuralClosure,
    Richards,
    Solution,
    Solver,
    descend,
    fit_slots,
    solve,
    usda_soil,
)
from pydiffgeo.evaluation import new_figure, print_table, save_figure
from pydiffgeo.settings import Settings, load_settings

TRUTH, SEARCH = Solver("kvaerno3", rtol=1e-4), Solver("sdirk2", rtol=1e-2)
RATE = {"parameters": 0.05, "networks": 0.02}
HEADS = -torch.logspace(
    0, 4.2, 200, dtype=torch.float64
)  # cm, from the entry of air to the wilting point


class Storm(Settings):
    """Rain of constant strength."""

    day: float = Field(ge=0.0, description="Start (days).")
    hours: float = Field(gt=0.0, description="Duration (h).")
    rain: float = Field(gt=0.0, description="Sum (cm).")


class LSTMBudget(Settings):
    """The LSTM and its budget."""

    hidden: int = Field(32, ge=1, description="Size of the hidden state.")
    steps: int = Field(1500, ge=1, description="Of Adam.")


class Experiment(Settings):
    """The column, what is observed, and the budget; see soil_functions.yaml."""

    soil: str = Field(description="USDA class of the truth.")
    begin: str = Field(description="USDA class at which searches begin.")
    cells: int = Field(ge=2, description="Cells of the column, 100 cm deep.")
    water_table: float = Field(ge=100.0, description="Depth (cm).")
    evaporation: float = Field(ge=0.0, description="Potential evaporation (cm h-1).")
    interval: float = Field(gt=0.0, description="Length of an interval (h).")
    days: int = Field(ge=1, description="Days.")
    storms: tuple[Storm, ...] = Field(min_length=1, description="Observed.")
    test_storm: Storm
    depths: tuple[float, ...] = Field(min_length=1, description="Of the observations (cm).")
    every: float = Field(gt=0.0, description="Time between observations (h).")
    noise: float = Field(gt=0.0, description="Standard deviation (cm3 cm-3).")
    seeds: tuple[int, ...] = Field(min_length=1, description="Of noise and networks.")
    units: int = Field(ge=1, description="Hidden units of each network.")
    steps: int = Field(ge=1, description="Of Adam.")
    lstm: LSTMBudget


class Column:
    """The experiment's column, weather and observations."""

    def __init__(self, x: Experiment):
        self.x, self.grid = x, Grid.uniform(100.0, x.cells)
        self.places = (
            (self.grid.depth[:, None] - torch.tensor(x.depths, dtype=torch.float64)).abs().argmin(0)
        )
        self.initial = (self.grid.depth - x.water_table)[None]  # at rest above the water table
        self.wet, self.strong = self.weather(x.storms, x.days), self.weather((x.test_storm,), 6)
        self.observed_at = slice(round(x.every / x.interval) - 1, None, round(x.every / x.interval))
        self.model, self.soil = (
            Richards(self.grid, bottom="head"),
            {k: torch.tensor([v]) for k, v in usda_soil(x.soil).items()},
        )
        with torch.no_grad():
            self.truth = {
                name: self.solve(self.model, self.soil, w, TRUTH)
                for name, w in self.storms().items()
            }

    def storms(self) -> dict[str, dict[str, Tensor]]:
        """Weather by what it is for."""
        return {"observed": self.wet, "twice as strong": self.strong}

    def weather(self, storms: tuple[Storm, ...], days: int) -> dict[str, Tensor]:
        """Forcing of each interval, [1, time]."""
        rain = torch.zeros(1, round(24 * days / self.x.interval), dtype=torch.float64)
        for s in storms:
            first, count = round(24 * s.day / self.x.interval), round(s.hours / self.x.interval)
            rain[0, first : first + count] = s.rain / (count * self.x.interval)
        dry = torch.full_like(rain, self.x.evaporation)
        return {
            "rain": rain,
            "potential_evaporation": dry,
            "bottom_head": torch.full_like(rain, 100.0 - self.x.water_table),
        }

    def solve(
        self,
        model: Richards,
        soil: dict[str, Tensor],
        weather: dict[str, Tensor],
        solver: Solver = SEARCH,
    ) -> Solution:
        """Heads of a storm."""
        times = self.x.interval * torch.arange(weather["rain"].shape[1] + 1, dtype=torch.float64)
        return solve(model, weather, soil, self.initial, times, solver)

    def moisture(self, model: Richards, soil: dict[str, Tensor], solution: Solution) -> Tensor:
        """Water content [time, depth] at the probes."""
        return model.water_content(solution.states, soil)[0][:, self.places]

    def observations(self, seed: int) -> Tensor:
        """Noisy water content [time, depth]."""
        theta = self.moisture(self.model, self.soil, self.truth["observed"])[self.observed_at]
        return theta + self.x.noise * torch.randn(
            theta.shape, generator=torch.Generator().manual_seed(seed), dtype=theta.dtype
        )


class Searcher(nn.Module):
    """A soil whose parameters, and networks, are to be found."""

    def __init__(self, column: Column, family: str, seed: int):
        super().__init__()
        x, soil = column.x, usda_soil(column.x.begin)
        closures = {}
        if family == "networks":
            ranges = {"retention": (0.0, 1.0), "conductivity": (0.0, 12.0)}
            for k, (slot, bounds) in enumerate(ranges.items()):
                closures[slot] = NeuralClosure(
                    1, (x.units,), output_range=bounds, monotone_in=(0,), seed=2 * seed + k
                )
        self.model = Richards(
            column.grid, "van_genuchten" if closures else family, bottom="head", closures=closures
        )
        self.closures = nn.ModuleDict(closures)
        fit_slots(self.model, parameters=soil)
        # the air-entry suction is 1 / alpha, and the slope of the dry retention curve n - 1
        known = {**soil, "psi_b": 1 / soil["alpha"], "pore_index": soil["n"] - 1}
        own = {k: p for k, p in self.model.spec.parameters.items() if k in known}
        self.bounds = {k: Bounds.of(p) for k, p in own.items()}
        raw = {
            k: b.from_physical(torch.tensor([known[k]], dtype=torch.float64))
            for k, b in self.bounds.items()
        }
        self.raw = nn.ParameterDict({k: nn.Parameter(v) for k, v in raw.items()})

    def soil(self) -> dict[str, Tensor]:
        """Parameters [1] in their units."""
        return {k: b.to_physical(self.raw[k]) for k, b in self.bounds.items()}

    def search(self, column: Column, observed: Tensor, label: str) -> None:
        """Minimise the mean square of the differences."""

        def loss() -> Tensor:
            soil = self.soil()
            theta = column.moisture(self.model, soil, column.solve(self.model, soil, column.wet))
            return (theta[column.observed_at] - observed).square().mean()

        rates = {
            RATE["parameters"]: self.raw.parameters(),
            RATE["networks"]: self.closures.parameters(),
        }
        descend(loss, rates, column.x.steps, label)


class MoistureLSTM(nn.Module):
    """Weather to moisture at the probes, with nothing between."""

    def __init__(self, hidden: int, depths: int, seed: int):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.lstm, self.out = nn.LSTM(2, hidden, batch_first=True), nn.Linear(hidden, depths)

    def forward(self, weather: dict[str, Tensor]) -> Tensor:
        """Return water content [time, depth].

        Rain is read in cm h-1, evaporation in parts of 0.1 cm h-1.
        """
        series = torch.stack([weather["rain"], 10 * weather["potential_evaporation"]], -1).float()
        theta: Tensor = 0.25 + 0.1 * self.out(self.lstm(series)[0])[0]
        return theta.double()

    def search(self, column: Column, observed: Tensor) -> None:
        """Minimise the mean square of the differences."""
        scale = column.x.noise**-2
        descend(
            lambda: scale * (self(column.wet)[column.observed_at] - observed).square().mean(),
            {5e-3: self.parameters()},
            column.x.lstm.steps,
        )


def rmse(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean().sqrt())


def judge(
    column: Column, searcher: Searcher
) -> tuple[dict[str, float], pd.DataFrame, dict[str, Tensor]]:
    """Scores, curves, and moisture of both storms, of a soil that was found."""
    soil, model, true = searcher.soil(), searcher.model, column.model
    curves = {"theta": model.water_content(HEADS, soil), "K": model.conductivity(HEADS, soil)}
    right = {
        "theta": true.water_content(HEADS, column.soil),
        "K": true.conductivity(HEADS, column.soil),
    }
    curves, right = ({k: v.flatten() for k, v in c.items()} for c in (curves, right))
    low, high = (
        column.truth["observed"]
        .states.flatten()
        .quantile(torch.tensor([0.01, 0.99], dtype=torch.float64))
    )
    occurred = (low <= HEADS) & (high >= HEADS)
    out, moisture = {}, {}
    for name, weather in column.storms().items():
        solution = column.solve(model, soil, weather)
        moisture[name] = column.moisture(model, soil, solution)
        out[f"theta, {name}"] = rmse(
            moisture[name], column.moisture(true, column.soil, column.truth[name])
        )
    for where, rows in (("occurred", occurred), ("all", torch.ones_like(occurred))):
        out[f"theta(psi), {where}"] = rmse(curves["theta"][rows], right["theta"][rows])
        out[f"log10 K(psi), {where}"] = rmse(
            *(c["K"][rows].clamp_min(1e-12).log10() for c in (curves, right))
        )
    table = {
        "psi": HEADS,
        "occurred": occurred,
        "theta": curves["theta"],
        "K": curves["K"],
        "true_theta": right["theta"],
        "true_K": right["K"],
    }
    return out, pd.DataFrame({k: v.numpy() for k, v in table.items()}), moisture


def draw(column: Column, curves: pd.DataFrame, strong: pd.DataFrame, path: Path) -> None:
    """Curves that were found over the true ones, with the heads that occurred.

    And the strong storm at two depths.
    """
    figure, axes = new_figure(1, 4, (16.0, 4.0))
    colours = {
        "networks": "tab:blue",
        "van_genuchten": "tab:green",
        "brooks_corey": "tab:orange",
        "gardner": "tab:red",
        "lstm": "tab:purple",
    }
    for axis, name in zip(axes[0], ("theta", "K"), strict=False):
        for (model, _), part in curves.groupby(["model", "seed"], sort=False):
            axis.plot(-part.psi, part[name], color=colours[model], linewidth=0.9)
        one = curves[(curves.model == curves.model.iloc[0]) & (curves.seed == curves.seed.iloc[0])]
        axis.plot(-one.psi, one[f"true_{name}"], color="black", label="true")
        axis.axvspan(
            -one.psi[one.occurred].max(),
            -one.psi[one.occurred].min(),
            color="0.9",
            label="heads that occurred",
        )
        axis.set(
            xscale="log",
            xlabel="suction (cm)",
            ylabel={"theta": "water content", "K": "K (cm h$^{-1}$)"}[name],
        )
    axes[0, 1].set(yscale="log", ylim=(1e-8, 10.0))
    for axis, depth in zip(axes[0, 2:], (column.x.depths[0], column.x.depths[-2]), strict=True):
        for (model, _), part in strong.groupby(["model", "seed"], sort=False):
            label = model if part.seed.iloc[0] == column.x.seeds[0] else None
            axis.plot(
                part.hours / 24,
                part[f"{depth:g} cm"],
                color=colours.get(model, "black"),
                linewidth=0.9,
                label=label,
            )
        axis.set(title=f"storm twice as strong, {depth:g} cm", xlabel="day", ylabel="water content")
    axes[0, 0].legend(fontsize=8)
    axes[0, 2].legend(fontsize=8)
    save_figure(figure, path)


def main() -> None:
    """Make the truth, let everybody search who has not, and judge."""
    read = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    read.add_argument("--config", type=Path, default=Path(__file__).with_suffix(".yaml"))
    read.add_argument("--output", type=Path, default=Path("runs/soil_functions"))
    read.add_argument("--steps", type=int, help="instead of those of the settings")
    given = read.parse_args()
    x = load_settings(given.config, Experiment)
    x = x.model_copy(update={"steps": given.steps}) if given.steps else x
    torch.set_num_threads(1)
    given.output.mkdir(parents=True, exist_ok=True)
    files = {k: given.output / f"{k}.csv" for k in ("curves", "strong", "scores")}
    done = {k: pd.read_csv(f) if f.is_file() else pd.DataFrame() for k, f in files.items()}
    if len(done["scores"]) and set(done["scores"].steps) != {x.steps}:
        read.error(
            f"{files['scores']} has searches of other steps; give --steps as there, or another "
            "--output"
        )
    column = Column(x)
    hours = x.interval * np.arange(1, column.strong["rain"].shape[1] + 1)

    def add(table: str, rows: pd.DataFrame, **columns: object) -> None:
        done[table] = pd.concat([done[table], rows.assign(**columns)])
        done[table].to_csv(files[table], index=False)

    def series(theta: Tensor) -> pd.DataFrame:
        probes = {f"{d:g} cm": theta[:, i].numpy() for i, d in enumerate(x.depths)}
        return pd.DataFrame({"hours": hours, **probes})

    for seed in x.seeds:
        observed = column.observations(seed)
        for model in ("networks", "van_genuchten", "brooks_corey", "gardner", "lstm"):
            who = {"model": model, "seed": seed, "steps": x.steps}
            if (
                len(done["scores"])
                and ((done["scores"].model == model) & (done["scores"].seed == seed)).any()
            ):
                continue
            if model == "lstm":
                lstm = MoistureLSTM(x.lstm.hidden, len(x.depths), seed)
                lstm.search(column, observed)
                with torch.no_grad():
                    moisture = {name: lstm(weather) for name, weather in column.storms().items()}
                scores = {
                    f"theta, {name}": rmse(
                        moisture[name],
                        column.moisture(column.model, column.soil, column.truth[name]),
                    )
                    for name in moisture
                }
            else:
                searcher = Searcher(column, model, seed)
                searcher.search(column, observed, f"{model}, seed {seed}")
                with torch.no_grad():
                    scores, curves, moisture = judge(column, searcher)
                torch.save(searcher.state_dict(), given.output / f"{model}_{seed}.pt")
                add("curves", curves, **who)
            add("strong", series(moisture["twice as strong"]), **who)
            add("scores", pd.DataFrame([scores]), **who)  # last: what is in it is done
    true = series(column.moisture(column.model, column.soil, column.truth["twice as strong"]))
    strong = pd.concat([done["strong"], true.assign(model="true", seed=x.seeds[0])])
    draw(column, done["curves"], strong, given.output / "soil_functions.png")
    means = (
        done["scores"]
        .drop(columns=["seed", "steps"])
        .groupby("model", sort=False)
        .mean()
        .reset_index()
    )
    print_table(
        means.to_dict("records"), f"Root mean square errors, means over {len(x.seeds)} seeds"
    )


if __name__ == "__main__":
    main()
