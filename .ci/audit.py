"""Check the pinned dependencies for known vulnerabilities with pip-audit, and report how many could be checked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMAND = [
    *(sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--disable-pip"),
    *(f"--requirement={ROOT / name}" for name in ("requirements.txt", "requirements-build.txt")),
]
UNREACHABLE = ("ConnectionError", "ProxyError", "Timeout", "Could not connect", "ServiceError")
"""Words in the last line of pip-audit's error output when it can't reach its vulnerability service."""


def main() -> str | None:
    """Run pip-audit with the arguments of this script, print a summary, and return an error message or None.

    If the vulnerability service is unreachable, print that nothing was audited. This is not an error.
    """
    result = subprocess.run([*COMMAND, *sys.argv[1:]], capture_output=True, text=True, check=False)  # noqa: S603 -- fixed command
    if result.stdout:
        pinned = json.loads(result.stdout)["dependencies"]
    elif any(word in result.stderr.strip().rpartition("\n")[2] for word in UNREACHABLE):
        pinned = []
    else:
        return result.stderr
    audited = [package for package in pinned if "vulns" in package]
    if not audited:
        print("Not audited: the vulnerability service is unreachable.")  # noqa: T201 -- the result
        return None
    print(f"{len(audited)} of {len(pinned)} dependencies audited.")  # noqa: T201 -- the result
    problems = [
        f"{package['name']} {package['version']} has {vuln['id']},"
        f" fixed in {', '.join(vuln['fix_versions']) or 'no version'}"
        for package in audited
        for vuln in package["vulns"]
    ]
    return "\n".join(problems) or None


if __name__ == "__main__":
    sys.exit(main())
