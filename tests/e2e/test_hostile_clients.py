"""No client can keep Prometheus from scraping, however it behaves and even if both have the same address."""

import concurrent.futures
import contextlib
import re
import socket
import ssl
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import bcrypt
import pytest
from attacker import get, login
from certificates import authority, identity, write
from cryptography import x509
from programs import exporter, find_program, sandbox, wait_until

from exporter.collectors.registry import COLLECTORS
from exporter.sandbox import Account

DEMO = ("--demo", *(f"--no-collector.{each.name}" for each in COLLECTORS if not each.on_by_default))
"""Flags of a demo with the collectors that are on by default. A larger response takes more time and memory."""
HELPERS = Path(__file__).parents[1] / "helpers"
KEY = "KEY-of-tests"
SCRAPES = 20
TIMEOUT = 10.0
"""Seconds that a scrape may take: the default of Prometheus."""
MAX_GROWTH = 64 * 2**20
"""Bytes by which the memory of the exporter may grow during an attack."""


def port_of(url):
    return int(url.rpartition(":")[2])


@contextlib.contextmanager
def attacker(behavior, port, count, source="127.0.0.1"):
    """Run this many hostile clients in another process, and yield when all of them have started."""
    command = (sys.executable, str(HELPERS / "attacker.py"), behavior, str(port), str(count), source)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def exchange(port, *headers, path="/metrics", timeout=TIMEOUT, wrap=lambda client: client):
    """Send a request on a new connection, and return the response, or None if there is none in time.

    `wrap` adds TLS to the connection.
    """
    deadline, received = time.monotonic() + timeout, b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connected, wrap(connected) as client:
            client.sendall(get(path, "Connection: close", *headers))
            while piece := client.recv(2**16):
                received += piece
                client.settimeout(max(0.001, deadline - time.monotonic()))
    except OSError:
        return None
    return received.decode("latin-1") if received.startswith(b"HTTP/1.1 ") else None


def lost_scrapes(port, scrapes=SCRAPES):
    """Scrape and probe several times, and return how many got no response."""
    responses = []
    for _ in range(scrapes):
        responses += [exchange(port), exchange(port, path="/-/healthy")]
        time.sleep(0.1)
    return len([response for response in responses if response is None or " 200 OK" not in response[:20]])


def resident_memory(port):
    """Return the exporter's resident memory in bytes."""
    return float(re.search(r"^process_resident_memory_bytes (\S+)", exchange(port), re.MULTILINE)[1])


@pytest.mark.parametrize(
    ("behavior", "count"),
    [("send_nothing", 1000), ("send_one_request", 600), ("send_slowly", 600), ("read_slowly", 1000)],
)
def test_no_scrape_is_lost(tmp_path, behavior, count):
    """Hundreds of idle, slow and reconnecting clients cost Prometheus no scrape and no health check, and no memory."""
    with exporter(tmp_path, *DEMO) as url:
        port = port_of(url)
        before = resident_memory(port)
        with attacker(behavior, port, count):
            assert lost_scrapes(port) == 0
            assert resident_memory(port) < before + MAX_GROWTH
        closed = re.findall(r'\ntelnyx_exporter_connections_closed_total{reason="(\w+)"} [1-9]', exchange(port))
        assert set(closed) & {"connection_limit", "unread_limit"}
    log = (tmp_path / "exporter.log").read_text()
    assert 1 <= log.count("client connection closed") <= 4
    assert "Traceback" not in log


def test_resets_take_no_memory(tmp_path):
    """Clients that reset thousands of connections cost Prometheus no scrape, and no memory."""
    with exporter(tmp_path, *DEMO) as url:
        port = port_of(url)
        before = resident_memory(port)
        with attacker("reset", port, 50):
            assert lost_scrapes(port, 50) == 0
            assert resident_memory(port) < before + MAX_GROWTH
    assert "Traceback" not in (tmp_path / "exporter.log").read_text()


def test_long_headers_take_little_time(tmp_path):
    """Clients that send headers as long lists, which take time to parse, cost Prometheus no scrape."""
    with exporter(tmp_path, *DEMO) as url, attacker("send_long_lists", port_of(url), 400, "127.0.0.2"):
        assert lost_scrapes(port_of(url), 10) == 0


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"], ids=["the same address", "another address"])
def test_the_status_page_delays_no_scrape(tmp_path, source):
    """Clients that open the status page of many connections all the time cost Prometheus no scrape, and no memory."""
    with (
        sandbox(Account(2000, step=0), KEY) as api,
        exporter(tmp_path, TELNYX_API_KEY=KEY, TELNYX_BASE_URL=api) as url,
    ):
        port = port_of(url)
        assert exchange(port, "Accept-Encoding: gzip") is not None
        before = resident_memory(port)
        with attacker("open_the_status_page", port, 200, source):
            assert lost_scrapes(port) == 0
            assert resident_memory(port) < before + MAX_GROWTH
    assert "Traceback" not in (tmp_path / "exporter.log").read_text()


def test_stop_while_clients_connect(tmp_path):
    """SIGTERM stops the exporter without an error while many clients open connections."""
    with contextlib.ExitStack() as stack:
        port = port_of(stack.enter_context(exporter(tmp_path, *DEMO)))
        with attacker("reset", port, 300):
            time.sleep(1)
            stack.close()
    log = (tmp_path / "exporter.log").read_text()
    assert log.endswith("msg=stopping\n")


