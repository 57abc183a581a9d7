import pytest
from connections import FULL, GOLDEN, decode, exposed, samples

from exporter.collectors.credential_connections import COLLECTOR
from exporter.config.settings import SENSITIVE_LABELS as SENSITIVE
from exporter.exposition.formats import Format


@pytest.mark.parametrize(("form", "end"), [(Format.TEXT, "prom"), (Format.OPENMETRICS, "om")], ids=["text", "om"])
@pytest.mark.parametrize(("name", "row"), [("full", FULL), ("bare", {"id": "42"})], ids=["full", "bare"])
def test_golden(name, row, form, end):
    """A connection with every documented field, and one with only an id, produce exactly the golden file."""
    path = GOLDEN / f"{name}.{end}"
    outdated = f"tests/golden/{path.name} is out of date: run `make generate` and review the difference"
    assert exposed(decode(row), form=form) == path.read_text("utf-8"), outdated


def test_families():
    """Telnyx can tell whether a credential connection is registered, but it has no settings of the transport."""
    names = {family.name for family in COLLECTOR.row_families}
    assert "telnyx_connection_registered" in names
    assert "telnyx_connection_transport_info" not in names


def test_secrets_are_not_exposed():
    """Sensitive values are exposed only if their labels are enabled. The password is never exposed."""
    sensitive = (FULL["user_name"], FULL["outbound"]["ani_override"], "s3cret")
    assert not any(text in exposed(decode(FULL)) for text in (*sensitive, FULL["password"]))
    text = exposed(decode(FULL), sensitive=SENSITIVE)
    assert all(secret in text for secret in sensitive)
    assert FULL["password"] not in text


@pytest.mark.parametrize(
    ("sensitive", "family", "end"),
    [
        ("user_name", "telnyx_connection_info", ',user_name="myusername123"} 1'),
        ("ani_override", "telnyx_connection_outbound_info", ',ani_override="+13125550100"} 1'),
        (
            "webhook_event_url",
            "telnyx_connection_webhook_info",
            f',webhook_event_url="{FULL["webhook_event_url"]}"}} 1',
        ),
        (
            "webhook_event_failover_url",
            "telnyx_connection_webhook_info",
            f',webhook_event_failover_url="{FULL["webhook_event_failover_url"]}"}} 1',
        ),
    ],
)
def test_sensitive_label(sensitive, family, end):
    """An enabled sensitive label follows the other labels of its family. Nothing else changes."""
    before, after = samples(decode(FULL)), samples(decode(FULL), sensitive=(sensitive,))
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    ((old, new),) = changed
    assert new.startswith(f"{family}{{")
    assert new == old.removesuffix("} 1") + end


def test_sensitive_labels_of_absent_fields_are_empty():
    """The sensitive labels of a connection with only an id are empty."""
    lines = samples(decode({"id": "42"}), sensitive=SENSITIVE)
    assert [line for line in lines if 'user_name=""' in line]
    assert [line for line in lines if 'ani_override=""' in line]
    assert [line for line in lines if line.endswith('webhook_event_url="",webhook_event_failover_url=""} 1')]
