"""Believable statuses for tests of the status page."""

from datetime import UTC, datetime, timedelta

import msgspec

from exporter.status.problems import PROBLEMS
from exporter.status.report import (
    AboutReport,
    AccountReport,
    ChangeReport,
    CollectorReport,
    ProblemReport,
    ProblemRow,
    Report,
    RowReport,
    State,
)
from exporter.status.status import Status
from exporter.status.table import ConnectionRow, ConnectionTable

NOW = datetime(2026, 11, 29, 1, 32, 52, tzinfo=UTC)
FIRST_ID = 1_381_893_374_499_453_584

COLLECTORS = {
    "credential-connections": "Credential connections",
    "ip-connections": "IP connections",
    "fqdn-connections": "FQDN connections",
    "uac-connections": "UAC connections",
    "external-connections": "External connections",
    "call-control-applications": "Call Control applications",
    "texml-applications": "TeXML applications",
    "fax-applications": "Fax applications",
    "outbound-voice-profiles": "Outbound voice profiles",
    "balance": "Balance and available credit",
    "spend-limits": "Spend limits",
    "connection-counts": "Connection counts",
    "endpoints": "IP addresses and FQDNs of connections",
    "phone-numbers": "Phone numbers",
    "telephony-credentials": "Telephony credentials",
    "registrations": "SIP registrations of credential connections",
    "active-calls": "Active calls of applications and of connections with a webhook",
}
SITES = ("Ashburn, VA", "Amsterdam, Netherlands", "Sydney, Australia", "Latency")
TYPES = ("credential_connection", "ip_connection", "fqdn_connection", "uac_connection", "texml_application")
CODES = ("ashburn", "amsterdam", "sydney", "anycast")
PURPOSES = ("pbx", "fax", "contact-center", "alarm", "backup")


def ago(seconds):
    """Return the moment that was these seconds ago."""
    return NOW - timedelta(seconds=seconds)


def connection_name(number):
    """Return the name of a connection."""
    tree = ("foxglove", "juniper", "harbor", "meadow", "cobalt", "larch", "quartz")[number % 7]
    return f"{tree}-{CODES[number % 4]}-{PURPOSES[number % 5]}-{number}"


def connection(number=0, **changes):
    """Return a row of the table of connections."""
    kind = TYPES[number % 7 % 5]
    is_credential = kind == "credential_connection"
    values = {
        "account": "",
        "id": str(FIRST_ID + number * 7919),
        "name": connection_name(number),
        "type": kind,
        "active": number % 9 != 4,
        "registered": number % 6 != 1 if is_credential else None,
        "site": "" if kind == "texml_application" else SITES[number % 4],
        "encryption": "" if kind == "texml_application" else ("SRTP", "none")[number % 3 == 2],
        "inbound_limit": (10, 25, None, 2500)[number % 4],
        "outbound_limit": (20, None, 5)[number % 3],
        "updated_at": f"{ago(number**2 * 9770 + 95):%Y-%m-%dT%H:%M:%SZ}",
    }
    return ConnectionRow(**values | changes)


