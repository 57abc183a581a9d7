import asyncio
import contextlib
import re
import ssl

import pytest
import structlog
from certificates import authority, identity, write
from cryptography import x509

from exporter.web import web_config
from exporter.web.tls import MAX_PEM
from exporter.web.web_config import WebConfigFile, load

CA = authority("ca")
SERVER = identity("server", x509.DNSName("localhost"), by=CA)
HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the files that a configuration can refer to."""
    write(tmp_path, SERVER, CA)
    (tmp_path / "encrypted.key").write_text(SERVER.encrypted_key_pem)
    (tmp_path / "other.key").write_text(identity("other").key_pem)
    (tmp_path / "empty.pem").write_text("")
    (tmp_path / "junk.pem").write_text("é hunter2")
    (tmp_path / "large.pem").write_text("x" * (MAX_PEM + 1))
    return tmp_path


@pytest.fixture
def path(folder):
    return folder / "web.yml"


def tls(*lines):
    return TLS + "".join(f"  {line}\n" for line in lines)


def indented(pem):
    return "|\n" + "".join(f"    {line}\n" for line in pem.splitlines())


GOOD = {
    "empty": "",
    "sections without a value": "tls_server_config:\nbasic_auth_users: ~\nhttp_server_config: null\n",
    "keys without a value": "http_server_config: {http2: ~, headers: {X-Frame-Options: ~}}\nrate_limit: {burst: ~}\n",
    "sample": f'{TLS}basic_auth_users:\n  alice: {HASH}\n  bob: {HASH}\nrate_limit:\n  interval: "1s"\n  burst: 20\n',
    "users without TLS": f"basic_auth_users:\n  alice: {HASH}\n  123: {HASH.replace('2y', '2a')}\n",
    "inline": f"tls_server_config:\n  cert: {indented(SERVER.pem)}  key: {indented(SERVER.key_pem)}",
    "inline key": f"tls_server_config:\n  cert_file: server.crt\n  key: {indented(SERVER.key_pem)}",
    "inline client CA": tls("client_auth_type: VerifyClientCertIfGiven", f"client_ca: {indented(CA.pem)}"),
    "client CA": tls('client_auth_type: "RequireAndVerifyClientCert"', 'client_ca_file: "ca.pem"'),
    "client CA of the system": tls("client_auth_type: VerifyClientCertIfGiven"),
    "SANs": tls(
        "client_auth_type: RequireAndVerifyClientCert", "client_ca_file: ca.pem", "client_allowed_sans: [one, two]"
    ),
    "all cipher suites": tls(
        "cipher_suites:",
        "- TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "- TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "- TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "- TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "- TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "- TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "- TLS_AES_128_GCM_SHA256",
        "- TLS_AES_256_GCM_SHA384",
        "- TLS_CHACHA20_POLY1305_SHA256",
        "- TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        "- TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        "- TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        "- TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    ),
    "versions": tls("min_version: TLS12", "max_version: TLS12", "prefer_server_cipher_suites: false"),
    "one curve": tls("min_version: TLS13", "curve_preferences:", "- CurveP521"),
    "several curves": tls("curve_preferences: [CurveP256, X25519]"),
    "no HTTP/2": f"{TLS}http_server_config:\n  http2: false\n",
    "HTTP/2": f"{TLS}http_server_config:\n  http2: true\n",
    "headers": """\
http_server_config:
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: max-age=31536000; includeSubDomains
    X-Content-Type-Options: nosniff
    X-XSS-Protection: 1
    Content-Security-Policy: "default-src 'self' *.test.example.net"
