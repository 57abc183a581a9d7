"""Requests: their parameters, and the errors of those that are rejected."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_PAGE_SIZE = 250
_ERRORS = {
    400: ("10015", "Bad Request"),
    401: ("10009", "Authentication failed"),
    403: ("10010", "Authorization failed"),
    404: ("10005", "Resource not found"),
    422: ("10015", "Unprocessable Entity"),
    429: ("10011", "Too many requests"),
}
"""Telnyx's error code and title for each HTTP status."""


class RequestError(Exception):
    """A rejected request. The detail never quotes the request, which could contain a key."""

    def __init__(self, status: int, detail: str, parameter: str | None = None, *, pointer: str | None = None) -> None:
        """`parameter` is a parameter of the query, and `pointer` is the JSON pointer to a field of the body."""
        super().__init__(detail)
        code, title = _ERRORS[status]
        source = (
            {"source": {"parameter": parameter}} if parameter else {"source": {"pointer": pointer}} if pointer else {}
        )
        self.status = status
        self.body = msgspec.json.encode({"errors": [{"code": code, "title": title, "detail": detail, **source}]})


def integer_parameter(query: Mapping[str, str], name: str, default: int, maximum: int) -> int:
    """Return the value of a parameter that is a whole number from 1 to a maximum."""
    text = query.get(name, str(default))
    if not re.fullmatch("[0-9]{1,10}", text) or not 1 <= int(text) <= maximum:
        raise RequestError(400, f"This must be a whole number from 1 to {maximum}.", name)
    return int(text)


def choice_parameter(query: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """Return the value of a required parameter that has one of these values."""
    text = query.get(name)
    if text not in choices:
        raise RequestError(400, f"This must be one of {', '.join(choices)}.", name)
    return text
