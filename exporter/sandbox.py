"""A Telnyx-compatible API on loopback, for `--demo` and for tests.

It answers `GET /v2/credential_connections` for an account that exists nowhere else: hosts end in `.example`, phone
numbers come from the ranges that regulators keep free for fiction, and secrets are noise.
"""

from __future__ import annotations

import argparse
import hmac
import math
import os
import random
import re
import socket
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.types import Receive, Scope, Send

Row: TypeAlias = dict[str, Any]
"""One connection as the API's JSON has it."""

_CITIES = (  # with an anchorsite, a country and a phone number less its last two digits
    ("berlin", "Frankfurt, Germany", "DE", "+4930231250"),
    ("chicago", "Chicago, IL", "US", "+131255501"),
    ("london", "London, UK", "GB", "+4420794600"),
    ("manchester", "London, UK", "GB", "+4416149600"),
    ("paris", "Amsterdam, Netherlands", "FR", "+331990000"),
    ("san-jose", "San Jose, CA", "US", "+140855501"),
    ("sydney", "Sydney, Australia", "AU", "+612555000"),
    ("toronto", "Toronto, Canada", "CA", "+141655501"),
    ("vancouver", "Vancouver, Canada", "CA", "+160455501"),
    ("washington", "Ashburn, VA", "US", "+120255501"),
)
_COMPANIES = ("acme", "bluebird", "cobalt", "driftwood", "everpine", "foxglove", "granite", "harbour")
_SYSTEMS = ("pbx", "sbc", "dialer", "contact-center", "ivr", "fax", "softphones")
_ODD_NAMES = ('Café "Zürich"', "Køkken & Bar", r"Lobby \ Reception", "東京サポート", "O'Brien “Hotline” ☎")
_WEBHOOKS = (
    *(None, None, None),
    "https://telnyx.{company}.example/voice",
    "https://telnyx:{secret}@hooks.{company}.example/events",
    "https://hooks.{company}.example/services/{secret}",
    "https://hooks.{company}.example/telnyx?token={secret}",
)

_LIMITS = (None, 5, 10, 25, 50, 100, 250)
_OFTEN = (True, False)
_SELDOM = (True, False, False, False)
_CHOICES: Row = {
    "record_type": ("credential_connection",),
    "dtmf_type": ("RFC 2833", "RFC 2833", "RFC 2833", "RFC 2833", "Inband", "SIP INFO"),
    "default_on_hold_comfort_noise_enabled": _OFTEN,
    "encode_contact_header_enabled": _SELDOM,
    "onnet_t38_passthrough_enabled": _SELDOM,
    "ios_push_credential_id": (None, None, None, "7d0d8f5c-3c0a-4a55-9f0e-5f3f1c6f2a10"),
    "android_push_credential_id": (None, None, None, "b52f0a5e-0d1b-4c39-8a43-2f6c0e7d9b34"),
    "webhook_api_version": ("1", "2", "2", "2"),
    "webhook_timeout_secs": (None, 5, 10, 25),
    "call_cost_in_webhooks": _SELDOM,
    "tags": ([], [], [], ["production"], ["staging"], ["production", "recorded"], ["emergency", "production"]),
    "noise_suppression": ("disabled", "disabled", "inbound", "outbound", "both"),
    "noise_suppression_details": {"engine": ("denoiser", "deep_filter_net"), "attenuation_limit": (60, 80, 100)},
    "jitter_buffer": {
        "enable_jitter_buffer": _SELDOM,
        "jitterbuffer_msec_min": (40, 60, 80),
        "jitterbuffer_msec_max": (200, 300, 400),
    },
    "rtcp_settings": {
        "port": ("rtp+1", "rtp+1", "rtcp-mux"),
        "capture_enabled": _SELDOM,
        "report_frequency_secs": (5, 10, 30),
    },
    "inbound": {
        "ani_number_format": ("+E.164", "E.164", "+E.164-national"),
        "dnis_number_format": ("+e164", "e164", "national", "sip_username"),
        "codecs": (["G722", "G711U", "G711A"], ["G711U", "G711A"], ["OPUS", "G722", "G711U", "G729"]),
        "default_routing_method": ("sequential", "sequential", "round-robin"),
        "channel_limit": _LIMITS,
        "generate_ringback_tone": _OFTEN,
        "isup_headers_enabled": _SELDOM,
        "prack_enabled": _SELDOM,
        "sip_compact_headers_enabled": _OFTEN,
        "shaken_stir_enabled": _OFTEN,
        "simultaneous_ringing": ("enabled", "disabled"),
        "timeout_1xx_secs": (3, 5, 10),
        "timeout_2xx_secs": (30, 60, 90),
    },
    "outbound": {
        "call_parking_enabled": (None, False, True),
        "ani_override_type": ("always", "normal", "emergency"),
        "channel_limit": _LIMITS,
        "instant_ringback_enabled": _SELDOM,
        "generate_ringback_tone": _SELDOM,
        "t38_reinvite_source": ("telnyx", "telnyx", "customer"),
        "outbound_voice_profile_id": ("1293384261075731499", "1583046725390141820", "1902755384112408573"),
    },
}
"""What a field may be, each choice as likely as the next."""

