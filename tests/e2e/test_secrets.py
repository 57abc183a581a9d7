"""The exporter never reveals secrets: every secret contains a canary, and no output contains the canary."""

import asyncio
import contextlib
import io
import json
import logging
import os
import re
import signal
import sys
import traceback
from pathlib import Path

import httpx
import pytest
import structlog
from fake_api import ECHO, FAULTS, closing, connection, listing, raw, respond

from exporter import logs
from exporter.account.refresh import MAX_RETRY_AFTER
from exporter.collectors.registry import COLLECTORS
from exporter.config.settings import SENSITIVE_LABELS
from exporter.telnyx.errors import TelnyxError

CANARY = "c4n4ry"
"""A text that is part of every secret, and of nothing else."""
KEY = f"KEY{CANARY}key"
NUMBER = "+15550142424"
"""The only secret without the canary, because it consists of digits."""

ROWS = [
    connection(
        1,
        user_name=f"{CANARY}-user",
        password=f"{CANARY}-password",
        webhook_event_url=f"https://{CANARY}-name:{CANARY}-pass@hooks.example:8443/{CANARY}-path?token={CANARY}-query#{CANARY}",
        webhook_event_failover_url=f"https://hooks.example/{CANARY}-failover",
        outbound={"ani_override": NUMBER, "ani_override_type": "always"},
    ),
    connection(2, user_name=f"{CANARY}-user", password=f"{CANARY}-password", webhook_event_url=f"{CANARY}://{CANARY}"),
    connection(3, password={f"{CANARY}-deep": [f"{CANARY}-password"]}, webhook_event_url=f"https://:{CANARY}@[::1]/"),
    connection(
        5,
        fqdn=f"{CANARY}.example",
        txt_value=f"{CANARY}-txt",
        outbound={"ip_authentication_token": f"{CANARY}-token", "tech_prefix": f"{CANARY}-prefix"},
        external_uac_settings={
            name: f"{CANARY}-{name}"
            for name in ("password", "username", "auth_username", "from_user", "proxy", "outbound_proxy")
        },
        internal_uac_settings={"destination_uri": f"sip:{CANARY}@example"},
        voice_url=f"https://{CANARY}@voice.example/{CANARY}",
        voice_fallback_url=f"https://voice.example/{CANARY}",
        status_callback=f"https://voice.example/?token={CANARY}",
        **{name: f"{CANARY}-{name}" for name in ("sip_password", "sip_username", "user_id", "ip_address", "api_key")},
        **{name: f"{CANARY}-{name}" for name in ("v1_secret", "external_pin", "customer_reference", "alternate_id")},
        phone_number=NUMBER,
        call_recording={"call_recording_type": "all", "call_recording_caller_phone_numbers": [NUMBER]},
    ),
    connection(4, user_name={f"{CANARY}-user": f"{CANARY}-user"}),  # malformed, so the log mentions it
    {"id": None, "password": f"{CANARY}-password", "user_name": f"{CANARY}-user"},
    f"{CANARY}-row",
]

REGISTRATION = {
    "registered": True,
    "sip_registration_status": "registered",
    "credential_username": f"{CANARY}-user",
    "sip_registration_details": {
        "transport": "TLS",
        "ua_ip": f"{CANARY}-address",
        "sip_uri_user_host": f"{CANARY}@{CANARY}.example",
    },
}
CALLS = {"data": [{name: f"{CANARY}-{name}" for name in ("call_control_id", "client_state", "call_leg_id")}]}

ECHOES = {
    "rate-limit-headers": respond(
        body=b'{"data":[]}',
        x_ratelimit_limit=ECHO.decode(),
        x_ratelimit_remaining=ECHO.decode(),
        x_ratelimit_reset=ECHO.decode(),
    ),
    "content-type": respond(body=b'{"data":[]}', kind=ECHO.decode()),
    "key-as-field-name": respond(body=b'{"data":[{"id":"1","inbound":{"' + ECHO + b'":1,"codecs":3}}]}'),
    "key-as-row": respond(body=b'{"data":["' + ECHO + b'"]}'),
    "key-as-number": respond(body=b'{"data":[{"id":"1","webhook_timeout_secs":"' + ECHO + b'"}]}'),
    "bad-version": raw(ECHO + b"/1.1 200 OK\r\n\r\n"),
    "bad-status": raw(b"HTTP/1.1 " + ECHO + b" OK\r\n\r\n"),
    "bad-header-name": raw(b"HTTP/1.1 200 OK\r\n" + ECHO + b": 1\r\n\r\n"),
    "bad-coding": raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: " + ECHO + b"\r\n\r\n"),
    "early-hints": closing(raw(b"HTTP/1.1 103 " + ECHO + b"\r\nlink: " + ECHO + b"\r\n\r\n")),
}
ANSWERS = {"correct": listing()} | {name: fault.answer for name, fault in FAULTS.items()} | ECHOES
"""The correct answer, all faults, and more ways to repeat the key in a response."""

