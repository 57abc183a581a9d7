import pytest
from connections import decode, samples

from exporter.collectors.connection_counts import COLLECTOR


def lines_of(**fields):
    """Return the lines of an object with these fields."""
    return samples(decode(fields, collector=COLLECTOR), collector=COLLECTOR)


def test_kinds():
    """Each kind that Telnyx counts has a series, also one that the exporter does not know. Zero is a count."""
    assert lines_of(counts={"ip_connections": 7, "smoke_signals": 0, "fax_connections": None}) == [
        'telnyx_account_connections{kind="ip_connections"} 7',
        'telnyx_account_connections{kind="smoke_signals"} 0',
    ]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"global_limit": 500}, {"global": 500}),
        ({"standard_limit": 0, "texml_limit": 100, "uac_limit": None}, {"standard": 0, "texml": 100}),
        ({"new": 5, "limit_of_new": 6}, {"new": 5, "limit_of_new": 6}),
        ({"new": 5, "new_limit": 6}, {"new": 6}),
        ({"new_limit": None}, {}),
        ({}, {}),
    ],
    ids=["global", "separate", "other-names", "same-scope", "null", "none"],
)
def test_limits(limits, expected):
    """The scope of a limit is its name without `_limit`. A limit that is null has no sample."""
    lines = [f'telnyx_account_connections_limit{{scope="{scope}"}} {limit}' for scope, limit in expected.items()]
    assert lines_of(limits=limits) == lines


@pytest.mark.parametrize("fields", [{}, {"counts": None, "limits": None}], ids=["absent", "null"])
def test_nothing(fields):
    """An object without counts and limits has no samples."""
    assert lines_of(**fields) == []
