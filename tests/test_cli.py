import contextlib
import json
import logging
import os
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import bcrypt
import httpx
import pytest
import stamina
import stamina.instrumentation
import structlog
from certificates import authority, identity, write
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families
from socket_activation import passing

from exporter import cli
from exporter.cli import main

KEY = "KEY0123-secret"
PATIENCE = 20
"""Seconds that nothing in here takes."""


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """Work in an empty directory, with no variable of ours set, and leave logging and retries as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    for name in [name for name in os.environ if name.upper().startswith("TELNYX_")]:
        monkeypatch.delenv(name)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with stamina.set_testing(True, attempts=1):
        yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    stamina.instrumentation.set_on_retry_hooks(None)


@pytest.fixture(autouse=True)
def bounded():
    """Interrupt a command that does not end by itself, which a serving one takes for an orderly end."""
    watchdog = threading.Timer(PATIENCE, os.kill, (os.getpid(), signal.SIGINT))
    watchdog.start()
    yield
    watchdog.cancel()
    watchdog.join()


@pytest.fixture
def telnyx():
    """Return an API that has no connections and keeps what it was asked."""
    with _Api(("127.0.0.1", 0), _Handler) as api:
        thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield api
        api.shutdown()
        thread.join()


class _Api(ThreadingHTTPServer):
    def __init__(self, *args):
        super().__init__(*args)
        self.paths = []
        self.queries = []
        self.keys = []

    @property
    def url(self):
        """Return the base URL."""
        return f"http://127.0.0.1:{self.server_port}/v2"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        """Answer with an empty list."""
        self.server.paths.append(urlsplit(self.path).path)
        self.server.queries.append(dict(parse_qsl(urlsplit(self.path).query)))
        self.server.keys.append(self.headers["authorization"])
        body = b'{"data": [], "meta": {"total_pages": 1, "total_results": 0, "page_number": 1, "page_size": 250}}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Be silent."""


@pytest.fixture
def listener():
    """Return a socket that listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def closed_port():
    """Return a port that is ours and refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def families_of(text):
    """Return the samples of each family, as the reference parser reads them."""
    return {family.name: family.samples for family in text_string_to_metric_families(text)}


def names_of(text):
    """Return the names that samples have."""
    return {sample.name for samples in families_of(text).values() for sample in samples}


def refusal(capsys, *arguments, status=2):
    """Return the one line that the command ends with, at this status."""
    assert main(arguments) == status
    out, err = capsys.readouterr()
    assert not out
    (line,) = err.splitlines()
    assert line.startswith("telnyx-exporter: ")
    return line.removeprefix("telnyx-exporter: ")


def start(*arguments, **streams):
    """Start the command as a process."""
    return subprocess.Popen([sys.executable, "-m", "exporter", *arguments], text=True, **streams)


@contextlib.contextmanager
def serving(*arguments):
    """Start the exporter as a process; give it and what its log says once it listens. It is ended in any case."""
    with start("--web.listen-address=127.0.0.1:0", "--log.format=json", *arguments, stderr=subprocess.PIPE) as process:
        try:
            yield process, next(record for record in map(json.loads, process.stderr) if record["msg"] == "listening")
        finally:
            process.kill()


# What can't be used


@pytest.mark.parametrize("arguments", [[], ["--once"], ["--check-config"]], ids=["serve", "once", "check"])
def test_key_is_asked_for(capsys, arguments):
    """Without a key, one line tells the three ways to go on."""
    line = refusal(capsys, *arguments)
    assert all(way in line for way in ("TELNYX_API_KEY", "--telnyx.api-key-file", "--demo"))


def test_bad_flag_is_refused(capsys):
    """What is wrong with a flag is one line for whoever typed it, not a log line."""
    assert refusal(capsys, "--demo", "--cache.tll=1s") == "unknown flag --cache.tll; did you mean --cache.ttl?"


@pytest.mark.parametrize("how", [[], ["--once"], ["--check-config"]], ids=["serve", "once", "check"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory"),
        (b"", "is empty"),
        (b"KEY0123 hush", "contains white space"),
        (b"\xff", "a character outside ASCII"),
    ],
    ids=["missing", "empty", "white-space", "binary"],
)
def test_bad_key_file_is_refused(capsys, how, content, problem):
    """A key file that can't be used is one line with flag, file and reason, and none of its content."""
    if content is not None:
        Path("key").write_bytes(content)
    line = refusal(capsys, "--telnyx.api-key-file=key", *how)
    assert line.startswith("--telnyx.api-key-file='key': ")
    assert problem in line
    assert "hush" not in line