""",
    "blank header": 'http_server_config:\n  headers:\n    X-Frame-Options: ""\n',
    "no rate limit": "rate_limit:\n  interval: 0\n  burst: 0\n",
}

POLICIES = "NoClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert"
UNVERIFIED = "is not supported: Python's ssl verifies every certificate that it requests"
OLD = "is insecure (RFC 8996)"
HEADERS = (
    "Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection"
)

BAD = {
    "not YAML": (f"basic_auth_users:\n  alice: *{HASH[:3]}hunter2\n", "line 2: is not valid YAML"),
    "unprintable": ("\x01", "is not valid YAML"),
    "nested": ("[" * 5000, "is not valid YAML"),
    "not UTF-8": (b"\xff", "is not UTF-8"),
    "too large": ("#" * 2**21, "is larger than 1048576 bytes"),
    "junk": ("hWkNKCp3fvIx3jKnsaBI\nTuEjdwNS8A2vYdFbiKqr\n", "must be a mapping"),
    "unknown section": ("tls_config: {}\n", "tls_config: unknown key"),
    "unknown key": ("tls_server_config:\n  cert_filse: x\n", "tls_server_config.cert_filse: unknown key"),
    "unprintable key": ('"a\\nb": x\n', "'a\\nb': unknown key"),
    "duplicate YAML key": (f"{TLS}  key_file: server.key\n", "line 4: a key is duplicated or not text"),
    "YAML key that is a list": ("? [a]\n: b\n", "line 1: a key is duplicated or not text"),
    "section that is text": ("http_server_config: x\n", "http_server_config: must be a mapping"),
    "text that is a list": ("tls_server_config:\n  cert_file: []\n", "tls_server_config.cert_file: must be text"),
    "list that is text": (tls("cipher_suites: x"), "tls_server_config.cipher_suites: must be a list"),
    "no certificate": (
        "tls_server_config:\n  cert_file: ''\n  key_file: server.key\n",
        "tls_server_config: needs cert or cert_file",
    ),
    "no key": ("tls_server_config:\n  cert_file: server.crt\n", "tls_server_config: needs key or key_file"),
    "only a version": (
        "tls_server_config:\n  min_version: TLS13\n",
        "tls_server_config: needs cert or cert_file",
    ),
    "certificate inline and in a file": (
        tls("cert: x"),
        "tls_server_config: cert and cert_file can't be used together: choose one",
    ),
    "key inline and in a file": (
        tls("key: hunter2"),
        "tls_server_config: key and key_file can't be used together: choose one",
    ),
    "missing certificate": (
        TLS.replace("server.crt", "somefile"),
        "tls_server_config.cert_file: No such file or directory",
    ),
    "missing key": (TLS.replace("server.key", "somefile"), "tls_server_config.key_file: No such file or directory"),
    "key that is too large": (
        TLS.replace("server.key", "large.pem"),
        "tls_server_config.key_file: is larger than 65536 bytes",
    ),
    "encrypted key": (
        TLS.replace("server.key", "encrypted.key"),
        "tls_server_config: cert, key: must be PEM, and the key must be unencrypted and match the certificate",
    ),
    "key of another certificate": (
        TLS.replace("server.key", "other.key"),
        "tls_server_config: cert, key: must be PEM, and the key must be unencrypted and match the certificate",
    ),
    "junk for a key": (
        TLS.replace("server.key", "junk.pem"),
        "tls_server_config: cert, key: must be PEM, and the key must be unencrypted and match the certificate",
    ),
    "junk for a certificate": (
        "tls_server_config:\n  cert: é hunter2\n  key_file: server.key\n",
        "tls_server_config: cert, key: must be PEM, and the key must be unencrypted and match the certificate",
    ),
    "client CA without a policy": (
        tls("client_ca_file: ca.pem"),
        "tls_server_config: client_ca needs client_auth_type VerifyClientCertIfGiven or RequireAndVerifyClientCert",
    ),
    "missing client CA": (
        tls("client_auth_type: RequireAndVerifyClientCert", "client_ca_file: somefile"),
        "tls_server_config.client_ca_file: No such file or directory",
    ),
    "empty client CA": (
        tls("client_auth_type: RequireAndVerifyClientCert", "client_ca_file: empty.pem"),
        "tls_server_config: client_ca: contains no PEM certificate",
    ),
    "junk for a client CA": (
        tls("client_auth_type: RequireAndVerifyClientCert", "client_ca_file: junk.pem"),
        "tls_server_config: client_ca: contains no PEM certificate",
    ),
    "unknown policy": (
        tls("client_auth_type: x"),
        f"tls_server_config.client_auth_type: 'x' is not one of {POLICIES}",
    ),
    **{
        policy: (
            tls(f"client_auth_type: {policy}"),
            f"tls_server_config.client_auth_type: {policy} {UNVERIFIED}; use one of {POLICIES}",
        )
        for policy in ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
    },
    "SANs without a policy": (
        tls("client_auth_type: VerifyClientCertIfGiven", "client_allowed_sans: [one]"),
        "tls_server_config: client_allowed_sans needs client_auth_type RequireAndVerifyClientCert",
    ),
    "unknown version": (
        tls("min_version: TLS111"),
        "tls_server_config.min_version: 'TLS111' is not one of TLS12, TLS13",
    ),
    "old version": (
        tls("min_version: TLS10"),
        f"tls_server_config.min_version: TLS10 {OLD}; use one of TLS12, TLS13",
    ),
    "versions in the wrong order": (
        tls("min_version: TLS13", "max_version: TLS12"),
        "tls_server_config: min_version must not be higher than max_version",
    ),
    "unknown cipher suite": (
        tls("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048]"),
        "tls_server_config.cipher_suites.0: 'TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048' is not one of ",
    ),
    "unknown curve": (
        tls("curve_preferences: [CurveP257]"),
        "tls_server_config.curve_preferences.0: 'CurveP257' is not one of CurveP256, CurveP384, CurveP521, X25519",
    ),
    "not a boolean": (
        "http_server_config:\n  http2: maybe\n",
        "http_server_config.http2: must be true or false, without quotes",
    ),
    "quoted boolean": (
        'http_server_config:\n  http2: "true"\n',
        "http_server_config.http2: must be true or false, without quotes",
    ),
    "other header": (
        "http_server_config:\n  headers:\n    Content-Type: foo\n",
        f'http_server_config.headers: HTTP header "Content-Type" can not be configured; use {HEADERS}',
    ),
    "header value": (
        "http_server_config:\n  headers:\n    X-Frame-Options: foo\n",
        "http_server_config.headers: invalid value for X-Frame-Options: must be deny or sameorigin",
    ),
    "header with a line break": (
        'http_server_config:\n  headers:\n    X-XSS-Protection: "a\\r\\nb: c"\n',
        "http_server_config.headers: X-XSS-Protection contains a control character or a non-ASCII character: remove it",
    ),
    "password that is not a hash": (
        "basic_auth_users:\n  john: hunter2\n",
        "basic_auth_users: the password of user 1 is not a bcrypt hash; create one with htpasswd -nBC 10",
    ),
    "name and hash swapped": (
        f"basic_auth_users:\n  {HASH}: john\n",
        "basic_auth_users: the password of user 1 is not a bcrypt hash; create one with htpasswd -nBC 10",
    ),
    "user without a password": (
        "basic_auth_users:\n  john:\n",
        "basic_auth_users: the password of user 1 is not a bcrypt hash; create one with htpasswd -nBC 10",
    ),
    "password that is a list": (
        f"basic_auth_users:\n  john: {HASH}\n  jane: [hunter2]\n",
        "basic_auth_users: the password of user 2 is not a bcrypt hash; create one with htpasswd -nBC 10",
    ),
    "name with a colon": (
        f"basic_auth_users:\n  'a:b': {HASH}\n",
        "basic_auth_users: the name of user 1 has a colon, which basic authentication can't transmit",
    ),
    "users that are a list": (
        "basic_auth_users: [hunter2]\n",
        "basic_auth_users: must be a mapping of names to bcrypt hashes",
    ),
    "invalid interval": (
        "rate_limit:\n  interval: soon\n  burst: 1\n",
        "rate_limit.interval: must be a duration such as 1s, 0.5s, 100ms or 1m30s",
    ),
    "days": (
        "rate_limit:\n  interval: 1d\n  burst: 1\n",
        "rate_limit.interval: must be a duration such as 1s, 0.5s, 100ms or 1m30s",
    ),
    "quoted burst": (
        'rate_limit:\n  interval: 1s\n  burst: "1"\n',
        "rate_limit.burst: must be a whole number, without quotes",
    ),
    "burst that is a list": ("rate_limit:\n  burst: [1]\n", "rate_limit.burst: must be a whole number"),
    "negative burst": ("rate_limit:\n  burst: -1\n", "rate_limit.burst: must be 0 or more"),
    "invalid burst": ("rate_limit:\n  burst: some\n", "rate_limit.burst: must be a whole number"),
    "no burst": ("rate_limit:\n  interval: 1s\n", "rate_limit: needs burst: without it, no request is allowed"),
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_valid_files(path, text):
    """A file that follows the documentation of exporter-toolkit is accepted."""
    path.write_text(text)
    web = WebConfigFile(path)
    assert web.config == load(path)
    assert (web.tls is not None) == ("cert" in text)


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_invalid_files(path, text, message):
    """An invalid file is rejected with one line that states the key and the reason, and contains no secret."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r".") as caught:
        WebConfigFile(path)
    actual = str(caught.value)
    assert actual.startswith(message) if message.endswith(" ") else actual == message
    assert "hunter2" not in actual
    assert HASH not in actual


