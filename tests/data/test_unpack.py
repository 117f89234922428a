"""An archive writes plain files below its folder and nothing anywhere else."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from pydiffgeo.data.unpack import unpack_archive
from pydiffgeo.errors import DataError

TYPES = {
    "symbolic link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
    "special file": tarfile.FIFOTYPE,
}


def tar(path: Path, *entries: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as out:
        for entry in entries:
            content = b"from the archive" if entry.isreg() else b""
            entry.size = len(content)
            out.addfile(entry, io.BytesIO(content))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


def untouched(folder: Path) -> bool:
    """Nothing came outside of the folder `in`."""
    known = {"in", "a.tar.gz", "a.zip", "secret"}
    return {p.name for p in folder.iterdir()} <= known and (folder / "secret").read_text() == "mine"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("mine")
    return tmp_path


def test_files_and_folders_arrive(folder: Path) -> None:
    packed = tar(
        folder / "a.tar.gz",
        entry("data", tarfile.DIRTYPE),
        entry("./data/deep/x.txt"),
        entry("y.txt"),
    )
    unpack_archive(packed, folder / "in", progress=False)
    assert (folder / "in/data/deep/x.txt").read_text() == "from the archive" and (
        folder / "in/y.txt"
    ).is_file()
    with zipfile.ZipFile(folder / "a.zip", "w") as out:
        out.mkdir("data")
        out.writestr("data/x.txt", "again")
    unpack_archive(folder / "a.zip", folder / "in", progress=False)
    assert (folder / "in/data/x.txt").read_text() == "again"


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("link", ["x.txt", "../secret", "/etc/passwd"])
def test_links_and_devices_are_refused_wherever_they_lead(
    kind: str, link: str, folder: Path
) -> None:
    packed = tar(
        folder / "a.tar.gz", entry("x.txt"), entry("bad", TYPES[kind], link), entry("bad/secret")
    )
    with pytest.raises(DataError, match=f"a.tar.gz has a .*{kind}.*, 'bad', which is not unpacked"):
        unpack_archive(packed, folder / "in", progress=False)
    assert [p.name for p in (folder / "in").iterdir()] == ["x.txt"] and untouched(folder)


@pytest.mark.parametrize(
    "name",
    ["../secret", "a/../../secret", "/tmp/secret", "..\\secret", "C:\\secret", "C:/x", "data/.."],
)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_lead_out_are_refused(kind: str, name: str, folder: Path) -> None:
    packed = folder / ("a.zip" if kind == "zip" else "a.tar.gz")
    if kind == "zip":
        with zipfile.ZipFile(packed, "w") as out:
            out.writestr(name, "evil")
    else:
        tar(packed, entry(name))
    with pytest.raises(DataError, match="leads out of the folder; do not use this archive"):
        unpack_archive(packed, folder / "in", progress=False)
    assert not list((folder / "in").rglob("*")) and untouched(folder)


def test_a_link_in_a_zip_is_refused(folder: Path) -> None:
    link = zipfile.ZipInfo("bad")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(folder / "a.zip", "w") as out:
        out.writestr(link, "../secret")
    with pytest.raises(DataError, match="a.zip has a link, 'bad'"):
        unpack_archive(folder / "a.zip", folder / "in", progress=False)
    assert untouched(folder)


@pytest.mark.parametrize("name", ["there", "there/secret"])
def test_a_link_that_was_there_before_is_not_followed(name: str, folder: Path) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "there").symlink_to(folder / "secret" if name == "there" else folder)
    with pytest.raises(DataError, match="through a link out of .*remove the link"):
        unpack_archive(tar(folder / "a.tar.gz", entry(name)), folder / "in", progress=False)
    assert untouched(folder)
