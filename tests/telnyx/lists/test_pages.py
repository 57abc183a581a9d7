import contextlib
import json

import msgspec
import pytest
from connections import FULL, PARTS, decode_page
from hypothesis import given
from hypothesis import strategies as st

from exporter.collectors.credential_connections import CredentialConnection
from exporter.telnyx.lists.pages import Meta, Page, PageDecoder, UnreadableRow
from exporter.telnyx.structs import Row

CANARY = "canary-7f3a"
DOCUMENTED = FULL | {
    "connection_name": 'Berlin "Nord" \\ 2. OG\n☎',
    "user_name": f"user-{CANARY}",
    "password": f"password-{CANARY}",
    "webhook_event_url": f"https://{CANARY}@example.com/{CANARY}?key={CANARY}",
    "webhook_event_failover_url": f"https://failover.example.com/{CANARY}",
    "outbound": FULL["outbound"] | {"ani_override": f"+1{CANARY}"},
}
FIELDS = [
    *((name,) for name in CredentialConnection.__struct_fields__ if name != "id"),
    *((part, name) for part, kind in PARTS.items() for name in kind.__struct_fields__),
]
NUMBERS = [
    ("webhook_timeout_secs",),
    ("noise_suppression_details", "attenuation_limit"),
    ("jitter_buffer", "jitterbuffer_msec_min"),
    ("jitter_buffer", "jitterbuffer_msec_max"),
    ("rtcp_settings", "report_frequency_secs"),
    ("rtcp_settings", "report_frequency_seconds"),
    ("inbound", "channel_limit"),
    ("inbound", "timeout_1xx_secs"),
    ("inbound", "timeout_2xx_secs"),
    ("outbound", "channel_limit"),
]


def body(*rows, **meta):
    """Return a response body of the list endpoint."""
    return json.dumps({"data": rows, "meta": meta}).encode()


def decode_row(fields):
    """Decode a page with one row, and return the row. Its id is 1 unless the fields contain another."""
    (row,) = decode_page(body({"id": "1", **fields})).rows
    return row


def at(path, value):
    """Return row fields that contain this value at this path."""
    for name in reversed(path):
        value = {name: value}
    return value


def without_nulls(fields):
    """Return the fields of an object, and of objects inside it, that are not null."""
    return {
        name: without_nulls(value) if isinstance(value, dict) else value
        for name, value in fields.items()
        if value is not None
    }


def value_at(row, path):
    """Return the value at a path of a decoded row."""
    for name in path:
        row = getattr(row, name)
    return row


def is_leaf(path):
    """Return whether the field at this path is not an object."""
    return len(path) > 1 or path[0] not in PARTS


def test_every_field_of_the_structs_is_read():
    """The documented row is decoded with the values of all fields that the structs declare."""
    page = decode_page(body(DOCUMENTED, total_pages=1, total_results=1, page_number=1, page_size=250))

    assert page.meta == Meta(total_pages=1, total_results=1, page_number=1, page_size=250)
    (row,) = page.rows
    decoded = without_nulls(json.loads(msgspec.json.encode(row)))
    documented = {name: value for name, value in DOCUMENTED.items() if name != "password"}
    assert decoded == documented, "add fields that are missing to CREDENTIAL in exporter/sandbox/fields/connections.py"


def test_the_password_is_never_decoded():
    """No decoded object contains the password, whether the page is decoded strictly or row by row."""
    lenient = {"id": "2", "password": f"password-{CANARY}", "webhook_timeout_secs": "7"}
    for page in (decode_page(body(DOCUMENTED)), decode_page(body(DOCUMENTED, lenient, {**lenient, "active": "no!"}))):
        assert b"password" not in msgspec.json.encode(page)
        assert not any(hasattr(row, "password") for row in page.rows)


def test_a_repr_contains_no_values():
    """The repr of a connection, of its parts and of its containers contains no value of a row."""
    page = decode_page(body(DOCUMENTED, {**DOCUMENTED, "id": "2", "active": CANARY}))
    connection, unreadable = page.rows
    parts = [getattr(connection, name) for name in PARTS]

    assert repr(connection) == "<CredentialConnection>"
    assert [repr(part) for part in parts] == [f"<{kind.__name__}>" for kind in PARTS.values()]
    for container in (page, unreadable):
        assert CANARY not in repr(container)
        assert CANARY not in str(container)


@pytest.mark.parametrize("path", FIELDS, ids=".".join)
def test_null_means_absent(path):
    """A field that is null is decoded like an absent one, as None."""
    row = decode_row(at(path, None))

    assert row == decode_row(at(path[:-1], {}))
    assert value_at(row, path) is None


