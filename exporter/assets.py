"""The assets, which are the files that come with the exporter: dashboards, rules, runbooks and systemd units."""

from __future__ import annotations

from pathlib import Path

from exporter.build import PROGRAM

_LANDMARK = f"share/{PROGRAM}/README.md"
_RULES = "prometheus/rules/telnyx.rules.yaml"
"""An asset that shows that a folder is a checkout, and not one of installed packages."""


def find_assets() -> Path:
    """Return the folder of the assets, with the layout of the repository. Raises `LookupError` if there is none."""
    from importlib.metadata import PackageNotFoundError, files  # noqa: PLC0415 -- only this function needs it

    checkout = Path(__file__).parents[1]
    if (checkout / _RULES).exists():
        return checkout
    try:
        installed = files(PROGRAM) or ()
    except PackageNotFoundError:
        installed = ()
    for file in installed:  # the package installer knows where it put them
        if file.as_posix().endswith(_LANDMARK):
            return Path(str(file.locate())).resolve().parent
    raise LookupError("this installation has no assets: install the wheel, or unpack the archive of this release")
