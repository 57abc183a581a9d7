"""The web configuration file that Prometheus's exporters share: TLS, headers, users and a rate limit.

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

from exporter.config.files import read
from exporter.config.settings import Duration
from exporter.web.tls import TLS, Section, create_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from exporter.config.reload import Recorder

SOURCE = "web"
"""What this configuration is called where there are others."""
INTERVAL = 5.0
"""Seconds between two looks at the files, in the background: no handshake or scrape waits for a disk."""
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
            raise ValueError(f"{name!r} is none of {', '.join(_HEADERS)}")
        if value and _HEADERS[name] and value not in _HEADERS[name]:
            raise ValueError(f"{name} must be {' or '.join(_HEADERS[name])}")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"{name} holds a control character or a character outside ASCII")
    return headers


def _check_users(users: Any) -> Any:
    """Refuse users by their place: who swaps name and hash would find the hash in the log."""
    if not isinstance(users, dict):
        raise ValueError("must be a mapping of names to bcrypt hashes")  # noqa: TRY004 -- pydantic's way to refuse
    for place, (name, value) in enumerate(users.items(), 1):
        if ":" in name:
            raise ValueError(f"the name of user {place} has a colon, which basic authentication can't send")
        if not isinstance(value, str) or not _BCRYPT.fullmatch(value):
            raise ValueError(f"the password of user {place} is not a bcrypt hash, such as htpasswd -nBC 10 gives")
    return users


class HTTP(Section):
    """`http_server_config`."""

    http2: bool = True
    """Means nothing here: HTTP/2 is not offered, and clients agree on HTTP/1.1."""
    headers: Annotated[dict[str, str], AfterValidator(_check_headers)] = Field(default_factory=dict)


class RateLimit(Section):
    """`rate_limit`: a bucket of `burst` requests that gains one in each interval, in seconds; 0 is no limit."""

    interval: Duration = 0.0
    burst: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _passable(self) -> Self:
        if self.interval and not self.burst:
            raise ValueError("needs a burst, or no request would pass")
        return self


class WebConfig(Section):
    """The whole file; two of them are equal if they, and the files that they name, say the same."""

    tls_server_config: TLS | None = None
    http_server_config: HTTP = Field(default_factory=HTTP)
    basic_auth_users: Annotated[dict[str, str], BeforeValidator(_check_users)] = Field(default_factory=dict, repr=False)
    rate_limit: RateLimit = Field(default_factory=RateLimit)


def load(path: Path) -> WebConfig:
    """Return what a file says. Raises `ValueError` with one line that names key and reason and quotes no secret."""
    try:
        text = read(path, _MAX_BYTES).decode()
        config = WebConfig.model_validate(_plain(yaml.compose(text, Loader=yaml.SafeLoader)) or {})
    except OSError as error:
        raise ValueError(error.strerror) from None
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except ValidationError as error:
        raise ValueError(_explain(error)) from None
    except (yaml.YAMLError, RecursionError) as error:  # its own words can quote a password
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f"is not YAML{f', line {mark.line + 1}' if mark else ''}") from None
    if config.tls_server_config is None:
        return config
    return config.model_copy(update={"tls_server_config": config.tls_server_config.filled(path.parent)})


def _plain(node: yaml.Node | None) -> Any:
    """Return a document as mappings, lists and text as it is written: what it means is for the schema to say.

    A key without a value is left out, as if it were not there.
    """
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    if not isinstance(node, yaml.MappingNode):
        return None if node is None or node.tag == "tag:yaml.org,2002:null" else node.value
    plain: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value in plain:
            raise ValueError(f"line {key.start_mark.line + 1}: a key that is there twice, or is not text")
        plain[key.value] = _plain(value)
    return {name: value for name, value in plain.items() if value is not None}


_REASONS = {
    "extra_forbidden": "unknown key",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "bool_parsing": "must be true or false",
    "int_parsing": "must be a whole number",
}


def _explain(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    reason = str(problem["ctx"]["error"]) if problem["type"] == "value_error" else problem["msg"].lower()
    reason = _REASONS.get(problem["type"], reason)
    shown = where if where.isprintable() else repr(where)
    return f"{shown}: {reason}" if where else reason


class WebConfigFile:
    """The file as it was last good.

    Made with a file that can't be used, it raises `ValueError`; later it keeps the last good one instead.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._problem = ""
        self.config, self._context = _prepare(path)

    @property
    def tls(self) -> Callable[[], ssl.SSLContext] | None:
        """What gives the context of each connection when it comes, where connections are secured."""
        first = self._context
        return None if first is None else lambda: self._context or first

    async def reload(self) -> None:
        """Read the file, and those that it names, again. Raises `ValueError` where they can't be used."""
        try:
            self.config, self._context = await asyncio.to_thread(_prepare, self._path, self.config, self._context)
        except ValueError as error:
            self._problem = str(error)
            raise ValueError(f"{self._path}: {error}") from None
        self._problem = ""

    async def watch(self, recorder: Recorder, *, clock: Callable[[], float] = time.time) -> None:
        """Read the file again whenever it, or a file that it names, changes; never return."""
        while True:
            await asyncio.sleep(INTERVAL)
            config, problem = self.config, self._problem
            with contextlib.suppress(ValueError):
                await self.reload()
            if self._problem:
                recorder.misconfigured(SOURCE)
            elif problem or self.config is not config:
                recorder.configured(SOURCE, clock())
                _log.info("web configuration read again", file=str(self._path))
            if self._problem not in {"", problem}:
                _log.warning(
                    "web configuration can't be used, keeping the last one", file=str(self._path), problem=self._problem
                )


def _prepare(
    path: Path, before: WebConfig | None = None, context: ssl.SSLContext | None = None
) -> tuple[WebConfig, ssl.SSLContext | None]:
    """Return what a file says and its context, both as they were before if it says nothing new."""
    config = load(path)
    if config == before:
        return before, context
    tls = config.tls_server_config
    if before is not None and (tls is None) != (before.tls_server_config is None):
        raise ValueError("tls_server_config: can't come or go while the exporter runs")
    if before is not None and before.basic_auth_users and not config.basic_auth_users:
        raise ValueError("basic_auth_users: can't all go while the exporter runs")  # a file that was cut off says so
    return config, create_context(tls) if tls is not None else None
