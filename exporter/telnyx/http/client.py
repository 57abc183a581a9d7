"""HTTP requests to the Telnyx API: authentication, bounds, retries, and translation of errors."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Protocol, TypeVar

import httpx
import stamina
import structlog

from exporter.build import USER_AGENT
from exporter.telnyx.budget import UNLIMITED
from exporter.telnyx.concurrency import UNLIMITED as UNLIMITED_SLOTS
from exporter.telnyx.deadline import Deadline
from exporter.telnyx.errors import Malformed, RateLimited, RequestTimeout, TelnyxError, proxy_error, status_error
from exporter.telnyx.http.failures import PeerTrace, translate_error
from exporter.telnyx.http.responses import error_code, rate_limit, read_body, retry_after
from exporter.telnyx.http.transport import prepare_routes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from exporter.telnyx.budget import Limiter
    from exporter.telnyx.concurrency import Slot, Slots
    from exporter.telnyx.http.responses import RateLimit
    from exporter.telnyx.http.transport import Route

MAX_BODY_BYTES = 32 * 2**20
"""Maximum size of a response in bytes: far more than a page needs, and little enough to hold in memory."""

_MAX_ERROR_BYTES = 64 * 2**10
_CONNECT_TIMEOUT = 5.0
_READ_TIMEOUT = 20.0

_log = structlog.get_logger()

_ResultT = TypeVar("_ResultT")


class RequestObserver(Protocol):
    """Receives events about API requests."""

    def record_request(self, code: str, seconds: float) -> None:
        """Record a request with its HTTP status, or `none` if there was no response."""

    def record_rate_limit(self, limit: RateLimit) -> None:
        """Record the rate limit that a response stated."""


class Client:
    """Sends authenticated GET requests to the Telnyx API.

    `api_key` returns the key; it is called once per session, so that a rotated key is used without a restart.
    `timeout` is the time for a whole refresh, in seconds. Each read and write takes at most that, or 20 s if that is
    less, and connecting at most 5 s. `concurrency` is the maximum number of requests that one list sends at a time.
    `slots` limits the requests in flight, together with those of other clients.
    `route` is how requests reach the API. By default, the environment decides. Raises `UsageError` if it is invalid.
    """

    def __init__(
        self,
        base_url: str,
        api_key: Callable[[], str],
        observer: RequestObserver,
        *,
        timeout: float = 60.0,
        concurrency: int = 4,
        slots: Slots = UNLIMITED_SLOTS,
        route: Route | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.timeout = timeout
        self.concurrency = concurrency
        self.slots = slots
        self._base_url = base_url
        self._api_key = api_key
        self._observer = observer
        self._clock = clock
        route = route or prepare_routes(base_url)()
        self._is_proxied = route.is_proxied
        self._http = httpx.AsyncClient(
            transport=route.transport,
            headers={
                "accept": "application/json",
                "accept-encoding": "gzip",
                "user-agent": USER_AGENT,
            },
            timeout=httpx.Timeout(min(timeout, _READ_TIMEOUT), connect=min(timeout, _CONNECT_TIMEOUT)),
            follow_redirects=False,  # the key is sent to the base URL only
            event_hooks={"response": [_drop_location]},
            trust_env=False,  # the transport already uses the proxy and the CAs of the environment
        )
        self._http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # the API needs no cookies

    def session(self, limiter: Limiter = UNLIMITED) -> Session:
        """Start a session, whose requests share the key, the client's timeout and the access to the request budget."""
        return Session(self, f"Bearer {self._api_key()}", limiter)

    async def send_once(self, path: str, params: Mapping[str, str | int]) -> bytes:
        """Send one request, without a session and without retries, and return the body. Raises `TelnyxError`."""
        limit = max(self.timeout, _CONNECT_TIMEOUT + _READ_TIMEOUT)  # most errors come earlier, and say more
        authorization = f"Bearer {self._api_key()}"
        with await self.slots.acquire():
            try:
                async with asyncio.timeout(limit):
                    return await self.send(path, params, authorization)
            except TimeoutError:
                raise RequestTimeout(f"the request took longer than {limit:g} s") from None

    async def close(self) -> None:
        """Close the connections to Telnyx."""
        await self._http.aclose()

    async def send(self, path: str, params: Mapping[str, str | int], authorization: str) -> bytes:
        """Send one request, without retries, and return the body. Raises `TelnyxError`."""
        started = time.perf_counter()
        code = "none"
        trace = PeerTrace()
        try:
            async with self._http.stream(
                "GET",
                f"{self._base_url}{path}",
                params=params,
                headers={"authorization": authorization},
                extensions={"trace": trace} if self._is_proxied else None,
            ) as response:
                code = str(response.status_code)
                limit = rate_limit(response.headers, self._clock())
                if limit is not None:
                    self._observer.record_rate_limit(limit)
                if response.status_code == httpx.codes.OK:
                    return await read_body(response, MAX_BODY_BYTES)
                failure = await self._error(response)
        except (httpx.HTTPError, ssl.SSLError) as error:
            failure = translate_error(error, is_at_proxy=trace.is_at_proxy)
        finally:
            seconds = time.perf_counter() - started
            self._observer.record_request(code, seconds)
            page = params.get("page[number]")
            _log.debug("request", path=path, page=page, code=code, seconds=round(seconds, 3))
        raise failure  # outside the handler: httpx's error, which quotes the peer, must not become its `__context__`

    async def _error(self, response: httpx.Response) -> TelnyxError:
        if response.status_code == httpx.codes.PROXY_AUTHENTICATION_REQUIRED:  # a proxy forwards requests in plain http
            return proxy_error(response.status_code)
        if response.status_code < httpx.codes.BAD_REQUEST:
            is_redirect = httpx.codes.is_redirect(response.status_code)
            reason = "redirects are not followed" if is_redirect else "expected 200"
            return Malformed(f"HTTP status {response.status_code}: {reason}")
        try:
            code = error_code(await read_body(response, _MAX_ERROR_BYTES))
        except Malformed:
            code = None
        return status_error(response.status_code, code, retry_after(response.headers, self._clock()))


