"""What pyproject.toml cannot say: the sources of the Julia package travel inside the Python package."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

JULIA = Path("julia_src")


class BuildWithJulia(build_py):
    """Copy julia_src, but for its tests, to where pydiffgeo.bridge.runtime.sources looks for it."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # found beside the package
            return
        target = Path(self.build_lib, "pydiffgeo", JULIA)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(JULIA, target, ignore=shutil.ignore_patterns("test", "Manifest*.toml"))


setup(cmdclass={"build_py": BuildWithJulia})