def test_bad_key_file_is_not_made_up_for(capsys, monkeypatch):
    """A key file that can't be used is refused even if there is a key in the environment."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    assert refusal(capsys, "--telnyx.api-key-file=key").startswith("--telnyx.api-key-file='key': ")


def test_port_in_use_is_refused(capsys, listener):
    """A port that is taken is one line, before anything else is done; the status says that it may pass."""
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    line = refusal(capsys, "--demo", f"--web.listen-address={address}", status=1)
    assert line.startswith(f"--web.listen-address={address!r}: Address already in use")


@pytest.mark.parametrize(
    "host", ["no-such-host.invalid", "192.0.2.1", "a..b", "x" * 64], ids=["unknown", "not-ours", "no-name", "too-long"]
)
def test_address_that_is_not_ours_is_refused(capsys, host):
    """A host that can't be resolved, or isn't this one, is one line."""
    line = refusal(capsys, "--demo", f"--web.listen-address={host}:0", status=1)
    assert line.startswith(f"--web.listen-address='{host}:0': ")


@pytest.mark.parametrize("flag", ["--web.config.file", "--telnyx.api-key-file"])
def test_no_file_is_refused(capsys, flag):
    """A file whose name is empty, as a shell's unset variable gives it, is one line, not a start without it."""
    assert refusal(capsys, "--demo", f"{flag}=").startswith(f"{flag}='': must be a path")


@pytest.mark.parametrize("how", [[], ["--once"], ["--check-config"]], ids=["serve", "once", "check"])
def test_bad_web_configuration_is_refused(capsys, how):
    """A web configuration that can't be used is one line with flag, file, key and reason, whatever is to be done."""
    Path("web.yml").write_text("tls_server_config:\n  cert_filse: x\n", encoding="utf-8")
    line = refusal(capsys, "--demo", "--web.config.file=web.yml", *how)
    assert line == "--web.config.file='web.yml': tls_server_config.cert_filse: unknown key"


# --web.config.file


CA = authority("ca")
TRUST = ssl.create_default_context(cadata=CA.pem)
OLD, NEW = (bcrypt.hashpw(word, bcrypt.gensalt(4)).decode() for word in (b"old", b"new"))
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"


def renew(folder):
    """Write a new certificate and its key."""
    write(folder, identity("server", x509.DNSName("localhost"), by=CA))


def test_web_configuration_changes_while_it_is_scraped(tmp_path):
    """Certificate and users are renewed without a restart and without a scrape that fails."""
    config = tmp_path / "web.yml"
    config.write_text(f"{TLS}basic_auth_users: {{old: {OLD}}}\n")
    renew(tmp_path)
    with serving("--demo", "--web.config.file=web.yml") as (_, listening), httpx.Client(verify=TRUST) as kept:
        url = listening["metrics"].replace("127.0.0.1", "localhost")
        assert url.startswith("https://")
        assert kept.get(url, auth=("new", "new")).status_code == 401
        assert kept.get(url.replace("/metrics", "/-/healthy")).status_code == 200
        renew(tmp_path)
        config.write_text(f"{TLS}basic_auth_users: {{old: {OLD}, new: {NEW}}}\n")
        while kept.get(url, auth=("new", "new")).status_code != 200:
            assert kept.get(url, auth=("old", "old")).status_code == 200
            assert httpx.get(url, auth=("old", "old"), verify=TRUST).status_code == 200
        assert httpx.get(url, auth=("new", "new"), verify=TRUST).status_code == 200


def test_web_configuration_that_breaks_is_told(tmp_path):
    """A file that can't be used any more changes nothing but the log and a metric."""
    config = tmp_path / "web.yml"
    config.write_text(TLS)
    renew(tmp_path)
    with serving("--demo", "--web.config.file=web.yml") as (process, listening), httpx.Client(verify=TRUST) as client:
        url = listening["metrics"].replace("127.0.0.1", "localhost")

        def successful():
            return families_of(client.get(url).text)["telnyx_exporter_config_last_reload_successful"][0].value

        assert successful() == 1
        config.write_text("junk")
        while successful() == 1:
            pass
        process.terminate()
        said = [json.loads(line)["msg"] for line in process.stderr]
    assert said.count("web configuration is invalid, keeping the previous one") == 1
    assert process.returncode == 0


