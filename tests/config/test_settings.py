import os
from operator import attrgetter

import pytest
from pydantic import SecretStr, ValidationError

from exporter.config.options import OPTIONS
from exporter.config.settings import (
    PREFIX,
    SENSITIVE_LABELS,
    CacheSettings,
    CollectorSettings,
    FilterSettings,
    LogSettings,
    MetricsSettings,
    Settings,
    TelnyxSettings,
)

KEY = "KEY0123-secret"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """Run each test in an empty directory and without the exporter's environment variables."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("TELNYX_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("value", [1.5, 2], ids=["float", "int"])
def test_durations_can_be_numbers_in_code(value):
    """Code that creates settings can pass durations as numbers of seconds."""
    assert CacheSettings(ttl=value).ttl == value


# The base URL


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://api.telnyx.com/v2", "https://api.telnyx.com/v2"),
        ("https://api.telnyx.com/v2/", "https://api.telnyx.com/v2"),
        ("https://api.telnyx.eu:8443", "https://api.telnyx.eu:8443"),
        ("http://127.0.0.1:18080/v2", "http://127.0.0.1:18080/v2"),
        ("http://localhost/v2", "http://localhost/v2"),
        ("http://[::1]:18080/v2", "http://[::1]:18080/v2"),
    ],
)
def test_base_url_is_https_or_loopback(monkeypatch, text, url):
    """The base URL is https, or http on loopback. A trailing slash is removed."""
    monkeypatch.setenv("TELNYX_BASE_URL", text)
    assert Settings().base_url == url


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("api.telnyx.com/v2", "must be an http or https URL"),
        ("ftp://api.telnyx.com", "must be an http or https URL"),
        ("file:///etc/passwd", "must be an http or https URL"),
        ("https://", "must be an http or https URL"),
        ("https://:8443/v2", "must be an http or https URL"),
        (
            "http://api.telnyx.com/v2",
            "must be https, because http would expose the API key; only a loopback address can have http",
        ),
        ("http://localhost.telnyx.com/v2", "must be https"),
        ("http://0.0.0.0/v2", "must be https"),
        ("https://user@api.telnyx.com/v2", "must not contain a user name or password"),
        ("https://:word@api.telnyx.com/v2", "must not contain a user name or password"),
        ("https://api.telnyx.com/v2?key=1", "must not have a query or fragment"),
        ("https://api.telnyx.com/v2#top", "must not have a query or fragment"),
        ("https://api.telnyx.com:65536/v2", ""),
        ("https://api.telnyx.com:v2", ""),
        ("https://[api.telnyx.com/v2", ""),
        ("https://api.telnyx.com/v2?", ""),
        ("https://api.telnyx.com/v2#", ""),
        ("https://api.telnyx.com/v2\n", ""),
        ("https://api. telnyx.com/v2", ""),
        ("https://api.telnyx.com/v 2", ""),
    ],
)
def test_unusable_base_url_is_rejected(monkeypatch, text, message):
    """A base URL is rejected if it is invalid, would send the key unencrypted, or can't be extended by a path."""
    monkeypatch.setenv("TELNYX_BASE_URL", text)
    with pytest.raises(ValidationError) as caught:
        Settings()
    (problem,) = caught.value.errors()
    assert problem["loc"] == ("TELNYX_BASE_URL",)
    assert message in problem["msg"]


# The key


