import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from status import connection, pages_of

from exporter.status.problems import CONNECTION_PROBLEMS
from exporter.status.query import REGISTRATIONS, SORTS, STATES, Query
from exporter.status.scan import page_keys, table_builder
from exporter.status.scan.page_summary import AccountPage, summarize
from exporter.status.scan.table_builder import TableBuilder
from exporter.status.table import ConnectionRow, ConnectionTable

pytestmark = pytest.mark.anyio

PAGE_ROWS = 3
NAMES = st.text("aBb-\0é", max_size=3)
TYPES = ["credential_connection", "ip_connection"]
SITES = ["", "Latency", "London, UK"]
ENCRYPTIONS = ["", "none", "SRTP"]
YES_NO_UNKNOWN = st.sampled_from([True, False, None])
LIMITS = st.sampled_from([None, 0, 5, 10, 200])
TIMES = st.sampled_from([None, "2018-02-02T22:25:27Z", "2018-02-02T22:25:28Z"])


@st.composite
def connections(draw):
    """Return some connections of an account. Several can have the same name."""
    return [
        connection(
            number,
            name=draw(NAMES),
            record_type=draw(st.sampled_from(TYPES)),
            active=draw(YES_NO_UNKNOWN),
            anchorsite=draw(st.sampled_from(SITES)),
            media_encryption=draw(st.sampled_from(ENCRYPTIONS)),
            inbound_channel_limit=draw(LIMITS),
            outbound_channel_limit=draw(LIMITS),
            registered=draw(YES_NO_UNKNOWN),
            updated_at=draw(TIMES),
        )
        for number in range(draw(st.integers(0, 12)))
    ]


ACCOUNTS = st.fixed_dictionaries({"": connections()}, optional={"a": connections(), "b": connections()})
NEWER_REGISTRATIONS = st.dictionaries(
    st.sampled_from(["", "a"]), st.dictionaries(st.sampled_from("0123"), YES_NO_UNKNOWN)
)
SORTING = st.sampled_from([*SORTS, *(f"-{column}" for column in SORTS)])
PAGES = st.integers(1, 6) | st.just(10**9)
FILTERS = [
    {},
    {"q": "b"},
    {"q": "É"},
    {"q": "1"},
    *({"state": state} for state in STATES),
    *({"registration": registration} for registration in REGISTRATIONS),
    {"type": "ip_connection"},
    {"site": "Latency"},
    {"encryption": "none"},
    *({"problem": kind} for kind in CONNECTION_PROBLEMS),
    {"q": "b", "state": "active", "site": "London, UK"},
]


async def build(accounts, query, registrations, size):
    """Return the table of these connections, whose lists have pages of this size."""
    builder = TableBuilder(query, registrations)
    for account, records in accounts.items():
        for index in pages_of(records, size):
            builder.add(AccountPage(account, index), index.records, summarize(index, index.records))
    return await builder.build()


def is_selected(row, query):
    """Return whether a connection matches the query."""
    states = {"": row.active, "active": True, "disabled": False}
    registrations = {"": row.registered, "registered": True, "not_registered": False}
    return (
        (query.q.casefold() in row.name.casefold() or query.q in row.id)
        and row.active is states[query.state]
        and row.registered is registrations[query.registration]
        and query.type in {"", row.record_type}
        and query.site in {"", row.anchorsite}
        and query.encryption in {"", row.media_encryption}
        and (not query.problem or CONNECTION_PROBLEMS[query.problem](row))
    )


def sort_value(account, row, column):
    """Return what the table is sorted by."""
    order, highest = [False, True, None], 1000
    return {
        "name": "",
        "account": account,
        "type": row.record_type,
        "state": order.index(row.active),
        "registration": order.index(row.registered),
        "site": row.anchorsite,
        "encryption": row.media_encryption,
        "inbound_limit": highest if row.inbound_channel_limit is None else row.inbound_channel_limit,
        "outbound_limit": highest if row.outbound_channel_limit is None else row.outbound_channel_limit,
        "updated": row.updated_at or "",
    }[column]


def naive_table(accounts, query, registrations):
    """Return the table, made from a list of all connections that is sorted at once."""
    connections = [
        (account, msgspec.structs.replace(row, registered=registrations.get(account, {}).get(row.id, row.registered)))
        for account, rows in accounts.items()
        for row in rows
    ]

    def order(number):
        account, row = connections[number]
        # Equal names are in the order of the lists. A NUL comes before all other characters.
        value = sort_value(account, row, query.sort_column)
        return value, not row.name, *row.name.casefold().split("\0"), f"{number:07}"

    selected = [number for number, (_, row) in enumerate(connections) if is_selected(row, query)]
    selected.sort(key=order, reverse=query.is_descending)
    pages = [selected[start : start + PAGE_ROWS] for start in range(0, len(selected), PAGE_ROWS)] or [[]]
    page = min(query.page, len(pages))

    def options(field):
        return tuple(sorted({getattr(row, field) for _, row in connections} - {""}))

    return ConnectionTable(
        rows=tuple(table_builder._row(*connections[number]) for number in pages[page - 1]),
        first=(page - 1) * PAGE_ROWS + 1 if selected else 0,
        matches=len(selected),
        total=len(connections),
        page=page,
        pages=len(pages),
        types=options("record_type"),
        sites=options("anchorsite"),
        encryptions=options("media_encryption"),
    )


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@given(accounts=ACCOUNTS, registrations=NEWER_REGISTRATIONS, size=st.integers(1, 5), sort=SORTING, page=PAGES)
@settings(max_examples=20)
async def test_table(filters, *, accounts, registrations, size, sort, page):
    """The table has the connections that match, in order, from the page that is requested or the last one."""
    query = Query(**filters, sort=sort, page=page)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_builder, "PAGE_ROWS", PAGE_ROWS)
        patch.setattr(page_keys, "_RUN_KEYS", 4)
        table = await build(accounts, query, registrations, size)
    assert table == naive_table(accounts, query, registrations)


async def test_row():
    """A row shows the registration that was read last. An unknown time is empty."""
    row = connection(7, name="pbx", anchorsite="London, UK", registered=None, updated_at=None)
    table = await build({"a": [row]}, Query(), {"a": {"7": False}}, 250)
    assert table.rows == (
        ConnectionRow(
            account="a",
            id="7",
            name="pbx",
            type="credential_connection",
            active=True,
            registered=False,
            site="London, UK",
            encryption="SRTP",
            inbound_limit=5,
            outbound_limit=10,
            updated_at="",
        ),
    )
