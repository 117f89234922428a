"""The public archives that `pydiffgeo data fetch` knows.

Addresses, sizes and hashes as their publishers give them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArchiveFile:
    """One file of an archive.

    Attributes
    ----------
    url : str
        Address.
    name : str
        Name in the folder, with a folder in front where it belongs into one.
    hash : str or None
        "md5:..." or "sha256:..." as published; None where none is published: the first download
        then needs the caller's consent, and its sha256 is recorded and holds from then on.
    size : int or None
        Bytes, where known; for the check of the disk.
    unpack : bool
        Whether it is a zip or tar file to unpack.
    """

    url: str
    name: str
    hash: str | None
    size: int | None = None
    unpack: bool = False


@dataclass(frozen=True)
class Archive:
    """A public data set.

    Attributes
    ----------
    title, source, license : str
        What to cite, and on which terms.
    files : tuple of ArchiveFile
        All that `open_sites` needs.
    """

    title: str
    source: str
    license: str
    files: tuple[ArchiveFile, ...]


CAMELS_US = "https://zenodo.org/records/15529996/files"
# md5 of the attribute tables: published by Zenodo, and those of the tables that the tests read
CAMELS_US_TABLES = {
    "camels_name.txt": "md5:c96491b32c4df55a31bead7ceca7d64b",
    "camels_topo.txt": "md5:0f6267838c40b1507b64582433bc0b8e",
    "camels_clim.txt": "md5:67f22592f3fb72c57df81358ce68458b",
    "camels_soil.txt": "md5:8edb46a363a20b466a4b7105ba633767",
    "camels_geol.txt": "md5:f5ce5de53eb1ea2532cda7e3b4813993",
    "camels_vege.txt": "md5:f40e843defc1e654a800be9fe5fd5090",
    "camels_hydro.txt": "md5:55ebdeb36c42ee7acdb998229c3edb3a",
}

ARCHIVES: dict[str, Archive] = {
    "camels_us": Archive(
        "CAMELS-US: forcing (Daymet, Maurer, NLDAS), discharge and attributes of 671 sites, 3.4 GB",
        "Newman et al. 2015 (doi:10.5194/hess-19-209-2015), Addor et al. 2017 "
        "(doi:10.5194/hess-21-5293-2017), doi:10.5065/D6MW2F4D",
        "CC-BY-4.0",
        (
            ArchiveFile(
                f"{CAMELS_US}/basin_timeseries_v1p2_metForcing_obsFlow.zip",
                "basin_timeseries_v1p2_metForcing_obsFlow.zip",
                "md5:8e9a466710e8270b58f01d332a87184f",
                3_406_626_583,
                unpack=True,
            ),
            *(
                ArchiveFile(f"{CAMELS_US}/{name}", f"camels_attributes_v2.0/{name}", known)
                for name, known in CAMELS_US_TABLES.items()
            ),
        ),
    ),
    "caravan": Archive(
        "Caravan 1.6, netCDF: ERA5-Land forcing, discharge and attributes of about 16 000 sites, "
        "25 GB",
        "Kratzert et al. 2023 (doi:10.1038/s41597-023-01975-w), doi:10.5281/zenodo.15529786",
        "CC-BY-4.0",
        (
            # the md5 as Zenodo lists it; nobody has compared a download with it for this list
            ArchiveFile(
                "https://zenodo.org/records/15529786/files/Caravan-nc.tar.gz",
                "Caravan-nc.tar.gz",
                "md5:ad3a7767db059f218380e9cce5f72452",
                unpack=True,
            ),
        ),
    ),
    "caravan_csv": Archive(
        "Caravan 1.6, CSV: as caravan, much slower to read, 29 GB",
        "Kratzert et al. 2023 (doi:10.1038/s41597-023-01975-w), doi:10.5281/zenodo.15530022",
        "CC-BY-4.0",
        (
            # Zenodo shows an md5 on the record's page, which could not be looked up when this list
            # was made
            ArchiveFile(
                "https://zenodo.org/records/15530022/files/Caravan-csv.tar.gz",
                "Caravan-csv.tar.gz",
                None,
                unpack=True,
            ),
        ),
    ),
}
