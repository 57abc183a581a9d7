"""The command: composes the parts from the settings and runs them."""

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
from exporter.collectors.families import name_filter
from exporter.config.api_keys import KeyFile, describe_problem
from exporter.config.flags import PROGRAM, BindError, UsageError, check_reloadable, load_settings
from exporter.config.reload import Reloader
from exporter.exposition.formats import Format
from exporter.exposition.response import EMPTY, response_body
from exporter.logs import configure_logging
from exporter.server.incidents import IncidentLog
from exporter.server.listeners import inherit_sockets, listen, local_url
from exporter.server.serving import serving
from exporter.server.signals import on_signals
from exporter.telemetry import Telemetry
from exporter.telnyx.errors import TelnyxError
from exporter.web.app import create_app
from exporter.web.middleware import WebConfigMiddleware
from exporter.web.web_config import SOURCE as WEB_SOURCE
from exporter.web.web_config import WebConfigFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence

    from starlette.types import ASGIApp

    from exporter.config.reload import Source
    from exporter.config.settings import Settings

_DEMO_KEY = secrets.token_urlsafe()
_HTTPX_VARIABLES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}
"""Environment variables that httpx reads, also in lower case."""

_log = structlog.get_logger()


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status.

    0 is success, 1 a failed poll or an address that can't be bound, 2 a usage error, 130 an interrupt.
    """
    _reserve_standard_descriptors()
    if sys.stderr is None:  # otherwise Python would write errors to standard output, among the metrics
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 -- open until the process ends
    try:
        settings = load_settings(arguments)
        configure_logging(settings.log.level, settings.log.format)
        telemetry = Telemetry(is_exposed=_name_filter(settings), process=not settings.once)
        api_key, web_config = _api_key(settings, telemetry), _web_config(settings)
        if settings.check_config:
            return _run(_check_config(settings, api_key, telemetry))
        if settings.once:
            return _run(_poll_once(settings, api_key, telemetry))
        with _listening_sockets(settings) as listeners:
            return _run(_serve(arguments, settings, api_key, web_config, listeners=listeners, telemetry=telemetry))
    except UsageError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)  # noqa: T201 -- for the user, not for the log
        return error.status
    except KeyboardInterrupt:
        return 130
    finally:
        try:
            sys.stderr.flush()
        except OSError:
            _discard(sys.stderr)


def _reserve_standard_descriptors() -> None:
    """Open closed standard streams on /dev/null. A socket could get their descriptor otherwise, and uvloop aborts."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 -- standard error
        pass
    os.close(descriptor)


def _discard(stream: TextIO) -> None:
    """Discard output that could not be written. Otherwise Python would fail when it flushes the stream at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _write_stdout(pieces: Iterable[bytes | memoryview]) -> None:
    if sys.stdout is None:
        raise UsageError("standard output: is closed")
    try:
        sys.stdout.buffer.writelines(pieces)
        sys.stdout.flush()
    except OSError as error:
        _discard(sys.stdout)
        raise UsageError(f"standard output: {error.strerror}") from None


def _run(coroutine: Coroutine[None, None, int]) -> int:
    stamina.instrumentation.set_on_retry_hooks(())  # the exporter has its own log and metrics
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        # One thread renders, compresses and reloads. More would not be faster, and each would keep its own memory.
        runner.get_loop().set_default_executor(ThreadPoolExecutor(1))
        return runner.run(coroutine)


def _api_key(settings: Settings, telemetry: Telemetry) -> Callable[[], str]:
    """Return a function for the API key. A file takes precedence over TELNYX_API_KEY, as only a file can be rotated."""
    path = settings.telnyx.api_key_file
    if settings.demo:
        return lambda: _DEMO_KEY
    if path is not None:
        try:
            return KeyFile(path, telemetry)
        except (OSError, ValueError) as error:
            raise UsageError(f"--telnyx.api-key-file={str(path)!r}: {describe_problem(error)}") from None
    if settings.api_key is not None:
        return settings.api_key.get_secret_value
    raise UsageError("no API key: set TELNYX_API_KEY or --telnyx.api-key-file, or try --demo")


def _web_config(settings: Settings) -> WebConfigFile | None:
    path = settings.web.config.file
    try:
        return None if path is None else WebConfigFile(path)
    except ValueError as error:
        raise UsageError(f"--web.config.file={str(path)!r}: {error}") from None


@contextlib.contextmanager
def _listening_sockets(settings: Settings) -> Iterator[Sequence[socket.socket]]:
    with contextlib.ExitStack() as stack:
        if settings.web.systemd_socket:
            yield [stack.enter_context(listener) for listener in _inherit_sockets()]
            return
        listeners = []
        for address in settings.web.listen_address:
            try:
                listeners.append(stack.enter_context(listen(address)))
            except (OSError, UnicodeError) as error:
                reason = getattr(error, "strerror", None) or error
                raise BindError(f"--web.listen-address={address!r}: {reason}") from None
        yield listeners


def _inherit_sockets() -> Sequence[socket.socket]:
    try:
        if listeners := inherit_sockets():
            return listeners
    except (OSError, ValueError) as error:
        raise UsageError(f"--web.systemd-socket: {error}") from None
    raise UsageError("--web.systemd-socket: systemd passed no socket; start the socket unit, not only the service")


@contextlib.asynccontextmanager
async def _api_server(settings: Settings) -> AsyncIterator[str]:
    """Provide the base URL of the API. In a demo, run a sandbox on loopback and provide its URL."""
    if not settings.demo:
        yield settings.base_url
        return
    listener = listen("127.0.0.1:0")
    async with serving(sandbox.create_app(sandbox.Account(), api_key=_DEMO_KEY), listener):
        yield f"{local_url(listener)}/v2"


def _account(settings: Settings, base_url: str, api_key: Callable[[], str], telemetry: Telemetry) -> Account:
    """Create the account. Errors about httpx's environment variables don't quote their values."""
    try:
        return Account(settings, base_url, api_key, telemetry)
    except (OSError, ValueError, httpx.InvalidURL, ImportError) as error:
        reason = "SOCKS is not supported" if isinstance(error, ImportError) else "is invalid"
        names = ", ".join(name for name in os.environ if name.upper() in _HTTPX_VARIABLES)
        raise UsageError(f"{names}: {reason}") from None


async def _check_config(settings: Settings, api_key: Callable[[], str], telemetry: Telemetry) -> int:
    await _account(settings, settings.base_url, api_key, telemetry).close()
    _write_stdout([b"ok\n"])
    return 0


async def _poll_once(settings: Settings, api_key: Callable[[], str], telemetry: Telemetry) -> int:
    """Poll once and print. Process metrics are left out, because a textfile collector exposes its own."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # end when the terminal is closed
    document, status = EMPTY, 0
    async with _api_server(settings) as base_url:
        account = _account(settings, base_url, api_key, telemetry)
        try:
            document = (await account.refresh()).document
        except TelnyxError:  # the refresh has logged it
            status = 1
        finally:
            await account.close()
    _write_stdout(response_body(document, Format.TEXT, telemetry.render(Format.TEXT), gzip=False).pieces)
    return status


