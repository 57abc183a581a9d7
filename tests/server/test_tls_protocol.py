import asyncio
import contextlib
import gc
import hashlib
import hmac
import resource
import shutil
import ssl
from pathlib import Path

import pytest
from certificates import authority, identity
from cryptography import x509
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from raw_clients import HELLO, REQUEST, Incidents, read_until_closed, serve
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from exporter.server import http_protocol
from exporter.server.incidents import ConnectionClosed, HandshakeFailed, RequestRefused
from exporter.server.listeners import listen
from exporter.server.serving import serving
from exporter.web.tls import TLSConfig, create_server_tls

CA = authority("ca")
SERVER, RENEWED = (identity("server", x509.DNSName("localhost"), by=CA) for _ in range(2))
SIZE = 3_000_000

pytestmark = pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)


async def large(_):
    return PlainTextResponse("x" * SIZE)


async def huge(_):
    return PlainTextResponse("x" * 40_000_000)


async def echo(request):
    return PlainTextResponse(await request.body())


async def stream(_):
    async def pieces():
        for _ in range(30):
            yield b"x" * (SIZE // 30)

    return StreamingResponse(pieces(), headers={"content-length": str(SIZE)})


APP = Starlette(
    routes=[
        *HELLO.routes,
        Route("/large", large),
        Route("/huge", huge),
        Route("/stream", stream),
        Route("/echo", echo, methods=["POST"]),
    ]
)


def server_tls(certificate=SERVER, **keys):
    return create_server_tls(TLSConfig.model_validate({"cert": certificate.pem, "key": certificate.key_pem, **keys}))


def trusting(folder=None, certificate=None, version=None, **attributes):
    """Return the options of a client that trusts the server, and may have a certificate and other settings."""
    context = ssl.create_default_context(cadata=CA.pem)
    if certificate is not None:
        (folder / "client.pem").write_text(certificate.pem + certificate.key_pem)
        context.load_cert_chain(folder / "client.pem")
    if version is not None:
        context.maximum_version = context.minimum_version = version
    return {"ssl": context, "server_hostname": "localhost"}


def get(path):
    return b"GET %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % path.encode()


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


@VERSIONS
@pytest.mark.parametrize("path", ["/large", "/stream"])
async def test_large_responses_arrive_completely(path, version):
    """A response that is larger than all buffers arrives completely, and then the connection is closed cleanly."""
    async with serve(APP, tls=server_tls()) as connect:
        reader, writer = await connect(**trusting(version=version))
        writer.write(get(path))
        received = await reader.read()  # raises an error if the server closes the connection without saying so
    assert received.partition(b"\r\n\r\n")[2] == b"x" * SIZE


async def test_a_slow_reader_gets_the_whole_response():
    """A response that is larger than all buffers arrives completely, although its client reads late."""
    async with serve(APP, tls=server_tls()) as connect:
        client, _, _ = await connect_with_tls(connect)
        await client.send(get("/huge"))
        await asyncio.sleep(0.5)
        received = await client.read()
    assert received.endswith(b"x" * 40_000_000)


async def test_an_oversized_request_is_rejected():
    """A request of many TLS records that is too large is refused once, and the rest of it ignored."""
    incidents = Incidents()
    async with serve(APP, tls=server_tls(), incidents=incidents) as connect:
        reader, writer = await connect(**trusting())
        writer.write(REQUEST)
        await reader.readuntil(b"hello over https")
        writer.write(b"GET / HTTP/1.1\r\nx: " + b"x" * 200_000)
        await read_until_closed(reader)
    assert incidents == [(RequestRefused.TOO_LARGE, "127.0.0.1", "")]


async def test_requests_reuse_a_connection():
    """A connection serves one request after another, whatever their size. The application sees the scheme https."""
    async with serve(APP, tls=server_tls()) as connect:
        reader, writer = await connect(**trusting())
        for _ in range(3):
            writer.write(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 16000\r\n\r\n" + b"y" * 16_000)
            await reader.readuntil(b"y" * 16_000)
            writer.write(REQUEST)
            await reader.readuntil(b"hello over https")


async def test_pipelined_requests_are_answered():
    """Pipelined requests get their responses in order, although the server pauses reading."""
    async with serve(APP, tls=server_tls()) as connect:
        reader, writer = await connect(**trusting())
        writer.write(REQUEST * http_protocol.MAX_PIPELINED + get("/large"))
        received = await reader.read()
    assert received.count(b"hello over https") == http_protocol.MAX_PIPELINED
    assert received.endswith(b"x" * SIZE)


async def test_new_connections_use_the_new_certificate():
    """A new connection gets the renewed certificate. An existing connection stays open."""
    current = [server_tls()]
    listener = listen("127.0.0.1:0")
    address = listener.getsockname()
    async with asyncio.timeout(20), serving(APP, listener, observer=Incidents(), tls=lambda: current[-1]):
        clients = []
        for certificate in (SERVER, RENEWED):
            reader, writer = await asyncio.open_connection(*address, **trusting())
            clients.append((reader, writer))
            served = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            assert served == ssl.PEM_cert_to_DER_cert(certificate.pem)
            current.append(server_tls(RENEWED))
        for reader, writer in clients:
            writer.write(REQUEST)
            await reader.readuntil(b"hello over https")
            writer.transport.abort()


# Half-closed connections


class TLSClient:
    """A client that, unlike asyncio's, sends alerts and can end its side of a connection."""

    def __init__(self, reader, writer, context):
        self._reader, self._writer = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    async def handshake(self):
        """Do the handshake, or send an alert and raise the error."""
        while True:
            try:
                return self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._send()
                self._incoming.write(await self._reader.read(2**16))
            finally:
                self._send()

    def _send(self):
        self._writer.write(self._outgoing.read())

    async def send(self, data):
        """Send data."""
        self._writer.write(self.encrypt(data))

    def encrypt(self, *records):
        """Return these records, encrypted."""
        for data in records:
            self._tls.write(data)
        return self._outgoing.read()

    def send_request_and_end(self, request, *, close_notify, eof):
        """Send a request, and end the client's side with TLS's message, TCP's or both."""
        self._tls.write(request)
        if close_notify:
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.unwrap()
        self._send()
        if eof:
            self._writer.write_eof()

    async def read(self):
        """Read until the server closes the connection."""
        self._incoming.write(await read_until_closed(self._reader))
        response = []
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while piece := self._tls.read(2**20):
                response.append(piece)
        return b"".join(response)


async def connect_with_tls(connect, context=None):
    """Connect, do the handshake, and return the client and the reader and writer of its encrypted data."""
    reader, writer = await connect()
    client = TLSClient(reader, writer, context or trusting()["ssl"])
    await client.handshake()
    return client, reader, writer


@pytest.mark.parametrize(
    ("close_notify", "eof"), [(True, False), (False, True), (True, True)], ids=["TLS", "TCP", "TLS and TCP"]
)
async def test_a_half_closed_connection_gets_its_response(close_notify, eof):
    """A client that ends its side after a request gets the whole response."""
    async with serve(APP, tls=server_tls()) as connect:
        client, _, _ = await connect_with_tls(connect)
        request = b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n"
        client.send_request_and_end(request, close_notify=close_notify, eof=eof)
        response = await client.read()
    assert response.count(b"x" * (SIZE // 30)) == 30


def resident_memory():
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def test_data_after_the_end_is_ignored():
    """Data that a client sends after it ended its side takes no memory, while the client waits for its response."""
    started = asyncio.Event()

    async def app(_scope, _receive, _send):
        started.set()
        await asyncio.Event().wait()

    async with serve(app, tls=server_tls()) as connect:
        client, _, writer = await connect_with_tls(connect)
        client.send_request_and_end(REQUEST, close_notify=True, eof=False)
        await started.wait()
        before = resident_memory()
        for _ in range(64):
            writer.write(bytes(2**20))
            await writer.drain()
        assert resident_memory() - before < 32 * 2**20


async def test_records_can_arrive_in_pieces():
    """A request of several TLS records is read, however TCP divides them."""
    async with serve(APP, tls=server_tls()) as connect:
        client, _, writer = await connect_with_tls(connect)
        for byte in client.encrypt(REQUEST[:10], REQUEST[10:]):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        writer.write_eof()
        assert (await client.read()).endswith(b"hello over https")


async def test_the_size_limit_applies_to_pipelined_requests_together():
    """Requests that wait for the response to an earlier one must not exceed the size limit together."""
    incidents = Incidents()
    async with serve(APP, tls=server_tls(), incidents=incidents) as connect:
        client, _, writer = await connect_with_tls(connect)
        padded = REQUEST[:-2] + b"x: " + b"x" * 10_000 + b"\r\n\r\n"
        writer.write(client.encrypt(padded, padded, padded))
        response = await client.read()
    assert (response.count(b"200 OK"), response.count(b"400 Bad Request")) == (2, 1)
    assert incidents == [(RequestRefused.TOO_LARGE, "127.0.0.1", "")]


async def test_oversized_records_are_rejected():
    """A client that announces a record larger than TLS allows is disconnected before it has sent all of it."""
    async with serve(APP, tls=server_tls()) as connect:
        client, _, writer = await connect_with_tls(connect)
        writer.write(b"\x17\x03\x03\xff\xff" + bytes(1000))
        with pytest.raises(ssl.SSLError, match="RECORD_OVERFLOW"):
            await client.read()


async def test_the_memory_of_a_closed_connection_is_freed():
    """OpenSSL's memory is freed when a connection is closed, not when the garbage collector runs."""
    async with serve(APP, tls=server_tls()) as connect:
        gc.disable()
        try:
            for _ in range(3):
                reader, writer = await connect(**trusting())
                writer.write(get("/"))
                await reader.read()
            await asyncio.sleep(0.1)
            assert not [each for each in gc.get_objects() if isinstance(each, ssl.SSLObject) and each.server_side]
        finally:
            gc.enable()


async def test_many_small_records_are_rejected():
    """A client that divides its requests into many tiny records, which take much CPU, is disconnected."""
    incidents = Incidents()
    async with serve(APP, tls=server_tls(), incidents=incidents) as connect:
        client, reader, writer = await connect_with_tls(connect)
        await client.send(REQUEST)
        await reader.read(1)
        writer.write(client.encrypt(*(bytes([byte]) for byte in REQUEST * 3)))
        await read_until_closed(reader)
    assert incidents == [(HandshakeFailed.PROTOCOL, "127.0.0.1", "too many records at once")]


async def test_an_endless_handshake_is_a_failure():
    """A client whose handshake does not end after the first answer is disconnected before it uses much memory."""
    incidents, context = Incidents(), trusting(version=ssl.TLSVersion.TLSv1_3)["ssl"]
    context.set_ecdh_curve("secp521r1")  # the server asks for another ClientHello
    async with serve(APP, tls=server_tls(curve_preferences=["CurveP521"]), incidents=incidents) as connect:
        reader, writer = await connect()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        writer.write(outgoing.read())
        await reader.read(1)
        fragment = b"\x16\x03\x03\x40\x00"  # a record with the beginning of a message of 131,072 bytes
        writer.write(fragment + b"\x14\x02\x00\x00" + bytes(16380) + (fragment + bytes(16384)) * 3)
        await read_until_closed(reader)
    assert incidents == [(HandshakeFailed.PROTOCOL, "127.0.0.1", "too many bytes in the handshake")]


def encrypted_handshake_message(secret, sequence, message):
    """Return a TLS 1.3 record with part of a handshake message: RFC 8446, sections 5.2 and 7.1, for AES-256-GCM."""

    def expand(label, size):
        info = size.to_bytes(2, "big") + bytes([len(label) + 6]) + b"tls13 " + label + b"\0\1"
        return hmac.digest(secret, info, hashlib.sha384)[:size]

    header = b"\x17\x03\x03" + (len(message) + 17).to_bytes(2, "big")
    nonce = (int.from_bytes(expand(b"iv", 12), "big") ^ sequence).to_bytes(12, "big")
    return header + AESGCM(expand(b"key", 32)).encrypt(nonce, message + b"\x16", header)


async def test_an_incomplete_handshake_message_ends_the_connection(tmp_path, caplog):
    """A client that begins a key update while it waits for a response is disconnected, with one line in the log."""
    incidents, options = Incidents(), trusting(version=ssl.TLSVersion.TLSv1_3)
    options["ssl"].keylog_filename = tmp_path / "keys"

    async def app(scope, receive, send):
        await asyncio.sleep(0.2)
        await HELLO(scope, receive, send)

    async with serve(app, tls=server_tls(), incidents=incidents) as connect:
        client, _, writer = await connect_with_tls(connect, options["ssl"])
        await client.send(REQUEST)
        keys = dict(line.split()[::2] for line in (tmp_path / "keys").read_text().splitlines() if line[0] != "#")
        secret = bytes.fromhex(keys["CLIENT_TRAFFIC_SECRET_0"])
        writer.write(encrypted_handshake_message(secret, 1, b"\x18\0\0\1"))
        assert await client.read() == b""
    assert incidents == [(HandshakeFailed.PROTOCOL, "127.0.0.1", "an incomplete key update or other handshake message")]
    assert not caplog.records


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
async def test_key_updates_are_limited():
    """A client that sends many key updates, which take much CPU, is disconnected."""
    incidents = Incidents()
    async with serve(APP, tls=server_tls(), incidents=incidents) as connect:
        _, writer = await connect()
        host, port = writer.get_extra_info("peername")
        client = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-connect", f"{host}:{port}"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        while not incidents:
            client.stdin.write(b"k\n")  # the command for a key update: one of these for each write
            await asyncio.sleep(0.02)
        await client.communicate()
    assert [(incident, detail) for incident, _, detail in incidents] == [
        (HandshakeFailed.PROTOCOL, "too many key updates or other records without data")
    ]


async def test_a_half_closed_connection_without_a_request_is_closed():
    """A client that ends its side without a complete request is disconnected at once."""
    async with serve(APP, tls=server_tls()) as connect:
        client, _, _ = await connect_with_tls(connect)
        client.send_request_and_end(REQUEST[:-2], close_notify=True, eof=False)
        assert await client.read() == b""


# Failed handshakes


async def failed(tls, sent):
    """Send this instead of a handshake, and return what arrives and the incidents."""
    incidents = Incidents()
    async with serve(APP, tls=tls, incidents=incidents) as connect:
        reader, writer = await connect()
        writer.write(sent)
        return await read_until_closed(reader), incidents


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
async def test_plain_http_gets_a_response(method):
    """A client without TLS gets status 400 with the reason."""
    received, incidents = await failed(server_tls(), f"{method} /metrics HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    assert received.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert received.endswith(b"\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
    assert incidents == [(HandshakeFailed.PLAIN_HTTP, "127.0.0.1", "HTTP_REQUEST")]


async def test_noise_is_a_failure():
    """A client that sends neither TLS nor HTTP is disconnected, with an alert."""
    received, incidents = await failed(server_tls(), b"SSH-2.0-OpenSSH\r\n" * 10)
    assert received[:1] in {b"\x15", b""}
    ((incident, client, _),) = incidents
    assert (incident, client) == (HandshakeFailed.PROTOCOL, "127.0.0.1")


async def test_an_endless_first_message_is_a_failure():
    """A client whose first message does not end is disconnected before it uses much memory."""
    fragment = b"\x16\x03\x01\x00\x01"  # a record with one byte of a message that has 60,000
    message = b"\x01\x00\xea\x60" + bytes(59_000)
    _, incidents = await failed(server_tls(), b"".join(fragment + bytes([byte]) for byte in message))
    assert incidents == [(HandshakeFailed.PROTOCOL, "127.0.0.1", "too many bytes in the handshake")]


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"], ids=["nothing", "half a message"])
async def test_a_client_that_disconnects(sent):
    """A client that disconnects during the handshake is recorded, unless it sent nothing, as health checks do."""
    incidents = Incidents()
    async with serve(APP, tls=server_tls(), incidents=incidents) as connect:
        reader, writer = await connect()
        writer.write(sent)
        writer.write_eof()
        assert await read_until_closed(reader) == b""
    assert incidents == ([(HandshakeFailed.DISCONNECTED, "127.0.0.1", "")] if sent else [])


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"], ids=["nothing", "half a message"])
async def test_a_slow_handshake_is_aborted(monkeypatch, sent):
    """The request timeout includes the handshake."""
    monkeypatch.setattr(http_protocol, "REQUEST_TIMEOUT", 0.2)
    received, incidents = await failed(server_tls(), sent)
    assert received == b""
    assert incidents == [(ConnectionClosed.REQUEST_TIMEOUT, "127.0.0.1", "")]


async def alert(connect, **options):
    """Connect and read, and return OpenSSL's name of the alert that the client receives, or "" if there is none."""
    try:
        reader, writer = await connect(**options)
        writer.write(REQUEST)
        await reader.readuntil(b"hello over https")
    except ssl.SSLError as error:
        return error.reason
    return ""


SUITE = {"cipher_suites": ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]}
MUTUAL = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca": CA.pem}


async def test_alerts_explain_a_failure(tmp_path):
    """A client whose handshake fails receives the alert that says why, and the server records the reason."""
    other_cipher = trusting(version=ssl.TLSVersion.TLSv1_2)
    other_cipher["ssl"].set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
    other_curve = trusting()
    other_curve["ssl"].set_ecdh_curve("prime256v1")
    old = trusting(version=ssl.TLSVersion.TLSv1_2)
    stranger = trusting(tmp_path, identity("stranger", by=authority("other")))
    for tls, options, received, incident in (
        (SUITE, other_cipher, "HANDSHAKE_FAILURE", HandshakeFailed.NOTHING_SHARED),
        ({"curve_preferences": ["X25519"]}, other_curve, "HANDSHAKE_FAILURE", HandshakeFailed.NOTHING_SHARED),
        ({"min_version": "TLS13"}, old, "PROTOCOL_VERSION", HandshakeFailed.PROTOCOL),
        (MUTUAL, trusting(), "CERTIFICATE_REQUIRED", HandshakeFailed.CLIENT_CERTIFICATE),
        (MUTUAL, stranger, "UNKNOWN_CA", HandshakeFailed.CLIENT_CERTIFICATE),
    ):
        incidents = Incidents()
        async with serve(APP, tls=server_tls(**tls), incidents=incidents) as connect:
            assert received in await alert(connect, **options)
        assert [(each, client) for each, client, _ in incidents] == [(incident, "127.0.0.1")]


async def test_an_alert_of_the_client_is_recorded():
    """A client that does not trust the server says so, and the server records it."""
    incidents = Incidents()
    async with serve(APP, tls=server_tls(), incidents=incidents) as connect:
        client = TLSClient(*await connect(), ssl.create_default_context())
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.handshake()
        await incidents.occurred.wait()
    ((incident, _, detail),) = incidents
    assert incident is HandshakeFailed.REJECTED_BY_CLIENT
    assert "_ALERT_" in detail


async def test_a_client_without_an_allowed_name_is_forbidden(tmp_path):
    """Requests on a connection whose client certificate has no allowed name get status 403 with the reason."""
    incidents = Incidents()
    tls = server_tls(**MUTUAL, client_allowed_sans=["good"])
    async with serve(APP, tls=tls, incidents=incidents) as connect:
        for name, status in (("good", b"200"), ("bad", b"403")):
            reader, writer = await connect(**trusting(tmp_path, identity("client", x509.DNSName(name), by=CA)))
            writer.write(get("/"))
            received = await reader.read()
            assert received.startswith(b"HTTP/1.1 " + status)
    assert received.endswith(b"bad certificate: none of its subject alternative names is allowed\n")
    assert incidents == [(RequestRefused.CERTIFICATE_NAME, "127.0.0.1", "")]


@VERSIONS
async def test_one_of_several_curves_is_used(version):
    """With several curves, the handshake uses one that the client supports, and fails without one."""
    tls = server_tls(curve_preferences=["X25519", "CurveP256"])
    incidents = Incidents()
    async with serve(APP, tls=tls, incidents=incidents) as connect:
        for curve in ("prime256v1", "secp384r1"):
            options = trusting(version=version)
            options["ssl"].set_ecdh_curve(curve)
            assert bool(await alert(connect, **options)) is (curve == "secp384r1")
    assert [incident for incident, _, _ in incidents] == [HandshakeFailed.NOTHING_SHARED]


async def test_invalid_data_after_the_handshake_ends_the_connection():
    """A connection on which data can't be decrypted is closed, after an alert."""
    async with serve(APP, tls=server_tls()) as connect:
        _, reader, writer = await connect_with_tls(connect)
        writer.write(b"\x17\x03\x03\x00\x20" + bytes(32))
        await read_until_closed(reader)
