"""Build hooks: they set version, revision, date and links in packages, and add runbooks and other assets to wheels.

The files in the repository do not change. Two builds of the same commit are identical. An editable installation uses
the repository's files, so the hook writes the pages of the runbooks there, where Git ignores them.

Only those who publish the project know where: `REPOSITORY_URL` sets the URL of the repository.
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
from hatchling.metadata.plugin.interface import MetadataHookInterface

_MODULE = "exporter/build.py"
_RENDERER = "docs/runbook_pages.py"
_ASSETS = (
    *("README.md", "CHANGELOG.md", "SECURITY.md", "docs/*.md", "docs/runbooks/*.md"),
    *("grafana/dashboards/*.json", "grafana/provisioning/*/*", "prometheus/*.yml", "prometheus/rules/*.yaml"),
    *("deploy/links.py", "deploy/systemd/*", "deploy/systemd/*/*"),
)
"""Files that wheels install below `share/`, at the same paths as in the repository."""
_ASSETS_DIR = "share/telnyx-exporter"

_URL = re.compile(r"https?://[\w.~:/%+-]+[\w~/]", re.ASCII)
"""A URL without a user: `git remote get-url` can print one with a token, which must not be published."""
_RELATIVE_LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:)([^)\s]+)\)")


class MetadataHook(MetadataHookInterface):
    """Sets the description, which is the README with absolute links, and the links of the project."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the fields. A source distribution has them already."""
        root = Path(self.root)
        url = os.environ.get("REPOSITORY_URL", "").rstrip("/")
        if url and not _URL.fullmatch(url):
            raise SystemExit(
                "REPOSITORY_URL: must be the URL of the repository without a user, such as https://git.example/telnyx/exporter"
            )
        files = ""
        if url:
            revision = (_from_git(root) | _from_environment()).get("REVISION", "HEAD").removesuffix("-modified")
            files = f"{url}/blob/{revision}"
            links = {"Documentation": f"{files}/README.md", "Changelog": f"{files}/CHANGELOG.md", "Source": url}
            metadata.setdefault("urls", links)
        readme = absolute_links((root / "README.md").read_text("utf-8"), files)
        metadata.setdefault("readme", {"content-type": "text/markdown", "text": readme})


def absolute_links(readme: str, files: str) -> str:
    """Return the README with links that work elsewhere. `files` is the URL of the repository's files.

    If it is empty, the texts of links remain.
    """

    def replace(match: re.Match[str]) -> str:
        text, target = match.groups()
        path = f"README.md{target}" if target.startswith("#") else target
        return f"[{text}]({files}/{path})" if files else text

    return _RELATIVE_LINK.sub(replace, readme)


class BuildHook(BuildHookInterface[Any]):
    """Sets the values in `exporter/build.py` from the environment, or from Git. If there is neither, they don't change.

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
        values |= {"VERSION": self.metadata.version, **_from_environment()}
        for name, value in values.items():
            code = re.sub(f"^{name} = .*$", f'{name} = "{value}"', code, count=1, flags=re.MULTILINE)
        pages = {}
        if self.target_name == "wheel":
            pages = _render_pages(root)
            build_data["shared_data"] |= {name: f"{_ASSETS_DIR}/{name}" for name in _assets(root)}
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


def _assets(root: Path) -> list[str]:
    """Return the names of the files to install: none in the build of an image, whose folder has only a part of them."""
    files = (path for pattern in _ASSETS for path in root.glob(pattern) if path.is_file())
    return sorted(str(path.relative_to(root)) for path in files) if (root / "prometheus").exists() else []


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
