"""The command `pydiffgeo`: what a user types. What is slow to import is imported inside the commands."""

from __future__ import annotations

import errno
import logging
import os
import shlex
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from . import __version__
from .console import console
from .doctor import examine, show
from .errors import OutputError, PyDiffGeoError
from .training.interrupt import signals_as_interrupts

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Differentiable process models of hydrology: stiff solvers, exact gradients, torch.",
)

julia_app = typer.Typer(no_args_is_help=True, help="Julia, for the Julia engine.")
app.add_typer(julia_app, name="julia")
data_app = typer.Typer(no_args_is_help=True, help="Records of sites: download, check, convert.")
app.add_typer(data_app, name="data")

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", help="Less output, no progress bar; warnings are shown all the same."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoints in the folder.")]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Remove the run that the folder holds, with its evaluations."),
]


def _soil_moisture() -> tuple[type[BaseModel], Callable[..., dict[str, Any]]]:
    from .training.soil_moisture import SoilMoistureSettings, run_experiment

    return SoilMoistureSettings, run_experiment


def _basins() -> tuple[type[BaseModel], Callable[..., dict[str, Any]]]:
    from .training.basins.experiment import run_experiment
    from .training.basins.settings import BasinExperiment

    return BasinExperiment, run_experiment


# name in the settings file -> a function that imports the settings class and the function that runs it
EXPERIMENTS: dict[str, Callable[[], tuple[type[BaseModel], Callable[..., dict[str, Any]]]]] = {
    "soil_moisture": _soil_moisture,
    "basins": _basins,
}


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for the table and the figures.")] = Path(
        "runs/demo"
    ),
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train Richards columns on soil moisture, in a short form of less than three minutes."""
    with _reporting(debug, output, ["demo", "--output", str(output), "--resume"]):
        from .training.soil_moisture import demo_settings, run_experiment

        run_experiment(demo_settings(), output, not quiet, resume, overwrite)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="Settings, a YAML file; see examples/.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder for the results; default runs/CONFIG.")
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run the experiment that a settings file describes."""
    output = output or Path("runs", config.stem)
    with _reporting(
        debug, output, ["run", str(config), "--output", str(output), "--resume"], config
    ):
        from .settings import load_tagged_settings

        experiments = {name: load() for name, load in EXPERIMENTS.items()}
        classes = {name: settings_class for name, (settings_class, _) in experiments.items()}
        name, settings = load_tagged_settings(config, classes, key="experiment")
        experiments[name][1](settings, output, not quiet, resume, overwrite)


