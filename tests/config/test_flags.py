import os
from collections import Counter
from pathlib import Path

import pytest
from few_collectors import FEW
from pydantic import SecretStr

from exporter.build import VERSION_TEXT
from exporter.config.flags import UsageError, check_reloadable, load_settings
from exporter.config.options import OPTIONS, collector_options
from exporter.config.settings import SENSITIVE_LABELS, CollectorSettings

KEY = "KEY0123-secret"

# Flag, variable, path in the settings, and two values, each as text and parsed. Users rely on the flags and variables.
KNOWN = [
    ("", "TELNYX_API_KEY", "api_key", ("KEY1", SecretStr("KEY1")), ("KEY2", SecretStr("KEY2"))),
    ("--telnyx.base-url", "TELNYX_BASE_URL", "base_url", ("https://a", "https://a"), ("https://b/", "https://b")),
    *(
        (f"--{flag}", f"TELNYX_EXPORTER_{variable}", path, one, other)
        for flag, variable, path, one, other in (
            (
                "web.listen-address",
                "WEB__LISTEN_ADDRESS",
                "web.listen_address",
                (":1", (":1",)),
                ("[::1]:2, unix:///a b", ("[::1]:2", "unix:///a b")),
            ),
            ("web.systemd-socket", "WEB__SYSTEMD_SOCKET", "web.systemd_socket", ("true", True), ("false", False)),
            ("web.enable-lifecycle", "WEB__ENABLE_LIFECYCLE", "web.enable_lifecycle", ("true", True), ("false", False)),
            (
                "web.disable-status-page",
                "WEB__DISABLE_STATUS_PAGE",
                "web.disable_status_page",
                ("true", True),
                ("false", False),
            ),
            ("web.telemetry-path", "WEB__TELEMETRY_PATH", "web.telemetry_path", ("/a", "/a"), ("/b", "/b")),
            (
                "web.external-url",
                "WEB__EXTERNAL_URL",
                "web.external_url",
                ("https://a/b/", "https://a/b"),
                ("http://b", "http://b"),
            ),
            ("web.route-prefix", "WEB__ROUTE_PREFIX", "web.route_prefix", ("/a", "/a"), ("b", "/b")),
            ("web.config.file", "WEB__CONFIG__FILE", "web.config.file", ("a", Path("a")), ("b", Path("b"))),
            ("telnyx.api-key-file", "TELNYX__API_KEY_FILE", "telnyx.api_key_file", ("a", Path("a")), ("b", Path("b"))),
            ("telnyx.api-key-files", "TELNYX__API_KEY_FILES", "telnyx.api_key_files", ("*", "*"), ("/a b/k*.x",) * 2),
            ("telnyx.ca-file", "TELNYX__CA_FILE", "telnyx.ca_file", ("a", Path("a")), ("b", Path("b"))),
            (
                "telnyx.proxy-url",
                "TELNYX__PROXY_URL",
                "telnyx.proxy_url",
                ("http://a:1", SecretStr("http://a:1")),
                ("https://b:c@[::1]/", SecretStr("https://b:c@[::1]/")),
            ),
            ("telnyx.timeout", "TELNYX__TIMEOUT", "telnyx.timeout", ("1m30s", 90.0), ("500ms", 0.5)),
            ("telnyx.page-size", "TELNYX__PAGE_SIZE", "telnyx.page_size", ("1", 1), ("249", 249)),
            ("telnyx.concurrency", "TELNYX__CONCURRENCY", "telnyx.concurrency", ("1", 1), ("32", 32)),
            ("telnyx.max-concurrency", "TELNYX__MAX_CONCURRENCY", "telnyx.max_concurrency", ("1", 1), ("500", 500)),
            (
                "telnyx.filter.connection-name",
                "TELNYX__FILTER__CONNECTION_NAME",
                "telnyx.filter.connection_name",
                ("acme", "acme"),
                ("a = b", "a = b"),
            ),
            ("telnyx.filter.fqdn", "TELNYX__FILTER__FQDN", "telnyx.filter.fqdn", ("a.b", "a.b"), ("c.d", "c.d")),
            (
                "telnyx.filter.outbound-voice-profile-id",
                "TELNYX__FILTER__OUTBOUND_VOICE_PROFILE_ID",
                "telnyx.filter.outbound_voice_profile_id",
                ("1293384261075731499", "1293384261075731499"),
                ("2", "2"),
            ),
            (
                "telnyx.max-requests-per-second",
                "TELNYX__MAX_REQUESTS_PER_SECOND",
                "telnyx.max_requests_per_second",
                ("0.5", 0.5),
                ("20", 20.0),
            ),
            ("shard", "SHARD", "shard", ("1", 1), ("0", 0)),
            ("total-shards", "TOTAL_SHARDS", "total_shards", ("2", 2), ("1000", 1000)),
            ("cache.ttl", "CACHE__TTL", "cache.ttl", ("0", 0.0), ("1m", 60.0)),
            ("cache.max-stale", "CACHE__MAX_STALE", "cache.max_stale", ("1h", 3_600.0), ("30s", 30.0)),
            ("metrics.allow", "METRICS__ALLOW", "metrics.allow", ("a.*", "a.*"), ("b|c", "b|c")),
            ("metrics.deny", "METRICS__DENY", "metrics.deny", ("a.*", "a.*"), ("b|c", "b|c")),
            (
                "metrics.sensitive-labels",
                "METRICS__SENSITIVE_LABELS",
                "metrics.sensitive_labels",
                ("user_name", ("user_name",)),
                (",".join(SENSITIVE_LABELS), SENSITIVE_LABELS),
            ),
            ("log.level", "LOG__LEVEL", "log.level", ("debug", "debug"), ("WARN", "warning")),
            ("log.format", "LOG__FORMAT", "log.format", ("json", "json"), ("logfmt", "logfmt")),
            ("demo", "DEMO", "demo", ("true", True), ("false", False)),
            ("once", "ONCE", "once", ("true", True), ("false", False)),
            ("once.complete", "ONCE_COMPLETE", "once_complete", ("true", True), ("false", False)),
            ("check-config", "CHECK_CONFIG", "check_config", ("true", True), ("false", False)),
            ("check-access", "CHECK_ACCESS", "check_access", ("true", True), ("false", False)),
        )
    ),
]
FILES = "TELNYX_EXPORTER_TELNYX__API_KEY_FILES"
REQUIRED = {
    "shard": {FILES: "*", "TELNYX_EXPORTER_TOTAL_SHARDS": "3"},
    "total_shards": {FILES: "*"},
}
"""Variables without which the values of KNOWN are invalid."""
SECRET = {
    *("TELNYX_API_KEY", "TELNYX_BASE_URL"),
    *("TELNYX_EXPORTER_TELNYX__PROXY_URL", "TELNYX_EXPORTER_WEB__EXTERNAL_URL"),
}
"""Variables whose values are never quoted."""
SWITCHES = {
    *(
        "--demo",
        "--once",
        "--once.complete",
        "--check-config",
        "--check-access",
        "--web.systemd-socket",
        "--web.disable-status-page",
        "--web.enable-lifecycle",
    ),
    *(f"--collector.{collector.name}" for collector in FEW),
}