def test_web_configuration_without_tls(tmp_path):
    """Users alone are served in plain HTTP."""
    word = bcrypt.hashpw(b"word", bcrypt.gensalt(4)).decode()
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{user: {word}}}\n")
    with serving("--demo", "--web.config.file=web.yml") as (_, listening):
        url = listening["metrics"]
        assert url.startswith("http://")
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, auth=("user", "word")).status_code == 200


# What is read again


def metrics_of(listening):
    """Return what is scraped."""
    return httpx.get(listening["metrics"], trust_env=False, timeout=PATIENCE).text


def said(process, *messages):
    """Return the next record of the log with one of these messages."""
    return next(record for record in map(json.loads, process.stderr) if record["msg"] in messages)


READ, REFUSED = "configuration reloaded", "configuration is invalid, keeping the previous one"


def test_sighup_reads_the_settings_again(telnyx, tmp_path):
    """Key, URL, filter, choice of metrics and log are as `.env` says after SIGHUP; counts go on, and nothing ends."""
    dotenv = tmp_path / ".env"
    first = f"TELNYX_API_KEY=first\nTELNYX_BASE_URL={telnyx.url}\n"
    dotenv.write_text(first)
    with serving() as (process, listening):
        said(process, "refreshed")
        dotenv.write_text(
            f"TELNYX_API_KEY=second\nTELNYX_BASE_URL={telnyx.url}/other\nTELNYX_EXPORTER_TELNYX__FILTER__FQDN=sip.example\n"
            "TELNYX_EXPORTER_METRICS__ALLOW=telnyx_refreshes_total\nTELNYX_EXPORTER_LOG__LEVEL=debug\n"
        )
        process.send_signal(signal.SIGHUP)
        said(process, READ)
        assert "page" in said(process, "request")  # at debug
        shown = families_of(metrics_of(listening))
        assert shown.keys() == {"telnyx_up", "telnyx_refreshes"}
        assert shown["telnyx_refreshes"][0].value == 2
        process.terminate()
        process.stderr.read()
    assert process.returncode == 0
    assert telnyx.keys == ["Bearer first", "Bearer second"]
    assert telnyx.paths == ["/v2/credential_connections", "/v2/other/credential_connections"]
    assert [query.get("filter[fqdn]") for query in telnyx.queries] == [None, "sip.example"]


def test_settings_that_break_are_told(telnyx, tmp_path):
    """Settings that can't be used, or change what only a start can, leave all as it was; log and metric say so."""
    dotenv = tmp_path / ".env"
    good = f"TELNYX_API_KEY=KEY\nTELNYX_BASE_URL={telnyx.url}\n"
    dotenv.write_text(good)
    with serving() as (process, listening):
        for line, problem in (
            ("TELNYX_EXPORTER_CACHE__TTL=soon", "TELNYX_EXPORTER_CACHE__TTL in .env='soon': must be a duration"),
            ("TELNYX_EXPORTER_WEB__TELEMETRY_PATH=/x", "--web.telemetry-path can't change while the exporter runs"),
            ("TELNYX_EXPORTER_TELNYX__API_KEY_FILE=none", "--telnyx.api-key-file='none': No such file or directory"),
            (f"TELNYX_API_KEY='{KEY} {KEY}'", "TELNYX_API_KEY in .env: contains white space"),
        ):
            dotenv.write_text(good + line)
            process.send_signal(signal.SIGHUP)
            told = said(process, READ, REFUSED)["problem"]
            assert told.startswith(problem)
            assert KEY not in told
            assert "telnyx_exporter_config_last_reload_successful 0.0" in metrics_of(listening)
        dotenv.write_text(good)
        process.send_signal(signal.SIGHUP)
        assert said(process, READ, REFUSED)["msg"] == READ
        assert "telnyx_exporter_config_last_reload_successful 1.0" in metrics_of(listening)


