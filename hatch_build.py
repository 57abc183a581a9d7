"""Build hook: sets the revision and the date in `exporter/build.py` of the wheel and of the source distribution.

The file in the repository does not change. Two builds of the same commit are identical.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_MODULE = "exporter/build.py"


class BuildInfoHook(BuildHookInterface[Any]):
    """Sets `REVISION` and `DATE` from the environment, or from Git. If there is neither, they keep their values.

    A source distribution has values already, which take precedence over Git.
    """

    PLUGIN_NAME = "custom"
    _folder = ""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Replace the module in the package. An editable installation uses the repository's file."""
        if version == "editable":
            return
        root = Path(self.root)
        code = (root / _MODULE).read_text("utf-8")
        values = _from_git(root) if 'REVISION = "unknown"' in code else {}
        values |= _from_environment()
        for name, value in values.items():
            code = re.sub(f"^{name} = .*$", f'{name} = "{value}"', code, count=1, flags=re.MULTILINE)
        self._folder = tempfile.mkdtemp()
        replacement = Path(self._folder, "build.py")
        replacement.write_text(code, "utf-8")
        build_data["force_include"][str(replacement)] = _MODULE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 -- the interface
        """Delete the temporary folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


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
