from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.config.flags import UsageError
from exporter.config.values import check_proxy_url
from exporter.telnyx.http.proxies import find_proxy

API = "https://api.telnyx.test/v2"
ONE, TWO, THREE = "http://one:1", "http://two:2", "http://three:3"


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"HTTPS_PROXY": ONE}, ONE, id="https"),
        pytest.param({"ALL_PROXY": ONE}, ONE, id="all"),
        pytest.param({"HTTPS_PROXY": ONE, "ALL_PROXY": TWO}, ONE, id="https before all"),
        pytest.param({"HTTPS_PROXY": "", "ALL_PROXY": TWO}, TWO, id="https is empty"),
        pytest.param({"HTTP_PROXY": ONE, "http_proxy": ONE}, None, id="http is not used"),
        pytest.param({"HTTPS_PROXY": ONE, "https_proxy": TWO, "all_proxy": THREE}, TWO, id="lower case before upper"),
        pytest.param({"HTTPS_PROXY": ONE, "https_proxy": ""}, None, id="lower case is empty"),
        pytest.param({"HTTPS_PROXY": "one:1"}, ONE, id="without a scheme"),
        pytest.param({"HTTPS_PROXY": ONE, "HTTP_PROXY": "ftp://", "ALL_PROXY": "ftp://"}, ONE, id="unused ones"),
        pytest.param({"HTTPS_PROXY": "ftp://", "NO_PROXY": "*"}, None, id="excluded before it is read"),
    ],
)
def test_the_environment_chooses_the_proxy(environment, proxy):
    """The variables have the same precedence as in curl. Those that are not used are not validated."""
    assert find_proxy(API, None, environment) == proxy


@pytest.mark.parametrize(
    ("excluded", "url", "is_direct"),
    [
        ("*", API, True),
        ("a.test, *", API, True),
        ("api.telnyx.test", API, True),
        ("API.Telnyx.test", API, True),
        (" other.test , telnyx.test ", API, True),
        (".telnyx.test", API, True),
        ("*.telnyx.test", API, True),
        (".telnyx.test", "https://telnyx.test", True),
        ("api.telnyx.test:443", API, True),
        ("telnyx.test:8443", "https://api.telnyx.test:8443/v2", True),
        ("telnyx.test:8443", API, False),
        ("elnyx.test", API, False),
        ("api", API, False),
        ("", API, False),
        (",", API, False),
        ("192.0.2.7", "https://192.0.2.7/v2", True),
        ("2001:db8::7", "https://[2001:db8::7]/v2", True),
        ("[2001:db8::7]", "https://[2001:db8::7]/v2", True),
        ("[2001:db8::7]:443", "https://[2001:db8::7]/v2", True),
    ],
)
def test_no_proxy_excludes_hosts(excluded, url, is_direct):
    """NO_PROXY lists hosts, their domains, or everything. A port restricts an entry."""
    assert find_proxy(url, None, {"HTTPS_PROXY": ONE, "NO_PROXY": excluded}) == (None if is_direct else ONE)


def test_lower_case_no_proxy_takes_precedence():
    """If no_proxy is set, even to nothing, NO_PROXY is not used."""
    assert find_proxy(API, None, {"HTTPS_PROXY": ONE, "NO_PROXY": "*", "no_proxy": ""}) == ONE


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_the_environment_does_not_apply_to_loopback(host):
    """A proxy of the environment is not used for loopback, but one of the flag is."""
    environment = {"HTTPS_PROXY": TWO, "ALL_PROXY": TWO}
    assert find_proxy(f"https://{host}:8443/v2", None, environment) is None
    assert find_proxy(f"https://{host}:8443/v2", ONE, environment) == ONE


def test_the_flag_takes_precedence():
    """The proxy of the flag is used whatever the environment contains."""
    assert find_proxy(API, ONE, {"HTTPS_PROXY": "ftp://", "NO_PROXY": "*"}) == ONE


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "http://me:hush@localhost:1", "http://[::1]:1"])
def test_plain_http_can_use_a_proxy_on_loopback(proxy):
    """Requests without TLS go through a proxy only if that is on loopback, too."""
    assert find_proxy("http://127.0.0.1:8080/v2", proxy, {}) == proxy


def test_plain_http_never_leaves_this_machine():
    """A proxy elsewhere would get the API key in plain text, so it is rejected. The error does not quote the URL."""
    with pytest.raises(UsageError, match=r"^--telnyx.proxy-url: must be a loopback address, because .* the API key$"):
        find_proxy("http://127.0.0.1:8080/v2", "http://me:hush@proxy.test:3128", {})


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("ftp://me:hush@proxy:1", "must be an http or https URL"),
        ("me:hush@proxy:1:2", "must be an http or https URL"),
        ("http://me:hush/hush@proxy:1", "must be an http or https URL"),
        ("SOCKS5h://me:hush@proxy:1", "is a SOCKS proxy"),
    ],
)
def test_an_invalid_variable_is_named_but_not_quoted(name, value, reason):
    """The error of an invalid proxy names the variable that sets it, and does not quote the value."""
    with pytest.raises(UsageError) as caught:
        find_proxy(API, None, {name: value})
    assert str(caught.value).startswith(f"{name}: {reason}")
    assert "hush" not in str(caught.value)
    assert caught.value.__suppress_context__


TEXT = st.text("ab1:.@/[]%-_~?#é\u2100 \t\x00\u2028", max_size=20)


@given(st.builds(lambda scheme, rest: f"{scheme}{rest}", st.sampled_from(["http://", "HTTPS://", ""]), TEXT))
@example("http://me:p@ss@proxy:3128/")
@example("http://1.2.3.4:65535")
@example("http://a[b:c@proxy:1")
@example("http://\u2100@proxy:1")
@example("http://1.2.3.999")
@example("http://[1::2]:1")
@example("http://é:é@proxy:1")
def test_valid_urls_can_be_used(text):
    """Python and httpx parse each URL that is valid, and find the same host in it."""
    try:
        check_proxy_url(text)
    except ValueError:
        return
    assert httpx.Proxy(text).url.host.lower() == (urlsplit(text).hostname or "").lower()