OPTIONAL = {
    "--web.external-url",
    "--web.route-prefix",
    "--telnyx.filter.connection-name",
    "--metrics.sensitive-labels",
}
"""Flags of BAD that can be empty."""

# Flag, variable, an invalid value, and the reason.
BAD = [
    ("--telnyx.base-url", "TELNYX_BASE_URL", "http://api.telnyx.com", "must be https"),
    *(
        (f"--{flag}", f"TELNYX_EXPORTER_{variable}", value, reason)
        for flag, variable, value, reason in (
            ("web.listen-address", "WEB__LISTEN_ADDRESS", "localhost", "has no port: write localhost:10142"),
            ("web.listen-address", "WEB__LISTEN_ADDRESS", ":1,localhost", "'localhost' has no port: write"),
            ("web.listen-address", "WEB__LISTEN_ADDRESS", ",", "is empty: write :10142"),
            ("web.external-url", "WEB__EXTERNAL_URL", "https://u:CANARY@x", "must not contain a user name or password"),
            ("web.external-url", "WEB__EXTERNAL_URL", "ftp://x", "must be an http or https URL such as"),
            ("web.route-prefix", "WEB__ROUTE_PREFIX", "a b", "must be a path such as /telnyx"),
            ("web.telemetry-path", "WEB__TELEMETRY_PATH", "/-/ready", "must be a path such as /metrics"),
            ("telnyx.proxy-url", "TELNYX__PROXY_URL", "proxy:1", "must be an http or https URL"),
            ("telnyx.proxy-url", "TELNYX__PROXY_URL", "socks5://proxy:1", "is a SOCKS proxy, which is not supported"),
            ("telnyx.timeout", "TELNYX__TIMEOUT", "5 parsecs", "must be a duration such as"),
            ("telnyx.timeout", "TELNYX__TIMEOUT", "0s", "must be more than 0"),
            ("telnyx.page-size", "TELNYX__PAGE_SIZE", "0", "must be 1 or more"),
            ("telnyx.page-size", "TELNYX__PAGE_SIZE", "251", "must be 250 or less"),
            ("telnyx.page-size", "TELNYX__PAGE_SIZE", "abc", "must be a whole number"),
            ("telnyx.concurrency", "TELNYX__CONCURRENCY", "33", "must be 32 or less"),
            ("telnyx.api-key-files", "TELNYX__API_KEY_FILES", "/keys", "must have exactly one *, in the last part"),
            ("telnyx.api-key-files", "TELNYX__API_KEY_FILES", "/*/*", "must have exactly one *, in the last part"),
            ("telnyx.api-key-files", "TELNYX__API_KEY_FILES", "/keys/**", "must have exactly one *, in the last part"),
            ("telnyx.api-key-files", "TELNYX__API_KEY_FILES", "/keys*/", "must have exactly one *, in the last part"),
            ("telnyx.api-key-files", "TELNYX__API_KEY_FILES", "/keys/?*", "must not contain ?, [, ] or a null"),
            ("telnyx.api-key-files", "TELNYX__API_KEY_FILES", "/[ab]/*", "must not contain ?, [, ] or a null"),
            ("telnyx.max-concurrency", "TELNYX__MAX_CONCURRENCY", "0", "must be 1 or more"),
            ("shard", "SHARD", "-1", "must be 0 or more"),
            ("shard", "SHARD", "one", "must be a whole number"),
            ("total-shards", "TOTAL_SHARDS", "0", "must be 1 or more"),
            ("total-shards", "TOTAL_SHARDS", "1001", "must be 1000 or less"),
            ("telnyx.filter.connection-name", "TELNYX__FILTER__CONNECTION_NAME", "ab", "at least three characters"),
            (
                "telnyx.max-requests-per-second",
                "TELNYX__MAX_REQUESTS_PER_SECOND",
                "0",
                "must be 0.1 or more",
            ),
            (
                "telnyx.max-requests-per-second",
                "TELNYX__MAX_REQUESTS_PER_SECOND",
                "inf",
                "must be a finite number",
            ),
            ("cache.ttl", "CACHE__TTL", "-1s", "must be a duration such as"),
            ("cache.ttl", "CACHE__TTL", "1.5s", "must be a duration such as"),
            ("cache.max-stale", "CACHE__MAX_STALE", "10", "must be a duration such as"),
            ("metrics.allow", "METRICS__ALLOW", "(", "is not a valid regular expression"),
            ("metrics.deny", "METRICS__DENY", "*", "is not a valid regular expression"),
            (
                "metrics.sensitive-labels",
                "METRICS__SENSITIVE_LABELS",
                "password",
                "is not one of user_name, ani_override",
            ),
            ("log.level", "LOG__LEVEL", "trace", "must be debug, info, warn or error"),
            ("log.format", "LOG__FORMAT", "xml", "must be logfmt or json"),
        )
    ),
]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """Run each test in an empty directory and without the exporter's environment variables."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("TELNYX_")]:
        monkeypatch.delenv(name)


def value_of(settings, path):
    """Return the setting at a dotted path."""
    for name in path.split("."):
        settings = getattr(settings, name)
    return settings


def dotenv(*lines):
    """Write a `.env` file with these lines."""
    Path(".env").write_text("\n".join(lines), encoding="utf-8")


def load(arguments):
    """Load the settings of an exporter with a few collectors."""
    return load_settings(arguments, FEW).settings


def error_message(*arguments):
    """Load settings that are invalid and return the error message, which must be one line."""
    with pytest.raises(UsageError) as caught:
        load(arguments)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# Valid settings


def test_flags_and_variables_are_stable():
    """The flags and variables are those that users rely on. Every setting except the key has both."""
    options = {(option.flag, option.variable, ".".join(option.path)) for option in OPTIONS}
    known = {(flag, variable, path) for flag, variable, path, *_ in KNOWN}
    added, removed = options - known, known - options
    assert not added, f"add {added} to KNOWN in tests/config/test_flags.py"
    assert not removed, "users rely on these"
    assert [option.variable for option in OPTIONS if not option.flag] == ["TELNYX_API_KEY"]
    assert {option.variable for option in OPTIONS if option.secret} == SECRET


@pytest.mark.parametrize("known", KNOWN, ids=[known[2] for known in KNOWN])
def test_flag_overrides_variable_overrides_dotenv(monkeypatch, known):
    """A flag overrides the environment, and the environment overrides `.env`."""
    flag, variable, path, one, other = known
    for name, value in REQUIRED.get(path, {}).items():
        monkeypatch.setenv(name, value)
    dotenv(f"{variable}='{one[0]}'")
    assert value_of(load([]), path) == one[1]
    monkeypatch.setenv(variable, other[0])
    assert value_of(load([]), path) == other[1]
    if flag in SWITCHES:
        negation = flag.replace("--", "--no-", 1)
        for arguments in ([flag], [f"{flag}=true"], [negation, flag]):
            assert value_of(load(arguments), path) is True
        monkeypatch.setenv(variable, one[0])
        for arguments in ([negation], [f"{flag}=false"], [flag, negation]):
            assert value_of(load(arguments), path) is False
    elif flag:
        assert value_of(load([f"{flag}={one[0]}"]), path) == one[1]
        assert value_of(load([flag, one[0]]), path) == one[1]


def test_last_flag_wins():
    """If a flag is repeated, the last one wins, so that users can override the flags of a wrapper."""
    assert load(["--cache.ttl=1s", "--cache.ttl=2s"]).cache.ttl == 2.0
    assert load(["--metrics.sensitive-labels=user_name", "--metrics.sensitive-labels="]).metrics.sensitive_labels == ()


def test_listen_addresses_accumulate():
    """A repeated `--web.listen-address` adds addresses, as in other exporters."""
    flags = ["--web.listen-address=:1,:2", "--web.listen-address", ":3"]
    assert load(flags).web.listen_address == (":1", ":2", ":3")


def test_sources_are_merged_within_a_group(monkeypatch):
    """The settings of one group can come from different sources."""
    dotenv("TELNYX_EXPORTER_TELNYX__FILTER__FQDN=sip.example", "TELNYX_EXPORTER_TELNYX__PAGE_SIZE=7")
    monkeypatch.setenv("TELNYX_EXPORTER_TELNYX__PAGE_SIZE", "8")
    monkeypatch.setenv("TELNYX_EXPORTER_TELNYX__CONCURRENCY", "2")
    telnyx = load(["--telnyx.filter.connection-name=acme", "--telnyx.page-size=9"]).telnyx
    assert (telnyx.page_size, telnyx.concurrency) == (9, 2)
    assert (telnyx.filter.connection_name, telnyx.filter.fqdn) == ("acme", "sip.example")


def test_unrelated_variables_are_ignored(monkeypatch):
    """Variables without the prefix are ignored, in the environment and in `.env`."""
    monkeypatch.setenv("TELNYX_PUBLIC_KEY", "x")
    dotenv("DATABASE_URL=postgres://", "TELNYX_APP_ID=1", "", "# a comment", "export TELNYX_API_KEY=KEY1 # mine")
    settings = load([])
    assert settings.api_key == SecretStr("KEY1")


# Collectors

SWITCH, TTL = "TELNYX_EXPORTER_COLLECTOR__IP_CONNECTIONS", "TELNYX_EXPORTER_COLLECTOR__IP_CONNECTIONS__TTL"


@pytest.mark.parametrize(
    ("arguments", "environment", "lines", "expected"),
    [
        ([], {}, [], {}),
        (["--collector.ip-connections"], {}, [], {"enabled": True}),
        (["--no-collector.ip-connections"], {}, [], {"enabled": False}),
        (["--collector.ip-connections=true"], {}, [], {"enabled": True}),
        (["--collector.ip-connections=false"], {SWITCH: "true"}, [], {"enabled": False}),
        (["--collector.ip-connections", "--no-collector.ip-connections"], {}, [], {"enabled": False}),
        (["--no-collector.ip-connections", "--collector.ip-connections"], {}, [], {"enabled": True}),
        (["--collector.ip-connections.ttl=2m"], {}, [], {"ttl": 120.0}),
        (["--collector.ip-connections.ttl", "1s", "--collector.ip-connections.ttl=0"], {}, [], {"ttl": 0.0}),
        ([], {SWITCH: "true"}, [], {"enabled": True}),
        ([], {SWITCH: "false"}, [], {"enabled": False}),
        ([], {TTL: "1m30s"}, [], {"ttl": 90.0}),
        ([], {SWITCH.lower(): "1", TTL.lower(): "1s"}, [], {"enabled": True, "ttl": 1.0}),
        ([], {}, [f"{SWITCH}=true", f"{TTL}=3s"], {"enabled": True, "ttl": 3.0}),
        ([], {}, [f"{SWITCH.lower()}=false"], {"enabled": False}),
        ([], {SWITCH: "", TTL: ""}, [f"{SWITCH}=", TTL], {}),
        ([], {SWITCH: "", TTL: ""}, [f"{SWITCH}=true", f"{TTL}=3s"], {"enabled": True, "ttl": 3.0}),
        ([], {SWITCH: "false", TTL: "2s"}, [f"{SWITCH}=true", f"{TTL}=3s"], {"enabled": False, "ttl": 2.0}),
        (["--collector.ip-connections"], {SWITCH: "false", TTL: "2s"}, [f"{TTL}=3s"], {"enabled": True, "ttl": 2.0}),
        (["--no-collector.ip-connections"], {SWITCH: "true"}, [f"{SWITCH}=true"], {"enabled": False}),
        (["--collector.ip-connections.ttl=1s"], {SWITCH: "true", TTL: "2s"}, [], {"enabled": True, "ttl": 1.0}),
    ],
)
def test_collector_settings_have_the_usual_precedence(monkeypatch, arguments, environment, lines, expected):
    """A flag overrides the environment, which overrides `.env`. Of several flags the last one wins.

    An empty variable counts as unset. A setting without a value is None, and a collector without settings is left out.
    """
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    dotenv(*lines)
    assert load(arguments).collectors == ({"ip-connections": CollectorSettings(**expected)} if expected else {})


def test_rate_of_a_fan_out(monkeypatch):
    """A collector that reads connections one by one has a rate, as a flag and as a variable."""
    monkeypatch.setenv("TELNYX_EXPORTER_COLLECTOR__ACTIVE_CALLS__RATE", "0.5")
    assert load([]).collectors == {"active-calls": CollectorSettings(rate=0.5)}
    assert load(["--collector.active-calls.rate=3"]).collectors == {"active-calls": CollectorSettings(rate=3.0)}


def test_collectors_have_separate_settings():
    """Each collector has its own switch and TTL."""
    assert load(["--collector.ip-connections", "--no-collector.fqdn-connections"]).collectors == {
        "ip-connections": CollectorSettings(enabled=True),
        "fqdn-connections": CollectorSettings(enabled=False),
    }


@pytest.mark.parametrize(
    ("arguments", "environment", "lines", "message"),
    [
        (
            ["--collector.ip-connections.ttl=5"],
            {},
            [],
            "--collector.ip-connections.ttl='5': must be a duration such as 90s, 1m30s or 500ms",
        ),
        (["--collector.ip-connections.ttl="], {}, [], "--collector.ip-connections.ttl='': must be a duration such as"),
        ([], {TTL: "-1s"}, [f"{TTL}=1s"], f"{TTL}='-1s': must be a duration such as"),
        ([], {}, [f"{TTL}=soon"], f"{TTL} in .env='soon': must be a duration such as"),
        ([], {SWITCH: "maybe"}, [f"{SWITCH}=true"], f"{SWITCH}='maybe': must be true or false"),
        ([], {SWITCH: ""}, [f"{SWITCH}=maybe"], f"{SWITCH} in .env='maybe': must be true or false"),
        (["--collector.ip-connections=maybe"], {}, [], "--collector.ip-connections='maybe': must be true or false"),
        (
            ["--collector.ip-conections"],
            {},
            [],
            "unknown flag --collector.ip-conections; did you mean --collector.ip-connections?",
        ),
        (
            ["--no-collector.ip-connection"],
            {},
            [],
            "unknown flag --no-collector.ip-connection; did you mean --no-collector.ip-connections?",
        ),
        (
            ["--collector.ip-connections.tl=1s"],
            {},
            [],
            "unknown flag --collector.ip-connections.tl; did you mean --collector.ip-connections.ttl?",
        ),
        (["--no-collector.ip-connections.ttl"], {}, [], "unknown flag --no-collector.ip-connections.ttl"),
        (["--collector.ip-connections.rate=1"], {}, [], "unknown flag --collector.ip-connections.rate"),
        (
            ["--collector.active-calls.rate=0"],
            {},
            [],
            "--collector.active-calls.rate='0': must be 0.01 or more",
        ),
        (
            ["--collector.active-calls.rate=101"],
            {},
            [],
            "--collector.active-calls.rate='101': must be 100 or less",
        ),
        (
            ["--collector.active-calls.rate=x"],
            {},
            [],
            "--collector.active-calls.rate='x': must be a number",
        ),
        (["--collector.calls"], {}, [], "unknown flag --collector.calls"),
        ([], {f"{SWITCH}_TTL": "1s"}, [], f"unknown variable {SWITCH}_TTL; did you mean {TTL}?"),
        ([], {SWITCH[:-1]: "true"}, [], f"unknown variable {SWITCH[:-1]}; did you mean {SWITCH}?"),
        ([], {}, [f"{SWITCH[:-1]}=true"], f"unknown variable {SWITCH[:-1]} in .env; did you mean {SWITCH}?"),
        ([], {"TELNYX_EXPORTER_COLLECTORS": "{}"}, [], "unknown variable TELNYX_EXPORTER_COLLECTORS"),
        (
            [],
            {"TELNYX_EXPORTER_COLLECTORS__IP_CONNECTIONS__TTL": "1s"},
            [],
            f"unknown variable TELNYX_EXPORTER_COLLECTORS__IP_CONNECTIONS__TTL; did you mean {TTL}?",
        ),
        ([], {}, ["TELNYX_EXPORTER_COLLECTORS={}"], "unknown variable TELNYX_EXPORTER_COLLECTORS in .env"),
    ],
)
def test_invalid_collector_settings_are_rejected(monkeypatch, arguments, environment, lines, message):
    """The error is one line: where a setting is, its value and the reason, or a suggestion for an unknown name."""
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    dotenv(*lines)
    assert error_message(*arguments).startswith(message)


def test_reload_can_change_collector_settings():
    """A reload can switch collectors on and off, and change their TTLs."""
    after = load(["--no-collector.credential-connections", "--collector.ip-connections.ttl=1s"])
    check_reloadable(load([]), after)


# Invalid settings


@pytest.mark.parametrize("variable", [option.variable for option in OPTIONS if option.flag in SWITCHES])
def test_switch_that_is_not_a_bool_is_rejected(monkeypatch, variable):
    """The error for a switch says which values it can have."""
    monkeypatch.setenv(variable, "maybe")
    assert error_message() == f"{variable}='maybe': must be true or false"


@pytest.mark.parametrize("source", ["flag", "variable", ".env"])
@pytest.mark.parametrize("bad", BAD, ids=[f"{bad[0]}={bad[2]}" for bad in BAD])
def test_error_names_the_source_of_an_invalid_value(monkeypatch, source, bad):
    """The error for an invalid value is one line: where it was set, the value, and the reason."""
    flag, variable, value, reason = bad
    arguments, where = [], variable
    if source == "flag":
        arguments, where = [f"{flag}={value}"], flag
    elif source == "variable":
        monkeypatch.setenv(variable, value)
    else:
        dotenv(f"{variable}='{value}'")
        where = f"{variable} in .env"
    message = error_message(*arguments)
    quoted = "" if variable in SECRET else f"={value!r}"
    assert message.startswith(f"{where}{quoted}: ")
    assert reason in message
    assert "CANARY" not in message


def test_error_names_the_source_that_takes_precedence(monkeypatch):
    """If a setting is invalid in several sources, the error names the one that takes precedence."""
    dotenv("TELNYX_EXPORTER_CACHE__TTL=c")
    assert error_message().startswith("TELNYX_EXPORTER_CACHE__TTL in .env='c': ")
    monkeypatch.setenv("TELNYX_EXPORTER_CACHE__TTL", "b")
    assert error_message().startswith("TELNYX_EXPORTER_CACHE__TTL='b': ")
    assert error_message("--cache.ttl=a").startswith("--cache.ttl='a': ")


def test_error_does_not_name_an_empty_variable(monkeypatch):
    """An empty variable counts as unset, so the error names the next source."""
    monkeypatch.setenv("TELNYX_EXPORTER_CACHE__TTL", "")
    assert load([]).cache.ttl == 30.0
    dotenv("TELNYX_EXPORTER_CACHE__TTL=soon")
    assert error_message().startswith("TELNYX_EXPORTER_CACHE__TTL in .env='soon': ")


@pytest.mark.parametrize("source", ["variable", ".env"])
def test_error_names_a_lowercase_variable(monkeypatch, source):
    """Variable names are case-insensitive, so the error also finds the value of a lowercase variable."""
    if source == "variable":
        monkeypatch.setenv("telnyx_exporter_cache__ttl", "soon")
    else:
        dotenv("telnyx_exporter_cache__ttl=soon")
    message = error_message()
    assert "telnyx_exporter_cache__ttl" in message.lower()
    assert "'soon'" in message
    assert (".env" in message) == (source == ".env")


@pytest.mark.parametrize("flag", sorted({bad[0] for bad in BAD} - {"--metrics.allow", "--metrics.deny"}))
def test_empty_flag_is_rejected_unless_optional(flag):
    """A flag with an empty value is an error, unless the setting is optional. It never causes a traceback."""
    if flag in OPTIONAL:
        assert load([f"{flag}="]) == load([])
    else:
        try:
            load([f"{flag}="])
        except UsageError as error:
            assert str(error).startswith(flag)  # noqa: PT017 -- pytest.raises takes no message
        else:
            pytest.fail(f"{flag}= is accepted: reject an empty value, or add the flag to OPTIONAL")


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.variable)
def test_dotenv_variable_without_a_value_is_handled(option):
    """A line of `.env` that has only a name counts as unset, or is rejected in one line."""
    dotenv(option.variable)
    try:
        load([])
    except UsageError as error:
        assert str(error).startswith(f"{option.variable} in .env")  # noqa: PT017 -- both outcomes are valid


def test_max_stale_shorter_than_ttl_is_rejected():
    """The error for settings that contradict each other is one line that names both."""
    assert error_message("--cache.ttl=11m") == "--cache.ttl=11m must not be longer than --cache.max-stale=10m"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--web.telemetry-pth=/x", "unknown flag --web.telemetry-pth; did you mean --web.telemetry-path?"),
        ("--cache.max_stale=1h", "unknown flag --cache.max_stale; did you mean --cache.max-stale?"),
        ("--cache.tt=1h", "unknown flag --cache.tt; did you mean --cache.ttl?"),
        ("--zzzzzz", "unknown flag --zzzzzz; see --help"),
        ("-x", "unknown flag -x; see --help"),
        ("serve", "unknown argument serve; see --help"),
        ("--cache.ttl", "--cache.ttl: needs a value, as in --cache.ttl=DURATION"),
    ],
)
def test_unknown_or_misused_flag_is_rejected(argument, message):
    """The error for an unknown or misused flag names it, and suggests one that has a similar name."""
    assert error_message(argument) == message


@pytest.mark.parametrize(
    "arguments", [["--page\n-size=1"], ["5\nparsecs"], ["--no-demo=\n"]], ids=["flag", "word", "switch"]
)
def test_line_breaks_in_arguments_stay_out_of_errors(arguments):
    """The error for an argument with line breaks is still one line."""
    assert error_message(*arguments)


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\u2028b"], ids=["lf", "cr", "line-separator"])
def test_line_breaks_in_values_stay_out_of_errors(value):
    """The error for a value with line breaks is still one line."""
    assert error_message(f"--cache.ttl={value}").startswith(f"--cache.ttl={value!r}: ")


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("TELNYX_EXPORTER_CACHE_TTL", "; did you mean TELNYX_EXPORTER_CACHE__TTL?"),
        ("TELNYX_EXPORTER_CACHE__MAXSTALE", "; did you mean TELNYX_EXPORTER_CACHE__MAX_STALE?"),
        ("telnyx_exporter_log__levle", "; did you mean TELNYX_EXPORTER_LOG__LEVEL?"),
        ("TELNYX_EXPORTER_WEB", ""),
        ("TELNYX_EXPORTER_", ""),
    ],
)
@pytest.mark.parametrize("source", ["environment", ".env"])
def test_unknown_variable_is_rejected(monkeypatch, name, suggestion, source):
    """The error for an unknown variable that has the prefix names it, and suggests one that has a similar name."""
    if source == "environment":
        monkeypatch.setenv(name, "x")
        where = name
    else:
        dotenv("OTHER=x", f"{name}=x")
        where = f"{name} in .env"
    message = error_message()
    assert message.startswith(f"unknown variable {where}")
    assert message.endswith(suggestion)


@pytest.mark.parametrize("name", ["API_KEY", "WEB", "Q" * 60])
def test_suggestion_ignores_the_common_prefix(monkeypatch, name):
    """A variable is not suggested only because it has the same prefix."""
    monkeypatch.setenv(f"TELNYX_EXPORTER_{name}", "x")
    message = error_message()
    assert message.startswith(f"unknown variable TELNYX_EXPORTER_{name}")
    assert "TELNYX_EXPORTER_ONCE" not in message


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("TELNYX_EXPORTER_TELNYX_API_KEY", "TELNYX_API_KEY"), ("TELNYX_EXPORTER_TELNYX_BASE_URL", "TELNYX_BASE_URL")],
)
def test_suggestion_for_a_variable_without_the_prefix(monkeypatch, name, suggestion):
    """The variables that Telnyx's SDKs also use have no prefix, so the error suggests them without it."""
    monkeypatch.setenv(name, "x")
    assert error_message() == f"unknown variable {name}; did you mean {suggestion}?"


