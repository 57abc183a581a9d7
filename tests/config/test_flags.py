import os
from collections import Counter
from pathlib import Path

import pytest
from pydantic import SecretStr

from exporter import __version__
from exporter.config.flags import OPTIONS, UsageError, check_reloadable, load_settings
from exporter.config.settings import SENSITIVE_LABELS

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
            ("web.telemetry-path", "WEB__TELEMETRY_PATH", "web.telemetry_path", ("/a", "/a"), ("/b", "/b")),
            ("web.config.file", "WEB__CONFIG__FILE", "web.config.file", ("a", Path("a")), ("b", Path("b"))),
            ("telnyx.api-key-file", "TELNYX__API_KEY_FILE", "telnyx.api_key_file", ("a", Path("a")), ("b", Path("b"))),
            ("telnyx.timeout", "TELNYX__TIMEOUT", "telnyx.timeout", ("1m30s", 90.0), ("500ms", 0.5)),
            ("telnyx.page-size", "TELNYX__PAGE_SIZE", "telnyx.page_size", ("1", 1), ("249", 249)),
            ("telnyx.concurrency", "TELNYX__CONCURRENCY", "telnyx.concurrency", ("1", 1), ("32", 32)),
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
            ("log.level", "LOG__LEVEL", "log.level", ("debug", "debug"), ("error", "error")),
            ("log.format", "LOG__FORMAT", "log.format", ("json", "json"), ("logfmt", "logfmt")),
            ("demo", "DEMO", "demo", ("true", True), ("false", False)),
            ("once", "ONCE", "once", ("true", True), ("false", False)),
            ("check-config", "CHECK_CONFIG", "check_config", ("true", True), ("false", False)),
        )
    ),
]
SWITCHES = {"--demo", "--once", "--check-config", "--web.systemd-socket", "--web.enable-lifecycle"}

OPTIONAL = {"--telnyx.filter.connection-name", "--metrics.sensitive-labels"}
"""Flags of BAD that can be empty."""