_FIRST = 1_546_300_800_000  # 2019-01-01, in milliseconds like every time in this module
_LAST = 1_780_272_000_000  # 2026-06-01
_ID_EPOCH = 1_288_834_974_657  # Telnyx's decimal ids read as snowflakes: milliseconds since then, above 22 other bits
_MOST_STEPS = 300  # what a laptop has slept through is not made up for


def _iso(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _draw(rng: random.Random, choices: Row) -> Row:
    return {name: _draw(rng, of) if isinstance(of, dict) else rng.choice(of) for name, of in choices.items()}


def _new_row(rng: random.Random, index: int, created: int) -> Row:
    """Return a believable connection; what is rare comes by its index, so that small accounts have it too."""

    def nth(every: int, first: int) -> bool:
        return index % every == first

    city, anchorsite, country, number = rng.choice(_CITIES)
    company = rng.choice(_COMPANIES)
    name = rng.choice(_ODD_NAMES) + " " if nth(12, 3) else f"{company}-{city}-{rng.choice(_SYSTEMS)}-"
    secret = f"{rng.getrandbits(96):024x}"
    event_url, failover_url = (
        url and url.format(company=company, secret=secret) for url in (rng.choice(_WEBHOOKS), rng.choice(_WEBHOOKS))
    )
    fields = {
        "id": str((created - _ID_EPOCH) << 22 | rng.getrandbits(22)),
        "active": not nth(11, 4),
        "connection_name": f"{name}{index + 1:02}",
        "user_name": f"{company}{rng.randrange(10_000, 100_000)}",
        "password": f"{rng.getrandbits(80):020x}",
        "created_at": _iso(created),
        "updated_at": _iso(max(created, rng.randrange(_FIRST, _LAST))),
        "anchorsite_override": rng.choice((anchorsite, "Latency", "Latency")),
        "encrypted_media": None if nth(8, 1) else "SRTP",
        "sip_uri_calling_preference": "unrestricted" if nth(20, 7) else rng.choice(("disabled", "internal")),
        "webhook_event_url": event_url,
        "webhook_event_failover_url": event_url and failover_url,
        "outbound": {
            "ani_override": rng.choice((f"{number}{rng.randrange(100):02}", None, None)),
            "localization": country,
        },
    }
    return _merged(_draw(rng, _CHOICES), fields)


def _part(row: Row, name: str) -> Row:
    part: Row = row[name] or {}
    return part


def _merged(row: Row, fields: Row) -> Row:
    """Return the row with these fields, an object's own fields merged too."""
    return row | {
        name: row[name] | value if isinstance(value, dict) and isinstance(row.get(name), dict) else value
        for name, value in fields.items()
    }


_SORTS: Mapping[str, Callable[[Row], Any] | None] = {
    "created_at": None,  # as stored
    "connection_name": lambda row: row["connection_name"] or "",
    "active": lambda row: row["active"] is not False,
}
_FILTERS: Mapping[str, Callable[[Row, str], bool]] = {
    "filter[connection_name][contains]": lambda row, text: text.lower() in (row["connection_name"] or "").lower(),
    "filter[fqdn]": lambda row, text: row.get("fqdn") == text,  # a credential connection has none
    "filter[outbound_voice_profile_id]": lambda row, text: (
        _part(row, "outbound").get("outbound_voice_profile_id") == text
    ),
}


class Account:
    """A simulated account of `size` connections, in which one thing changes every `step` seconds.

    The same seed gives the same connections. What is due changes when the list is read; with a `step` of 0 or `None`
    nothing does. Rows are replaced and never altered, so that one held from before shows what has changed.
    """

    def __init__(
        self, size: int = 55, seed: int = 1, *, clock: Callable[[], float] = time.time, step: float | None = 45.0
    ) -> None:
        self.clock = clock
        self._rng = random.Random(seed)  # noqa: S311 -- reproducible on purpose
        self._step = step
        self._born = clock()
        self._steps = 0
        self._added = 0
        self._newest = 0
        self._rows: list[Row] = []
        self._encoded: list[bytes] = []  # each row's JSON at the row's place, so that a page is a join
        for index in range(size):
            self._append(_FIRST + int((_LAST - _FIRST) * (index + self._rng.random()) / size), {})

    @property
    def rows(self) -> list[Row]:
        """Every connection, in the order of creation; only the methods of this class may change them."""
        self._move()
        return self._rows

    def encoded(self, sort: str = "created_at", filters: Mapping[str, str] | None = None) -> list[bytes]:
        """Return the JSON of the rows that pass the filters, both by the names of the API's parameters."""
        self._move()
        key = _SORTS[sort.removeprefix("-")]
        found = self._encoded
        if key or filters:
            tests = [(_FILTERS[name], text) for name, text in (filters or {}).items()]
            pairs = [
                pair
                for pair in zip(self._rows, self._encoded, strict=True)
                if all(test(pair[0], text) for test, text in tests)
            ]
            if key:
                pairs.sort(key=lambda pair: key(pair[0]))
            found = [encoded for _, encoded in pairs]
        return found[::-1] if sort.startswith("-") else found

    def add(self, **fields: Any) -> Row:
        """Add a believable connection with these fields, created now, and return it."""
        self._move()
        return self._append(self._now(), fields)

    def update(self, connection_id: str, **fields: Any) -> Row:
        """Merge these fields into a connection, updated now, and return it; `ValueError` if there is none."""
        self._move()
        return self._change(self._place(connection_id), self._now(), fields)

    def remove(self, connection_id: str) -> None:
        """Remove a connection; `ValueError` if there is none."""
        self._move()
        place = self._place(connection_id)
        del self._rows[place], self._encoded[place]

    def _now(self) -> int:
        return int(self.clock() * 1000)

    def _place(self, connection_id: str) -> int:
        return [row["id"] for row in self._rows].index(connection_id)

    def _append(self, created: int, fields: Row) -> Row:
        self._newest = max(created, self._newest + 1, _FIRST)
        row = _merged(_new_row(self._rng, self._added, self._newest), fields)
        self._added += 1
        self._rows.append(row)
        self._encoded.append(msgspec.json.encode(row))
        return row

    def _change(self, place: int, updated: int, fields: Row) -> Row:
        row = _merged(self._rows[place], {"updated_at": _iso(updated), **fields})
        self._rows[place], self._encoded[place] = row, msgspec.json.encode(row)
        return row

    def _move(self) -> None:
        if not self._step:
            return
        due = int((self.clock() - self._born) / self._step)
        for number in range(max(self._steps, due - _MOST_STEPS), due):
            self._take_step(int((self._born + (number + 1) * self._step) * 1000))
        self._steps = max(self._steps, due)

    def _take_step(self, at: int) -> None:
        """Change one thing; what is off comes back, so that an account left alone stays as it is on the whole."""
        (kind,) = self._rng.choices(("limit", "disable", "decrypt", "add"), (72, 16, 10, 2))
        if kind == "add" or not self._rows:
            self._append(at, {})
            return
        place = self._rng.randrange(len(self._rows))
        row = self._rows[place]
        change: Row
        if not row["active"]:
            change = {"active": True}
        elif not row["encrypted_media"]:
            change = {"encrypted_media": "SRTP"}
        elif kind == "disable":
            change = {"active": False}
        elif kind == "decrypt":
            change = {"encrypted_media": None}
        else:
            way = self._rng.choice(("inbound", "outbound"))
            limits = [limit for limit in _LIMITS if limit != _part(row, way).get("channel_limit")]
            change = {way: {"channel_limit": self._rng.choice(limits)}}
        self._change(place, at, change)


_PATH = "/v2/credential_connections"
_PAGE_SIZE = 250
_WINDOW = 60  # seconds
_ERRORS = {
    400: ("10015", "Bad Request"),
    401: ("10009", "Authentication failed"),
    404: ("10005", "Resource not found"),
    429: ("10011", "Too many requests"),
}


class _RequestError(Exception):
    """A request that is refused, in words of our own: a detail that quoted the request could quote a key."""

    def __init__(self, status: int, detail: str, parameter: str | None = None) -> None:
        super().__init__(detail)
        code, title = _ERRORS[status]
        source = {"source": {"parameter": parameter}} if parameter else {}
        self.status = status
        self.body = msgspec.json.encode({"errors": [{"code": code, "title": title, "detail": detail, **source}]})


class _Api:
    """The API as an ASGI application, so that any path and method gets one of Telnyx's answers."""

    def __init__(self, account: Account, api_key: str, rate_limit: int) -> None:
        self._account = account
        self._authorization = f"Bearer {api_key}".encode()
        self._rate_limit = rate_limit
        self._window = -1.0
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = self._count()
        try:
            status, body = 200, self._answer(Request(scope), headers)
        except _RequestError as error:
            status, body = error.status, error.body
        await Response(body, status, headers, media_type="application/json")(scope, receive, send)

    def _count(self) -> dict[str, str]:
        """Count a request and return the headers that say so, `retry-after` among them when it is one too many."""
        if not self._rate_limit:
            return {}
        window, elapsed = divmod(self._account.clock(), _WINDOW)
        if window != self._window:
            self._window, self._requests = window, 0
        self._requests += 1
        remaining = self._rate_limit - self._requests
        reset = str(math.ceil(_WINDOW - elapsed))
        headers = {
            "x-ratelimit-limit": str(self._rate_limit),
            "x-ratelimit-remaining": str(max(remaining, 0)),
            "x-ratelimit-reset": reset,
        }
        return headers if remaining >= 0 else headers | {"retry-after": reset}

    def _answer(self, request: Request, headers: Mapping[str, str]) -> bytes:
        if "retry-after" in headers:
            raise _RequestError(429, "You have exceeded the maximum number of allowed requests.")
        if not hmac.compare_digest(request.headers.get("authorization", "").encode("latin-1"), self._authorization):
            raise _RequestError(401, "Could not find any usable credentials in the request.")
        if request.method != "GET" or request.scope["path"] != _PATH:
            raise _RequestError(404, f"The sandbox knows GET {_PATH} and nothing else.")
        query = request.query_params
        number = _whole_number(query, "page[number]", 1, 10**9)
        size = _whole_number(query, "page[size]", _PAGE_SIZE, _PAGE_SIZE)
        rows = self._account.encoded(_sort(query), _filters(query))
        meta = {
            "total_pages": math.ceil(len(rows) / size),
            "total_results": len(rows),
            "page_number": number,
            "page_size": size,
        }
        page = rows[(number - 1) * size : number * size]
        return b'{"data":[%b],"meta":%b}' % (b",".join(page), msgspec.json.encode(meta))


def _whole_number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if not re.fullmatch("[0-9]{1,10}", text) or not 1 <= int(text) <= most:
        raise _RequestError(400, f"This must be a whole number from 1 to {most}.", name)
    return int(text)


def _sort(query: Mapping[str, str]) -> str:
    sort = query.get("sort", "created_at")
    if sort.removeprefix("-") not in _SORTS:
        raise _RequestError(400, f"This must be one of {', '.join(_SORTS)}, with '-' before it for descending.", "sort")
    return sort


def _filters(query: Mapping[str, str]) -> dict[str, str]:
    filters = {name: query[name] for name in _FILTERS if name in query}
    for name, text in filters.items():
        least = 3 if name.endswith("[contains]") else 1
        if len(text) < least:
            raise _RequestError(400, f"This must have {least} or more characters.", name)
    return filters


def create_app(account: Account, *, api_key: str, rate_limit: int = 600) -> Starlette:
    """Return the API for this account; `rate_limit` is in requests a minute, and 0 is none."""
    return Starlette(routes=[Route("/{path:path}", _Api(account, api_key, rate_limit))])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _loopback(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    with suppress(ValueError):
        if IPv4Address(host).is_loopback and int(port) in range(1 << 16):
            return host, int(port)
    raise argparse.ArgumentTypeError("must be a loopback address and a port, such as 127.0.0.1:18080")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve a sandbox until interrupted; the API key is `TELNYX_API_KEY` of the environment, or else `sandbox`."""
    parser = _Parser("python -m exporter.sandbox", description="A Telnyx-compatible API on loopback.")
    parser.add_argument("--listen-address", type=_loopback, default="127.0.0.1:18080", help="port 0 is any free one")
    parser.add_argument("--size", type=int, default=55, help="connections")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same connections")
    parser.add_argument("--step", type=int, default=45, help="seconds between two changes, 0 for none")
    parser.add_argument("--rate-limit", type=int, default=600, help="requests a minute, 0 for no limit")
    options = parser.parse_args(argv)
    if min(options.size, options.step, options.rate_limit) < 0:
        parser.error("--size, --step and --rate-limit must be 0 or more")
    host, port = options.listen_address
    try:
        listener = socket.create_server((host, port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)  # its own text repeats the address as Python writes it
        parser.error(f"cannot listen on {host}:{port}: {reason}")

    import uvicorn  # noqa: PLC0415 -- whoever takes the app alone needs no server

    with listener, suppress(KeyboardInterrupt):
        account = Account(options.size, options.seed, step=options.step)
        app = create_app(account, api_key=os.environ.get("TELNYX_API_KEY") or "sandbox", rate_limit=options.rate_limit)
        sys.stderr.write(f"A sandbox of {options.size} connections: http://{host}:{listener.getsockname()[1]}/v2\n")
        uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="warning", lifespan="off")).run([listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