def test_post_reads_all_again(tmp_path):
    """`POST /-/reload` reads settings and web configuration, is for who may scrape, and says how it went."""
    config = tmp_path / "web.yml"
    config.write_text(f"basic_auth_users: {{old: {OLD}}}\n")
    with (
        serving("--demo", "--web.enable-lifecycle", "--web.config.file=web.yml") as (_, listening),
        httpx.Client(base_url=listening["page"], trust_env=False, timeout=PATIENCE) as client,
    ):
        assert client.post("/-/reload").status_code == 401
        config.write_text(f"basic_auth_users: {{new: {NEW}}}\n")
        assert client.post("/-/reload", auth=("old", "old")).text == "reloaded\n"
        assert client.get("/metrics", auth=("old", "old")).status_code == 401
        config.write_text("nonsense: 1\n")
        (tmp_path / ".env").write_text("TELNYX_EXPORTER_CACHE__TTL=soon\n")
        answer = client.post("/-/reload", auth=("new", "new"))
    assert answer.status_code == 500
    assert answer.text == (
        "settings: kept the previous one, TELNYX_EXPORTER_CACHE__TTL in .env='soon': must be a duration such as 90s, "
        "1m30s or 500ms; web: kept the previous one, web.yml: nonsense: unknown key\n"
    )


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.2])
def test_sighup_waits_for_the_start(moment):
    """SIGHUP while the program is being loaded is no end of it."""
    with start("--demo", "--web.listen-address=127.0.0.1:0", "--log.format=json", stderr=subprocess.PIPE) as process:
        try:
            status = Path(f"/proc/{process.pid}/status")
            while "SigBlk:\t0000000000000001\n" not in status.read_text():  # SIGHUP alone; libraries block all at times
                pass
            time.sleep(moment)
            process.send_signal(signal.SIGHUP)
            said(process, "listening")
            said(process, READ)
        finally:
            process.kill()


def test_a_pipe_is_not_waited_for(tmp_path):
    """A `.env` or a web configuration that became a pipe is refused, and scrapes go on."""
    (tmp_path / "web.yml").write_text("")
    with serving("--demo", "--web.enable-lifecycle", "--web.config.file=web.yml") as (_, listening):
        (tmp_path / "web.yml").unlink()
        for name in (".env", "web.yml"):
            os.mkfifo(tmp_path / name)
        answer = httpx.post(f"{listening['page']}-/reload", timeout=PATIENCE)
        assert answer.status_code == 500
        assert answer.text.count("is not a regular file") == 2
        assert len(families_of(metrics_of(listening))["telnyx_connection_active"]) == 55


def test_key_that_breaks_is_told(telnyx, tmp_path):
    """A key file that can't be used any more shows in the metric, until it can be."""
    (tmp_path / "key").write_text(KEY)
    flags = ["--telnyx.api-key-file=key", f"--telnyx.base-url={telnyx.url}", "--cache.ttl=0"]
    with serving(*flags) as (_, listening):
        for content, value in (("", "0.0"), (KEY, "1.0")):
            (tmp_path / "key").write_text(content)
            while f"telnyx_exporter_config_last_reload_successful {value}" not in metrics_of(listening):
                pass


def test_a_demo_goes_on(tmp_path):
    """The made-up account is the same one after SIGHUP."""
    with serving("--demo") as (process, listening):
        said(process, "refreshed")
        (tmp_path / ".env").write_text("TELNYX_EXPORTER_METRICS__DENY=.*_info\nTELNYX_BASE_URL=https://x.invalid\n")
        process.send_signal(signal.SIGHUP)
        said(process, READ)
        assert len(families_of(metrics_of(listening))["telnyx_connection_active"]) == 55


# Listening


def test_all_addresses_are_served(tmp_path):
    """Every address is listened on and has a line of its own in the log; a path is removed in the end."""
    path = tmp_path / "telnyx.sock"
    with serving("--demo", "--web.listen-address=[::1]:0", f"--web.listen-address=unix://{path}") as (process, first):
        second, third = said(process, "listening"), said(process, "listening")
        for listening in (first, second):
            assert len(families_of(metrics_of(listening))["telnyx_connection_active"]) == 55
        assert (third["socket"], third["metrics"]) == (str(path), "/metrics")
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://exporter/-/healthy").text == "healthy\n"
        process.terminate()
        process.stderr.read()
    assert process.returncode == 0
    assert not path.exists()