def test_empty_path_is_rejected():
    """An empty path is rejected. It doesn't mean the working directory."""
    assert error_message("--telnyx.api-key-file=") == "--telnyx.api-key-file='': must be a path"


@pytest.mark.parametrize("source", ["flag", "variable", ".env"])
def test_key_instead_of_its_file_is_not_quoted(monkeypatch, source):
    """The error for an API key in the place of a path says what to do, and does not quote the key."""
    key, variable = "KEY0123456789ABCDEF_hush", "TELNYX_EXPORTER_TELNYX__API_KEY_FILE"
    where = {"flag": "--telnyx.api-key-file", "variable": variable, ".env": f"{variable} in .env"}[source]
    if source == "variable":
        monkeypatch.setenv(variable, key)
    elif source == ".env":
        dotenv(f"{variable}={key}")
    assert error_message(*[f"{where}={key}"] * (source == "flag"), "--demo") == (
        f"{where}: looks like an API key: write the key to a file and set its path, or set TELNYX_API_KEY"
    )


@pytest.mark.parametrize(
    "name", ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_METRICS", "PORT", "PORT_10142_TCP", "PORT_10142_TCP_ADDR"]
)
def test_variables_that_kubernetes_sets_are_ignored(monkeypatch, name):
    """Variables that Kubernetes sets for a Service named telnyx-exporter have the same prefix. They are ignored."""
    monkeypatch.setenv(f"TELNYX_EXPORTER_{name}", "tcp://10.0.0.7:10142")
    assert load([]) == load([])


