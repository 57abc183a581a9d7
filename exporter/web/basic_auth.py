"""Basic authentication with bcrypt hashes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from exporter.server.connections import client_network
from exporter.server.incidents import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MAX_PASSWORD_BYTES = 72
"""bcrypt ignores the rest of a password."""
_THREAD = ThreadPoolExecutor(1)
"""Checks passwords, which takes long, so that refreshes and responses don't wait for the thread that they share."""


class BasicAuth:
    """Checks passwords against bcrypt hashes and caches successful logins.

    Only the last valid password of each user is cached, as a hash with a random key, so failed attempts can't evict it.
    Every other password is checked with bcrypt, one at a time, and clients take turns.
    """

    def __init__(self, check_password: Callable[[bytes, bytes], bool]) -> None:
        self._check_password = check_password
        self._hashes: dict[bytes, bytes] = {}
        self._costliest_hash = b""
        """Used for unknown users, so that they take as long as the slowest known user."""
        self._cache_key = secrets.token_bytes()
        self._cached_digests: dict[bytes, bytes] = {}
        self._lock = FairLock()

    def set_users(self, hashes: Mapping[str, str]) -> None:
        """Change the users. Logins stay cached for users whose hash stays the same."""
        new = {name.encode(): value.encode() for name, value in hashes.items()}
        unchanged = {user for user, stored in self._hashes.items() if new.get(user) == stored}
        self._cached_digests = {user: digest for user, digest in self._cached_digests.items() if user in unchanged}
        self._costliest_hash = max(new.values(), key=lambda value: value[4:6], default=b"")
        self._hashes = new

    async def authenticate(self, authorization: str, client: str) -> RequestRefused | None:
        """Check the `Authorization` header of a request from this address. Return why it is refused, or None.

        Without any users, every request is allowed.
        """
        if not self._hashes:
            return None
        credentials = _decode(authorization)
        if credentials is None:
            return RequestRefused.NO_CREDENTIALS
        user, password = credentials
        digest = hashlib.blake2b(user + b":" + password, key=self._cache_key).digest()
        return None if self._is_cached(user, digest) else await self._verify(user, password, digest, client)

    def _is_cached(self, user: bytes, digest: bytes) -> bool:
        return hmac.compare_digest(self._cached_digests.get(user, b""), digest)

    async def _verify(self, user: bytes, password: bytes, digest: bytes, client: str) -> RequestRefused | None:
        await self._lock.acquire(client_network(client))
        try:
            if self._is_cached(user, digest):  # checked while this request waited
                return None
            stored = self._hashes.get(user, self._costliest_hash)
            valid = await asyncio.get_running_loop().run_in_executor(
                _THREAD, self._check_password, password[:_MAX_PASSWORD_BYTES], stored
            )
        finally:
            self._lock.release()
        if valid and self._hashes.get(user) == stored:
            self._cached_digests[user] = digest
            return None
        return RequestRefused.WRONG_CREDENTIALS


def _decode(authorization: str) -> tuple[bytes, bytes] | None:
    """Return user and password of a basic auth header, or None if it is not one."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return (user, password) if colon and scheme.lower() == "basic" else None


class FairLock:
    """A lock that clients acquire in turn, however often each of them waits for it.

    Each connection has one request at a time, so the limit on connections limits the requests that wait.
    """

    def __init__(self) -> None:
        self._is_locked = False
        self._queues: dict[str, dict[asyncio.Future[None], None]] = {}
        """The waiting requests of each client, in order. The first client is next."""

    async def acquire(self, client: str) -> None:
        """Wait for the lock."""
        if not self._is_locked:
            self._is_locked = True
            return
        acquired: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(client, {})[acquired] = None
        try:
            await acquired
        except asyncio.CancelledError:  # the client has disconnected
            self._remove(client, acquired)
            if not acquired.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give the lock to the next client."""
        self._is_locked = False
        while self._queues and not self._is_locked:
            client, queue = next(iter(self._queues.items()))
            acquired = next(iter(queue))
            self._remove(client, acquired)
            if client in self._queues:
                self._queues[client] = self._queues.pop(client)  # the client's next turn is the last one
            if not acquired.done():  # else it is being cancelled
                self._is_locked = True
                acquired.set_result(None)

    def _remove(self, client: str, acquired: asyncio.Future[None]) -> None:
        """Remove a request from its queue, unless it has been removed already."""
        queue = self._queues.get(client, {})
        queue.pop(acquired, None)
        if not queue:
            self._queues.pop(client, None)