def test_key_is_not_exposed(monkeypatch):
    """Neither the text nor the serialized form of the settings contains the key."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    settings = Settings()
    assert settings.api_key == SecretStr(KEY)
    for text in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert KEY not in text


# Other settings


DEFAULTS = {
    "web.listen_address": (":10142",),
    "web.systemd_socket": False,
    "web.telemetry_path": "/metrics",
    "web.external_url": "",
    "web.route_prefix": "",
    "web.disable_status_page": False,
    "web.enable_lifecycle": False,
    "web.config.file": None,
    "telnyx.api_key_file": None,
    "telnyx.api_key_files": None,
    "telnyx.ca_file": None,
    "telnyx.proxy_url": None,
    "telnyx.timeout": 60.0,
    "telnyx.page_size": 250,
    "telnyx.concurrency": 4,
    "telnyx.max_concurrency": 32,
    "telnyx.max_requests_per_second": 5.0,
    "telnyx.filter.connection_name": "",
    "telnyx.filter.fqdn": "",
    "telnyx.filter.outbound_voice_profile_id": "",
    "shard": 0,
    "total_shards": 1,
    "cache.ttl": 30.0,
    "cache.max_stale": 600.0,
    "metrics.allow": "",
    "metrics.deny": "",
    "metrics.sensitive_labels": (),
    "log.level": "info",
    "log.format": "logfmt",
    "api_key": None,
    "base_url": "https://api.telnyx.com/v2",
    "demo": False,
    "once": False,
    "once_complete": False,
    "check_config": False,
    "check_access": False,
    "collectors": {},
}


@pytest.mark.parametrize("path", sorted({".".join(option.path) for option in OPTIONS} | DEFAULTS.keys()))
def test_defaults(path):
    """Without flags, variables and files, each setting has its documented default."""
    assert path in DEFAULTS, f"add {path} to DEFAULTS in tests/config/test_settings.py"
    assert attrgetter(path)(Settings()) == DEFAULTS[path]


@pytest.mark.parametrize(
    ("modes", "flag"),
    [(("once",), "--once"), (("once_complete",), "--once.complete"), (("once", "once_complete"), "--once.complete")],
)
def test_one_poll_at_a_time(modes, flag):
    """A poll and an access check together are an error that names them. Each can be combined with `--check-config`."""
    with pytest.raises(ValidationError, match=f"{flag} and --check-access can't be used together: choose one"):
        Settings(check_access="true", **dict.fromkeys(modes, "true"))
    assert Settings(check_config="true", **dict.fromkeys(modes, "true")).check_config


@pytest.mark.parametrize("text", ["", "abc", "東京都"])
def test_name_filter_is_empty_or_long_enough(text):
    """The name filter is empty or has at least three characters."""
    assert FilterSettings(connection_name=text).connection_name == text


@pytest.mark.parametrize("text", ["a", "ab", "東京"])
def test_short_name_filter_is_rejected(text):
    """A name filter that Telnyx would reject is rejected at startup."""
    with pytest.raises(ValidationError, match="must have at least three characters, or Telnyx rejects it"):
        FilterSettings(connection_name=text)


@pytest.mark.parametrize("size", ["1", "250"])
def test_page_size_has_the_limits_of_telnyx(size):
    """A page can have 1 to 250 connections."""
    assert TelnyxSettings(page_size=size).page_size == int(size)


@pytest.mark.parametrize(
    "fields",
    [
        {"page_size": "0"},
        {"page_size": "251"},
        {"page_size": "abc"},
        {"page_size": ""},
        {"page_size": "2.5"},
        {"concurrency": "0"},
        {"concurrency": "33"},
        {"timeout": "0s"},
        {"max_requests_per_second": "0"},
        {"max_requests_per_second": "-1"},
        {"max_requests_per_second": "inf"},
        {"max_requests_per_second": "nan"},
    ],
    ids=str,
)
def test_invalid_numbers_are_rejected(fields):
    """Numbers that are out of range, and text that is not a number, are rejected."""
    with pytest.raises(ValidationError):
        TelnyxSettings(**fields)


@pytest.mark.parametrize("name", ["allow", "deny"])
def test_regex_is_compiled_at_startup(name):
    """An invalid regular expression is rejected, and the error states the position of the mistake."""
    assert getattr(MetricsSettings(**{name: "telnyx_(up|api_.*)"}), name) == "telnyx_(up|api_.*)"
    with pytest.raises(
        ValidationError, match="is not a valid regular expression: unterminated character set at position 0"
    ):
        MetricsSettings(**{name: "[a"})


@pytest.mark.parametrize("regex", ["a{99999999999999999999}", "(" * 5_000 + ")" * 5_000], ids=["repetition", "depth"])
def test_regex_that_overwhelms_the_compiler_is_rejected(regex):
    """A regular expression that is too large or too deep to compile is rejected like any invalid one."""
    with pytest.raises(ValidationError, match="is not a valid regular expression"):
        MetricsSettings(allow=regex)


def test_regex_of_another_dialect_is_rejected():
    """A regular expression that means something else in Python, such as one with a POSIX class, is rejected."""
    with pytest.raises(ValidationError, match="is not a valid regular expression: "):
        MetricsSettings(allow="[[:alpha:]_]+")


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("", ()),
        (" , ", ()),
        ("user_name", ("user_name",)),
        ("user_name, ani_override,", ("user_name", "ani_override")),
        (",".join(SENSITIVE_LABELS), SENSITIVE_LABELS),
        (("user_name",), ("user_name",)),
    ],
    ids=["none", "commas", "one", "white-space", "all", "in-code"],
)
def test_sensitive_labels_are_a_list_of_names(value, names):
    """Names are separated by commas. White space and empty names are ignored."""
    assert MetricsSettings(sensitive_labels=value).sensitive_labels == names


@pytest.mark.parametrize("name", ["password", "USER_NAME", "user_name;ani_override"])
def test_unknown_sensitive_label_is_rejected(name):
    """Only fields from the list of sensitive labels can be enabled. Passwords are not in the list."""
    with pytest.raises(
        ValidationError, match="is not one of user_name, ani_override, webhook_event_url, webhook_event_fa"
    ):
        MetricsSettings(sensitive_labels=name)


@pytest.mark.parametrize("fields", [{"level": "trace"}, {"level": 1}, {"format": "xml"}], ids=str)
def test_unknown_log_levels_and_formats_are_rejected(fields):
    """Log levels and formats other than the documented ones are rejected."""
    with pytest.raises(ValidationError, match=r"must be debug, info, warn or error|Input should be"):
        LogSettings(**fields)


def test_max_stale_is_not_shorter_than_ttl():
    """`max_stale` can equal `ttl`, which allows no stale data, but it can't be shorter."""
    assert CacheSettings(ttl="1m", max_stale="1m").max_stale == 60.0
    with pytest.raises(ValidationError, match=r"--cache\.ttl=1m1s must not be longer than --cache\.max-stale=1m"):
        CacheSettings(ttl="61s", max_stale="1m")


