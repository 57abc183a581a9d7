"""Build hook: sets the revision and the date in packages, and adds the pages of the runbooks to wheels.

The files in the repository do not change. Two builds of the same commit are identical. An editable installation uses
the repository's files, so the hook writes the pages there, where Git ignores them.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_MODULE = "exporter/build.py"
_RENDERER = "docs/runbook_pages.py"


class BuildHook(BuildHookInterface[Any]):
    """Sets `REVISION` and `DATE` from the environment, or from Git. If there is neither, they keep their values.

    A source distribution has values already, which take precedence over Git. It has no pages: its wheel renders them.
    """

    PLUGIN_NAME = "custom"
    _folder = ""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files to the package, or the pages to the repository."""
        root = Path(self.root)
        if version == "editable":
            _write_pages(root)
            return
        code = (root / _MODULE).read_text("utf-8")
        values = _from_git(root) if 'REVISION = "unknown"' in code else {}
        values |= _from_environment()
        for name, value in values.items():
            code = re.sub(f"^{name} = .*$", f'{name} = "{value}"', code, count=1, flags=re.MULTILINE)
        pages = _render_pages(root) if self.target_name == "wheel" else {}
        self._folder = tempfile.mkdtemp()
        replacement = Path(self._folder, "build.py")
        replacement.write_text(code, "utf-8")
        build_data["force_include"][str(replacement)] = _MODULE
        for number, (name, page) in enumerate(pages.items()):
            file = Path(self._folder, f"{number}.html")
            file.write_text(page, "utf-8")
            build_data["force_include"][str(file)] = name

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 -- the interface
        """Delete the temporary folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _render_pages(root: Path) -> dict[str, str]:
    """Return the pages of the runbooks by their paths in the package."""
    try:
        pages: dict[str, str] = runpy.run_path(str(root / _RENDERER))["files"]()
    except FileNotFoundError as error:
        raise SystemExit(f"can't render the runbooks: {error}") from error
    return pages


def _write_pages(root: Path) -> None:
    """Write the pages to the repository, and delete those of runbooks that are gone."""
    pages = _render_pages(root)
    folder = (root / next(iter(pages))).parent
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, page in pages.items():
        (root / name).write_text(page, "utf-8")


def _from_environment() -> dict[str, str]:
    values = {}
    revision = os.environ.get("EXPORTER_REVISION", "unknown")
    if revision != "unknown" and re.fullmatch(r"[\w.+/-]+", revision, re.ASCII):
        values["REVISION"] = revision
    epoch = os.environ.get("SOURCE_DATE_EPOCH")  # https://reproducible-builds.org/specs/source-date-epoch/
    if epoch == "":
        del os.environ["SOURCE_DATE_EPOCH"]  # unset, but hatchling would fail to parse it
    elif epoch is not None:
        if not re.fullmatch(r"\d{1,11}", epoch, re.ASCII):
            raise SystemExit(f"SOURCE_DATE_EPOCH={epoch!r}: must be seconds since 1970, such as 1772600767")
        values["DATE"] = _format(epoch)
    return values


def _from_git(root: Path) -> dict[str, str]:
    if not (root / ".git").exists():  # the repository around it, if there is one, is another project's
        return {}
    try:
        revision, date = _git(root, "log", "-1", "--no-show-signature", "--format=%H %ct").split()
        changes = _git(root, "--no-optional-locks", "status", "--porcelain")
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"REVISION": f"{revision}-modified" if changes else revision, "DATE": _format(date)}


def _git(root: Path, *arguments: str) -> str:
    command = ("git", "-C", str(root), *arguments)
    return subprocess.run(command, capture_output=True, errors="replace", check=True).stdout  # noqa: S603 -- constant arguments


def _format(epoch: str) -> str:
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
