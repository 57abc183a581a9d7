import math
from decimal import Decimal
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.collectors.families import Family, attributes_getter, decimal, host_of, name_filter, unix_time


@pytest.mark.parametrize(
    ("name", "family_type"),
    [
        ("telnyx_connection_info", "info"),
        ("telnyx_dials_total", "counter"),
        ("telnyx_connections", "gauge"),
        ("telnyx_total_seconds", "gauge"),
        ("telnyx_subtotal", "gauge"),
    ],
)
def test_the_name_states_the_type(name, family_type):
    """A family whose name ends in the word `info` or `total` is an info or a counter. All others are gauges."""
    assert Family(name, "Help.", ()).type == family_type


@pytest.mark.parametrize(("names", "values"), [((), ()), (("a",), (1,)), (("b", "a"), (2, 1))])
def test_attributes_are_a_tuple(names, values):
    """The values of any number of attributes are a tuple, in the order of the names."""
    assert attributes_getter(names)(SimpleNamespace(a=1, b=2)) == values


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://hooks.example.com", "hooks.example.com"),
        ("http://hooks.example.com/", "hooks.example.com"),
        ("https://hooks.example.com:8443/x", "hooks.example.com"),
        ("https://hooks.example.com:/x", "hooks.example.com"),
        ("https://user:pass@hooks.example.com/x?y#z", "hooks.example.com"),
        ("https://user:p@ss@hooks.example.com/x", "hooks.example.com"),
        ("https://token@hooks.example.com", "hooks.example.com"),
        ("https://hooks.example.com?token=x", "hooks.example.com"),
        ("https://hooks.example.com#x", "hooks.example.com"),
        ("https://hooks.example.com/a@b:c", "hooks.example.com"),
        ("https://HOOKS.Example.com/X", "hooks.example.com"),
        ("HTTPS://hooks.example.com/", "hooks.example.com"),
        ("https://my_host-1.internal./x", "my_host-1.internal."),
        ("https://bücher.example/x", "bücher.example"),
        ("http://203.0.113.7:80/x", "203.0.113.7"),
        ("https://user:pass@[2001:DB8::1]:443/x", "[2001:db8::1]"),
        ("https://hooks.example.com/line\nbreak", "hooks.example.com"),
    ],
)
def test_webhook_host(url, expected):
    """Only the host of a webhook URL is returned, in lower case."""
    assert host_of(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        None,
        "secret",
        "secret.example.com/hook",
        "//secret.example.com",
        "https:",
        "https://",
        "https:///secret",
        "https://?secret",
        "https://:secret",
        "https://user:secret",
        "https://user:secret/x",
        "https://user:secret@",
        "https://user:secret@/x",
        "https://user:se/cret@hooks.example.com/",
        "https://us er:secret@hooks.example.com",
        "https://hooks.example.com secret",
        " https://hooks.example.com",
        "https://hooks.example.com\\secret",
        "https://hooks.example.com;secret=1",
        "https://hooks.example.com&secret=1",
        "https://hooks.example.com,secret",
        "https://hooks.example.com%2Fsecret",
        "https://user:1%40hooks.example.com/",
        "https://secret%40hooks.example.com/",
        "https://hooks.example.com\\secret@secret.example.com/",
        "https://hooks.example.com\x00secret/",
        "https://{secret}/x",
        "https://[secret]/",
        "https://[::1/secret",
        "https://[::1]secret/",
        "https://hooks.example.com:80secret/",
        "ftp://secret.example.com/",
        "javascript:secret",
        "data:secret",
        "mailto:secret@example.com",
    ],
)
def test_invalid_webhook_has_no_host(url):
    """The host of anything that is not clearly an http URL with a host is None: any part could be a secret."""
    assert host_of(url) is None


CANARY = "canary"


TEXT = st.text(st.characters(exclude_characters="\\"), max_size=8)


PIECE = st.tuples(TEXT, TEXT).map(CANARY.join)


def without(text, exclude):
    """Return a strategy that omits these characters, because they would end this part of the URL."""
    return text.map(lambda value: "".join(character for character in value if character not in exclude))


