"""All settings, as one frozen model.

The place of a field determines its names: `settings.telnyx.page_size` is the flag `--telnyx.page-size` and the
environment variable `TELNYX_EXPORTER_TELNYX__PAGE_SIZE`. The API key and the base URL have the variables of Telnyx's
own SDKs. The key has no flag, because flags are visible in process lists. `options.py` names the collectors' settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from exporter.config.values import (
    CommaSeparated,
    Duration,
    FilePath,
    Glob,
    LogLevel,
    Regex,
    check_base_url,
    check_filter,
    check_key,
    check_name_filter,
    check_proxy_url,
    format_duration,
)
from exporter.config.web.addresses import Addresses
from exporter.config.web.paths import check_external_url, check_route_prefix, check_telemetry_path

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


def _check_secret_proxy_url(secret: SecretStr) -> SecretStr:
    check_proxy_url(secret.get_secret_value())
    return secret


def _setting(
    default: Any,
    help_text: str,
    metavar: str,
    *,
    repeatable: bool = False,
    secret: bool = False,
    group: str | None = None,
    **bounds: Any,
) -> Any:
    """Declare a field: its default in the form that a user writes, its help text, and its placeholder in the help.

    If it is repeatable, the values of several flags are joined; otherwise the last flag counts. Error messages don't
    quote a secret. The help lists it in the group of its prefix, unless another one is given.
    """
    extra = {"metavar": metavar, "repeatable": repeatable, "secret": secret, **({"group": group} if group else {})}
    bounds["json_schema_extra"] = extra
    return Field(default=default, validate_default=True, description=help_text, **bounds)


class SettingsGroup(BaseModel):
    """Settings whose flags have the same prefix. The first line of the docstring is the group's title in the help."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WebConfigSettings(SettingsGroup):
    """TLS and authentication."""

    file: FilePath | None = _setting(
        None, "Web configuration file with TLS, users, headers and a rate limit; reloaded when it changes.", "FILE"
    )


class WebSettings(SettingsGroup):
    """HTTP server."""

    listen_address: Addresses = _setting(
        ":10142",
        "Address to listen on, [HOST]:PORT or unix:///PATH; for several, repeat the flag or use commas.",
        "ADDRESS",
        repeatable=True,
    )
    systemd_socket: bool = Field(default=False, description="Listen only on the sockets that systemd passes.")
    telemetry_path: Annotated[str, AfterValidator(check_telemetry_path)] = _setting(
        "/metrics", "Path of the metrics.", "PATH"
    )
    external_url: Annotated[str, AfterValidator(check_external_url)] = _setting(
        "",
        "URL at which browsers reach the exporter, for example through a reverse proxy.",
        "URL",
        secret=True,
    )
    route_prefix: Annotated[str, AfterValidator(check_route_prefix)] = _setting(
        "", "Prefix of all HTTP paths. By default, the path of --web.external-url.", "PATH"
    )
    disable_status_page: bool = Field(default=False, description="Serve only links at /, and no /api/v1/status.")
    enable_lifecycle: bool = Field(default=False, description="Enable POST /-/reload, which reloads the configuration.")
    config: WebConfigSettings = Field(default_factory=WebConfigSettings)


class FilterSettings(SettingsGroup):
    """Filters for connections. Telnyx applies them, so other connections are never transferred."""

    connection_name: Annotated[str, AfterValidator(check_name_filter)] = _setting(
        "", "Read only connections whose name contains this text: three or more characters, in any case.", "TEXT"
    )
    fqdn: Annotated[str, AfterValidator(check_filter)] = _setting(
        "", "Read only connections with exactly this FQDN.", "FQDN"
    )
    outbound_voice_profile_id: Annotated[str, AfterValidator(check_filter)] = _setting(
        "", "Read only connections with this outbound voice profile.", "ID"
    )


class TelnyxSettings(SettingsGroup):
    """Telnyx API."""

    api_key_file: FilePath | None = _setting(None, "File with the API key; read again for each refresh.", "FILE")
    api_key_files: Glob | None = _setting(
        None,
        "Files with the API keys of several accounts, one each, such as /keys/*. The * matches the account's name. "
        "Read again every 5s.",
        "GLOB",
    )
    ca_file: FilePath | None = _setting(
        None,
        "PEM file of trusted CAs for the API and an https proxy, instead of SSL_CERT_FILE, SSL_CERT_DIR or certifi; "
        "read again at a reload.",
        "FILE",
    )
    proxy_url: Annotated[SecretStr, AfterValidator(_check_secret_proxy_url)] | None = _setting(
        None,
        "Proxy for the API, http[s]://[USER:PASSWORD@]HOST:PORT; overrides HTTPS_PROXY and NO_PROXY. Set a password "
        "in the variable, because flags are visible in process lists.",
        "URL",
        secret=True,
    )
    timeout: Duration = _setting(
        "60s", "Maximum time for a refresh, including retries and Retry-After waits.", "DURATION", gt=0
    )
    page_size: int = _setting("250", "Rows per page of a list, 1 to 250.", "N", ge=1, le=250)
    concurrency: int = _setting("4", "Pages of a list to read at the same time, 1 to 32.", "N", ge=1, le=32)
    max_concurrency: int = _setting(
        "32", "Maximum number of concurrent requests, over all accounts of --telnyx.api-key-files.", "N", ge=1
    )
    max_requests_per_second: float = _setting(
        "5",
        "Maximum requests per second per account, with bursts of 20. Does not limit credential-connections.",
        "N",
        ge=0.1,
        allow_inf_nan=False,
    )
    filter: FilterSettings = Field(default_factory=FilterSettings)