def test_malformed_dotenv_is_rejected():
    """A line of `.env` that can't be parsed is an error that states the line number. It is not skipped."""
    dotenv("TELNYX_API_KEY=KEY0123", 'TELNYX_EXPORTER_LOG__LEVEL="debug')
    assert error_message() == ".env in the working directory, line 2: must be NAME=value"


def test_dotenv_in_another_encoding_is_rejected():
    """The error for a `.env` file that is not UTF-8 is one line."""
    Path(".env").write_bytes(b"TELNYX_API_KEY=K\xe9Y\n")
    assert error_message() == ".env in the working directory: is not UTF-8"


def test_dotenv_that_is_a_directory_is_rejected():
    """The error for a directory named `.env`, which a bind mount of a missing file creates, is one line."""
    Path(".env").mkdir()
    assert error_message() == ".env in the working directory: Is a directory"


# Where the API keys are


SOURCES = {
    "TELNYX_API_KEY": "KEY1",
    "TELNYX_API_KEY in .env": "KEY1",
    "--telnyx.api-key-file": "key",
    "TELNYX_EXPORTER_TELNYX__API_KEY_FILE": "key",
    "TELNYX_EXPORTER_TELNYX__API_KEY_FILE in .env": "key",
    "--telnyx.api-key-files": "/keys/*",
    "TELNYX_EXPORTER_TELNYX__API_KEY_FILES": "/keys/*",
    "TELNYX_EXPORTER_TELNYX__API_KEY_FILES in .env": "/keys/*",
}


