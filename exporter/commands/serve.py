"""The command without a mode: serves the metrics until a signal stops it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

import structlog

from exporter.accounts.accounts import Accounts
from exporter.build import BUILD_INFO
from exporter.commands.background import in_background
from exporter.commands.components import (
    api_server,
    configure_accounts,
    metric_filter,
    open_keys,
    read_settings,
    reads_key_files,
)
from exporter.config.flags import BindError, UsageError, check_reloadable
from exporter.config.reload import Reloader
from exporter.config.web.paths import WebPaths
from exporter.logs import configure_logging
from exporter.server.incidents import IncidentLog
from exporter.server.listeners import ListenError, inherit_sockets, listen, local_url
from exporter.server.serving import serving
from exporter.server.signals import on_signals
from exporter.status.changes import RecentChanges
from exporter.status.status import StatusReader
from exporter.web.app import create_app
from exporter.web.middleware import WebConfigMiddleware
from exporter.web.web_config import SOURCE as WEB_SOURCE
from exporter.web.web_config import WebConfigFile

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from starlette.types import ASGIApp

    from exporter.accounts.accounts import Configuration
    from exporter.commands.components import ReadKeys
    from exporter.config.reload import Source
    from exporter.config.settings import Settings
    from exporter.telemetry import Telemetry

_log = structlog.get_logger()


def open_web_config(settings: Settings) -> WebConfigFile | None:
    """Read the web configuration file, if there is one. Raises `UsageError`."""
    path = settings.web.config.file
    try:
        return None if path is None else WebConfigFile(path)
    except ValueError as error:
        raise UsageError(f"--web.config.file={str(path)!r}: {error}") from None


@contextlib.contextmanager
def listening_sockets(settings: Settings) -> Iterator[Sequence[socket.socket]]:
    """Provide the sockets to serve on. Raises `UsageError`."""
    with contextlib.ExitStack() as stack:
        if settings.web.systemd_socket:
            yield [stack.enter_context(listener) for listener in _inherit_sockets()]
            return
        listeners = []
        for address in settings.web.listen_address:
            try:
                listeners.append(stack.enter_context(listen(address)))
            except ListenError as error:
                raise BindError(f"--web.listen-address={address!r}: {error}") from None
        yield listeners


def _inherit_sockets() -> Sequence[socket.socket]:
    try:
        if listeners := inherit_sockets():
            return listeners
    except ListenError as error:
        raise UsageError(f"--web.systemd-socket: {error}") from None
    raise UsageError("--web.systemd-socket: systemd passed no socket; start the socket unit, not only the service")


async def _reload_on(event: asyncio.Event, reload: Callable[[], Coroutine[None, None, None]]) -> None:
    while True:
        await event.wait()
        event.clear()
        with contextlib.suppress(ValueError):  # the reload has logged it
            await reload()


async def serve(
    arguments: Sequence[str],
    settings: Settings,
    read_keys: ReadKeys,
    web_config: WebConfigFile | None,
    *,
    listeners: Sequence[socket.socket],
    telemetry: Telemetry,
) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status. A reload reads `arguments` again."""
    web = settings.web
    paths = WebPaths.of(web.external_url, web.route_prefix, web.telemetry_path)
    stop, reload_requested = asyncio.Event(), asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        # Signal handlers come first, so that SIGTERM stops the process cleanly at any moment from here on.
        stack.enter_context(on_signals((signal.SIGTERM, signal.SIGINT), stop.set))
        stack.enter_context(on_signals((signal.SIGHUP,), reload_requested.set))
        base_url = await stack.enter_async_context(api_server(settings))
        changes = RecentChanges()
        accounts = Accounts(
            configure_accounts(settings, base_url, read_keys, telemetry, on_changes=changes.record),
            lambda: _load_again(arguments, settings, base_url, telemetry, changes),
            telemetry,
        )
        status = StatusReader(accounts, telemetry.rate_limit, changes)
        await accounts.open()
        sources: dict[str, Source] = {"settings": accounts}
        if web_config is not None:
            sources[WEB_SOURCE] = web_config
        telemetry.record_config_loaded("settings", time.time())
        reload = Reloader(sources, telemetry)
        await stack.enter_async_context(in_background(lambda: _reload_on(reload_requested, reload)))
        app: ASGIApp = create_app(
            lambda: accounts.current,
            telemetry,
            read_status=None if web.disable_status_page else status.read,
            paths=paths,
            reload=reload if web.enable_lifecycle else None,
        )
        incidents = IncidentLog(telemetry.count_incident)
        if web_config is not None:
            await stack.enter_async_context(in_background(lambda: web_config.watch(telemetry)))
            app = WebConfigMiddleware(app, lambda: web_config.config, incidents, paths=paths)
        tls = None if web_config is None else web_config.tls
        await stack.enter_async_context(serving(app, *listeners, observer=incidents, tls=tls))
        stack.push_async_callback(accounts.close)  # before the server, so that waiting scrapes are served at once
        _log.info("starting", **BUILD_INFO)
        if settings.demo:
            _log.info("running a demo with a simulated account; no request is sent to Telnyx")
        for listener in listeners:
            urls = _endpoints(listener, "http" if tls is None else "https", paths)
            if web.external_url:
                urls["external_url"] = f"{web.external_url}/"
            _log.info("listening", **urls)
        accounts.current.start_refreshes()
        if reads_key_files(settings):
            _log.info(
                "reading accounts",
                accounts=len(accounts.current.groups),
                shard=settings.shard,
                total_shards=settings.total_shards,
                files=accounts.current.total_accounts,
            )
            await stack.enter_async_context(in_background(accounts.watch_keys))
            await stack.enter_async_context(in_background(accounts.refresh_in_background))
        await stop.wait()
        _log.info("stopping")
    return 0


def _load_again(
    arguments: Sequence[str], first: Settings, base_url: str, telemetry: Telemetry, changes: RecentChanges
) -> Configuration:
    """Load the settings again, apply the log settings and the metric filter, and return the new configuration.

    A demo keeps its sandbox. Raises `UsageError`.
    """
    settings = read_settings(arguments).settings
    check_reloadable(first, settings)
    read_keys = open_keys(settings, telemetry)
    base_url = base_url if settings.demo else settings.base_url
    configuration = configure_accounts(settings, base_url, read_keys, telemetry, on_changes=changes.record)
    configure_logging(settings.log.level, settings.log.format)
    telemetry.set_filter(metric_filter(settings))
    return configuration


def _endpoints(listener: socket.socket, scheme: str, paths: WebPaths) -> dict[str, str]:
    if listener.family is socket.AF_UNIX:
        return {"socket": os.fsdecode(listener.getsockname()), "metrics": paths.metrics}
    url = local_url(listener, scheme)
    return {"page": url + paths.page, "metrics": url + paths.metrics}