@pytest.mark.parametrize("path", [*NUMBERS, ("webhook_api_version",)], ids=".".join)
def test_an_integral_float_is_an_integer(path):
    """10.0 is decoded as 10."""
    value = value_at(decode_row(at(path, 10.0)), path)

    assert (value, type(value)) == (10, int)


@pytest.mark.parametrize("text", ["10", "10.0", "1e1"])
@pytest.mark.parametrize("path", NUMBERS, ids=".".join)
def test_a_number_in_quotes_is_a_number(path, text):
    """The text "10" is decoded as 10, because older API descriptions type some numbers as strings."""
    value = value_at(decode_row(at(path, text)), path)

    assert (value, type(value)) == (10, int)


IDS = [("id",), *(path for path in FIELDS if path[-1].endswith("_id"))]


def test_ids_cover_every_id_field():
    """IDS, which the next tests use, contains the id of a connection and all ids that it refers to."""
    assert sorted(path[-1] for path in IDS) == [
        "android_push_credential_id",
        "id",
        "ios_push_credential_id",
        "outbound_voice_profile_id",
    ]


@pytest.mark.parametrize("lenient", [False, True], ids=["strict", "lenient"])
@pytest.mark.parametrize("number", [0, 2**53 + 1, 1082287356722563997, 10**30 + 1])
@pytest.mark.parametrize("path", IDS, ids=".".join)
def test_an_id_is_a_string_or_an_integer(path, number, lenient):
    """Every id keeps its exact digits, whether Telnyx sends a string or an integer, and however long it is."""
    more = {"webhook_timeout_secs": "7"} if lenient else {}  # only the lenient decoder accepts numbers in quotes

    assert decode_row({**at(path, number), **more}) == decode_row({**at(path, str(number)), **more})
    assert value_at(decode_row({**at(path, number), **more}), path) == str(number)


@pytest.mark.parametrize("path", IDS, ids=".".join)
def test_a_row_with_a_float_as_id_is_unreadable(path):
    """The decoder rejects a float as an id instead of rounding it, because a float can't hold all digits."""
    assert isinstance(decode_row(at(path, 1082287356722563997.0)), UnreadableRow)


@pytest.mark.parametrize("connection_id", ['"17"', "17"], ids=["text", "integer"])
def test_a_row_without_other_ids_has_its_id_as_text(connection_id):
    """A row struct without further ids inherits the conversion of its id."""

    class Minimal(Row, frozen=True, gc=False, kw_only=True):
        name: str = ""

    page = PageDecoder(Minimal)(b'{"data":[{"id":%b,"name":"x"}]}' % connection_id.encode())
    assert page.rows == (Minimal(id="17", name="x"),)


def test_an_unreadable_row_keeps_an_integer_id():
    """An unreadable row keeps an id that is an integer, so that the log can name it."""
    row = decode_row({"id": 1082287356722563997, "inbound": CANARY})

    assert row == UnreadableRow("1082287356722563997", row.problem)


def test_an_id_of_thousands_of_digits_is_unreadable():
    """An integer that is too long for Python to convert to text makes its own row unreadable, not the page."""
    rows = decode_page(b'{"data":[{"id":%b},{"id":"2"}]}' % (b"9" * 5000)).rows

    assert [(type(row), row.id) for row in rows] == [(UnreadableRow, None), (CredentialConnection, "2")]


@pytest.mark.parametrize("version", ["2", 2], ids=["string", "number"])
def test_a_webhook_version_is_a_string_or_a_number(version):
    """The webhook version keeps the type that Telnyx sends."""
    assert decode_row({"webhook_api_version": version}).webhook_api_version == version


@pytest.mark.parametrize(
    ("rtcp", "interval"),
    [
        ({}, None),
        ({"report_frequency_secs": 10}, 10),
        ({"report_frequency_seconds": 20}, 20),
        ({"report_frequency_secs": None, "report_frequency_seconds": 20}, 20),
        ({"report_frequency_secs": 10, "report_frequency_seconds": 20}, 10),
        ({"report_frequency_secs": 0, "report_frequency_seconds": 20}, 0),
    ],
    ids=["none", "new", "old", "new null", "both", "zero"],
)
def test_the_rtcp_interval_has_two_names(rtcp, interval):
    """The RTCP report interval is read from both of its names. The new name takes precedence."""
    assert decode_row({"rtcp_settings": rtcp}).rtcp_settings.report_interval == interval


