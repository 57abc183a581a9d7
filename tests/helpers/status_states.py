"""Exporters in all states that the status page can show, for tests of the page."""

import contextlib

from connections import CONNECTION_COLLECTORS
from programs import ALL_COLLECTORS, exporter, get, get_json, serve_api, wait_until
from starlette.responses import Response

from exporter.sandbox import Account, create_app, create_shared_app

KEY = "KEY-of-the-status-page"
RATE_LIMIT = 100_000
"""Requests per minute that the sandbox allows. The exporter shows how many are left."""
ALL_CONNECTIONS = tuple(f"--collector.{collector.name}" for collector in CONNECTION_COLLECTORS)

HOSTILE_NAMES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</title></style></td></table><h1>Injected</h1>",
    "<b>bold</b> & &lt;i&gt;",
    "{{7*7}}{% raw %}${7*7}",
    "javascript:alert(1)",
    "\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe\N{POP DIRECTIONAL FORMATTING}",
    "שלום",
    "%3Cscript%3E?a=b&c=d#e",
    "a\N{COMBINING DOT BELOW}" * 50,
)
"""Names that the page must show as they are."""
LONG_NAME = "apac".ljust(64, "-")
"""The name of an account."""
ENDLESS_NAME = f"begin{'x' * 10_000}end"


def wait_until_read(url):
    """Wait until all collectors have read their data, or failed."""

    def has_read():
        get(f"{url}/metrics")
        states = {collector["state"] for collector in get_json(f"{url}/api/v1/status")["collectors"]}
        return not states & {"waiting", "reading"}

    wait_until(has_read, "reading everything")


@contextlib.contextmanager
def read_account(folder, account, *flags):
    """Run an exporter that has read this account of the sandbox, and yield its URL."""
    with (
        serve_api(create_app(account, api_key=KEY, rate_limit=RATE_LIMIT)) as api,
        exporter(folder, *flags, TELNYX_BASE_URL=api, TELNYX_API_KEY=KEY) as url,
    ):
        wait_until_read(url)
        yield url


def large_account():
    """Return an account with hundreds of connections that don't change."""
    return Account(120, step=0)


@contextlib.contextmanager
def hostile_names(folder):
    """Run an exporter of connections with hostile names, which have just been disabled."""
    names = (*HOSTILE_NAMES, ENDLESS_NAME, "", None)
    account = Account(len(names), step=0)
    for row, name in zip(list(account.rows), names, strict=True):
        account.update(row["id"], connection_name=name, anchorsite_override=name, active=True)
    with read_account(folder, account, "--cache.ttl=0s") as url:
        for row in list(account.rows):
            account.update(row["id"], active=False)
        get(f"{url}/metrics")
        yield url


@contextlib.contextmanager
def several_accounts(folder, *flags):
    """Run an exporter of three accounts. The names are short and long, and Telnyx rejects the key of one."""
    keys = {name: f"KEY-of-{name}" for name in ("emea", LONG_NAME)}
    (folder / "keys").mkdir()
    for name, key in (keys | {"wrong": "KEY-that-is-rejected"}).items():
        (folder / "keys" / name).write_text(key)
    apis = {key: create_app(Account(3, seed, step=0), api_key=key) for seed, key in enumerate(keys.values())}
    files = f"--telnyx.api-key-files={folder}/keys/*"
    with (
        serve_api(create_shared_app(apis)) as api,
        exporter(folder, files, "--collector.ip-connections", *flags, TELNYX_BASE_URL=api) as url,
    ):
        wait_until_read(url)
        yield url


def no_accounts(folder):
    """Run an exporter whose shard has no accounts."""
    return several_accounts(folder, "--total-shards=1000", "--shard=1")


@contextlib.contextmanager
def failing(folder):
    """Run an exporter while Telnyx is down."""
    with (
        serve_api(Response(status_code=503)) as api,
        exporter(folder, "--telnyx.timeout=1s", TELNYX_BASE_URL=api, TELNYX_API_KEY=KEY) as url,
    ):
        wait_until_read(url)
        yield url


async def never_answer(scope, receive, send):
    """Wait until the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass


@contextlib.contextmanager
def no_data_yet(folder):
    """Run an exporter whose first refresh is still running."""
    with serve_api(never_answer) as api, exporter(folder, TELNYX_BASE_URL=api, TELNYX_API_KEY=KEY) as url:
        yield url


@contextlib.contextmanager
def demo(folder):
    """Run a demo that has read everything. Its pages are below a path."""
    with exporter(folder, "--demo", *ALL_COLLECTORS, "--web.external-url=http://localhost/telnyx") as url:
        wait_until_read(url)
        yield url


STATES = {
    "demo": demo,
    "large account": lambda folder: read_account(folder, large_account(), *ALL_CONNECTIONS, "--collector.spend-limits"),
    "hostile names": hostile_names,
    "several accounts": several_accounts,
    "no accounts": no_accounts,
    "no data yet": no_data_yet,
    "no connections": lambda folder: read_account(folder, Account(0, step=0)),
    "failing": failing,
    "page disabled": lambda folder: exporter(folder, "--demo", "--web.disable-status-page"),
}
"""Context managers that run an exporter in a state, and yield its URL. The argument is a folder."""
