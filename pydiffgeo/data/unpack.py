"""Unpacking archives that somebody else made.

Files and folders below one folder, nothing else, whatever Python it runs on.
"""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple

from pydiffgeo.console import progress_bar
from pydiffgeo.errors import DataError


class Member(NamedTuple):
    """An entry of an archive.

    Its name, what it is ("file", "folder", or what else in words), and its content.
    """

    name: str
    kind: str
    content: IO[bytes] | None


def unpack_archive(packed: Path, folder: Path, progress: bool = True) -> None:
    """Unpack a zip or tar file into a folder.

    Only plain files and folders are made, with the permissions that new files have here. A link
    (symbolic or hard) or device is refused, and so is a name that leads out of the folder: with
    links an archive can leave it past the filter that Python's own tarfile has (CVE-2025-4517), and
    some Pythons have no filter.

    Parameters
    ----------
    packed : Path
        The archive.
    folder : Path
        Where to; made if absent.
    progress : bool
        Show a progress bar.

    Raises
    ------
    DataError
        An entry that is refused; nothing of it is written, what came before stays.
    OSError, EOFError, RuntimeError, TarError, BadZipFile, zlib.error, LZMAError
        The archive is damaged or encrypted, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    members = _of_zip(packed) if zipfile.is_zipfile(packed) else _of_tar(packed)
    bar = progress_bar(progress, desc=f"unpacking {packed.name}", unit="file")
    with bar:
        for member in members:
            _write(member, packed, folder)
            bar.update()


def _write(member: Member, packed: Path, folder: Path) -> None:
    name, kind, content = member
    if kind not in ("file", "folder"):
        raise DataError(
            f"{packed} has {kind}, {name!r}, which is not unpacked: data are plain files. Do not "
            "use this archive."
        )
    target = _inside(folder, name, packed)
    if content is None:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, open(target, "wb") as file:
        shutil.copyfileobj(content, file, 2**20)


def _inside(folder: Path, name: str, packed: Path) -> Path:
    """Return the path of an entry, which is below the folder, also where a link that was there
    before stands in the way.
    """
    parts = PurePosixPath(name).parts
    windows = PureWindowsPath(name)
    if (
        not name
        or "\0" in name
        or ".." in parts
        or name.startswith("/")
        or windows.drive
        or ".." in windows.parts
    ):
        raise DataError(
            f"{packed} has an entry {name!r}, which leads out of the folder; do not use this "
            "archive."
        )
    target = folder.joinpath(*parts)
    if not target.resolve().is_relative_to(folder.resolve()) or target.is_symlink():
        raise DataError(
            f"{packed} would write {name!r} through a link out of {folder}; remove the link, or "
            "unpack elsewhere."
        )
    return target


def _of_zip(packed: Path) -> Iterator[Member]:
    with zipfile.ZipFile(packed) as archive:
        for entry in archive.infolist():
            mode = entry.external_attr >> 16
            if entry.is_dir():
                yield Member(entry.filename, "folder", None)
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                yield Member(
                    entry.filename, "a link" if stat.S_ISLNK(mode) else "a special file", None
                )
            else:
                yield Member(entry.filename, "file", archive.open(entry))


def _of_tar(packed: Path) -> Iterator[Member]:
    with tarfile.open(packed) as archive:
        for entry in archive:
            if entry.isdir():
                yield Member(entry.name, "folder", None)
            elif entry.isreg():
                yield Member(entry.name, "file", archive.extractfile(entry))
            else:
                kind = (
                    "a symbolic link"
                    if entry.issym()
                    else "a hard link"
                    if entry.islnk()
                    else "a device or special file"
                )
                yield Member(entry.name, kind, None)
