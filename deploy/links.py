"""Writes rules and dashboards that link to other runbooks and another Grafana: `make rules RUNBOOKS=URL GRAFANA=URL`.

It reads the environment variables RUNBOOKS and GRAFANA, writes to `build/` in the working directory, and needs only
Python's standard library.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RULES = Path("prometheus/rules/telnyx.rules.yaml")
DASHBOARDS = Path("grafana/dashboards")

BASES = {
    "RUNBOOKS": ("http://localhost:10142/runbooks", "https://exporter.example/runbooks"),
    "GRAFANA": ("http://localhost:3000", "https://grafana.example"),
}
"""For each variable, the URL that its value replaces, and an example."""

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_URL = re.compile(rf"https?://{_HOST}(?::\d{{1,5}})?(?:/[A-Za-z0-9._~!&()*+,;=:@%-]+)*", re.IGNORECASE)
"""A URL of characters that mean nothing in YAML, JSON, and the templates of Prometheus and Grafana."""


def check_url(name: str, text: str) -> str:
    """Validate a URL and return it without a slash at the end. The message doesn't quote it: it can have a password."""
    url = text.strip().rstrip("/")
    if not _URL.fullmatch(url):
        example = BASES[name][1]
        raise ValueError(
            f"{name}: must be an http or https URL such as {example}, without a user, a query, a fragment or quotes"
        )
    return url


def replace_links(text: str, urls: dict[str, str]) -> str:
    """Return a file with links to these URLs."""
    by_default = {default: urls.get(name, default) for name, (default, _) in BASES.items()}
    return re.sub("|".join(map(re.escape, by_default)), lambda match: by_default[match[0]], text)


def main() -> None:
    """Run the command."""
    try:
        urls = {name: check_url(name, os.environ[name]) for name in BASES if os.environ.get(name)}
    except ValueError as error:
        sys.exit(str(error))
    sources = {RULES: Path("build/rules") / RULES.name}
    for path in sorted((ROOT / DASHBOARDS).glob("*.json")):
        sources[DASHBOARDS / path.name] = Path("build/dashboards") / path.name
    for source, target in sources.items():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(replace_links((ROOT / source).read_text("utf-8"), urls), "utf-8")
        except OSError as error:
            sys.exit(f"can't copy {source} to {target}: {error}")
        sys.stdout.write(f"{target}\n")
    for name, (default, _) in BASES.items():
        sys.stdout.write(f"{name}: {urls.get(name, default)}\n")


if __name__ == "__main__":
    main()