def table(rows=50, matches=1234, page=1, *, account="", **changes):
    """Return a page of the table of connections. `rows` are these rows, or their number."""
    first = (page - 1) * 50
    values = {
        "rows": rows
        if isinstance(rows, tuple)
        else tuple(connection(first + number, account=account) for number in range(rows)),
        "first": first + 1 if rows else 0,
        "matches": matches,
        "total": 1234,
        "page": page,
        "pages": max(1, -(-matches // 50)),
        "types": TYPES,
        "sites": SITES,
        "encryptions": ("SRTP", "none"),
    }
    return ConnectionTable(**values | changes)


def collector(name="credential-connections", **changes):
    """Return a collector that is up to date."""
    number = list(COLLECTORS).index(name) if name in COLLECTORS else 0
    values = {
        "account": "",
        "collector": name,
        "title": COLLECTORS.get(name, name),
        "state": State.UP_TO_DATE,
        "summary": "Up to date.",
        "reason": "",
        "advice": "",
        "rows": (812, 143, 88, 40, 6, 25, 31, 89, 12, 1, 4, 1, 231, 12_408, 57, 812, 93)[number],
        "rows_left_out": 0,
        "age_seconds": 3.2 + number,
        "last_success": ago(3.2 + number),
        "duration_seconds": 0.213 + number / 7,
        "retry_seconds": None,
    }
    return CollectorReport(**values | changes)


def failing(name="credential-connections", **changes):
    """Return a collector whose last refresh failed."""
    failure = {
        "state": State.FAILING,
        "summary": "Retrying in 12 s: Telnyx answered 503 (error 10007).",
        "reason": "server_error",
        "advice": "Telnyx or a proxy is failing; see status.telnyx.com. The exporter keeps retrying.",
        "age_seconds": 95.2,
        "last_success": ago(95.2),
        "duration_seconds": 9.871,
        "retry_seconds": 12.0,
    }
    return collector(name, **failure | changes)


def waiting(name, **changes):
    """Return a collector without data."""
    absent = dict.fromkeys(("rows", "rows_left_out", "age_seconds", "last_success", "duration_seconds"))
    state = {"state": State.WAITING, "summary": "There is no data yet. The next scrape starts a refresh."}
    return collector(name, **absent | state | changes)


def problem(kind="disabled", count=3, **changes):
    """Return a problem, with at most 20 of its rows."""
    (known,) = (each for each in PROBLEMS if each.kind == kind)
    detail = "50.00 of 50.00 USD" if kind.startswith("spend_") else ""
    rows = tuple(
        ProblemRow(id=str(FIRST_ID + number), name=connection_name(3 * number), detail=detail, account="")
        for number in range(min(count, 20))
    )
    values = {"kind": kind, "title": known.title, "runbook": known.runbook, "count": count, "rows": rows}
    return ProblemReport(**values | changes)


def change(kind="disabled", count=1, *, seconds=172.0, detail="", **changes):
    """Return a change, with at most 10 of its rows."""
    rows = tuple(
        RowReport(id=str(FIRST_ID + number), name=connection_name(int(seconds) % 97 + number), detail=detail)
        for number in range(min(count, 10))
    )
    values = {"time": ago(seconds), "account": "", "collector": "credential-connections", "change": kind}
    return ChangeReport(**values | {"count": count, "rows": rows} | changes)


def about(**changes):
    """Return what runs."""
    values = {
        "version": "0.1.0",
        "revision": "0123456789abcdef0123456789abcdef01234567",
        "build_date": "2026-11-20T08:00:00Z",
        "demo": False,
        "base_url": "https://api.telnyx.com/v2",
        "filters": {},
        "shard": 0,
        "total_shards": 1,
        "started_at": ago(4 * 86_400 + 1234),
    }
    return AboutReport(**values | changes)


def report(**changes):
    """Return the report of an exporter that is well, and of an account without problems."""
    values = {
        "about": about(),
        "ok": True,
        "summary": "All 17 collectors are up to date.",
        "accounts": (AccountReport("", 600.0, 583.0, ago(-8)),),
        "collectors": tuple(map(collector, COLLECTORS)),
        "attention": (),
        "changes": (),
    }
    return Report(**values | changes)


def status(connections=None, names=(), missing="", **changes):
    """Return a status with accounts of these names. `changes` are those of its report."""
    return Status(report(**changes), table() if connections is None else connections, names, missing)


def busy_status():
    """Return a status with something in every section, and with problems."""
    names = list(COLLECTORS)
    collectors = [collector(name) for name in names[:-3]]
    collectors[0] = failing()
    collectors[4] = collector(names[4], rows_left_out=2)
    collectors += [
        collector(names[-3], state=State.STALE, summary="Older than its TTL. The next scrape refreshes it."),
        waiting(names[-2]),
        waiting(names[-1], state=State.READING, summary="The first refresh is running."),
    ]
    changes = [
        change("disabled", seconds=172),
        change("limits_changed", seconds=1320, detail="outbound 10 to 20"),
        change("registration_lost", 3, seconds=1500, collector="registrations"),
        change("registered", 2, seconds=4000, collector="registrations"),
        change("encryption_changed", seconds=9000, detail="SRTP to none"),
        change("added", 10_000, seconds=90_000, collector="ip-connections"),
        change("removed", seconds=200_000),
        change("enabled", seconds=250_000),
        *(change("registered", 1, seconds=260_000 + 500 * number, collector="registrations") for number in range(20)),
    ]
    kinds = {"spend_blocked": 1, "disabled": 137, "not_registered": 23, "unencrypted": 411, "no_outbound_limit": 2}
    return status(
        about=about(demo=True, base_url="http://127.0.0.1:45133/v2", filters={"connection_name": "sydney"}),
        ok=False,
        summary="1 of 17 collectors fails.",
        collectors=tuple(collectors),
        attention=tuple(problem(kind, count) for kind, count in kinds.items()),
        changes=tuple(changes),
    )


def fleet_status(accounts=400):
    """Return a status of many accounts, of which one rejects its key."""
    names = tuple(f"customer-{number:03}" for number in range(accounts))
    collectors = [collector(name, account=account) for account in names for name in list(COLLECTORS)[:8]]
    collectors[-1] = failing(account=names[-1], reason="unauthorized", advice="Telnyx rejects the API key: replace it.")
    rows = tuple(connection(number, account=names[number % accounts]) for number in range(50))
    found = problem("disabled", 5)
    rows_of_problem = tuple(
        msgspec.structs.replace(row, account=names[3 * i % accounts]) for i, row in enumerate(found.rows)
    )
    return status(
        table(rows, matches=20_000, total=20_000),
        names,
        about=about(total_shards=4, shard=1),
        ok=False,
        summary=f"1 of {len(collectors):,} collectors fails.",
        accounts=tuple(AccountReport(name, 600.0, 100.0 + i, ago(-8)) for i, name in enumerate(names)),
        collectors=tuple(collectors),
        attention=(msgspec.structs.replace(found, rows=rows_of_problem),),
        changes=(change("disabled", account=names[1]),),
    )
