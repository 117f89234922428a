"""The commands `pydiffgeo data ...` and `pydiffgeo julia ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .errors import OutputError
from .reporting import Debug, Quiet, reporting

julia_app = typer.Typer(no_args_is_help=True, help="Julia, for the Julia engine.")
data_app = typer.Typer(no_args_is_help=True, help="Records of sites: download, check, convert.")


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
    with reporting(debug):
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
    with reporting(debug):
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
    with reporting(debug):
        from .bridge.install import prepare

        prepare(lambda text: typer.echo(text))


@julia_app.callback()
def _julia() -> None:
    pass