def test_one_address_that_cannot_be_had_is_enough(capsys, listener, tmp_path):
    """Where one of several addresses is taken nothing is served, and nothing is left behind."""
    address, path = f"127.0.0.1:{listener.getsockname()[1]}", tmp_path / "telnyx.sock"
    line = refusal(capsys, "--demo", f"--web.listen-address=unix://{path},{address}", status=1)
    assert line.startswith(f"--web.listen-address={address!r}: Address already in use")
    assert not path.exists()


@pytest.mark.parametrize(
    "path", ["/nowhere/telnyx.sock", "/" + "x" * 200, "/"], ids=["no folder", "too long", "folder"]
)
def test_path_that_cannot_be_had_is_refused(capsys, path):
    """A path that can't be listened on is one line."""
    line = refusal(capsys, "--demo", f"--web.listen-address=unix://{path}", status=1)
    assert line.startswith(f"--web.listen-address='unix://{path}': ")


def test_sockets_of_systemd_are_served(tmp_path):
    """With `--web.systemd-socket` the sockets that systemd passed are served, and stay where systemd has them."""
    path = tmp_path / "telnyx.sock"
    command = [sys.executable, "-m", "exporter", "--demo", "--web.systemd-socket", "--log.format=json"]
    with socket.create_server(("127.0.0.1", 0)) as one, socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with passing(*command, sockets=[one, other], stderr=subprocess.PIPE) as process:
            try:
                listening = said(process, "listening")
                assert listening["page"] == f"http://127.0.0.1:{one.getsockname()[1]}/"
                assert said(process, "listening")["socket"] == str(path)
                assert len(families_of(metrics_of(listening))["telnyx_connection_active"]) == 55
                process.terminate()
                process.stderr.read()
            finally:
                process.kill()
        assert process.returncode == 0
        assert path.is_socket()


def test_no_socket_of_systemd_is_refused(capsys):
    """Started without the socket unit, one line says what to start."""
    assert refusal(capsys, "--demo", "--web.systemd-socket") == (
        "--web.systemd-socket: systemd passed no socket; start the socket unit, not only the service"
    )


def test_socket_of_systemd_that_does_not_listen_is_refused():
    """A socket that gives no connections is one line."""
    command = [sys.executable, "-m", "exporter", "--demo", "--web.systemd-socket"]
    with (
        socket.socket(type=socket.SOCK_DGRAM) as one,
        passing(*command, sockets=[one], stderr=subprocess.PIPE) as process,
    ):
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert err == (
        "telnyx-exporter: --web.systemd-socket: systemd passed a socket that does not listen; "
        "use ListenStream= and Accept=no\n"
    )


# What httpx takes from the environment


@pytest.mark.parametrize("how", [[], ["--once"], ["--check-config"]], ids=["serve", "once", "check"])
@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        ("HTTPS_PROXY=127.0.0.1:9:CANARY", "is invalid"),
        ("https_proxy=http://user:CANARY#CANARY@127.0.0.1:9", "is invalid"),
        ("ALL_PROXY=socks5://CANARY@127.0.0.1:9", "SOCKS is not supported"),
        ("SSL_CERT_FILE=/nowhere/CANARY", "is invalid"),
        ("SSL_CERT_FILE=/dev/null", "is invalid"),
    ],
    ids=["two ports", "fragment", "SOCKS", "no CAs", "empty CAs"],
)
def test_proxy_that_cannot_be_used_is_refused(capsys, monkeypatch, how, variable, reason):
    """A variable that httpx can't use is one line that names it, and not its value, which can hold a password."""
    name, _, value = variable.partition("=")
    for other in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(other, raising=False)
        monkeypatch.delenv(other.lower(), raising=False)
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    monkeypatch.setenv(name, value)
    flags = ["--telnyx.base-url=https://no-such-host.invalid", "--web.listen-address=127.0.0.1:0", *how]
    assert refusal(capsys, *flags) == f"{name}: {reason}"


# --check-config


