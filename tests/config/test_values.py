import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.values import (
    check_key,
    check_proxy_url,
    format_duration,
    is_loopback,
    parse_duration,
    parse_log_level,
)

UNITS = {"y": 31_536_000, "w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1, "ms": 0.001}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("90s", 90.0),
        ("1m30s", 90.0),
        ("500ms", 0.5),
        ("1s1ms", 1.001),
        ("2h", 7_200.0),
        ("1d", 86_400.0),
        ("1w", 604_800.0),
        ("1y2w3d4h5m6s7ms", 31_536_000 + 1_209_600 + 259_200 + 14_400 + 300 + 6.007),
    ],
)
def test_prometheus_durations_are_parsed(text, seconds):
    """Durations have the syntax and meaning that they have in Prometheus."""
    assert parse_duration(text) == pytest.approx(seconds)


@given(st.dictionaries(st.sampled_from(list(UNITS)), st.integers(0, 10**6), min_size=1))
def test_composed_durations_round_trip(counts):
    """Any combination of units, from longest to shortest, is added up."""
    text = "".join(f"{counts[unit]}{unit}" for unit in UNITS if unit in counts)
    assert parse_duration(text) == pytest.approx(sum(count * UNITS[unit] for unit, count in counts.items()))


@pytest.mark.parametrize(
    "text",
    ["", " ", "5 parsecs", "-1s", "+1s", "1.5s", "10", "00", "s", "1s ", " 1s", "1s\n", "1S", "30s1m", "1s1s", "1us"],
)
def test_invalid_durations_are_rejected(text):
    """As in Prometheus, fractions, signs, numbers without a unit, units out of order and other text are rejected."""
    with pytest.raises(ValueError, match="must be a duration such as 90s, 1m30s or 500ms"):
        parse_duration(text)


@pytest.mark.parametrize("digit", ["\u0663", "\uff13"], ids=["arabic", "fullwidth"])
def test_digits_are_ascii(digit):
    """Digits of other scripts are rejected, although Python's `int` and `float` accept them."""
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(f"{digit}s")


@pytest.mark.parametrize("text", ["0", "500ms", "1s", "59s", "1m", "1m30s", "2h5m", "1d", "1w", "1y1d1ms"])
def test_durations_are_formatted(text):
    """A number of seconds is written as the Prometheus duration that is parsed to it."""
    assert format_duration(parse_duration(text)) == text


