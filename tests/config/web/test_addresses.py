from pathlib import Path

import pytest
from pydantic import ValidationError

from exporter.config.settings import WebSettings
from exporter.config.web.addresses import parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":10142", ("", 10142)),
        (":0", ("", 0)),
        ("127.0.0.1:65535", ("127.0.0.1", 65535)),
        ("exporter.example:80", ("exporter.example", 80)),
        ("[::1]:10142", ("::1", 10142)),
        ("[::]:1", ("::", 1)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
        ("unix:///run/telnyx.sock", Path("/run/telnyx.sock")),
    ],
)
def test_addresses_are_parsed(text, address):
    """An address is a host and a port, with IPv6 in brackets, or a path. Without a host it means all addresses."""
    assert parse_address(text) == address


GENERAL = "must be HOST:PORT such as :10142, 127.0.0.1:10142 or [::1]:10142, or unix:///PATH"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "is empty: write :10142 or HOST:10142", id="empty"),
        ("10142", "has no colon before the port: write :10142"),
        ("localhost", "has no port: write localhost:10142"),
        ("localhost:", "has no port: write localhost:10142"),
        (":", "has no port: write :10142"),
        ("[::1]", "has no port: write [::1]:10142"),
        ("[::1]:", "has no port: write [::1]:10142"),
        (":http", "has the port 'http': write a number from 0 to 65535"),
        ("[::1]:abc", "has the port 'abc': write a number from 0 to 65535"),
        ("[::1]:65536", "has the port '65536': write a number from 0 to 65535"),
        (":-1", "has the port '-1': write a number from 0 to 65535"),
        (":65536", "has the port '65536': write a number from 0 to 65535"),
        pytest.param(
            ":" + "9" * 5_000, f"has the port '{'9' * 5_000}': write a number from 0 to 65535", id="long port"
        ),
        pytest.param(":\u0663", "has the port '\u0663': write a number from 0 to 65535", id="Arabic digit"),
        ("::1", "must have brackets around the IPv6 address, and a port: write [::1]:10142"),
        ("::1:80", "must have brackets around the IPv6 address: write [::1]:80"),
        ("::1:10142", "must have brackets around the IPv6 address: write [::1]:10142"),
        ("fe80::1%eth0:1", "must have brackets around the IPv6 address: write [fe80::1%eth0]:1"),
        ("[localhost]:80", "has 'localhost' in brackets, which is not an IPv6 address"),
        ("[127.0.0.1]:80", "has '127.0.0.1' in brackets, which is not an IPv6 address"),
        ("[::g]:80", "has '::g' in brackets, which is not an IPv6 address"),
        ("[]:80", "has '' in brackets, which is not an IPv6 address"),
        ("http://:10142", "must not have a scheme: write :10142"),
        ("http://localhost:80/metrics", "must not have a scheme: write localhost:80"),
        ("https://localhost", "must not have a scheme: write localhost:10142"),
        ("localhost:80/metrics", "must not have a path: write localhost:80"),
        ("*", "must not have a star: write :10142 for all addresses"),
        ("*:80", "must not have a star: write :80 for all addresses"),
        ("unix://relative", "must have an absolute path, such as unix:///run/relative"),
        ("unix:relative", "must have an absolute path, such as unix:///run/relative"),
        ("unix:/run/telnyx.sock", "must have three slashes: write unix:///run/telnyx.sock"),
        ("unix:///", "has no path: write unix:///run/telnyx.sock"),
        ("/run/telnyx.sock", "is a path: write unix:///run/telnyx.sock"),
        (":1\n", "contains a control character"),
        ("unix:///run\n", "contains a control character"),
        ("localhost:1:2", GENERAL),
        ("[::1:80", GENERAL),
    ],
)
def test_invalid_addresses_are_rejected(text, problem):
    """The message says what is wrong and, where that is clear, what to write instead."""
    with pytest.raises(ValueError, match=r".") as caught:
        parse_address(text)
    assert str(caught.value) == problem
    _, _, suggestion = problem.partition("write ")
    if suggestion.startswith((":", "[", "localhost", "unix:")):
        parse_address(suggestion.split()[0])


@pytest.mark.parametrize(
    ("addresses", "problem"),
    [
        (":1,localhost", "'localhost' has no port: write localhost:10142"),
        ("localhost", "has no port: write localhost:10142"),
        (",", "is empty: write :10142 or HOST:10142"),
    ],
)
def test_one_of_several_addresses_is_invalid(addresses, problem):
    """Among several addresses, the message names the one that is invalid."""
    with pytest.raises(ValidationError) as caught:
        WebSettings(listen_address=addresses)
    assert str(caught.value.errors()[0]["ctx"]["error"]) == problem