SCRAPE_HEADERS = [
    {"accept": accept, "accept-encoding": encoding}
    for accept in ("text/plain;version=0.0.4", "text/plain;version=1.0.0", "application/openmetrics-text;version=1.0.0")
    for encoding in ("identity", "gzip")
]
PATHS = ("/", "/?q=a&sort=-updated", "/api/v1/status", "/-/ready")
"""Paths whose response depends on the Telnyx API."""
MORE_PATHS = ("/-/healthy", "/nothing", "/-/", "/metrics/x", "/.env", "/%2e%2e/%2e%2e/proc/self/environ")


def everything():
    """Send lists, or what Telnyx sends for one connection."""
    bodies = {"sip_registration_status": REGISTRATION, "active_calls": CALLS}

    async def answer(exchange):
        body = bodies.get(exchange.request.path.rpartition("/")[2])
        await (listing() if body is None else respond(body=json.dumps(body).encode()))(exchange)

    return answer


def has_no_secrets(text):
    """Return whether a text contains no secret."""
    return CANARY not in text and NUMBER.lstrip("+") not in text


def as_text(response):
    """Return a whole response as text, with its body decoded."""
    return f"{response.status_code} {response.reason_phrase}\n{response.headers!r}\n{response.text}"


async def fetch_outputs(http, paths=PATHS):
    """Return the metrics in every format and encoding, and the responses of these paths."""
    responses = [await http.get("/metrics", headers=headers) for headers in SCRAPE_HEADERS]
    responses += [await http.get(path) for path in paths]
    return "\n".join(map(as_text, responses))


async def fetch_all_outputs(http):
    """Return the responses to all paths, including unknown ones, and to other methods."""
    responses = [await http.request(method, path) for method in ("POST", "OPTIONS") for path in ("/metrics", "/")]
    return "\n".join([await fetch_outputs(http, (*PATHS, *MORE_PATHS)), *map(as_text, responses)])


def exception_texts(error):
    """Return the texts of an exception and of all its causes and contexts, even those that a traceback hides."""
    texts, todo = [], [error]
    while todo:
        error = todo.pop()
        if error is not None:
            texts += [str(error), repr(error), *traceback.format_exception(error)]
            todo += [error.__cause__, error.__context__]
    return "\n".join(texts)


@contextlib.contextmanager
def capture_log(log_format):
    """Log to memory as the command does to standard error, at debug level."""
    stderr, handlers = sys.stderr, logging.root.handlers[:]
    sys.stderr = io.StringIO()
    try:
        logs.configure_logging("debug", log_format)
        yield sys.stderr
    finally:
        sys.stderr = stderr
        logging.basicConfig(handlers=handlers, level=logging.WARNING, force=True)
        structlog.reset_defaults()


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
async def test_no_fault_reveals_a_secret(log_format, api, shared_server):
    """Under every fault, no response, debug log line or exception contains a secret."""
    api.rows, leaks = ROWS, []
    with capture_log(log_format) as log:
        async with shared_server.exporter(api.url, key=KEY, timeout=0.2) as exporter:
            for name, answer in ANSWERS.items():
                api.answer(answer)
                exporter.clock.advance(MAX_RETRY_AFTER)
                await exporter.scrape()
                error = exporter.cache.peek().error
                places = {
                    "response": await fetch_outputs(exporter.http),
                    "exception": exception_texts(error),
                    "log": log.getvalue(),
                }
                leaks += [(name, place) for place, text in places.items() if not has_no_secrets(text)]
                assert error is None or isinstance(error, TelnyxError)
                log.truncate(log.seek(0))
    assert {request.headers["authorization"] for request in api.requests} == {f"Bearer {KEY}"}
    assert leaks == []


