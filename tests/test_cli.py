import contextlib
import json
import os
import re
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
from certificates import authority, identity, write
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families
from socket_activation import passing

from exporter import cli
from exporter.build import BUILD_INFO
from exporter.cli import main
from exporter.collectors.collector import FanOutEndpoint
from exporter.collectors.registry import COLLECTORS
from exporter.sandbox.resources import RESOURCES
from exporter.telnyx.errors import Forbidden

MEASURES_COVERAGE = True
KEY = "KEY0123-secret"
DEMO_ROWS = 55 + 7 * 11
"""Credential connections of a demo, and connections of the seven other types."""
TIMEOUT = 20
"""Seconds after which a command or request that hangs is ended."""
ALWAYS_EXPOSED = {"telnyx_up", "telnyx_exporter_build_info"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """Run each test in an empty directory without `TELNYX_` variables, and restore logging and retries."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    for name in [name for name in os.environ if name.upper().startswith("TELNYX_")]:
        monkeypatch.delenv(name)
    with stamina.set_testing(True, attempts=1):
        yield
    stamina.instrumentation.set_on_retry_hooks(None)


@pytest.fixture(autouse=True)
def time_limit():
    """Interrupt a command that runs for longer than `TIMEOUT`. A serving command then shuts down normally."""
    watchdog = threading.Timer(TIMEOUT, os.kill, (os.getpid(), signal.SIGINT))
    watchdog.start()
    yield
    watchdog.cancel()
    watchdog.join()


@pytest.fixture
def telnyx():
    """Yield an API that records its requests. Its lists are empty until a test sets their rows."""
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
        self.refused = set()
        self.rows = []

    @property
    def url(self):
        """Return the base URL."""
        return f"http://127.0.0.1:{self.server_port}/v2"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        """Respond with a list, or refuse."""
        self.server.paths.append(urlsplit(self.path).path)
        self.server.queries.append(dict(parse_qsl(urlsplit(self.path).query)))
        self.server.keys.append(self.headers["authorization"])
        if urlsplit(self.path).path in self.server.refused:
            self.send_error(403)
            return
        meta = {"total_pages": 1, "total_results": len(self.server.rows), "page_number": 1, "page_size": 250}
        body = json.dumps({"data": self.server.rows, "meta": meta}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Log nothing."""


@pytest.fixture
def listener():
    """Yield a socket that listens but never responds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def closed_port():
    """Reserve a port that refuses connections, and yield it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def families_of(text):
    """Parse metrics with the reference parser and return the samples of each family."""
    return {family.name: family.samples for family in text_string_to_metric_families(text)}


def names_of(text):
    """Return the names of all samples."""
    return {sample.name for samples in families_of(text).values() for sample in samples}


def error_line(capsys, *arguments, status=2):
    """Run a command that fails with this exit status, and return its one-line error."""
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
    """Start the exporter and yield its process and its first "listening" log record. Kill the process at the end."""
    with start("--web.listen-address=127.0.0.1:0", "--log.format=json", *arguments, stderr=subprocess.PIPE) as process:
        try:
            yield process, next(record for record in map(json.loads, process.stderr) if record["msg"] == "listening")
        finally:
            process.kill()


# Invalid configuration


@pytest.mark.parametrize("arguments", [[], ["--once"], ["--check-config"]], ids=["serve", "once", "check"])
def test_missing_key_is_rejected(capsys, arguments):
    """Without an API key, the one-line error names the variable, the flags for key files, and `--demo`."""
    line = error_line(capsys, *arguments)
    assert line == "no API key: set TELNYX_API_KEY, --telnyx.api-key-file or --telnyx.api-key-files, or try --demo"


def test_unknown_flag_is_rejected(capsys):
    """An unknown flag prints one line for the user, not a log line."""
    assert error_line(capsys, "--demo", "--cache.tll=1s") == "unknown flag --cache.tll; did you mean --cache.ttl?"


@pytest.mark.parametrize("mode", [[], ["--once"], ["--check-config"]], ids=["serve", "once", "check"])
def test_settings_without_a_collector_are_rejected(capsys, monkeypatch, mode):
    """In every mode, settings that switch off all collectors print one line."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    line = error_line(capsys, "--no-collector.credential-connections", *mode)
    assert line == "no collector is enabled: set at least one, such as --collector.credential-connections"


@pytest.mark.parametrize("mode", [[], ["--once"], ["--check-config"]], ids=["serve", "once", "check"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory"),
        (b"", "is empty"),
        (b"KEY0123 hush", "contains white space"),
        (b"\xff", "a non-ASCII character"),
    ],
    ids=["missing", "empty", "white-space", "binary"],
)
def test_invalid_key_file_is_rejected(capsys, mode, content, problem):
    """An invalid key file prints one line with the flag, the file and the reason, but none of its content."""
    if content is not None:
        Path("key").write_bytes(content)
    line = error_line(capsys, "--telnyx.api-key-file=key", *mode)
    assert line.startswith("--telnyx.api-key-file='key': ")
    assert problem in line
    assert "hush" not in line


@pytest.mark.parametrize("mode", [[], ["--once"], ["--check-config"]], ids=["serve", "once", "check"])
def test_two_sources_of_keys_are_rejected(capsys, monkeypatch, mode):
    """In every mode, a key and a key file together print one line that names both, but not the key."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    Path("key").write_text(KEY)
    line = error_line(capsys, "--telnyx.api-key-file=key", *mode)
    assert line == "TELNYX_API_KEY and --telnyx.api-key-file can't be used together: choose one"


IN_USE = "address already in use: stop the other program or choose another port"


def test_port_in_use_is_rejected(capsys, listener):
    """A port in use prints one line before anything else starts. Status 1 means that a later attempt may succeed."""
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    line = error_line(capsys, "--demo", f"--web.listen-address={address}", status=1)
    assert line == f"--web.listen-address={address!r}: {IN_USE}"


@pytest.mark.parametrize(
    ("host", "problem"),
    [("no-such-host.invalid", "unknown host name: "), ("192.0.2.1", "this machine does not have this address: ")],
)
def test_unavailable_address_is_rejected(capsys, host, problem):
    """A host that can't be resolved, or is not this machine, prints one line."""
    line = error_line(capsys, "--demo", f"--web.listen-address={host}:0", status=1)
    assert line.startswith(f"--web.listen-address='{host}:0': {problem}")


def test_invalid_address_is_rejected(capsys):
    """An invalid address prints one line that says what to write. A later attempt can't succeed, so the status is 2."""
    line = error_line(capsys, "--demo", "--web.listen-address=localhost")
    assert line == "--web.listen-address='localhost': has no port: write localhost:10142"


@pytest.mark.parametrize("flag", ["--web.config.file", "--telnyx.api-key-file", "--telnyx.ca-file"])
def test_empty_path_is_rejected(capsys, flag):
    """An empty path, for example from an unset shell variable, is rejected with one line instead of being ignored."""
    assert error_line(capsys, "--demo", f"{flag}=").startswith(f"{flag}='': must be a path")


@pytest.mark.parametrize("mode", [[], ["--once"], ["--check-config"]], ids=["serve", "once", "check"])
def test_invalid_web_configuration_is_rejected(capsys, mode):
    """In every mode, an invalid web configuration prints one line with the flag, file, key and reason."""
    Path("web.yml").write_text("tls_server_config:\n  cert_filse: x\n", encoding="utf-8")
    line = error_line(capsys, "--demo", "--web.config.file=web.yml", *mode)
    assert line == "--web.config.file='web.yml': tls_server_config.cert_filse: unknown key"


@pytest.mark.parametrize("source", ["variable", ".env"])
def test_misspelt_key_variable_is_rejected(capsys, monkeypatch, source):
    """Without a key, a variable with a similar name is named in the error, without its value."""
    if source == "variable":
        monkeypatch.setenv("TELNYX_APIKEY", KEY)
    else:
        Path(".env").write_text(f"TELNYX_APIKEY={KEY}\n")
    place = "" if source == "variable" else " in .env"
    assert error_line(capsys) == f"unknown variable TELNYX_APIKEY{place}; did you mean TELNYX_API_KEY?"
    Path("key").write_text(KEY)
    for arguments in (["--demo"], ["--telnyx.api-key-file=key"]):
        assert main(["--check-config", *arguments]) == 0
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    assert main(["--check-config"]) == 0


def test_misspelt_url_variable_is_rejected(capsys, monkeypatch):
    """Without a base URL, a variable with a very similar name is an error. A demo and a given URL need none."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    monkeypatch.setenv("TELNYX_BASEURL", "https://hush")
    assert error_line(capsys) == "unknown variable TELNYX_BASEURL; did you mean TELNYX_BASE_URL?"
    assert main(["--check-config", "--demo"]) == main(["--check-config", "--telnyx.base-url=https://a"]) == 0


# --demo


def test_demo_warns_of_ignored_settings(capsys, monkeypatch):
    """A demo warns once of settings of the connection to Telnyx, names where they are set, and shows no value."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    Path(".env").write_text("TELNYX_BASE_URL=https://hush.example\n")
    assert main(["--demo", "--once", "--telnyx.api-key-file=hush"]) == 0
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "ignore" in line)
    assert "level=warning" in line
    assert 'ignored="TELNYX_API_KEY, TELNYX_BASE_URL in .env, --telnyx.api-key-file"' in line
    assert "hush" not in line
    assert KEY not in line