class CollectorSettings(SettingsGroup):
    """The settings of a collector. None means the default."""

    enabled: bool | None = None
    ttl: Duration | None = None
    rate: Annotated[float, Field(ge=0.01, le=100, allow_inf_nan=False)] | None = None


class CacheSettings(SettingsGroup):
    """Cache of snapshots. A snapshot is the result of a refresh."""

    ttl: Duration = _setting("30s", "How long to reuse a snapshot before a scrape refreshes it.", "DURATION")
    max_stale: Duration = _setting(
        "10m", "How long to serve a snapshot while refreshes fail; never less than three times its TTL.", "DURATION"
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.max_stale < self.ttl:
            ttl, max_stale = format_duration(self.ttl), format_duration(self.max_stale)
            raise ValueError(f"--cache.ttl={ttl} must not be longer than --cache.max-stale={max_stale}")
        return self


class MetricsSettings(SettingsGroup):
    """Metrics to expose. telnyx_up and telnyx_exporter_build_info are always exposed."""

    allow: Regex = _setting("", "Expose only metrics whose whole name matches.", "REGEX")
    deny: Regex = _setting("", "Hide metrics whose whole name matches; takes precedence over --metrics.allow.", "REGEX")
    sensitive_labels: Annotated[CommaSeparated, AfterValidator(_check_labels)] = _setting(
        "", f"Sensitive labels to expose, separated by commas: {', '.join(SENSITIVE_LABELS)}.", "NAMES"
    )


class LogSettings(SettingsGroup):
    """Log, on standard error."""

    level: LogLevel = _setting("info", "Lowest level to log: debug, info, warn or error.", "LEVEL")
    format: Literal["logfmt", "json"] = _setting("logfmt", "Format of log lines: logfmt or json.", "FORMAT")


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

    web: WebSettings = Field(default_factory=WebSettings)
    telnyx: TelnyxSettings = Field(default_factory=TelnyxSettings)
    shard: int = _setting(
        "0", "Number of this exporter's shard, 0 to --total-shards minus 1.", "N", group="telnyx", ge=0
    )
    total_shards: int = _setting(
        "1",
        "Number of shards that divide the accounts of --telnyx.api-key-files, 1 to 1000.",
        "N",
        group="telnyx",
        ge=1,
        le=1000,
    )
    cache: CacheSettings = Field(default_factory=CacheSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    collectors: Mapping[str, CollectorSettings] = Field(default_factory=dict)
    """The settings of each collector, by its name."""

    demo: bool = Field(default=False, description="Run with a simulated account and all collectors; needs no API key.")
    once: bool = Field(
        default=False, description="Poll once, print the metrics, and exit; status 1 if a collector failed."
    )
    once_complete: bool = Field(
        default=False,
        description="Like --once, with registrations and active-calls, which send one request per connection.",
        json_schema_extra={"flag": "--once.complete"},
    )
    check_config: bool = Field(default=False, description="Check the configuration, send no requests, and exit.")
    check_access: bool = Field(
        default=False,
        description="Check what the API key may read, with one request per collector, and exit; status 1 if one fails.",
    )

    @model_validator(mode="after")
    def _check_mode(self) -> Self:
        if self.check_access and (self.once or self.once_complete):
            flag = "--once.complete" if self.once_complete else "--once"
            raise ValueError(f"{flag} and --check-access can't be used together: choose one")
        return self

    @model_validator(mode="after")
    def _check_shards(self) -> Self:
        if self.demo:  # it ignores them
            return self
        if self.shard >= self.total_shards:
            raise ValueError(
                f"--shard={self.shard} must be less than --total-shards={self.total_shards}: the first shard is 0"
            )
        if self.total_shards > 1 and self.telnyx.api_key_files is None:
            raise ValueError(
                "--total-shards needs --telnyx.api-key-files: a single account can't be divided into shards"
            )
        return self