@pytest.mark.parametrize("label", SENSITIVE_LABELS)
async def test_an_enabled_sensitive_label_is_exposed(label, api, shared_server):
    """An enabled label is exposed, so the tests would find the canaries. Other labels and the password are not."""
    api.rows = ROWS
    async with shared_server.exporter(api.url, key=KEY, sensitive=(label,)) as exporter:
        outputs = await fetch_all_outputs(exporter.http)
    outbound = {"ani_override": NUMBER}
    value = outbound.get(label) or ROWS[0][label]
    assert f'{label}="{value}"' in outputs
    assert f"{CANARY}-password" not in outputs
    assert KEY not in outputs
    for other in set(SENSITIVE_LABELS) - {label}:
        assert f'{other}="' not in outputs


# The real process


ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("TELNYX")}
COMMAND = (sys.executable, "-m", "exporter", "--web.listen-address=127.0.0.1:0")


@contextlib.asynccontextmanager
async def command(*flags, **environment):
    """Run the command, and yield its process, its URL, and the list of lines that it has logged so far."""
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, *flags),
        env=ENVIRONMENT | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, url = [], asyncio.get_running_loop().create_future()

    async def read():
        async for line in process.stdout:
            output.append(line.decode())
            match = re.search(r"http://127\.0\.0\.1:\d+(?=/metrics)", output[-1])
            if match and not url.done():
                url.set_result(match[0])

    reading = asyncio.create_task(read())
    try:
        async with asyncio.timeout(60):
            yield process, await url, output
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await reading


def paths_of(api):
    """Return the paths of all requests so far."""
    return {request.path for request in api.requests}


def cmdline(pid):
    """Return the command line, as a list of processes shows it."""
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")


def is_complete(metrics):
    """Return whether Telnyx was read, with at least one registration and the calls of one connection."""
    wanted = ("telnyx_up 1.0", 'telnyx_connection_registered{connection_id="1"', "telnyx_connection_active_calls{")
    return all(f"\n{line}" in metrics for line in wanted)


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
async def test_the_process_reveals_no_secrets(log_format, api):
    """With all collectors, at debug level and under faults, no response, log line or process list contains a secret."""
    api.rows = ROWS
    flags = ["--log.level=debug", f"--log.format={log_format}", "--cache.ttl=0s", "--telnyx.timeout=1s"]
    flags += ["--telnyx.max-requests-per-second=1000"]
    for collector in COLLECTORS:
        flags += [f"--collector.{collector.name}", f"--collector.{collector.name}.ttl=0s"]
        flags += [f"--collector.{collector.name}.rate=100"] if collector.default_rate else []
    expected = {f"/v2{path}" for each in COLLECTORS for path in each.endpoint.path.split(", ") if "{" not in path}
    async with (
        command(*flags, TELNYX_API_KEY=KEY, TELNYX_BASE_URL=api.url) as (process, url, output),
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http,
    ):
        for answer in (everything(), FAULTS["401"].answer, FAULTS["bad-header"].answer):
            api.answer(everything())
            while not (is_complete((await http.get("/metrics")).text) and expected <= paths_of(api)):  # noqa: ASYNC110 -- no event
                await asyncio.sleep(0.05)
            api.answer(answer)
            assert has_no_secrets(await fetch_all_outputs(http))
        arguments = cmdline(process.pid)
        assert "exporter" in arguments
        assert has_no_secrets(arguments)
    assert "/v2/connections/1/active_calls" in paths_of(api)
    log = "".join(output)
    for event in ("row left out", "refresh failed", "refreshes succeed again"):
        assert event in log
    assert "level=debug" in log or '"level": "debug"' in log
    assert "Traceback" not in log
    assert has_no_secrets(log)


async def test_an_invalid_setting_does_not_reveal_the_key(tmp_path):
    """The error about an invalid setting contains neither the API key nor other secrets."""
    bad = tmp_path / "key"
    bad.write_text(f"{KEY} {CANARY}\n")
    for flags, environment in (
        ((), {"TELNYX_API_KEY": f"{KEY} {CANARY}"}),
        ((f"--telnyx.api-key-file={bad}",), {}),
        ((), {"TELNYX_API_KEY": "k", "TELNYX_BASE_URL": f"https://{CANARY}:{CANARY}@api.example/v2"}),
    ):
        process = await asyncio.create_subprocess_exec(
            *(*COMMAND, *flags),
            env=ENVIRONMENT | environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(20):
            output, _ = await process.communicate()
        assert process.returncode == 2
        assert output.count(b"\n") == 1
        assert has_no_secrets(output.decode())
