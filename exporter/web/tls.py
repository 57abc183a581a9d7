"""Converts the TLS settings of the web configuration file, which uses Go's names, to Python's ssl."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from exporter.config.files import read_file
from exporter.server.tls_protocol import ServerTLS
from exporter.web.go_yaml import Bool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MAX_PEM = 64 * 2**10
"""Maximum size of a certificate or key in bytes: the capacity of a pipe."""
MAX_CA = 2**20
"""Maximum size of the client CA certificates in bytes."""

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_OLD = "is insecure (RFC 8996)"

_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED = "is not supported: Python's ssl verifies every certificate that it requests"

_CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}

_DEFAULT_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Without CBC, whose padding has been attacked many times."""
_CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    # TLS 1.3 ciphers are always enabled, in Go and in OpenSSL. A list may contain them.
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
}


def _one_of(table: Mapping[str, Any], rejected: Mapping[str, str] | None = None) -> BeforeValidator:
    """Return a validator that replaces a name with its value in `table`. `rejected` maps unsupported names to why."""

    def find(name: object) -> Any:
        text = str(name)
        if rejected and text in rejected:
            raise ValueError(f"{text} {rejected[text]}; use one of {', '.join(table)}")
        if text not in table:
            raise ValueError(f"{text!r} is not one of {', '.join(table)}")
        return table[text]

    return BeforeValidator(find)


_Version = Annotated[ssl.TLSVersion, _one_of(_VERSIONS, {"TLS10": _OLD, "TLS11": _OLD})]
_ClientAuth = Annotated[
    ssl.VerifyMode,
    _one_of(
        _CLIENT_AUTH,
        dict.fromkeys(("RequestClientCert", "RequireAnyClientCert", "RequireClientCert"), _UNVERIFIED),
    ),
]


