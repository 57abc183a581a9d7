"""The choice of the proxy for the Telnyx API."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from exporter.config.flags import UsageError
from exporter.config.values import check_proxy_url, is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping


def find_proxy(base_url: str, proxy_url: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the URL of the proxy, or None without one. `proxy_url` is that of the flag.

    Without the flag, the environment decides, except for loopback: a proxy can't reach this machine's loopback.
    Raises `UsageError`, which does not quote the URL.
    """
    if proxy_url is not None:
        if urlsplit(base_url).scheme == "http" and not is_loopback(urlsplit(proxy_url).hostname or ""):
            raise UsageError(
                "--telnyx.proxy-url: must be a loopback address, because --telnyx.base-url is http and would expose "
                "the API key"
            )
        return proxy_url
    name = proxy_variable(base_url, environment)
    if name is None:
        return None
    value = environment[name]
    try:
        return check_proxy_url(value if "://" in value else f"http://{value}")
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def proxy_variable(base_url: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the name of the environment variable that sets the proxy, or None if no variable does."""
    target = urlsplit(base_url)
    host = target.hostname or ""
    if is_loopback(host) or _is_excluded(host, target.port or 443, environment):
        return None
    names = (_variable("https_proxy", environment), _variable("all_proxy", environment))
    return next((name for name in names if environment.get(name)), None)


def _variable(name: str, environment: Mapping[str, str]) -> str:
    """Return the name in lower case if that variable is set, even if it is empty, and in upper case otherwise."""
    return name if name in environment else name.upper()


def _is_excluded(host: str, port: int, environment: Mapping[str, str]) -> bool:
    """Return whether NO_PROXY contains the host, with or without the port, a domain of it, or `*`."""
    forms = (f".{host}", f".{host}:{port}", f".[{host}]", f".[{host}]:{port}")
    entries = [entry.strip() for entry in environment.get(_variable("no_proxy", environment), "").lower().split(",")]
    names = [entry.removeprefix("*").removeprefix(".") for entry in entries]
    return "*" in entries or any(form.endswith(f".{name}") for name in names if name for form in forms)
