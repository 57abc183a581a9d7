"""Telnyx's HTTP API for a simulated account, as an ASGI application: `GET` of its lists."""

from __future__ import annotations

import hmac
import math
import re
from typing import TYPE_CHECKING

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from exporter.sandbox.resources import RESOURCES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from starlette.types import Receive, Scope, Send

    from exporter.sandbox.account import Account
    from exporter.sandbox.resources import Filters, Sorts

_PATHS = {f"/v2{path}": path for path in RESOURCES}
_MAX_PAGE_SIZE = 250
_RATE_LIMIT_WINDOW = 60
"""Seconds."""
_ERRORS = {
    400: ("10015", "Bad Request"),
    401: ("10009", "Authentication failed"),
    403: ("10010", "Authorization failed"),
    404: ("10005", "Resource not found"),
    429: ("10011", "Too many requests"),
}
"""Telnyx's error code and title for each HTTP status."""


class _RequestError(Exception):
    """A rejected request. The detail never quotes the request, which could contain a key."""

    def __init__(self, status: int, detail: str, parameter: str | None = None) -> None:
        super().__init__(detail)
        code, title = _ERRORS[status]
        source = {"source": {"parameter": parameter}} if parameter else {}
        self.status = status
        self.body = msgspec.json.encode({"errors": [{"code": code, "title": title, "detail": detail, **source}]})


class _Api:
    """The API as an ASGI application, so that any path and method gets a response in Telnyx's format."""

    def __init__(self, account: Account, api_key: str, rate_limit: int, forbidden: Collection[str]) -> None:
        self._account = account
        self._authorization = f"Bearer {api_key}".encode()
        self._rate_limit = rate_limit
        self._forbidden = forbidden
        self._window = -1.0
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = self._count_request()
        try:
            status, body = 200, self._respond(Request(scope), headers)
        except _RequestError as error:
            status, body = error.status, error.body
        await Response(body, status, headers, media_type="application/json")(scope, receive, send)

    def _count_request(self) -> dict[str, str]:
        """Count a request and return the rate limit headers, with `retry-after` if it exceeds the limit."""
        if not self._rate_limit:
            return {}
        window, elapsed = divmod(self._account.clock(), _RATE_LIMIT_WINDOW)
        if window != self._window:
            self._window, self._requests = window, 0
        self._requests += 1
        remaining = self._rate_limit - self._requests
        reset = str(math.ceil(_RATE_LIMIT_WINDOW - elapsed))
        headers = {
            "x-ratelimit-limit": str(self._rate_limit),
            "x-ratelimit-remaining": str(max(remaining, 0)),
            "x-ratelimit-reset": reset,
        }
        return headers if remaining >= 0 else headers | {"retry-after": reset}

    def _respond(self, request: Request, headers: Mapping[str, str]) -> bytes:
        if "retry-after" in headers:
            raise _RequestError(429, "You have exceeded the maximum number of allowed requests.")
        if not hmac.compare_digest(request.headers.get("authorization", "").encode("latin-1"), self._authorization):
            raise _RequestError(401, "Could not find any usable credentials in the request.")
        path = _PATHS.get(request.scope["path"])
        if request.method != "GET" or path is None:
            raise _RequestError(404, f"The sandbox serves only GET of {', '.join(_PATHS)}.")
        if path in self._forbidden:
            raise _RequestError(403, "You do not have permission to perform the requested action on this resource.")
        query, resource = request.query_params, RESOURCES[path]
        number = _integer_parameter(query, "page[number]", 1, 10**9)
        size = _integer_parameter(query, "page[size]", _MAX_PAGE_SIZE, _MAX_PAGE_SIZE)
        rows = self._account[path].encoded_rows(_sort(query, resource.sorts), _filters(query, resource.filters))
        meta = {
            "total_pages": math.ceil(len(rows) / size),
            "total_results": len(rows),
            "page_number": number,
            "page_size": size,
        }
        page = rows[(number - 1) * size : number * size]
        return b'{"data":[%b],"meta":%b}' % (b",".join(page), msgspec.json.encode(meta))


def _integer_parameter(query: Mapping[str, str], name: str, default: int, maximum: int) -> int:
    text = query.get(name, str(default))
    if not re.fullmatch("[0-9]{1,10}", text) or not 1 <= int(text) <= maximum:
        raise _RequestError(400, f"This must be a whole number from 1 to {maximum}.", name)
    return int(text)


def _sort(query: Mapping[str, str], sorts: Sorts) -> str | None:
    sort = query.get("sort") if sorts else None
    if sort is not None and sort.removeprefix("-") not in sorts:
        detail = f"This must be one of {', '.join(sorts)}, with a leading '-' for descending order."
        raise _RequestError(400, detail, "sort")
    return sort


def _filters(query: Mapping[str, str], filters: Filters) -> dict[str, str]:
    values = {name: query[name] for name in filters if name in query}
    for name, text in values.items():
        minimum = 3 if name.endswith("[contains]") else 1
        if len(text) < minimum:
            raise _RequestError(400, f"This must have {minimum} or more characters.", name)
    return values


def create_app(account: Account, *, api_key: str, rate_limit: int = 600, forbidden: Collection[str] = ()) -> Starlette:
    """Return the API of this account.

    `rate_limit` is in requests per minute; 0 disables it. The key may not read the lists in `forbidden`.
    """
    return Starlette(routes=[Route("/{path:path}", _Api(account, api_key, rate_limit, forbidden))])
