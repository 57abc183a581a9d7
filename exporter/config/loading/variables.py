"""Environment variables, and those of a `.env` file. Misspelt ones are errors."""

from __future__ import annotations

import difflib
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from exporter.config.files import read_file
from exporter.config.loading.messages import printable, suggestion
from exporter.config.settings import DOTENV, PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from exporter.config.options import Option

_MAX_DOTENV_BYTES = 2**20

_KUBERNETES_VARIABLE = re.compile(rf"{PREFIX}(?:SERVICE_HOST|SERVICE_PORT\w*|PORT|PORT_\d+_\w+)")
"""Variables that Kubernetes sets in every container of a namespace that has a Service named telnyx-exporter."""

_SHARED_PREFIX = "TELNYX_"
_OF_SDKS = frozenset(
    {
        *("TELNYX_API_KEY", "TELNYX_BASE_URL"),
        *("TELNYX_PUBLIC_KEY", "TELNYX_CLIENT_ID", "TELNYX_CLIENT_SECRET", "TELNYX_CUSTOM_HEADERS", "TELNYX_LOG"),
        "TELNYX_API_BASE",
    }
)
"""Variables that Telnyx's SDKs read."""
_INSTEAD_OF_KEY = {
    "TELNYX_API_KEY": "TELNYX_API_KEY",
    "TELNYX_API_KEY_FILE": f"{PREFIX}TELNYX__API_KEY_FILE",
    "TELNYX_API_KEY_FILES": f"{PREFIX}TELNYX__API_KEY_FILES",
}
"""What to set instead of a variable that looks like one of these."""
_SIMILAR = 0.85
"""How similar to TELNYX_BASE_URL a misspelt variable is. Less similar ones, such as TELNYX_API_URL, are others'."""


def read_dotenv() -> dict[str, str]:
    """Read the variables in `.env` in the working directory. Raises `ValueError`."""
    try:
        text = read_file(Path(DOTENV), _MAX_DOTENV_BYTES).decode()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", None) or error
        raise ValueError(f"{DOTENV} in the working directory: {reason}") from None
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            raise ValueError(f"{DOTENV} in the working directory, line {binding.original.line}: must be NAME=value")
    return {name: value or "" for name, value in dotenv_values(stream=io.StringIO(text)).items()}


def set_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are not empty, with names in upper case."""
    return {name.upper(): value for name, value in variables.items() if value}


def check_prefixed(names: Iterable[str], options: Iterable[Option], place: str = "") -> None:
    """Raise `ValueError` for an unknown variable that begins with `TELNYX_EXPORTER_`."""
    known = {option.variable for option in options}
    for name in names:
        is_ours = name.upper().startswith(PREFIX) and not _KUBERNETES_VARIABLE.fullmatch(name)
        if is_ours and name.upper() not in known:
            raise ValueError(f"unknown variable {printable(name)}{place}{suggestion(name.upper(), known, PREFIX)}")


def check_shared(names: Iterable[str], *, needs_key: bool, needs_url: bool, place: str = "") -> None:
    """Raise `ValueError` for a misspelt TELNYX_API_KEY or TELNYX_BASE_URL, unless another source sets the value.

    Other variables that begin with `TELNYX_` belong to other programs.
    """
    for name in names:
        upper = name.upper()
        if not upper.startswith(_SHARED_PREFIX) or upper.startswith(PREFIX) or upper in _OF_SDKS:
            continue
        rest = upper.removeprefix(_SHARED_PREFIX)
        by_rest = {key.removeprefix(_SHARED_PREFIX): key for key in _INSTEAD_OF_KEY}
        if needs_key and (close := difflib.get_close_matches(rest, by_rest, n=1)):
            raise ValueError(
                f"unknown variable {printable(name)}{place}; did you mean {_INSTEAD_OF_KEY[by_rest[close[0]]]}?"
            )
        if needs_url and difflib.get_close_matches(rest, ["BASE_URL"], cutoff=_SIMILAR):
            raise ValueError(f"unknown variable {printable(name)}{place}; did you mean TELNYX_BASE_URL?")
