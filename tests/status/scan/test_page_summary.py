import gc

from status import connection, page_of, registration, spend

from exporter.status.scan import page_summary
from exporter.status.scan.page_summary import MAX_PROBLEM_ROWS, AffectedRows, PageSummary, known_summary, summarize


def summary_of(*records):
    """Return the summary of a page with these records."""
    index = page_of(*records)
    return summarize(index, index.records)


def test_connections():
    """A summary has what one can filter by, and where the rows with problems are."""
    summary = summary_of(
        connection(1, anchorsite="London, UK"),
        connection(2, active=False, record_type="ip_connection", media_encryption="none"),
        connection(3, active=False, anchorsite=""),
    )
    assert summary == PageSummary(
        problems={"disabled": AffectedRows(2, (1, 2))},
        types=frozenset({"credential_connection", "ip_connection"}),
        sites=frozenset({"London, UK", "Latency", ""}),
        encryptions=frozenset({"SRTP", "none"}),
    )


def test_other_rows():
    """Other rows have problems only."""
    assert summary_of(spend(blocked=True)) == PageSummary({"spend_blocked": AffectedRows(1, (0,))})
    assert summary_of(registration(1, False)) == PageSummary({"not_registered": AffectedRows(1, (0,))})
    assert summary_of(spend()) == PageSummary({})


def test_only_the_first_rows_are_located():
    """All rows with a problem are counted, but a summary stays small."""
    affected = summary_of(*(connection(number, active=False) for number in range(250))).problems["disabled"]
    assert affected == AffectedRows(250, tuple(range(MAX_PROBLEM_ROWS)))


def test_a_summary_is_kept_as_long_as_its_page():
    """A page that did not change is not summarized again. The summary of a page that is gone is forgotten."""
    index = page_of(connection())
    assert known_summary(index) is None
    summary = summarize(index, index.records)
    assert known_summary(index) is summary
    before = len(page_summary._summaries)
    del index
    gc.collect()
    assert len(page_summary._summaries) == before - 1
