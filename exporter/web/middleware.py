"""Who may ask, how often, and the headers of each answer, as the web configuration says."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from typing import TYPE_CHECKING

import bcrypt
import structlog
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from exporter.web.web_config import RateLimit, WebConfig

OPEN = frozenset({"/-/healthy", "/-/ready"})
"""Paths for whoever reaches the port: a probe has no password."""
MAX_WAITING = 64
"""Requests that wait for their password to be checked, one after the other; more are turned away."""
_MAX_PASSWORD = 72
"""Bytes of a password that bcrypt looks at."""

_log = structlog.get_logger()


class Busy(Exception):
    """Too many passwords wait to be checked."""


class Guard:
    """An application behind users, a rate limit and headers; what each asks of a request is `current` when it comes."""

    def __init__(
        self,
        app: ASGIApp,
        current: Callable[[], WebConfig],
        *,
        check: Callable[[bytes, bytes], bool] = bcrypt.checkpw,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._current = current
        self._check = check
        self._clock = clock
        self._take(current())

    def _take(self, config: WebConfig) -> None:
        """Use another configuration: what was known by the last one, verdicts too, is forgotten."""
        self._config = config
        self._users = Users(config.basic_auth_users, self._check)
        self._bucket = Bucket(config.rate_limit, self._clock)
        headers = config.http_server_config.headers
        self._headers = {name.lower().encode(): value.encode() for name, value in headers.items() if value}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have the application answer it."""
        config = self._current()
        if config is not self._config:
            self._take(config)
        refusal = None if scope["path"] in OPEN else await self._refusal(scope)
        if refusal is not None:
            _log.debug("request refused", status=refusal.status_code, client=(scope.get("client") or [""])[0])
        await (refusal or self._app)(scope, receive, _adding(self._headers, send))

    async def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        if not self._bucket.take():
            return PlainTextResponse("too many requests\n", 429)
        try:
            if await self._users.admit(Headers(scope=scope).get("authorization", "")):
                return None
        except Busy:
            return PlainTextResponse("too many passwords to check\n", 503)
        challenge = {"www-authenticate": 'Basic realm="telnyx-exporter", charset="UTF-8"'}
        return PlainTextResponse("unauthorized\n", 401, challenge)


def _adding(headers: Mapping[bytes, bytes], send: Send) -> Send:
    """Return a `send` that has these headers win over an answer's own."""

    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            others = [(name, value) for name, value in message["headers"] if name not in headers]
            message = {**message, "headers": [*others, *headers.items()]}
        await send(message)

    return add


class Users:
    """Names and bcrypt hashes, and which passwords were right.

    Only the last right password of each user is remembered, as a hash keyed for this object alone: nobody's wrong
    ones can displace it. Wrong ones, and those of nobody, cost bcrypt each time, one after the other.
    """

    def __init__(self, hashes: Mapping[str, str], check: Callable[[bytes, bytes], bool]) -> None:
        self._hashes = {name.encode(): value.encode() for name, value in hashes.items()}
        self._nobody = max(self._hashes.values(), key=lambda value: value[4:6], default=b"")
        """A hash of the highest cost, which a user that does not exist is checked against."""
        self._check = check
        self._secret = secrets.token_bytes()
        self._right: dict[bytes, bytes] = {}
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def admit(self, authorization: str) -> bool:
        """Tell whether a header names a user and its password, which anyone does if there are no users.

        Raises `Busy` if too many wait for that.
        """
        if not self._hashes:
            return True
        credentials = _decode(authorization)
        if credentials is None:
            return False
        user, password = credentials
        proof = hashlib.blake2b(user + b":" + password, key=self._secret).digest()
        return self._knows(user, proof) or await self._find_out(user, password, proof)

    def _knows(self, user: bytes, proof: bytes) -> bool:
        return hmac.compare_digest(self._right.get(user, b""), proof)

    async def _find_out(self, user: bytes, password: bytes, proof: bytes) -> bool:
        if self._waiting >= MAX_WAITING:
            raise Busy
        self._waiting += 1
        try:
            async with self._turn:
                if self._knows(user, proof):  # by now
                    return True
                stored = self._hashes.get(user, self._nobody)
                right = await asyncio.to_thread(self._check, password[:_MAX_PASSWORD], stored)
        finally:
            self._waiting -= 1
        if right and user in self._hashes:
            self._right[user] = proof
            return True
        return False


def _decode(authorization: str) -> tuple[bytes, bytes] | None:
    scheme, _, encoded = authorization.partition(" ")
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return (user, password) if colon and scheme.lower() == "basic" else None


class Bucket:
    """A token bucket: `burst` requests at once, and another one after each interval."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._tokens, self._then = float(limit.burst), clock()

    def take(self) -> bool:
        """Tell whether a request may pass."""
        if not self._limit.interval:
            return True
        now = self._clock()
        self._tokens = min(self._limit.burst, self._tokens + (now - self._then) / self._limit.interval)
        self._then = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
