"""TLS as a web configuration file describes it, in the words of Go, on Python's ssl."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from exporter.config.files import read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MAX_PEM = 64 * 2**10
"""Bytes of a certificate or key; no more than a pipe holds."""
MAX_CA = 2**20
"""Bytes of the certificates of client CAs."""

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_OLD = "is broken (RFC 8996), and OpenSSL does not speak it as it comes"

_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED = "is not supported: Python's ssl verifies each certificate that it asks for"

_CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}

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
    # Those of TLS 1.3 are always on, in Go as in OpenSSL; a list may name them.
    "TLS_AES_128_GCM_SHA256": "",
    "TLS_AES_256_GCM_SHA384": "",
    "TLS_CHACHA20_POLY1305_SHA256": "",
}


def _named(table: Mapping[str, Any], refused: Mapping[str, str] | None = None) -> BeforeValidator:
    def find(name: object) -> Any:
        text = str(name)
        if refused and text in refused:
            raise ValueError(f"{text} {refused[text]}; there is {', '.join(table)}")
        if text not in table:
            raise ValueError(f"{text!r} is none of {', '.join(table)}")
        return table[text]

    return BeforeValidator(find)


def _one_curve(curves: tuple[str, ...]) -> tuple[str, ...]:
    if len(curves) > 1:
        raise ValueError("can name one curve only: Python's ssl knows no order of them")
    return curves


_Version = Annotated[ssl.TLSVersion, _named(_VERSIONS, {"TLS10": _OLD, "TLS11": _OLD})]
_ClientAuth = Annotated[
    ssl.VerifyMode,
    _named(
        _CLIENT_AUTH,
        dict.fromkeys(("RequestClientCert", "RequireAnyClientCert", "RequireClientCert"), _UNVERIFIED),
    ),
]


class Section(BaseModel):
    """A mapping of the file, which may have no other keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TLS(Section):
    """`tls_server_config`; once `filled`, with the content of the files that it names."""

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
    cipher_suites: tuple[Annotated[str, _named(_CIPHERS)], ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: Annotated[tuple[Annotated[str, _named(_CURVES)], ...], AfterValidator(_one_curve)] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for name, inline, file in (
            ("cert", self.cert, self.cert_file),
            ("key", self.key, self.key_file),
            ("client_ca", self.client_ca, self.client_ca_file),
        ):
            if inline and file:
                raise ValueError(f"has both {name} and {name}_file")
            if not inline and not file and name != "client_ca":
                raise ValueError(f"needs {name} or {name}_file")
        if (self.client_ca or self.client_ca_file) and self.client_auth_type is ssl.CERT_NONE:
            raise ValueError("has a client CA, which needs a client_auth_type")
        if self.client_allowed_sans and self.client_auth_type is not ssl.CERT_REQUIRED:
            raise ValueError("has client_allowed_sans, which needs client_auth_type RequireAndVerifyClientCert")
        if self.min_version > self.max_version:
            raise ValueError("has a min_version above its max_version")
        return self

    def filled(self, folder: Path) -> Self:
        """Return this with what its files hold; their paths are relative to this folder.

        Raises `ValueError` for a file that can't be read.
        """
        files = {
            "cert": (self.cert_file, MAX_PEM),
            "key": (self.key_file, MAX_PEM),
            "client_ca": (self.client_ca_file, MAX_CA),
        }
        return self.model_copy(
            update={
                name: _content(f"{name}_file", folder / file, bound) for name, (file, bound) in files.items() if file
            }
        )


def _content(key: str, path: Path, bound: int) -> str:
    try:
        content = read(path, bound)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"tls_server_config.{key}: {reason}") from None
    return content.decode("ascii", "ignore")  # PEM is ASCII; what surrounds it are comments


def create_context(tls: TLS) -> ssl.SSLContext:
    """Return the context that serves by a configuration that is `filled`.

    Raises `ValueError` for certificates and keys that can't be used, in words that hold nothing of them.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = tls.min_version, tls.max_version
    context.set_alpn_protocols(["http/1.1"])
    with (
        _refusing("cert, key", "must be PEM, the key unencrypted and the certificate's"),
        _path(tls.cert) as cert,
        _path(tls.key) as key,
    ):
        context.load_cert_chain(cert, key, password="")  # without one, OpenSSL would ask at the terminal
    if tls.client_auth_type is not ssl.CERT_NONE:
        _ask_clients(context, tls)
    with _refusing("cipher_suites", "OpenSSL has none of them"):
        if ciphers := ":".join(filter(None, tls.cipher_suites)):
            context.set_ciphers(ciphers)
        elif tls.cipher_suites:
            context.minimum_version = ssl.TLSVersion.TLSv1_3
    if not tls.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    with _refusing("curve_preferences", "OpenSSL does not have it"):
        for curve in tls.curve_preferences:
            context.set_ecdh_curve(curve)
    return context


def _ask_clients(context: ssl.SSLContext, tls: TLS) -> None:
    context.verify_mode = tls.client_auth_type
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what is named is trusted, an intermediate CA too, as in Go
    with _refusing("client_ca", "holds no certificate in PEM"):
        if tls.client_ca or tls.client_ca_file:
            context.load_verify_locations(cadata=tls.client_ca)
        else:
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    if allowed := frozenset(tls.client_allowed_sans):

        class Peer(ssl.SSLObject):
            """A connection whose handshake fails without an allowed name."""

            def do_handshake(self) -> None:
                super().do_handshake()
                if allowed.isdisjoint(_names(self.getpeercert() or {})):
                    raise ssl.SSLCertVerificationError("no allowed subject alternative name")

        context.sslobject_class = Peer


def _names(certificate: Mapping[str, Any]) -> Iterator[str]:
    """Return the subject alternative names of a certificate as Go writes them."""
    for kind, name in certificate.get("subjectAltName", ()):
        if kind == "IP Address":
            with contextlib.suppress(ValueError):  # of an address of no known length
                yield str(ipaddress.ip_address(name))
        elif kind in {"DNS", "email", "URI"}:
            yield name


@contextlib.contextmanager
def _refusing(key: str, reason: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError):  # ssl can fail with the errno of a seek in a pipe
        raise ValueError(f"tls_server_config: {key}: {reason}") from None


@contextlib.contextmanager
def _path(pem: str) -> Iterator[str]:
    """Give a path that reads as this: ssl takes certificates by path only, and a key that is in no file stays so."""
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