def test_unknown_fields_are_ignored():
    """New fields of the response, of a row or of a part of a row change nothing."""
    new = {"new": [{"deep": [1.5, None, "x"]}]}
    rows = [{**DOCUMENTED, **new, "inbound": DOCUMENTED["inbound"] | new}]

    assert decode_page(json.dumps({"data": rows, "meta": new, **new}).encode()) == decode_page(body(DOCUMENTED))


@pytest.mark.parametrize("meta", [{}, {"meta": None}, {"meta": {}}], ids=["absent", "null", "empty"])
def test_meta_is_optional(meta):
    """A page whose meta is absent, null or empty has an empty `Meta`."""
    assert decode_page(json.dumps({"data": [], **meta}).encode()) == Page((), Meta())


def test_numbers_of_meta_can_be_in_quotes():
    """Meta is decoded as leniently as rows."""
    assert decode_page(body(total_pages="3", total_results=7.0)).meta == Meta(total_pages=3, total_results=7)


@pytest.mark.parametrize("path", [path for path in FIELDS if path != ("webhook_api_version",)], ids=".".join)
def test_an_unreadable_row_keeps_its_id(path):
    """A value of the wrong type makes its row unreadable. The row keeps its id, and its problem quotes no value."""
    wrong = {CANARY: CANARY} if is_leaf(path) else [CANARY]
    good, bad, after = decode_page(body({"id": "good"}, {**at(path, wrong), "id": "bad"}, {"id": "after"})).rows

    assert (good.id, after.id) == ("good", "after")
    assert isinstance(bad, UnreadableRow)
    assert bad.id == "bad"
    assert path[-1] in bad.problem
    assert CANARY not in bad.problem


@pytest.mark.parametrize(
    "value", [CANARY, "", " 7 ", 7.5, "7.5", "7s", "Infinity", [7], True], ids=lambda value: repr(value).strip("'")
)
def test_an_invalid_integer_makes_its_row_unreadable(value):
    """A number that is not an integer, or text that is not a number, makes its row unreadable."""
    row = decode_row({"inbound": {"channel_limit": value}})

    assert isinstance(row, UnreadableRow)
    assert row.id == "1"
    assert CANARY not in row.problem


@pytest.mark.parametrize("number", ["9" * 5000, f'"{"9" * 5000}"', "1e400", '"1e400"'])
def test_a_huge_number_makes_its_row_unreadable(number):
    """A number that exceeds all limits makes its own row unreadable, not the page."""
    rows = decode_page(b'{"data":[{"id":"1","webhook_timeout_secs":%b},{"id":"2"}]}' % number.encode()).rows

    assert [(type(row), row.id) for row in rows] == [(UnreadableRow, "1"), (CredentialConnection, "2")]


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"id": None},
        {"id": ""},
        {"id": 7.5},
        {"id": True},
        {"id": [CANARY]},
        {"connection_name": CANARY},
        None,
        7,
        CANARY,
        [],
        True,
    ],
    ids=json.dumps,
)
def test_a_row_without_an_id_is_unreadable(row):
    """A row whose id is absent, empty or invalid is unreadable and has no id. The rows around it are kept."""
    good, bad, after = decode_page(body({"id": "good"}, row, {"id": "after"})).rows

    assert (good.id, after.id) == ("good", "after")
    assert isinstance(bad, UnreadableRow)
    assert bad.id is None
    assert CANARY not in bad.problem


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (r"\ud800", "�"),
        (r"\uDFFF", "�"),
        (r"a\udc00b", "a�b"),
        (r"\ud800\ud800", "��"),
        (r"\udc00\ud83d", "��"),
        (r"\ud83dx\ude00", "�x�"),
        (r"\ud800\ud83d\ude00", "�😀"),
        (r"\ud83d\ude00\ude00", "😀�"),
        (r"\ud83d\ude00", "😀"),
        (r"\uD83D\uDE00", "😀"),
        (r"\\ud800", r"\ud800"),
        (r"\\\ud800", "\\�"),
        (r"\\\\ud800", r"\\ud800"),
        (r"\"\ud800\"", '"�"'),
        (r"\ud7ff\ue000", "\ud7ff\ue000"),
    ],
)
@pytest.mark.parametrize("id_suffix", ["", r"\udead"], ids=["one row", "both rows"])
def test_lone_surrogates_are_replaced(written, name, id_suffix):
    """Lone surrogates, which JSON allows and Unicode doesn't, become U+FFFD. Pairs and escaped backslashes are kept."""
    data = f'{{"data":[{{"id":"1","connection_name":"{written}"}},{{"id":"2{id_suffix}"}}]}}'
    row, other = decode_page(data.encode()).rows

    assert row.connection_name == name
    assert other.id == ("2�" if id_suffix else "2")