def test_demo_with_only_a_key_does_not_warn(capsys, monkeypatch):
    """The variable TELNYX_API_KEY alone is no reason to warn, because Telnyx's SDKs use it, too."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    assert main(["--demo", "--once", "--cache.ttl=1s"]) == 0
    assert "ignore" not in capsys.readouterr().err


def test_settings_of_telnyx_do_not_warn_without_a_demo(capsys, telnyx):
    """Without `--demo`, there is no such warning."""
    Path("key").write_text(KEY)
    assert main(["--once", "--telnyx.api-key-file=key", f"--telnyx.base-url={telnyx.url}"]) == 0
    assert "ignore" not in capsys.readouterr().err


# --web.config.file


CA = authority("ca")
TRUST = ssl.create_default_context(cadata=CA.pem)
OLD, NEW = (bcrypt.hashpw(word, bcrypt.gensalt(4)).decode() for word in (b"old", b"new"))
TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"


def renew_certificate(folder):
    """Write a new certificate and its key."""
    write(folder, identity("server", x509.DNSName("localhost"), by=CA))


def test_web_configuration_reloads_without_failed_scrapes(tmp_path):
    """The certificate and the users can change without a restart and without a failed scrape."""
    config = tmp_path / "web.yml"
    config.write_text(f"{TLS}basic_auth_users: {{old: {OLD}}}\n")
    renew_certificate(tmp_path)
    with serving("--demo", "--web.config.file=web.yml") as (_, listening), httpx.Client(verify=TRUST) as client:
        url = listening["metrics"].replace("127.0.0.1", "localhost")
        assert url.startswith("https://")
        assert client.get(url, auth=("new", "new")).status_code == 401
        assert client.get(url.replace("/metrics", "/-/healthy")).status_code == 200
        renew_certificate(tmp_path)
        config.write_text(f"{TLS}basic_auth_users: {{old: {OLD}, new: {NEW}}}\n")
        while client.get(url, auth=("new", "new")).status_code != 200:
            assert client.get(url, auth=("old", "old")).status_code == 200
            assert httpx.get(url, auth=("old", "old"), verify=TRUST).status_code == 200
        assert httpx.get(url, auth=("new", "new"), verify=TRUST).status_code == 200


def test_web_configuration_that_becomes_invalid_is_reported(tmp_path):
    """If the file becomes invalid, the log and a metric report it. Nothing else changes."""
    config = tmp_path / "web.yml"
    config.write_text(TLS)
    renew_certificate(tmp_path)
    with serving("--demo", "--web.config.file=web.yml") as (process, listening), httpx.Client(verify=TRUST) as client:
        url = listening["metrics"].replace("127.0.0.1", "localhost")

        def successful():
            return families_of(client.get(url).text)["telnyx_exporter_config_last_reload_successful"][0].value

        assert successful() == 1
        config.write_text("junk")
        while successful() == 1:
            pass
        process.terminate()
        messages = [json.loads(line)["msg"] for line in process.stderr]
    assert messages.count("web configuration is invalid, keeping the previous one") == 1
    assert process.returncode == 0


def test_web_configuration_without_tls(tmp_path):
    """With users but without TLS, the exporter serves plain HTTP."""
    word = bcrypt.hashpw(b"word", bcrypt.gensalt(4)).decode()
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{user: {word}}}\n")
    with serving("--demo", "--web.config.file=web.yml") as (_, listening):
        url = listening["metrics"]
        assert url.startswith("http://")
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, auth=("user", "word")).status_code == 200


def test_external_url_is_logged():
    """Below an external URL, the log has the address of the listener, the paths behind it, and the URL of users."""
    with serving("--demo", "--web.external-url=https://x.example/telnyx") as (process, listening):
        assert listening["external_url"] == "https://x.example/telnyx/"
        assert listening["page"].endswith("/telnyx/")
        assert httpx.get(listening["metrics"], trust_env=False, timeout=TIMEOUT).status_code == 200
        process.terminate()
        assert process.wait(TIMEOUT) == 0


# Reloading


def scrape(listening):
    """Return the scraped metrics."""
    return httpx.get(listening["metrics"], trust_env=False, timeout=TIMEOUT).text


def next_record(process, *messages):
    """Return the next log record that has one of these messages."""
    return next(record for record in map(json.loads, process.stderr) if record["msg"] in messages)


RELOADED, INVALID = "configuration reloaded", "configuration is invalid, keeping the previous one"


def test_sighup_reloads_the_settings(telnyx, tmp_path):
    """SIGHUP applies the key, URL, filter, metrics and log level of `.env`. Counters and the process continue."""
    dotenv = tmp_path / ".env"
    first = f"TELNYX_API_KEY=first\nTELNYX_BASE_URL={telnyx.url}\n"
    dotenv.write_text(first)
    with serving() as (process, listening):
        next_record(process, "refreshed")
        dotenv.write_text(
            f"TELNYX_API_KEY=second\nTELNYX_BASE_URL={telnyx.url}/other\nTELNYX_EXPORTER_TELNYX__FILTER__FQDN=sip.example\n"
            "TELNYX_EXPORTER_METRICS__ALLOW=telnyx_refreshes_total\nTELNYX_EXPORTER_LOG__LEVEL=DEBUG\n"
        )
        process.send_signal(signal.SIGHUP)
        next_record(process, RELOADED)
        assert "page" in next_record(process, "request")  # at debug
        families = families_of(scrape(listening))
        assert families.keys() == {"telnyx_refreshes"} | ALWAYS_EXPOSED
        assert families["telnyx_refreshes"][0].value == 2
        process.terminate()
        process.stderr.read()
    assert process.returncode == 0
    assert telnyx.keys == ["Bearer first", "Bearer second"]
    assert telnyx.paths == ["/v2/credential_connections", "/v2/other/credential_connections"]
    assert [query.get("filter[fqdn]") for query in telnyx.queries] == [None, "sip.example"]


def test_reload_accepts_the_log_level_of_prometheus_programs(telnyx, tmp_path):
    """After a reload with the level `warn`, only warnings and errors are logged."""
    dotenv = tmp_path / ".env"
    first = f"TELNYX_API_KEY=KEY\nTELNYX_BASE_URL={telnyx.url}\n"
    dotenv.write_text(f"{first}TELNYX_EXPORTER_LOG__LEVEL=info\n")
    with serving() as (process, _):
        next_record(process, "refreshed")
        fqdn = "TELNYX_EXPORTER_TELNYX__FILTER__FQDN=sip.example\n"  # so that it refreshes at once
        dotenv.write_text(f"{first}{fqdn}TELNYX_EXPORTER_LOG__LEVEL=warn\n")
        process.send_signal(signal.SIGHUP)
        while len(telnyx.keys) < 2:  # the new account refreshes, and logs nothing
            time.sleep(0.01)
        process.terminate()
        records = [json.loads(line) for line in process.stderr]
    assert process.returncode == 0
    assert not [record for record in records if record["msg"] in {"stopping", "refreshed"}]


def test_invalid_settings_are_reported_on_reload(telnyx, tmp_path):
    """Settings that are invalid or need a restart change nothing. The log and a metric report them."""
    dotenv = tmp_path / ".env"
    good = f"TELNYX_API_KEY=KEY\nTELNYX_BASE_URL={telnyx.url}\n"
    dotenv.write_text(good)
    with serving() as (process, listening):
        for line, problem in (
            ("TELNYX_EXPORTER_CACHE__TTL=soon", "TELNYX_EXPORTER_CACHE__TTL in .env='soon': must be a duration"),
            ("TELNYX_EXPORTER_COLLECTOR__CREDENTIAL_CONNECTIONS=false", "no collector is enabled"),
            ("TELNYX_EXPORTER_WEB__TELEMETRY_PATH=/x", "--web.telemetry-path can't change at a reload"),
            (
                "TELNYX_EXPORTER_WEB__DISABLE_STATUS_PAGE=true",
                "--web.disable-status-page can't change at a reload",
            ),
            ("TELNYX_EXPORTER_WEB__ROUTE_PREFIX=/x", "--web.route-prefix can't change at a reload"),
            ("TELNYX_EXPORTER_WEB__EXTERNAL_URL=https://x", "--web.external-url can't change at a reload"),
            (
                "TELNYX_EXPORTER_TELNYX__API_KEY_FILE=none",
                "TELNYX_API_KEY in .env and TELNYX_EXPORTER_TELNYX__API_KEY_",
            ),
            ("TELNYX_EXPORTER_TOTAL_SHARDS=2", "--total-shards needs --telnyx.api-key-files"),
            (f"TELNYX_API_KEY='{KEY} {KEY}'", "TELNYX_API_KEY in .env: contains white space"),
        ):
            dotenv.write_text(good + line)
            process.send_signal(signal.SIGHUP)
            logged = next_record(process, RELOADED, INVALID)["problem"]
            assert logged.startswith(problem)
            assert KEY not in logged
            assert "telnyx_exporter_config_last_reload_successful 0.0" in scrape(listening)
        dotenv.write_text(good)
        process.send_signal(signal.SIGHUP)
        assert next_record(process, RELOADED, INVALID)["msg"] == RELOADED
        assert "telnyx_exporter_config_last_reload_successful 1.0" in scrape(listening)


def test_post_reloads_everything(tmp_path):
    """`POST /-/reload` reloads settings and web configuration, needs a login as scrapes do, and returns the result."""
    config = tmp_path / "web.yml"
    config.write_text(f"basic_auth_users: {{old: {OLD}}}\n")
    with (
        serving("--demo", "--web.enable-lifecycle", "--web.config.file=web.yml") as (_, listening),
        httpx.Client(base_url=listening["page"], trust_env=False, timeout=TIMEOUT) as client,
    ):
        assert client.post("/-/reload").status_code == 401
        config.write_text(f"basic_auth_users: {{new: {NEW}}}\n")
        assert client.post("/-/reload", auth=("old", "old")).text == "reloaded\n"
        assert client.get("/metrics", auth=("old", "old")).status_code == 401
        config.write_text("nonsense: 1\n")
        (tmp_path / ".env").write_text("TELNYX_EXPORTER_CACHE__TTL=soon\n")
        response = client.post("/-/reload", auth=("new", "new"))
    assert response.status_code == 500
    assert response.text == (
        "settings: invalid, kept the previous version: TELNYX_EXPORTER_CACHE__TTL in .env='soon': "
        "must be a duration such as 90s, 1m30s or 500ms; "
        "web: invalid, kept the previous version: web.yml: nonsense: unknown key\n"
    )


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.2])
def test_sighup_during_startup(moment):
    """SIGHUP during startup doesn't end the process. The exporter reloads once it listens."""
    with start("--demo", "--web.listen-address=127.0.0.1:0", "--log.format=json", stderr=subprocess.PIPE) as process:
        try:
            status = Path(f"/proc/{process.pid}/status")
            # Wait until only SIGHUP is blocked. Libraries block all signals at times.
            while "SigBlk:\t0000000000000001\n" not in status.read_text():
                pass
            time.sleep(moment)
            process.send_signal(signal.SIGHUP)
            next_record(process, "listening")
            next_record(process, RELOADED)
        finally:
            process.kill()


