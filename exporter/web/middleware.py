"""Basic authentication, the rate limit and response headers, as the web configuration defines them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import bcrypt
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from exporter.config.web.paths import NO_PREFIX
from exporter.server.incidents import RequestRefused
from exporter.web.basic_auth import BasicAuth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from exporter.config.web.paths import WebPaths
    from exporter.server.incidents import IncidentObserver
    from exporter.web.web_config import RateLimit, WebConfig

_CHALLENGE = {"www-authenticate": 'Basic realm="telnyx-exporter", charset="UTF-8"'}
_RESPONSES = {
    RequestRefused.RATE_LIMIT: PlainTextResponse("Too Many Requests\n", 429),
    RequestRefused.NO_CREDENTIALS: PlainTextResponse("Unauthorized\n", 401, _CHALLENGE),
    RequestRefused.WRONG_CREDENTIALS: PlainTextResponse("Unauthorized\n", 401, _CHALLENGE),
}


class WebConfigMiddleware:
    """ASGI middleware that applies basic auth, the rate limit and response headers.

    `current_config` returns the configuration for a request; it is called for each.
    """

    def __init__(
        self,
        app: ASGIApp,
        current_config: Callable[[], WebConfig],
        observer: IncidentObserver,
        *,
        paths: WebPaths = NO_PREFIX,
        check_password: Callable[[bytes, bytes], bool] = bcrypt.checkpw,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._current_config = current_config
        self._observer = observer
        self._paths = paths
        self._auth = BasicAuth(check_password)
        self._clock = clock
        self._apply(current_config())

    def _apply(self, config: WebConfig) -> None:
        """Use another configuration. The state of the rate limit is reset."""
        self._config = config
        self._auth.set_users(config.basic_auth_users)
        self._bucket = TokenBucket(config.rate_limit, self._clock)
        headers = config.http_server_config.headers
        self._headers = {name.lower().encode(): value.encode() for name, value in headers.items() if value}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it to the application."""
        config = self._current_config()
        if config is not self._config:
            self._apply(config)
        app, client = self._app, (scope.get("client") or ("", 0))[0]
        refusal = None if self._paths.is_open(scope["path"]) else await self._refusal(scope, client)
        if refusal is not None:
            self._observer.record_incident(refusal, client)
            app = _RESPONSES[refusal]
        await app(scope, receive, _with_headers(self._headers, send))

    async def _refusal(self, scope: Scope, client: str) -> RequestRefused | None:
        if not self._bucket.try_acquire():
            return RequestRefused.RATE_LIMIT
        return await self._auth.authenticate(Headers(scope=scope).get("authorization", ""), client)


def _with_headers(headers: Mapping[bytes, bytes], send: Send) -> Send:
    """Wrap `send` so that these headers replace those of the response."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            others = [(name, value) for name, value in message["headers"] if name not in headers]
            message = {**message, "headers": [*others, *headers.items()]}
        await send(message)

    return send_with_headers


class TokenBucket:
    """A token bucket: `burst` requests at once, and one more after each interval."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._tokens, self._updated = float(limit.burst), clock()

    def try_acquire(self) -> bool:
        """Take a token and return whether there was one."""
        if not self._limit.interval:
            return True
        now = self._clock()
        self._tokens = min(self._limit.burst, self._tokens + (now - self._updated) / self._limit.interval)
        self._updated = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