@pytest.mark.parametrize(
    ("where", "text"),
    [
        (["TELNYX_API_KEY", "--telnyx.api-key-file"], "{} and {}"),
        (["TELNYX_API_KEY in .env", "TELNYX_EXPORTER_TELNYX__API_KEY_FILE"], "{} and {}"),
        (["TELNYX_API_KEY", "TELNYX_EXPORTER_TELNYX__API_KEY_FILES in .env"], "{} and {}"),
        (["TELNYX_EXPORTER_TELNYX__API_KEY_FILE in .env", "--telnyx.api-key-files"], "{} and {}"),
        (["TELNYX_API_KEY", "--telnyx.api-key-file", "TELNYX_EXPORTER_TELNYX__API_KEY_FILES"], "{}, {} and {}"),
    ],
)
def test_one_source_of_keys(monkeypatch, where, text):
    """Several sources of API keys are an error that names the settings.

    A demo uses none of them.
    """
    arguments, lines = [], []
    for each in where:
        if each.startswith("--"):
            arguments.append(f"{each}={SOURCES[each]}")
        elif each.endswith(" in .env"):
            lines.append(f"{each.removesuffix(' in .env')}={SOURCES[each]}")
        else:
            monkeypatch.setenv(each, SOURCES[each])
    dotenv(*lines)
    assert error_message(*arguments) == f"{text.format(*where)} can't be used together: choose one"
    assert load([*arguments, "--demo"]).demo


