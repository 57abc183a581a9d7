"""The command: the one place where settings meet parts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TextIO

import httpx
import stamina.instrumentation
import structlog
import uvloop

from exporter import __version__, sandbox
from exporter.account import Account, CurrentAccount
from exporter.collectors.credential_connections import matching
from exporter.config.api_keys import KeyFile, describe
from exporter.config.flags import PROGRAM, Unavailable, UsageError, check_change, load
from exporter.config.reload import Reloader
from exporter.exposition.response import EMPTY, Format
from exporter.logs import configure
from exporter.telemetry import Telemetry
from exporter.telnyx.errors import TelnyxError
from exporter.web import server
from exporter.web.app import create_app
from exporter.web.middleware import Guard
from exporter.web.web_config import SOURCE as WEB
from exporter.web.web_config import WebConfigFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence

    from starlette.types import ASGIApp

    from exporter.config.reload import Source
    from exporter.config.settings import Settings

_DEMO_KEY = secrets.token_urlsafe()
_OF_HTTPX = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}
"""Variables that httpx reads, the lower-case ones too."""

_log = structlog.get_logger()


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit status: 0, 1 where a poll failed, 2 for what can't be used."""
    _hold_standard_streams()
    if sys.stderr is None:  # Python would take standard output instead, in the middle of what is printed there
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 -- for as long as the process lasts
    try:
        settings = load(arguments)
        configure(settings.log.level, settings.log.format)
        telemetry = Telemetry(shown=_shown(settings), process=not settings.once)
        key, web = _key(settings, telemetry), _web_config(settings)
        if settings.check_config:
            return _run(_check(settings, key, telemetry))
        if settings.once:
            return _run(_once(settings, key, telemetry))
        with _listening(settings) as listeners:
            return _run(_serve(arguments, settings, key, web, listeners=listeners, telemetry=telemetry))
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)  # noqa: T201 -- for whoever typed it, not for the log
        return error.status
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


def _key(settings: Settings, telemetry: Telemetry) -> Callable[[], str]:
    """Return what gives the API key. A file wins over the variable, because only a file can be rotated."""
    path = settings.telnyx.api_key_file
    if settings.demo:
        return lambda: _DEMO_KEY
    if path is not None:
        try:
            return KeyFile(path, telemetry)
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


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[Sequence[socket.socket]]:
    with contextlib.ExitStack() as stack:
        if settings.web.systemd_socket:
            yield [stack.enter_context(listener) for listener in _inherit()]
            return
        listeners = []
        for address in settings.web.listen_address:
            try:
                listeners.append(stack.enter_context(server.listen(address)))
            except (OSError, UnicodeError) as error:
                reason = getattr(error, "strerror", None) or error
                raise Unavailable(f"--web.listen-address={address!r}: {reason}") from None
        yield listeners


def _inherit() -> Sequence[socket.socket]:
    try:
        if listeners := server.inherit():
            return listeners
    except (OSError, ValueError) as error:
        raise UsageError(f"--web.systemd-socket: {error}") from None
    raise UsageError("--web.systemd-socket: systemd passed no socket, so start the socket unit, not the service alone")


@contextlib.asynccontextmanager
async def _telnyx(settings: Settings) -> AsyncIterator[str]:
    """Give the base URL of what is polled, which for a demo is a sandbox on loopback."""
    if not settings.demo:
        yield settings.base_url
        return
    listener = server.listen("127.0.0.1:0")
    async with server.serving(sandbox.create_app(sandbox.Account(), api_key=_DEMO_KEY), listener):
        yield f"{server.url(listener)}/v2"


def _account(settings: Settings, base_url: str, key: Callable[[], str], telemetry: Telemetry) -> Account:
    """Return what reads the account. What httpx takes from the environment is refused in words that hold none of it."""
    try:
        return Account(settings, base_url, key, telemetry)
    except (OSError, ValueError, httpx.InvalidURL, ImportError) as error:
        reason = "SOCKS is not supported" if isinstance(error, ImportError) else "can't be used"
        names = ", ".join(name for name in os.environ if name.upper() in _OF_HTTPX)
        raise UsageError(f"{names}: {reason}") from None


