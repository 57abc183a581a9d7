"""Has pip-audit look for known vulnerabilities in what is pinned, and says honestly what it could not look up."""

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
"""In how pip-audit ends where its source of data can't be asked."""


def main() -> str | None:
    """Run it, with these arguments too, print what came of it, and return what makes it a failure."""
    done = subprocess.run([*COMMAND, *sys.argv[1:]], capture_output=True, text=True, check=False)  # noqa: S603 -- ours
    if done.stdout:
        pinned = json.loads(done.stdout)["dependencies"]
    elif any(word in done.stderr.strip().rpartition("\n")[2] for word in UNREACHABLE):
        pinned = []
    else:
        return done.stderr
    audited = [each for each in pinned if "vulns" in each]
    if not audited:
        print("Not audited: nothing that knows of vulnerabilities can be reached.")  # noqa: T201 -- the answer
        return None
    print(f"{len(audited)} of {len(pinned)} dependencies audited.")  # noqa: T201 -- likewise
    flaws = [
        f"{each['name']} {each['version']} has {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'no version'}"
        for each in audited
        for flaw in each["vulns"]
    ]
    return "\n".join(flaws) or None


if __name__ == "__main__":
    sys.exit(main())