# Flag, variable, an invalid value, and the reason.
BAD = [
    ("--telnyx.base-url", "TELNYX_BASE_URL", "http://api.telnyx.com", "must be https"),
    *(
        (f"--{flag}", f"TELNYX_EXPORTER_{variable}", value, reason)
        for flag, variable, value, reason in (
            ("web.listen-address", "WEB__LISTEN_ADDRESS", "localhost", "must be HOST:PORT such as"),
            ("web.listen-address", "WEB__LISTEN_ADDRESS", ":1,localhost", "must be HOST:PORT such as"),
            ("web.listen-address", "WEB__LISTEN_ADDRESS", ",", "must be HOST:PORT such as"),
            ("web.telemetry-path", "WEB__TELEMETRY_PATH", "/-/ready", "must be a path such as /metrics"),
            ("telnyx.timeout", "TELNYX__TIMEOUT", "5 parsecs", "must be a duration such as"),
            ("telnyx.timeout", "TELNYX__TIMEOUT", "0s", "input should be greater than 0"),
            ("telnyx.page-size", "TELNYX__PAGE_SIZE", "0", "input should be greater than or equal to 1"),
            ("telnyx.page-size", "TELNYX__PAGE_SIZE", "251", "input should be less than or equal to 250"),
            ("telnyx.page-size", "TELNYX__PAGE_SIZE", "abc", "input should be a valid integer"),
            ("telnyx.concurrency", "TELNYX__CONCURRENCY", "33", "input should be less than or equal to 32"),
            ("telnyx.filter.connection-name", "TELNYX__FILTER__CONNECTION_NAME", "ab", "at least three characters"),
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
            ("log.level", "LOG__LEVEL", "INFO", "input should be 'debug', 'info', 'warning' or 'error'"),
            ("log.format", "LOG__FORMAT", "xml", "input should be 'logfmt' or 'json'"),
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


def error_message(*arguments):
    """Load settings that are invalid and return the error message, which must be one line."""
    with pytest.raises(UsageError) as caught:
        load_settings(arguments)
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
    assert {option.variable for option in OPTIONS if option.secret} == {"TELNYX_API_KEY", "TELNYX_BASE_URL"}


@pytest.mark.parametrize("known", KNOWN, ids=[known[2] for known in KNOWN])
def test_flag_overrides_variable_overrides_dotenv(monkeypatch, known):
    """A flag overrides the environment, and the environment overrides `.env`."""
    flag, variable, path, one, other = known
    dotenv(f"{variable}='{one[0]}'")
    assert value_of(load_settings([]), path) == one[1]
    monkeypatch.setenv(variable, other[0])
    assert value_of(load_settings([]), path) == other[1]
    if flag in SWITCHES:
        assert value_of(load_settings([flag]), path) is True
    elif flag:
        assert value_of(load_settings([f"{flag}={one[0]}"]), path) == one[1]
        assert value_of(load_settings([flag, one[0]]), path) == one[1]


def test_last_flag_wins():
    """If a flag is repeated, the last one wins, so that users can override the flags of a wrapper."""
    assert load_settings(["--cache.ttl=1s", "--cache.ttl=2s"]).cache.ttl == 2.0
    assert (
        load_settings(["--metrics.sensitive-labels=user_name", "--metrics.sensitive-labels="]).metrics.sensitive_labels
        == ()
    )


def test_listen_addresses_accumulate():
    """A repeated `--web.listen-address` adds addresses, as in other exporters."""
    flags = ["--web.listen-address=:1,:2", "--web.listen-address", ":3"]
    assert load_settings(flags).web.listen_address == (":1", ":2", ":3")


def test_sources_are_merged_within_a_group(monkeypatch):
    """The settings of one group can come from different sources."""
    dotenv("TELNYX_EXPORTER_TELNYX__FILTER__FQDN=sip.example", "TELNYX_EXPORTER_TELNYX__PAGE_SIZE=7")
    monkeypatch.setenv("TELNYX_EXPORTER_TELNYX__PAGE_SIZE", "8")
    monkeypatch.setenv("TELNYX_EXPORTER_TELNYX__CONCURRENCY", "2")
    telnyx = load_settings(["--telnyx.filter.connection-name=acme", "--telnyx.page-size=9"]).telnyx
    assert (telnyx.page_size, telnyx.concurrency) == (9, 2)
    assert (telnyx.filter.connection_name, telnyx.filter.fqdn) == ("acme", "sip.example")


def test_unrelated_variables_are_ignored(monkeypatch):
    """Variables without the prefix are ignored, in the environment and in `.env`."""
    monkeypatch.setenv("TELNYX_PUBLIC_KEY", "x")
    dotenv("DATABASE_URL=postgres://", "TELNYX_APP_ID=1", "", "# a comment", "export TELNYX_API_KEY=KEY1 # mine")
    settings = load_settings([])
    assert settings.api_key == SecretStr("KEY1")


# Invalid settings


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
    quoted = "" if variable == "TELNYX_BASE_URL" else f"={value!r}"
    assert message.startswith(f"{where}{quoted}: ")
    assert reason in message


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
    assert load_settings([]).cache.ttl == 30.0
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
        assert load_settings([f"{flag}="]) == load_settings([])
    else:
        try:
            load_settings([f"{flag}="])
        except UsageError as error:
            assert str(error).startswith(flag)  # noqa: PT017 -- pytest.raises takes no message
        else:
            pytest.fail(f"{flag}= is accepted: reject an empty value, or add the flag to OPTIONAL")


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.variable)
def test_dotenv_variable_without_a_value_is_handled(option):
    """A line of `.env` that has only a name counts as unset, or is rejected in one line."""
    dotenv(option.variable)
    try:
        load_settings([])
    except UsageError as error:
        assert str(error).startswith(f"{option.variable} in .env")  # noqa: PT017 -- both outcomes are valid


def test_max_stale_shorter_than_ttl_is_rejected():
    """The error for settings that contradict each other is one line that names both."""
    assert error_message("--cache.ttl=11m") == "--cache.max-stale must not be shorter than --cache.ttl"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--web.telemetry-pth=/x", "unknown flag --web.telemetry-pth; did you mean --web.telemetry-path?"),
        ("--cache.max_stale=1h", "unknown flag --cache.max_stale; did you mean --cache.max-stale?"),
        ("--cache.tt=1h", "unknown flag --cache.tt; did you mean --cache.ttl?"),
        ("--zzzzzz", "unknown flag --zzzzzz"),
        ("-x", "unknown flag -x"),
        ("serve", "unknown argument serve"),
        ("--cache.ttl", "argument --cache.ttl: expected one argument"),
        ("--demo=yes", "argument --demo: ignored explicit argument 'yes'"),
    ],
)
def test_unknown_or_misused_flag_is_rejected(argument, message):
    """The error for an unknown or misused flag names it, and suggests one that has a similar name."""
    assert error_message(argument) == message