class Session:
    """The requests of one refresh. When Telnyx asks one of them to wait, all of them wait.

    The time in which at least one request waits for the request budget, or for a slot, does not count against the
    client's timeout.
    """

    def __init__(self, client: Client, authorization: str, limiter: Limiter) -> None:
        self._client = client
        self._authorization = authorization
        self._limiter = limiter
        self._now = asyncio.get_running_loop().time
        self._deadline = Deadline(client.timeout)
        self._wait_until = 0.0
        """Time of the event loop before which no request is sent."""
        self._retrying: TelnyxError | None = None
        """The error that is being retried, if any."""

    async def run(self, refresh: Awaitable[_ResultT]) -> _ResultT:
        """Return the result of `refresh`, which sends all requests of the session. Raises `TelnyxError`."""
        with contextlib.suppress(TimeoutError):
            async with self._deadline:
                return await refresh
        raise self._retrying or RequestTimeout(f"the refresh took longer than {self._client.timeout:g} s")

    async def get(self, path: str, params: Mapping[str, str | int]) -> bytes:
        """Send a request, with retries, and return the body. Raises `TelnyxError`.

        If Telnyx asks to wait beyond the deadline, the request fails instead.
        """
        async for attempt in stamina.retry_context(
            on=self._backoff, attempts=4, timeout=None, wait_initial=0.5, wait_max=8.0
        ):
            with attempt:
                body = await self.send(path, params)
        self._retrying = None
        return body

    async def send(self, path: str, params: Mapping[str, str | int]) -> bytes:
        """Send a request, without retries, and return the body. Raises `TelnyxError`."""
        try:
            with await self._acquire():
                return await self._client.send(path, params, self._authorization)
        except RateLimited:
            self._limiter.record_rejection()
            raise

    async def _acquire(self) -> Slot:
        """Wait until a request may be sent, and return its slot."""
        while True:  # a token that is kept during a wait would be spent at the same moment as those that follow
            await asyncio.sleep(self._wait_until - self._now())
            with self._deadline.paused():
                await self._limiter.acquire()
                slot = await self._client.slots.acquire()
            if self._wait_until <= self._now():
                return slot
            slot.release()

    def _backoff(self, error: Exception) -> bool | float:
        """Return whether to retry, or the seconds to wait before the retry."""
        if not isinstance(error, TelnyxError) or not error.is_temporary:
            return False
        self._retrying = error
        if error.retry_after is None:
            return True
        self._wait_until = max(self._wait_until, self._now() + error.retry_after)
        return error.retry_after if error.retry_after < self._deadline.remaining else False


async def _drop_location(response: httpx.Response) -> None:
    """Remove the `Location` header. httpx parses it although it follows no redirects, and fails if it is invalid."""
    response.headers.pop("location", None)
