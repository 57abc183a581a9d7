"""Secrets are nowhere: canaries in all of them, looked for in all that leaves the exporter, whatever happens to it."""

import asyncio
import contextlib
import io
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
from exporter.cache import MAX_RETRY_AFTER
from exporter.config.settings import SENSITIVE_LABELS
from exporter.telnyx.errors import TelnyxError

CANARY = "c4n4ry"
"""In every secret, and nowhere else."""
KEY = f"KEY{CANARY}key"
NUMBER = "+15550142424"
"""The one secret that is digits."""

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
    connection(4, user_name={f"{CANARY}-user": f"{CANARY}-user"}),  # can't be read, and is spoken of in the log
    {"id": None, "password": f"{CANARY}-password", "user_name": f"{CANARY}-user"},
    f"{CANARY}-row",
]

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
ANSWERS = {"right": listing()} | {name: fault.answer for name, fault in FAULTS.items()} | ECHOES
"""With those that are told apart by nothing but how they repeat the key."""

ASKED = [
    {"accept": accept, "accept-encoding": encoding}
    for accept in ("text/plain;version=0.0.4", "text/plain;version=1.0.0", "application/openmetrics-text;version=1.0.0")
    for encoding in ("identity", "gzip")
]
PATHS = ("/", "/-/ready")
"""What can change with what Telnyx answers."""
MORE_PATHS = ("/-/healthy", "/nothing", "/-/", "/metrics/x", "/.env", "/%2e%2e/%2e%2e/proc/self/environ")


def clean(text):
    """Tell whether a text holds no secret."""
    return CANARY not in text and NUMBER.lstrip("+") not in text


def everything(response):
    """Return all of an answer as text, its body decoded."""
    return f"{response.status_code} {response.reason_phrase}\n{response.headers!r}\n{response.text}"


async def look_around(http, paths=PATHS):
    """Return the metrics in each way that they can be asked for, and what is at these paths."""
    answers = [await http.get("/metrics", headers=headers) for headers in ASKED]
    answers += [await http.get(path) for path in paths]
    return "\n".join(map(everything, answers))


async def look_everywhere(http):
    """Return every answer that there is to get."""
    answers = [await http.request(method, path) for method in ("POST", "OPTIONS") for path in ("/metrics", "/")]
    return "\n".join([await look_around(http, (*PATHS, *MORE_PATHS)), *map(everything, answers)])


def chain(error):
    """Return what an exception and all that it was raised from or during say, even what a traceback leaves out."""
    said, todo = [], [error]
    while todo:
        error = todo.pop()
        if error is not None:
            said += [str(error), repr(error), *traceback.format_exception(error)]
            todo += [error.__cause__, error.__context__]
    return "\n".join(said)


@contextlib.contextmanager
def logging_to_memory(form):
    """Log as the command does, at debug level."""
    before, handlers = sys.stderr, logging.root.handlers[:]
    sys.stderr = io.StringIO()
    try:
        logs.configure("debug", form)
        yield sys.stderr
    finally:
        sys.stderr = before
        logging.basicConfig(handlers=handlers, level=logging.WARNING, force=True)
        structlog.reset_defaults()


@pytest.mark.parametrize("form", ["logfmt", "json"])
async def test_no_fault_brings_a_secret_out(form, peer, site):
    """No answer, no line of the log at debug level and no exception has a secret, under any fault there is."""
    peer.rows, leaks = ROWS, []
    with logging_to_memory(form) as log:
        async with site.exporter(peer.url, key=KEY, timeout=0.2) as exporter:
            for name, answer in ANSWERS.items():
                peer.answer(answer)
                exporter.clock.skip(MAX_RETRY_AFTER)
                await exporter.scrape()
                error = exporter.cache.peek().error
                places = {
                    "answer": await look_around(exporter.http),
                    "exception": chain(error),
                    "log": log.getvalue(),
                }
                leaks += [(name, place) for place, text in places.items() if not clean(text)]
                assert error is None or isinstance(error, TelnyxError)
                log.truncate(log.seek(0))
    assert {request.headers["authorization"] for request in peer.requests} == {f"Bearer {KEY}"}
    assert leaks == []


@pytest.mark.parametrize("label", SENSITIVE_LABELS)
async def test_a_sensitive_label_is_shown_when_asked_for(label, peer, site):
    """The label that is asked for is there with its value, so the canaries could be found, and the password is not."""
    peer.rows = ROWS
    async with site.exporter(peer.url, key=KEY, sensitive=(label,)) as exporter:
        found = await look_everywhere(exporter.http)
    outbound = {"ani_override": NUMBER}
    value = outbound.get(label) or ROWS[0][label]
    assert f'{label}="{value}"' in found
    assert f"{CANARY}-password" not in found
    assert KEY not in found
    for other in set(SENSITIVE_LABELS) - {label}:
        assert f'{other}="' not in found


# The real process


ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("TELNYX")}
COMMAND = (sys.executable, "-m", "exporter", "--web.listen-address=127.0.0.1:0")


@contextlib.asynccontextmanager
async def command(*flags, **environment):
    """Run the command in a process of its own, and give it, its URL, and what it has logged so far."""
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, *flags),
        env=ENVIRONMENT | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, url = [], asyncio.get_running_loop().create_future()

    async def read():
        async for line in process.stdout:
            said.append(line.decode())
            where = re.search(r"http://127\.0\.0\.1:\d+(?=/metrics)", said[-1])
            if where and not url.done():
                url.set_result(where[0])

    reading = asyncio.create_task(read())
    try:
        async with asyncio.timeout(20):
            yield process, await url, said
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await reading


def cmdline(pid):
    """Return what a list of processes shows."""
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")


@pytest.mark.parametrize("form", ["logfmt", "json"])
async def test_the_process_keeps_its_secrets(form, peer):
    """The command, at debug level and under faults, shows no secret: not in an answer, its log or the process list."""
    peer.rows = ROWS
    flags = ("--log.level=debug", f"--log.format={form}", "--cache.ttl=0s", "--telnyx.timeout=300ms")
    async with (
        command(*flags, TELNYX_API_KEY=KEY, TELNYX_BASE_URL=peer.url) as (process, url, said),
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        for answer in (listing(), FAULTS["401"].answer, FAULTS["bad-header"].answer):
            peer.answer(listing())
            while "\ntelnyx_up 1.0\n" not in (await http.get("/metrics")).text:  # noqa: ASYNC110 -- by the clock of the process
                await asyncio.sleep(0.05)
            peer.answer(answer)
            assert clean(await look_everywhere(http))
        arguments = cmdline(process.pid)
        assert "exporter" in arguments
        assert clean(arguments)
    log = "".join(said)
    for event in ("connection left out", "Telnyx API request failed", "Telnyx API is reachable again"):
        assert event in log
    assert "level=debug" in log or '"level": "debug"' in log
    assert "Traceback" not in log
    assert clean(log)


async def test_a_broken_setting_does_not_show_the_key(tmp_path):
    """What is wrong with a key is said without the key."""
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
            said, _ = await process.communicate()
        assert process.returncode == 2
        assert said.count(b"\n") == 1
        assert clean(said.decode())
