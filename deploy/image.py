"""Prepares an installation of the exporter for its image. The Dockerfile runs it with the Python of the installation.

    /app/bin/python deploy/image.py /program/app

It removes what the exporter doesn't need, adds bytecode, and moves the exporter's own files to `/program/app`.
The dependencies stay. So they get their own layer of the image, which changes only if they or Python change.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
import sys
from compileall import compile_dir, compile_file
from pathlib import Path
from py_compile import PycInvalidationMode

BYTECODE = "bytecode"
"""The folder of all bytecode. PYTHONPYCACHEPREFIX in the Dockerfile is its path in the image."""

_COMMANDS = ("telnyx-exporter", "python*")
_SOURCES = frozenset({".c", ".h", ".pxd", ".pxi", ".pyi", ".pyx"})
"""Files for compilers and type checkers."""
_PROGRAM = ("bin/telnyx-exporter", "sbom.cdx.json", "**/site-packages/exporter", "**/site-packages/telnyx_exporter-*")
_IMPORTED_LATER = ("encodings.idna", "encodings.unicode_escape", "jinja2")
"""Modules that the exporter imports when it listens on an address, or when somebody opens the status page."""


def remove_unneeded(app: Path) -> None:
    """Remove other commands, sources of compiled modules, and type stubs."""
    for path in (app / "bin").iterdir():
        if not any(path.match(pattern) for pattern in _COMMANDS):
            path.unlink()
    for path in (app / "lib").rglob("*"):
        if path.suffix in _SOURCES:
            path.unlink()


def add_bytecode(app: Path) -> None:
    """Compile the installation, and the modules of Python's standard library that the exporter imports.

    The base image has no bytecode of the standard library, and the exporter can't write any. So each start would
    compile these modules again. Bytecode with unchecked hashes contains no times, so it is the same in each build.
    """
    sys.dont_write_bytecode = True  # imports would write bytecode that contains times
    sys.pycache_prefix = str(app / BYTECODE)
    mode = PycInvalidationMode.UNCHECKED_HASH
    others = [file for file in _imported_files() if not file.is_relative_to(app)]
    compiled = [compile_dir(app / "lib", quiet=1, invalidation_mode=mode)]
    compiled += [compile_file(file, quiet=1, invalidation_mode=mode) for file in others]
    if not all(compiled):
        sys.exit("can't compile all modules")


def _imported_files() -> list[Path]:
    package = importlib.import_module("exporter")
    for module in pkgutil.walk_packages(package.__path__, "exporter."):
        importlib.import_module(module.name)
    for name in _IMPORTED_LATER:
        importlib.import_module(name)
    files = [Path(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))]
    return sorted(file for file in files if file.suffix == ".py" and file != Path(__file__))


def move_program(app: Path, target: Path) -> None:
    """Move the exporter's own files to a folder."""
    for path in [path for pattern in _PROGRAM for path in app.glob(pattern)]:
        destination = target / path.relative_to(app)
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, destination)


def reset_times(folder: Path) -> None:
    """Set the times of all files to 1970, so that layers with the same files are the same."""
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (0, 0), follow_symlinks=False)


def main(target: Path) -> None:
    """Prepare the installation that runs this script, and move the exporter to `target`."""
    app = Path(sys.prefix)
    remove_unneeded(app)
    add_bytecode(app)
    move_program(app, target)
    for folder in (app, target):
        reset_times(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
