"""Paths and URLs at which clients find the exporter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from exporter.config.values import split_url

HEALTHY, READY, RELOAD, RUNBOOKS = "/-/healthy", "/-/ready", "/-/reload", "/runbooks/"
"""Paths below the prefix. All runbooks are below the last one."""
STATUS = "/api/v1/status"
"""The path of the status as JSON, below the prefix."""

_PLAIN_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~!$&'()*+,;=:@-]+)*")
"""A path without a slash at the end, of characters that URLs don't escape. Clients remove `.` and `..`."""


def check_external_url(text: str) -> str:
    """Validate `--web.external-url` and return it without a slash at the end. It can be empty."""
    url = text.rstrip("/")
    if text:
        _check_plain(split_url(text, "https://example.com/telnyx").path.rstrip("/"), "must have")
    return url


def check_route_prefix(text: str) -> str:
    """Validate `--web.route-prefix` and return it with a slash at the start only, as Prometheus does.

    It can be empty, which means the path of `--web.external-url`. `/` means that there is no prefix.
    """
    path = text.strip("/")
    _check_plain(path and f"/{path}", "must be")
    return text and f"/{path}"


def _check_plain(path: str, what: str) -> None:
    if not _PLAIN_PATH.fullmatch(path):
        raise ValueError(f"{what} a path such as /telnyx, without //, /./, /../ and characters that URLs escape")


def check_telemetry_path(text: str) -> str:
    """Validate the path of the metrics, below the prefix."""
    is_reserved = text == STATUS or text.startswith(("/-/", "//")) or f"{text}/".startswith(RUNBOOKS)
    if not re.fullmatch(r"/[A-Za-z0-9._~/-]+", text) or is_reserved:
        raise ValueError(
            "must be a path such as /metrics, with letters, digits and ._~/- only, and must not be "
            f"{STATUS} or begin with /-/, {RUNBOOKS} or //"
        )
    return text


@dataclass(frozen=True, slots=True)
class WebPaths:
    """Where clients find the pages of the exporter. The prefixes are empty, or such as `/telnyx`."""

    route_prefix: str = ""
    """What the paths of all requests begin with."""
    link_prefix: str = ""
    """What the paths in links begin with. It differs from `route_prefix` if a reverse proxy changes paths."""
    telemetry_path: str = "/metrics"
    """The path of the metrics, below the prefix."""

    @classmethod
    def of(cls, external_url: str, route_prefix: str, telemetry_path: str) -> Self:
        """Return the paths for the values of these settings."""
        external = urlsplit(external_url).path
        internal = (route_prefix or external).rstrip("/")
        return cls(internal, external if external_url else internal, telemetry_path)

    def is_open(self, path: str) -> bool:
        """Return whether a request for this path needs neither a password nor a token of the rate limit.

        Health probes and readers of a runbook have no password.
        """
        return path in {self.route(HEALTHY), self.route(READY)} or f"{path}/".startswith(self.route(RUNBOOKS))

    def route(self, path: str) -> str:
        """Return the path at which the exporter serves a page."""
        return self.route_prefix + path

    def link(self, path: str) -> str:
        """Return the path of a page in a link."""
        return self.link_prefix + path

    @property
    def metrics(self) -> str:
        """The path at which the exporter serves the metrics."""
        return self.route(self.telemetry_path)

    @property
    def page(self) -> str:
        """The path at which the exporter serves the status page."""
        return self.route("/")


NO_PREFIX = WebPaths()
"""The default paths."""