@pytest.mark.parametrize("ttl", [1.5, "1500ms"], ids=["in-code", "text"])
def test_collector_settings_are_by_name(ttl):
    """The settings of collectors are an immutable mapping by name. A setting without a value is None."""
    (settings,) = Settings(collectors={"ip-connections": {"ttl": ttl}}).collectors.values()
    assert settings == CollectorSettings(enabled=None, ttl=1.5)
    with pytest.raises(ValidationError, match="frozen"):
        settings.ttl = 1.0


def test_unknown_field_is_rejected():
    """A field that a group doesn't have is rejected."""
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        CacheSettings(tll="30s")


@pytest.mark.parametrize("group", ["", "web", "telnyx", "cache", "metrics", "log"])
def test_settings_are_frozen(group):
    """Loaded settings can't be modified."""
    model = getattr(Settings(), group) if group else Settings()
    for name in type(model).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, name, getattr(model, name))


def test_variables_are_case_insensitive(monkeypatch):
    """Variable names are case-insensitive, and an empty variable counts as unset."""
    monkeypatch.setenv(f"{PREFIX}cache__TTL".lower(), "1m")
    monkeypatch.setenv(f"{PREFIX}CACHE__MAX_STALE", "")
    assert Settings().cache == CacheSettings(ttl=60.0, max_stale=600.0)


@pytest.mark.parametrize("name", FilterSettings.model_fields)
def test_a_filter_is_text(name):
    """A filter is sent to Telnyx, so it can't have bytes that are no text, which a command line can contain."""
    with pytest.raises(ValidationError, match="must be UTF-8 text"):
        FilterSettings(**{name: "abc\udcff"})
    assert getattr(FilterSettings(**{name: "abcé"}), name) == "abcé"