def test_few_file_descriptors(tmp_path):
    """With few file descriptors, idle clients cost Prometheus no scrape."""
    limited = ("sh", "-c", 'ulimit -n 256; exec "$0" "$@"')
    with (
        exporter(tmp_path, *DEMO, "--cache.ttl=0", wrapper=limited) as url,
        attacker("send_nothing", port_of(url), 500),
    ):
        assert lost_scrapes(port_of(url)) == 0
        assert "\ntelnyx_up 1.0\n" in exchange(port_of(url))


SLOWHTTPTEST = {
    "slow headers": "-H -i 5",
    "slow bodies": "-B -i 5",
    "ranges": "-R -a 5 -b 3000",
    "slow reading": "-X -w 1 -y 20 -n 5 -z 10 -k 3",
}
"""The attacks of slowhttptest, with their flags."""


@pytest.mark.parametrize("mode", SLOWHTTPTEST)
def test_slowhttptest(tmp_path, mode):
    """The attacks of slowhttptest, each with a thousand connections for 15 seconds, cost Prometheus no scrape."""
    program = find_program("slowhttptest")
    with exporter(tmp_path, *DEMO) as url:
        port = port_of(url)
        before = resident_memory(port)
        flags = f"{SLOWHTTPTEST[mode]} -c 1000 -r 300 -l 15 -p 5 -u {url}/metrics"
        command = (program, *flags.split())
        end, lost, growth, scrapes = time.monotonic() + 15, 0, 0.0, 0
        while time.monotonic() < end:  # the program ends when all its connections are closed
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as attack:
                while attack.poll() is None:
                    lost, scrapes = lost + lost_scrapes(port, 3), scrapes + 3
                    growth = max(growth, resident_memory(port) - before)
    print(f"{mode}: {lost} of {scrapes} scrapes lost, memory grew by {growth / 2**20:.1f} MiB")  # noqa: T201 -- to read
    assert lost == 0
    assert growth < MAX_GROWTH


# Passwords


@pytest.mark.parametrize(
    ("source", "count", "timeout"),
    [("127.0.0.2", 300, 2.0), ("127.0.0.1", 100, 60.0)],
    ids=["another address", "the same address"],
)
def test_a_flood_of_wrong_passwords(tmp_path, source, count, timeout):
    """While another client guesses passwords from the start, the right one is accepted, and from then on at once.

    A client with another address is not delayed. One with the same address waits for its turn.
    """
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(9)).decode()
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{prometheus: {hashed}}}\n")
    with (
        exporter(tmp_path, *DEMO, "--web.config.file=web.yml") as url,
        attacker("guess_passwords", port_of(url), count, source),
    ):
        wait_until(lambda: "client request refused" in (tmp_path / "exporter.log").read_text(), "the attack")
        time.sleep(1)
        assert " 200 OK" in exchange(port_of(url), login("right"), timeout=timeout)[:20]
        for _ in range(5):
            assert " 200 OK" in exchange(port_of(url), login("right"), timeout=2.0)[:20]


# Half-closed connections and TLS


CA = authority("ca")


@pytest.fixture
def tls_port(tmp_path):
    """Yield the port of an exporter with TLS."""
    write(tmp_path, identity("server", x509.DNSName("localhost"), by=CA), CA)
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: server.crt, key_file: server.key}\n")
    with exporter(tmp_path, *DEMO, "--web.config.file=web.yml") as url:
        yield port_of(url)


def half_closing_scrape(port):
    """Send a request, end this side of the connection, and return whether the whole response arrives."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as client:
        client.sendall(get("/metrics"))
        client.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: client.recv(2**16), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    return len(body) == int(re.search(rb"content-length: (\d+)", head)[1])


def test_half_closed_scrapes(tmp_path):
    """Clients that end their side after the request get complete responses, even twenty at the same time."""
    with exporter(tmp_path, *DEMO) as url, concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert all(pool.map(half_closing_scrape, [port_of(url)] * 20))


def test_failed_handshakes(tmp_path, tls_port):
    """A failed TLS handshake gets an alert, plain HTTP a response, and each one line in the log."""
    old = ssl.create_default_context(cadata=CA.pem)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("ECDHE-ECDSA-AES128-SHA")
    for _ in range(3):
        with (
            socket.create_connection(("127.0.0.1", tls_port), timeout=TIMEOUT) as client,
            pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"),
        ):
            old.wrap_socket(client, server_hostname="localhost")
        assert exchange(tls_port).endswith("Client sent an HTTP request to an HTTPS server.\n")
    lines = [
        line for line in (tmp_path / "exporter.log").read_text().splitlines() if "client TLS handshake failed" in line
    ]
    assert [line.partition('msg="client TLS handshake failed" ')[2] for line in lines] == [
        "reason=nothing_shared client=127.0.0.1 detail=NO_SHARED_CIPHER",
        "reason=plain_http client=127.0.0.1 detail=HTTP_REQUEST",
    ]


def test_idle_handshakes(tls_port):
    """Clients that never complete the TLS handshake cost Prometheus no scrape."""
    trust = ssl.create_default_context(cadata=CA.pem)
    with attacker("send_nothing", tls_port, 1000):
        for _ in range(SCRAPES):
            scrape = exchange(tls_port, wrap=partial(trust.wrap_socket, server_hostname="localhost"))
            assert scrape.startswith("HTTP/1.1 200 OK")
