from list_reader import ROWS

from exporter.collectors.connection_rows import Connection
from exporter.telnyx.lists.pages import Meta, Page, UnreadableRow
from exporter.telnyx.lists.snapshots import process, process_body

META = Meta(total_results=9)
FIRST, SECOND = Connection(id="1", connection_name="first"), Connection(id="2")
BAD = UnreadableRow("3", "no number")


def test_a_processed_page_has_content_and_ids():
    """The processor gets the readable rows. The page keeps its content, and the ids of all rows in order."""
    page = process(Page((FIRST, BAD, SECOND), META), ROWS)
    assert page.content == (FIRST, SECOND)
    assert page.rows == ("1", BAD, "2")
    assert page.meta is META


def test_the_first_of_rows_with_the_same_id_counts():
    """If a page has an id twice, the processor gets the first row."""
    page = process(Page((FIRST, SECOND, Connection(id="1", connection_name="second")), META), ROWS)
    assert page.content == (FIRST, SECOND)
    assert page.rows == ("1", "2", "1")


def test_any_id_is_kept():
    """Ids of any text are kept exactly, and so are unreadable rows without an id."""
    rows = (Connection(id='"\n\\\u2028é'), UnreadableRow(None, "x"))
    assert process(Page(rows, META), ROWS).rows == (rows[0].id, rows[1])


async def test_a_known_body_is_not_processed_again():
    """A body is processed unless a known result has the same body."""
    one, two = [await process_body(body, bytes.upper, ()) for body in (b"a", b"b")]
    assert (one.result, two.result) == (b"A", b"B")
    assert await process_body(b"b", None, (None, one, two)) is two
    assert (await process_body(b"c", bytes.upper, (None, one, two))).result == b"C"
