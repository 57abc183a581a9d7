import pytest
from few_collectors import FEW

from exporter.assets import find_assets
from exporter.build import VERSION_TEXT
from exporter.config.loading.arguments import read_flags
from exporter.config.options import OPTIONS, collector_options

ALL = (*OPTIONS, *collector_options(FEW))
SWITCHES = [option for option in ALL if option.negation]


def read(*arguments):
    """Return the values of flags."""
    return read_flags(arguments, ALL)


def error_message(*arguments):
    """Return the error for arguments that can't be used, which must be one line."""
    with pytest.raises(ValueError, match=r".") as caught:
        read(*arguments)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_there_are_switches():
    """The modes, the switches of `web` and those of the collectors are switches."""
    flags = {option.flag for option in SWITCHES}
    assert flags > {"--demo", "--once.complete", "--web.enable-lifecycle", "--collector.ip-connections"}
    assert "--cache.ttl" not in flags


@pytest.mark.parametrize("option", SWITCHES, ids=lambda option: option.flag)
def test_switch_is_set_in_all_ways(option):
    """A switch is set by its name, by `--no-` and its name, and by a value after `=`. The last one wins."""
    flag, negation, path = option.flag, option.negation, option.dotted_path
    assert read(flag) == {path: "true"}
    assert read(negation) == {path: "false"}
    assert read(f"{flag}=true") == {path: "true"}
    assert read(f"{flag}=false") == {path: "false"}
    assert read(flag, negation) == read(negation, flag, f"{flag}=false") == {path: "false"}
    assert read(negation, flag) == {path: "true"}


@pytest.mark.parametrize("option", SWITCHES, ids=lambda option: option.flag)
def test_switch_takes_no_argument(option):
    """A switch never takes the next argument as its value. If that is true or false, the error shows how to set it."""
    assert read(option.flag, "--cache.ttl=1s") == {option.dotted_path: "true", "cache.ttl": "1s"}
    assert error_message(option.flag, "false") == f"unknown argument false; did you mean {option.flag}=false?"
    assert error_message(option.negation, "TRUE") == f"unknown argument TRUE; did you mean {option.flag}=TRUE?"
    assert error_message(option.flag, "serve") == "unknown argument serve; see --help"


@pytest.mark.parametrize("value", ["true", "false", ""])
def test_negation_takes_no_value(value):
    """A value of a negation is an error, as in Prometheus's programs, because it could be read in two ways."""
    assert error_message(f"--no-demo={value}") == "--no-demo: takes no value; use --demo=true or --demo=false"


def test_value_follows_after_an_equals_sign_or_as_the_next_argument():
    """A flag with a value has it after `=` or as the next argument. After `=`, it can be empty or have dashes."""
    assert read("--cache.ttl=1s") == read("--cache.ttl", "1s") == {"cache.ttl": "1s"}
    assert read("--metrics.allow=") == read("--metrics.allow", "") == {"metrics.allow": ""}
    assert read("--metrics.allow=--a=b") == {"metrics.allow": "--a=b"}


@pytest.mark.parametrize("rest", [(), ("--demo",), ("-1s",)], ids=["end", "flag", "dash"])
def test_value_is_required(rest):
    """A flag that lacks its value is an error that shows how to write it. The next flag is not its value."""
    assert error_message("--cache.ttl", *rest) == "--cache.ttl: needs a value, as in --cache.ttl=DURATION"


def test_repeated_flags():
    """Values of a repeatable flag are joined. Of any other flag the last one counts."""
    assert read("--web.listen-address=:1", "--web.listen-address", ":2") == {"web.listen_address": ":1,:2"}
    assert read("--cache.ttl=1s", "--cache.ttl=2s") == {"cache.ttl": "2s"}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--cache.tll=1s", "unknown flag --cache.tll; did you mean --cache.ttl?"),
        ("-demo", "unknown flag -demo; did you mean --demo?"),
        ("--no-dem", "unknown flag --no-dem; did you mean --no-demo?"),
        ("--no-cache.ttl", "unknown flag --no-cache.ttl; did you mean --cache.ttl?"),
        ("--no-web.telemetry-path=/x", "unknown flag --no-web.telemetry-path; did you mean --web.telemetry-path?"),
        ("--", "unknown flag --; see --help"),
        ("-", "unknown flag -; see --help"),
        ("-v", "unknown flag -v; see --help"),
        ("--port=99", "unknown flag --port; see --help"),
        ("", "unknown argument ''; see --help"),
        ("true", "unknown argument true; see --help"),
        ("a\nb", "unknown argument 'a\\nb'; see --help"),
        ("--a\u2028b", "unknown flag '--a\\u2028b'; see --help"),
        ("--web.listen-address:1", "unknown flag --web.listen-address:1; did you mean --web.listen-address?"),
        (":1", "unknown argument :1; see --help"),
        ("--collector.foo", "unknown flag --collector.foo; see --help"),
        ("--collector.disable-defaults", "unknown flag --collector.disable-defaults; see --help"),
    ],
)
def test_unknown_argument_is_rejected(argument, message):
    """The error for an unknown argument names it without a value, and suggests a similar flag or `--help`."""
    assert error_message(argument) == message


