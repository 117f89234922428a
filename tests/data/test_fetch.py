"""Downloads from a server on this machine.

Resumed, checked, unpacked, and refused with a remedy.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import site_files
from typer.testing import CliRunner

from pydiffgeo import cli
from pydiffgeo.data import open_sites
from pydiffgeo.data.archives import ARCHIVES, CAMELS_US_TABLES, Archive, ArchiveFile
from pydiffgeo.data.fetch import fetch
from pydiffgeo.errors import DataError, UnknownName

CONTENT = np.random.default_rng(0).bytes(300_000)


class Server(ThreadingHTTPServer):
    """Serves `files`, and answers to ranges; breaks off after `cut` bytes once for each entry."""

    files: dict[str, bytes]
    cut: list[int]
    ranges: list[str | None]
    version = '"one"'
    ignores_ranges = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, body = self.server, self.server.files.get(self.path.lstrip("/"))
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if body is None:
            self.send_error(404)
            return
        first = 0
        if asked and not server.ignores_ranges and self.headers.get("If-Range") == server.version:
            first = int(asked.removeprefix("bytes=").rstrip("-"))
            if first >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("ETag", server.version)
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        stop = first + server.cut.pop(0) if server.cut else len(body)
        self.wfile.write(body[first:stop])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    serving = Server(("127.0.0.1", 0), Handler)
    serving.files, serving.cut, serving.ranges = {"a.bin": CONTENT}, [], []
    thread = threading.Thread(
        target=serving.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    yield serving
    serving.shutdown()
    serving.server_close()
    thread.join()


def offer(patch: pytest.MonkeyPatch, *files: ArchiveFile) -> None:
    patch.setitem(ARCHIVES, "test", Archive("A test", "nobody", "CC0", files))


def md5(content: bytes) -> str:
    return "md5:" + hashlib.md5(content).hexdigest()


@pytest.fixture
def archive(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    offer(monkeypatch, ArchiveFile(f"{server.url}/a.bin", "inside/a.bin", md5(CONTENT)))
    return server


def test_a_download_arrives_and_is_not_repeated(archive: Server, tmp_path: Path) -> None:
    said: list[str] = []
    folder = fetch("test", tmp_path / "new", progress=False, say=said.append)
    assert (folder / "inside" / "a.bin").read_bytes() == CONTENT and "CC0; cite nobody" in said[0]
    fetch("test", folder, progress=False, say=said.append)
    assert archive.ranges == [None] and "already there" in said[-1]
    (folder / "inside" / "a.bin").write_bytes(b"damaged later")
    fetch("test", folder, progress=False)
    assert (folder / "inside" / "a.bin").read_bytes() == CONTENT
    assert sorted(p.name for p in folder.rglob("*")) == ["a.bin", "inside"]  # nothing is left over


def test_an_interrupted_download_goes_on_where_it_stopped(archive: Server, tmp_path: Path) -> None:
    archive.cut = [65_536, 0, 70_000]  # three attempts of the first call break off
    with pytest.raises(
        DataError, match="131072 bytes are kept; give the same command again to go on"
    ) as error:
        fetch("test", tmp_path, progress=False)
    assert "HTTPS_PROXY" in str(error.value)
    assert archive.ranges == [None, "bytes=65536-", "bytes=65536-"]
    fetch("test", tmp_path, progress=False)
    assert (
        archive.ranges[3:] == ["bytes=131072-"]
        and (tmp_path / "inside" / "a.bin").read_bytes() == CONTENT
    )


def test_a_broken_connection_is_tried_again_within_a_call(archive: Server, tmp_path: Path) -> None:
    archive.cut = [7, 200_000]  # seven bytes are less than a chunk, and lost
    fetch("test", tmp_path, progress=False)
    assert archive.ranges == [None, None, "bytes=196608-"]
    assert (tmp_path / "inside" / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("change", ["version", "ignores_ranges"])
def test_another_file_or_server_begins_anew(archive: Server, change: str, tmp_path: Path) -> None:
    archive.cut = [100_000, 0, 0]
    with pytest.raises(DataError):
        fetch("test", tmp_path, progress=False)
    setattr(archive, change, '"two"' if change == "version" else True)
    fetch("test", tmp_path, progress=False)
    assert (tmp_path / "inside" / "a.bin").read_bytes() == CONTENT


def test_a_part_that_was_complete_is_taken(archive: Server, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "a.bin.part").write_bytes(CONTENT)
    (tmp_path / "inside" / "a.bin.part.version").write_text(archive.version)
    fetch("test", tmp_path, progress=False)
    assert (tmp_path / "inside" / "a.bin").read_bytes() == CONTENT


def test_a_wrong_hash_is_refused_and_nothing_is_kept(archive: Server, tmp_path: Path) -> None:
    archive.files["a.bin"] = CONTENT[:-1] + b"x"
    with pytest.raises(
        DataError,
        match="hash is not the known one .md5:.*it was deleted. Give the same command again",
    ):
        fetch("test", tmp_path, progress=False)
    assert not list((tmp_path / "inside").iterdir())
    archive.files["a.bin"] = CONTENT
    fetch("test", tmp_path, progress=False)  # the remedy works


def test_a_file_without_a_hash_needs_consent_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, ArchiveFile(f"{server.url}/a.bin", "a.bin", None))
    with pytest.raises(DataError, match="no hash of a.bin is known.*--accept-unverified"):
        fetch("test", tmp_path, progress=False)
    assert server.ranges == []
    fetch("test", tmp_path, progress=False, accept_unverified=True)
    assert hashlib.sha256(CONTENT).hexdigest() in (tmp_path / "hashes.json").read_text()
    fetch("test", tmp_path, progress=False)
    assert len(server.ranges) == 1
    (tmp_path / "a.bin").unlink()
    server.files["a.bin"] = b"something else"
    with pytest.raises(DataError, match="hash is not the known one .sha256:"):
        fetch("test", tmp_path, progress=False, accept_unverified=True)
    (tmp_path / "hashes.json").write_text("{")
    with pytest.raises(DataError, match="hashes.json is damaged"):
        fetch("test", tmp_path, progress=False)


def test_what_the_server_refuses_and_a_full_disk(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, ArchiveFile(f"{server.url}/absent", "absent", md5(b"")))
    with pytest.raises(DataError, match="404.*nothing arrived. If it stays so, check the address"):
        fetch("test", tmp_path, progress=False)
    assert len(server.ranges) == 1  # an answer is an answer: no second try
    offer(monkeypatch, ArchiveFile(f"{server.url}/a.bin", "a.bin", md5(CONTENT), size=10**16))
    with pytest.raises(DataError, match="needs 10000000.0 GB, .* free; make room, or .*--output"):
        fetch("test", tmp_path, progress=False)
    with pytest.raises(UnknownName, match="did you mean 'camels_us'"):
        fetch("camels-us", tmp_path)


def packed(kind: str, root: Path) -> bytes:
    """A small CAMELS-US, packed one level down as the archive is."""
    memory = io.BytesIO()
    files = [
        (f"basin_dataset_public_v1p2/{p.relative_to(root)}", p)
        for p in sorted(root.rglob("*"))
        if p.is_file()
    ]
    if kind == "zip":
        with zipfile.ZipFile(memory, "w") as out:
            for name, path in files:
                out.write(path, name)
    else:
        with tarfile.open(fileobj=memory, mode="w:gz") as out:
            for name, path in files:
                out.add(path, name)
    return memory.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_from_download_to_records(
    kind: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = site_files.camels_us(tmp_path / "source")
    tables = {p.name: p.read_bytes() for p in (root / "camels_attributes_v2.0").iterdir()}
    for path in (root / "camels_attributes_v2.0").iterdir():
        path.unlink()
    content = packed(kind, root)
    server.files = {f"data.{kind}": content, **tables}
    offer(
        monkeypatch,
        ArchiveFile(
            f"{server.url}/data.{kind}", f"data.{kind}", md5(content), len(content), unpack=True
        ),
        *(
            ArchiveFile(f"{server.url}/{n}", f"camels_attributes_v2.0/{n}", md5(b))
            for n, b in tables.items()
        ),
    )
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.app, ["data", "fetch", "test", "--quiet"])
    assert result.exit_code == 0, result.output
    opened = open_sites("data/test")
    assert (
        opened.sizes["site"] == 2
        and opened.aridity[0] == 0.8
        and opened.precipitation.notnull().all()
    )
    again = CliRunner().invoke(cli.app, ["data", "fetch", "test", "--quiet"])
    assert "already unpacked" in again.stdout and len(server.ranges) == 1 + len(tables)
    checked = CliRunner().invoke(cli.app, ["data", "check", "data/test"])
    assert checked.exit_code == 0 and "2 sites, 40 steps, 0 problems" in checked.stdout
    assert "discharge: 2 of 80 steps are not observed" in checked.stdout
    convert = [
        "data",
        "convert",
        "data/test",
        "all.nc",
        "--variable",
        "prcp",
        "--variable",
        "discharge",
        "--quiet",
    ]
    assert CliRunner().invoke(cli.app, convert).exit_code == 0
    before = Path("all.nc").stat().st_mtime_ns
    again = CliRunner().invoke(cli.app, convert)
    assert again.exit_code == 1 and Path("all.nc").stat().st_mtime_ns == before
    assert "all.nc exists already. Name another file, or replace it by --overwrite." in again.output
    assert CliRunner().invoke(cli.app, [*convert, "--overwrite"]).exit_code == 0
    assert Path("all.nc").stat().st_mtime_ns > before
    np.testing.assert_allclose(open_sites("all.nc").precipitation, opened.precipitation)
    bad = CliRunner().invoke(cli.app, ["data", "check", "data/test", "--end", "2001-03-01"])
    assert (
        bad.exit_code == 1
        and "missing time: 2 in 2 of 2 sites\n  no record of any forcing in site 0101" in bad.stdout
    )


def test_a_damaged_archive_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, ArchiveFile(f"{server.url}/a.bin", "a.tar.gz", md5(CONTENT), unpack=True))
    with pytest.raises(DataError, match="a.tar.gz cannot be unpacked .*delete it and fetch again"):
        fetch("test", tmp_path, progress=False)
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w") as out:
        out.addfile(tarfile.TarInfo("../outside"))
    server.files["a.bin"] = evil.getvalue()
    offer(
        monkeypatch, ArchiveFile(f"{server.url}/a.bin", "b.tar", md5(evil.getvalue()), unpack=True)
    )
    with pytest.raises(DataError, match="b.tar has an entry .*leads out of the folder"):
        fetch("test", tmp_path / "in", progress=False)
    assert not (tmp_path / "outside").exists()


def test_errors_of_the_command_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.app, ["data", "fetch", "karavan"])
    assert result.exit_code == 1 and result.stderr.startswith(
        "error: unknown archive 'karavan'; did you mean 'caravan'?"
    )
    listed = CliRunner().invoke(cli.app, ["data", "list"]).stdout
    assert all(name in listed for name in ARCHIVES) and listed.count("no known hash") == 1


def test_the_hashes_are_those_of_the_tables_at_hand(shared_data) -> None:
    folder = shared_data("camels_us_sample/camels_attributes_v2.0")
    for name, known in CAMELS_US_TABLES.items():
        assert md5((folder / name).read_bytes()) == known
    for archive in ARCHIVES.values():
        for file in archive.files:
            assert file.url.startswith("https://") and (
                file.hash is None or len(file.hash) == 4 + 32
            )
