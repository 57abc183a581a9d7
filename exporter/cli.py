"""The command: the one place where settings meet parts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TextIO

import stamina.instrumentation
import structlog
import uvloop

from . import __version__, sandbox, server
from .auth import Guard
from .cache import Cache
from .client import Client, Query
from .errors import TelnyxError
from .exposition import EMPTY, Format
from .keys import KeyFile, describe
from .logs import configure
from .metrics import select
from .options import PROGRAM, UsageError, load
from .refresh import Refresher, holdoff
from .rendering import Renderer
from .telemetry import Telemetry
from .web import create_app
from .webconfig import WebConfigFile

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from starlette.types import ASGIApp

    from .refresh import View
    from .settings import Settings
    from .webconfig import Watcher

PUNCTUALITY = 0.95
"""Of the TTL, when a value counts as stale: scrapes as regular as the TTL must not come a moment too early for it."""

_log = structlog.get_logger()


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit status: 0, 1 where a poll failed, 2 for what can't be used."""
    _hold_standard_streams()
    if sys.stderr is None:  # Python would take standard output instead, in the middle of what is printed there
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 -- for as long as the process lasts
    try:
        settings = load(arguments)
        configure(settings.log.level, settings.log.format)
        key, web = _key(settings), _web_config(settings)
        if settings.check_config:
            _print(b"ok\n")
            return 0
        if settings.once:
            return _run(_once(settings, key))
        return _run(_serve(settings, key, web, _listen(settings)))
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)  # noqa: T201 -- for whoever typed it, not for the log
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        try:
            sys.stderr.flush()
        except OSError:
            _drop(sys.stderr)


def _hold_standard_streams() -> None:
    """Fill the places of closed standard streams: sockets would be given them, and uvloop aborts at that."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 -- standard error
        pass
    os.close(descriptor)


def _drop(stream: TextIO) -> None:
    """Let go of what a stream could not write: Python would try again at the end, and fail by it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _print(data: bytes) -> None:
    if sys.stdout is None:
        raise UsageError("standard output: is closed")
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except OSError as error:
        _drop(sys.stdout)
        raise UsageError(f"standard output: {error.strerror}") from None


def _run(coroutine: Coroutine[None, None, int]) -> int:
    stamina.instrumentation.set_on_retry_hooks(())  # its own log and metrics are another program's style
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        # One thread renders and compresses. More would not be faster, and each keeps memory that the others can't use.
        runner.get_loop().set_default_executor(ThreadPoolExecutor(1))
        return runner.run(coroutine)


def _key(settings: Settings) -> Callable[[], str]:
    """Return what gives the API key. A file wins over the variable, because only a file can be rotated."""
    path = settings.telnyx.api_key_file
    if settings.demo:
        key = secrets.token_urlsafe()
        return lambda: key
    if path is not None:
        try:
            return KeyFile(path)
        except (OSError, ValueError) as error:
            raise UsageError(f"--telnyx.api-key-file={str(path)!r}: {describe(error)}") from None
    if settings.api_key is not None:
        return settings.api_key.get_secret_value
    raise UsageError("no API key: set TELNYX_API_KEY or --telnyx.api-key-file, or look around with --demo")


def _web_config(settings: Settings) -> WebConfigFile | None:
    path = settings.web.config.file
    try:
        return None if path is None else WebConfigFile(path)
    except ValueError as error:
        raise UsageError(f"--web.config.file={str(path)!r}: {error}") from None


def _listen(settings: Settings) -> socket.socket:
    address = settings.web.listen_address
    try:
        return server.listen(address)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--web.listen-address={address!r}: {getattr(error, 'strerror', None) or error}") from None


def _shown(settings: Settings) -> Callable[[str], bool]:
    allow, deny = re.compile(settings.metrics.allow or ".*"), re.compile(settings.metrics.deny)
    return lambda name: bool(allow.fullmatch(name)) and not deny.fullmatch(name)


@contextlib.asynccontextmanager
async def _refreshing(
    settings: Settings, key: Callable[[], str], telemetry: Telemetry
) -> AsyncIterator[Callable[[], Coroutine[None, None, View]]]:
    """Give the refresh of the account that the settings name, which for a demo is a sandbox on loopback."""
    async with contextlib.AsyncExitStack() as stack:
        base_url = settings.base_url
        if settings.demo:
            listener = server.listen("127.0.0.1:0")
            app = sandbox.create_app(sandbox.Account(), api_key=key())
            await stack.enter_async_context(server.serving(app, listener))
            base_url = f"{server.url(listener)}/v2"
        client = Client(
            Query(base_url=base_url, page_size=settings.telnyx.page_size, **settings.telnyx.filter.model_dump()),
            key,
            telemetry,
            timeout=settings.telnyx.timeout,
            concurrency=settings.telnyx.concurrency,
        )
        stack.push_async_callback(client.close)
        renderer = Renderer(select(_shown(settings), settings.metrics.sensitive_labels))
        yield Refresher(client, renderer, telemetry)


async def _once(settings: Settings, key: Callable[[], str]) -> int:
    """Poll once and print. Process metrics are left out: a textfile collector has its own of these names."""
    telemetry = Telemetry(shown=_shown(settings), process=False)
    document, status = EMPTY, 0
    async with _refreshing(settings, key, telemetry) as refresh:
        try:
            document = (await refresh()).document
        except TelnyxError:  # the refresh has logged it
            status = 1
    _print(document.part(Format.TEXT, gzip=False).data + telemetry.render(Format.TEXT))
    return status


@contextlib.asynccontextmanager
async def _serving(
    app: ASGIApp, listener: socket.socket, web: WebConfigFile | None, watcher: Watcher
) -> AsyncIterator[str]:
    """Serve by the web configuration, if there is one, which is watched meanwhile, and give the URL."""
    if web is None:
        async with server.serving(app, listener):
            yield server.url(listener)
        return
    watch = asyncio.create_task(web.watch(watcher))
    try:
        async with server.serving(Guard(app, lambda: web.config), listener, web.tls):
            yield server.url(listener, "http" if web.tls is None else "https")
    finally:
        watch.cancel()


async def _serve(settings: Settings, key: Callable[[], str], web: WebConfigFile | None, listener: socket.socket) -> int:
    telemetry = Telemetry(shown=_shown(settings))
    path = settings.web.telemetry_path
    async with contextlib.AsyncExitStack() as stack:
        told = stack.enter_context(server.told_to_stop())  # first, so that any moment is an orderly end
        refresh = await stack.enter_async_context(_refreshing(settings, key, telemetry))
        ttl = settings.cache.ttl * PUNCTUALITY
        cache = Cache(refresh, ttl=ttl, max_stale=settings.cache.max_stale, holdoff=holdoff)
        app = create_app(cache, telemetry, metrics_path=path)
        url = await stack.enter_async_context(_serving(app, listener, web, telemetry))
        stack.push_async_callback(cache.close)  # first, so that scrapes that wait for it are answered at once
        if settings.demo:
            _log.info("a demo of made-up connections, no Telnyx account is read")
        _log.info("listening", version=__version__, page=f"{url}/", metrics=f"{url}{path}")
        await cache.get(0.0)
        await told.wait()
        _log.info("stopping")
    return 0