def test_reload_does_not_wait_for_a_pipe(tmp_path):
    """A `.env` or web configuration that became a named pipe is rejected, and scrapes continue."""
    (tmp_path / "web.yml").write_text("")
    with serving("--demo", "--web.enable-lifecycle", "--web.config.file=web.yml") as (_, listening):
        (tmp_path / "web.yml").unlink()
        for name in (".env", "web.yml"):
            os.mkfifo(tmp_path / name)
        response = httpx.post(f"{listening['page']}-/reload", timeout=TIMEOUT)
        assert response.status_code == 500
        assert response.text.count("is not a regular file") == 2
        assert len(families_of(scrape(listening))["telnyx_connection_active"]) == DEMO_ROWS


def test_key_file_that_becomes_invalid_is_reported(telnyx, tmp_path):
    """If the key file becomes invalid, a metric reports it until the file is valid again."""
    (tmp_path / "key").write_text(KEY)
    flags = ["--telnyx.api-key-file=key", f"--telnyx.base-url={telnyx.url}", "--cache.ttl=0"]
    with serving(*flags) as (_, listening):
        for content, value in (("", "0.0"), (KEY, "1.0")):
            (tmp_path / "key").write_text(content)
            while f"telnyx_exporter_config_last_reload_successful {value}" not in scrape(listening):
                pass


