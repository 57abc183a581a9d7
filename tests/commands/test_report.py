import os
from pathlib import Path

import pytest

from exporter.collectors.registry import COLLECTORS
from exporter.commands.report import check_accounts, describe, describe_accounts, find_accounts
from exporter.config.flags import UsageError, load_settings

CANARY = "c4n4ry"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """Run each test in an empty directory. Of the variables that the report knows, only an API key is set."""
    monkeypatch.chdir(tmp_path)
    known = ("TELNYX_", "SSL_CERT_", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    for name in [name for name in os.environ if name.upper().startswith(known)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TELNYX_API_KEY", f"KEY{CANARY}")


def report(*arguments, web_files=()):
    """Return the lines for these arguments, with single spaces."""
    settings, given = load_settings(arguments, COLLECTORS)
    return [" ".join(line.split()) for line in describe(settings, given, web_files)]


def test_defaults(monkeypatch):
    """Without settings, the report has the collectors that are on by default, and says that nothing is set."""
    monkeypatch.delenv("TELNYX_API_KEY")
    assert report() == ["settings: all have their defaults", "collectors: credential-connections"]


def test_origin_of_each_setting(monkeypatch):
    """Each setting that is set is listed with its value, and with the flag, variable or `.env` that it is from."""
    Path(".env").write_text("TELNYX_EXPORTER_LOG__LEVEL=warn\nTELNYX_EXPORTER_CACHE__TTL=1s\nOTHER=1\n")
    monkeypatch.setenv("TELNYX_EXPORTER_CACHE__TTL", "30s")
    lines = report("--telnyx.filter.connection-name=a b", "--no-collector.balance", "--web.enable-lifecycle")
    assert lines[:-3] == [
        "settings:",
        "API key from TELNYX_API_KEY",
        "--web.enable-lifecycle=true from a flag",
        "--telnyx.filter.connection-name='a b' from a flag",
        "--cache.ttl=30s from TELNYX_EXPORTER_CACHE__TTL",
        "--log.level=warn from TELNYX_EXPORTER_LOG__LEVEL in .env",
        "--collector.balance=false from a flag",
    ]


def test_columns_are_aligned():
    """The origins are in one column."""
    settings, given = load_settings(["--cache.ttl=1s", "--telnyx.page-size=100"], COLLECTORS)
    positions = {line.index("from") for line in describe(settings, given, ()) if "from" in line}
    assert len(positions) == 1


def test_the_check_itself_is_left_out():
    """`--check-config` is not one of the settings that it lists."""
    assert report("--check-config") == report()


def test_files_are_absolute(monkeypatch):
    """The files are listed once each, with absolute paths: `.env`, the key file and those of the web configuration."""
    Path(".env").write_text("TELNYX_EXPORTER_WEB__CONFIG__FILE=web.yml\n")
    web_files = (Path("web.yml"), Path("/tls/server.crt"))
    monkeypatch.delenv("TELNYX_API_KEY")
    lines = report("--telnyx.api-key-file=key", web_files=web_files)
    here = Path.cwd()
    files = [".env", "web.yml", "key", "/tls/server.crt"]
    assert lines[lines.index("files:") + 1 : -1] == [str(here / name) for name in files]


def test_collectors_are_listed():
    """The report lists the enabled collectors."""
    assert report("--collector.balance", "--collector.ip-connections")[-1] == (
        "collectors: credential-connections, ip-connections, balance"
    )


@pytest.mark.parametrize("source", ["environment", ".env"])
def test_key_is_not_shown(monkeypatch, source):
    """The report shows only where the API key is set."""
    if source == ".env":
        monkeypatch.delenv("TELNYX_API_KEY")
        Path(".env").write_text(f"TELNYX_API_KEY=KEY{CANARY}\n")
    where = "TELNYX_API_KEY" if source == "environment" else "TELNYX_API_KEY in .env"
    lines = report()
    assert f"API key from {where}" in lines
    assert CANARY not in str(lines)


def test_key_in_another_setting_is_not_shown():
    """A value that contains an API key, because the user mistook the setting, is not shown."""
    lines = report("--telnyx.filter.fqdn=KEY0123456789ABCDEF")
    assert "--telnyx.filter.fqdn=... from a flag" in lines


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://api.telnyx.eu", "https://api.telnyx.eu"),
        ("https://api.telnyx.eu:8443/", "https://api.telnyx.eu:8443"),
        (f"https://proxy.example/{CANARY}/v2", "https://proxy.example/..."),
        ("http://[::1]:80/v2", "http://[::1]:80/..."),
    ],
)
def test_only_the_host_of_a_url_is_shown(url, shown):
    """The report shows the scheme, host and port of the base URL. Its path can contain a token."""
    lines = report(f"--telnyx.base-url={url}")
    assert any(line.startswith("--telnyx.base-url=") and shown in line.split()[0] for line in lines)
    assert CANARY not in str(lines)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"http://me:{CANARY}@proxy.example:3128", "http://proxy.example:3128"),
        (f"http://me:{CANARY}@x@proxy.example", "http://proxy.example"),
        (f"me:{CANARY}@proxy.example:3128", "..."),
        (CANARY, "..."),
    ],
)
def test_user_of_a_url_is_not_shown(url, shown):
    """A URL that contains a user and a password, such as a proxy's, is shown without them, or not at all."""
    settings, given = load_settings(["--telnyx.base-url=https://a"], COLLECTORS)
    (base_url,) = (each for each in given if each.option.secret and each.option.flag)
    lines = list(describe(settings, [base_url._replace(value=url)], ()))
    assert lines[1].split()[0].replace("'", "") == f"--telnyx.base-url={shown}"
    assert CANARY not in str(lines)