async def _check(settings: Settings, key: Callable[[], str], telemetry: Telemetry) -> int:
    await _account(settings, settings.base_url, key, telemetry).close()
    _print(b"ok\n")
    return 0


async def _once(settings: Settings, key: Callable[[], str], telemetry: Telemetry) -> int:
    """Poll once and print. Process metrics are left out: a textfile collector has its own of these names."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # a terminal that is gone needs no answer
    document, status = EMPTY, 0
    async with _telnyx(settings) as base_url:
        account = _account(settings, base_url, key, telemetry)
        try:
            document = (await account.refresh()).document
        except TelnyxError:  # the refresh has logged it
            status = 1
        finally:
            await account.close()
    _print(document.part(Format.TEXT, gzip=False).data + telemetry.render(Format.TEXT))
    return status


def _shown(settings: Settings) -> Callable[[str], bool]:
    return matching(settings.metrics.allow, settings.metrics.deny)


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Have work done meanwhile."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()


async def _reload_when(told: asyncio.Event, reload: Callable[[], Coroutine[None, None, None]]) -> None:
    while True:
        await told.wait()
        told.clear()
        with contextlib.suppress(ValueError):  # it has logged it
            await reload()


async def _serve(
    arguments: Sequence[str],
    settings: Settings,
    key: Callable[[], str],
    web: WebConfigFile | None,
    *,
    listeners: Sequence[socket.socket],
    telemetry: Telemetry,
) -> int:
    path = settings.web.telemetry_path
    stop, again = asyncio.Event(), asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        # First, so that any moment is an orderly end.
        stack.enter_context(server.on_signals((signal.SIGTERM, signal.SIGINT), stop.set))
        stack.enter_context(server.on_signals((signal.SIGHUP,), again.set))
        base_url = await stack.enter_async_context(_telnyx(settings))
        account = CurrentAccount(
            _account(settings, base_url, key, telemetry), lambda: _anew(arguments, settings, base_url, telemetry)
        )
        sources: dict[str, Source] = {"settings": account}
        if web is not None:
            sources[WEB] = web
        telemetry.configured("settings", time.time())
        reload = Reloader(sources, telemetry)
        await stack.enter_async_context(_beside(_reload_when(again, reload)))
        app: ASGIApp = create_app(
            lambda: account.cache,
            telemetry,
            metrics_path=path,
            reload=reload if settings.web.enable_lifecycle else None,
        )
        if web is not None:
            await stack.enter_async_context(_beside(web.watch(telemetry)))
            app = Guard(app, lambda: web.config)
        tls = None if web is None else web.tls
        await stack.enter_async_context(server.serving(app, *listeners, tls=tls))
        stack.push_async_callback(account.close)  # first, so that scrapes that wait for it are answered at once
        if settings.demo:
            _log.info("a demo of made-up connections, no Telnyx account is read")
        for listener in listeners:
            _log.info("listening", version=__version__, **_where(listener, "http" if tls is None else "https", path))
        await account.cache.get(0.0)
        await stop.wait()
        _log.info("stopping")
    return 0


def _anew(arguments: Sequence[str], first: Settings, base_url: str, telemetry: Telemetry) -> Account:
    """Return the account as the settings are now, and go by those that are about the whole process. A demo's stays."""
    settings = load(arguments)
    check_change(first, settings)
    key = _key(settings, telemetry)
    account = _account(settings, base_url if settings.demo else settings.base_url, key, telemetry)
    configure(settings.log.level, settings.log.format)
    telemetry.show(_shown(settings))
    return account


def _where(listener: socket.socket, scheme: str, path: str) -> dict[str, str]:
    if listener.family is socket.AF_UNIX:
        return {"socket": os.fsdecode(listener.getsockname()), "metrics": path}
    url = server.url(listener, scheme)
    return {"page": f"{url}/", "metrics": f"{url}{path}"}
