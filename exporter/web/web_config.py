"""The web configuration file of the Prometheus ecosystem: TLS, headers, users and a rate limit.

https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import TYPE_CHECKING, Annotated, Any, Self

import structlog
import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from exporter.config.files import read_file
from exporter.config.loading.messages import printable
from exporter.web.go_yaml import Bool, Duration, Int, Text, to_plain
from exporter.web.tls import Section, TLSConfig, create_server_tls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.config.reload import ConfigObserver
    from exporter.server.tls_protocol import ServerTLS

SOURCE = "web"
"""The name of this configuration source."""
POLL_INTERVAL = 5.0
"""Seconds between two checks of the files. They run in the background, so no handshake or scrape waits for a disk."""
_MAX_BYTES = 2**20

_HEADERS: dict[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
_BCRYPT = re.compile(r"\$2[abxy]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}", re.ASCII)

_log = structlog.get_logger()


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if name not in _HEADERS:
            raise ValueError(f'HTTP header "{name}" can not be configured; use {", ".join(_HEADERS)}')
        if value and _HEADERS[name] and value not in _HEADERS[name]:
            raise ValueError(f"invalid value for {name}: must be {' or '.join(_HEADERS[name])}")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"{name} contains a control character or a non-ASCII character: remove it")
    return headers


def _check_users(users: Any) -> Any:
    """Validate users. Errors state a position, not a name: if name and hash were swapped, the log would show a hash."""
    if not isinstance(users, dict):
        raise ValueError("must be a mapping of names to bcrypt hashes")  # noqa: TRY004 -- pydantic requires ValueError
    for position, (name, value) in enumerate(users.items(), 1):
        if ":" in name:
            raise ValueError(f"the name of user {position} has a colon, which basic authentication can't transmit")
        if not isinstance(value, str) or not _BCRYPT.fullmatch(value):
            raise ValueError(f"the password of user {position} is not a bcrypt hash; create one with htpasswd -nBC 10")
    return users


class HTTP(Section):
    """`http_server_config`."""

    http2: Bool = True
    """Ignored: the exporter does not offer HTTP/2, so clients use HTTP/1.1."""
    headers: Annotated[dict[str, Text], AfterValidator(_check_headers)] = Field(default_factory=dict)


class RateLimit(Section):
    """`rate_limit`: a token bucket of `burst` requests that gains one per interval, in seconds; 0 means no limit."""

    interval: Duration = 0.0
    burst: Int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check_burst(self) -> Self:
        if self.interval and not self.burst:
            raise ValueError("needs burst: without it, no request is allowed")
        return self


class WebConfig(Section):
    """The whole file. Two are equal if they, and the files that they refer to, contain the same settings."""

    tls_server_config: TLSConfig | None = None
    http_server_config: HTTP = Field(default_factory=HTTP)
    basic_auth_users: Annotated[dict[str, str], BeforeValidator(_check_users)] = Field(default_factory=dict, repr=False)
    rate_limit: RateLimit = Field(default_factory=RateLimit)


def load(path: Path) -> WebConfig:
    """Load a file. Raises `ValueError` with one line that states key and reason and quotes no secret."""
    try:
        text = read_file(path, _MAX_BYTES).decode()
        config = WebConfig.model_validate(to_plain(yaml.compose(text, Loader=yaml.SafeLoader)) or {})
    except OSError as error:
        raise ValueError(error.strerror) from None
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except ValidationError as error:
        raise ValueError(_explain(error)) from None
    except (yaml.YAMLError, RecursionError) as error:  # its message can quote a password
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f"{f'line {mark.line + 1}: ' if mark else ''}is not valid YAML") from None
    if config.tls_server_config is None:
        return config
    return config.model_copy(update={"tls_server_config": config.tls_server_config.with_file_contents(path.parent)})


_REASONS = {
    "extra_forbidden": "unknown key",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "greater_than_equal": "must be 0 or more",
}


def _explain(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    reason = str(problem["ctx"]["error"]) if problem["type"] == "value_error" else problem["msg"].lower()
    reason = _REASONS.get(problem["type"], reason)
    return f"{printable(where)}: {reason}" if where else reason


class WebConfigFile:
    """Holds the last valid configuration of a file.

    The constructor raises `ValueError` if the file is invalid. Later, if the file becomes invalid, the last valid
    configuration stays in use.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._problem = ""
        self.config, self._tls = _load_with_tls(path)

    @property
    def tls(self) -> Callable[[], ServerTLS] | None:
        """A function that returns the TLS configuration for a new connection, or None without TLS."""
        first = self._tls
        return None if first is None else lambda: self._tls or first

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, and those that it refers to."""
        tls = self.config.tls_server_config
        named = () if tls is None else (tls.cert_file, tls.key_file, tls.client_ca_file)
        return (self._path, *(self._path.parent / name for name in named if name))

    async def reload(self) -> None:
        """Read the file, and those it refers to, again. Raises `ValueError` if they are invalid."""
        try:
            self.config, self._tls = await asyncio.to_thread(_load_with_tls, self._path, self.config, self._tls)
        except ValueError as error:
            self._problem = str(error)
            raise ValueError(f"{self._path}: {error}") from None
        self._problem = ""

    async def watch(self, observer: ConfigObserver, *, clock: Callable[[], float] = time.time) -> None:
        """Reload the file whenever it, or a file that it refers to, changes. Never returns."""
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            previous, previous_problem = self.config, self._problem
            with contextlib.suppress(ValueError):
                await self.reload()
            if self._problem:
                observer.record_config_error(SOURCE)
            elif previous_problem or self.config is not previous:
                observer.record_config_loaded(SOURCE, clock())
                _log.info("web configuration reloaded", file=str(self._path))
            if self._problem not in {"", previous_problem}:
                _log.warning(
                    "web configuration is invalid, keeping the previous one",
                    file=str(self._path),
                    problem=self._problem,
                )


def _load_with_tls(
    path: Path, previous: WebConfig | None = None, previous_tls: ServerTLS | None = None
) -> tuple[WebConfig, ServerTLS | None]:
    """Load a file and create the TLS configuration of the server. If nothing changed, return the previous ones."""
    config = load(path)
    if config == previous:
        return previous, previous_tls
    tls = config.tls_server_config
    if previous is not None and (tls is None) != (previous.tls_server_config is None):
        raise ValueError("tls_server_config: can't be added or removed at a reload: restart the exporter")
    if previous is not None and previous.basic_auth_users and not config.basic_auth_users:
        # The file may have been truncated, and the exporter must not become open by accident.
        raise ValueError("basic_auth_users: can't all be removed at a reload: restart the exporter")
    return config, create_server_tls(tls) if tls is not None else None
