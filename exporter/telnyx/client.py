"""Asking Telnyx for the list of connections: authentication, bounds, retries, and errors of our own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

import httpx
import stamina
import structlog

from exporter import __version__
from exporter.config.settings import is_loopback
from exporter.telnyx.errors import (
    ConnectionFailed,
    Malformed,
    RateLimited,
    RequestTimeout,
    ServerError,
    TelnyxError,
    from_status,
)
from exporter.telnyx.pages import decode_page
from exporter.telnyx.pagination import walk
from exporter.telnyx.responses import error_code, rate_limit, read_body, retry_after, translate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.telnyx.pages import Page, Snapshot
    from exporter.telnyx.responses import RateLimit

MAX_PAGE_BYTES = 32 * 2**20
"""Far above 250 connections, far below what hurts."""

_MAX_ERROR_BYTES = 64 * 2**10
_CONNECT_TIMEOUT = 5.0
_READ_TIMEOUT = 20.0

_log = structlog.get_logger()


class Observer(Protocol):
    """Is told what happens on the wire."""

    def requested(self, code: str, seconds: float) -> None:
        """Take the HTTP status that a request ended with, `none` where there was no answer."""

    def rate_limited(self, limit: RateLimit) -> None:
        """Take what an answer said about the rate limit."""

    def restarted(self) -> None:
        """Take that the list changed under a walk, which begins again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to ask for: filters are Telnyx's own, and empty ones are not sent."""

    base_url: str
    page_size: int = 250
    connection_name: str = ""
    fqdn: str = ""
    outbound_voice_profile_id: str = ""

    def params(self, number: int) -> dict[str, str]:
        """Return the query string for the page of this number."""
        filters = {
            "filter[connection_name][contains]": self.connection_name,
            "filter[fqdn]": self.fqdn,
            "filter[outbound_voice_profile_id]": self.outbound_voice_profile_id,
        }
        return {
            "page[number]": str(number),
            "page[size]": str(self.page_size),
            "sort": "created_at",
            **{name: value for name, value in filters.items() if value},
        }


class Client:
    """Reads the list of credential connections.

    `key` gives the API key at each fetch. `timeout` bounds a whole `fetch` in seconds, retries and waits included.
    """

    def __init__(
        self,
        query: Query,
        key: Callable[[], str],
        observer: Observer,
        *,
        timeout: float = 60.0,
        concurrency: int = 4,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._query = query
        self._url = f"{query.base_url}/credential_connections"
        self._key = key
        self._observer = observer
        self._timeout = timeout
        self._concurrency = concurrency
        self._clock = clock
        self._pages: dict[int, _Known] = {}
        self._http = httpx.AsyncClient(
            transport=transport,
            headers={
                "accept": "application/json",
                "accept-encoding": "gzip",
                "user-agent": f"telnyx-exporter/{__version__}",
            },
            timeout=httpx.Timeout(min(timeout, _READ_TIMEOUT), connect=min(timeout, _CONNECT_TIMEOUT)),
            limits=httpx.Limits(max_connections=concurrency),
            follow_redirects=False,  # the key would travel with them
            event_hooks={"response": [_forget_location]},
            trust_env=not is_loopback(urlsplit(query.base_url).hostname or ""),  # no proxy can reach our loopback
        )
        self._http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # none would be of use

    async def fetch(self) -> Snapshot:
        """Return the whole list. Raises `TelnyxError`."""
        authorization = f"Bearer {self._key()}"
        retries = _Retries(time.monotonic() + self._timeout)
        pages: dict[int, _Known] = {}

        async def read(number: int) -> Page:
            async for attempt in stamina.retry_context(
                on=retries.backoff, attempts=4, timeout=None, wait_initial=0.5, wait_max=8.0
            ):
                with attempt:
                    await retries.quiet()
                    body = await self._get(number, authorization)
            retries.last = None
            digest = hashlib.sha256(body).digest()
            known = self._pages.get(number)
            pages[number] = known if known and known.digest == digest else _Known(digest, _decode(body, number))
            return pages[number].page

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                snapshot = await walk(read, concurrency=self._concurrency, restarted=self._observer.restarted)
                self._pages = pages
                return snapshot
        raise retries.last or RequestTimeout(f"the list took longer than {self._timeout:g} s")

    async def close(self) -> None:
        """Close the connections to Telnyx."""
        await self._http.aclose()

    async def _get(self, number: int, authorization: str) -> bytes:
        """Return the body of one page. Raises `TelnyxError`."""
        started = time.perf_counter()
        code = "none"
        try:
            async with self._http.stream(
                "GET", self._url, params=self._query.params(number), headers={"authorization": authorization}
            ) as response:
                code = str(response.status_code)
                self._observe(response.headers)
                if response.status_code == httpx.codes.OK:
                    return await read_body(response, MAX_PAGE_BYTES)
                failure = await self._error(response)
        except httpx.HTTPError as error:
            failure = translate(error)
        finally:
            seconds = time.perf_counter() - started
            self._observer.requested(code, seconds)
            _log.debug("request", page=number, code=code, seconds=round(seconds, 3))
        raise failure  # out here, because as its context httpx's error would come along, which quotes the peer

    def _observe(self, headers: Mapping[str, str]) -> None:
        limit = rate_limit(headers, self._clock())
        if limit is not None:
            self._observer.rate_limited(limit)

    async def _error(self, response: httpx.Response) -> TelnyxError:
        if response.status_code < httpx.codes.BAD_REQUEST:
            what = "a redirect, which is not followed" if httpx.codes.is_redirect(response.status_code) else "no list"
            return Malformed(f"HTTP status {response.status_code}: {what}")
        try:
            code = error_code(await read_body(response, _MAX_ERROR_BYTES))
        except Malformed:
            code = None
        return from_status(response.status_code, code, retry_after(response.headers, self._clock()))


class _Known(NamedTuple):
    """A page as it was last read, and what its text hashed to: an unchanged one is not decoded again."""

    digest: bytes
    page: Page


class _Retries:
    """What the requests of one fetch know of each other's failures; times are on the monotonic clock."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._quiet_until = 0.0
        self.last: TelnyxError | None = None
        """What is being retried, if anything."""

    def backoff(self, error: Exception) -> bool | float:
        """Tell whether to try again, or after how many seconds."""
        if not isinstance(error, ConnectionFailed | RequestTimeout | RateLimited | ServerError):
            return False
        self.last = error
        if error.retry_after is None:
            return True
        until = time.monotonic() + error.retry_after
        self._quiet_until = max(self._quiet_until, until)
        return error.retry_after if until < self._deadline else False

    async def quiet(self) -> None:
        """Wait for as long as Telnyx wants to be left alone by all of them."""
        await asyncio.sleep(self._quiet_until - time.monotonic())


async def _forget_location(response: httpx.Response) -> None:
    """Drop where a redirect leads: httpx looks at it though it does not follow, and can trip over what it finds."""
    response.headers.pop("location", None)


def _decode(body: bytes, number: int) -> Page:
    try:
        return decode_page(body)
    except ValueError as error:
        problem = str(error)
    raise Malformed(f"page {number} is not a list of connections: {problem}")
