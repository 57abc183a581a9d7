import pytest
from connections import decode, labels_of, samples
from msgspec.structs import replace

from exporter.collectors.outbound_voice_profiles import COLLECTOR

PREFIX = "telnyx_outbound_voice_profile"
LABELS = '{profile_id="42",profile_name="office"}'


def decode_profile(**fields):
    """Return a profile that has these fields."""
    (profile,) = decode({"id": "42", "name": "office", **fields}, collector=COLLECTOR)
    return profile


def lines_of(family, **fields):
    """Return the lines of a family, whose name has a prefix."""
    return samples([decode_profile(**fields)], f"{PREFIX}_{family}", collector=COLLECTOR)


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        ({"daily_spend_limit": "99.95", "daily_spend_limit_enabled": True}, [f"{LABELS} 99.95"]),
        ({"daily_spend_limit": "0.00", "daily_spend_limit_enabled": True}, [f"{LABELS} 0.0"]),
        ({"daily_spend_limit": "99.95", "daily_spend_limit_enabled": False}, []),
        ({"daily_spend_limit": "99.95"}, []),
        ({"daily_spend_limit": None, "daily_spend_limit_enabled": True}, []),
    ],
    ids=["on", "zero", "off", "unknown", "null"],
)
def test_daily_spend_limit(fields, lines):
    """The daily spend limit has a sample only if it is on."""
    assert lines_of("daily_spend_limit_usd", **fields) == [f"{PREFIX}_daily_spend_limit_usd{line}" for line in lines]


@pytest.mark.parametrize("rate", [0.005, "0.005"], ids=["number", "text"])
def test_maximum_price(rate):
    """The maximum price can be a number or text."""
    name = "max_destination_rate_usd"
    assert lines_of(name, max_destination_rate=rate) == [f"{PREFIX}_{name}{LABELS} 0.005"]
    assert lines_of(name, max_destination_rate=None) == []


@pytest.mark.parametrize(
    ("family", "field"),
    [
        ("concurrent_call_limit", "concurrent_call_limit"),
        ("connections", "connections_count"),
        ("enabled", "enabled"),
        ("daily_spend_limit_enabled", "daily_spend_limit_enabled"),
    ],
)
def test_zero_is_not_null(family, field):
    """Zero and false are 0. Null has no sample."""
    value = False if family.endswith("enabled") else 0
    assert lines_of(family, **{field: value}) == [f"{PREFIX}_{family}{LABELS} 0"]
    assert lines_of(family, **{field: None}) == []


def test_destinations():
    """Each country that can be called has one series, however often the profile lists it."""
    lines = lines_of("destination_info", whitelisted_destinations=["US", "CA", "US"])
    assert [labels_of(line)["country"] for line in lines] == ["US", "CA"]
    assert [line for empty in ([], None) for line in lines_of("destination_info", whitelisted_destinations=empty)] == []


def test_recording():
    """A label says which calls are recorded. The numbers of recorded callers are not decoded."""
    recording = {"call_recording_type": "all", "call_recording_caller_phone_numbers": ["+13125550100"]}
    (line,) = lines_of("info", call_recording=recording)
    assert labels_of(line)["call_recording_type"] == "all"
    assert decode_profile(call_recording=recording).call_recording.__struct_fields__ == ("call_recording_type",)
    (line,) = lines_of("info", call_recording=None)
    assert labels_of(line)["call_recording_type"] == ""


def test_ids_can_be_numbers():
    """Ids that Telnyx sends as numbers are exposed with all digits."""
    (line,) = lines_of("info", id=1293384261075731499, billing_group_id=1293384261075731500)
    assert {"1293384261075731499", "1293384261075731500"} <= set(labels_of(line).values())


LIMITED = COLLECTOR.index_record(
    decode_profile(
        enabled=True,
        concurrent_call_limit=10,
        daily_spend_limit="100.00",
        daily_spend_limit_enabled=True,
        max_destination_rate=0.25,
    )
)
UNLIMITED = COLLECTOR.index_record(decode_profile(enabled=False))


@pytest.mark.parametrize(
    ("change", "differences"),
    [
        ({}, []),
        ({"name": "renamed"}, []),
        ({"enabled": False}, [("disabled", "")]),
        ({"enabled": None}, []),
        ({"concurrent_call_limit": None}, [("limits_changed", "concurrent calls 10 to none")]),
        ({"daily_spend_limit": 1000.0}, [("limits_changed", "USD per day 100 to 1000")]),
        ({"daily_spend_limit_enabled": False}, [("limits_changed", "daily spend limit on to off")]),
        ({"max_destination_rate": 0.5}, [("limits_changed", "USD per minute 0.25 to 0.5")]),
        (
            {"enabled": False, "concurrent_call_limit": 99},
            [("disabled", ""), ("limits_changed", "concurrent calls 10 to 99")],
        ),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, dict) else "",
)
def test_changes(change, differences):
    """The log mentions that a profile was disabled, and changes of its limits."""
    assert list(replace(LIMITED, **change).changes_since(LIMITED)) == differences


def test_enabled():
    """The log mentions that a profile was enabled."""
    assert list(replace(UNLIMITED, enabled=True).changes_since(UNLIMITED)) == [("enabled", "")]


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        ({"daily_spend_limit": "100.00"}, {"daily_spend_limit": "100"}, []),
        ({"daily_spend_limit": "100.00"}, {"daily_spend_limit": "100.01"}, ["limits_changed"]),
        ({"max_destination_rate": 0.5}, {"max_destination_rate": "0.50"}, []),
        ({"daily_spend_limit_enabled": True}, {"daily_spend_limit_enabled": False}, ["limits_changed"]),
    ],
    ids=["same amount", "other amount", "same rate", "switched off"],
)
def test_amounts_are_compared_as_numbers(before, after, kinds):
    """An amount that Telnyx writes in another way did not change. A spend limit that was switched off did."""
    on = {"daily_spend_limit_enabled": True, "daily_spend_limit": "5"}
    old, new = (COLLECTOR.index_record(decode_profile(**on | fields)) for fields in (before, after))
    assert [difference.kind for difference in new.changes_since(old)] == kinds


def test_a_limit_that_is_off_does_not_change():
    """The log does not mention a new amount of a spend limit that is off."""
    old, new = (COLLECTOR.index_record(decode_profile(daily_spend_limit=amount)) for amount in ("1", "2"))
    assert list(new.changes_since(old)) == []
