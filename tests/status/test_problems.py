import pytest
import yaml
from status import connection, registration, spend

from exporter.status.problems import CONNECTION_PROBLEMS, NEAR_LIMIT, PROBLEMS

RULES = "prometheus/rules/telnyx.rules.yaml"


def kinds_of(record):
    """Return the kinds of problems that a record has."""
    return [problem.kind for problem in PROBLEMS if (test := problem.tests.get(type(record))) and test(record)]


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({}, []),
        ({"active": None, "registered": None, "outbound_channel_limit": None, "media_encryption": "none"}, []),
        ({"active": False}, ["disabled"]),
        (
            {"active": False, "registered": False, "media_encryption": "none", "outbound_channel_limit": None},
            ["disabled"],
        ),
        ({"registered": False}, ["not_registered"]),
        ({"registered": None}, []),
        ({"media_encryption": "none"}, ["unencrypted"]),
        ({"media_encryption": ""}, []),
        ({"outbound_channel_limit": None}, ["no_outbound_limit"]),
        ({"outbound_channel_limit": 0}, []),
        ({"inbound_channel_limit": None}, []),
        (
            {"registered": False, "media_encryption": "none", "outbound_channel_limit": None},
            ["not_registered", "unencrypted", "no_outbound_limit"],
        ),
    ],
)
def test_connections(fields, kinds):
    """A disabled connection has no other problem, because it takes no calls. What is unknown is no problem."""
    assert kinds_of(connection(**fields)) == kinds
    assert [kind for kind, test in CONNECTION_PROBLEMS.items() if test(connection(**fields))] == kinds


@pytest.mark.parametrize(("registered", "kinds"), [(True, []), (False, ["not_registered"]), (None, [])])
def test_registrations_that_are_read_one_by_one(registered, kinds):
    """A registration that the registrar does not have is a problem. An unknown one is not."""
    assert kinds_of(registration(1, registered)) == kinds


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({}, []),
        ({"blocked": True, "spend_usd": 10.0}, ["spend_blocked"]),
        ({"spend_usd": 8.0}, []),
        ({"spend_usd": 8.01}, ["spend_near_limit"]),
        ({"spend_usd": 20.0}, ["spend_near_limit"]),
        ({"spend_usd": None}, []),
        ({"limit_usd": None}, []),
        ({"spend_usd": 0.0, "limit_usd": 0.0}, []),
        ({"spend_usd": 0.1, "limit_usd": 0.0}, ["spend_near_limit"]),
    ],
)
def test_spend(fields, kinds):
    """A product whose spend is above 80 % of its limit is near it, unless it is blocked already."""
    assert kinds_of(spend(**fields)) == kinds


@pytest.mark.parametrize(
    ("record", "detail"),
    [
        (spend(spend_usd=1234.5, limit_usd=1000.0), "1,234.50 of 1,000.00 USD"),
        (spend(blocked=True, spend_usd=None, limit_usd=None), "unknown of unknown USD"),
    ],
)
def test_amounts(record, detail):
    """The spend and the limit are added to the product."""
    assert {problem.detail(record) for problem in PROBLEMS if "spend" in problem.kind} == {detail}


def test_each_kind_has_an_alert(pytestconfig):
    """Each kind names an alert, and the threshold of the spend is that of the alert's rule."""
    rules = yaml.safe_load((pytestconfig.rootpath / RULES).read_text())
    alerts = {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    assert {problem.runbook for problem in PROBLEMS} <= alerts.keys()
    assert f"> {NEAR_LIMIT} " in alerts["TelnyxSpendNearLimit"]["expr"]
    assert len({problem.kind for problem in PROBLEMS}) == len(PROBLEMS)