def test_a_demo_keeps_its_connections_on_reload(tmp_path):
    """After SIGHUP, the demo still serves its generated account."""
    with serving("--demo") as (process, listening):
        next_record(process, "refreshed")
        (tmp_path / ".env").write_text("TELNYX_EXPORTER_METRICS__DENY=.*_info\nTELNYX_BASE_URL=https://x.invalid\n")
        process.send_signal(signal.SIGHUP)
        next_record(process, RELOADED)
        assert len(families_of(scrape(listening))["telnyx_connection_active"]) == DEMO_ROWS


# Listening


def test_all_addresses_are_served(tmp_path):
    """The exporter listens on every address, logs one line for each, and removes its Unix socket at the end."""
    path = tmp_path / "telnyx.sock"
    with serving("--demo", "--web.listen-address=[::1]:0", f"--web.listen-address=unix://{path}") as (process, first):
        second, third = next_record(process, "listening"), next_record(process, "listening")
        for listening in (first, second):
            assert len(families_of(scrape(listening))["telnyx_connection_active"]) == DEMO_ROWS
        assert (third["socket"], third["metrics"]) == (str(path), "/metrics")
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://exporter/-/healthy").text == "healthy\n"
        process.terminate()
        process.stderr.read()
    assert process.returncode == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("flags", "prefix", "link_prefix"),
    [
        (["--web.external-url=https://x.example/telnyx/"], "/telnyx", "/telnyx"),
        (["--web.external-url=https://x.example/telnyx", "--web.route-prefix=/"], "", "/telnyx"),
        (["--web.route-prefix=inside"], "/inside", "/inside"),
    ],
    ids=["external URL", "proxy that strips the path", "route prefix"],
)
def test_a_path_prefix(tmp_path, flags, prefix, link_prefix):
    """The log has the URLs with the prefix. Open pages below it need no password. Links have the external path."""
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{old: {OLD}}}\n")
    unix = f"--web.listen-address=unix://{tmp_path}/telnyx.sock"
    with serving("--demo", unix, "--web.config.file=web.yml", *flags) as (process, listening):
        page, metrics = listening["page"], listening["metrics"]
        assert (urlsplit(page).path, urlsplit(metrics).path) == (f"{prefix}/", f"{prefix}/metrics")
        external = "https://x.example/telnyx/" if "external" in flags[0] else None
        second = next_record(process, "listening")
        assert listening.get("external_url") == second.get("external_url") == external
        assert second["metrics"] == f"{prefix}/metrics"
        with httpx.Client(timeout=TIMEOUT, trust_env=False) as client:
            assert client.get(f"{page}-/healthy").text == "healthy\n"
            assert client.get(metrics).status_code == client.get(page).status_code == 401
            assert client.get(f"{page}runbooks/TelnyxApiDown").status_code == 200
            html = client.get(httpx.URL(page).join("/"), auth=("old", "old"), follow_redirects=True).text
        targets = set(re.findall('href="([^"#]+)', html))
        pages = ("/metrics", "/runbooks/", "/api/v1/status", "/-/healthy", "/-/ready")
        assert targets >= {f"{link_prefix}{path}" for path in pages}
        assert all(target.startswith(f"{link_prefix}/") for target in targets)


