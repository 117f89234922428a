"""The commands `pydiffgeo data ...` and `pydiffgeo julia ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from .errors import OutputError, SettingsError
from .reporting import Debug, Quiet, reporting

julia_app = typer.Typer(no_args_is_help=True, help="Julia, for the Julia engine.")
data_app = typer.Typer(no_args_is_help=True, help="Records of sites: download, check, convert.")

Given = Annotated[Path, typer.Argument(help="A folder or file of sites, in any known layout.")]
Layout = Annotated[
    str, typer.Option(help="Layout, where it is not recognised; a name, or module:function.")
]
Product = Annotated[
    list[str] | None, typer.Option(help="Forcing product (CAMELS-US), or data set (Caravan).")
]
Name = Annotated[
    list[str] | None,
    typer.Option(help="Name in the files, =, name of the site form: P=precipitation. Repeatable."),
]
Unit = Annotated[
    list[str] | None,
    typer.Option(help='Variable, =, its unit: "precipitation=mm h-1". Repeatable.'),
]
Zone = Annotated[
    str | None, typer.Option(help="Time zone of times that state none: America/Denver, -07:00.")
]
Stamps = Annotated[str, typer.Option(help="Which end of its step a time is: end or start.")]
Option = Annotated[
    list[str] | None,
    typer.Option(
        help="Option of the layout, =, its value (a number, text, YAML in braces). Repeatable."
    ),
]
First = Annotated[str | None, typer.Option("--start", help="First day.")]
Last = Annotated[str | None, typer.Option("--end", help="Last day.")]


def layout_options(given: list[str] | None) -> dict[str, Any]:
    """Return options of a layout from "NAME=VALUE"; a value in braces or brackets is YAML."""
    return {key: _value(key, text) for key, text in _mapping(given, "--option").items()}


def _mapping(given: list[str] | None, option: str) -> dict[str, str]:
    pairs = [text.partition("=") for text in given or ()]
    for left, mark, right in pairs:
        if not (left and mark and right):
            raise SettingsError(f"{option} {left!r} has no '='; write {option} 'P=precipitation'.")
    return {left.strip(): right.strip() for left, _, right in pairs}


def _value(key: str, text: str) -> Any:
    try:
        return yaml.safe_load(text) if text.startswith(("{", "[")) else float(text)
    except ValueError:
        return text
    except yaml.YAMLError as error:
        raise SettingsError(
            f"--option {key}: {text!r} is no YAML; write it as in settings, "
            "'attributes={DE-Tha: {lat: 50.96, lon: 13.57}}'."
        ) from error


def _opened(
    path: Path,
    name: list[str] | None,
    unit: list[str] | None,
    option: list[str] | None,
    **arguments: Any,
) -> Any:
    """Open records, and say which variables were converted."""
    from .data import open_sites

    names, units = _mapping(name, "--name"), _mapping(unit, "--unit")
    options = layout_options(option)
    given: dict[str, Any] = {"names": names, "units": units, "options": options}
    sites = open_sites(path, **given, lazy=True, **arguments)
    for one, values in sites.data_vars.items():
        if "converted_from" in values.attrs:
            typer.echo(f"{one}: {values.attrs['converted_from']} to {values.attrs['units']}")
    return sites


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
    with reporting(debug, output, again if unpack else [*again, "--no-unpack"]):
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
    path: Given,
    layout: Layout = "auto",
    product: Product = None,
    name: Name = None,
    unit: Unit = None,
    zone: Zone = None,
    stamps: Stamps = "end",
    option: Option = None,
    start: First = None,
    end: Last = None,
    csv: Annotated[Path | None, typer.Option(help="File for the table of all problems.")] = None,
    debug: Debug = False,
) -> None:
    """Show what is missing or wrong in records of sites, the first few of each kind; ends with 1 if
    anything is.

    What was found comes first: sites, times, series with their units, attributes.
    """
    with reporting(debug):
        from .data import check_sites
        from .data.site_report import described
        from .files import write_file

        opened = _opened(
            path,
            name,
            unit,
            option,
            layout=layout,
            start=start,
            end=end,
            product=product,
            zone=zone,
            stamps=stamps,
        )
        for line in described(opened):
            typer.echo(line)
        report = check_sites(opened)
        typer.echo(
            f"{len(report.sites)} sites, {report.steps} steps, {len(report.serious)} problems"
        )
        for line in report.summary():
            typer.echo(line)
        if csv is not None:
            typer.echo(
                f"All {len(report.problems)} lines: "
                f"{write_file(csv, report.table().to_csv(index=False))}"
            )
        if report.serious:
            raise typer.Exit(1)


@data_app.command("convert")
def data_convert(
    path: Given,
    output: Annotated[
        Path, typer.Argument(help="NetCDF file to write, which is fast to train from.")
    ],
    layout: Layout = "auto",
    product: Product = None,
    name: Name = None,
    unit: Unit = None,
    zone: Zone = None,
    stamps: Stamps = "end",
    option: Option = None,
    variable: Annotated[
        list[str] | None,
        typer.Option(help="Variable in time to keep; may be repeated; default all."),
    ] = None,
    start: First = None,
    end: Last = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file, where there is one.")
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write records of sites as one netCDF file."""
    with reporting(debug):
        from .data import write_sites

        if output.exists() and not overwrite:
            raise OutputError(
                f"{output} exists already. Name another file, or replace it by --overwrite."
            )
        opened = _opened(
            path,
            name,
            unit,
            option,
            layout=layout,
            variables=variable,
            start=start,
            end=end,
            product=product,
            zone=zone,
            stamps=stamps,
        )
        typer.echo(f"{write_sites(opened, output, progress=not quiet)}: {dict(opened.sizes)}")


@julia_app.command("install")
def julia_install(debug: Debug = False) -> None:
    """Find or download Julia and its packages and compile them; needs the internet once."""
    with reporting(debug):
        from .bridge.install import prepare

        prepare(lambda text: typer.echo(text))


@julia_app.callback()
def _julia() -> None:
    pass
