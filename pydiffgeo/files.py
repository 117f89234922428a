"""Files that are written whole or not at all, and a lock on a folder."""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from .errors import OutputError, PyDiffGeoError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("pydiffgeo")

LOCK = "run.lock"
REMEDIES = {
    errno.ENOSPC: "Make room",
    errno.EDQUOT: "Make room within your quota",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "Choose a folder on a disk that can be written",
    errno.EACCES: "Choose a folder that you may write to",
    errno.EPERM: "Choose a folder that you may write to",
    errno.ENOTDIR: "Choose a folder whose parents are all folders",
    errno.EEXIST: "Choose a folder whose name is not that of a file",
}


@contextmanager
def replacing(
    path: str | Path, then: str = "run the command again", kept: str = ""
) -> Iterator[Path]:
    """Give the name of a file to write, which takes the place of `path` at the end.

    If anything fails, `path` stays as it was.

    The name is new in each call: two processes that write one path leave the file of the one or the
    other, never a mixture.

    Parameters
    ----------
    path : str or Path
        File that is to be written; its folder is created.
    then, kept : str
        Words of an error: what to do when it can be written again, and what is still there.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    part = _own_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        _to_disk(part)
        os.replace(part, path)
    except (OSError, RuntimeError) as error:
        # on a full disk the netCDF library says no more than "NetCDF: HDF error", as a RuntimeError
        if isinstance(error, PyDiffGeoError) or not (
            isinstance(error, OSError) or str(error).startswith("NetCDF: ")
        ):
            raise
        raise _refused(path, error, then, kept) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_file(path: str | Path, content: str | bytes) -> Path:
    """Write text, as UTF-8, or bytes by `replacing`, and return the path."""
    with replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(path)


def write_netcdf(dataset: Any, path: str | Path, **options: Any) -> Path:
    """Write an xarray object as netCDF, whole or not at all, and return the path.

    Options are those of its ``to_netcdf``.
    """
    with replacing(path) as part:
        dataset.to_netcdf(part, **options)
    return Path(path)


def require_room(folder: str | Path, size: int = 2**20) -> None:
    """Write a file of `size` bytes into a folder and remove it.

    What cannot be kept is said before it is computed.

    Raises
    ------
    OutputError
        The folder cannot be made or written, or is full.
    """
    folder = Path(folder)
    part = _own_name(folder / "room")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            for start in range(0, size, 2**20):
                file.write(bytes(min(2**20, size - start)))
        _to_disk(part)
    except OSError as error:
        raise _refused(folder, error, "run the command again") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove half-written files of processes that were killed.

    Call it where no other process writes.
    """
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def file_name(name: str) -> str:
    """Return a name, of a basin for example, as one of a file.

    What may not stand there is percent-encoded.
    """
    return quote(name, safe=" ,=+@()")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, which is created, so that no second process writes into it at the same time.

    The lock is one of the operating system. It ends with its process, however that ends: what a
    dead process left is taken over. The file ``run.lock`` says who holds it.

    Raises
    ------
    OutputError
        Another process holds it; process, host and time are named. Or the folder cannot be written.
    """
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _locked(path)
    except OSError as error:
        if isinstance(error, PyDiffGeoError):
            raise
        raise _refused(path, error, "run the command again") from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        file.close()


def _locked(path: Path) -> IO[str]:
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            if fcntl is None:
                raise OSError("this system has no such locks")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(file)
            file.close()
            raise OutputError(
                f"{path.parent} is being written by {holder}. Wait until that has ended, stop it, "
                "or name another folder."
            ) from None
        except OSError as error:  # some network disks have no locks
            log.warning(
                "%s cannot be locked (%s): let no second process write there.",
                path.parent,
                error.strerror or error,
            )
        with suppress(FileNotFoundError):  # the one before us has just removed it
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        file.close()
    file.truncate(0)
    own = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
    file.write(json.dumps(own) + "\n")
    file.flush()
    return file


def _holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        return "process {process} on {host} since {since}".format(**json.loads(file.read()))
    except (ValueError, KeyError, TypeError):  # it has not written yet who it is
        return "another process"


def _own_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")


def _to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _refused(path: Path, error: OSError | RuntimeError, then: str, kept: str = "") -> OutputError:
    there = next((folder for folder in (path, *path.parents) if folder.is_dir()), Path())
    try:
        free = f"; {shutil.disk_usage(there).free / 2**20:,.0f} MiB are free there"
    except OSError:
        free = ""
    remedy = REMEDIES.get(
        getattr(error, "errno", None) or 0, "See that the disk has room and can be written"
    )
    reason = getattr(error, "strerror", None) or error
    return OutputError(f"{path} cannot be written ({reason}{free}). {kept}{remedy}, then {then}.")