def test_a_missing_file(path):
    """A file that doesn't exist is rejected."""
    with pytest.raises(ValueError, match="No such file or directory"):
        load(path)


def test_the_repr_contains_no_secrets(path):
    """The text of a configuration, which may be logged or printed, contains neither key nor hash."""
    path.write_text(GOOD["sample"])
    text = repr(load(path))
    assert HASH not in text
    assert "PRIVATE" not in text


class Recorder:
    """Records events of the web configuration: the time of each load, and None for each failure."""

    def __init__(self):
        self.events = asyncio.Queue()

    def record_config_loaded(self, source, at):
        """Record the time."""
        assert source == "web"
        self.events.put_nowait(at)

    def record_config_error(self, source):
        """Record a failure."""
        assert source == "web"
        self.events.put_nowait(None)


@pytest.fixture
async def watched(path, monkeypatch):
    """Return an async context manager that watches a file and yields the configuration and its events."""
    monkeypatch.setattr(web_config, "POLL_INTERVAL", 0.01)

    @contextlib.asynccontextmanager
    async def watching(text):
        path.write_text(text)
        web, recorder = WebConfigFile(path), Recorder()
        task = asyncio.create_task(web.watch(recorder, clock=lambda: 42.0))
        async with asyncio.timeout(20):
            yield web, recorder.events
        task.cancel()

    return watching


