import contextlib
import ipaddress
import ssl

import pytest
from certificates import authority, identity
from cryptography import x509

from exporter.web.tls import MAX_PEM, TLS, _alternative_names, create_context

CA = authority("ca")
SERVER = identity("server", x509.DNSName("localhost"), by=CA)
CLIENT = identity("client", x509.DNSName("prometheus"), by=CA)
STRANGER = identity("stranger", by=authority("other"))


def serving(**keys):
    """Return the context of a server with these further keys."""
    return create_context(TLS.model_validate({"cert": SERVER.pem, "key": SERVER.key_pem, **keys}))


def asking(folder, who=None):
    """Return the context of a client that trusts the server, with or without a certificate of its own."""
    context = ssl.create_default_context(cadata=CA.pem)
    if who:
        (folder / "client.pem").write_text(who.pem + who.key_pem)
        context.load_cert_chain(folder / "client.pem")
    return context


def shake(server, client):
    """Have both shake hands in memory; return the two ends, or raise what one of them did."""
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
        client_end, server_end = shake(server, client)
    except ssl.SSLError:
        return False
    return client_end.version() == server_end.version()


@pytest.mark.parametrize(
    ("policy", "nobody", "client", "stranger"),
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
def test_who_is_admitted(tmp_path, policy, nobody, client, stranger):
    """Each policy admits whom Go's of the same name does."""
    context = serving(**policy)
    admitted = [admits(context, asking(tmp_path, who)) for who in (None, CLIENT, STRANGER)]
    assert admitted == [nobody, client, stranger]


def test_without_a_client_ca_the_systems_count(tmp_path, monkeypatch):
    """A policy without a CA of its own trusts the system's, as in Go."""
    (tmp_path / "system.pem").write_text(CA.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    context = serving(client_auth_type="RequireAndVerifyClientCert")
    assert admits(context, asking(tmp_path, CLIENT))
    assert not admits(context, asking(tmp_path, STRANGER))


def test_an_intermediate_ca_is_enough(tmp_path):
    """What is named as client CA is trusted, whoever signed it."""
    intermediate = authority("intermediate", by=CA)
    context = serving(client_auth_type="RequireAndVerifyClientCert", client_ca=intermediate.pem)
    assert admits(context, asking(tmp_path, identity("client", by=intermediate)))


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
    """A client needs one name of each kind that is allowed, to the letter."""
    client = asking(tmp_path, identity("client", x509.DNSName("else"), san, by=CA))
    policy = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca": CA.pem}
    assert admits(serving(**policy, client_allowed_sans=["one", name]), client)
    assert not admits(serving(**policy, client_allowed_sans=["one", f"{name}x"]), client)


def test_a_client_without_names_is_not_allowed(tmp_path):
    """A common name counts for nothing."""
    policy = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca": CA.pem, "client_allowed_sans": ["client"]}
    assert not admits(serving(**policy), asking(tmp_path, identity("client", by=CA)))


def test_names_of_no_kind_to_compare():
    """An address of no known length and a directory name match nothing."""
    names = (("IP Address", "<invalid>"), ("DirName", ((("commonName", "x"),),)), ("DNS", "a"))
    assert list(_alternative_names({"subjectAltName": names})) == ["a"]


@pytest.mark.parametrize(
    ("keys", "old", "new"),
    [
        pytest.param({}, True, True, id="default"),
        pytest.param({"max_version": "TLS12"}, True, False, id="max"),
        pytest.param({"min_version": "TLS13"}, False, True, id="min"),
        pytest.param({"cipher_suites": ["TLS_AES_128_GCM_SHA256"]}, False, True, id="suites of TLS 1.3 only"),
    ],
)
def test_versions(tmp_path, keys, old, new):
    """TLS 1.2 and 1.3 are spoken between the bounds, and what has no suite for 1.2 does not speak that."""
    client = asking(tmp_path)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert admits(serving(**keys), client) is old
    client = asking(tmp_path)
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    assert admits(serving(**keys), client) is new


@pytest.mark.parametrize(("prefer", "chosen"), [("true", "AES256"), ("false", "AES128")])
def test_cipher_suites(tmp_path, prefer, chosen):
    """The suites are those named, in the server's order or the client's."""
    suites = ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]
    client = asking(tmp_path)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
    _, server = shake(serving(cipher_suites=suites, prefer_server_cipher_suites=prefer), client)
    assert chosen in server.cipher()[0]


@pytest.mark.parametrize("curve", ["CurveP256", "CurveP384", "CurveP521", "X25519"])
def test_curve(tmp_path, curve):
    """The handshake uses the curve that is named, or none."""
    context = serving(curve_preferences=[curve])
    assert admits(context, asking(tmp_path))
    other = asking(tmp_path)
    other.set_ecdh_curve("prime256v1" if curve == "X25519" else "X25519")
    assert not admits(context, other)


def test_http_1_1_is_agreed_on(tmp_path):
    """A client that would speak HTTP/2 is told to speak HTTP/1.1."""
    client = asking(tmp_path)
    client.set_alpn_protocols(["h2", "http/1.1"])
    end, _ = shake(serving(), client)
    assert end.selected_alpn_protocol() == "http/1.1"


def test_a_certificate_is_no_larger_than_what_it_is_passed_through():
    """An inline certificate has the bound of one in a file."""
    with pytest.raises(ValueError, match="cert, key"):
        serving(cert=SERVER.pem + "x" * MAX_PEM)


def test_a_key_is_not_shown():
    """What is logged or printed of a configuration holds no key."""
    assert "PRIVATE" not in repr(TLS(cert=SERVER.pem, key=SERVER.key_pem))