@given(
    scheme=st.sampled_from(["http", "https"]),
    userinfo=st.just("") | without(PIECE, "/?#").map("{}@".format),
    port=st.sampled_from(["", ":", ":443"]),
    path=st.just("") | PIECE.map("/{}".format),
    query=st.just("") | PIECE.map("?{}".format),
    fragment=st.just("") | PIECE.map("#{}".format),
)
def test_webhook_host_contains_no_secret(*, scheme, userinfo, port, path, query, fragment):
    """For any user info, path, query and fragment, only the host is returned."""
    host = host_of(f"{scheme}://{userinfo}hooks.example.com{port}{path}{query}{fragment}")
    assert host in ({None, "hooks.example.com"} if userinfo else {"hooks.example.com"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2018-02-02T22:25:27.521Z", 1517610327.521, id="as-documented"),
        pytest.param("2018-02-02T22:25:27Z", 1517610327.0, id="whole-seconds"),
        pytest.param("2018-02-02T22:25:27.521123Z", 1517610327.521123, id="microseconds"),
        pytest.param("2018-02-02T22:25:27", 1517610327.0, id="no-zone-is-utc"),
        pytest.param("2018-02-02T23:25:27+01:00", 1517610327.0, id="other-zone"),
        pytest.param("2018-02-02T14:25:27-0800", 1517610327.0, id="other-zone-without-colon"),
        pytest.param("2018-02-02 22:25:27Z", 1517610327.0, id="space-for-t"),
        pytest.param("2018-02-02", 1517529600.0, id="date"),
        pytest.param("1969-12-31T23:59:59Z", -1.0, id="before-the-epoch"),
        pytest.param("0001-01-01T00:00:00+23:59", -62135683140.0, id="first"),
        pytest.param("9999-12-31T23:59:59-23:59", 253402387139.0, id="last"),
        pytest.param(None, None, id="absent"),
        pytest.param("", None, id="empty"),
        pytest.param("yesterday", None, id="garbage"),
        pytest.param("2018-02-30T00:00:00Z", None, id="no-such-day"),
        pytest.param("2018-02-02T22:25:27.521ZZ", None, id="two-zones"),
        pytest.param("10000-01-01T00:00:00Z", None, id="too-far"),
        pytest.param("1517610327", None, id="unix-time"),
    ],
)
def test_times(other_time_zone, text, expected):
    """Times are Unix seconds, in UTC if they state no zone. Anything that is not a time is None."""
    assert unix_time("created_at")(SimpleNamespace(created_at=text)) == expected


def number_of(amount):
    """Return the number of a decimal."""
    return decimal("amount")(SimpleNamespace(amount=amount))


@pytest.mark.parametrize(
    ("amount", "number"),
    [
        ("300.00", 300.0),
        ("-0.10", -0.1),
        ("0", 0.0),
        ("1234567.123456", 1234567.123456),
        ("1e3", 1000.0),
        (0.25, 0.25),
        (7, 7.0),
        pytest.param(10**400, None, id="too large"),
        ("1e400", None),
        ("NaN", None),
        ("-Infinity", None),
        ("", None),
        ("12,50", None),
        ("$5", None),
        (None, None),
    ],
)
def test_decimals(amount, number):
    """A decimal number can be text or a number. What is not a finite number is None."""
    assert number_of(amount) == number


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9))
def test_amounts_are_not_rounded(amount):
    """An amount of money with up to 15 digits is exposed with all its digits."""
    assert Decimal(repr(number_of(str(amount)))) == amount


@given(st.none() | st.text() | st.integers() | st.floats() | st.from_regex(r"[+-]?[0-9.]+(e[0-9]+)?", fullmatch=True))
def test_any_decimal_is_finite_or_none(amount):
    """For anything that Telnyx sends, the value is a finite number or None."""
    number = number_of(amount)
    assert number is None or (type(number) is float and math.isfinite(number))


@pytest.mark.parametrize(
    ("allow", "deny", "exposed"),
    [
        pytest.param("", "", {"telnyx_up", "telnyx_connections"}, id="neither"),
        pytest.param("telnyx_up", "", {"telnyx_up"}, id="allow"),
        pytest.param("", "telnyx_up", {"telnyx_connections"}, id="deny"),
        pytest.param("telnyx_.*", ".*_up", {"telnyx_connections"}, id="both"),
        pytest.param("telnyx", "up", set(), id="part of a name"),
    ],
)
def test_the_name_filter_matches_whole_names(allow, deny, exposed):
    """An empty `allow` matches all names, `deny` takes precedence, and neither matches a part of a name."""
    assert set(filter(name_filter(allow, deny), ("telnyx_up", "telnyx_connections"))) == exposed
