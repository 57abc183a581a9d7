"""Parsing and validation of single setting values: durations, URLs, keys. `web/` does the same for the HTTP server.

The parse and check functions raise `ValueError` with a message that reads well after the setting's name: "must be ...".
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator

_SECONDS = {"y": 31_536_000.0, "w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>\d{{1,12}}){unit})?" for unit in _SECONDS), re.ASCII)

_API_KEY = re.compile("KEY[0-9A-F]{8}", re.ASCII | re.IGNORECASE)
"""How the keys of Telnyx begin."""

_PROXY_URL = re.compile(
    r"https?://(?:[^\s/?#]{1,1000}@)?(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<host>[a-z0-9._-]{1,253}))(?::(?P<port>\d{1,5}))?/?",
    re.ASCII | re.IGNORECASE,
)


def parse_duration(text: str) -> float:
    """Parse a Prometheus duration such as `90s`, `1m30s` or `500ms` and return seconds."""
    match = _DURATION.fullmatch(text)
    if text == "0":
        return 0.0
    if not text or match is None:
        raise ValueError("must be a duration such as 90s, 1m30s or 500ms")
    return sum(int(count) * _SECONDS[unit] for unit, count in match.groupdict().items() if count)


def format_duration(seconds: float) -> str:
    """Format seconds as a Prometheus duration such as `1m30s`."""
    rest, parts = round(seconds * 1000), []
    for unit, length in _SECONDS.items():
        count, rest = divmod(rest, round(length * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0"


def parse_log_level(text: str) -> str:
    """Parse a log level as Prometheus's programs name it, in any case, and return it as Python names it."""
    level = {"warn": "warning"}.get(text.lower(), text.lower())
    if level not in {"debug", "info", "warning", "error"}:
        raise ValueError("must be debug, info, warn or error")
    return level


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_PLACEHOLDER = re.compile(
    r".*(\.\.\.|\N{HORIZONTAL ELLIPSIS}).*|<.*>|\$\w+|\$[({].*[)}]|\{\{.*\}\}"
    r"|(KEY_?)?(x{3,}|\*{3,})|YOUR[_-].*|CHANGE[_-]?ME|REPLACE[_-]?ME",
    re.IGNORECASE,
)
"""Placeholders of examples, such as KEY..., <key> and your_api_key, and references that nothing has replaced.

A key from Telnyx is KEY, 32 hexadecimal digits, an underscore and 22 letters or digits.
"""


def check_key(key: str) -> str:
    """Validate an API key. Its format is not published: reject only placeholders and invalid header characters."""
    if not key:
        raise ValueError("is empty")
    if _PLACEHOLDER.fullmatch(key):
        raise ValueError("is a placeholder: replace it with an API key from https://portal.telnyx.com")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("contains white space, a control character or a non-ASCII character: copy it again")
    return key


def split_url(text: str, example: str) -> SplitResult:
    """Parse an http or https URL without credentials, query and fragment. Error messages have this example."""
    try:
        parts = urlsplit(text)
        is_valid = bool(parts.hostname) and parts.port != 0
    except ValueError:  # its message can quote a password
        is_valid = False
    if not is_valid or parts.scheme not in {"http", "https"} or not text.isprintable() or " " in text:
        raise ValueError(f"must be an http or https URL such as {example}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user name or password")
    if "?" in text or "#" in text:
        raise ValueError("must not have a query or fragment")
    return parts


def check_base_url(text: str) -> str:
    """Validate the URL of the API and return it without a slash at the end."""
    parts = split_url(text, "https://api.telnyx.com/v2")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("must be https, because http would expose the API key; only a loopback address can have http")
    return text.rstrip("/")


def check_proxy_url(text: str) -> str:
    """Validate the URL of an HTTP proxy, which can contain a user name and password."""
    if text.lower().startswith("socks"):
        raise ValueError("is a SOCKS proxy, which is not supported: use an http or https proxy")
    match = _PROXY_URL.fullmatch(text)
    try:
        urlsplit(text)  # it rejects some characters before the host
        valid = match is not None and text.isprintable() and int(match["port"] or 1) in range(1, 65536)
        if valid and match and match["v6"]:
            ipaddress.IPv6Address(match["v6"])
        elif valid and match and re.fullmatch(r"[0-9]+(\.[0-9]+){3}", match["host"]):
            ipaddress.IPv4Address(match["host"])
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(
            "must be an http or https URL such as http://proxy.example:3128; encode special characters of a password "
            "as %XX"
        )
    return text


def check_regex(text: str) -> str:
    """Validate a regular expression."""
    try:
        with warnings.catch_warnings(action="error"):  # Python warns about ambiguous syntax, whose meaning may change
            re.compile(text)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        raise ValueError(f"is not a valid regular expression: {error}") from None
    return text


def check_filter(text: str) -> str:
    """Validate the value of a filter, which is sent to Telnyx."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be UTF-8 text") from None
    return text


def check_name_filter(text: str) -> str:
    """Validate `--telnyx.filter.connection-name`."""
    check_filter(text)
    if text and len(text) < 3:  # noqa: PLR2004 -- Telnyx's own minimum
        raise ValueError("must have at least three characters, or Telnyx rejects it")
    return text


def _parse_duration(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


def _parse_log_level(value: Any) -> Any:
    return parse_log_level(value) if isinstance(value, str) else value


def _split(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def contains_api_key(text: str) -> bool:
    """Return whether the text probably contains an API key in the wrong place. Messages must not quote it."""
    return _API_KEY.search(text) is not None


def _check_path(value: Any) -> Any:
    if value == "":
        raise ValueError("must be a path")
    if isinstance(value, str) and _API_KEY.match(value):
        raise ValueError("looks like an API key: write the key to a file and set its path, or set TELNYX_API_KEY")
    return value


def _check_glob(text: str) -> str:
    directory, _, name = text.rpartition("/")
    if "*" in directory or name.count("*") != 1:
        raise ValueError("must have exactly one *, in the last part of the path, as in /keys/*")
    if {"?", "[", "]", "\0"} & set(text):
        raise ValueError("must not contain ?, [, ] or a null character: only * is a wildcard")
    return text


Duration = Annotated[float, BeforeValidator(_parse_duration)]
"""Seconds, given as a Prometheus duration."""
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_parse_log_level)]
Regex = Annotated[str, AfterValidator(check_regex)]
CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""A list, given as text with commas."""
FilePath = Annotated[Path, BeforeValidator(_check_path)]
Glob = Annotated[str, BeforeValidator(_check_path), AfterValidator(_check_glob)]
"""A path whose last part has one `*`."""
