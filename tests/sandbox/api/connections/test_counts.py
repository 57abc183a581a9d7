import pytest
from sandbox_client import get

from exporter.sandbox import Account
from exporter.sandbox.resources import CONNECTIONS

PATH = "/v2/connections/count"
OTHER = ("microsoft_teams_sbc", "mobile_voice", "operator_connect", "third_party_provider", "zoom_sbc")


async def test_counts(account):
    """The counts are those of the lists. Fax applications have another name here. Of other kinds there are none."""
    account["/fax_applications"].add()
    account.remove(account.rows[0]["id"])
    body = (await get(account, PATH)).json()
    assert body["data"]["record_type"] == "connection_count"
    counts = {path.removeprefix("/"): len(account[path].rows) for path in CONNECTIONS}
    counts["fax_connections"] = counts.pop("fax_applications")
    assert body["data"]["counts"] == counts | {f"{kind}_connections": 0 for kind in OTHER}
    assert (counts["credential_connections"], counts["fax_connections"]) == (54, 12)


@pytest.mark.parametrize(
    ("size", "standard", "texml", "uac"),
    [(0, 200, 12, 25), (55, 200, 12, 25), (60, 200, 12, 25), (65, 200, 24, 25), (100, 200, 24, 25), (105, 400, 24, 25)],
)
async def test_limits(size, standard, texml, uac):
    """The limits grow with the account. One of them is nearly reached in an account of the default size.

    Neither TeXML applications nor UAC connections are standard connections.
    """
    data = (await get(Account(size, step=0), PATH)).json()["data"]
    assert data["limits"] == {"standard_limit": standard, "texml_limit": texml, "uac_limit": uac}


async def test_limits_are_never_exceeded():
    """In an account of any size, each scope has at most as many connections as its limit."""
    for size in (1, 300, 2000):
        data = (await get(Account(size, step=0), PATH)).json()["data"]
        counts, limits = data["counts"], data["limits"]
        texml, uac = counts["texml_applications"], counts["uac_connections"]
        used = {"texml_limit": texml, "uac_limit": uac, "standard_limit": sum(counts.values()) - texml - uac}
        assert all(used[scope] <= limits[scope] < 2 * used[scope] + 200 for scope in limits)