class Section(BaseModel):
    """A mapping in the web configuration file. Unknown keys are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _use_defaults(cls, values: Any) -> Any:
        """Use the default of a key that has no value."""
        return (
            {key: value for key, value in values.items() if value is not None} if isinstance(values, dict) else values
        )


class TLSConfig(Section):
    """`tls_server_config`. `with_file_contents` adds the content of its `*_file` keys."""

    cert: str = ""
    cert_file: str = ""
    key: str = Field(default="", repr=False)
    key_file: str = ""
    client_ca: str = ""
    client_ca_file: str = ""
    client_auth_type: _ClientAuth = ssl.CERT_NONE
    client_allowed_sans: tuple[str, ...] = ()
    min_version: _Version = ssl.TLSVersion.TLSv1_2
    max_version: _Version = ssl.TLSVersion.TLSv1_3
    cipher_suites: tuple[Annotated[str, _one_of(_CIPHERS)], ...] = ()
    prefer_server_cipher_suites: Bool = True
    curve_preferences: tuple[Annotated[str, _one_of(_CURVES)], ...] = ()

    @model_validator(mode="after")
    def _check_complete(self) -> Self:
        for name, inline, file in (
            ("cert", self.cert, self.cert_file),
            ("key", self.key, self.key_file),
            ("client_ca", self.client_ca, self.client_ca_file),
        ):
            if inline and file:
                raise ValueError(f"{name} and {name}_file can't be used together: choose one")
            if not inline and not file and name != "client_ca":
                raise ValueError(f"needs {name} or {name}_file")
        if (self.client_ca or self.client_ca_file) and self.client_auth_type is ssl.CERT_NONE:
            raise ValueError("client_ca needs client_auth_type VerifyClientCertIfGiven or RequireAndVerifyClientCert")
        if self.client_allowed_sans and self.client_auth_type is not ssl.CERT_REQUIRED:
            raise ValueError("client_allowed_sans needs client_auth_type RequireAndVerifyClientCert")
        if self.min_version > self.max_version:
            raise ValueError("min_version must not be higher than max_version")
        return self

    def with_file_contents(self, folder: Path) -> Self:
        """Return a copy with the content of the files. Their paths are relative to this folder.

        Raises `ValueError` for a file that can't be read.
        """
        files = {
            "cert": (self.cert_file, MAX_PEM),
            "key": (self.key_file, MAX_PEM),
            "client_ca": (self.client_ca_file, MAX_CA),
        }
        return self.model_copy(
            update={
                name: _read_pem(f"{name}_file", folder / file, max_bytes)
                for name, (file, max_bytes) in files.items()
                if file
            }
        )


def _read_pem(key: str, path: Path, max_bytes: int) -> str:
    try:
        content = read_file(path, max_bytes)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"tls_server_config.{key}: {reason}") from None
    return content.decode("ascii", "ignore")  # PEM is ASCII; any other text in the file is a comment


def create_server_tls(tls: TLSConfig) -> ServerTLS:
    """Create the TLS configuration of the server. `tls` must include the file contents.

    Raises `ValueError` for an unusable certificate or key, without quoting it.
    """
    # Python's ssl sets only one curve for a context. With several, the server tries one context after the other.
    contexts = [_create_context(tls, curve) for curve in tls.curve_preferences or ("",)]
    return ServerTLS(tuple(contexts), partial(_has_allowed_name, frozenset(tls.client_allowed_sans)))


def _create_context(tls: TLSConfig, curve: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = tls.min_version, tls.max_version
    context.set_alpn_protocols(["http/1.1"])
    with (
        _translate_errors("cert, key", "must be PEM, and the key must be unencrypted and match the certificate"),
        _as_path(tls.cert) as cert,
        _as_path(tls.key) as key,
    ):
        context.load_cert_chain(cert, key, password="")  # otherwise OpenSSL would prompt on the terminal
    if tls.client_auth_type is not ssl.CERT_NONE:
        _verify_clients(context, tls)
    ciphers = ":".join(filter(None, tls.cipher_suites))
    with _translate_errors("cipher_suites", "OpenSSL supports none of them"):
        context.set_ciphers(ciphers or _DEFAULT_CIPHERS)
    if tls.cipher_suites and not ciphers:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    if not tls.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if curve:
        with _translate_errors("curve_preferences", "OpenSSL does not support it"):
            context.set_ecdh_curve(curve)
    return context


def _verify_clients(context: ssl.SSLContext, tls: TLSConfig) -> None:
    context.verify_mode = tls.client_auth_type
    # Trust the given CAs, including intermediate ones, as Go does.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    with _translate_errors("client_ca", "contains no PEM certificate"):
        if tls.client_ca or tls.client_ca_file:
            context.load_verify_locations(cadata=tls.client_ca)
        else:
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)


def _has_allowed_name(allowed: frozenset[str], certificate: Mapping[str, Any]) -> bool:
    return not allowed or not allowed.isdisjoint(_alternative_names(certificate))


def _alternative_names(certificate: Mapping[str, Any]) -> Iterator[str]:
    """Return the subject alternative names of a certificate in Go's notation."""
    for kind, name in certificate.get("subjectAltName", ()):
        if kind == "IP Address":
            with contextlib.suppress(ValueError):  # an address of invalid length
                yield str(ipaddress.ip_address(name))
        elif kind in {"DNS", "email", "URI"}:
            yield name


@contextlib.contextmanager
def _translate_errors(key: str, reason: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError):  # ssl can also raise the OSError of a failed seek in a pipe
        raise ValueError(f"tls_server_config: {key}: {reason}") from None


@contextlib.contextmanager
def _as_path(pem: str) -> Iterator[str]:
    """Return a path from which this text can be read, without writing a key to disk: ssl only accepts paths."""
    if len(pem) > MAX_PEM:
        raise ValueError  # it would not fit in the pipe
    reader, writer = os.pipe()
    try:
        os.write(writer, pem.encode("ascii", "replace"))
    finally:
        os.close(writer)
    try:
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)