@pytest.mark.parametrize("source", ["variable", "file", ".env", "demo"])
def test_good_configuration_is_ok(capsys, monkeypatch, source):
    """`--check-config` says ok and asks nobody."""
    monkeypatch.setenv("TELNYX_BASE_URL", "https://no-such-host.invalid")
    if source == "variable":
        monkeypatch.setenv("TELNYX_API_KEY", KEY)
    elif source == ".env":
        Path(".env").write_text(f"TELNYX_API_KEY={KEY}\n", encoding="utf-8")
    else:
        Path("key").write_text(KEY, encoding="utf-8")
    arguments = {"file": ["--telnyx.api-key-file=key"], "demo": ["--demo"]}.get(source, [])
    assert main(["--check-config", *arguments]) == 0
    assert capsys.readouterr() == ("ok\n", "")


@pytest.mark.parametrize("flag", ["--telnyx.page-size=0", "--metrics.allow=(", "--web.telemetry-path=/"])
def test_bad_configuration_is_not_ok(capsys, flag):
    """`--check-config` refuses what a run would."""
    assert refusal(capsys, "--check-config", "--demo", flag).startswith(flag.partition("=")[0])


# --once


def test_demo_is_polled_once(capsys):
    """`--once --demo` prints 55 connections that the reference parser reads, and nothing about the process."""
    assert main(["--once", "--demo"]) == 0
    out, err = capsys.readouterr()
    families = families_of(out)
    assert [sample.value for sample in families["telnyx_up"]] == [1.0]
    assert len(families["telnyx_connection_active"]) == 55
    assert sum(sample.value for sample in families["telnyx_connections"]) == 55
    assert "telnyx_exporter_build_info" in families
    assert not [name for name in families if name.startswith(("process_", "python_"))]
    assert "user_name=" not in out
    assert "connections=55" in err


def test_failed_poll_says_why(capsys, closed_port):
    """`--once` that can't reach the API has status 1, and still prints `telnyx_up` and the reason."""
    Path(".env").write_text(f"TELNYX_API_KEY={KEY}\n", encoding="utf-8")
    assert main(["--once", f"--telnyx.base-url=http://127.0.0.1:{closed_port}", "--log.format=json"]) == 1
    out, err = capsys.readouterr()
    families = families_of(out)
    assert [sample.value for sample in families["telnyx_up"]] == [0.0]
    failures = {sample.labels.get("reason"): sample.value for sample in families["telnyx_refresh_failures"]}
    assert {reason for reason, value in failures.items() if value} == {"connection"}
    assert not [name for name in names_of(out) if name.startswith("telnyx_connection_")]
    assert KEY not in out + err
    (record,) = map(json.loads, err.splitlines())
    assert (record["level"], record["reason"]) == ("warning", "connection")


def test_poll_is_bounded(capsys, monkeypatch, listener):
    """An API that never answers is given up after `--telnyx.timeout`."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert main(["--once", f"--telnyx.base-url={base_url}", "--telnyx.timeout=100ms"]) == 1
    out = capsys.readouterr().out
    assert 'telnyx_refresh_failures_total{reason="timeout"} 1.0' in out
    assert [sample.value < 2 for sample in families_of(out)["telnyx_refresh_duration_seconds"]] == [True]


def test_settings_reach_the_request(monkeypatch, telnyx):
    """Base URL, key, page size and filters are what Telnyx is asked with."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    monkeypatch.setenv("TELNYX_BASE_URL", telnyx.url)
    flags = {"connection-name": "acme", "fqdn": "sip.example", "outbound-voice-profile-id": "7"}
    filters = [f"--telnyx.filter.{flag}={value}" for flag, value in flags.items()]
    assert main(["--once", "--telnyx.page-size=7", *filters]) == 0
    (query,) = telnyx.queries
    assert query == {
        "page[number]": "1",
        "page[size]": "7",
        "sort": "created_at",
        "filter[connection_name][contains]": "acme",
        "filter[fqdn]": "sip.example",
        "filter[outbound_voice_profile_id]": "7",
    }
    assert telnyx.keys == [f"Bearer {KEY}"]


def test_key_file_wins_over_variable(monkeypatch, telnyx):
    """Of a key in a file and one in the environment, the file's is used."""
    monkeypatch.setenv("TELNYX_API_KEY", "KEY-of-the-environment")
    Path("key").write_text(f"{KEY}\n", encoding="utf-8")
    assert main(["--once", f"--telnyx.base-url={telnyx.url}", "--telnyx.api-key-file=key"]) == 0
    assert telnyx.keys == [f"Bearer {KEY}"]


