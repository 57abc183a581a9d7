"""The ASGI application: authentication, the rate limit and responses."""

from __future__ import annotations

import hmac
import math
from typing import TYPE_CHECKING

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from exporter.sandbox.api.endpoints import DESCRIPTION, find_endpoint
from exporter.sandbox.api.requests import RequestError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from exporter.sandbox.account import Account
    from exporter.sandbox.api.endpoints import Body, Endpoint

_RATE_LIMIT_WINDOW = 60
"""Seconds."""
_JSON = "application/json"


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
            status, body = await self._respond(Request(scope, receive), headers)
        except RequestError as error:
            status, body = error.status, error.body
        await Response(body, status, headers, media_type=_JSON)(scope, receive, send)

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

    async def _respond(self, request: Request, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if "retry-after" in headers:
            raise RequestError(429, "You have exceeded the maximum number of allowed requests.")
        if not hmac.compare_digest(request.headers.get("authorization", "").encode("latin-1"), self._authorization):
            raise _unauthorized()
        endpoint, parameters = _find_endpoint(request.method, request.scope["path"])
        if endpoint.list_path in self._forbidden:
            raise RequestError(403, "You do not have permission to perform the requested action on this resource.")
        query = {**request.query_params, **parameters}
        if endpoint.write is None or request.method == "GET":
            return 200, _encode(endpoint.read(self._account, query))
        media_type = request.headers.get("content-type", "").partition(";")[0]
        if media_type.strip().lower() != _JSON:
            raise RequestError(400, f"The header Content-Type must be {_JSON}.")
        body = endpoint.write(self._account, query, await request.body())
        return 201 if request.method == "POST" else 200, _encode(body)


def _encode(body: Body) -> bytes:
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
            api = Response(error.body, error.status, media_type=_JSON)
        await api(scope, receive, send)


def _unauthorized() -> RequestError:
    return RequestError(401, "Could not find any usable credentials in the request.")


def _find_endpoint(method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
    """Return the endpoint for a method and a path, and the parameters in the path."""
    found = find_endpoint(path.removeprefix("/v2")) if path.startswith("/v2/") else None
    if found is None or method not in found[0].methods:
        raise RequestError(404, f"The sandbox serves only {DESCRIPTION} below /v2.")
    return found


def create_app(account: Account, *, api_key: str, rate_limit: int = 600, forbidden: Collection[str] = ()) -> Starlette:
    """Return the API of this account.

    `rate_limit` is in requests per minute; 0 disables it. The key may not use the paths in `forbidden`,
    which are in `ENDPOINTS`.
    """
    return Starlette(routes=[Route("/{path:path}", _Api(account, api_key, rate_limit, forbidden))])


def create_shared_app(apis: Mapping[str, ASGIApp]) -> Starlette:
    """Return the API of several accounts: `apis` maps the API key of each to what `create_app` returns for it.

    Each account has its own rate limit. Accounts can be added and removed while the application serves.
    """
    return Starlette(routes=[Route("/{path:path}", _Dispatcher(apis))])
