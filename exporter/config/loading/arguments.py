"""Command line arguments. They follow the rules of kingpin, which Prometheus's programs use.

A switch is also given as `--demo=true` and `--demo=false`, which kingpin rejects, but many users try.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from typing import TYPE_CHECKING

from exporter.assets import find_assets
from exporter.build import VERSION_TEXT
from exporter.config.loading.help import help_text
from exporter.config.loading.messages import printable, shorten, suggestion
from exporter.config.settings import DOTENV
from exporter.config.values import contains_api_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from exporter.config.options import Option

_FLAG_OF_KEY = re.compile(r"--?(telnyx[.-]|telnyx)?(api[._-]?)?(key|token)", re.ASCII | re.IGNORECASE)
"""Flags that users of other programs may try for the API key."""
_CREDENTIALS = re.compile(r"([:@]).*", re.DOTALL)
"""The part of a URL that can contain a password or a token."""


def read_flags(arguments: Sequence[str], options: Sequence[Option]) -> dict[str, str]:
    """Return the values of the flags by the dotted path of their options. `--no-demo` is the value `false`.

    Raises `ValueError` for the first problem. `--help`, `--version` and `--assets-dir` print and raise `SystemExit`.
    """
    by_name = {name: option for option in options for name in (option.flag, option.negation) if name}
    values: dict[str, str] = {}
    queue = deque(arguments)
    previous: Option | None = None
    while queue:
        name, equals, value = queue.popleft().partition("=")
        _print_and_exit(name, options)
        option = by_name.get(name)
        if option is None:
            raise ValueError(_unknown(name, previous, by_name))
        if name == option.negation:
            if equals:
                raise ValueError(f"{name}: takes no value; use {option.flag}=true or {option.flag}=false")
            value = "false"
        elif not option.metavar:
            value = value if equals else "true"
        elif not equals:
            if not queue or queue[0].startswith("-"):
                raise ValueError(f"{name}: needs a value, as in {name}={option.metavar}")
            value = queue.popleft()
        before = values.get(option.dotted_path)
        values[option.dotted_path] = f"{before},{value}" if option.repeatable and before is not None else value
        previous = option
    return values


def _print_and_exit(name: str, options: Sequence[Option]) -> None:
    if name in {"--help", "-h"}:
        text = help_text(options)
    elif name == "--version":
        text = VERSION_TEXT
    elif name == "--assets-dir":
        text = f"{_assets()}\n"
    else:
        return
    print(text, end="")  # noqa: T201 -- the output of the command
    sys.exit(0)


def _assets() -> Path:
    try:
        return find_assets()
    except LookupError as error:
        raise ValueError(f"--assets-dir: {error}") from None


def _unknown(name: str, previous: Option | None, known: dict[str, Option]) -> str:
    """Describe an unknown argument, of which `name` is the part before `=`."""
    if name.startswith("-") and _FLAG_OF_KEY.fullmatch(name):
        return f"unknown flag {name}: flags are visible in process lists; set TELNYX_API_KEY or --telnyx.api-key-file"
    if previous and previous.metavar == "GLOB" and not name.startswith("-"):
        return f"unknown argument after {previous.flag}: put its value in quotes, or the shell replaces the *"
    if name.upper().startswith("KEY") or contains_api_key(name):
        return "an argument looks like an API key: set TELNYX_API_KEY or --telnyx.api-key-file instead"
    if "://" in name or "@" in name:
        name = _CREDENTIALS.sub(r"\1...", name)
    shown = shorten(printable(name)) or "''"
    if name.startswith("-"):
        return f"unknown flag {shown}{suggestion(name, known, '--')}"
    advice = "; see --help"
    if name.startswith("TELNYX_") and name.isprintable():
        advice = f", which looks like a variable: set it in the environment or in {DOTENV}"
    elif previous and name.lower() in {"true", "false"}:
        advice = f"; did you mean {previous.flag}={name}?"
    return f"unknown argument {shown}{advice}"