@pytest.mark.parametrize("where", SOURCES)
def test_one_source_of_keys_is_enough(monkeypatch, where):
    """With one of them, a misspelt variable is no error. The same setting in several places is no error, either."""
    monkeypatch.setenv("TELNYX_APIKEY", "KEY1")
    assert error_message() == "unknown variable TELNYX_APIKEY; did you mean TELNYX_API_KEY?"
    if where.startswith("--"):
        assert load([f"{where}={SOURCES[where]}"] * 2)
        return
    variable, _, place = where.partition(" ")
    dotenv(f"{variable}='{SOURCES[where]}'")
    if not place:
        monkeypatch.setenv(variable, SOURCES[where])
    assert load([])


@pytest.mark.parametrize(
    "value", ["KEY0123456789ABCDEF_hush", "KEY0123456789ABCDEF_hush*", "/keys/KEY0123456789ABCDEF"]
)
def test_key_instead_of_a_pattern_is_not_quoted(value):
    """The error for an API key in the place of a pattern, or in it, does not quote the key."""
    message = error_message(f"--telnyx.api-key-files={value}")
    assert message.startswith("--telnyx.api-key-files: ")
    assert "KEY0123456789ABCDEF" not in message


def test_null_character_in_a_pattern_is_rejected():
    """A null character, which `.env` can contain, but no path, is rejected."""
    dotenv(f"{FILES}=/keys/\0*")
    assert error_message().startswith(f"{FILES} in .env='/keys/\\x00*': must not contain ?, [, ] or a null character: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shard=1"], "--shard=1 must be less than --total-shards=1: the first shard is 0"),
        (
            ["--shard=3", "--total-shards=3", "--telnyx.api-key-files=*"],
            "--shard=3 must be less than --total-shards=3: the first shard is 0",
        ),
        (
            ["--total-shards=2"],
            "--total-shards needs --telnyx.api-key-files: a single account can't be divided into shards",
        ),
        (
            ["--total-shards=2", "--telnyx.api-key-file=key"],
            "--total-shards needs --telnyx.api-key-files: a single account can't be divided into shards",
        ),
    ],
)
def test_shards_that_cannot_be_are_rejected(arguments, message):
    """A shard has a number below that of all shards, and several shards need several accounts. A demo has no shards."""
    assert error_message(*arguments) == message
    assert load([*arguments, "--demo"]).demo