@pytest.mark.parametrize(
    "arguments", [["--page\n-size=1"], ["5\nparsecs"], ["--demo=\n"]], ids=["flag", "word", "switch"]
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


@pytest.mark.parametrize(
    "name", ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_METRICS", "PORT", "PORT_10142_TCP", "PORT_10142_TCP_ADDR"]
)
def test_variables_that_kubernetes_sets_are_ignored(monkeypatch, name):
    """Variables that Kubernetes sets for a Service named telnyx-exporter have the same prefix. They are ignored."""
    monkeypatch.setenv(f"TELNYX_EXPORTER_{name}", "tcp://10.0.0.7:10142")
    assert load_settings([]) == load_settings([])


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
        flag = "--telnyx.base-url" if variable == "TELNYX_BASE_URL" else "--telnyx.api-key"
        arguments = [f"{flag}={value}"]
    message = error_message(*arguments)
    assert not [part for part in ("hush", "hüsh", "KEY0123") if part in message]


def test_key_cannot_be_a_flag():
    """A key on the command line is rejected without being quoted, as `--flag=KEY` and as `--flag KEY`."""
    expected = "unknown flag --telnyx.api-key; did you mean --telnyx.api-key-file?"
    assert error_message(f"--telnyx.api-key={KEY}") == expected
    assert error_message("--telnyx.api-key", KEY) == expected


# Help


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_option(capsys, monkeypatch, flag):
    """The help lists each flag with its description, default and variable. It shows no values that are set."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    with pytest.raises(SystemExit) as exit_:
        load_settings([flag, "--cache.ttl=wrong"])
    assert exit_.value.code == 0
    out, err = capsys.readouterr()
    assert not err
    assert KEY not in out
    text = " ".join(out.split())
    for option in OPTIONS:
        assert option.variable in text
        if option.flag:
            value = f" {option.metavar}" if option.metavar else ""
            default = f" Default: {option.default}." if option.default else ""
            assert f"{option.flag}{value} {option.help}{default} [{option.variable}]" in text
            assert option.help
            in_switches = option.flag in SWITCHES
            assert bool(option.metavar) != in_switches, f"SWITCHES must have {option.flag} if it takes no value"
    assert max(map(len, out.splitlines())) <= 100


def test_help_shows_the_documented_defaults():
    """Setting every flag to the default that the help states gives the default settings."""
    defaults = {option.flag: option.default for option in OPTIONS if option.default}
    assert load_settings([f"{flag}={default}" for flag, default in defaults.items()]) == load_settings([])


def test_help_groups_flags_by_prefix(capsys):
    """Flags with the same prefix are listed together, once, below the first line of the group's docstring."""
    with pytest.raises(SystemExit):
        load_settings(["--help"])
    lines = capsys.readouterr().out.splitlines()
    headings = Counter(line for line in lines if line.endswith(":") and not line.startswith(" "))
    assert headings == Counter(
        {
            "Modes:": 1,
            "web:": 1,
            "web.config:": 1,
            "telnyx:": 1,
            "telnyx.filter:": 1,
            "cache:": 1,
            "metrics:": 1,
            "log:": 1,
        }
    )
    assert lines[lines.index("cache:") + 1].strip() == "How long to reuse a snapshot."
    order = [line.split()[0].lstrip("-").rpartition(".")[0] for line in lines if line.startswith("  --")]
    groups = [group for index, group in enumerate(order) if index == 0 or order[index - 1] != group]
    assert len(groups) == len(set(groups))


def test_version_is_printed(capsys):
    """`--version` prints the program's name and version, whatever other flags are given."""
    with pytest.raises(SystemExit) as exit_:
        load_settings(["--once", "--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr() == (f"telnyx-exporter {__version__}\n", "")


# Reload


@pytest.mark.parametrize("known", KNOWN, ids=[known[2] for known in KNOWN])
def test_reload_cannot_change_settings_that_need_a_restart(known):
    """A reload can change how the exporter reads, exposes and logs data. All other settings need a restart."""
    flag, variable, path, one, other = known
    dotenv(f"{variable}='{one[0]}'")
    before = load_settings([])
    check_reloadable(before, load_settings([]))
    dotenv(f"{variable}='{other[0]}'")
    after = load_settings([])
    if path.split(".")[0] in {"web", "demo", "once", "check_config"}:
        with pytest.raises(UsageError, match=r"can't change while the exporter runs: restart it") as caught:
            check_reloadable(before, after)
        assert str(caught.value).startswith(f"{flag} ")
    else:
        check_reloadable(before, after)
