"""The ASGI application: endpoints, authentication and the rate limit."""

from __future__ import annotations

import hmac
import math
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from exporter.sandbox.api.calls import ACTIVE_CALLS, active_calls
from exporter.sandbox.api.counts import connection_counts
from exporter.sandbox.api.lists import list_page
from exporter.sandbox.api.money import balance, spend_limits
from exporter.sandbox.api.registrations import registration_status
from exporter.sandbox.api.requests import RequestError
from exporter.sandbox.resources import RESOURCES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from exporter.sandbox.account import Account

Endpoint: TypeAlias = "Callable[[Account, Mapping[str, str]], bytes | dict[str, Any]]"
"""Returns the body of a response for an account, the parameters of the query, and those of the path."""


def _list_endpoint(path: str) -> Endpoint:
    return lambda account, query: list_page(account[path], query)


ENDPOINTS: Mapping[str, Endpoint] = {path: _list_endpoint(path) for path in RESOURCES} | {
    "/balance": balance,
    "/spend_limits": spend_limits,
    "/connections/count": connection_counts,
    "/sip_registration_status": registration_status,
    ACTIVE_CALLS: active_calls,
}
"""The endpoints by their path below `/v2`."""
_RATE_LIMIT_WINDOW = 60
"""Seconds."""


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
        except RequestError as error:
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
            raise RequestError(429, "You have exceeded the maximum number of allowed requests.")
        if not hmac.compare_digest(request.headers.get("authorization", "").encode("latin-1"), self._authorization):
            raise _unauthorized()
        path, connection_id = _route(request.scope["path"])
        if request.method != "GET" or path not in ENDPOINTS:
            raise RequestError(404, f"The sandbox serves only GET of {', '.join(ENDPOINTS)} below /v2.")
        if path in self._forbidden:
            raise RequestError(403, "You do not have permission to perform the requested action on this resource.")
        body = ENDPOINTS[path](self._account, {**request.query_params, **connection_id})
        return body if isinstance(body, bytes) else msgspec.json.encode(body)


class _Dispatcher:
    """An ASGI application that passes each request to the API of the account whose key it has."""

    def __init__(self, apis: Mapping[str, ASGIApp]) -> None:
        self._apis = apis

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        authorization = Request(scope).headers.get("authorization", "").encode("latin-1")
        api = self._apis.get(authorization.removeprefix(b"Bearer ").decode(errors="replace"))
        if api is None:
            error = _unauthorized()
            api = Response(error.body, error.status, media_type="application/json")
        await api(scope, receive, send)


def _unauthorized() -> RequestError:
    return RequestError(401, "Could not find any usable credentials in the request.")


def _route(path: str) -> tuple[str, dict[str, str]]:
    """Return the path of an endpoint below `/v2`, and the id of the connection in the path, if any."""
    below = path.removeprefix("/v2") if path.startswith("/v2/") else ""
    match = re.fullmatch("/connections/([^/]+)/active_calls", below)
    return (ACTIVE_CALLS, {"connection_id": match[1]}) if match else (below, {})


def create_app(account: Account, *, api_key: str, rate_limit: int = 600, forbidden: Collection[str] = ()) -> Starlette:
    """Return the API of this account.

    `rate_limit` is in requests per minute; 0 disables it. The key may not read the paths in `forbidden`,
    which are keys of `ENDPOINTS`.
    """
    return Starlette(routes=[Route("/{path:path}", _Api(account, api_key, rate_limit, forbidden))])


def create_shared_app(apis: Mapping[str, ASGIApp]) -> Starlette:
    """Return the API of several accounts: `apis` maps the API key of each to what `create_app` returns for it.

    Each account has its own rate limit. Accounts can be added and removed while the application serves.
    """
    return Starlette(routes=[Route("/{path:path}", _Dispatcher(apis))])