def test_one_shard_needs_no_accounts():
    """The defaults can be set explicitly for a single account, and the last of several shards can be used."""
    assert load(["--shard=0", "--total-shards=1", "--telnyx.api-key-file=key"]) == load(["--telnyx.api-key-file=key"])
    assert load(["--shard=2", "--total-shards=3", "--telnyx.api-key-files=*"]).shard == 2


# Secrets


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TELNYX_API_KEY", "KEY0123 hush"),
        ("TELNYX_API_KEY", "hüsh-KEY0123"),
        ("TELNYX_BASE_URL", "https://hush@api.telnyx.com/v2"),
        ("TELNYX_BASE_URL", "https://me:hush@api.telnyx.com:99999/v2"),
        ("TELNYX_BASE_URL", "https://me:hush/KEY0123@api.telnyx.com"),
        ("TELNYX_BASE_URL", "https://me:hush#KEY0123@api.telnyx.com"),
        ("TELNYX_BASE_URL", "https://me:hush\u2100KEY0123@api.telnyx.com"),
        ("TELNYX_BASE_URL", "https://me:[hush@api.telnyx.com"),
        ("TELNYX_BASE_URL", "https://[hush]@api.telnyx.com"),
        ("TELNYX_BASE_URL", "https://api.telnyx.com/v2?key=hush"),
        ("TELNYX_BASE_URL", "ftp://me:hush@api.telnyx.com"),
        ("TELNYX_EXPORTER_TELNYX__PROXY_URL", "me:hush@proxy:3128"),
        ("TELNYX_EXPORTER_TELNYX__PROXY_URL", "ftp://me:hush@proxy:3128"),
        ("TELNYX_EXPORTER_TELNYX__PROXY_URL", "socks5://me:hush@proxy:3128"),
        ("TELNYX_EXPORTER_TELNYX__PROXY_URL", "http://me:hush#KEY0123@proxy:3128"),
        ("TELNYX_EXPORTER_TELNYX__PROXY_URL", "http://me:hush@proxy:99999"),
        ("TELNYX_EXPORTER_TELNYX__PROXY_URL", "http://me:hush@[::hush]:1"),
    ],
)
@pytest.mark.parametrize("source", ["flag", "variable", ".env"])
def test_errors_do_not_quote_secrets(monkeypatch, variable, value, source):
    """The error for a key, or for a URL that contains a password, quotes no part of it."""
    arguments = []
    if source == "variable":
        monkeypatch.setenv(variable, value)
    elif source == ".env":
        dotenv(f"{variable}='{value}'")
    else:
        flags = {option.variable: option.flag for option in OPTIONS}
        flag = flags[variable] or "--telnyx.api-key"
        arguments = [f"{flag}={value}"]
    message = error_message(*arguments)
    assert not [part for part in ("hush", "hüsh", "KEY0123") if part in message]


