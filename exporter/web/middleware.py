"""Basic authentication, the rate limit and response headers, as the web configuration defines them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import bcrypt
import structlog
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from exporter.web.web_config import RateLimit, WebConfig

OPEN_PATHS = frozenset({"/-/healthy", "/-/ready"})
"""Paths without authentication and rate limit, because health probes have no password."""
MAX_QUEUED_CHECKS = 64
"""Requests that wait for their password to be checked, one at a time. Further requests get status 503."""
_MAX_PASSWORD_BYTES = 72
"""bcrypt ignores the rest of a password."""
_THREAD = ThreadPoolExecutor(1)
"""Checks passwords, which takes long, so that refreshes and responses don't wait for the thread that they share."""

_log = structlog.get_logger()


class TooManyChecks(Exception):
    """Too many passwords are waiting to be checked."""


class WebConfigMiddleware:
    """ASGI middleware that applies basic auth, the rate limit and response headers.

    `current_config` returns the configuration for a request; it is called for each.
    """

    def __init__(
        self,
        app: ASGIApp,
        current_config: Callable[[], WebConfig],
        *,
        check_password: Callable[[bytes, bytes], bool] = bcrypt.checkpw,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._current_config = current_config
        self._check_password = check_password
        self._clock = clock
        self._apply(current_config())

    def _apply(self, config: WebConfig) -> None:
        """Use another configuration. Cached logins and the state of the rate limit are dropped."""
        self._config = config
        self._auth = BasicAuth(config.basic_auth_users, self._check_password)
        self._bucket = TokenBucket(config.rate_limit, self._clock)
        headers = config.http_server_config.headers
        self._headers = {name.lower().encode(): value.encode() for name, value in headers.items() if value}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reject a request, or pass it to the application."""
        config = self._current_config()
        if config is not self._config:
            self._apply(config)
        rejection = None if scope["path"] in OPEN_PATHS else await self._reject(scope)
        if rejection is not None:
            _log.debug("request rejected", status=rejection.status_code, client=(scope.get("client") or [""])[0])
        await (rejection or self._app)(scope, receive, _with_headers(self._headers, send))

    async def _reject(self, scope: Scope) -> PlainTextResponse | None:
        """Return the response for a request that is not allowed, or None."""
        if not self._bucket.try_acquire():
            return PlainTextResponse("too many requests\n", 429)
        try:
            if await self._auth.authenticate(Headers(scope=scope).get("authorization", "")):
                return None
        except TooManyChecks:
            return PlainTextResponse("too many passwords to check\n", 503)
        challenge = {"www-authenticate": 'Basic realm="telnyx-exporter", charset="UTF-8"'}
        return PlainTextResponse("unauthorized\n", 401, challenge)


def _with_headers(headers: Mapping[bytes, bytes], send: Send) -> Send:
    """Wrap `send` so that these headers replace those of the response."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            others = [(name, value) for name, value in message["headers"] if name not in headers]
            message = {**message, "headers": [*others, *headers.items()]}
        await send(message)

    return send_with_headers


class BasicAuth:
    """Checks passwords against bcrypt hashes and caches successful logins.

    Only the last valid password of each user is cached, as a hash with a random key, so failed attempts can't evict it.
    Every other password is checked with bcrypt, one at a time.
    """

    def __init__(self, hashes: Mapping[str, str], check_password: Callable[[bytes, bytes], bool]) -> None:
        self._hashes = {name.encode(): value.encode() for name, value in hashes.items()}
        self._costliest_hash = max(self._hashes.values(), key=lambda value: value[4:6], default=b"")
        """Used for unknown users, so that they take as long as the slowest known user."""
        self._check_password = check_password
        self._cache_key = secrets.token_bytes()
        self._cached_digests: dict[bytes, bytes] = {}
        self._lock = asyncio.Lock()
        self._queued = 0

    async def authenticate(self, authorization: str) -> bool:
        """Return whether the header has a valid user and password. Without any users, every request is valid.

        Raises `TooManyChecks` if too many passwords are waiting to be checked.
        """
        if not self._hashes:
            return True
        credentials = _decode(authorization)
        if credentials is None:
            return False
        user, password = credentials
        digest = hashlib.blake2b(user + b":" + password, key=self._cache_key).digest()
        return self._is_cached(user, digest) or await self._verify(user, password, digest)

    def _is_cached(self, user: bytes, digest: bytes) -> bool:
        return hmac.compare_digest(self._cached_digests.get(user, b""), digest)

    async def _verify(self, user: bytes, password: bytes, digest: bytes) -> bool:
        if self._queued >= MAX_QUEUED_CHECKS:
            raise TooManyChecks
        self._queued += 1
        try:
            async with self._lock:
                if self._is_cached(user, digest):  # checked while this request waited
                    return True
                stored = self._hashes.get(user, self._costliest_hash)
                valid = await asyncio.get_running_loop().run_in_executor(
                    _THREAD, self._check_password, password[:_MAX_PASSWORD_BYTES], stored
                )
        finally:
            self._queued -= 1
        if valid and user in self._hashes:
            self._cached_digests[user] = digest
            return True
        return False


def _decode(authorization: str) -> tuple[bytes, bytes] | None:
    """Return user and password of a basic auth header, or None if it is not one."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return (user, password) if colon and scheme.lower() == "basic" else None


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
