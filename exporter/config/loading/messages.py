"""Messages about settings that can't be used: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from exporter.config.settings import DOTENV
from exporter.config.values import contains_api_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from exporter.config.loading.sources import Sources
    from exporter.config.options import Option

_SIMILAR = 0.7
"""How similar a name must be to be suggested. Below this, all names with the prefix `collector.` are similar."""

_MAX_SHOWN = 200
"""How many characters of a value a message shows."""

_REASONS = {
    "bool_parsing": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number with fewer digits",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than_equal": "must be {le:g} or less",
    "literal_error": "must be {expected}",
    "string_unicode": "must be UTF-8",
    "value_error": "{error}",
}
"""Why a value is invalid, by the type of pydantic's error. The values in braces are from its context."""


def suggestion(name: str, known: Iterable[str], prefix: str) -> str:
    """Suggest a known name that is similar, or `--help`. Names are compared without the prefix that all have."""
    by_rest = {other.removeprefix(prefix): other for other in known}
    close = difflib.get_close_matches(name.removeprefix(prefix), list(by_rest), n=1, cutoff=_SIMILAR)
    return f"; did you mean {by_rest[close[0]]}?" if close else "; see --help"


def explain(error: ValidationError, options: Iterable[Option], sources: Sources) -> str:
    """Describe the first invalid setting: where it was set, to what, and why it is invalid."""
    problem = error.errors(include_url=False)[0]
    by_path = {path: option for option in options for path in (option.path, (option.variable,))}
    option = by_path.get(tuple(str(part) for part in problem["loc"]))
    if option is None:
        return reason(problem)
    given = sources.find(option)
    if given is None:  # a line that is only a name
        return f"{option.variable} in {DOTENV}: has no value; write {option.variable}=VALUE, or remove the line"
    secret = option.secret or contains_api_key(given.value)
    shown = "" if secret else f"={shorten(repr(given.value))}"
    why = reason(problem)
    if contains_api_key(why):  # some reasons suggest what to write instead of the value
        why = "contains an API key: set TELNYX_API_KEY or --telnyx.api-key-file instead"
    return f"{given.where}{shown}: {why}"


def printable(text: str) -> str:
    """Return text that is safe to print on a terminal: in quotes and escaped if it has control characters."""
    return text if text.isprintable() else repr(text)


def shorten(text: str) -> str:
    """Cut off what is too long for a message."""
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def reason(problem: ErrorDetails) -> str:
    """Return why a value is invalid, in words that read well after the name of the setting."""
    context: dict[str, Any] = dict(problem.get("ctx", {}))
    if "expected" in context:  # 'logfmt' or 'json'
        context["expected"] = context["expected"].replace("'", "")
    return _REASONS.get(problem["type"], "is invalid").format_map(context)
