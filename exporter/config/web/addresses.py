"""Addresses to listen on."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from exporter.config.values import CommaSeparated

_TCP = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^\[\]:/*]*)):(?P<port>[0-9]{1,10})")
_HIGHEST_PORT = 65_535

_MISTAKES = (
    (r"", "is empty: write :10142 or HOST:10142"),
    (r"(?P<port>\d+)", "has no colon before the port: write :{port}"),
    (r"unix:/*", "has no path: write unix:///run/telnyx.sock"),
    (r"unix:(?P<path>/[^/].*)", "must have three slashes: write unix://{path}"),
    (r"unix:(?://)?(?P<path>[^/].*)", "must have an absolute path, such as unix:///run/{path}"),
    (r"(?P<path>/[^/].*)", "is a path: write unix://{path}"),
    (r"\w+://(?P<address>[^/]*:\d+)(?:/.*)?", "must not have a scheme: write {address}"),
    (r"\w+://(?P<host>[^/:]+)(?:/.*)?", "must not have a scheme: write {host}:10142"),
    (r"(?P<address>[^/]*:\d+)/.*", "must not have a path: write {address}"),
    (r"\*:?", "must not have a star: write :10142 for all addresses"),
    (r"\*:(?P<port>\d+)", "must not have a star: write :{port} for all addresses"),
    (r"(?P<host>\[[^\[\]]+\]|[^\[\]:/]*):?", "has no port: write {host}:10142"),
    (r"\[(?P<host>[^\[\]]*)\]:\d+", "has {host!r} in brackets, which is not an IPv6 address"),
    (r"(?:\[[^\[\]]+\]|[^\[\]:/]*):(?P<port>[^:/]+)", "has the port {port!r}: write a number from 0 to 65535"),
)
"""Patterns of invalid addresses, and what is wrong. The groups of the pattern are inserted."""


def parse_address(text: str) -> tuple[str, int] | Path:
    """Parse `:10142`, `127.0.0.1:10142` or `[::1]:10142` to host and port, or `unix:///run/telnyx.sock` to a path.

    An empty host means all addresses. Raises `ValueError`, which says what is wrong and what to write instead.
    """
    if not text.isprintable():
        raise ValueError("contains a control character")
    if text.startswith("unix:///") and text != "unix:///":
        return Path(text.removeprefix("unix://"))
    match = _TCP.fullmatch(text)
    if match is None or int(match["port"]) > _HIGHEST_PORT or (match["v6"] and not _is_ipv6(match["v6"])):
        raise ValueError(_explain(text))
    return match["v6"] or match["host"], int(match["port"])


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _explain(text: str) -> str:
    host, _, port = text.rpartition(":")
    if re.fullmatch(r"\d+", port, re.ASCII):
        if _is_ipv6(host):
            return f"must have brackets around the IPv6 address: write [{host}]:{port}"
        if re.fullmatch(r"\[.*\]", host) and _is_ipv6(host[1:-1]):
            return f"has the port {port!r}: write a number from 0 to 65535"
    if _is_ipv6(text):
        return f"must have brackets around the IPv6 address, and a port: write [{text}]:10142"
    for pattern, problem in _MISTAKES:
        if match := re.fullmatch(pattern, text, re.ASCII):
            return problem.format(**match.groupdict())
    return "must be HOST:PORT such as :10142, 127.0.0.1:10142 or [::1]:10142, or unix:///PATH"


def _check_addresses(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts or ("",):
        try:
            parse_address(text)
        except ValueError as error:
            raise ValueError(f"{text!r} {error}" if len(texts) > 1 else str(error)) from None
    return texts


Addresses = Annotated[CommaSeparated, AfterValidator(_check_addresses)]
"""Addresses to listen on, given as text with commas."""
