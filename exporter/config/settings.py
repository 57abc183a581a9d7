"""Every setting, as one frozen model.

A field is named by its place: `settings.telnyx.page_size` is the flag `--telnyx.page-size` and the environment variable
`TELNYX_EXPORTER_TELNYX__PAGE_SIZE`. The API key and the base URL have the variables of Telnyx's own SDKs, and
the key has no flag, because a list of processes shows flags.
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "TELNYX_EXPORTER_"
DOTENV = ".env"

SENSITIVE_LABELS = ("user_name", "ani_override", "webhook_event_url", "webhook_event_failover_url")
"""Fields that are shown only when asked for by name."""


_SECONDS = {"y": 31_536_000.0, "w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>\d{{1,12}}){unit})?" for unit in _SECONDS), re.ASCII)


def parse_duration(text: str) -> float:
    """Return the seconds of a Prometheus duration such as `90s`, `1m30s` or `500ms`."""
    match = _DURATION.fullmatch(text)
    if text == "0":
        return 0.0
    if not text or match is None:
        raise ValueError("must be a duration such as 90s, 1m30s or 500ms")
    return sum(int(count) * _SECONDS[unit] for unit, count in match.groupdict().items() if count)


def parse_address(text: str) -> tuple[str, int] | Path:
    """Return host and port of `:10142`, `127.0.0.1:10142` or `[::1]:10142`, or the path of `unix:///run/telnyx.sock`.

    An empty host means every address.
    """
    if text.startswith("unix:///") and text.isprintable():
        return Path(text.removeprefix("unix://"))
    match = re.fullmatch(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^\[\]:]*)):(?P<port>\d{1,5})", text, re.ASCII)
    if match is None or int(match["port"]) > 65535:  # noqa: PLR2004 -- the last port there is
        raise ValueError("must be HOST:PORT such as :10142, 127.0.0.1:10142 or [::1]:10142, or unix:///PATH")
    if match["v6"]:
        ipaddress.IPv6Address(match["v6"])
    return match["v6"] or match["host"], int(match["port"])


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine's loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _base_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:  # its own words can quote a password
        host = None
    if not host or parts.scheme not in {"http", "https"} or not text.isprintable() or " " in text:
        raise ValueError("must be an http or https URL such as https://api.telnyx.com/v2")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password")
    if "?" in text or "#" in text:
        raise ValueError("must not have a query or fragment")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("must be https, because plain http would show the API key on the wire (loopback excepted)")
    return text.rstrip("/")


def _telemetry_path(text: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9._~/-]+", text) or text.startswith("/-/"):
        raise ValueError("must be a path such as /metrics, other than / and those below /-/")
    return text


def _path(value: Any) -> Any:
    if value == "":
        raise ValueError("must be a path")
    return value


def _regex(text: str) -> str:
    try:
        with warnings.catch_warnings(action="error"):  # Python would read it otherwise than its author
            re.compile(text)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        raise ValueError(f"must be a regular expression: {error}") from None
    return text


def _filter_name(text: str) -> str:
    if text and len(text) < 3:  # noqa: PLR2004 -- Telnyx's own bound
        raise ValueError("must have at least three characters, or Telnyx refuses it")
    return text


def _split(value: Any) -> Any:
    """Return the parts of a list as its user writes it, separated by commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _addresses(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts or ("",):
        parse_address(text)
    return texts


def _labels(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in SENSITIVE_LABELS:
            raise ValueError(f"{name!r} is none of {', '.join(SENSITIVE_LABELS)}")
    return names


def _key(secret: SecretStr) -> SecretStr:
    check_key(secret.get_secret_value())
    return secret


def check_key(key: str) -> str:
    """Return the API key if it can be one; its grammar is not published, so only what HTTP can't carry is refused."""
    if not key:
        raise ValueError("is empty")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("holds white space, a control character or a character outside ASCII")
    return key


Duration = Annotated[float, BeforeValidator(lambda value: parse_duration(value) if isinstance(value, str) else value)]
Regex = Annotated[str, AfterValidator(_regex)]
Words = Annotated[tuple[str, ...], BeforeValidator(_split)]


def _option(default: Any, text: str, value: str, *, many: bool = False, **bounds: Any) -> Any:
    """Declare a field: its default as a user would write it, its help, and what the help calls its value.

    Of `many`, each is added to those before; of others, the last counts.
    """
    bounds["json_schema_extra"] = {"value": value, "many": many}
    return Field(default=default, validate_default=True, description=text, **bounds)


class Group(BaseModel):
    """Settings whose flags begin alike; the first line of the docstring heads them in the help."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WebConfig(Group):
    """Who may ask, and how."""

    file: Annotated[Path, BeforeValidator(_path)] | None = _option(
        None, "Web configuration file: TLS, users, headers; read again when it changes.", "FILE"
    )


class Web(Group):
    """What the exporter serves."""

    listen_address: Annotated[Words, AfterValidator(_addresses)] = _option(
        ":10142",
        "Address to listen on, [HOST]:PORT or unix:///PATH; more by commas, or the flag again.",
        "ADDRESS",
        many=True,
    )
    systemd_socket: bool = Field(default=False, description="Listen on the sockets that systemd passes instead.")
    telemetry_path: Annotated[str, AfterValidator(_telemetry_path)] = _option(
        "/metrics", "Path that the metrics are served at.", "PATH"
    )
    enable_lifecycle: bool = Field(default=False, description="Let POST /-/reload read the configuration again.")
    config: WebConfig = Field(default_factory=WebConfig)


class Filter(Group):
    """Which connections to ask for; Telnyx filters, so the others are not read at all."""

    connection_name: Annotated[str, AfterValidator(_filter_name)] = _option(
        "", "Only connections whose name contains this, in any case; three characters or more.", "TEXT"
    )
    fqdn: str = _option("", "Only connections with exactly this FQDN.", "FQDN")
    outbound_voice_profile_id: str = _option("", "Only connections with this outbound voice profile.", "ID")


class Telnyx(Group):
    """How Telnyx is asked."""

    api_key_file: Annotated[Path, BeforeValidator(_path)] | None = _option(
        None, "File that holds the API key; read again for each refresh.", "FILE"
    )
    timeout: Duration = _option("60s", "Bound on a whole refresh, retries and waits included.", "DURATION", gt=0)
    page_size: int = _option("250", "Connections on a page, 1 to 250.", "N", ge=1, le=250)
    concurrency: int = _option("4", "Pages read at the same time, 1 to 32.", "N", ge=1, le=32)
    filter: Filter = Field(default_factory=Filter)


class Cache(Group):
    """How long an answer is good for."""

    ttl: Duration = _option("30s", "Age at which a scrape refreshes the list.", "DURATION")
    max_stale: Duration = _option("10m", "Age at which connections vanish while Telnyx can't be read.", "DURATION")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_stale < self.ttl:
            raise ValueError("--cache.max-stale must not be shorter than --cache.ttl")
        return self


class Metrics(Group):
    """Which metrics are shown; telnyx_up always is."""

    allow: Regex = _option("", "Show only metrics whose whole name matches.", "REGEX")
    deny: Regex = _option("", "Hide metrics whose whole name matches; wins over allow.", "REGEX")
    sensitive_labels: Annotated[Words, AfterValidator(_labels)] = _option(
        "", f"Sensitive fields to show as labels, separated by commas: {', '.join(SENSITIVE_LABELS)}.", "NAMES"
    )


class Log(Group):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = _option("info", "debug, info, warning or error.", "LEVEL")
    format: Literal["logfmt", "json"] = _option("logfmt", "logfmt or json.", "FORMAT")


class Settings(BaseSettings):
    """The settings of one run."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=DOTENV,
        env_file_encoding="utf-8",
        enable_decoding=False,  # a list is words and commas, not JSON
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
    )

    api_key: Annotated[SecretStr, AfterValidator(_key)] | None = Field(
        default=None,
        validation_alias="TELNYX_API_KEY",
        description="The API key.",
        json_schema_extra={"flag": "", "secret": True},
    )
    base_url: Annotated[str, AfterValidator(_base_url)] = Field(
        default="https://api.telnyx.com/v2",
        validation_alias="TELNYX_BASE_URL",
        description="Telnyx API, https unless on loopback.",
        json_schema_extra={"flag": "--telnyx.base-url", "value": "URL", "secret": True},
    )

    web: Web = Field(default_factory=Web)
    telnyx: Telnyx = Field(default_factory=Telnyx)
    cache: Cache = Field(default_factory=Cache)
    metrics: Metrics = Field(default_factory=Metrics)
    log: Log = Field(default_factory=Log)

    demo: bool = Field(default=False, description="Show a built-in account of 55 connections; needs no API key.")
    once: bool = Field(default=False, description="Poll once, print the metrics, and exit with 0, or 1 if that failed.")
    check_config: bool = Field(default=False, description="Read and check everything, poll nothing, and exit.")
