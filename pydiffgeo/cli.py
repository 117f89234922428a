"""The command `pydiffgeo`: what a user types.

What is slow to import is imported inside the commands.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from . import __version__
from .cli_data import Option, data_app, julia_app, layout_options
from .console import console
from .doctor import examine, show
from .reporting import Debug, Overwrite, Quiet, Resume, first_process, next_command, reporting

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Differentiable process models of the geosciences: stiff solvers, exact gradients, torch.",
)
app.add_typer(julia_app, name="julia")
app.add_typer(data_app, name="data")

Config = Annotated[Path, typer.Argument(help="Settings, a YAML file; `pydiffgeo init` writes one.")]
Output = Annotated[
    Path | None, typer.Option(help="Folder for the runs; default runs/CONFIG, by the file's name.")
]
Only = Annotated[
    list[str] | None,
    typer.Option("--run", help="Name of a run in the file; may be repeated; default all."),
]
Period = Annotated[str, typer.Option(help="test, validation or train.")]
Figures = Annotated[bool, typer.Option(help="Draw figures.")]


def _words(option: str, values: list[str] | None) -> list[str]:
    return [word for value in values or () for word in (option, value)]


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="An example; without one all are listed.")] = "",
    output: Annotated[Path, typer.Option(help="Folder that it is written into.")] = Path(),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file, where there is one.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Write a commented example; where its data are not there, it runs on a synthetic truth."""
    with reporting(debug):
        from .experiment.examples import EXAMPLES, write_example

        if not name:
            for known, text in EXAMPLES.items():
                typer.echo(f"{known}: {text}")
            return
        files = write_example(name, output, overwrite)
        for file in files:
            console().print(f"Written: {file}")
        first = files[0]
        if first.suffix == ".py":
            console().print(f"Next: python {first}")
        else:
            next_command(False, ["run", str(first)])


