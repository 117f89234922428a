"""Settings that pyproject.toml cannot express: sources of Julia and documents go into the wheel."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# folder of the repository -> what of it stays out of the package
FOLDERS = {
    "julia_src": ("test", "Manifest*.toml"),
    "docs": ("generated", "figures", "tutorials", "api", "*.py"),
}


class BuildWithFolders(build_py):
    """Copy folders to where `pydiffgeo.bridge.runtime.sources` and `pydiffgeo doctor` look."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # found beside the package
            return
        for folder, ignored in FOLDERS.items():
            target = Path(self.build_lib, "pydiffgeo", folder)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(folder, target, ignore=shutil.ignore_patterns(*ignored))


setup(cmdclass={"build_py": BuildWithFolders})