def test_one_unavailable_address_prevents_the_start(capsys, listener, tmp_path):
    """If one of several addresses is in use, the exporter serves none of them and leaves no Unix socket behind."""
    address, path = f"127.0.0.1:{listener.getsockname()[1]}", tmp_path / "telnyx.sock"
    line = error_line(capsys, "--demo", f"--web.listen-address=unix://{path},{address}", status=1)
    assert line == f"--web.listen-address={address!r}: {IN_USE}"
    assert not path.exists()


def test_unavailable_path_is_rejected(capsys):
    """A path that the exporter can't listen on prints one line."""
    line = error_line(capsys, "--demo", "--web.listen-address=unix:///nowhere/telnyx.sock", status=1)
    assert line.startswith(
        "--web.listen-address='unix:///nowhere/telnyx.sock': the directory /nowhere does not exist: "
    )


def test_systemd_sockets_are_served(tmp_path):
    """With `--web.systemd-socket`, the exporter serves the sockets that systemd passes and keeps their paths."""
    path = tmp_path / "telnyx.sock"
    command = [sys.executable, "-m", "exporter", "--demo", "--web.systemd-socket", "--log.format=json"]
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        with passing(*command, sockets=[tcp, unix], stderr=subprocess.PIPE) as process:
            try:
                listening = next_record(process, "listening")
                assert listening["page"] == f"http://127.0.0.1:{tcp.getsockname()[1]}/"
                assert next_record(process, "listening")["socket"] == str(path)
                assert len(families_of(scrape(listening))["telnyx_connection_active"]) == DEMO_ROWS
                process.terminate()
                process.stderr.read()
            finally:
                process.kill()
        assert process.returncode == 0
        assert path.is_socket()


def test_missing_systemd_socket_is_rejected(capsys):
    """Without the socket unit, the one-line error says what to start."""
    assert error_line(capsys, "--demo", "--web.systemd-socket") == (
        "--web.systemd-socket: systemd passed no socket; start the socket unit, not only the service"
    )


def test_systemd_socket_that_does_not_listen_is_rejected():
    """A socket that can't accept connections prints one line."""
    command = [sys.executable, "-m", "exporter", "--demo", "--web.systemd-socket"]
    with (
        socket.socket(type=socket.SOCK_DGRAM) as one,
        passing(*command, sockets=[one], stderr=subprocess.PIPE) as process,
    ):
        _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 2
    assert err == (
        "telnyx-exporter: --web.systemd-socket: systemd passed a socket that does not listen; "
        "use ListenStream= and Accept=no\n"
    )


# CAs and proxies


INVALID_PROXY = (
    "must be an http or https URL such as http://proxy.example:3128; encode special characters of a password as %XX"
)
SOCKS = "is a SOCKS proxy, which is not supported: use an http or https proxy"


@pytest.mark.parametrize("mode", [[], ["--once"], ["--check-config"], ["--check-access"]], ids=lambda mode: str(*mode))
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("--telnyx.ca-file=nowhere.pem", "--telnyx.ca-file='nowhere.pem': No such file or directory"),
        ("SSL_CERT_FILE=nowhere.pem", "SSL_CERT_FILE='nowhere.pem': No such file or directory"),
        ("SSL_CERT_FILE=/dev/null", "SSL_CERT_FILE='/dev/null': is not a regular file"),
        ("SSL_CERT_DIR=nowhere", "SSL_CERT_DIR='nowhere': No such file or directory"),
        ("--telnyx.proxy-url=ftp://me:CANARY@127.0.0.1:9", f"--telnyx.proxy-url: {INVALID_PROXY}"),
        ("--telnyx.proxy-url=socks5://me:CANARY@127.0.0.1:9", f"--telnyx.proxy-url: {SOCKS}"),
        ("HTTPS_PROXY=127.0.0.1:9:CANARY", f"HTTPS_PROXY: {INVALID_PROXY}"),
        ("https_proxy=http://user:CANARY#CANARY@127.0.0.1:9", f"https_proxy: {INVALID_PROXY}"),
        ("ALL_PROXY=socks5://CANARY@127.0.0.1:9", f"ALL_PROXY: {SOCKS}"),
    ],
    ids=lambda text: text.partition(":")[0],
)
def test_invalid_connection_setting_is_rejected(capsys, monkeypatch, mode, setting, message):
    """In every mode, one line names the flag or variable at fault and the reason, but not the value of a proxy URL."""
    for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, "")  # set but empty: not at fault
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    flags = [setting] if setting.startswith("--") else []
    if not flags:
        name, _, value = setting.partition("=")
        monkeypatch.setenv(name, value)
    flags += ["--telnyx.base-url=https://no-such-host.invalid", "--web.listen-address=127.0.0.1:0", *mode]
    assert error_line(capsys, *flags) == message


# --check-config


@pytest.mark.parametrize("source", ["variable", "file", ".env", "demo"])
def test_valid_configuration_is_ok(capsys, monkeypatch, source):
    """`--check-config` prints what it used, then ok, and sends no requests. It prints no key."""
    monkeypatch.setenv("TELNYX_BASE_URL", "https://no-such-host.invalid")
    if source == "variable":
        monkeypatch.setenv("TELNYX_API_KEY", KEY)
    elif source == ".env":
        Path(".env").write_text(f"TELNYX_API_KEY={KEY}\n", encoding="utf-8")
    else:
        Path("key").write_text(KEY, encoding="utf-8")
    arguments = {"file": ["--telnyx.api-key-file=key"], "demo": ["--demo"]}.get(source, [])
    assert main(["--check-config", *arguments]) == 0
    out, err = capsys.readouterr()
    assert not err
    assert out.endswith("\nok\n")
    assert "  --telnyx.base-url=https://no-such-host.invalid " in out
    assert "\ncollectors: credential-connections" in out
    assert KEY not in out