def test_invalid_utf8_makes_its_row_unreadable():
    """Text that is not UTF-8 makes its row unreadable. In a field that isn't decoded, it has no effect."""
    data = b'{"data":[{"id":"1","connection_name":"%b\xff"},{"id":"\xff"},{"id":"3","password":"\xff"}]}'
    with_id, without_id, good = decode_page(data % CANARY.encode()).rows

    assert (type(with_id), with_id.id) == (UnreadableRow, "1")
    assert CANARY not in with_id.problem
    assert (type(without_id), without_id.id) == (UnreadableRow, None)
    assert (type(good), good.id) == (CredentialConnection, "3")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"null",
        b"true",
        b"[]",
        b"7",
        b'"data"',
        b"{}",
        b'{"data":null}',
        b'{"data":{}}',
        b'{"data":"rows"}',
        b'{"meta":{}}',
        b'{"data":[',
        b'{"data":[{"id":"1"',
        b'{"data":[{"id":"1"},]}',
        b'{"data":[]}{',
        b'{"data":[],"meta":[]}',
        b'{"data":[],"meta":{"total_pages":"canary-7f3a"}}',
        b'{"data":[],"meta":{"total_pages":"\xff"}}',
        b'\xef\xbb\xbf{"data":[]}',
        b'{"\x00',
        b"<html><body>canary-7f3a</body></html>",
        b'{"errors":[{"code":"10009","title":"canary-7f3a"}]}',
    ],
    ids=repr,
)
def test_invalid_pages_are_rejected(data):
    """A response body that is not a list of rows raises a ValueError that quotes nothing."""
    with pytest.raises(ValueError, match=f"^(?!.*{CANARY})"):
        decode_page(data)


@pytest.mark.parametrize("template", ["%s", '{"data":%s}', '{"data":[%s]}', '{"data":[{"id":"1","x":%s}]}'])
@pytest.mark.parametrize("nested", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_deep_nesting_is_rejected(template, nested):
    """JSON that is nested 100,000 levels deep raises a ValueError and doesn't crash."""
    with pytest.raises(ValueError, match=r"recursion|Expected"):
        decode_page((template % nested).encode())


def test_structs_are_frozen():
    """Decoded objects are immutable."""
    with pytest.raises(AttributeError):
        decode_row({}).active = False


texts = st.text(st.characters(exclude_categories=()), max_size=5)  # includes lone surrogates
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
names = st.sampled_from(["data", "meta", "id", *(path[-1] for path in FIELDS), *Meta.__struct_fields__]) | texts
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=6,
)


@given(value=anything | st.fixed_dictionaries({"data": anything}, optional={"meta": anything}))
def test_any_json_is_decoded_or_rejected(value):
    """Any JSON is decoded to a page or raises a ValueError."""
    with contextlib.suppress(ValueError):
        assert isinstance(decode_page(json.dumps(value).encode()), Page)


@given(data=st.binary() | st.binary().map(lambda text: b'{"data":[{"id":"%b"}]}' % text))
def test_any_bytes_are_decoded_or_rejected(data):
    """Any bytes are decoded to a page or raise a ValueError."""
    with contextlib.suppress(ValueError):
        assert isinstance(decode_page(data), Page)


@given(rows=st.lists(anything | st.dictionaries(names, anything, max_size=4), max_size=3))
def test_every_row_is_kept(rows):
    """Each row, whatever it contains, is on the page: either as a connection with an id or as an unreadable row."""
    page = decode_page(body(*rows))

    assert len(page.rows) == len(rows)
    assert all(isinstance(row, UnreadableRow) or row.id for row in page.rows)


@given(name=st.text(), tags=st.lists(st.text()), ascii_only=st.booleans())
@pytest.mark.parametrize(
    "other",
    ["{}", '{"id":"2"}', '{"id":"2","webhook_timeout_secs":"7"}', r'{"id":"2","user_name":"\ud800"}'],
    ids=["unreadable", "plain", "number in quotes", "lone surrogate"],
)
def test_any_text_is_decoded_exactly(other, name, tags, ascii_only):
    """Any text is decoded exactly, escaped or not, whatever the other row contains."""
    row = json.dumps({"id": "1", "connection_name": name, "tags": tags}, ensure_ascii=ascii_only)
    connection = decode_page(f'{{"data":[{row},{other}]}}'.encode()).rows[0]

    assert connection.connection_name == name
    assert list(connection.tags) == tags
