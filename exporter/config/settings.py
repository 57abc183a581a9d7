"""All settings, as one frozen model.

The place of a field determines its names: `settings.telnyx.page_size` is the flag `--telnyx.page-size` and the
environment variable `TELNYX_EXPORTER_TELNYX__PAGE_SIZE`. The API key and the base URL have the variables of Telnyx's
own SDKs. The key has no flag, because flags are visible in process lists.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from exporter.config.values import (
    Addresses,
    Duration,
    FilePath,
    Regex,
    Words,
    check_base_url,
    check_key,
    check_name_filter,
    check_telemetry_path,
)

PREFIX = "TELNYX_EXPORTER_"
DOTENV = ".env"

SENSITIVE_LABELS = ("user_name", "ani_override", "webhook_event_url", "webhook_event_failover_url")
"""Labels that are exposed only if `--metrics.sensitive-labels` names them."""


def _check_labels(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in SENSITIVE_LABELS:
            raise ValueError(f"{name!r} is not one of {', '.join(SENSITIVE_LABELS)}")
    return names


def _check_secret_key(secret: SecretStr) -> SecretStr:
    check_key(secret.get_secret_value())
    return secret


def _option(default: Any, help_text: str, metavar: str, *, repeatable: bool = False, **bounds: Any) -> Any:
    """Declare a field: its default in the form that a user writes, its help text, and its placeholder in the help.

    If it is repeatable, the values of several flags are joined; otherwise the last flag counts.
    """
    bounds["json_schema_extra"] = {"metavar": metavar, "repeatable": repeatable}
    return Field(default=default, validate_default=True, description=help_text, **bounds)


class Group(BaseModel):
    """Settings whose flags have the same prefix. The first line of the docstring is the group's title in the help."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WebConfig(Group):
    """Web TLS and authentication."""

    file: FilePath | None = _option(
        None, "Web configuration file: TLS, users, headers; reloaded when it changes.", "FILE"
    )


class Web(Group):
    """HTTP server."""

    listen_address: Addresses = _option(
        ":10142",
        "Address to listen on, [HOST]:PORT or unix:///PATH; repeat the flag or use commas for several.",
        "ADDRESS",
        repeatable=True,
    )
    systemd_socket: bool = Field(default=False, description="Listen on the sockets that systemd passes instead.")
    telemetry_path: Annotated[str, AfterValidator(check_telemetry_path)] = _option(
        "/metrics", "Path of the metrics.", "PATH"
    )
    enable_lifecycle: bool = Field(default=False, description="Let POST /-/reload reload the configuration.")
    config: WebConfig = Field(default_factory=WebConfig)


class Filter(Group):
    """Which connections to read; Telnyx applies the filters, so others are never transferred."""

    connection_name: Annotated[str, AfterValidator(check_name_filter)] = _option(
        "", "Only connections whose name contains this text, ignoring case; three characters or more.", "TEXT"
    )
    fqdn: str = _option("", "Only connections with exactly this FQDN.", "FQDN")
    outbound_voice_profile_id: str = _option("", "Only connections with this outbound voice profile.", "ID")


class Telnyx(Group):
    """Telnyx API."""

    api_key_file: FilePath | None = _option(
        None, "File that contains the API key; read again for each refresh.", "FILE"
    )
    timeout: Duration = _option("60s", "Maximum time for a refresh, including retries.", "DURATION", gt=0)
    page_size: int = _option("250", "Connections per page, 1 to 250.", "N", ge=1, le=250)
    concurrency: int = _option("4", "Pages to read at the same time, 1 to 32.", "N", ge=1, le=32)
    filter: Filter = Field(default_factory=Filter)


class Cache(Group):
    """How long to reuse what was read from Telnyx."""

    ttl: Duration = _option("30s", "Age at which a scrape starts a refresh.", "DURATION")
    max_stale: Duration = _option(
        "10m", "How long to serve cached connections while Telnyx is unreachable.", "DURATION"
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.max_stale < self.ttl:
            raise ValueError("--cache.max-stale must not be shorter than --cache.ttl")
        return self


class Metrics(Group):
    """Which metrics to expose; telnyx_up is always exposed."""

    allow: Regex = _option("", "Expose only metrics whose whole name matches.", "REGEX")
    deny: Regex = _option("", "Hide metrics whose whole name matches; takes precedence over allow.", "REGEX")
    sensitive_labels: Annotated[Words, AfterValidator(_check_labels)] = _option(
        "", f"Sensitive fields to expose as labels, separated by commas: {', '.join(SENSITIVE_LABELS)}.", "NAMES"
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
        enable_decoding=False,  # lists are text with commas, not JSON
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
    )

    api_key: Annotated[SecretStr, AfterValidator(_check_secret_key)] | None = Field(
        default=None,
        validation_alias="TELNYX_API_KEY",
        description="The API key.",
        json_schema_extra={"flag": "", "secret": True},
    )
    base_url: Annotated[str, AfterValidator(check_base_url)] = Field(
        default="https://api.telnyx.com/v2",
        validation_alias="TELNYX_BASE_URL",
        description="URL of the Telnyx API; must be https, except on loopback.",
        json_schema_extra={"flag": "--telnyx.base-url", "metavar": "URL", "secret": True},
    )

    web: Web = Field(default_factory=Web)
    telnyx: Telnyx = Field(default_factory=Telnyx)
    cache: Cache = Field(default_factory=Cache)
    metrics: Metrics = Field(default_factory=Metrics)
    log: Log = Field(default_factory=Log)

    demo: bool = Field(default=False, description="Expose a built-in account of 55 connections; needs no API key.")
    once: bool = Field(
        default=False, description="Poll once, print the metrics, and exit; status 1 if the poll failed."
    )
    check_config: bool = Field(default=False, description="Check the configuration, poll nothing, and exit.")