def certificate(web):
    """Return the server certificate that a new connection gets."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cadata=CA.pem).wrap_bio(down, up, server_hostname="localhost")
    server = web.tls().contexts[0].wrap_bio(up, down, server_side=True)
    for end in (client, server, client):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return client.getpeercert(binary_form=True)


async def test_a_changed_file_is_used(path, watched):
    """New users are applied without a restart."""
    async with watched("") as (web, events):
        path.write_text(f"basic_auth_users:\n  alice: {HASH}\n")
        assert await events.get() == 42.0
        assert set(web.config.basic_auth_users) == {"alice"}


async def test_a_changed_certificate_is_used(folder, watched):
    """New connections get a renewed certificate, although the file that refers to it hasn't changed."""
    async with watched(TLS) as (web, events):
        before = certificate(web)
        write(folder, renewed := identity("server", x509.DNSName("localhost"), by=CA))
        while await events.get() is None:  # the check can run between the two writes
            pass
        assert certificate(web) == ssl.PEM_cert_to_DER_cert(renewed.pem) != before


async def test_a_file_can_be_reloaded_at_once(path):
    """`reload` reads the file at once. If it is invalid, the error states the reason and the configuration is kept."""
    path.write_text("")
    web = WebConfigFile(path)
    path.write_text(f"basic_auth_users:\n  alice: {HASH}\n")
    await web.reload()
    config = web.config
    assert set(config.basic_auth_users) == {"alice"}
    path.write_text("nonsense: 1\n")
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: nonsense: unknown key$"):
        await web.reload()
    assert web.config is config