@app.command()
def train(
    config: Annotated[
        Path,
        typer.Argument(help="Settings of an experiment on basins, a YAML file; see examples/."),
    ],
    output: Annotated[
        Path | None, typer.Option(help="Folder for the runs; default runs/CONFIG.")
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(help="Name of a run in the file; may be repeated; default all."),
    ] = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train the models of an experiment on basins; several processes: torchrun --nproc-per-node 2 -m pydiffgeo.cli train ..."""
    output = output or Path("runs", config.stem)
    only = [word for name in run or () for word in ("--run", name)]
    with _reporting(
        debug, output, ["train", str(config), "--output", str(output), *only, "--resume"], config
    ):
        from .training.basins.experiment import load_experiment
        from .training.basins.experiment import train as train_runs

        folders = train_runs(load_experiment(config), output, run, resume, not quiet, overwrite)
        _next(quiet, ["evaluate", str(folders[0] if len(folders) == 1 else output)])


@app.command()
def calibrate(
    config: Annotated[
        Path, typer.Argument(help="Settings of an experiment on basins, a YAML file.")
    ],
    run: Annotated[str, typer.Option(help="Run of the file whose process model is calibrated.")],
    evaluations: Annotated[int, typer.Option(min=1, help="Runs of the model per basin.")] = 5000,
    basins: Annotated[
        int | None, typer.Option(min=1, help="Number of basins; default those of the file.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the runs; default runs/CONFIG.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the basins that are done.")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Calibrate a process model basin by basin with SCE-UA (spotpy), into OUTPUT/RUN_sceua; `evaluate` judges it."""
    output = output or Path("runs", config.stem)
    number = [] if basins is None else ["--basins", str(basins)]
    again = [
        "calibrate",
        str(config),
        "--run",
        run,
        "--evaluations",
        str(evaluations),
        *number,
        "--output",
        str(output),
    ]
    with _reporting(debug, output, [*again, "--resume"], config):
        from .training.basins.experiment import calibrate as calibrate_basins
        from .training.basins.experiment import load_experiment

        experiment = load_experiment(config)
        folder = calibrate_basins(
            experiment, output, run, evaluations, basins, resume, not quiet, overwrite
        )
        _next(quiet, ["evaluate", str(folder)])


@app.command()
def evaluate(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of runs, or of an experiment with several.")
    ],
    period: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    figures: Annotated[bool, typer.Option(help="Draw figures.")] = True,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Judge trained runs: scores per basin, medians with intervals, figures and a report in each folder."""
    with _reporting(debug):
        from .training.basins.experiment import evaluate as evaluate_runs

        evaluate_runs(folders, period, progress=not quiet, figures=figures)
        for folder in folders:
            console(quiet).print(f"Reports: {folder}")


@app.command()
def doctor() -> None:
    """Show versions, devices, whether Julia can start, and what to do about what is missing."""
    report = examine()
    show(report, console())
    if not report.healthy:
        raise typer.Exit(1)


@data_app.command("list")
def data_list() -> None:
    """Show the public archives that `fetch` knows."""
    from .data.archives import ARCHIVES

    for name, archive in ARCHIVES.items():
        verified = all(file.hash for file in archive.files)
        hint = "" if verified else "; no known hash"
        typer.echo(f"{name}: {archive.title}. {archive.license}{hint}\n    {archive.source}")


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="An archive; `pydiffgeo data list` shows all.")],
    output: Annotated[Path | None, typer.Option(help="Folder for it; default data/NAME.")] = None,
    accept_unverified: Annotated[
        bool,
        typer.Option(
            "--accept-unverified",
            help="Allow the first download of a file whose "
            "hash nobody published; its own is recorded.",
        ),
    ] = False,
    unpack: Annotated[bool, typer.Option(help="Unpack zip and tar files.")] = True,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Download a public archive; given again, it goes on where it was interrupted."""
    output = output or Path("data", name)
    again = [
        "data",
        "fetch",
        name,
        "--output",
        str(output),
        *(["--accept-unverified"] if accept_unverified else []),
    ]
    with _reporting(debug, output, again if unpack else [*again, "--no-unpack"]):
        from .data.fetch import fetch

        fetch(
            name,
            output,
            accept_unverified=accept_unverified,
            unpack=unpack,
            progress=not quiet,
            say=typer.echo,
        )


@data_app.command("check")
def data_check(
    path: Annotated[Path, typer.Argument(help="A folder or file of sites, in any known layout.")],
    layout: Annotated[str, typer.Option(help="Layout, where it is not recognised.")] = "auto",
    product: Annotated[
        list[str] | None, typer.Option(help="Forcing product (CAMELS-US), or data set (Caravan).")
    ] = None,
    start: Annotated[str | None, typer.Option(help="First day.")] = None,
    end: Annotated[str | None, typer.Option(help="Last day.")] = None,
    csv: Annotated[Path | None, typer.Option(help="File for the table of all problems.")] = None,
    debug: Debug = False,
) -> None:
    """Show what is missing or wrong in records of sites, the first few of each kind; ends with 1 if anything is."""
    with _reporting(debug):
        from .data import check_sites, open_sites
        from .files import write_file

        opened = open_sites(path, layout, start=start, end=end, product=product, lazy=True)
        report = check_sites(opened)
        typer.echo(f"{len(report.sites)} sites, {report.days} days, {len(report.serious)} problems")
        for line in report.summary():
            typer.echo(line)
        if csv is not None:
            typer.echo(
                f"All {len(report.problems)} lines: {write_file(csv, report.table().to_csv(index=False))}"
            )
        if report.serious:
            raise typer.Exit(1)


@data_app.command("convert")
def data_convert(
    path: Annotated[Path, typer.Argument(help="A folder or file of sites, in any known layout.")],
    output: Annotated[
        Path, typer.Argument(help="NetCDF file to write, which is fast to train from.")
    ],
    layout: Annotated[str, typer.Option(help="Layout, where it is not recognised.")] = "auto",
    product: Annotated[
        list[str] | None, typer.Option(help="Forcing product (CAMELS-US), or data set (Caravan).")
    ] = None,
    variable: Annotated[
        list[str] | None,
        typer.Option(help="Variable in time to keep; may be repeated; default all."),
    ] = None,
    start: Annotated[str | None, typer.Option(help="First day.")] = None,
    end: Annotated[str | None, typer.Option(help="Last day.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file, where there is one.")
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write records of sites as one netCDF file."""
    with _reporting(debug):
        from .data import open_sites, write_sites

        if output.exists() and not overwrite:
            raise OutputError(
                f"{output} exists already. Name another file, or replace it by --overwrite."
            )
        opened = open_sites(path, layout, None, variable, start, end, product=product, lazy=True)
        typer.echo(f"{write_sites(opened, output, progress=not quiet)}: {dict(opened.sizes)}")


@julia_app.command("install")
def julia_install(debug: Debug = False) -> None:
    """Find or download Julia and its packages and compile them; needs the internet once, and some minutes."""
    with _reporting(debug):
        from .bridge.install import prepare

        prepare(lambda text: typer.echo(text))


@julia_app.callback()
def _julia() -> None:
    pass


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


@contextmanager
def _reporting(
    debug: bool,
    output: Path | None = None,
    again: list[str] | None = None,
    config: Path | None = None,
) -> Iterator[None]:
    """Show an error as one line with exit code 1, an interrupt, SIGTERM or SIGHUP as one with exit code 130, and warnings.

    Parameters
    ----------
    debug : bool
        Raise errors, with their traceback.
    output : Path, optional
        Folder that holds what was written until an interrupt.
    again : list of str, optional
        Command that goes on from there.
    config : Path, optional
        Settings file, whose line is shown where a setting does not fit the data.
    """
    errors = console(errors=True)
    try:
        with signals_as_interrupts(), _warnings_shown(errors):
            yield
    except PyDiffGeoError as error:
        if debug:
            raise
        errors.print(Text(f"error: {_place(error, config)}{error}", "red"))
        raise typer.Exit(1) from None
    except OSError as error:
        if debug or error.errno == errno.EPIPE:
            raise
        what = (
            f"{error.filename}: {error.strerror}"
            if error.filename
            else error.strerror or str(error)
        )
        errors.print(
            Text(
                f"error: {what}. See that the file is there and the disk has room; --debug shows where.",
                "red",
            )
        )
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        kept = f"; what was written until then is in {output}" if output and output.exists() else ""
        if kept and again:
            kept += f". Go on with: {_command(again)}"
        if _first():
            errors.print(Text(f"interrupted{kept}", "yellow"))
        raise typer.Exit(130) from None


def _place(error: PyDiffGeoError, config: Path | None) -> str:
    """Return file and line of the setting that is wrong; "" for an error that names none."""
    if not error.setting or config is None:
        return ""
    from .settings import line_of

    return f"{config}, line {line_of(config, error.setting)}: "


@contextmanager
def _warnings_shown(errors: Console) -> Iterator[None]:
    """Print each warning, of the package and of Python, as one line."""

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            errors.print(Text(f"warning: {record.getMessage()}", "yellow"))

    def show(message: Warning | str, *_: object, **__: object) -> None:
        errors.print(Text(f"warning: {' '.join(str(message).split())}", "yellow"))

    log, handler, before = (
        logging.getLogger("pydiffgeo"),
        Shown(logging.WARNING),
        warnings.showwarning,
    )
    log.addHandler(handler)
    warnings.showwarning = show  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.showwarning = before
        log.removeHandler(handler)


def _first() -> bool:
    """Return whether this is the only process, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def _command(words: list[str]) -> str:
    """Return a command of this program as one types it."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    program = (
        ["torchrun", "--nproc-per-node", str(processes), "-m", "pydiffgeo.cli"]
        if processes > 1
        else ["pydiffgeo"]
    )
    return shlex.join([*program, *words])


def _next(quiet: bool, words: list[str]) -> None:
    console(quiet or not _first()).print(f"Next: {shlex.join(['pydiffgeo', *words])}")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