def test_demo_uses_no_settings_of_telnyx():
    """In a demo, the report says which settings are not used, and does not list their files."""
    ignored = ["--telnyx.base-url=https://a", "--telnyx.api-key-file=key", "--telnyx.api-key-files=k*"]
    ignored += ["--telnyx.max-concurrency=9", "--shard=8", "--total-shards=7"]
    lines = report("--demo", "--cache.ttl=1s", *ignored)
    unused = [line for line in lines if line.endswith(" (not used: a demo reads no Telnyx account)")]
    assert [line.split()[0].replace("'", "") for line in unused] == ["API", *ignored]
    assert "files:" not in lines


@pytest.mark.parametrize("unused", [True, False])
def test_limit_of_several_accounts(monkeypatch, unused):
    """Without `--telnyx.api-key-files`, the report says that the limit on their requests is not used."""
    monkeypatch.delenv("TELNYX_API_KEY", raising=False)
    lines = report("--telnyx.max-concurrency=9", "--telnyx.api-key-file=a" if unused else "--telnyx.api-key-files=k*")
    (line,) = [line for line in lines if line.startswith("--telnyx.max-concurrency=9")]
    assert line.endswith(" (not used: it limits the accounts of --telnyx.api-key-files)") is unused


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_proxy_of_the_environment_is_named(monkeypatch, name):
    """If the environment sets the proxy, the report names the variable, but does not show its value."""
    monkeypatch.setenv(name, f"http://me:{CANARY}@{CANARY}.example:3128")
    lines = report()
    assert f"proxy from {name}" in lines
    assert CANARY not in str(lines)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_cas_of_the_environment_are_named(monkeypatch, name):
    """If the environment sets the trusted CAs, the report names the variable, and lists a file with the others."""
    monkeypatch.setenv(name, "cas")
    lines = report()
    assert f"trusted CAs from {name}" in lines
    assert (str(Path.cwd() / "cas") in lines) is (name == "SSL_CERT_FILE")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--telnyx.ca-file=c", "--telnyx.proxy-url=http://a"], id="flags take precedence"),
        pytest.param(["--demo"], id="demo"),
        pytest.param(["--telnyx.base-url=http://127.0.0.1:1"], id="loopback without TLS"),
    ],
)
def test_unused_variables_are_not_named(monkeypatch, arguments):
    """The report names no variable that another setting or a demo makes irrelevant."""
    expected = report(*arguments)
    for name in ("HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, CANARY)
    assert report(*arguments) == expected


def test_empty_url_is_shown_as_empty():
    """An empty external URL, which is the default, hides nothing."""
    assert "--web.external-url='' from a flag" in report("--web.external-url=")


def test_line_breaks_stay_out_of_lines():
    """A value and a path with a line break stay on one line."""
    lines = report("--telnyx.filter.fqdn=a\nb", "--telnyx.ca-file=c\nd")
    assert "--telnyx.filter.fqdn='a\\nb' from a flag" in lines
    assert any(line.endswith("c\\nd'") for line in lines)


# Accounts


KEY = f"KEY-{CANARY}"


def accounts_report(*arguments):
    """Return the lines about the accounts, with single spaces, and the error, which is empty if there is none."""
    settings, _ = load_settings(arguments, COLLECTORS)
    found = find_accounts(settings)
    lines = [" ".join(line.split()) for line in describe_accounts(settings, found)]
    message = ""
    try:
        check_accounts(settings, found)
    except UsageError as error:
        message = str(error)
    assert CANARY not in f"{lines}{message}"
    return lines, message


@pytest.fixture
def keys(monkeypatch, tmp_path):
    """Return a directory `keys` with the files of three accounts."""
    monkeypatch.delenv("TELNYX_API_KEY")
    path = tmp_path / "keys"
    path.mkdir()
    for name in ("acme", "globex", "initech"):
        (path / name).write_text(KEY)
    return path


def test_accounts_are_listed(keys):
    """The report lists each account with its file, and says that it can be used."""
    expected = ["accounts: 3", *(f"{name} {keys / name} ok" for name in ("acme", "globex", "initech"))]
    assert accounts_report("--telnyx.api-key-files=keys/*") == (expected, "")


def test_columns_of_accounts_are_aligned(keys):
    """Files and results are in columns."""
    (keys / "a-long-name").write_text(KEY)
    settings, _ = load_settings(["--telnyx.api-key-files=keys/*"], COLLECTORS)
    lines = list(describe_accounts(settings, find_accounts(settings)))[1:]
    assert len({(line.index("/"), line.index(" ok")) for line in lines}) == 1


def test_unusable_account_is_an_error(keys):
    """If an account can't be used, the report and the error say why, without the content of the file."""
    (keys / "globex").write_text(f"{KEY} {KEY}")
    problem = "contains white space, a control character or a non-ASCII character: copy it again"
    lines, error = accounts_report("--telnyx.api-key-files=keys/*")
    assert lines[2] == f"globex {keys / 'globex'} {problem}"
    assert error == f"--telnyx.api-key-files='keys/*': 1 of 3 accounts can't be used: globex: {problem}"


def test_error_names_some_accounts(keys):
    """If many accounts can't be used, the error names three of them. The report has all."""
    for name in "abc":
        (keys / name).touch()
    assert accounts_report("--telnyx.api-key-files=keys/*")[1].endswith("a: is empty; b: is empty; c: is empty")
    for name in "de":
        (keys / name).touch()
    lines, error = accounts_report("--telnyx.api-key-files=keys/*")
    assert [line.endswith("is empty") for line in lines[1:]] == [True, False, *[True] * 4, False, False]
    assert error.endswith(": 5 of 8 accounts can't be used: a: is empty; b: is empty; c: is empty; 2 more")


def test_accounts_of_the_shard_are_listed(keys):
    """With several shards, the report has the accounts of this shard only, and says which shard of how many it is.

    An account of another shard is no problem of this one, and its file is not read. A shard can have no account.
    """
    (keys / "acme").write_text("")
    flags = ["--telnyx.api-key-files=keys/*", "--total-shards=3"]
    reports = [accounts_report(*flags, f"--shard={shard}") for shard in range(3)]
    settings, _ = load_settings([*flags, "--shard=1"], COLLECTORS)
    assert [key.key is not None for key in find_accounts(settings).keys.values()] == [False, False, True]
    assert [error for _, error in reports] == [
        "--telnyx.api-key-files='keys/*': 1 of 2 accounts can't be used: acme: is empty",
        "",
        "",
    ]
    assert [lines for lines, _ in reports] == [
        [
            "accounts: 2 of 3, for --shard=0 --total-shards=3",
            f"acme {keys / 'acme'} is empty",
            f"globex {keys / 'globex'} ok",
        ],
        ["accounts: 1 of 3, for --shard=1 --total-shards=3", f"initech {keys / 'initech'} ok"],
        ["accounts: 0 of 3, for --shard=2 --total-shards=3"],
    ]


def test_ignored_files_are_listed(keys):
    """Files that are ignored because of their names are listed with the reason. A name that is a key is not shown."""
    for name in ("a\nb", f"KEY0123456789ABCDEF{CANARY}"):
        (keys / name).write_text(KEY)
    lines, error = accounts_report("--telnyx.api-key-files=keys/*")
    assert lines[-3].startswith("ignored files, because an account name must be 1 to 64 letters, digits, ")
    assert lines[-2:] == [f"{keys}/...", f"'{keys}/a\\nb'"]
    assert not error


@pytest.mark.parametrize("pattern", ["keys/none*", "nowhere/*"])
@pytest.mark.usefixtures("keys")
def test_no_match_is_an_error(pattern):
    """If no file matches, or the directory doesn't exist, no account would be monitored."""
    error = f"--telnyx.api-key-files={pattern!r}: no file with a valid name matches: create one for each account"
    assert accounts_report(f"--telnyx.api-key-files={pattern}") == (["accounts: 0"], error)


@pytest.mark.usefixtures("keys")
def test_directory_that_cannot_be_listed_is_an_error():
    """If the directory can't be listed, the error says why."""
    with pytest.raises(UsageError) as caught:
        accounts_report("--telnyx.api-key-files=keys/acme/*")
    assert str(caught.value) == "--telnyx.api-key-files='keys/acme/*': keys/acme can't be listed: Not a directory"


def test_pattern_is_one_of_the_settings(keys):
    """The pattern is shown in quotes for a shell. It is not listed as a file."""
    lines = report("--telnyx.api-key-files=keys/*")
    assert "--telnyx.api-key-files='keys/*' from a flag" in lines
    assert not [line for line in lines if str(keys) in line]