async def test_the_watch_does_not_repeat_the_error_of_a_reload(path, watched, monkeypatch):
    """The watch doesn't log an error that `reload` has already raised. It logs when the file is valid again."""
    monkeypatch.setattr(web_config, "POLL_INTERVAL", 0.5)  # the reload comes first
    with structlog.testing.capture_logs() as logs:
        async with watched("") as (web, events):
            path.write_text("nonsense: 1\n")
            with pytest.raises(ValueError, match="unknown key"):
                await web.reload()
            assert await events.get() is None
            assert not logs
            path.write_text("")
            assert await events.get() == 42.0
    (again,) = logs
    assert again["event"] == "web configuration reloaded"


async def test_an_equal_configuration_is_not_replaced(path, watched):
    """Editing a comment doesn't replace the configuration."""
    async with watched(TLS) as (web, events):
        config = web.config
        path.write_text(f"{TLS}# a comment\n")
        await asyncio.sleep(0.1)
        assert web.config is config
        assert events.empty()


async def test_an_invalid_file_changes_nothing_and_is_logged_once(path, watched):
    """If the file becomes invalid, the last configuration stays in use. This is logged once, and so is the recovery."""
    with structlog.testing.capture_logs() as logs:
        async with watched(TLS) as (web, events):
            config = web.config
            path.write_text("basic_auth_users:\n  alice: hunter2\n")
            assert [await events.get() for _ in range(3)] == [None] * 3
            assert web.config is config
            path.write_text(TLS)
            while await events.get() is None:
                pass
            assert web.config is config
    warning, again = [entry for entry in logs if entry["log_level"] != "debug"]
    assert warning["event"] == "web configuration is invalid, keeping the previous one"
    assert warning["file"] == str(path)
    assert warning["problem"].startswith("basic_auth_users: the password of user 1 is not a bcrypt hash")
    assert again["event"] == "web configuration reloaded"


@pytest.mark.parametrize("after", ["", "basic_auth_users:\n", TLS], ids=["truncated", "no users", "other sections"])
async def test_not_all_users_can_be_removed(path, watched, after):
    """A file that is truncated while it is being copied doesn't turn authentication off."""
    with structlog.testing.capture_logs() as logs:
        async with watched(f"basic_auth_users:\n  alice: {HASH}\n") as (web, events):
            path.write_text(after)
            assert await events.get() is None
            assert set(web.config.basic_auth_users) == {"alice"}
    assert "can't" in logs[0]["problem"]


@pytest.mark.parametrize(("before", "after"), [(TLS, ""), ("", TLS)], ids=["removed", "added"])
async def test_tls_cannot_be_added_or_removed(path, watched, before, after):
    """TLS can't be turned on or off while the exporter runs, so an edit can't expose passwords on the network."""
    with structlog.testing.capture_logs() as logs:
        async with watched(before) as (web, events):
            path.write_text(after)
            assert await events.get() is None
            assert (web.tls is not None) == bool(before)
            assert await events.get() is None
    (warning,) = logs
    assert warning["problem"] == "tls_server_config: can't be added or removed at a reload: restart the exporter"
