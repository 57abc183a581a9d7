"""The version of the program, its source revision, and the platform.

`hatch_build.py` sets the values in packages. They are unknown in an editable installation, because its code can change
at any time. `--version` imports this module, so it imports little.
"""

from __future__ import annotations

import os
import sys

VERSION = "unknown"
"""The version, from the tag of the Git commit."""
REVISION = "unknown"
"""The Git commit. It ends in `-modified` if the checkout had other changes."""
DATE = "unknown"
"""The date of the commit, or SOURCE_DATE_EPOCH during the build, in UTC."""

PROGRAM = "telnyx-exporter"
USER_AGENT = f"{PROGRAM}/{VERSION}"

_GO_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_machine = os.uname().machine

BUILD_INFO = {
    "version": VERSION,
    "revision": REVISION,
    "builddate": DATE,
    "pythonversion": sys.version.partition(" ")[0],
    "os": sys.platform,
    "arch": _GO_ARCHITECTURES.get(_machine, _machine),
}
"""Labels of `telnyx_exporter_build_info` and fields of the first log line, named as in Prometheus's programs."""

VERSION_TEXT = f"""\
{PROGRAM}, version {VERSION} (revision: {REVISION})
  build date:       {DATE}
  python version:   {BUILD_INFO["pythonversion"]}
  platform:         {BUILD_INFO["os"]}/{BUILD_INFO["arch"]}
"""
"""The output of `--version`, in the format of Prometheus's programs."""
