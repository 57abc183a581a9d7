from sandbox_client import get

NAMES = {
    "/external_connections": None,
    "/call_control_applications": "application_name",
    "/fax_applications": "application_name",
    "/texml_applications": "friendly_name",
}
"""The field with the name of a connection, for each list where it isn't `connection_name`."""


async def test_summary(account, connection_path):
    """The summary of a connection of any kind has its kind, name, state and profile, and no password."""
    row = account[connection_path].rows[0]
    response = await get(account, f"/v2/connections/{row['id']}")
    summary = response.json()["data"]
    for field in ("id", "record_type", "active", "tags", "created_at", "updated_at"):
        assert summary[field] == row[field]
    name = NAMES.get(connection_path, "connection_name")
    assert summary["connection_name"] == (name and row[name])
    assert summary["outbound_voice_profile_id"] == row["outbound"]["outbound_voice_profile_id"]
    assert not {"password", "inbound", "outbound"} & summary.keys()