def test_key_cannot_be_a_flag():
    """A key on the command line is rejected without being quoted, as `--flag=KEY` and as `--flag KEY`."""
    expected = (
        "unknown flag --telnyx.api-key: flags are visible in process lists; set TELNYX_API_KEY or --telnyx.api-key-file"
    )
    assert error_message(f"--telnyx.api-key={KEY}") == expected
    assert error_message("--telnyx.api-key", KEY) == expected


# Help


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_option(capsys, monkeypatch, flag):
    """The help lists each flag with its description, default and variable. It shows no values that are set."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    with pytest.raises(SystemExit) as exit_:
        load([flag, "--cache.ttl=wrong"])
    assert exit_.value.code == 0
    out, err = capsys.readouterr()
    assert not err
    assert KEY not in out
    text = "".join(out.split())  # lines can be broken at white space and dashes
    for option in (*OPTIONS, *collector_options(FEW)):
        assert option.variable in text
        if option.flag:
            flag = option.flag if option.metavar else option.flag.replace("--", "--[no-]", 1)
            default = f"Default: {option.default}." if option.default else ""
            line = f"{flag}{option.metavar}{option.help}{default}[{option.variable}]"
            assert text.count("".join(line.split())) == 1
            assert option.help
            in_switches = option.flag in SWITCHES
            assert bool(option.metavar) != in_switches, f"SWITCHES must have {option.flag} if it takes no value"
    assert max(map(len, out.splitlines())) <= 100


def test_help_shows_the_documented_defaults():
    """Setting every flag to the default that the help states gives the default settings."""
    defaults = {option.flag: option.default for option in OPTIONS if option.default}
    assert load([f"{flag}={default}" for flag, default in defaults.items()]) == load([])


def test_help_groups_flags_by_prefix(capsys):
    """Flags with the same prefix are listed together, once, below the first line of the group's docstring."""
    with pytest.raises(SystemExit):
        load(["--help"])
    lines = capsys.readouterr().out.splitlines()
    headings = Counter(line for line in lines if line.endswith(":") and not line.startswith(" "))
    assert headings == Counter(
        {
            "Modes:": 1,
            "Collectors:": 1,
            "web:": 1,
            "web.config:": 1,
            "telnyx:": 1,
            "telnyx.filter:": 1,
            "cache:": 1,
            "metrics:": 1,
            "log:": 1,
        }
    )
    assert lines[lines.index("cache:") + 1].strip() == "Cache of snapshots. A snapshot is the result of a refresh."
    flags = [line.split()[0].removeprefix("--").removeprefix("[no-]") for line in lines if line.startswith("  --")]
    shortened = {"collector": "collector", "once": ""}  # modes have no prefix
    shortened |= {"shard": "telnyx", "total-shards": "telnyx"}
    order = [shortened.get(flag.partition(".")[0], flag.rpartition(".")[0]) for flag in flags]
    groups = [group for index, group in enumerate(order) if index == 0 or order[index - 1] != group]
    assert len(groups) == len(set(groups))


def test_version_is_printed(capsys):
    """`--version` prints what runs, whatever other flags are given."""
    with pytest.raises(SystemExit) as exit_:
        load(["--once", "--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr() == (VERSION_TEXT, "")


# Reload


@pytest.mark.parametrize("known", KNOWN, ids=[known[2] for known in KNOWN])
def test_reload_cannot_change_settings_that_need_a_restart(monkeypatch, known):
    """A reload can change how the exporter reads, exposes and logs data. All other settings need a restart."""
    flag, variable, path, one, other = known
    for name, value in REQUIRED.get(path, {}).items():
        monkeypatch.setenv(name, value)
    dotenv(f"{variable}='{one[0]}'")
    before = load([])
    check_reloadable(before, load([]))
    dotenv(f"{variable}='{other[0]}'")
    after = load([])
    modes = {"demo", "once", "once_complete", "check_config", "check_access"}
    if path.split(".")[0] in {"web", "shard", "total_shards", *modes}:
        with pytest.raises(UsageError, match=r"can't change at a reload: restart the exporter") as caught:
            check_reloadable(before, after)
        assert str(caught.value).startswith(f"{flag} ")
    else:
        check_reloadable(before, after)


@pytest.mark.parametrize("other", ["TELNYX_API_KEY=KEY1", "TELNYX_EXPORTER_TELNYX__API_KEY_FILE=key", ""])
def test_reload_keeps_one_or_several_accounts(other):
    """A reload can't change from one account to several, or back. It can change where the files of several are."""
    several = load(["--telnyx.api-key-files=*"])
    dotenv(other)
    one = load([])
    for before, after in ((one, several), (several, one)):
        with pytest.raises(UsageError) as caught:
            check_reloadable(before, after)
        assert str(caught.value) == ("--telnyx.api-key-files can't be set or removed at a reload: restart the exporter")
    dotenv(f"{FILES}=/others/*")
    check_reloadable(several, load([]))