@pytest.mark.parametrize("argument", ["x" * 1000, f"--{'x' * 1000}"], ids=["argument", "flag"])
def test_long_argument_is_shortened(argument):
    """The error for a long argument quotes only its beginning."""
    message = error_message(argument)
    assert f" {argument[:200]}...; see --help" in message


def test_variable_as_an_argument_belongs_in_the_environment():
    """The error for `telnyx-exporter NAME=VALUE` says where variables belong, and does not quote the value."""
    message = error_message("TELNYX_API_KEY=hush")
    assert message == (
        "unknown argument TELNYX_API_KEY, which looks like a variable: set it in the environment or in .env"
    )
    assert error_message("TELNYX_\n=hush") == "unknown argument 'TELNYX_\\n'; see --help"


def test_files_in_place_of_their_pattern_are_explained():
    """If the shell replaced the pattern of `--telnyx.api-key-files` by the files, the error says to quote it."""
    expected = "unknown argument after --telnyx.api-key-files: put its value in quotes, or the shell replaces the *"
    for directory in ("/keys", "keys"):
        files = [f"{directory}/{name}" for name in ("acme", "globex", "initech")]
        assert error_message("--demo", "--telnyx.api-key-files", *files) == expected
    message = error_message("--telnyx.api-key-files", "/keys/*", "--demoo")
    assert message == "unknown flag --demoo; did you mean --demo?"


@pytest.mark.parametrize("flag", ["--telnyx.api-key", "--telnyx-api-key", "--api-key", "--apikey", "--token", "-key"])
@pytest.mark.parametrize("key", ["=hush", " hush"])
def test_flag_for_the_key_is_rejected(flag, key):
    """The error for a flag that is to set the API key says what to use instead, and does not quote the key."""
    assert error_message(*f"{flag}{key}".split()) == (
        f"unknown flag {flag}: flags are visible in process lists; set TELNYX_API_KEY or --telnyx.api-key-file"
    )


LOOKS_LIKE_A_KEY = "an argument looks like an API key: set TELNYX_API_KEY or --telnyx.api-key-file instead"


@pytest.mark.parametrize("key", ["KEY0123hush_abc", "key0123hush"])
def test_key_as_an_argument_is_not_quoted(key):
    """The error for an argument that looks like an API key says where the key belongs, and does not quote it."""
    for arguments in ((key,), ("--demo", key)):
        assert error_message(*arguments) == LOOKS_LIKE_A_KEY


@pytest.mark.parametrize("argument", ["Bearer {}", "--{}", "-{}=x", "--demo{}", "key: {}"])
def test_key_in_an_argument_is_not_quoted(argument):
    """The error for an argument or a flag that contains an API key does not quote it."""
    assert error_message(argument.format("KEY0123456789ABCDEF_hush")) == LOOKS_LIKE_A_KEY


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("http://me:hush@proxy", "unknown argument http:...; see --help"),
        ("https://proxy/hush", "unknown argument https:...; see --help"),
        ("me:hush@proxy:3128", "unknown argument me:...; see --help"),
        ("me@proxy\nhush", "unknown argument me@...; see --help"),
        (
            "TELNYX_X:http://me:hush@proxy",
            "unknown argument TELNYX_X:..., which looks like a variable: set it in the environment or in .env",
        ),
        (
            "--telnyx.proxy-url:http://me:hush@proxy",
            "unknown flag --telnyx.proxy-url:...; did you mean --telnyx.proxy-url?",
        ),
    ],
)
def test_url_as_an_argument_is_not_quoted(argument, message):
    """The error for an argument that contains a URL quotes neither a password nor a path, which can be a token."""
    assert error_message(argument) == message


def test_assets_dir_prints_and_exits(capsys):
    """`--assets-dir` prints the folder of the assets, and ends the program with success."""
    with pytest.raises(SystemExit) as exit_:
        read("--demo", "--assets-dir", "--zzz")
    assert exit_.value.code == 0
    assert capsys.readouterr() == (f"{find_assets()}\n", "")


def test_missing_assets_are_an_error(monkeypatch):
    """If the installation has no assets, the error says so."""

    def fail():
        raise LookupError("none here")

    monkeypatch.setattr("exporter.config.loading.arguments.find_assets", fail)
    assert error_message("--assets-dir") == "--assets-dir: none here"


@pytest.mark.parametrize("flag", ["--help", "-h", "--version"])
def test_help_and_version_print_and_exit(capsys, flag):
    """`--help` and `--version` print and end the program with success. What follows is not read."""
    with pytest.raises(SystemExit) as exit_:
        read("--demo", flag, "--zzz")
    assert exit_.value.code == 0
    out, err = capsys.readouterr()
    assert not err
    assert out == VERSION_TEXT if flag == "--version" else out.startswith("usage: telnyx-exporter ")
