import re
from collections import Counter
from dataclasses import replace as replace_fields

import pytest
from connections import (
    CONNECTION_COLLECTORS,
    arbitrary_connections,
    decode,
    documented_row,
    exposed,
    labels_of,
    samples,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from exporter.collectors.connection_families import REGISTRATION, SIP_TRUNK, TAGS, TRANSPORT
from exporter.collectors.credential_connections import COLLECTOR
from exporter.collectors.families import Info
from exporter.config.settings import SENSITIVE_LABELS as SENSITIVE
from exporter.config.settings import FilterSettings
from exporter.telnyx.lists.pages import UnreadableRow

each_collector = pytest.mark.parametrize("collector", CONNECTION_COLLECTORS, ids=lambda collector: collector.name)


def documented_connection(collector):
    """Return a connection with all fields that Telnyx documents for its type."""
    (connection,) = decode(documented_row(collector.name), collector=collector)
    return connection


# All types of connections


@each_collector
def test_a_type_has_the_families_of_its_settings(collector):
    """A collector has the families of which Telnyx documents a setting for the type, and no others."""
    families = (*SIP_TRUNK, *TAGS, *TRANSPORT, *REGISTRATION)
    everything = replace_fields(collector, row_families=families)

    def has_settings(family):
        lines = samples([documented_connection(collector)], family.name, collector=everything)
        if isinstance(family, Info):
            (line,) = lines
            return any(labels_of(line)[label] for label in family.labels)
        return bool(lines)

    assert collector.row_families == tuple(filter(has_settings, families))


def test_every_field_is_documented():
    """Each field of the structs has a value in the documented row of a type."""

    def fields(struct, *path):
        for name in struct.__struct_fields__:
            value = getattr(struct, name)
            yield (*path, name), value is not None
            if isinstance(value, Struct):
                yield from fields(value, *path, name)

    found = [field for collector in CONNECTION_COLLECTORS for field in fields(documented_connection(collector))]
    absent = {path for path, _ in found} - {path for path, has_value in found if has_value}
    assert absent == {("rtcp_settings", "report_frequency_seconds")}, "add examples to the rows in tests/golden"


@each_collector
def test_each_type_has_its_own_names(collector):
    """The list, the flag and the record type have the same name."""
    assert collector.endpoint.path == "/" + collector.name.replace("-", "_")
    assert collector.row_type.documented_type + "s" == collector.name.replace("-", "_")
    assert collector.title.lower().replace(" ", "-") == collector.name
    assert collector.on_by_default is (collector is COLLECTOR)
    assert collector.default_ttl == (None if collector is COLLECTOR else 60)


FILTERS = FilterSettings(connection_name="pbx", fqdn="pbx.example.com", outbound_voice_profile_id="1")


@each_collector
def test_query(collector):
    """Lists are sorted by creation time and SIP trunks are filtered, if Telnyx can do that."""
    query = collector.endpoint.query(collector.row_type, FILTERS, page_size=250)
    can_filter = collector.name in {"credential-connections", "ip-connections", "fqdn-connections", "uac-connections"}
    can_sort = collector.name != "external-connections"
    assert query.params == {
        **({"sort": "created_at"} if can_sort else {}),
        **(
            {
                "filter[connection_name][contains]": "pbx",
                "filter[fqdn]": "pbx.example.com",
                "filter[outbound_voice_profile_id]": "1",
            }
            if can_filter
            else {}
        ),
    }
    assert query.ordered is can_sort


@each_collector
@pytest.mark.parametrize("row", [{}, {"record_type": None}, {"record_type": ""}], ids=["absent", "null", "empty"])
def test_record_type_of_the_list(collector, row):
    """A connection without a record type has the one of its list, in the count and in its labels."""
    connections = decode({"id": "1", "active": True, **row}, collector=collector)
    record_type = collector.row_type.documented_type
    (line,) = samples(connections, "telnyx_connection_info", collector=collector)
    assert labels_of(line)["record_type"] == record_type
    counted = [line for line in samples(connections, "telnyx_connections", collector=collector) if line[-2:] == " 1"]
    assert [labels_of(line)["record_type"] for line in counted] == [record_type]


@each_collector
def test_record_type_that_telnyx_sends(collector):
    """A record type that differs from the one of the list is exposed as it is."""
    (line,) = samples(
        decode({"id": "1", "record_type": "new"}, collector=collector), "telnyx_connection_info", collector=collector
    )
    assert labels_of(line)["record_type"] == "new"


@each_collector
def test_integer_ids_are_exact(collector):
    """An id that is an integer beyond 2^53 is exposed with all its digits, and a profile's id as well."""
    number = 2**63 - 25
    row = {"id": number, "outbound": {"outbound_voice_profile_id": number + 1}}
    (line,) = samples(decode(row, collector=collector), "telnyx_connection_outbound_info", collector=collector)
    labels = labels_of(line)
    assert (labels["connection_id"], labels["outbound_voice_profile_id"]) == (str(number), str(number + 1))
    (record,) = map(collector.index_record, decode(row, collector=collector))
    assert record.id == str(number)


@each_collector
def test_secrets_are_not_exposed(collector):
    """Secrets of the documented row are in no line. Logins, phone numbers and URLs are only in sensitive labels."""
    connection = documented_connection(collector)
    assert "s3cret" not in exposed([connection], collector=collector)
    for line in samples([connection], collector=collector, sensitive=SENSITIVE):
        for label, value in labels_of(line).items():
            assert "s3cret" not in value or label in {"webhook_event_url", "webhook_event_failover_url"}


@each_collector
def test_index_record(collector):
    """The index record has the attributes that are counted or logged."""
    record = collector.index_record(documented_connection(collector))
    (info,) = map(labels_of, samples([documented_connection(collector)], "telnyx_connection_info", collector=collector))
    assert (record.id, record.name) == (info["connection_id"], info["connection_name"])
    assert (record.record_type, record.anchorsite) == (info["record_type"], info["anchorsite"])
    assert record.media_encryption == info["encrypted_media"]
    assert record.active is True
    assert record.inbound_channel_limit == 10
    assert record.outbound_channel_limit in {10, 20}
    assert record.updated_at == "2018-02-03T00:00:00Z"


# Counts

SITES = (
    "Latency",
    "Chicago, IL",
    "Ashburn, VA",
    "San Jose, CA",
    "Sydney, Australia",
    "Amsterdam, Netherlands",
    "London, UK",
    "Toronto, Canada",
    "Vancouver, Canada",
    "Frankfurt, Germany",
)
ZEROS = {
    "credential-connections": (SITES, ("SRTP", "none")),
    "ip-connections": (SITES, ("SRTP", "none")),
    "fqdn-connections": (SITES, ("SRTP", "none")),
    "uac-connections": (SITES, ("SRTP", "none")),
    "external-connections": (("",), ("",)),
    "call-control-applications": (SITES, ("",)),
    "texml-applications": (SITES, ("",)),
    "fax-applications": (SITES, ("",)),
}


@each_collector
def test_zeros_of_each_type(collector):
    """Without connections, each type has zeros for all values of the settings that it has."""
    sites, encryptions = ZEROS[collector.name]
    lines = samples((), "telnyx_connections", collector=collector)
    assert all(line.endswith(" 0") for line in lines)
    assert [tuple(labels_of(line).values()) for line in lines] == [
        (collector.name.replace("-", "_").removesuffix("s"), active, site, encryption)
        for active in ("true", "false")
        for site in sites
        for encryption in encryptions
    ]


def test_types_share_the_family_of_the_count():
    """All types have the same family that counts connections, so that it is one family in a response."""
    families = [collector.snapshot_families[0] for collector in CONNECTION_COLLECTORS]
    assert len({(family.name, family.help, family.labels) for family in families}) == 1


def test_only_credential_connections_have_families_without_labels():
    """A family without labels would occur twice in a response if two types had it."""
    for collector in CONNECTION_COLLECTORS[1:]:
        assert all(family.labels for family in collector.snapshot_families)


DOCUMENTED = {
    f'record_type="credential_connection",active="{active}",anchorsite="{site}",encrypted_media="{media}"': 0
    for active in ("true", "false")
    for site in SITES
    for media in ("SRTP", "none")
}
DEFAULT = {"record_type": "credential_connection", "active": True, "anchorsite_override": "Latency"}


def counts(*rows):
    """Return the number of connections of each kind, and check that no kind occurs twice."""
    lines = samples(decode(*({"id": str(number), **row} for number, row in enumerate(rows))), "telnyx_connections")
    found = [re.fullmatch(r"telnyx_connections\{(.*)\} (\d+)", line).groups() for line in lines]
    assert len(dict(found)) == len(found)
    return {labels: int(number) for labels, number in found}


def test_no_connections():
    """Without connections, all 40 documented kinds are exposed with the value 0."""
    assert len(DOCUMENTED) == 40
    assert counts() == DOCUMENTED


@pytest.mark.parametrize(
    ("row", "labels"),
    [
        pytest.param(
            DEFAULT,
            'record_type="credential_connection",active="true",anchorsite="Latency",encrypted_media="none"',
            id="default",
        ),
        pytest.param(
            {**DEFAULT, "active": False, "anchorsite_override": "London, UK", "encrypted_media": "SRTP"},
            'record_type="credential_connection",active="false",anchorsite="London, UK",encrypted_media="SRTP"',
            id="documented",
        ),
        pytest.param(
            {**DEFAULT, "anchorsite_override": 'Atlantis "Deep"', "encrypted_media": "DTLS", "record_type": "new"},
            r'record_type="new",active="true",anchorsite="Atlantis \"Deep\"",encrypted_media="DTLS"',
            id="undocumented",
        ),
        pytest.param(
            {**DEFAULT, "anchorsite_override": "latency"},
            'record_type="credential_connection",active="true",anchorsite="latency",encrypted_media="none"',
            id="other-case",
        ),
    ],
)
def test_counts(row, labels):
    """Connections are counted by kind. An undocumented kind is exposed as it is."""
    assert counts(row, row) == {**DOCUMENTED, labels: 2}


@pytest.mark.parametrize("field", ["record_type", "anchorsite_override", "encrypted_media"])
def test_absent_and_empty_are_one_kind(field):
    """Connections whose field is absent, null or empty are of the same kind."""
    rest = {name: value for name, value in DEFAULT.items() if name != field}
    found = counts(rest, {**rest, field: None}, {**rest, field: ""})
    assert sorted(found.values()) == [0] * (len(found) - 1) + [3]


def test_unknown_state_is_a_kind():
    """A connection whose state is unknown counts as neither active nor inactive."""
    labels = 'record_type="credential_connection",active="",anchorsite="Latency",encrypted_media="none"'
    assert counts({**DEFAULT, "active": None}) == {**DOCUMENTED, labels: 1}


@pytest.mark.parametrize(
    ("details", "family", "number"),
    [
        pytest.param({}, "telnyx_connections_malformed", 0, id="none-malformed"),
        pytest.param(
            {"unreadable": (UnreadableRow("1", "x"), UnreadableRow(None, "x"))},
            "telnyx_connections_malformed",
            2,
            id="malformed",
        ),
        pytest.param({}, "telnyx_connections_missing", 0, id="none-missing"),
        pytest.param({"missing": 3}, "telnyx_connections_missing", 3, id="missing"),
    ],
)
def test_omitted_rows_are_counted(details, family, number):
    """Rows that are not exposed, because they are unreadable or missing from all pages, are counted."""
    assert samples((), family, **details) == [f"{family} {number}"]


# Selection of families and labels


def test_selection():
    """`select` keeps only the families that the filter accepts, and all families by default."""
    assert COLLECTOR.select() == COLLECTOR
    selection = COLLECTOR.select(lambda name: name in {"telnyx_connections", "telnyx_connection_active"})
    assert [family.name for family in (*selection.snapshot_families, *selection.row_families)] == [
        "telnyx_connections",
        "telnyx_connection_active",
    ]


# Arbitrary connections


CONNECTIONS = arbitrary_connections(st.text())


@given(st.lists(CONNECTIONS, max_size=3, unique_by=lambda connection: connection.id))
@settings(
    max_examples=60,
    phases=set(Phase) - {Phase.shrink, Phase.explain},  # these phases would take minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_no_series_is_duplicated(connections):
    """For any content of the connections, no series occurs twice, and each series has a finite value."""
    lines = samples(connections, sensitive=SENSITIVE)
    series = Counter(line.rpartition(" ")[0] for line in lines)
    assert series.most_common(1)[0][1] == 1
    assert all(abs(float(line.rpartition(" ")[2])) < float("inf") for line in lines)


def test_huge_numbers_are_not_exposed():
    """Numbers that exceed all limits are not exposed, because Prometheus would reject the whole scrape."""
    huge = 10**400
    row = {
        "id": "1",
        "webhook_timeout_secs": huge,
        "jitter_buffer": {"jitterbuffer_msec_min": huge},
        "inbound": {"channel_limit": -huge},
    }
    lines = samples([row for row in decode(row, {"id": "2", "active": True}) if not isinstance(row, UnreadableRow)])
    assert 'telnyx_connection_active{connection_id="2",connection_name=""} 1' in lines
    assert all(abs(float(line.rpartition(" ")[2])) < float("inf") for line in lines)