def _name_filter(settings: Settings) -> Callable[[str], bool]:
    return name_filter(settings.metrics.allow, settings.metrics.deny)


@contextlib.asynccontextmanager
async def _background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run a coroutine in the background and cancel it on exit."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()


async def _reload_on(event: asyncio.Event, reload: Callable[[], Coroutine[None, None, None]]) -> None:
    while True:
        await event.wait()
        event.clear()
        with contextlib.suppress(ValueError):  # the reload has logged it
            await reload()


async def _serve(
    arguments: Sequence[str],
    settings: Settings,
    api_key: Callable[[], str],
    web_config: WebConfigFile | None,
    *,
    listeners: Sequence[socket.socket],
    telemetry: Telemetry,
) -> int:
    path = settings.web.telemetry_path
    stop, reload_requested = asyncio.Event(), asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        # Signal handlers come first, so that SIGTERM stops the process cleanly at any moment from here on.
        stack.enter_context(on_signals((signal.SIGTERM, signal.SIGINT), stop.set))
        stack.enter_context(on_signals((signal.SIGHUP,), reload_requested.set))
        base_url = await stack.enter_async_context(_api_server(settings))
        account = CurrentAccount(
            _account(settings, base_url, api_key, telemetry),
            rebuild=lambda: _rebuild_account(arguments, settings, base_url, telemetry),
        )
        sources: dict[str, Source] = {"settings": account}
        if web_config is not None:
            sources[WEB_SOURCE] = web_config
        telemetry.record_config_loaded("settings", time.time())
        reload = Reloader(sources, telemetry)
        await stack.enter_async_context(_background(_reload_on(reload_requested, reload)))
        app: ASGIApp = create_app(
            lambda: account.cache,
            telemetry,
            metrics_path=path,
            reload=reload if settings.web.enable_lifecycle else None,
        )
        incidents = IncidentLog(telemetry.count_incident)
        if web_config is not None:
            await stack.enter_async_context(_background(web_config.watch(telemetry)))
            app = WebConfigMiddleware(app, lambda: web_config.config, incidents)
        tls = None if web_config is None else web_config.tls
        await stack.enter_async_context(serving(app, *listeners, observer=incidents, tls=tls))
        stack.push_async_callback(account.close)  # closed before the server, so that waiting scrapes are served at once
        if settings.demo:
            _log.info("running a demo with generated connections; no Telnyx account is read")
        for listener in listeners:
            urls = _endpoints(listener, "http" if tls is None else "https", path)
            _log.info("listening", version=__version__, **urls)
        await account.cache.get(0.0)
        await stop.wait()
        _log.info("stopping")
    return 0


def _rebuild_account(arguments: Sequence[str], first: Settings, base_url: str, telemetry: Telemetry) -> Account:
    """Load the settings again, apply the log settings and the metric filter, and return a new account.

    A demo keeps its sandbox. Raises `UsageError`.
    """
    settings = load_settings(arguments)
    check_reloadable(first, settings)
    api_key = _api_key(settings, telemetry)
    account = _account(settings, base_url if settings.demo else settings.base_url, api_key, telemetry)
    configure_logging(settings.log.level, settings.log.format)
    telemetry.set_filter(_name_filter(settings))
    return account


def _endpoints(listener: socket.socket, scheme: str, path: str) -> dict[str, str]:
    if listener.family is socket.AF_UNIX:
        return {"socket": os.fsdecode(listener.getsockname()), "metrics": path}
    url = local_url(listener, scheme)
    return {"page": f"{url}/", "metrics": f"{url}{path}"}
