"""Downloading public archives.

Resumed after an interruption, checked against their hash, unpacked.
"""

from __future__ import annotations

import json
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pooch
import requests
from tqdm import tqdm

from pydiffgeo import __version__
from pydiffgeo.data.archives import ARCHIVES, ArchiveFile
from pydiffgeo.data.unpack import unpack_archive
from pydiffgeo.errors import DataError, lookup
from pydiffgeo.files import write_file

RECORD = "hashes.json"  # sha256 of files without a published hash, as first downloaded
ATTEMPTS = 3
TIMEOUT = (30, 120)  # seconds to connect, and between two bytes
CHUNK = 2**16  # what a connection that breaks can cost


def fetch(
    name: str,
    folder: str | Path,
    *,
    accept_unverified: bool = False,
    unpack: bool = True,
    progress: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Download an archive of `ARCHIVES` into a folder and unpack it.

    What is already there and right is not fetched again.

    An interrupted download goes on where it stopped when the call is given again, if the server
    can; the file may not have changed in between. Each file is compared with the hash that its
    publisher gives. Where none is known (`ArchiveFile.hash` is None; at present only
    ``caravan_csv``) the first download needs `accept_unverified`; its sha256 is then recorded in
    ``hashes.json`` and holds from then on.

    Parameters
    ----------
    name : str
        A name of `ARCHIVES`.
    folder : str or Path
        Where to; made if absent. `open_sites` takes it as its path.
    accept_unverified : bool
        Allow the first download of a file whose hash is not published.
    unpack : bool
        Unpack zip and tar files; they are kept beside what was in them.
    progress : bool
        Show progress bars.
    say : callable
        Told in words what happens.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UnknownName
        No such archive.
    DataError
        The download failed or was cut off (what arrived is kept), a hash is wrong (what arrived is
        deleted), consent is missing, or the disk is full.
    """
    archive = lookup(ARCHIVES, name, "archive")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    say(f"{archive.title}. {archive.license}; cite {archive.source}.")
    for file in archive.files:
        _fetch_file(file, folder, accept_unverified, progress, say)
    if unpack:
        for file in archive.files:
            if file.unpack:
                _unpack(folder / file.name, folder, progress, say)
    return folder


def _fetch_file(
    file: ArchiveFile, folder: Path, accept: bool, progress: bool, say: Callable[[str], None]
) -> None:
    target = folder / file.name
    recorded = _recorded(folder)
    known = file.hash or recorded.get(file.name)
    if known is None and not accept:
        raise DataError(
            f"no hash of {target.name} is known, so that the download cannot be checked; allow it "
            "with --accept-unverified (accept_unverified=True): its sha256 is then recorded in "
            f"{folder / RECORD} and checked from then on."
        )
    if known is not None and target.is_file() and pooch.hashes.hash_matches(str(target), known):
        say(f"{file.name}: already there, its hash is right")
        return
    _check_disk(file, folder)
    say(f"{file.name}: from {file.url}")
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")  # it would repeat what `say` says
    try:
        pooch.retrieve(
            file.url,
            known,
            fname=PurePosixPath(file.name).name,
            path=target.parent,
            downloader=ResumingDownloader(target.with_name(target.name + ".part"), progress),
        )
    except DataError:
        raise
    except ValueError as error:  # pooch: the hash does not match
        raise DataError(
            f"{file.url} gave a file whose hash is not the known one ({known}); it was deleted. "
            "Give the same command again; if it happens twice, the archive has changed: compare "
            f"with its page, and do not use the file before that. ({error})."
        ) from error
    finally:
        logger.setLevel(level)
    if file.hash is None and file.name not in recorded:
        found = "sha256:" + pooch.file_hash(str(target))
        write_file(folder / RECORD, json.dumps(recorded | {file.name: found}, indent=1) + "\n")
        say(f"{file.name}: {found}, recorded in {RECORD}; nobody published one to compare it with")


class ResumingDownloader:
    """A downloader for pooch that keeps what arrived, and goes on from there the next time.

    Parameters
    ----------
    part : Path
        File that grows; beside it stands the version of the file that the server stated (ETag or
        date).
    progress : bool
        Show a progress bar.
    """

    def __init__(self, part: Path, progress: bool):
        self.part, self.progress = part, progress
        self.version = part.with_name(part.name + ".version")

    def __call__(
        self, url: str, output_file: Any, pooch: Any = None, check_only: bool = False
    ) -> bool | None:
        """Download `url` into `output_file`.

        Raises
        ------
        DataError
            No connection, an error of the server, or a connection that broke `ATTEMPTS` times.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._append(url)
                break
            except requests.RequestException as error:
                refused = getattr(error, "response", None) is not None
                if refused or attempt == ATTEMPTS:
                    have = self.part.stat().st_size if self.part.exists() else 0
                    kept = (
                        f"{have} bytes are kept; give the same command again to go on"
                        if have
                        else "nothing arrived"
                    )
                    hint = (
                        "address and its status page"
                        if refused
                        else "connection (behind a proxy: HTTPS_PROXY)"
                    )
                    raise DataError(
                        f"{url} could not be downloaded ({error}); {kept}. If it stays so, check "
                        f"the {hint}."
                    ) from error
        shutil.move(self.part, str(output_file))
        self.version.unlink(missing_ok=True)
        return None

    def _append(self, url: str) -> None:
        have = self.part.stat().st_size if self.part.exists() else 0
        version = self.version.read_text() if have and self.version.exists() else ""
        headers = {"User-Agent": f"pydiffgeo/{__version__}", "Accept-Encoding": "identity"}
        if have and version:  # without a version nobody knows whether it is still the same file
            headers |= {"Range": f"bytes={have}-", "If-Range": version}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if (
                answer.status_code == 416
                and answer.headers.get("Content-Range", "") == f"bytes */{have}"
            ):
                return  # it was complete already
            answer.raise_for_status()
            resumed = answer.status_code == 206 and answer.headers.get(
                "Content-Range", ""
            ).startswith(f"bytes {have}-")
            if not resumed:
                have = 0
                self.version.write_text(_version(answer))
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            shown = {
                "unit": "B",
                "unit_scale": True,
                "desc": self.part.stem,
                "disable": not self.progress,
            }
            with (
                open(self.part, "ab" if resumed else "wb") as stream,
                tqdm(total=total, initial=have, **shown) as bar,
            ):
                for chunk in answer.iter_content(CHUNK):
                    stream.write(chunk)
                    bar.update(len(chunk))
        arrived = self.part.stat().st_size
        if total is not None and arrived < total:
            raise requests.ConnectionError(f"the connection ended after {arrived} of {total} bytes")


def _version(answer: requests.Response) -> str:
    """Return a strong ETag or the date of the file, or ""."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _recorded(folder: Path) -> dict[str, str]:
    path = folder / RECORD
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); correct or delete it.") from error


def _check_disk(file: ArchiveFile, folder: Path) -> None:
    if file.size is not None:
        part = folder / f"{file.name}.part"
        needed = file.size - (part.stat().st_size if part.exists() else 0)
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise DataError(
                f"{file.name} needs {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB free; "
                "make room, or choose another folder with --output."
            )


def _unpack(packed: Path, folder: Path, progress: bool, say: Callable[[str], None]) -> None:
    done = folder / f".{packed.name}.unpacked"
    stamp = f"{packed.stat().st_size} {packed.stat().st_mtime_ns}"
    if done.is_file() and done.read_text() == stamp:
        say(f"{packed.name}: already unpacked")
        return
    say(f"{packed.name}: unpacking into {folder}")
    try:
        unpack_archive(packed, folder, progress)
    except (
        OSError,
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        RuntimeError,
    ) as error:
        why = " ".join(str(error).split())
        raise DataError(
            f"{packed} cannot be unpacked ({why}); make room on the disk, or delete it and fetch "
            "again."
        ) from error
    done.write_text(stamp)