@app.command()
def settings(
    schema: Annotated[
        bool, typer.Option("--schema", help="Write JSON Schema, with which editors complete.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Show every key of the settings with its meaning and default."""
    with reporting(debug):
        from .experiment.listing import json_schema, listing

        if schema:
            typer.echo(json.dumps(json_schema(), indent=1))
            return
        for line in listing():
            typer.echo(line)


@app.command()
def demo(
    name: Annotated[
        str, typer.Argument(help="An example; `pydiffgeo init` lists them.")
    ] = "soil_moisture",
    output: Annotated[
        Path | None, typer.Option(help="Folder for the runs; default runs/demo_NAME.")
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run an example in a short form of less than three minutes."""
    output = output or Path("runs", f"demo_{name}")
    with reporting(debug, output, ["demo", name, "--output", str(output), "--resume"]):
        from .experiment.examples import demo_experiment
        from .experiment.run import run_experiment

        run_experiment(demo_experiment(name), output, None, resume, overwrite, not quiet)
        console(quiet).print(f"Reports: {output}")


@app.command()
def run(
    config: Config,
    output: Output = None,
    only: Only = None,
    figures: Figures = True,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train all runs of an experiment, judge them on the test period, and compare them."""
    output = output or Path("runs", config.stem)
    again = ["run", str(config), "--output", str(output), *_words("--run", only), "--resume"]
    with reporting(debug, output, again, config):
        from .experiment.run import run_experiment
        from .experiment.schema import load_experiment

        run_experiment(load_experiment(config), output, only, resume, overwrite, not quiet, figures)
        console(quiet).print(f"Reports: {output}")


@app.command()
def train(
    config: Config,
    output: Output = None,
    only: Only = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train the runs of an experiment.

    With several processes: `torchrun --nproc-per-node 2 -m pydiffgeo.cli train ...`.
    """
    output = output or Path("runs", config.stem)
    again = ["train", str(config), "--output", str(output), *_words("--run", only), "--resume"]
    with reporting(debug, output, again, config):
        from .experiment.run import train as train_runs
        from .experiment.schema import load_experiment

        folders = train_runs(load_experiment(config), output, only, resume, overwrite, not quiet)
        next_command(quiet, ["evaluate", str(folders[0] if len(folders) == 1 else output)])


@app.command()
def calibrate(
    config: Config,
    run: Annotated[str, typer.Option(help="Run of the file whose process model is calibrated.")],
    evaluations: Annotated[int, typer.Option(min=1, help="Runs of the model per site.")] = 5000,
    method: Annotated[
        str, typer.Option(help="sce_ua, or gauss_newton for models that store nothing (leaves).")
    ] = "sce_ua",
    sites: Annotated[
        int | None, typer.Option(min=1, help="Number of sites; default those of the file.")
    ] = None,
    output: Output = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the sites that are done.")] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Calibrate a process model site by site with SCE-UA (spotpy), into OUTPUT/RUN_sceua.

    Leaves by Gauss-Newton steps, all at once, with standard errors. `evaluate` judges it.
    """
    output = output or Path("runs", config.stem)
    again = ["calibrate", str(config), "--run", run, "--evaluations", str(evaluations)]
    again += [] if method == "sce_ua" else ["--method", method]
    again += [] if sites is None else ["--sites", str(sites)]
    with reporting(debug, output, [*again, "--output", str(output), "--resume"], config):
        from .experiment.run import calibrate as calibrate_sites
        from .experiment.schema import load_experiment

        folder = calibrate_sites(
            load_experiment(config), output, run, evaluations, sites, resume, overwrite, not quiet,
            method,
        )  # fmt: skip
        next_command(quiet, ["evaluate", str(folder)])


@app.command()
def posterior(
    config: Config,
    run: Annotated[str, typer.Option(help="Run of the file whose parameters are sampled.")],
    method: Annotated[
        str, typer.Option(help="laplace, or hmc: NUTS of pyro-ppl through the gradient.")
    ] = "laplace",
    samples: Annotated[int, typer.Option(min=1, help="Draws of each chain.")] = 500,
    warm_up: Annotated[int, typer.Option(min=1, help="Draws before, which hmc adapts by.")] = 200,
    chains: Annotated[int, typer.Option(min=1, help="Chains of each site.")] = 2,
    correlated: Annotated[
        bool, typer.Option("--correlated", help="Errors are a first-order autoregression.")
    ] = False,
    sites: Annotated[
        int | None, typer.Option(min=1, help="Number of sites; default those of the file.")
    ] = None,
    output: Output = None,
    figures: Figures = True,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Sample the posterior of the parameters of each site, into OUTPUT/RUN_METHOD.

    Draws as netCDF, a summary, and the test period with its predictive distribution.
    """
    output = output or Path("runs", config.stem)
    with reporting(debug):
        from .experiment.sampled import sample_run
        from .experiment.schema import load_experiment

        folder = sample_run(
            load_experiment(config), output, run, method, samples, warm_up, chains, correlated,
            sites, overwrite, not quiet, figures,
        )  # fmt: skip
        console(quiet).print(f"Written: {folder}")


@app.command()
def evaluate(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of runs, or of an experiment with several.")
    ],
    period: Period = "test",
    data: Annotated[
        Path | None,
        typer.Option(help="Judge other records in its place: sites or years never seen."),
    ] = None,
    mean: Annotated[
        list[str] | None,
        typer.Option(help="A run whose mean with others is judged, too; name two or more."),
    ] = None,
    option: Option = None,
    figures: Figures = True,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Judge trained runs: scores, medians with intervals, figures, a report in each folder."""
    with reporting(debug):
        from .experiment.judge import judge

        judge(folders, period, not quiet, figures, data, layout_options(option), mean or ())
        for folder in folders:
            console(quiet).print(f"Reports: {folder}")


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.")],
    data: Annotated[Path, typer.Option(help="Records of sites: others, other years, a scenario.")],
    output: Annotated[
        Path | None,
        typer.Option(help="File to write, default prediction.nc; of parts a folder, prediction."),
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="First day; by default after the warm-up.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="Last day.")] = None,
    sites: Annotated[
        list[str] | None, typer.Option("--site", help="A site; may be repeated; default all.")
    ] = None,
    series: Annotated[
        list[str] | None,
        typer.Option(help="A series to write; may be repeated; default all that the run gives."),
    ] = None,
    shard: Annotated[
        int | None,
        typer.Option(min=1, help="Write parts of so many sites each: for more than memory holds."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Write parts of so many steps each, too.")
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="Layout of the records; default that of the run.")
    ] = None,
    option: Option = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the parts that are done.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there already.")
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Simulate new records with a trained run.

    Series, states and parameters as netCDF, with scores where observed. Parts (--shard, --steps)
    take any number of sites, and the processes of torchrun share them.
    """
    in_parts = bool(shard or steps)
    output = output or Path("prediction" if in_parts else "prediction.nc")
    again = ["predict", str(run), "--data", str(data), "--output", str(output)]
    again += _words("--site", sites) + _words("--series", series) + _words("--option", option)
    for name, value in (("start", start), ("end", end), ("shard", shard), ("steps", steps),
                        ("layout", layout)):  # fmt: skip
        again += [] if value is None else [f"--{name}", str(value)]
    with reporting(debug, output if in_parts else None, [*again, "--resume"]):
        from .errors import SettingsError
        from .evaluation import summary_table
        from .experiment.prediction import predict as predict_run
        from .experiment.prediction import predict_parts

        given = layout_options(option)
        say = console(quiet).print
        if in_parts:
            files = predict_parts(
                run, data, output, shard or 1000, steps, start, end, sites, layout, resume,
                overwrite, given, series, not quiet,
            )  # fmt: skip
            if first_process():
                say(
                    f"Written: {output}, parts: {len(files)}. pydiffgeo.open_prediction reads them."
                )
            return
        if resume:
            raise SettingsError("--resume goes on with parts: give --shard or --steps, as before.")
        found = predict_run(run, data, output, start, end, sites, layout, overwrite, given, series)
        if found.axis == "point" and found.all_scores:
            say(found.pooled().to_string(index=False))
        for name, scores in found.all_scores.items():
            row = summary_table(scores).iloc[-1]  # of profiles, that of all depths
            told = ", ".join(f"{m} {row[m]:.3f}" for m in ("nse", "kge", "rmse") if m in row)
            deep = " over all depths, rmse the root of the mean square" if "depth" in row else ""
            say(f"{name}, medians{deep}: {told}")
        say(f"Written: {output}")


@app.command()
def doctor() -> None:
    """Show versions, devices, whether Julia can start, and what to do about what is missing."""
    report = examine()
    show(report, console())
    if not report.healthy:
        raise typer.Exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
