import contextlib
import ipaddress
import ssl

import pytest
from certificates import authority, identity
from cryptography import x509

from exporter.web.tls import MAX_PEM, TLSConfig, _alternative_names, create_server_tls

CA = authority("ca")
SERVER = identity("server", x509.DNSName("localhost"), by=CA)
CLIENT = identity("client", x509.DNSName("prometheus"), by=CA)
STRANGER = identity("stranger", by=authority("other"))


def server_tls(**keys):
    """Return a server's TLS configuration with these additional keys."""
    return create_server_tls(TLSConfig.model_validate({"cert": SERVER.pem, "key": SERVER.key_pem, **keys}))


def server_context(**keys):
    """Return a server's only context with these additional keys."""
    (context,) = server_tls(**keys).contexts
    return context


def client_context(folder, certificate=None):
    """Return the context of a client that trusts the server and may have a certificate."""
    context = ssl.create_default_context(cadata=CA.pem)
    if certificate:
        (folder / "client.pem").write_text(certificate.pem + certificate.key_pem)
        context.load_cert_chain(folder / "client.pem")
    return context


def handshake(server, client):
    """Do a handshake in memory. Return both ends, or raise the error of one of them."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(down, up, server_hostname="localhost"),
        server.wrap_bio(up, down, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return ends


def admits(server, client):
    try:
        client_end, server_end = handshake(server, client)
    except ssl.SSLError:
        return False
    return client_end.version() == server_end.version()


@pytest.mark.parametrize(
    ("policy", "no_certificate", "client", "stranger"),
    [
        pytest.param({}, True, True, True, id="default"),
        pytest.param({"client_auth_type": "NoClientCert"}, True, True, True, id="NoClientCert"),
        pytest.param(
            {"client_auth_type": "VerifyClientCertIfGiven", "client_ca": CA.pem}, True, True, False, id="IfGiven"
        ),
        pytest.param(
            {"client_auth_type": "RequireAndVerifyClientCert", "client_ca": CA.pem}, False, True, False, id="Require"
        ),
    ],
)
def test_client_authentication(tmp_path, policy, no_certificate, client, stranger):
    """Each policy admits the same clients as the policy of that name in Go."""
    context = server_context(**policy)
    admitted = [admits(context, client_context(tmp_path, certificate)) for certificate in (None, CLIENT, STRANGER)]
    assert admitted == [no_certificate, client, stranger]


def test_without_a_client_ca_the_cas_of_the_system_are_trusted(tmp_path, monkeypatch):
    """If no client CA is configured, the CAs of the system are trusted, as in Go."""
    (tmp_path / "system.pem").write_text(CA.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    context = server_context(client_auth_type="RequireAndVerifyClientCert")
    assert admits(context, client_context(tmp_path, CLIENT))
    assert not admits(context, client_context(tmp_path, STRANGER))


def test_an_intermediate_ca_is_trusted(tmp_path):
    """A configured client CA is trusted even if another CA, which is not configured, signed it."""
    intermediate = authority("intermediate", by=CA)
    context = server_context(client_auth_type="RequireAndVerifyClientCert", client_ca=intermediate.pem)
    assert admits(context, client_context(tmp_path, identity("client", by=intermediate)))


@pytest.mark.parametrize(
    ("san", "name"),
    [
        pytest.param(x509.DNSName("prometheus"), "prometheus", id="DNS"),
        pytest.param(x509.IPAddress(ipaddress.ip_address("192.0.2.1")), "192.0.2.1", id="IPv4"),
        pytest.param(x509.IPAddress(ipaddress.ip_address("2001:db8::1")), "2001:db8::1", id="IPv6"),
        pytest.param(x509.RFC822Name("ops@example.net"), "ops@example.net", id="e-mail"),
        pytest.param(x509.UniformResourceIdentifier("spiffe://a/b"), "spiffe://a/b", id="URI"),
    ],
)
def test_allowed_names(tmp_path, san, name):
    """A client needs one allowed name, of any kind, that matches exactly."""
    client = client_context(tmp_path, identity("client", x509.DNSName("else"), san, by=CA))
    policy = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca": CA.pem}
    _, server = handshake(server_context(**policy), client)
    assert server_tls(**policy, client_allowed_sans=["one", name]).is_allowed(server.getpeercert())
    assert not server_tls(**policy, client_allowed_sans=["one", f"{name}x"]).is_allowed(server.getpeercert())


def test_a_client_without_names_is_not_allowed(tmp_path):
    """The common name of a certificate is not checked against the allowed names."""
    policy = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca": CA.pem, "client_allowed_sans": ["client"]}
    _, server = handshake(server_context(**policy), client_context(tmp_path, identity("client", by=CA)))
    assert not server_tls(**policy).is_allowed(server.getpeercert())


def test_without_allowed_names_every_client_is_allowed():
    """Without a list of names, clients are allowed with any certificate, or none."""
    assert server_tls().is_allowed({})


def test_unsupported_names_are_ignored():
    """An IP address of invalid length and a directory name match nothing."""
    names = (("IP Address", "<invalid>"), ("DirName", ((("commonName", "x"),),)), ("DNS", "a"))
    assert list(_alternative_names({"subjectAltName": names})) == ["a"]


@pytest.mark.parametrize(
    ("keys", "old", "new"),
    [
        pytest.param({}, True, True, id="default"),
        pytest.param({"max_version": "TLS12"}, True, False, id="max"),
        pytest.param({"min_version": "TLS13"}, False, True, id="min"),
        pytest.param({"cipher_suites": ["TLS_AES_128_GCM_SHA256"]}, False, True, id="only TLS 1.3 suites"),
    ],
)
def test_versions(tmp_path, keys, old, new):
    """TLS 1.2 and 1.3 are enabled within the configured limits. TLS 1.2 is disabled if no cipher suite supports it."""
    client = client_context(tmp_path)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert admits(server_context(**keys), client) is old
    client = client_context(tmp_path)
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    assert admits(server_context(**keys), client) is new


@pytest.mark.parametrize(("prefer", "chosen"), [("true", "AES256"), ("false", "AES128")])
def test_cipher_suites(tmp_path, prefer, chosen):
    """Only the configured cipher suites are used, in the order of the server or of the client."""
    suites = ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]
    client = client_context(tmp_path)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
    _, server = handshake(server_context(cipher_suites=suites, prefer_server_cipher_suites=prefer), client)
    assert chosen in server.cipher()[0]


def test_cbc_suites_are_off_by_default(tmp_path):
    """CBC cipher suites are not used unless they are configured."""
    client = client_context(tmp_path)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384")
    assert not admits(server_context(), client)
    assert admits(server_context(cipher_suites=["TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"]), client)
    assert not [suite["name"] for suite in server_context().get_ciphers() if "CBC" in suite["description"]]


def test_several_curves_make_several_contexts():
    """Each curve has its own context, in the configured order."""
    assert len(server_tls(curve_preferences=["X25519", "CurveP256"]).contexts) == 2


@pytest.mark.parametrize("curve", ["CurveP256", "CurveP384", "CurveP521", "X25519"])
def test_curve(tmp_path, curve):
    """The handshake uses the configured curve, or fails."""
    context = server_context(curve_preferences=[curve])
    assert admits(context, client_context(tmp_path))
    other = client_context(tmp_path)
    other.set_ecdh_curve("prime256v1" if curve == "X25519" else "X25519")
    assert not admits(context, other)


def test_http_1_1_is_negotiated(tmp_path):
    """A client that offers HTTP/2 and HTTP/1.1 gets HTTP/1.1."""
    client = client_context(tmp_path)
    client.set_alpn_protocols(["h2", "http/1.1"])
    end, _ = handshake(server_context(), client)
    assert end.selected_alpn_protocol() == "http/1.1"


def test_an_inline_certificate_has_a_size_limit():
    """An inline certificate has the same size limit as one in a file."""
    with pytest.raises(ValueError, match="cert, key"):
        server_context(cert=SERVER.pem + "x" * MAX_PEM)


def test_the_repr_contains_no_key():
    """The text of a configuration, which may be logged or printed, contains no key."""
    assert "PRIVATE" not in repr(TLSConfig(cert=SERVER.pem, key=SERVER.key_pem))