@pytest.mark.parametrize("digits", [400, 5_000])
def test_duration_that_is_too_large_for_a_float_is_rejected(digits):
    """A duration that doesn't fit into a float raises `ValueError`, like any other invalid duration."""
    with pytest.raises(ValueError, match=r"."):
        parse_duration("9" * digits + "y")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_loopback_is_recognized(host):
    """`localhost` and the loopback addresses of this machine are loopback."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "telnyx.com", "localhost.telnyx.com", "127.0.0.1.nip.io", "0.0.0.0", "10.0.0.1", "::"]
)
def test_everything_else_is_not_loopback(host):
    """Names that only look like loopback, and wildcard addresses, are not loopback."""
    assert not is_loopback(host)


@pytest.mark.parametrize("key", ["KEY0123_abc-DEF.456", "k", "!~"], ids=["usual", "short", "first-and-last"])
def test_key_can_be_any_printable_ascii(key):
    """Any printable ASCII text is accepted, because only Telnyx knows the format of its keys."""
    assert check_key(key) == key


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "is empty"),
        ("KEY 0123", "contains white space"),
        ("KEY0123\n", "contains white space"),
        ("KEY\t0123", "contains white space"),
        ("KEY\x000123", "contains white space, a control character"),
        ("KEY\x7f", "a control character"),
        ("KÉY", "a non-ASCII character"),
        ("KEY\u20280123", "a non-ASCII character"),
    ],
    ids=["empty", "space", "line-break", "tab", "null", "delete", "accent", "line-separator"],
)
def test_key_that_a_header_cannot_contain_is_rejected(key, message):
    """A key that can't be sent in a header is rejected, and the error doesn't quote it."""
    with pytest.raises(ValueError, match=message) as caught:
        check_key(key)
    assert "0123" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://proxy:3128",
        "HTTPS://proxy.example",
        "http://proxy.example:65535/",
        "http://192.0.2.7:1",
        "http://1.2.3:1",
        "https://[2001:db8::7]:8443",
        "http://me@proxy",
        "http://me:p%40ss@proxy:3128",
        "http://me:p@ss:w\u00f6rd@proxy:3128",
    ],
)
def test_proxy_urls_are_accepted(url):
    """A proxy has an http or https URL with a host, and can have a port, a user name and a password."""
    assert check_proxy_url(url) == url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        *((url, "must be an http or https URL") for url in ("", "proxy:3128", "http://", "http://:1", "ftp://proxy")),
        *((url, "must be an http or https URL") for url in ("http://proxy:0", "http://proxy:65536", "http://proxy:x")),
        *((url, "must be an http or https URL") for url in ("http://proxy/x", "http://proxy?x", "http://proxy#x")),
        *(
            (url, "must be an http or https URL")
            for url in ("http://a b", "http://a\n", "http://a\0@b", "http://\u00e9")
        ),
        *((url, "must be an http or https URL") for url in ("http://a[b@proxy", "http://\u2100@proxy")),
        *((url, "must be an http or https URL") for url in ("http://1.2.3.256", "http://[1::2::3]", "http://[::1")),
        *((url, "is a SOCKS proxy") for url in ("socks4://proxy", "socks5://proxy", "SOCKS5H://proxy", "socks://")),
    ],
)
def test_other_proxy_urls_are_rejected(url, message):
    """Other URLs are rejected, and SOCKS with its own reason."""
    with pytest.raises(ValueError, match=f"^{message}"):
        check_proxy_url(url)


@pytest.mark.parametrize(
    "key",
    [
        *(
            "KEY...",
            "KEY0123...",
            "KEY\u2026",
            "...",
            "<key>",
            "<YOUR API KEY>",
            "$TELNYX_API_KEY",
            "${TELNYX_API_KEY}",
        ),
        *("$(TELNYX_API_KEY)", "{{ key }}", "xxx", "KEYxxxxxxxx", "KEY_XXXX", "********", "your_api_key", "YOUR-KEY"),
        *("your_telnyx_api_key_here", "changeme", "CHANGE_ME", "replace-me"),
    ],
)
def test_placeholder_is_not_a_key(key):
    """A placeholder instead of a key is rejected, and so is a reference to a variable that was not replaced."""
    with pytest.raises(
        ValueError, match=r"^is a placeholder: replace it with an API key from https://portal\.telnyx\.com$"
    ):
        check_key(key)


@given(st.from_regex(r"KEY[0-9A-F]{32}_[0-9A-Za-z]{22}", fullmatch=True))
def test_key_of_telnyx_is_no_placeholder(key):
    """Any key in the format of Telnyx's keys is accepted."""
    assert check_key(key) == key


@pytest.mark.parametrize("key", ["KEY_of_tests", "sandbox", "KEYxx", "xx", "my_key", "your", "a$b", "KEY<a>"])
def test_plausible_key_is_no_placeholder(key):
    """A text that only resembles a placeholder is accepted."""
    assert check_key(key) == key


@pytest.mark.parametrize(
    ("text", "level"),
    [
        *(("debug", "debug"), ("info", "info"), ("warn", "warning"), ("warning", "warning"), ("error", "error")),
        *(("WARN", "warning"), ("Info", "info")),
    ],
)
def test_log_levels_of_prometheus_programs_are_parsed(text, level):
    """`warn` is a level in Prometheus's programs, and `warning` in Python. The case is ignored, as in the former."""
    assert parse_log_level(text) == level


@pytest.mark.parametrize("text", ["", "trace", "warnings", "critical", " info"])
def test_unknown_log_level_is_rejected(text):
    """The error for an unknown level lists the levels."""
    with pytest.raises(ValueError, match=r"^must be debug, info, warn or error$"):
        parse_log_level(text)
