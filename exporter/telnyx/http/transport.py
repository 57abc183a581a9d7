"""How requests reach the Telnyx API: over TLS, and through a proxy if there is one."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import httpx

from exporter.config.flags import UsageError
from exporter.telnyx.http.proxies import find_proxy
from exporter.telnyx.http.tls import create_ssl_context

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Route(NamedTuple):
    """A transport for requests, and whether they go through a proxy."""

    transport: httpx.AsyncBaseTransport
    is_proxied: bool = False


def prepare_routes(base_url: str, ca_file: Path | None = None, proxy_url: str | None = None) -> Callable[[], Route]:
    """Return a function that opens a route to the API.

    All routes share a TLS context, but no connections. It is created here, once, because it loads all trusted CAs. The
    flags take precedence over the environment. Raises `UsageError` if one that is used is invalid.
    """
    try:
        httpx.Request("GET", base_url)  # rejects some hosts that Python accepts, and would do so at each request
    except (httpx.InvalidURL, UnicodeError):
        raise UsageError("--telnyx.base-url: must have a valid host name or IP address") from None
    proxy = find_proxy(base_url, proxy_url)
    is_tls = "https" in {urlsplit(url).scheme for url in (base_url, proxy) if url}
    context = create_ssl_context(ca_file) if is_tls or ca_file else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def open_route() -> Route:
        transport = httpx.AsyncHTTPTransport(
            verify=context,
            limits=httpx.Limits(max_connections=None),  # a list whose requests hang must not delay the others
            proxy=None if proxy is None else _proxy(proxy, context),
        )
        return Route(transport, is_proxied=proxy is not None)

    return open_route


def _proxy(url: str, context: ssl.SSLContext) -> httpx.Proxy:
    """Return the proxy. An https proxy must have a certificate of the same CAs as the API."""
    return httpx.Proxy(url, ssl_context=context if urlsplit(url).scheme == "https" else None)