def test_demo_needs_neither_key_nor_account(capsys, monkeypatch, telnyx):
    """With `--demo`, the key and the API that are set are left alone."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    monkeypatch.setenv("TELNYX_BASE_URL", telnyx.url)
    assert main(["--once", "--demo", "--telnyx.api-key-file=missing"]) == 0
    assert not telnyx.queries
    assert "telnyx_up 1.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (
            ["--metrics.allow=telnyx_connection_active|telnyx_exporter_build_info|telnyx_connection"],
            {"telnyx_connection_active", "telnyx_exporter_build_info"},
        ),
        (
            ["--metrics.allow=telnyx_refreshes_total|telnyx_connections"],
            {"telnyx_refreshes_total", "telnyx_connections"},
        ),
        (["--metrics.deny=.*"], set()),
        (
            [
                "--metrics.allow=telnyx_(connection_active|refreshes_total|connections)",
                "--metrics.deny=.*_(active|total)",
            ],
            {"telnyx_connections"},
        ),
    ],
    ids=["allow", "allow-counter", "deny-all", "deny-wins"],
)
def test_only_chosen_metrics_are_shown(capsys, flags, names):
    """`--metrics.allow` and `--metrics.deny` choose by whole name, among all metrics, and `telnyx_up` always is."""
    assert main(["--once", "--demo", *flags]) == 0
    assert names_of(capsys.readouterr().out) == names | {"telnyx_up"}


def test_denied_metrics_are_all_that_is_missing(capsys):
    """`--metrics.deny` takes away what it names and nothing else."""
    assert main(["--once", "--demo"]) == 0
    everything = names_of(capsys.readouterr().out)
    assert (
        main(["--once", "--demo", "--metrics.deny=telnyx_connection_(in|out)bound_.*|telnyx_up|telnyx_api_rate"]) == 0
    )
    shown = names_of(capsys.readouterr().out)
    missing = everything - shown
    assert missing
    assert all(name.startswith(("telnyx_connection_inbound_", "telnyx_connection_outbound_")) for name in missing)
    assert shown < everything


def test_sensitive_labels_are_shown_when_asked_for(capsys):
    """A sensitive field that is named is a label, once, of one family."""
    assert main(["--once", "--demo", "--metrics.sensitive-labels=user_name,user_name"]) == 0
    out = capsys.readouterr().out
    assert len(families_of(out)["telnyx_connection_active"]) == 55
    infos = [line for line in out.splitlines() if line.startswith("telnyx_connection_info{")]
    assert {line.count("user_name=") for line in infos} == {1}


@pytest.mark.parametrize("how", ["--once", "--check-config"])
def test_full_standard_output_is_refused(capsys, monkeypatch, how):
    """An answer that can't be written is one line that says why, and not success."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main([how, "--demo", "--log.level=error"]) == 2
        with contextlib.suppress(OSError):
            full.flush()
    assert capsys.readouterr().err == "telnyx-exporter: standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("kind", "flags"),
    [("full", ["--metrics.deny=.*"]), ("pipe", []), ("closed", [])],
    ids=["full-with-little", "pipe", "closed"],
)
def test_lost_standard_output_is_one_line(kind, flags):
    """A process whose output is full, closed, or read by nobody ends with one line, at status 2."""
    if kind == "full":
        stdout = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, stdout = os.pipe()
        os.close(reader)
    arguments = ["-m", "exporter", "--once", "--demo", "--log.level=error", *flags]
    command = [sys.executable, *arguments]
    if kind == "closed":
        command = ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *command]
    try:
        process = subprocess.run(
            command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
        )
    finally:
        os.close(stdout)
    (line,) = process.stderr.splitlines()
    assert line.startswith("telnyx-exporter: standard output: ")
    assert process.returncode == 2


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"], ids=["closed", "full"])
def test_lost_log_leaves_the_metrics_alone(redirection):
    """Without a standard error, standard output holds the metrics and nothing else."""
    command = f"exec {shlex.quote(sys.executable)} -m exporter --once --demo {redirection}"
    process = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True)
    families = families_of(process.stdout)
    assert len(families["telnyx_connection_active"]) == 55
    assert all(name.startswith("telnyx_") for name in families)


def test_error_that_cannot_be_written_is_lost_alone(monkeypatch):
    """With a standard error that is full, the status still says that something is wrong, and nothing fails by it."""
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 -- a device
        monkeypatch.setattr(sys, "stderr", full)
        assert main([]) == 2