@pytest.mark.parametrize("mode", [["--check-config"], ["--once"]], ids=lambda mode: str(*mode))
@pytest.mark.parametrize("setting", ["SSL_CERT_FILE=nowhere", "HTTPS_PROXY=ftp://x", "--telnyx.ca-file=nowhere"])
def test_demo_ignores_proxies_and_cas(capsys, monkeypatch, mode, setting):
    """A demo connects to itself, so `--check-config` accepts proxies and CA files that only Telnyx needs."""
    name, _, value = setting.partition("=")
    if not name.startswith("--"):
        monkeypatch.setenv(name, value)
    assert main(["--demo", *mode, *([setting] if name.startswith("--") else [])]) == 0
    assert "nowhere" not in capsys.readouterr().err


def test_files_of_the_web_configuration_are_listed(capsys, tmp_path):
    """`--check-config` lists the web configuration file and the certificate files that it refers to."""
    Path("web.yml").write_text(TLS)
    renew_certificate(tmp_path)
    assert main(["--check-config", "--demo", "--web.config.file=web.yml"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    files = lines[lines.index("files:") + 1 : -2]
    assert files == [str(tmp_path / name) for name in ("web.yml", "server.crt", "server.key")]


@pytest.mark.parametrize("key", ["KEY...", "<key>", "your_api_key"])
@pytest.mark.parametrize("source", ["variable", "file", ".env"])
def test_placeholder_key_is_rejected(capsys, monkeypatch, source, key):
    """A key that was copied from an example is rejected with one line, wherever it is. The line does not quote it."""
    arguments = []
    if source == "variable":
        monkeypatch.setenv("TELNYX_API_KEY", key)
    elif source == ".env":
        Path(".env").write_text(f"TELNYX_API_KEY={key}\n")
    else:
        Path("key").write_text(f"{key}\n")
        arguments = ["--telnyx.api-key-file=key"]
    line = error_line(capsys, "--check-config", *arguments)
    where = {"variable": "TELNYX_API_KEY", ".env": "TELNYX_API_KEY in .env", "file": "--telnyx.api-key-file='key'"}
    advice = "is a placeholder: replace it with an API key from https://portal.telnyx.com"
    assert line == f"{where[source]}: {advice}"


@pytest.mark.parametrize("flag", ["--telnyx.page-size=0", "--metrics.allow=(", "--web.telemetry-path=/"])
def test_invalid_configuration_is_not_ok(capsys, flag):
    """`--check-config` rejects the same settings as a normal run."""
    assert error_line(capsys, "--check-config", "--demo", flag).startswith(flag.partition("=")[0])


# --once


def test_demo_is_polled_once(capsys):
    """`--once --demo` prints connections of all types, which the reference parser can read, and no process metrics."""
    assert main(["--once", "--demo"]) == 0
    out, err = capsys.readouterr()
    families = families_of(out)
    assert [sample.value for sample in families["telnyx_up"]] == [1.0]
    assert len(families["telnyx_connection_active"]) == DEMO_ROWS
    assert sum(sample.value for sample in families["telnyx_connections"]) == DEMO_ROWS
    assert "telnyx_exporter_build_info" in families
    assert not [name for name in families if name.startswith(("process_", "python_"))]
    assert "user_name=" not in out
    assert "collector=credential-connections rows=55" in err
    assert "collector=fax-applications rows=11" in err


def test_failed_poll_reports_the_reason(capsys, closed_port):
    """If `--once` can't reach the API, it still prints `telnyx_up` and the reason, and exits with status 1."""
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


def test_every_enabled_collector_is_polled(capsys, monkeypatch, telnyx):
    """`--once` polls each enabled collector. One that fails gives exit status 1, and the others are printed."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    monkeypatch.setenv("TELNYX_BASE_URL", telnyx.url)
    assert main(["--once", "--collector.ip-connections", "--no-collector.credential-connections"]) == 0
    assert telnyx.paths == ["/v2/ip_connections"]
    assert "telnyx_up 1.0" in capsys.readouterr().out
    telnyx.refused.add("/v2/fax_applications")
    assert main(["--once", "--collector.ip-connections", "--collector.fax-applications"]) == 1
    found = {
        sample.labels["collector"]: sample.value
        for sample in families_of(capsys.readouterr().out)["telnyx_collector_success"]
    }
    assert found == {"credential-connections": 1, "ip-connections": 1, "fax-applications": 0}


def test_collectors_of_single_connections_are_skipped(capsys):
    """`--once` skips the collectors that send one request for each connection, and says so."""
    flags = ("--collector.registrations", "--collector.active-calls", "--log.format=json")
    assert main(["--once", "--demo", *flags]) == 0
    out, err = capsys.readouterr()
    (line,) = [line for line in map(json.loads, err.splitlines()) if line["level"] == "warning"]
    assert line["collectors"] == "registrations, active-calls"
    assert "--once.complete" in line["msg"]
    families = families_of(out)
    assert "telnyx_connection_active_calls" not in families
    assert len(families["telnyx_connection_registered"]) > 0  # those of the lists


@pytest.mark.parametrize("flags", [["--once.complete"], ["--once", "--once.complete"]])
def test_a_complete_poll(capsys, flags):
    """`--once.complete` also reads each connection, and waits for that."""
    rates = [f"--collector.{name}.rate=100" for name in ("registrations", "active-calls")]
    assert main(["--demo", *flags, *rates, "--telnyx.max-requests-per-second=1000"]) == 0
    out, err = capsys.readouterr()
    families = families_of(out)
    rows = {sample.labels["collector"]: sample.value for sample in families["telnyx_collector_rows"]}
    assert len(families["telnyx_connection_active_calls"]) > 22
    assert rows["registrations"] > 40
    ids = [sample.labels["connection_id"] for sample in families["telnyx_connection_registration_status"]]
    assert len(ids) == len(set(ids))
    assert "level=warning" not in err
    assert not [name for name in families if name.startswith("process_")]


def test_a_complete_poll_loses_no_data(capsys, monkeypatch, telnyx):
    """If reading each connection takes longer than the lists are kept, they are printed anyway."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    monkeypatch.setenv("TELNYX_BASE_URL", telnyx.url)
    telnyx.rows += [
        {"id": str(number), "active": True, "webhook_event_url": "https://a.example"} for number in range(3)
    ]
    flags = ("--cache.ttl=0s", "--cache.max-stale=1s", "--collector.active-calls", "--collector.active-calls.rate=2")
    assert main(["--once.complete", *flags]) == 0
    families = families_of(capsys.readouterr().out)
    assert len(families["telnyx_connection_active"]) == len(families["telnyx_connection_active_calls"]) == 3


def test_a_complete_poll_that_fails(capsys, monkeypatch, telnyx):
    """If the request for a connection fails, the command prints all other metrics and exits with status 1."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    monkeypatch.setenv("TELNYX_BASE_URL", telnyx.url)
    telnyx.rows.append({"id": "1", "active": True, "user_name": "login"})
    telnyx.refused.add("/v2/sip_registration_status")
    flags = ("--collector.registrations", "--collector.registrations.rate=100")
    assert main(["--once.complete", *flags]) == 1
    success = families_of(capsys.readouterr().out)["telnyx_collector_success"]
    found = {sample.labels["collector"]: sample.value for sample in success}
    assert found == {"credential-connections": 1, "registrations": 0}


# --check-access


def test_access(capsys, monkeypatch, telnyx):
    """`--check-access` prints what the key may read, from one request for each enabled collector."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    monkeypatch.setenv("TELNYX_BASE_URL", telnyx.url)
    assert main(["--check-access", "--collector.fax-applications"]) == 0
    assert capsys.readouterr().out == (
        "credential-connections  GET /credential_connections  ok\n"
        "fax-applications        GET /fax_applications        ok\n"
    )
    assert sorted(telnyx.paths) == ["/v2/credential_connections", "/v2/fax_applications"]


def test_refused_access(capsys, monkeypatch, telnyx):
    """If anything is refused, `--check-access` prints the reason and advice, and exits with status 1."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    monkeypatch.setenv("TELNYX_BASE_URL", telnyx.url)
    telnyx.refused.add("/v2/fax_applications")
    assert main(["--check-access", "--collector.fax-applications"]) == 1
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first.endswith("GET /credential_connections  ok")
    assert second == f"fax-applications        GET /fax_applications        HTTP status 403. {Forbidden.advice}"
    assert KEY not in out + err


def test_access_of_an_unreachable_api(capsys, monkeypatch, closed_port):
    """An API that can't be reached is an error for each collector, too."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    assert main(["--check-access", f"--telnyx.base-url=http://127.0.0.1:{closed_port}"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert "Connection refused" in line


def test_poll_times_out(capsys, monkeypatch, listener):
    """If the API never responds, the poll fails after `--telnyx.timeout`."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert main(["--once", f"--telnyx.base-url={base_url}", "--telnyx.timeout=100ms"]) == 1
    out = capsys.readouterr().out
    assert 'telnyx_refresh_failures_total{reason="timeout"} 1.0' in out
    assert [sample.value < 2 for sample in families_of(out)["telnyx_refresh_duration_seconds"]] == [True]


def test_settings_reach_the_request(monkeypatch, telnyx):
    """The request uses the configured base URL, key, page size and filters."""
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


def test_key_is_read_from_a_file(telnyx):
    """The exporter sends the key that the file contains."""
    Path("key").write_text(f"{KEY}\n", encoding="utf-8")
    assert main(["--once", f"--telnyx.base-url={telnyx.url}", "--telnyx.api-key-file=key"]) == 0
    assert telnyx.keys == [f"Bearer {KEY}"]


def test_demo_uses_neither_key_nor_account(capsys, monkeypatch, telnyx):
    """With `--demo`, the exporter ignores the configured key and API."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    monkeypatch.setenv("TELNYX_BASE_URL", telnyx.url)
    assert main(["--once", "--demo", "--telnyx.api-key-file=missing"]) == 0
    assert not telnyx.queries
    assert "telnyx_up 1.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (
            ["--metrics.allow=telnyx_connection_active|telnyx_exporter_cache_ttl_seconds|telnyx_connection"],
            {"telnyx_connection_active", "telnyx_exporter_cache_ttl_seconds"},
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
def test_only_selected_metrics_are_exposed(capsys, flags, names):
    """`--metrics.allow` and `--metrics.deny` match the whole name of any metric. Two metrics are always exposed."""
    assert main(["--once", "--demo", *flags]) == 0
    assert names_of(capsys.readouterr().out) == names | ALWAYS_EXPOSED


def test_only_denied_metrics_are_removed(capsys):
    """`--metrics.deny` removes the metrics that it matches, and no others. It can't remove `telnyx_up`."""
    assert main(["--once", "--demo"]) == 0
    everything = names_of(capsys.readouterr().out)
    assert (
        main(["--once", "--demo", "--metrics.deny=telnyx_connection_(in|out)bound_.*|telnyx_up|telnyx_api_rate"]) == 0
    )
    exposed = names_of(capsys.readouterr().out)
    missing = everything - exposed
    assert missing
    assert all(name.startswith(("telnyx_connection_inbound_", "telnyx_connection_outbound_")) for name in missing)
    assert exposed < everything


def test_configured_sensitive_labels_are_exposed(capsys):
    """A configured sensitive field becomes one label of one family, even if the flag names it twice."""
    assert main(["--once", "--demo", "--metrics.sensitive-labels=user_name,user_name"]) == 0
    out = capsys.readouterr().out
    assert len(families_of(out)["telnyx_connection_active"]) == DEMO_ROWS
    infos = [line for line in out.splitlines() if line.startswith("telnyx_connection_info{")]
    assert {line.count("user_name=") for line in infos} == {1}


@pytest.mark.parametrize("mode", ["--once", "--check-config"])
def test_full_standard_output_is_an_error(capsys, monkeypatch, mode):
    """If the output can't be written, the command fails with one line that has the reason."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main([mode, "--demo", "--log.level=error"]) == 2
        with contextlib.suppress(OSError):
            full.flush()
    assert capsys.readouterr().err == "telnyx-exporter: standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("kind", "flags"),
    [("full", ["--metrics.deny=.*"]), ("pipe", []), ("closed", [])],
    ids=["full-with-short-output", "pipe", "closed"],
)
def test_unwritable_standard_output_prints_one_line(kind, flags):
    """If standard output is full, closed, or a pipe without a reader, the process prints one line. The status is 2."""
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
            command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False
        )
    finally:
        os.close(stdout)
    (line,) = process.stderr.splitlines()
    assert line.startswith("telnyx-exporter: standard output: ")
    assert process.returncode == 2


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"], ids=["closed", "full"])
def test_unwritable_log_does_not_affect_the_metrics(redirection):
    """If standard error is closed or full, standard output still contains only the metrics."""
    command = f"exec {shlex.quote(sys.executable)} -m exporter --once --demo {redirection}"
    process = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, text=True, timeout=TIMEOUT, check=True)
    families = families_of(process.stdout)
    assert len(families["telnyx_connection_active"]) == DEMO_ROWS
    assert all(name.startswith("telnyx_") for name in families)


def test_unwritable_error_keeps_the_exit_status(monkeypatch):
    """If standard error is full, the error message is lost, but the exit status is the same. Nothing is raised."""
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 -- a device
        monkeypatch.setattr(sys, "stderr", full)
        assert main([]) == 2


def test_interrupted_poll_has_no_traceback(listener, monkeypatch):
    """Control-C while Telnyx doesn't respond ends the process without a traceback and with a failure status."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.settimeout(TIMEOUT)
    process = start("--once", f"--telnyx.base-url={base_url}", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        with listener.accept()[0]:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    assert "Traceback" not in err
    assert process.returncode in {-signal.SIGINT, 128 + signal.SIGINT}


def test_interrupt_exits_with_the_status_of_shells(monkeypatch):
    """Control-C at any moment exits with the status that shells use for SIGINT, 130."""

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "read_settings", interrupted)
    assert cli.main([]) == 128 + signal.SIGINT


# Serving


@pytest.fixture
def log_pipe():
    """Yield a stream to log to, and an iterator over the lines written to it."""
    reader, writer = os.pipe()
    with open(reader, encoding="utf-8") as lines, open(writer, "w", encoding="utf-8", buffering=1) as stream:  # noqa: PTH123 -- descriptors
        yield stream, lines


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_metrics_are_served_until_a_signal(log_pipe, number):
    """The exporter serves metrics, status page and health check until SIGTERM or SIGINT, then exits with status 0."""
    stream, lines = log_pipe
    records, responses = [], {}

    def visit():
        for record in map(json.loads, lines):
            records.append(record)
            if record["msg"] == "listening":
                try:
                    with httpx.Client(timeout=TIMEOUT, trust_env=False) as client:
                        for url in (record["metrics"], record["page"], record["page"] + "-/healthy"):
                            responses[url] = client.get(url)
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
        thread.join(TIMEOUT)
    assert status == 0
    assert [response.status_code for response in responses.values()] == [200] * 3
    metrics, page, _ = responses
    assert metrics == page + "t"
    families = families_of(responses[metrics].text)
    assert len(families["telnyx_connection_active"]) == DEMO_ROWS
    assert {"telnyx_up", "process_start_time_seconds", "python_info"} <= families.keys()
    starting, demo, listening, *_ = records
    refreshed = {record["collector"]: record["rows"] for record in records if record["msg"] == "refreshed"}
    assert "no request is sent to Telnyx" in demo["msg"]
    assert set(listening) == {"time", "level", "msg", "page", "metrics"}
    assert starting.items() >= ({"msg": "starting"} | BUILD_INFO).items()
    once = {each.name for each in COLLECTORS if not isinstance(each.endpoint, FanOutEndpoint)}
    assert once <= refreshed.keys()  # the others read connections one by one, which takes longer
    paths = {each.name: each.endpoint.path for each in COLLECTORS if each.endpoint.path in RESOURCES}
    assert {name: refreshed[name] for name in paths} == {
        name: RESOURCES[path].count(55) for name, path in paths.items()
    }
    assert records[-1]["msg"] == "stopping"
    assert {record["level"] for record in records} == {"info"}


def test_status_page_can_be_disabled():
    """With `--web.disable-status-page`, the page has only links, and there is no status as JSON."""
    with serving("--demo", "--web.disable-status-page") as (_, listening):
        page, status = (
            httpx.get(listening["page"] + path, timeout=TIMEOUT, trust_env=False) for path in ("", "api/v1/status")
        )
    assert "The status page is turned off" in page.text
    assert (page.status_code, status.status_code) == (200, 404)


def test_list_is_read_at_startup(monkeypatch, telnyx, log_pipe):
    """The exporter reads the list with the configured key before the first scrape."""
    monkeypatch.setenv("TELNYX_API_KEY", KEY)
    stream, lines = log_pipe
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
        thread.join(TIMEOUT)
    assert status == 0
    assert messages == ["starting", "listening", "refreshed", "stopping"]
    assert telnyx.keys == [f"Bearer {KEY}"]


def test_process_can_be_stopped_immediately():
    """A process that gets SIGTERM as soon as it listens exits with status 0 and without a traceback."""
    with serving("--demo") as (process, _):
        process.terminate()
        _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert "stopping" in {json.loads(line)["msg"] for line in err.splitlines()}  # a refresh can end after it


def test_process_serves_selected_metrics(monkeypatch):
    """The process serves the selected metrics and is ready. After SIGTERM, it exits with status 0."""
    monkeypatch.setenv("TELNYX_EXPORTER_METRICS__ALLOW", "telnyx_connection_active|telnyx_refreshes_total")
    with serving("--demo") as (process, listening):
        with httpx.Client(timeout=TIMEOUT, trust_env=False) as client:
            response = client.get(listening["metrics"])
            assert client.get(f"{listening['page']}-/ready").status_code == 200
        process.terminate()
        _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert response.status_code == 200
    assert names_of(response.text) == {"telnyx_connection_active", "telnyx_refreshes_total"} | ALWAYS_EXPOSED
    assert "Traceback" not in err
