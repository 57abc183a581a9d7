"""The CAs that are trusted for the Telnyx API."""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from exporter.config.files import read_file
from exporter.config.flags import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_BYTES = 16 * 2**20
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.\d+", re.ASCII)
"""The names of files in which OpenSSL finds certificates."""


def create_ssl_context(ca_file: Path | None, environment: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """Create the TLS context, which trusts the CAs of one source only.

    The sources are `--telnyx.ca-file`, SSL_CERT_FILE, SSL_CERT_DIR and httpx's own CAs, in this order of precedence.
    Raises `UsageError` if the source is invalid.
    """
    if ca_file is not None:
        return _from_file("--telnyx.ca-file", ca_file)
    name = ca_variable(environment)
    if name is None:
        return httpx.create_ssl_context(trust_env=False)
    value = environment[name]
    return _from_file(name, Path(value)) if name == "SSL_CERT_FILE" else _from_directories(value)


def ca_variable(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the name of the environment variable that sets the trusted CAs, or None if no variable does."""
    return next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if environment.get(name)), None)


def _from_file(source: str, path: Path) -> ssl.SSLContext:
    try:
        pem = read_file(path, _MAX_BYTES).decode("ascii", "ignore")  # comments can have other characters
        return ssl.create_default_context(cadata=pem or " ")  # without any text, Python would trust the system's CAs
    except ssl.SSLError:
        reason = "must contain PEM certificates"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except ValueError as error:
        reason = str(error)
    raise UsageError(f"{source}={str(path)!r}: {reason}")


def _from_directories(text: str) -> ssl.SSLContext:
    """OpenSSL accepts anything here, and then trusts nothing."""
    try:
        names = [name for folder in text.split(os.pathsep) if folder for name in os.listdir(folder)]  # noqa: PTH208 -- names
    except OSError as error:
        raise UsageError(f"SSL_CERT_DIR={text!r}: {error.strerror}") from None
    if not any(map(_HASHED_NAME.fullmatch, names)):
        raise UsageError(f"SSL_CERT_DIR={text!r}: contains no certificates; run openssl rehash on the directory")
    return ssl.create_default_context(capath=text)