def test_interrupted_poll_has_no_traceback(listener, monkeypatch):
    """Control-C while Telnyx does not answer ends the process without a traceback, and not with success."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.settimeout(PATIENCE)
    process = start("--once", f"--telnyx.base-url={base_url}", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        with listener.accept()[0]:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert "Traceback" not in err
    assert process.returncode in {-signal.SIGINT, 128 + signal.SIGINT}


def test_interrupt_has_the_shells_status(monkeypatch):
    """Control-C at any moment ends with the status that shells give to it."""

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "load_settings", interrupted)
    assert cli.main([]) == 128 + signal.SIGINT


# Serving


@pytest.fixture
def told():
    """Return a stream to log to, and a function that reads its lines as they come."""
    reader, writer = os.pipe()
    with open(reader, encoding="utf-8") as lines, open(writer, "w", encoding="utf-8", buffering=1) as stream:  # noqa: PTH123 -- descriptors
        yield stream, lines


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_metrics_are_served_until_told_to_stop(told, number):
    """The exporter serves the metrics, the page and health until SIGTERM or SIGINT, which end it with status 0."""
    stream, lines = told
    records, answers = [], {}

    def visit():
        for record in map(json.loads, lines):
            records.append(record)
            if record["msg"] == "listening":
                try:
                    with httpx.Client(timeout=PATIENCE, trust_env=False) as client:
                        for url in (record["metrics"], record["page"], record["page"] + "-/healthy"):
                            answers[url] = client.get(url)
                finally:
                    os.kill(os.getpid(), number)

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        with contextlib.redirect_stderr(stream):
            status = main(
                ["--demo", "--web.listen-address=127.0.0.1:0", "--web.telemetry-path=/t", "--log.format=json"]
            )
    finally:
        stream.close()
        thread.join(PATIENCE)
    assert status == 0
    assert [answer.status_code for answer in answers.values()] == [200] * 3
    metrics, page, _ = answers
    assert metrics == page + "t"
    families = families_of(answers[metrics].text)
    assert len(families["telnyx_connection_active"]) == 55
    assert {"telnyx_up", "process_start_time_seconds", "python_info"} <= families.keys()
    demo, listening, refreshed, *_ = records
    assert "no Telnyx account is read" in demo["msg"]
    assert set(listening) == {"time", "level", "msg", "version", "page", "metrics"}
    assert refreshed["connections"] == 55
    assert records[-1]["msg"] == "stopping"
    assert {record["level"] for record in records} == {"info"}


def test_list_is_read_at_the_start(monkeypatch, telnyx, told):
    """The list is read before anyone scrapes, with the account's key, and a chosen few metrics are served."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    stream, lines = told
    messages = []

    def wait():
        for record in map(json.loads, lines):
            messages.append(record["msg"])
            if record["msg"] == "refreshed":
                os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        with contextlib.redirect_stderr(stream):
            status = main(
                ["--web.listen-address=127.0.0.1:0", f"--telnyx.base-url={telnyx.url}", "--log.format=json"],
            )
    finally:
        stream.close()
        thread.join(PATIENCE)
    assert status == 0
    assert messages == ["listening", "refreshed", "stopping"]
    assert telnyx.keys == [f"Bearer {KEY}"]


def test_process_ends_as_soon_as_it_is_told():
    """A process that is told to stop as soon as it listens ends with status 0 and without a traceback."""
    with serving("--demo") as (process, _):
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert json.loads(err.splitlines()[-1])["msg"] == "stopping"


def test_process_serves(monkeypatch):
    """The process serves what it shows, by the choice made, and ends with status 0."""
    monkeypatch.setenv("TELNYX_EXPORTER_METRICS__ALLOW", "telnyx_connection_active|telnyx_refreshes_total")
    with serving("--demo") as (process, listening):
        with httpx.Client(timeout=PATIENCE, trust_env=False) as client:
            answer = client.get(listening["metrics"])
            assert client.get(f"{listening['page']}-/ready").status_code == 200
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert answer.status_code == 200
    assert names_of(answer.text) == {"telnyx_connection_active", "telnyx_refreshes_total", "telnyx_up"}
    assert "Traceback" not in err
