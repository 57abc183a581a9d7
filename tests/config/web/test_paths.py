import re

import pytest
from pydantic import ValidationError

from exporter.config.settings import WebSettings
from exporter.config.web.paths import NO_PREFIX, WebPaths, check_external_url, check_route_prefix


@pytest.mark.parametrize(
    "path",
    [
        *("/metrics", "/telnyx/metrics", "/a.b_c~d-e", "/-", "/-x"),
        *("/runbooksx", "/a/runbooks/", "/api/v1", "/api/v1/status2"),
    ],
)
def test_telemetry_path_is_a_plain_path(path):
    """Any plain path is accepted for the metrics."""
    assert WebSettings(telemetry_path=path).telemetry_path == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "metrics",
        "/-/healthy",
        "/-/",
        "/a b",
        "/{path}",
        "/a?b",
        "/a#b",
        "/é",
        "/a\n",
        "//host",
        "/runbooks",
        "/runbooks/x",
        "/api/v1/status",
    ],
)
def test_invalid_or_reserved_telemetry_path_is_rejected(path):
    """A path is rejected if it is invalid, or would hide another page, or links elsewhere.

    The metrics can't be below `/runbooks/`, where no password is needed.
    """
    problem = "._~/- only, and must not be /api/v1/status or begin with /-/, /runbooks/ or //"
    with pytest.raises(ValidationError, match=re.escape(problem)):
        WebSettings(telemetry_path=path)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", ""),
        ("https://x", "https://x"),
        ("https://x/", "https://x"),
        ("https://x/a//", "https://x/a"),
        ("http://[::1]:1/telnyx/", "http://[::1]:1/telnyx"),
        (
            "https://x/api/v1/namespaces/a/services/http:telnyx:10142/proxy/",
            "https://x/api/v1/namespaces/a/services/http:telnyx:10142/proxy",
        ),
    ],
)
def test_external_url_has_no_slash_at_the_end(text, url):
    """The external URL can have a path. A slash at its end is removed, as in Prometheus."""
    assert check_external_url(text) == url


URL = "an http or https URL such as https://example.com/telnyx"
PATH = "a path such as /telnyx, without //, /./, /../ and characters that URLs escape"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        *(
            (text, f"must be {URL}")
            for text in ("foo", "/foo", "/", "//x/", "ftp://x", "https:///x", '"x"', "https://x:y")
        ),
        ("https://user@x", "must not contain a user name or password"),
        ("https://user:CANARY@x/a", "must not contain a user name or password"),
        ("https://x/a?b", "must not have a query or fragment"),
        ("https://x/?", "must not have a query or fragment"),
        ("https://x/a#b", "must not have a query or fragment"),
        ("https://x//a", f"must have {PATH}"),
        ("https://x/a/../b", f"must have {PATH}"),
        ("https://x/a%20b", f"must have {PATH}"),
        ("https://x/{a}", f"must have {PATH}"),
        ("https://x/é", f"must have {PATH}"),
    ],
)
def test_invalid_external_url_is_rejected(text, problem):
    """The message says what is wrong, and never quotes the URL, which can contain a password."""
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        check_external_url(text)


@pytest.mark.parametrize(
    ("text", "prefix"),
    [("", ""), ("/", "/"), ("//", "/"), ("foo", "/foo"), ("/foo/", "/foo"), ("a/b.c/-", "/a/b.c/-"), ("a:@!", "/a:@!")],
)
def test_route_prefix_has_a_slash_only_at_the_start(text, prefix):
    """As in Prometheus, slashes around the prefix don't matter."""
    assert check_route_prefix(text) == prefix


@pytest.mark.parametrize(
    "text", ["a//b", ".", "..", "/a/..", "/./a", "a b", "a?b", "a#b", "a%20b", "{a}", "é", "a\n", '"']
)
def test_invalid_route_prefix_is_rejected(text):
    """A prefix is rejected if clients would change it in a request."""
    with pytest.raises(ValueError, match=f"^must be {re.escape(PATH)}$"):
        check_route_prefix(text)


@pytest.mark.parametrize(
    ("external_url", "route_prefix", "route", "link"),
    [
        pytest.param("", "", "/m", "/m", id="defaults"),
        pytest.param("", "/", "/m", "/m", id="no prefix"),
        pytest.param("", "/foo", "/foo/m", "/foo/m", id="only a prefix"),
        pytest.param("https://x/telnyx", "", "/telnyx/m", "/telnyx/m", id="a proxy that keeps the path"),
        pytest.param("https://x/telnyx", "/", "/m", "/telnyx/m", id="a proxy that strips the path"),
        pytest.param("https://x/telnyx", "/foo", "/foo/m", "/telnyx/m", id="a proxy that replaces the path"),
        pytest.param("https://x", "", "/m", "/m", id="a proxy without a path"),
        pytest.param("https://x", "/foo", "/foo/m", "/m", id="a proxy that adds a path"),
    ],
)
def test_paths_follow_from_the_settings(external_url, route_prefix, route, link):
    """By default, the prefix is the path of the external URL. Links use the external URL's path, if there is one."""
    paths = WebPaths.of(external_url, route_prefix, "/m")
    assert (paths.metrics, paths.link("/m")) == (route, link)
    assert paths.page == route.removesuffix("m")


def test_default_paths():
    """Without any settings, there is no prefix."""
    assert WebPaths.of("", "", "/metrics") == NO_PREFIX


@pytest.mark.parametrize("prefix", ["", "/runbooks", "/a/b"])
def test_open_paths(prefix):
    """Only health checks and runbooks are open, below the prefix."""
    paths = WebPaths(prefix, "/elsewhere")
    for path in ("/-/healthy", "/-/ready", "/runbooks", "/runbooks/", "/runbooks/TelnyxApiDown"):
        assert paths.is_open(prefix + path)
        assert not paths.is_open(f"/elsewhere{path}")
    for path in ("", "/", "/metrics", "/-/reload", "/api/v1/status"):
        assert not paths.is_open(prefix + path)
    for path in ("/-/healthy/", "/runbooksx", "/runbook", "/RUNBOOKS/"):
        assert not paths.is_open(prefix + path)
